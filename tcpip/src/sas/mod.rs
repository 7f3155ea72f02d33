//! `sas.json`: security associations, keys included. The format is documented in
//! `docs/sas-json.md`; it has a place for every kind of SA that IPsecOV2 knows.

mod file;
mod headers;
pub(crate) mod text;

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use file::{SaFile, VERSION};
pub use headers::{Ah, AuthenticationKey, EncryptionKey, Esp, Spi};

use crate::framing::{UDP_HEADER, ah_len};

/// The most bytes that any SA adds to a packet, the tunnel around it included.
pub fn max_overhead(sas: &[Sa]) -> usize {
    let with_tunnel = |sa: &Sa| {
        let tunnel = sa.tunnel_in(sas).map_or(0, |t| sas[t].max_overhead());
        sa.max_overhead() + tunnel
    };
    sas.iter().map(with_tunnel).max().unwrap_or(0)
}

/// One SA (or bundle of AH over ESP), as one `IPSEC_OFFLOAD_V2_ADD_SA` carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object: an SA")]
pub struct Sa {
    /// Unique in the file; appears in messages, and other entries refer to it.
    pub name: String,
    /// On which side it is offloaded.
    #[serde(default, deserialize_with = "text::name")]
    pub direction: Direction,
    /// Transport or tunnel mode.
    #[serde(default, deserialize_with = "text::name")]
    pub mode: Mode,
    /// Source address of the packets on the wire (of the outer header in tunnel mode); absent: any.
    #[serde(
        default,
        deserialize_with = "text::optional_written",
        skip_serializing_if = "Option::is_none"
    )]
    pub source: Option<IpAddr>,
    /// Destination address of the packets on the wire; absent: any.
    #[serde(
        default,
        deserialize_with = "text::optional_written",
        skip_serializing_if = "Option::is_none"
    )]
    pub destination: Option<IpAddr>,
    /// 4 or 6. Needed only when both addresses are absent.
    #[serde(
        default,
        deserialize_with = "text::optional_number::<_, _, 0, 255>",
        skip_serializing_if = "Option::is_none"
    )]
    pub ip_version: Option<u8>,
    /// The ESP header of the SA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<Esp>,
    /// The AH header of the SA; with `esp`, AH goes over ESP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ah: Option<Ah>,
    /// UDP encapsulation of ESP.
    #[serde(
        default,
        deserialize_with = "text::name",
        skip_serializing_if = "UdpEsp::is_none"
    )]
    pub udp_esp: UdpEsp,
    /// UDP ports of the encapsulation; absent: 4500 to 4500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_ports: Option<UdpPorts>,
    /// Tunnel mode: which plain packets go into the tunnel. Absent: all of the family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Transport over tunnel: the name of the tunnel SA that carries this one's packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// The name of the SA of the opposite direction, deleted together with this one when the
    /// driver sets `SaDeleteReq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
}

/// On which side an SA is offloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Outbound at the sender and inbound at the receiver.
    #[default]
    Both,
    /// Only outbound, at the sender.
    Outbound,
    /// Only inbound, at the receiver.
    Inbound,
}

impl Direction {
    /// Whether the sender offloads it.
    pub fn is_outbound(self) -> bool {
        self != Self::Inbound
    }

    /// Whether the receiver offloads it.
    pub fn is_inbound(self) -> bool {
        self != Self::Outbound
    }
}

/// IPsec modes (RFC 4301 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// IPsec headers between the packet's own IP header and its payload.
    #[default]
    Transport,
    /// The whole packet inside another.
    Tunnel,
}

/// `UdpEspEncapsulation` of the ADD_SA structures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UdpEsp {
    /// No UDP.
    #[default]
    None,
    /// `..._UDP_ESP_ENCAPSULATION_TRANSPORT`.
    Transport,
    /// `..._UDP_ESP_ENCAPSULATION_TUNNEL`.
    Tunnel,
    /// `IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL`.
    TransportOverUdpTunnel,
    /// `..._UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL`.
    UdpTransportOverTunnel,
}

impl UdpEsp {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// UDP ports of the encapsulation (RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with source and destination"
)]
pub struct UdpPorts {
    /// Source port.
    #[serde(deserialize_with = "text::number::<_, _, 0, 65535>")]
    pub source: u16,
    /// Destination port.
    #[serde(deserialize_with = "text::number::<_, _, 0, 65535>")]
    pub destination: u16,
}

impl Default for UdpPorts {
    fn default() -> Self {
        Self {
            source: 4500,
            destination: 4500,
        }
    }
}

/// Plain packets, by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with source and destination"
)]
pub struct Selector {
    /// Prefix of the source address.
    #[serde(deserialize_with = "text::written")]
    pub source: IpNet,
    /// Prefix of the destination address.
    #[serde(deserialize_with = "text::written")]
    pub destination: IpNet,
}

impl Sa {
    /// Whether the SA's packets are IPv6.
    pub fn is_ipv6(&self) -> Result<bool> {
        let of_address = |address: IpAddr| if address.is_ipv6() { 6 } else { 4 };
        let mut versions = self
            .source
            .map(of_address)
            .into_iter()
            .chain(self.destination.map(of_address))
            .chain(self.ip_version);
        let first = versions.next().with_context(|| {
            format!(
                "SA {}: expected ip_version, for there is neither source nor destination",
                self.name
            )
        })?;
        ensure!(
            versions.all(|version| version == first),
            "SA {}: expected source, destination and ip_version of one IP version, found both",
            self.name
        );
        match first {
            4 => Ok(false),
            6 => Ok(true),
            other => bail!(
                "SA {}: ip_version: expected 4 or 6, found {other}",
                self.name
            ),
        }
    }

    /// Whether there is a UDP header in front of this SA's ESP. The types that are about two
    /// portions say of which of them it is: both SAs may name the type of the whole packet.
    pub fn has_udp(&self) -> bool {
        match self.udp_esp {
            UdpEsp::None => false,
            UdpEsp::Transport | UdpEsp::Tunnel => true,
            UdpEsp::TransportOverUdpTunnel => self.mode == Mode::Tunnel,
            UdpEsp::UdpTransportOverTunnel => self.mode == Mode::Transport,
        }
    }

    /// The most bytes that this SA adds to a packet; a tunnel around it is another SA's.
    pub fn max_overhead(&self) -> usize {
        let six = self.is_ipv6().unwrap_or(true);
        let outer = match (self.mode, six) {
            (Mode::Transport, _) => 0,
            (Mode::Tunnel, false) => 20,
            (Mode::Tunnel, true) => 40,
        };
        let version = if six { 6 } else { 4 };
        let ah = self.ah.as_ref();
        let ah = ah.map_or(0, |ah| ah_len(ah.authentication.algorithm, version));
        let udp = if self.has_udp() { UDP_HEADER } else { 0 };
        outer + ah + udp + self.esp.as_ref().map_or(0, Esp::max_overhead)
    }

    /// Whether a sender puts packets of IPv6 (or else of IPv4) into this SA: those of its
    /// selector's family, or of its addresses'.
    pub fn takes_ipv6(&self) -> Result<bool> {
        match self.selector {
            Some(Selector { source, .. }) => Ok(matches!(source, IpNet::V6(_))),
            None => self.is_ipv6(),
        }
    }

    /// Checks what the format itself asks. What an algorithm or the driver thinks of the keys is
    /// left to the driver, so that wrong ones can be put to it.
    fn validate(&self) -> Result<()> {
        ensure!(
            self.esp.is_some() || self.ah.is_some(),
            "SA {}: expected esp, ah or both, found neither",
            self.name
        );
        if let Some(esp) = &self.esp {
            ensure!(
                esp.authentication.is_none() || !esp.encryption.algorithm.is_gcm(),
                "SA {}: esp.authentication must be absent with AES-GCM, a combined mode that \
                 authenticates by itself (RFC 4106)",
                self.name
            );
        }
        let six = self.is_ipv6()?;
        if let Some(Selector {
            source,
            destination,
        }) = self.selector
        {
            let families = [source, destination].map(|net| matches!(net, IpNet::V6(_)));
            ensure!(
                families[0] == families[1] && (self.mode == Mode::Tunnel || families[0] == six),
                "SA {}: selector: expected prefixes of one IP version (in transport mode that of the addresses), \
                 found {source} and {destination}",
                self.name
            );
        }
        Ok(())
    }

    /// The tunnel that carries this SA's packets must be one.
    fn validate_tunnel(&self, sas: &[Self]) -> Result<()> {
        let Some(tunnel) = self.tunnel_in(sas) else {
            return Ok(());
        };
        let tunnel = &sas[tunnel];
        ensure!(
            self.mode == Mode::Transport && tunnel.mode == Mode::Tunnel && tunnel.tunnel.is_none(),
            "SA {}: only an SA in transport mode goes into a tunnel, and only into one",
            self.name
        );
        Ok(())
    }

    /// Index of the tunnel SA that carries this one's packets.
    pub fn tunnel_in(&self, sas: &[Self]) -> Option<usize> {
        let name = self.tunnel.as_ref()?;
        sas.iter().position(|sa| sa.name == *name)
    }
}
