//! SAs of every algorithm and mode, chosen by the fuzzer. Keys are fixed: no input can forge an ICV.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use ipsec::{
    Algorithm, AuthenticationAlgorithm as Authentication, Direction,
    EncryptionAlgorithm as Encryption, Endpoints, Engine, Operation, SaHandle, SaParams,
    SecurityAssociation, UdpEncapsulation, UdpEncapsulations,
};

use crate::{headers, simd};

const AUTHENTICATIONS: [Authentication; 6] = [
    Authentication::Md5,
    Authentication::Sha1,
    Authentication::Sha256,
    Authentication::AesGmac128,
    Authentication::AesGmac192,
    Authentication::AesGmac256,
];

/// What ESP can be made of, within AH as well as alone.
static ESP_SUITES: LazyLock<Vec<EspSuite>> = LazyLock::new(|| {
    let gcm = [
        Encryption::AesGcm128,
        Encryption::AesGcm192,
        Encryption::AesGcm256,
    ];
    let cbc = [
        Encryption::AesCbc128,
        Encryption::AesCbc192,
        Encryption::AesCbc256,
        Encryption::DesCbc,
        Encryption::TripleDesCbc,
    ];
    let mut suites = Vec::new();
    for encryption in gcm {
        suites.extend([8, 12, 16].map(|icv| EspSuite {
            encryption,
            authentication: None,
            gcm_icv: icv,
        }));
    }
    for encryption in cbc.into_iter().chain([Encryption::Null]) {
        let gmac = encryption == Encryption::Null;
        let authentications = &AUTHENTICATIONS[..if gmac { 6 } else { 3 }];
        suites.extend(authentications.iter().map(|authentication| EspSuite {
            encryption,
            authentication: Some(*authentication),
            gcm_icv: 0,
        }));
    }
    suites
});

/// What leaves authentication to the AH around it.
const UNAUTHENTICATED: [Encryption; 6] = [
    Encryption::Null,
    Encryption::AesCbc128,
    Encryption::AesCbc192,
    Encryption::AesCbc256,
    Encryption::DesCbc,
    Encryption::TripleDesCbc,
];

/// Algorithms of an ESP association.
#[derive(Clone, Copy, Debug)]
pub struct EspSuite {
    pub encryption: Encryption,
    pub authentication: Option<Authentication>,
    gcm_icv: u8,
}

impl EspSuite {
    const fn unauthenticated(encryption: Encryption) -> Self {
        Self {
            encryption,
            authentication: None,
            gcm_icv: 0,
        }
    }

    fn is_gcm(&self) -> bool {
        self.gcm_icv != 0
    }

    /// Bytes of the IV in the packet.
    pub fn iv(&self) -> usize {
        match self.encryption {
            Encryption::AesCbc128 | Encryption::AesCbc192 | Encryption::AesCbc256 => 16,
            Encryption::DesCbc | Encryption::TripleDesCbc => 8,
            Encryption::Null if !self.authentication.is_some_and(is_gmac) => 0,
            _ => 8,
        }
    }

    pub fn icv(&self) -> usize {
        match self.authentication {
            _ if self.is_gcm() => self.gcm_icv.into(),
            Some(Authentication::Md5 | Authentication::Sha1) => 12,
            Some(_) => 16,
            None => 0,
        }
    }

    /// What the length of payload, padding and trailer is a multiple of.
    pub fn alignment(&self) -> usize {
        match self.encryption {
            Encryption::AesCbc128 | Encryption::AesCbc192 | Encryption::AesCbc256 => 16,
            Encryption::DesCbc | Encryption::TripleDesCbc => 8,
            _ => 4,
        }
    }
}

fn is_gmac(authentication: Authentication) -> bool {
    use Authentication::{AesGmac128, AesGmac192, AesGmac256};
    matches!(authentication, AesGmac128 | AesGmac192 | AesGmac256)
}

/// Bytes of the ICV in an AH, the IV of AES-GMAC included.
pub fn ah_icv(authentication: Authentication) -> usize {
    match authentication {
        Authentication::Md5 | Authentication::Sha1 => 12,
        Authentication::Sha256 => 16,
        _ => 24,
    }
}

fn encryption_key(encryption: Encryption) -> &'static [u8] {
    let length = match encryption {
        Encryption::Null => 0,
        Encryption::DesCbc => 8,
        Encryption::AesCbc128 => 16,
        Encryption::AesGcm128 => 20,
        Encryption::TripleDesCbc | Encryption::AesCbc192 => 24,
        Encryption::AesGcm192 => 28,
        Encryption::AesCbc256 => 32,
        Encryption::AesGcm256 => 36,
    };
    &KEY[..length]
}

fn authentication_key(authentication: Authentication) -> &'static [u8] {
    let length = match authentication {
        Authentication::Md5 => 16,
        Authentication::Sha1 | Authentication::AesGmac128 => 20,
        Authentication::AesGmac192 => 28,
        Authentication::Sha256 => 32,
        Authentication::AesGmac256 => 36,
    };
    &KEY[KEY.len() - length..]
}

const KEY: [u8; 72] = {
    let mut key = [0; 72];
    let mut index = 0;
    while index < key.len() {
        key[index] = (index as u8).wrapping_mul(0x3B) ^ 0x5C;
        index += 1;
    }
    key
};

/// The protocols of an SA, with their algorithms.
#[derive(Clone, Copy, Debug)]
pub enum Protocols {
    Esp(EspSuite),
    Ah(Authentication),
    /// AH over ESP.
    Bundle(EspSuite, Authentication),
}

impl<'a> Arbitrary<'a> for Protocols {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let alone =
            usize::from(u.arbitrary::<u8>()?) % (ESP_SUITES.len() + AUTHENTICATIONS.len() + 16);
        if let Some(suite) = ESP_SUITES.get(alone) {
            return Ok(Self::Esp(*suite));
        }
        if let Some(ah) = AUTHENTICATIONS.get(alone - ESP_SUITES.len()) {
            return Ok(Self::Ah(*ah));
        }
        let esp = usize::from(u.arbitrary::<u8>()?) % (ESP_SUITES.len() + UNAUTHENTICATED.len());
        let suite = match ESP_SUITES.get(esp) {
            Some(suite) => *suite,
            None => EspSuite::unauthenticated(UNAUTHENTICATED[esp - ESP_SUITES.len()]),
        };
        Ok(Self::Bundle(suite, *u.choose(&AUTHENTICATIONS)?))
    }
}

/// One SA, to be added in either direction.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Sa {
    pub protocols: Protocols,
    /// Extended sequence numbers, from this high half on.
    pub high: Option<u32>,
    /// The addresses of [`headers`] rather than any.
    pub named: bool,
    /// Tells SAs with equal algorithms apart: the low two bits are a part of the SPIs. The high four are the
    /// subtypes of UDP encapsulation.
    number: u8,
}

impl Sa {
    pub fn esp_spi(&self) -> u32 {
        0x1000 + u32::from(self.number % 4)
    }

    pub fn ah_spi(&self) -> u32 {
        0x2000 + u32::from(self.number % 4)
    }

    /// The same with other SPIs.
    pub fn other(self) -> Self {
        Self {
            number: self.number ^ 1,
            ..self
        }
    }

    /// The same without UDP encapsulation.
    pub fn without_udp(self) -> Self {
        Self {
            number: self.number & 15,
            ..self
        }
    }

    /// Which packets of the SA are in UDP: only ESP without AH can be.
    pub fn udp_encapsulation(&self) -> UdpEncapsulations {
        if self.ah().is_some() {
            return UdpEncapsulations::NONE;
        }
        let named = |(bit, _): &(u8, _)| self.number >> 4 & 1 << bit != 0;
        let subtypes = (0..).zip(UdpEncapsulation::ALL).filter(named);
        subtypes.fold(UdpEncapsulations::NONE, |types, (_, subtype)| {
            types.with(subtype)
        })
    }

    pub fn esp(&self) -> Option<EspSuite> {
        match self.protocols {
            Protocols::Esp(suite) | Protocols::Bundle(suite, _) => Some(suite),
            Protocols::Ah(_) => None,
        }
    }

    pub fn ah(&self) -> Option<Authentication> {
        match self.protocols {
            Protocols::Esp(_) => None,
            Protocols::Ah(authentication) | Protocols::Bundle(_, authentication) => {
                Some(authentication)
            }
        }
    }

    /// Offloads it. Every SA that this module makes is one that the engine takes.
    pub fn add(&self, engine: &Engine, direction: Direction, v6: bool) -> SaHandle {
        let added = self.with_params(direction, v6, |params| engine.add_sa(&simd(), params));
        added.expect("an SA that the engine takes")
    }

    /// What the transport says of it.
    pub fn with_params<R>(
        &self,
        direction: Direction,
        v6: bool,
        work: impl FnOnce(&SaParams<'_>) -> R,
    ) -> R {
        let algorithm = |authentication| Algorithm {
            identifier: authentication,
            key: authentication_key(authentication),
            additional_info: 0,
        };
        let association = |operation, spi| SecurityAssociation {
            operation,
            spi,
            extended_sequence_numbers: self.high.is_some(),
            sequence_number_high: self.high.unwrap_or(0),
            encryption: None,
            authentication: None,
        };
        let mut associations = Vec::with_capacity(2);
        if let Some(suite) = self.esp() {
            associations.push(SecurityAssociation {
                encryption: Some(Algorithm {
                    identifier: suite.encryption,
                    key: encryption_key(suite.encryption),
                    additional_info: suite.gcm_icv.into(),
                }),
                authentication: suite.authentication.map(algorithm),
                ..association(Operation::Esp, self.esp_spi())
            });
        }
        if let Some(authentication) = self.ah() {
            associations.push(SecurityAssociation {
                authentication: Some(algorithm(authentication)),
                ..association(Operation::Ah, self.ah_spi())
            });
        }
        work(&SaParams {
            direction,
            endpoints: self.endpoints(v6),
            udp_encapsulation: self.udp_encapsulation(),
            associations: &associations,
        })
    }

    fn endpoints(&self, v6: bool) -> Endpoints {
        match (v6, self.named) {
            (false, false) => Endpoints::V4 {
                source: [0; 4],
                destination: [0; 4],
            },
            (false, true) => Endpoints::V4 {
                source: headers::SOURCE_V4,
                destination: headers::DESTINATION_V4,
            },
            (true, false) => Endpoints::V6 {
                source: [0; 16],
                destination: [0; 16],
            },
            (true, true) => Endpoints::V6 {
                source: headers::SOURCE_V6,
                destination: headers::DESTINATION_V6,
            },
        }
    }
}
