//! What TCP/IP does with a packet that the driver has processed: headers, trailers and ICVs are
//! still in it (NDIS page "Receiving Network Data with IPsec Offload Version 2") and come off here.

use crate::{
    packet::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, Layout, NoLayout, PROTOCOL_ESP, PROTOCOL_IPV4,
        PROTOCOL_IPV6, TooLong, set_ip_length,
    },
    places::{PlaceError, Places},
    sas::{Mode, Sa},
};

/// The header information of the NET_BUFFER_LIST, when `HeaderInfoSet` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The next header that the driver found in the ESP trailer.
    pub next_header: u8,
    /// The padding length that the driver found in the ESP trailer.
    pub pad_len: u8,
}

/// SPI and sequence number of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Security parameters index.
    pub spi: u32,
    /// Sequence number, low 32 bits.
    pub sequence: u32,
}

impl Identity {
    fn read(frame: &[u8], at: usize) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
        };
        Self {
            spi: word(at),
            sequence: word(at + 4),
        }
    }
}

/// A packet without the headers of one SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unframed {
    /// The Ethernet frame without them, without link padding.
    pub frame: Vec<u8>,
    /// Of the AH header.
    pub ah: Option<Identity>,
    /// Of the ESP header.
    pub esp: Option<Identity>,
    /// What the ESP trailer said.
    pub trailer: Option<HeaderInfo>,
}

/// A packet without its ESP envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnframedEsp {
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
    /// The headers are not the SA's.
    #[error("{0}")]
    Places(#[from] PlaceError),
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
    /// The reserved bytes of AH are not zero (RFC 4302 section 2.3).
    #[error("the reserved field of AH is {0:#06x}")]
    Reserved(u16),
    /// The tunnel carries what is no whole packet of the version that the next header names.
    #[error("next header {0} in a tunnel, and no packet of that version")]
    NotTunnelled(u8),
    /// See [`TooLong`].
    #[error("{0}")]
    TooLong(#[from] TooLong),
}

/// Takes the headers of `sa` off a processed packet: those behind the outermost IP header.
pub fn unframe(frame: &[u8], sa: &Sa) -> Result<Unframed, UnframeError> {
    let outermost = Layout::of(frame)?;
    let places = Places::find(frame, outermost.ip, sa)?;
    let mut next = match &places.ah {
        Some(ah) => {
            let reserved = ah.header.start + 2..ah.header.start + 4;
            match u16::from_be_bytes([frame[reserved.start], frame[reserved.start + 1]]) {
                0 => ah.next_header,
                other => return Err(UnframeError::Reserved(other)),
            }
        }
        None => places.layout.protocol,
    };
    let mut payload = &frame[places.body.clone()];
    let mut trailer = None;
    if let Some(esp) = &sa.esp {
        let (inner, found) = strip_trailer(payload, esp.iv_len(), esp.icv_len())?;
        (payload, next) = (inner, found.next_header);
        trailer = Some(found);
    }
    let identity = |at: usize| Identity::read(frame, at);
    Ok(Unframed {
        ah: places.ah.map(|ah| identity(ah.header.start + 4)),
        esp: places.esp.map(|esp| identity(esp.start)),
        trailer,
        frame: match sa.mode {
            Mode::Transport => spliced(frame, &places.layout, next, payload)?,
            Mode::Tunnel => tunnelled(frame, &places.layout, next, payload)?,
        },
    })
}

/// Takes the ESP envelope of transport mode off a decrypted packet.
pub fn unframe_esp(
    frame: &[u8],
    iv_len: usize,
    icv_len: usize,
    oob: Option<HeaderInfo>,
) -> Result<UnframedEsp, UnframeError> {
    let layout = Layout::of(frame)?;
    if layout.protocol != PROTOCOL_ESP {
        return Err(PlaceError::Protocol(layout.protocol, "ESP").into());
    }
    let esp = &frame[layout.payload..layout.end];
    let body = esp.get(8..).ok_or(PlaceError::Short(esp.len(), "ESP"))?;
    let (payload, trailer) = strip_trailer(body, iv_len, icv_len)?;
    check_header_info(oob, trailer)?;
    let Identity { spi, sequence } = Identity::read(frame, layout.payload);
    Ok(UnframedEsp {
        frame: spliced(frame, &layout, trailer.next_header, payload)?,
        spi,
        sequence,
        trailer,
    })
}

/// What the driver said of a trailer must be what is there.
pub fn check_header_info(oob: Option<HeaderInfo>, trailer: HeaderInfo) -> Result<(), UnframeError> {
    match oob {
        Some(oob) if oob != trailer => Err(UnframeError::HeaderInfo { oob, trailer }),
        _ => Ok(()),
    }
}

/// Payload and trailer of what stands behind the sequence number of ESP.
fn strip_trailer(
    body: &[u8],
    iv_len: usize,
    icv_len: usize,
) -> Result<(&[u8], HeaderInfo), UnframeError> {
    let short = PlaceError::Short(body.len() + 8, "ESP");
    let text = body
        .get(iv_len..)
        .and_then(|rest| rest.get(..rest.len().checked_sub(icv_len)?))
        .ok_or(short)?;
    let (padded, &[pad_len, next_header]) = text.split_last_chunk().ok_or(short)?;
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
    Ok((payload, trailer))
}

/// Transport mode: the payload moves up to the IP headers.
fn spliced(
    frame: &[u8],
    layout: &Layout,
    next: u8,
    payload: &[u8],
) -> Result<Vec<u8>, UnframeError> {
    let mut plain = frame[..layout.payload].to_vec();
    plain.extend_from_slice(payload);
    plain[layout.protocol_field] = next;
    let end = plain.len();
    set_ip_length(&mut plain, layout.version, layout.ip, end)?;
    Ok(plain)
}

/// Tunnel mode: the outer header goes, the packet within is as it was.
fn tunnelled(
    frame: &[u8],
    layout: &Layout,
    next: u8,
    payload: &[u8],
) -> Result<Vec<u8>, UnframeError> {
    let ethertype = match next {
        PROTOCOL_IPV4 => ETHERTYPE_IPV4,
        PROTOCOL_IPV6 => ETHERTYPE_IPV6,
        _ => return Err(UnframeError::NotTunnelled(next)),
    };
    let mut plain = frame[..layout.ip - 2].to_vec();
    plain.extend_from_slice(&ethertype);
    plain.extend_from_slice(payload);
    match Layout::of(&plain) {
        Ok(inner) if inner.end == plain.len() => Ok(plain),
        _ => Err(UnframeError::NotTunnelled(next)),
    }
}
