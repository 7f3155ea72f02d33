//! Flows of every kind that the adapter has something to do for.

use tcpip::{
    algorithm::{Authentication, Encryption, Suite},
    plan::{PlanMode, Protocol, Shape, UdpPlace, Version},
};

use crate::flow::Flow;

/// What is to be done for the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Clear,
    /// Checksums.
    Checksums,
    /// Cutting.
    Large,
    /// SAs of this shape, with this suite in ESP.
    Sealed(Shape, Suite),
    /// Cutting, and then SAs.
    LargeSealed(Shape, Suite),
}

impl Kind {
    /// A flow of this kind, with up to `longest` bytes of payload where there is a choice.
    #[must_use]
    pub fn flow(self, id: u32, from: [u8; 6], to: [u8; 6], ipv6: bool, longest: usize) -> Flow {
        let clear = Flow::clear(id, from, to, ipv6, longest);
        match self {
            Self::Clear => clear,
            Self::Checksums => clear.with_checksums(),
            Self::Large => clear.large(),
            Self::Sealed(shape, suite) => clear.shaped(shape, suite, 16),
            Self::LargeSealed(shape, suite) => clear.large().shaped(shape, suite, 16),
        }
    }

    /// Whether it needs the keyword `LegacyAlgorithms`.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        match self {
            Self::Clear | Self::Checksums | Self::Large => false,
            Self::Sealed(shape, suite) | Self::LargeSealed(shape, suite) => {
                let (esp, ah) = match shape.protocol {
                    Protocol::Esp => (true, false),
                    Protocol::Ah => (false, true),
                    Protocol::AhEsp => (true, true),
                };
                esp && suite.is_legacy() || ah && shape.ah.is_legacy()
            }
        }
    }

    /// Every kind: each algorithm in each protocol, each mode and encapsulation, checksums and large
    /// sends without SAs and with the kinds of SAs that may have them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let gcm = Suite::from(Encryption::AesGcm256);
        let cbc = Suite {
            encryption: Encryption::AesCbc128,
            authentication: Some(Authentication::HmacSha1),
        };
        let within = Suite::all_within_ah();
        let esp = Shape::default();
        let ah = |ah| Shape {
            protocol: Protocol::Ah,
            ah,
            ..esp
        };
        let both = |ah| Shape {
            protocol: Protocol::AhEsp,
            ah,
            ..esp
        };
        let udp = Shape {
            udp_esp: Some(UdpPlace::Outer),
            ..esp
        };
        let mut kinds = vec![Self::Clear, Self::Checksums, Self::Large];
        kinds.extend(
            Suite::all()
                .into_iter()
                .map(|suite| Self::Sealed(esp, suite)),
        );
        kinds.extend(Authentication::ALL.map(|algorithm| Self::Sealed(ah(algorithm), gcm)));
        kinds.extend(
            within
                .iter()
                .zip(Authentication::ALL.into_iter().cycle())
                .map(|(suite, algorithm)| Self::Sealed(both(algorithm), *suite)),
        );
        let protocols = [
            (esp, gcm),
            (ah(Authentication::HmacSha256), gcm),
            (both(Authentication::AesGmac128), within[0]),
        ];
        for mode in [PlanMode::Tunnel, PlanMode::TransportOverTunnel] {
            for outer in [None, Some(Version::V4), Some(Version::V6)] {
                kinds.extend(protocols.map(|(shape, suite)| {
                    Self::Sealed(
                        Shape {
                            mode,
                            outer,
                            ..shape
                        },
                        suite,
                    )
                }));
            }
            kinds.push(Self::Sealed(Shape { mode, ..udp }, cbc));
        }
        let inner = Shape {
            mode: PlanMode::TransportOverTunnel,
            udp_esp: Some(UdpPlace::Inner),
            ..esp
        };
        kinds.extend([Self::Sealed(udp, gcm), Self::Sealed(inner, cbc)]);
        kinds.extend(
            [(esp, gcm), (esp, cbc), (udp, gcm)]
                .into_iter()
                .chain(protocols.into_iter().skip(1))
                .map(|(shape, suite)| Self::LargeSealed(shape, suite)),
        );
        kinds
    }

    /// Those that do not need the keyword.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let mut kinds = Self::all();
        kinds.retain(|kind| !kind.is_legacy());
        kinds
    }
}
