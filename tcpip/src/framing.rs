//! ESP framing as TCP/IP does it for IPsecOV2 in transport mode: everything of the packet except
//! what needs the key (NDIS page "Sending Network Data with IPsec Offload Version 2").
//!
//! ```text
//! plain    Ethernet | IP ........... | payload
//! framed   Ethernet | IP (updated) . | SPI, sequence | IV room | payload | 1,2,3.. | pad len, next | ICV room
//!                                    ^ payload offset            `---- encrypted by the driver ----´
//! ```

use crate::packet::{Layout, PROTOCOL_ESP, TooLong, set_ip_length};

/// Filler of the room for IV and ICV. Not zero, so that a driver that leaves it is noticed.
pub const ROOM: u8 = 0xA5;

/// What framing needs to know of the SA and of the packet's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspParameters {
    /// Security parameters index.
    pub spi: u32,
    /// Sequence number, low 32 bits.
    pub sequence: u32,
    /// Bytes of IV.
    pub iv_len: usize,
    /// Bytes of ICV.
    pub icv_len: usize,
    /// What the encrypted part must be a multiple of.
    pub alignment: usize,
}

/// A framed packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// The whole Ethernet frame.
    pub frame: Vec<u8>,
    /// Offset of the IP header in the frame.
    pub ip: usize,
    /// Offset of the ESP header in the frame.
    pub esp: usize,
    /// The next header in the ESP trailer.
    pub next_header: u8,
    /// Padding bytes in front of the trailer.
    pub pad_len: u8,
}

/// Frames the packet in `frame`, whose layout is `layout`. Link padding is not taken along.
///
/// # Errors
///
/// When the result does not fit the length field of IP.
pub fn frame_esp(
    frame: &[u8],
    layout: &Layout,
    parameters: &EspParameters,
) -> Result<Framed, TooLong> {
    let payload = &frame[layout.payload..layout.end];
    let unpadded = payload.len() + 2;
    let pad_len = unpadded.next_multiple_of(parameters.alignment.max(4)) - unpadded;

    let added = 8 + parameters.iv_len + pad_len + 2 + parameters.icv_len;
    let mut framed = Vec::with_capacity(layout.end + added);
    framed.extend_from_slice(&frame[..layout.payload]);
    framed.extend_from_slice(&parameters.spi.to_be_bytes());
    framed.extend_from_slice(&parameters.sequence.to_be_bytes());
    framed.resize(framed.len() + parameters.iv_len, ROOM);
    framed.extend_from_slice(payload);
    framed.extend((1..=u8::MAX).take(pad_len));
    framed.extend_from_slice(&[pad_len as u8, layout.protocol]);
    framed.resize(framed.len() + parameters.icv_len, ROOM);

    framed[layout.protocol_field] = PROTOCOL_ESP;
    let end = framed.len();
    set_ip_length(&mut framed, layout.version, layout.ip, end)?;
    Ok(Framed {
        frame: framed,
        ip: layout.ip,
        esp: layout.payload,
        next_header: layout.protocol,
        pad_len: pad_len as u8,
    })
}
