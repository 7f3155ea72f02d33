//! AH as the transport frames it, and signed by another implementation.

use ipsec::{
    AddError, Algorithm, AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm,
    Endpoints, Engine, Operation, Outcome, SaHandle, SaParams, SecurityAssociation, SendRequest,
    Trailer, UdpEncapsulations, Verdict,
};

use super::oracle::{gmac, tag};
use super::*;

pub const ALGORITHMS: [AuthenticationAlgorithm; 6] = [
    AuthenticationAlgorithm::Md5,
    AuthenticationAlgorithm::Sha1,
    AuthenticationAlgorithm::Sha256,
    AuthenticationAlgorithm::AesGmac128,
    AuthenticationAlgorithm::AesGmac192,
    AuthenticationAlgorithm::AesGmac256,
];

pub const AH_SPI: u32 = 0x0A0B_0C0D;

/// An SA of AH, or a bundle with ESP within.
#[derive(Clone, Debug)]
pub struct AhSa {
    pub algorithm: AuthenticationAlgorithm,
    pub key: Vec<u8>,
    pub esn: Option<u32>,
    pub endpoints: Endpoints,
    pub esp: Option<Sa>,
}

impl AhSa {
    pub fn new(algorithm: AuthenticationAlgorithm) -> Self {
        let (_, key) = Sa::separate(EncryptionAlgorithm::Null, algorithm)
            .authentication
            .unwrap();
        Self {
            algorithm,
            key,
            esn: None,
            endpoints: ANY_V4,
            esp: None,
        }
    }

    pub fn over(mut self, ip: Ip) -> Self {
        self.endpoints = if ip.is_v6() { ANY_V6 } else { ANY_V4 };
        self
    }

    pub fn icv(&self) -> usize {
        match self.algorithm {
            AuthenticationAlgorithm::Md5 | AuthenticationAlgorithm::Sha1 => 12,
            AuthenticationAlgorithm::Sha256 => 16,
            _ => 24,
        }
    }

    pub fn association(&self) -> SecurityAssociation<'_> {
        SecurityAssociation {
            operation: Operation::Ah,
            spi: AH_SPI,
            extended_sequence_numbers: self.esn.is_some(),
            sequence_number_high: self.esn.unwrap_or(0),
            encryption: None,
            authentication: Some(Algorithm {
                identifier: self.algorithm,
                key: &self.key,
                additional_info: 0,
            }),
        }
    }

    pub fn add_to(&self, engine: &Engine, direction: Direction) -> Result<SaHandle, AddError> {
        let ah = self.association();
        let both;
        let associations = match &self.esp {
            Some(esp) => {
                both = [esp.association(), ah];
                &both[..]
            }
            None => std::slice::from_ref(&ah),
        };
        engine.add_sa(
            &simd(),
            &SaParams {
                direction,
                endpoints: self.endpoints,
                udp_encapsulation: UdpEncapsulations::NONE,
                associations,
            },
        )
    }

    /// Headers, AH with room for the ICV, and `payload`.
    pub fn frame(&self, ip: Ip, sequence: u32, payload: &[u8], next_header: u8) -> AhFrame {
        let mut length = 12 + self.icv();
        if ip.is_v6() {
            length = length.next_multiple_of(8);
        }
        let mut bytes = headers(ip, 51, length + payload.len());
        let ah = bytes.len();
        bytes.extend([next_header, (length / 4 - 2) as u8, 0, 0]);
        bytes.extend(AH_SPI.to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(vec![0xEE; self.icv()]);
        bytes.extend(vec![0; length - 12 - self.icv()]);
        bytes.extend(payload);
        AhFrame { bytes, ah }
    }

    /// The ICV by another implementation. `canonical` is the packet with what is mutable as
    /// zeros, and what is predictable as it arrives; all but the ICV.
    pub fn sign(&self, packet: &mut [u8], mut canonical: Vec<u8>, ah: usize, number: u64) {
        let icv = ah + 12..ah + 12 + self.icv();
        canonical[icv.clone()].fill(0);
        if self.esn.is_some() {
            canonical.extend(((number >> 32) as u32).to_be_bytes());
        }
        let value = match self.icv() {
            24 => {
                let iv = number.to_be_bytes();
                [iv.to_vec(), gmac(&self.key, &iv, &canonical)].concat()
            }
            length => tag(self.algorithm, &self.key, &canonical)[..length].to_vec(),
        };
        packet[icv].copy_from_slice(&value);
    }
}

#[derive(Clone)]
pub struct AhFrame {
    pub bytes: Vec<u8>,
    pub ah: usize,
}

impl AhFrame {
    pub fn request(&self, handle: SaHandle) -> SendRequest {
        SendRequest {
            transport: Some(handle),
            tunnel: None,
            next_header: 0,
            pad_length: 0,
            ah_header_offset: (self.ah / 4) as u8,
            esp_header_offset: 0,
        }
    }
}

/// What the headers of `common::headers` count as.
pub fn canonical(ip: Ip, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if ip.is_v6() {
        packet[1..4].fill(0);
        packet[0] = 0x60;
        packet[7] = 0;
    } else {
        packet[1] = 0;
        packet[6..9].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

pub fn opened(trailer: Option<Trailer>) -> Verdict {
    Verdict::Processed(Outcome {
        next_crypto_done: false,
        status: CryptoStatus::Success,
        sa_delete_request: false,
        trailer,
    })
}
