//! `sas.json`: security associations, keys included. The format is documented in
//! `docs/sas-json.md`; it has a place for every kind of SA that IPsecOV2 knows.

use std::{fmt, fs, net::IpAddr, path::Path};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::algorithm::{Authentication, Encryption, Suite};

/// The only version of the format so far.
pub const VERSION: u32 = 1;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaFile {
    /// [`VERSION`].
    pub version: u32,
    /// Where the keys came from, in words. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The SAs. A packet to be sent uses the first that takes it.
    pub sas: Vec<Sa>,
}

/// One SA (or bundle of AH over ESP), as one `IPSEC_OFFLOAD_V2_ADD_SA` carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sa {
    /// Unique in the file; appears in messages, and other entries refer to it.
    pub name: String,
    /// On which side it is offloaded.
    #[serde(default)]
    pub direction: Direction,
    /// Transport or tunnel mode.
    #[serde(default)]
    pub mode: Mode,
    /// Source address of the packets on the wire (of the outer header in tunnel mode); absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Destination address of the packets on the wire; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// 4 or 6. Needed only when both addresses are absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<u8>,
    /// The ESP header of the SA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<Esp>,
    /// The AH header of the SA; with `esp`, AH goes over ESP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ah: Option<Ah>,
    /// UDP encapsulation of ESP.
    #[serde(default, skip_serializing_if = "UdpEsp::is_none")]
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
#[serde(deny_unknown_fields)]
pub struct UdpPorts {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// Plain packets, by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Prefix of the source address.
    pub source: IpNet,
    /// Prefix of the destination address.
    pub destination: IpNet,
}

/// Security parameters index; written as `0x` and eight hex digits, read in any base.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Spi {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spi {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u32),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => {
                let parsed = match text.strip_prefix("0x") {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => text.parse(),
                };
                parsed
                    .map(Self)
                    .map_err(|_| serde::de::Error::custom(format!("{text:?} is not an SPI")))
            }
        }
    }
}

/// An ESP header of an SA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Esp {
    /// Security parameters index.
    pub spi: Spi,
    /// Confidentiality; with AES-GCM integrity too.
    pub encryption: EncryptionKey,
    /// Integrity of its own; absent with AES-GCM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationKey>,
    /// Extended (64-bit) sequence numbers, RFC 4303 section 2.2.1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub esn: bool,
    /// The next number to be sent, low 32 bits.
    #[serde(default = "first_sequence_number")]
    pub sequence: u32,
    /// High 32 bits (`SequenceNumberHighOrder`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sequence_high: u32,
}

impl Esp {
    /// Bytes of IV between the ESP header and the payload.
    pub fn iv_len(&self) -> usize {
        self.suite().iv_len()
    }

    /// Bytes of ICV at the end of the packet.
    pub fn icv_len(&self) -> usize {
        self.encryption.icv_len()
            + self
                .authentication
                .as_ref()
                .map_or(0, |a| a.algorithm.icv_len())
    }

    /// Its algorithms.
    pub fn suite(&self) -> Suite {
        Suite {
            encryption: self.encryption.algorithm,
            authentication: self.authentication.as_ref().map(|key| key.algorithm),
        }
    }

    /// The most bytes that ESP in transport mode adds to a packet.
    pub fn max_overhead(&self) -> usize {
        self.suite().max_overhead(self.encryption.icv_len())
    }
}

/// An AH header of an SA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ah {
    /// Security parameters index.
    pub spi: Spi,
    /// Integrity.
    pub authentication: AuthenticationKey,
    /// Extended (64-bit) sequence numbers, RFC 4303 section 2.2.1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub esn: bool,
    /// The next number to be sent, low 32 bits.
    #[serde(default = "first_sequence_number")]
    pub sequence: u32,
    /// High 32 bits (`SequenceNumberHighOrder`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sequence_high: u32,
}

fn first_sequence_number() -> u32 {
    1
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Confidentiality with its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionKey {
    /// Which algorithm.
    pub algorithm: Encryption,
    /// Key, hexadecimal.
    #[serde(default, with = "hex::serde", skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<u8>,
    /// Salt (AES-GCM: 4 bytes), hexadecimal.
    #[serde(default, with = "hex::serde", skip_serializing_if = "Vec::is_empty")]
    pub salt: Vec<u8>,
    /// AES-GCM: bytes of ICV (8, 12 or 16); absent: 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icv_length: Option<usize>,
}

impl EncryptionKey {
    /// Bytes of ICV that encryption itself makes.
    pub fn icv_len(&self) -> usize {
        let default = self.algorithm.default_icv_len();
        default.map_or(0, |default| self.icv_length.unwrap_or(default))
    }
}

/// Integrity with its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticationKey {
    /// Which algorithm.
    pub algorithm: Authentication,
    /// Key, hexadecimal.
    #[serde(with = "hex::serde")]
    pub key: Vec<u8>,
    /// Salt (AES-GMAC: 4 bytes), hexadecimal.
    #[serde(default, with = "hex::serde", skip_serializing_if = "Vec::is_empty")]
    pub salt: Vec<u8>,
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
            format!("SA {}: without addresses, ip_version is needed", self.name)
        })?;
        ensure!(
            versions.all(|version| version == first),
            "SA {}: addresses and ip_version are not of one family",
            self.name
        );
        match first {
            4 => Ok(false),
            6 => Ok(true),
            other => bail!("SA {}: there is no IP version {other}", self.name),
        }
    }

    /// Checks what the format itself asks. What an algorithm or the driver thinks of the keys is
    /// left to the driver, so that wrong ones can be put to it.
    fn validate(&self) -> Result<()> {
        ensure!(
            self.esp.is_some() || self.ah.is_some(),
            "SA {}: neither esp nor ah",
            self.name
        );
        self.is_ipv6().map(drop)
    }
}

impl SaFile {
    /// A file of these SAs.
    pub fn new(sas: Vec<Sa>, comment: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            comment: Some(comment.into()),
            sas,
        }
    }

    /// Switches extended sequence numbers on, from 2^32 on: a high half that is forgotten is
    /// noticed.
    pub fn extend_sequence_numbers(&mut self) {
        for esp in self.sas.iter_mut().filter_map(|sa| sa.esp.as_mut()) {
            (esp.esn, esp.sequence_high) = (true, 1);
        }
    }

    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the SAs from {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a valid sas.json", path.display()))
    }

    /// Parses and checks the text of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let file: Self = serde_json::from_str(text)?;
        ensure!(
            file.version == VERSION,
            "version {} is not known (only {VERSION})",
            file.version
        );
        for (index, sa) in file.sas.iter().enumerate() {
            sa.validate()?;
            ensure!(
                file.sas[..index].iter().all(|other| other.name != sa.name),
                "two SAs are named {}",
                sa.name
            );
            for reference in [&sa.tunnel, &sa.pair].into_iter().flatten() {
                ensure!(
                    file.sas.iter().any(|other| other.name == *reference),
                    "SA {} refers to {reference}, which is not in the file",
                    sa.name
                );
            }
        }
        Ok(file)
    }

    /// The text of the file.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.to_json()?).with_context(|| format!("cannot write {}", path.display()))
    }
}
