//! Framing as TCP/IP does it for IPsecOV2: everything of the packet except what needs a key (NDIS
//! page "Sending Network Data with IPsec Offload Version 2").
//!
//! ```text
//! plain      Ethernet | IP | payload
//! transport  Ethernet | IP (updated) | AH, ICV room | UDP | SPI, sequence | IV room | payload | 1,2,3.. | pad len, next | ICV room
//! tunnel     Ethernet | outer IP     | AH, ICV room | UDP | SPI, sequence | IV room | IP | payload | 1,2,3.. | ...
//!                                                                         `---- encrypted by the driver ----´
//! ```
//!
//! AH, UDP and ESP are there as the SA asks for them.

mod ah;
mod esp;
mod tunnel;
mod udp;

pub use ah::ah_len;
pub use esp::EspParameters;
pub use udp::UDP_HEADER;

use crate::{
    packet::{
        ETHERNET_HEADER, Layout, NoLayout, PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_UDP, TooLong,
        set_ip_length,
    },
    protection::{AhPortion, EspPortion, Portion},
    sas::{Mode, Sa},
};

/// Filler of the room for IV and ICV. Not zero, so that a driver that leaves it is noticed.
pub const ROOM: u8 = 0xA5;

/// The sequence numbers of a packet, high halves included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// In the ESP header.
    pub esp: u64,
    /// In the AH header.
    pub ah: u64,
}

/// Why a packet cannot be framed for an SA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// It does not fit the length field of IP (or of UDP).
    #[error("{0}")]
    TooLong(#[from] TooLong),
    /// What was framed is no packet that can go into a tunnel.
    #[error("{0}")]
    Packet(#[from] NoLayout),
    /// RFC 3948 is about ESP alone.
    #[error("UDP encapsulation is for ESP without AH")]
    UdpWithoutEsp,
    /// A tunnel has a header of its own, and so addresses.
    #[error("a tunnel needs the addresses of its two ends")]
    NoGateways,
}

/// A framed packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// The whole Ethernet frame.
    pub frame: Vec<u8>,
    /// Where everything is.
    pub portion: Portion,
}

/// Frames the packet in `frame`, whose layout is `layout`, for `sa`, the `index`th of its file.
/// Link padding is not taken along.
///
/// # Errors
///
/// When the result does not fit a length field, and when the SA's members do not go together.
pub fn frame(
    frame: &[u8],
    layout: &Layout,
    sa: &Sa,
    index: usize,
    numbers: &Numbers,
) -> Result<Framed, FramingError> {
    let (mut framed, ip, protocol_field, mut body, mut next);
    match sa.mode {
        Mode::Transport => {
            framed = frame[..layout.payload].to_vec();
            (ip, protocol_field, next) = (layout.ip, layout.protocol_field, layout.protocol);
            body = frame[layout.payload..layout.end].to_vec();
        }
        Mode::Tunnel => {
            let outer = tunnel::outer_header(sa, frame, layout, numbers)?;
            (ip, protocol_field) = (ETHERNET_HEADER, outer.protocol_field);
            framed = outer.headers;
            next = tunnel::protocol_of(layout.version);
            body = frame[layout.ip..layout.end].to_vec();
        }
    }
    let version = framed[ip] >> 4;

    // From the inside out.
    let mut esp_portion = None;
    if let Some(esp) = &sa.esp {
        let pad_len = esp::wrap(&mut body, next, &EspParameters::of(esp, numbers.esp as u32));
        esp_portion = Some((next, pad_len));
        next = PROTOCOL_ESP;
    }
    if sa.has_udp() {
        if sa.esp.is_none() || sa.ah.is_some() {
            return Err(FramingError::UdpWithoutEsp);
        }
        udp::wrap(&mut body, sa.udp_ports.unwrap_or_default())?;
        next = PROTOCOL_UDP;
    }
    if let Some(ah) = &sa.ah {
        ah::wrap(&mut body, next, ah, numbers.ah as u32, version);
        next = PROTOCOL_AH;
    }

    let mut at = framed.len();
    let ah = sa.ah.as_ref().map(|ah| {
        let start = at;
        at += ah_len(ah.authentication.algorithm, version);
        AhPortion {
            at: start,
            sequence: numbers.ah,
        }
    });
    if sa.has_udp() {
        at += UDP_HEADER;
    }
    let mut trailer_len = 0;
    let esp = sa.esp.as_ref().zip(esp_portion);
    let esp = esp.map(|(esp, (next_header, pad_len))| {
        let start = at;
        at += 8 + esp.iv_len();
        trailer_len = usize::from(pad_len) + 2 + esp.icv_len();
        EspPortion {
            at: start,
            sequence: numbers.esp,
            next_header,
            pad_len,
        }
    });

    framed.append(&mut body);
    framed[protocol_field] = next;
    let end = framed.len();
    set_ip_length(&mut framed, version, ip, end)?;
    Ok(Framed {
        frame: framed,
        portion: Portion {
            sa: index,
            ip,
            ah,
            esp,
            payload: at,
            trailer_len,
        },
    })
}
