//! SAs of every kind.

use tcpip::{
    algorithm::{Authentication, Encryption, Suite},
    sas::{Ah, AuthenticationKey, Direction, EncryptionKey, Esp, Mode, Sa, Spi, UdpEsp},
};

/// What protects a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ESP.
    Esp(Suite),
    /// AH.
    Ah(Authentication),
    /// AH over ESP, which has no authenticator of its own if it has none here.
    Bundle(Encryption, Option<Authentication>, Authentication),
}

impl Kind {
    /// Every ESP and every AH, and bundles in which each algorithm is once in ESP and once in AH.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let esp = Suite::all().into_iter().map(Self::Esp);
        let ah = Authentication::ALL.into_iter().map(Self::Ah);
        let within = Encryption::ALL.into_iter().zip(
            Authentication::ALL
                .into_iter()
                .cycle()
                .skip(Authentication::ALL.len() / 2),
        );
        let alone = within
            .clone()
            .map(|(encryption, ah)| Self::Bundle(encryption, None, ah));
        let both = Authentication::ALL.into_iter().map(|authentication| {
            Self::Bundle(
                Encryption::Null,
                Some(authentication),
                Authentication::HmacSha1,
            )
        });
        esp.chain(ah).chain(alone).chain(both).collect()
    }

    /// Whether the driver does it only when `LegacyAlgorithms` is on.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        let (encryption, authentications) = match self {
            Self::Esp(suite) => (Some(suite.encryption), [suite.authentication, None]),
            Self::Ah(ah) => (None, [Some(ah), None]),
            Self::Bundle(encryption, authentication, ah) => {
                (Some(encryption), [authentication, Some(ah)])
            }
        };
        matches!(
            encryption,
            Some(Encryption::DesCbc | Encryption::TripleDesCbc)
        ) || authentications.contains(&Some(Authentication::HmacMd5))
    }
}

/// Bytes that look random and are the same in every run.
pub struct Bytes(u64);

impl Bytes {
    /// Other bytes for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x243F_6A88_85A3_08D3)
    }

    /// The next ones (SplitMix64).
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend((word ^ (word >> 31)).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// An SA of this kind between two hosts or gateways, with an SPI and keys of its own.
pub fn sa(kind: Kind, mode: Mode, six: bool, number: u32) -> Sa {
    let mut bytes = Bytes::new(number.into());
    let mut authentication_key = |algorithm: Authentication| AuthenticationKey {
        algorithm,
        key: bytes.take(algorithm.key_len()),
        salt: bytes.take(algorithm.salt_len()),
    };
    let (suite, ah) = match kind {
        Kind::Esp(suite) => (Some(suite), None),
        Kind::Ah(ah) => (None, Some(ah)),
        Kind::Bundle(encryption, authentication, ah) => {
            let suite = Suite {
                encryption,
                authentication,
            };
            (Some(suite), Some(ah))
        }
    };
    let ah = ah.map(|algorithm| Ah {
        spi: Spi(0x4000_0000 + number),
        authentication: authentication_key(algorithm),
        esn: false,
        sequence: 1,
        sequence_high: 0,
    });
    let authentication = suite.and_then(|suite| suite.authentication.map(authentication_key));
    let esp = suite.map(|Suite { encryption, .. }| Esp {
        spi: Spi(0x2000_0000 + number),
        encryption: EncryptionKey {
            algorithm: encryption,
            key: bytes.take(encryption.key_len()),
            salt: bytes.take(encryption.salt_len()),
            icv_length: encryption.is_gcm().then_some(16),
        },
        authentication,
        esn: false,
        sequence: 1,
        sequence_high: 0,
    });
    let (source, destination) = match (six, mode) {
        (false, Mode::Transport) => ("192.0.2.1", "192.0.2.2"),
        (false, Mode::Tunnel) => ("203.0.113.1", "203.0.113.2"),
        (true, Mode::Transport) => ("2001:db8::1", "2001:db8::2"),
        (true, Mode::Tunnel) => ("2001:db8:ffff::1", "2001:db8:ffff::2"),
    };
    let address = |text: &str| Some(text.parse().expect("an address"));
    Sa {
        name: format!("{kind:?} {number}"),
        direction: Direction::Both,
        mode,
        source: address(source),
        destination: address(destination),
        ip_version: None,
        esp,
        ah,
        udp_esp: UdpEsp::None,
        udp_ports: None,
        selector: None,
        tunnel: None,
        pair: None,
    }
}

/// Switches extended sequence numbers on in both headers.
pub fn extend(sa: &mut Sa, high: u32) {
    if let Some(esp) = &mut sa.esp {
        (esp.esn, esp.sequence_high) = (true, high);
    }
    if let Some(ah) = &mut sa.ah {
        (ah.esn, ah.sequence_high) = (true, high);
    }
}
