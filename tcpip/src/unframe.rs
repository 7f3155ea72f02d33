//! What TCP/IP does with a packet that the driver has decrypted: headers, trailer and ICV are
//! still in it (NDIS page "Receiving Network Data with IPsec Offload Version 2") and come off here.

use crate::packet::{Layout, NoLayout, PROTOCOL_ESP, TooLong, set_ip_length};

/// The header information of the NET_BUFFER_LIST, when `HeaderInfoSet` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The next header that the driver found in the ESP trailer.
    pub next_header: u8,
    /// The padding length that the driver found in the ESP trailer.
    pub pad_len: u8,
}

/// A packet without its ESP envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unframed {
    /// The plain Ethernet frame, without link padding.
    pub frame: Vec<u8>,
    /// SPI of the ESP header.
    pub spi: u32,
    /// Sequence number of the ESP header.
    pub sequence: u32,
    /// What the trailer said.
    pub trailer: HeaderInfo,
}

/// Why the envelope does not come off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnframeError {
    /// No complete IP packet.
    #[error("{0}")]
    Packet(#[from] NoLayout),
    /// The IP header does not name ESP.
    #[error("protocol {0} instead of ESP")]
    NotEsp(u8),
    /// Shorter than header, IV, trailer and ICV together.
    #[error("{0} bytes of ESP are too few")]
    Short(usize),
    /// The pad length points outside of the payload.
    #[error("pad length {0} does not fit the payload")]
    PadLength(u8),
    /// The padding is not 1, 2, 3 and so on (RFC 4303 section 2.4).
    #[error("padding byte {position} is {byte:#04x}")]
    Padding {
        /// Counted from 1; also the right value.
        position: u8,
        /// The value found.
        byte: u8,
    },
    /// The OOB header information is not what the trailer says.
    #[error(
        "the driver says next header {}, pad length {}; the trailer {}, {}",
        oob.next_header, oob.pad_len, trailer.next_header, trailer.pad_len
    )]
    HeaderInfo {
        /// From the NET_BUFFER_LIST.
        oob: HeaderInfo,
        /// From the packet.
        trailer: HeaderInfo,
    },
    /// See [`TooLong`].
    #[error("{0}")]
    TooLong(#[from] TooLong),
}

/// Takes the ESP envelope off a decrypted packet.
pub fn unframe_esp(
    frame: &[u8],
    iv_len: usize,
    icv_len: usize,
    oob: Option<HeaderInfo>,
) -> Result<Unframed, UnframeError> {
    let layout = Layout::of(frame)?;
    if layout.protocol != PROTOCOL_ESP {
        return Err(UnframeError::NotEsp(layout.protocol));
    }
    let esp = &frame[layout.payload..layout.end];
    let inner = esp
        .get(8 + iv_len..)
        .and_then(|rest| rest.get(..rest.len().checked_sub(icv_len)?))
        .ok_or(UnframeError::Short(esp.len()))?;
    let (padded, &[pad_len, next_header]) = inner
        .split_last_chunk()
        .ok_or(UnframeError::Short(esp.len()))?;
    let payload_len = padded
        .len()
        .checked_sub(usize::from(pad_len))
        .ok_or(UnframeError::PadLength(pad_len))?;
    let (payload, padding) = padded.split_at(payload_len);
    if let Some((position, &byte)) = (1..=u8::MAX)
        .zip(padding)
        .find(|(position, byte)| position != *byte)
    {
        return Err(UnframeError::Padding { position, byte });
    }
    let trailer = HeaderInfo {
        next_header,
        pad_len,
    };
    if let Some(oob) = oob.filter(|oob| *oob != trailer) {
        return Err(UnframeError::HeaderInfo { oob, trailer });
    }

    let mut plain = frame[..layout.payload].to_vec();
    plain.extend_from_slice(payload);
    plain[layout.protocol_field] = next_header;
    let end = plain.len();
    set_ip_length(&mut plain, layout.version, layout.ip, end)?;
    let word = |at: usize| u32::from_be_bytes([esp[at], esp[at + 1], esp[at + 2], esp[at + 3]]);
    Ok(Unframed {
        frame: plain,
        spi: word(0),
        sequence: word(4),
        trailer,
    })
}
