//! Framing as the transport does it, and AES-GCM ESP by another implementation: the
//! second opinion on what the engine writes.
#![allow(dead_code, reason = "each test file uses its part")]

use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit, consts::U12, inout::InOutBuf};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use ipsec::{
    Algorithm, AuthenticationAlgorithm, Config, Direction, EncryptionAlgorithm, Endpoints, Engine,
    Operation, SaHandle, SaParams, SecurityAssociation, SendRequest, Simd, UdpEncapsulations,
};

pub mod ah;
pub mod large;
pub mod nested;
pub mod oracle;
pub mod scapy;
pub mod suites;

pub const SPI: u32 = 0x0102_0304;
pub const UDP: u8 = 17;

pub fn simd() -> Simd {
    // SAFETY: user mode.
    unsafe { Simd::assume_saved() }
}

pub fn engine(sa_capacity: u32) -> Engine {
    Engine::try_new(Config {
        sa_capacity,
        legacy_algorithms: false,
    })
    .unwrap()
}

pub fn legacy_engine(sa_capacity: u32) -> Engine {
    Engine::try_new(Config {
        sa_capacity,
        legacy_algorithms: true,
    })
    .unwrap()
}

/// One SA as the tests want it.
#[derive(Clone, Debug)]
pub struct Sa {
    pub algorithm: EncryptionAlgorithm,
    pub key: Vec<u8>,
    pub icv: u32,
    pub authentication: Option<(AuthenticationAlgorithm, Vec<u8>)>,
    pub spi: u32,
    pub esn: Option<u32>,
    pub endpoints: Endpoints,
    pub udp: UdpEncapsulations,
}

/// Length of the cipher's key, salt included.
pub fn key_length(algorithm: EncryptionAlgorithm) -> usize {
    match algorithm {
        EncryptionAlgorithm::Null => 0,
        EncryptionAlgorithm::DesCbc => 8,
        EncryptionAlgorithm::TripleDesCbc => 24,
        EncryptionAlgorithm::AesGcm128 => 20,
        EncryptionAlgorithm::AesGcm192 => 28,
        EncryptionAlgorithm::AesGcm256 => 36,
        EncryptionAlgorithm::AesCbc128 => 16,
        EncryptionAlgorithm::AesCbc192 => 24,
        EncryptionAlgorithm::AesCbc256 => 32,
    }
}

pub const ANY_V4: Endpoints = Endpoints::V4 {
    source: [0; 4],
    destination: [0; 4],
};
pub const ANY_V6: Endpoints = Endpoints::V6 {
    source: [0; 16],
    destination: [0; 16],
};

impl Sa {
    pub fn new(algorithm: EncryptionAlgorithm, icv: u32) -> Self {
        let length = key_length(algorithm);
        Self {
            algorithm,
            key: (0..length).map(|i| i as u8 ^ 0x5C).collect(),
            icv,
            authentication: None,
            spi: SPI,
            esn: None,
            endpoints: ANY_V4,
            udp: UdpEncapsulations::NONE,
        }
    }

    /// A cipher with an authenticator of its own, or AES-GMAC.
    pub fn separate(cipher: EncryptionAlgorithm, authentication: AuthenticationAlgorithm) -> Self {
        let (length, icv) = match authentication {
            AuthenticationAlgorithm::Md5 => (16, 12),
            AuthenticationAlgorithm::Sha1 => (20, 12),
            AuthenticationAlgorithm::Sha256 => (32, 16),
            AuthenticationAlgorithm::AesGmac128 => (20, 16),
            AuthenticationAlgorithm::AesGmac192 => (28, 16),
            AuthenticationAlgorithm::AesGmac256 => (36, 16),
        };
        let key = (0..length).map(|i| i as u8 ^ 0xA7).collect();
        Self {
            authentication: Some((authentication, key)),
            ..Self::new(cipher, icv)
        }
    }

    /// Bytes of the IV in the packet.
    pub fn iv(&self) -> usize {
        match (self.algorithm, &self.authentication) {
            (EncryptionAlgorithm::DesCbc | EncryptionAlgorithm::TripleDesCbc, _) => 8,
            (
                EncryptionAlgorithm::AesCbc128
                | EncryptionAlgorithm::AesCbc192
                | EncryptionAlgorithm::AesCbc256,
                _,
            ) => 16,
            (EncryptionAlgorithm::Null, Some((_, key))) if matches!(key.len(), 16 | 32) => 0,
            (
                EncryptionAlgorithm::Null,
                Some((AuthenticationAlgorithm::Sha1 | AuthenticationAlgorithm::Md5, _)),
            ) => 0,
            _ => 8,
        }
    }

    /// What the body's length is a multiple of.
    pub fn alignment(&self) -> usize {
        match self.algorithm {
            EncryptionAlgorithm::DesCbc | EncryptionAlgorithm::TripleDesCbc => 8,
            EncryptionAlgorithm::AesCbc128
            | EncryptionAlgorithm::AesCbc192
            | EncryptionAlgorithm::AesCbc256 => 16,
            _ => 4,
        }
    }

    pub fn over(mut self, ip: Ip) -> Self {
        self.endpoints = if ip.is_v6() { ANY_V6 } else { ANY_V4 };
        self
    }

    pub fn udp(mut self, types: impl Into<UdpEncapsulations>) -> Self {
        self.udp = types.into();
        self
    }

    pub fn v6(mut self) -> Self {
        self.endpoints = ANY_V6;
        self
    }

    pub fn esn(mut self, high: u32) -> Self {
        self.esn = Some(high);
        self
    }

    pub fn add_to(
        &self,
        engine: &Engine,
        direction: Direction,
    ) -> Result<SaHandle, ipsec::AddError> {
        engine.add_sa(
            &simd(),
            &SaParams {
                direction,
                endpoints: self.endpoints,
                udp_encapsulation: self.udp,
                associations: &[self.association()],
            },
        )
    }

    pub fn association(&self) -> SecurityAssociation<'_> {
        SecurityAssociation {
            operation: Operation::Esp,
            spi: self.spi,
            extended_sequence_numbers: self.esn.is_some(),
            sequence_number_high: self.esn.unwrap_or(0),
            encryption: Some(Algorithm {
                identifier: self.algorithm,
                key: &self.key,
                additional_info: self.icv,
            }),
            authentication: self
                .authentication
                .as_ref()
                .map(|&(identifier, ref key)| Algorithm {
                    identifier,
                    key,
                    additional_info: 0,
                }),
        }
    }

    /// What the wire must show: the framed packet, sealed by the other implementation
    /// with this 64-bit sequence number as the IV.
    pub fn seal_elsewhere(&self, frame: &Frame, number: u64) -> Vec<u8> {
        self.seal_with_iv(frame, number, number)
    }

    pub fn seal_with_iv(&self, frame: &Frame, number: u64, iv: u64) -> Vec<u8> {
        let mut packet = frame.bytes.clone();
        let esp = &mut packet[frame.esp..frame.end];
        esp[8..16].copy_from_slice(&iv.to_be_bytes());
        let icv = esp.len() - self.icv as usize;
        let (key, salt) = self.key.split_at(self.key.len() - 4);
        let nonce: [u8; 12] = [salt, &iv.to_be_bytes()].concat().try_into().unwrap();
        let aad = if self.esn.is_some() {
            [&self.spi.to_be_bytes()[..], &number.to_be_bytes()].concat()
        } else {
            [self.spi.to_be_bytes(), (number as u32).to_be_bytes()].concat()
        };
        let body = &mut esp[16..icv];
        let tag = match key.len() {
            16 => seal_gcm(
                AesGcm::<Aes128, U12>::new_from_slice(key).unwrap(),
                nonce,
                &aad,
                body,
            ),
            24 => seal_gcm(
                AesGcm::<Aes192, U12>::new_from_slice(key).unwrap(),
                nonce,
                &aad,
                body,
            ),
            _ => seal_gcm(
                AesGcm::<Aes256, U12>::new_from_slice(key).unwrap(),
                nonce,
                &aad,
                body,
            ),
        };
        esp[icv..].copy_from_slice(&tag[..self.icv as usize]);
        packet
    }
}

fn seal_gcm(
    cipher: impl AeadInOut<NonceSize = U12, TagSize = aes_gcm::aead::consts::U16>,
    nonce: [u8; 12],
    aad: &[u8],
    body: &mut [u8],
) -> [u8; 16] {
    cipher
        .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(body))
        .unwrap()
        .into()
}

/// The headers before ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    V4,
    V4Options,
    V6,
    /// Hop-by-hop options, routing and destination options.
    V6Extensions,
}

impl Ip {
    pub const ALL: [Self; 4] = [Self::V4, Self::V4Options, Self::V6, Self::V6Extensions];

    pub fn is_v6(self) -> bool {
        matches!(self, Self::V6 | Self::V6Extensions)
    }
}

pub const SOURCE_V4: [u8; 4] = [192, 0, 2, 1];
pub const DESTINATION_V4: [u8; 4] = [198, 51, 100, 2];
pub const SOURCE_V6: [u8; 16] = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const DESTINATION_V6: [u8; 16] = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// The IP header and what is between it and `protocol`.
pub fn headers(ip: Ip, protocol: u8, payload: usize) -> Vec<u8> {
    match ip {
        Ip::V4 | Ip::V4Options => {
            let options: &[u8] = match ip {
                // Router alert and no-operations.
                Ip::V4Options => &[148, 4, 0, 0, 1, 1, 1, 0],
                _ => &[],
            };
            let length = 20 + options.len();
            let mut header = vec![0x40 | (length / 4) as u8, 0];
            header.extend(((length + payload) as u16).to_be_bytes());
            header.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0xAB, 0xCD]);
            header.extend(SOURCE_V4);
            header.extend(DESTINATION_V4);
            header.extend(options);
            header
        }
        Ip::V6 | Ip::V6Extensions => {
            let mut chain = Vec::new();
            let mut first = protocol;
            if ip == Ip::V6Extensions {
                first = 0;
                chain.extend([43, 0, 5, 2, 0, 0, 1, 0]);
                chain.extend([60, 2, 0, 0, 0, 0, 0, 0]);
                chain.extend(DESTINATION_V6);
                chain.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
            }
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(((chain.len() + payload) as u16).to_be_bytes());
            header.extend([first, 64]);
            header.extend(SOURCE_V6);
            header.extend(DESTINATION_V6);
            header.extend(chain);
            header
        }
    }
}

/// A packet as the transport frames it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Where the ESP header is.
    pub esp: usize,
    /// Where the IP packet ends.
    pub end: usize,
    pub pad_length: u8,
    pub next_header: u8,
}

impl Frame {
    /// ESP header, room for the IV, payload, padding to 4 bytes, trailer, room for the ICV.
    pub fn new(ip: Ip, sa: &Sa, sequence: u32, payload: &[u8]) -> Self {
        Self::of(ip, sa, sequence, payload, UDP)
    }

    /// A tunnel around an IP packet.
    pub fn tunnel(ip: Ip, sa: &Sa, sequence: u32, packet: &[u8]) -> Self {
        let next_header = if packet[0] >> 4 == 4 { 4 } else { 41 };
        Self::of(ip, sa, sequence, packet, next_header)
    }

    pub fn of(ip: Ip, sa: &Sa, sequence: u32, payload: &[u8], next_header: u8) -> Self {
        let pad_length = (-2 - payload.len() as isize).rem_euclid(sa.alignment() as isize) as u8;
        let mut esp = sa.spi.to_be_bytes().to_vec();
        esp.extend(sequence.to_be_bytes());
        esp.extend(vec![0xEE; sa.iv()]);
        esp.extend(payload);
        esp.extend(1..=pad_length);
        esp.extend([pad_length, next_header]);
        esp.extend(vec![0xEE; sa.icv as usize]);
        let mut bytes = headers(ip, 50, esp.len());
        let offset = bytes.len();
        bytes.extend(esp);
        Self {
            end: bytes.len(),
            bytes,
            esp: offset,
            pad_length,
            next_header,
        }
    }

    /// The same with a UDP header in front of ESP, its checksum zero (RFC 3948 section 2.1).
    pub fn in_udp(mut self) -> Self {
        let length = (self.end - self.esp + 8) as u16;
        let mut header = vec![0x11, 0x94, 0x11, 0x94];
        header.extend(length.to_be_bytes());
        header.extend([0, 0]);
        let (protocol, total) = match (self.bytes[0] >> 4, self.bytes[6]) {
            (4, _) => (9, 2),
            (_, 50) => (6, 4),
            // In the last of the extension headers.
            _ => (self.esp - 8, 4),
        };
        assert_eq!(self.bytes[protocol], 50);
        self.bytes[protocol] = UDP;
        let field: &mut [u8; 2] = self.bytes[total..].first_chunk_mut().unwrap();
        *field = (u16::from_be_bytes(*field) + 8).to_be_bytes();
        self.bytes.splice(self.esp..self.esp, header);
        self.esp += 8;
        self.end += 8;
        self
    }

    /// Where the payload begins.
    pub fn payload(&self, sa: &Sa) -> usize {
        self.esp + 8 + sa.iv()
    }

    pub fn request(&self, handle: SaHandle) -> SendRequest {
        SendRequest {
            transport: Some(handle),
            tunnel: None,
            next_header: self.next_header,
            pad_length: self.pad_length,
            ah_header_offset: 0,
            esp_header_offset: (self.esp / 4) as u8,
        }
    }

    /// What the receiver's transport gets: the body in plain text, all else as on the wire.
    pub fn opened(&self, wire: &[u8], sa: &Sa) -> Vec<u8> {
        let mut packet = wire.to_vec();
        let body = self.esp + 8 + sa.iv()..self.end - sa.icv as usize;
        packet[body.clone()].copy_from_slice(&self.bytes[body]);
        packet
    }
}

pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + 7) as u8).collect()
}

pub fn success(pad_length: u8) -> ipsec::Verdict {
    ipsec::Verdict::Processed(ipsec::Outcome {
        next_crypto_done: false,
        status: ipsec::CryptoStatus::Success,
        sa_delete_request: false,
        trailer: Some(ipsec::Trailer {
            next_header: UDP,
            pad_length,
        }),
    })
}

pub fn failure(status: ipsec::CryptoStatus) -> ipsec::Verdict {
    ipsec::Verdict::Processed(ipsec::Outcome {
        next_crypto_done: false,
        status,
        sa_delete_request: false,
        trailer: None,
    })
}
