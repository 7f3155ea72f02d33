//! The kinds of SAs that `run` can make.

use clap::ValueEnum;

use crate::algorithm::{Authentication, Suite, SuiteError};

/// The headers of the packets, whatever the algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Modes.
    pub mode: PlanMode,
    /// Protocols, the same in transport and tunnel.
    pub protocol: Protocol,
    /// The algorithm of AH.
    pub ah: Authentication,
    /// UDP encapsulation of ESP.
    pub udp_esp: Option<UdpPlace>,
    /// IP version of tunnels; that of the packet in it if none is named.
    pub outer: Option<Version>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            mode: PlanMode::Transport,
            protocol: Protocol::Esp,
            ah: Authentication::HmacSha256,
            udp_esp: None,
            outer: None,
        }
    }
}

/// Modes of the SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanMode {
    /// An SA per pair of hosts.
    #[default]
    Transport,
    /// A tunnel per IP version, for all packets.
    Tunnel,
    /// An SA per pair of hosts, in a tunnel per IP version.
    TransportOverTunnel,
}

/// Protocols of each SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// ESP
    #[default]
    Esp,
    /// AH
    Ah,
    /// AH over ESP, as one bundle
    AhEsp,
}

/// Where the UDP header of UDP-ESP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UdpPlace {
    /// In front of the first ESP header
    Outer,
    /// With transport over tunnel, in front of the ESP header in the tunnel
    Inner,
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// IPv4
    #[value(name = "4")]
    V4,
    /// IPv6
    #[value(name = "6")]
    V6,
}

/// Members of a [`Shape`] that contradict each other.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// See [`SuiteError`].
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// RFC 3948.
    #[error("UDP encapsulation is for ESP without AH")]
    UdpWithAh,
    /// One ESP header has no other in it.
    #[error("only transport over tunnel has an inner ESP header")]
    NoInnerEsp,
    /// Transport mode.
    #[error("without a tunnel there is no outer IP header")]
    NoTunnel,
}

impl Shape {
    /// Whether there are such SAs, with these algorithms of ESP.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn check(&self, suite: Suite) -> Result<(), ShapeError> {
        if self.protocol != Protocol::Ah {
            suite.check(self.protocol == Protocol::AhEsp)?;
        }
        if self.udp_esp.is_some() && self.protocol != Protocol::Esp {
            return Err(ShapeError::UdpWithAh);
        }
        if self.udp_esp == Some(UdpPlace::Inner) && self.mode != PlanMode::TransportOverTunnel {
            return Err(ShapeError::NoInnerEsp);
        }
        if self.outer.is_some() && self.mode == PlanMode::Transport {
            return Err(ShapeError::NoTunnel);
        }
        Ok(())
    }
}
