//! The Internet checksum the slow way (RFC 1071 section 4.1).

/// The sum over all pieces but the last of which have even lengths; 0xFFFF if they hold their right
/// checksum.
pub fn of(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u32::from(u16::from_be_bytes(word));
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// With the pseudo-header of the IP header at the start of `packet`, which leads nowhere else.
pub fn of_transport(packet: &[u8], protocol: u8, transport: &[u8]) -> u16 {
    let length = (transport.len() as u32).to_be_bytes();
    let addresses = match packet[0] >> 4 {
        4 => &packet[12..20],
        _ => &packet[8..40],
    };
    of(&[addresses, &length, &[0, protocol], transport])
}
