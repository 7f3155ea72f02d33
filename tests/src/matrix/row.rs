//! Rows: one kind of SA, or of two SAs in each other, for one kind of packet.

use std::fmt;

use tcpip::{
    algorithm::{Authentication, Encryption},
    sas::UdpEsp,
};

/// IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Bytes of the header, without options.
    pub fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The algorithms of an ESP header. Unlike [`tcpip::algorithm::Suite`], it may be without
/// authentication, when AH goes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspSuite {
    /// Confidentiality.
    pub encryption: Encryption,
    /// Bytes of AES-GCM's ICV; without meaning for others.
    pub gcm_icv_len: usize,
    /// Integrity of its own.
    pub authentication: Option<Authentication>,
}

impl EspSuite {
    /// Bytes of IV.
    pub fn iv_len(self) -> usize {
        self.encryption.iv_len() + self.authentication.map_or(0, Authentication::iv_len)
    }

    /// Bytes of ICV; zero when nothing authenticates.
    pub fn icv_len(self) -> usize {
        if self.encryption.is_gcm() {
            self.gcm_icv_len
        } else {
            self.authentication.map_or(0, Authentication::icv_len)
        }
    }

    /// Whether the IV is the sequence number, and not the driver's to choose.
    pub fn iv_is_sequence(self) -> bool {
        self.encryption.is_gcm() || self.authentication.is_some_and(Authentication::is_gmac)
    }

    /// Whether it needs `LegacyAlgorithms`.
    pub fn is_legacy(self) -> bool {
        matches!(
            self.encryption,
            Encryption::DesCbc | Encryption::TripleDesCbc
        ) || self.authentication == Some(Authentication::HmacMd5)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ESP {:?}", self.encryption)?;
        match self.authentication {
            Some(authentication) => write!(f, "+{authentication:?}"),
            None if self.encryption.is_gcm() => write!(f, "/{}", self.gcm_icv_len),
            None => f.write_str(" unauthenticated"),
        }
    }
}

/// What one SA does: ESP, AH, or AH over ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Its ESP header.
    pub esp: Option<EspSuite>,
    /// Its AH header, outside.
    pub ah: Option<Authentication>,
}

impl Protection {
    /// ESP alone.
    pub fn esp(suite: EspSuite) -> Self {
        Self {
            esp: Some(suite),
            ah: None,
        }
    }

    /// AH alone.
    pub fn ah(authentication: Authentication) -> Self {
        Self {
            esp: None,
            ah: Some(authentication),
        }
    }

    /// Whether it needs `LegacyAlgorithms`.
    pub fn is_legacy(self) -> bool {
        self.esp.is_some_and(EspSuite::is_legacy) || self.ah == Some(Authentication::HmacMd5)
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ah) = self.ah {
            write!(f, "AH {ah:?}")?;
        }
        if self.ah.is_some() && self.esp.is_some() {
            f.write_str(" over ")?;
        }
        match self.esp {
            Some(esp) => esp.fmt(f),
            None => Ok(()),
        }
    }
}

/// One SA of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// What it does.
    pub protection: Protection,
    /// The IP version of the outer header in tunnel mode; `None` for transport mode.
    pub tunnel: Option<Family>,
    /// `UdpEspEncapsulation` of its SA: it names the subtype of the whole packet.
    pub udp_esp: UdpEsp,
    /// Extended sequence numbers, of ESP and of AH.
    pub esn: Esn,
}

impl Portion {
    /// Whether there is a UDP header in front of its ESP.
    pub fn has_udp(&self) -> bool {
        match self.udp_esp {
            UdpEsp::None => false,
            UdpEsp::Transport | UdpEsp::Tunnel => true,
            UdpEsp::TransportOverUdpTunnel => self.tunnel.is_some(),
            UdpEsp::UdpTransportOverTunnel => self.tunnel.is_none(),
        }
    }
}

/// Which headers of an SA have extended sequence numbers. Each of a bundle has its own
/// `IPSEC_OFFLOAD_V2_ESN_SA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esn {
    /// ESP.
    pub esp: bool,
    /// AH.
    pub ah: bool,
}

impl Esn {
    /// The same for both.
    pub fn both(esn: bool) -> Self {
        Self { esp: esn, ah: esn }
    }
}

/// A row of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The IP version of the packet that is protected.
    pub family: Family,
    /// The SAs, from the inside: one, or one of transport mode and one of tunnel mode.
    pub portions: Vec<Portion>,
}

impl Row {
    /// Whether it needs `LegacyAlgorithms`.
    pub fn is_legacy(&self) -> bool {
        self.portions
            .iter()
            .any(|portion| portion.protection.is_legacy())
    }

    /// The largest block of its ciphers, which the residues of packet sizes are of: AES works on
    /// 16 bytes in every mode; where there is no cipher, ESP aligns to 4.
    pub fn block(&self) -> usize {
        let block = |portion: &Portion| match portion.protection.esp {
            None => 4,
            Some(esp) if esp.iv_is_sequence() => 16,
            Some(esp) => esp.encryption.alignment(),
        };
        self.portions.iter().map(block).max().unwrap_or(4)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.family)?;
        for portion in &self.portions {
            write!(f, " in {}", portion.protection)?;
            if portion.has_udp() {
                f.write_str(" in UDP")?;
            }
            let esn = [
                (portion.protection.esp.is_some(), portion.esn.esp),
                (portion.protection.ah.is_some(), portion.esn.ah),
            ];
            for (there, esn) in esn {
                if there {
                    f.write_str(if esn { ", ESN" } else { ", 32 bits" })?;
                }
            }
            match portion.tunnel {
                Some(family) => write!(f, ", {family} tunnel")?,
                None => f.write_str(", transport")?,
            }
        }
        Ok(())
    }
}
