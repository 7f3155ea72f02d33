//! The IP headers in front of AH as they count for its ICV (RFC 4302 section 3.3.3.1 and appendix
//! A): what changes on the way is zero, what changes as foretold is what it will be at the end.

use super::SoftwareError;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
/// RFC 6275 section 6.3.
const HOME_ADDRESS: u8 = 201;

/// Settles the headers of `packet`, which are its first `headers` bytes.
pub(crate) fn settle(packet: &mut [u8], headers: usize) -> Result<(), SoftwareError> {
    let packet = &mut packet[..headers];
    if packet[0] >> 4 == 4 {
        ipv4(packet)
    } else {
        ipv6(packet)
    }
}

/// Appendix A1: the options that reach the destination as they were.
const IMMUTABLE_OPTIONS: [u8; 7] = [0, 1, 130, 133, 134, 148, 149];
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;

fn ipv4(header: &mut [u8]) -> Result<(), SoftwareError> {
    // Type of service; flags and fragment offset; time to live; checksum.
    for range in [1..2, 6..9, 10..12] {
        header[range].fill(0);
    }
    let (fixed, options) = header.split_at_mut(20);
    let mut routed = false;
    let mut at = 0;
    while at < options.len() {
        let kind = options[at];
        let len = match kind {
            // What follows the end of the list is no option, and stays.
            0 => break,
            1 => 1,
            _ => options.get(at + 1).map_or(0, |&len| len.into()),
        };
        let option = options
            .get_mut(at..at + len)
            .filter(|_| kind == 1 || len >= 2)
            .ok_or(SoftwareError::Headers)?;
        if [LOOSE_ROUTE, STRICT_ROUTE].contains(&kind) {
            // The destination on the wire is the next hop; the last of the list is where it ends.
            let pointer = usize::from(*option.get(2).ok_or(SoftwareError::Headers)?);
            if pointer <= len {
                // RFC 791: a route "appears at most once in a datagram".
                let last = option.last_chunk::<4>().filter(|_| len >= 7 && !routed);
                routed = true;
                fixed[16..20].copy_from_slice(last.ok_or(SoftwareError::Headers)?);
            }
        }
        if !IMMUTABLE_OPTIONS.contains(&kind) {
            option.fill(0);
        }
        at += len;
    }
    Ok(())
}

fn ipv6(packet: &mut [u8]) -> Result<(), SoftwareError> {
    let (fixed, mut extensions) = packet.split_at_mut(40);
    // Class and flow label; hop limit.
    fixed[0] &= 0xF0;
    fixed[1..4].fill(0);
    fixed[7] = 0;
    let mut routed = false;
    let mut next = fixed[6];
    while !extensions.is_empty() {
        let len = extensions
            .get(1)
            .map_or(0, |&len| (usize::from(len) + 1) * 8);
        if len == 0 || len > extensions.len() {
            return Err(SoftwareError::Headers);
        }
        let (extension, rest) = extensions.split_at_mut(len);
        match next {
            HOP_BY_HOP | DESTINATION => settle_options(&mut extension[2..])?,
            // Where a second one that is not used up leads to begins where the first one ends: no
            // node makes such a packet.
            ROUTING if extension[3] != 0 && routed => return Err(SoftwareError::Headers),
            ROUTING => {
                routed |= extension[3] != 0;
                settle_route(&mut fixed[24..40], extension)?;
            }
            _ => {}
        }
        next = extension[0];
        extensions = rest;
    }
    Ok(())
}

/// RFC 8200 section 4.2: the third bit of an option's type says that its data may change.
fn settle_options(options: &mut [u8]) -> Result<(), SoftwareError> {
    let mut at = 0;
    while at < options.len() {
        if options[at] == 0 {
            at += 1;
            continue;
        }
        let kind = options[at];
        if kind == HOME_ADDRESS {
            // RFC 6275 section 11.3.2: over the packet as the mobility of the receiver leaves it.
            return Err(SoftwareError::Headers);
        }
        let len = usize::from(*options.get(at + 1).ok_or(SoftwareError::Headers)?);
        let data = options.get_mut(at + 2..at + 2 + len);
        let data = data.ok_or(SoftwareError::Headers)?;
        if kind & 0x20 != 0 {
            data.fill(0);
        }
        at += 2 + len;
    }
    Ok(())
}

/// Routing headers whose addresses move: type 0 (RFC 2460 section 4.4) and type 2 (RFC 6275
/// section 6.4). At the end all segments are used, and the destination is the last address.
fn settle_route(destination: &mut [u8], header: &mut [u8]) -> Result<(), SoftwareError> {
    let left = usize::from(header[3]);
    if left == 0 {
        return Ok(());
    }
    let (start, list) = header.split_at_mut(8);
    let count = list.len() / 16;
    if !matches!(start[2], 0 | 2) || !list.len().is_multiple_of(16) || left > count {
        return Err(SoftwareError::Headers);
    }
    // Each of the hops to come swaps its address with the destination.
    for hop in count - left..count {
        list[hop * 16..][..16].swap_with_slice(destination);
    }
    start[3] = 0;
    Ok(())
}
