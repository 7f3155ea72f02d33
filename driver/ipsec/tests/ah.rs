//! AH in transport and tunnel mode, and bundles of AH over ESP.

mod common;

use std::fs;
use std::path::Path;

use common::oracle::{gmac, tag};
use common::*;
use ipsec::{
    AddError, Algorithm, AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm,
    Endpoints, Engine, Operation, Outcome, SaHandle, SaParams, SecurityAssociation, SendError,
    SendRequest, Trailer, UdpEncapsulation, Verdict,
};
use proptest::prelude::*;

const ALGORITHMS: [AuthenticationAlgorithm; 6] = [
    AuthenticationAlgorithm::Md5,
    AuthenticationAlgorithm::Sha1,
    AuthenticationAlgorithm::Sha256,
    AuthenticationAlgorithm::AesGmac128,
    AuthenticationAlgorithm::AesGmac192,
    AuthenticationAlgorithm::AesGmac256,
];

const AH_SPI: u32 = 0x0A0B_0C0D;

/// An SA of AH, or a bundle with ESP within.
#[derive(Clone, Debug)]
struct AhSa {
    algorithm: AuthenticationAlgorithm,
    key: Vec<u8>,
    esn: Option<u32>,
    endpoints: Endpoints,
    esp: Option<Sa>,
}

impl AhSa {
    fn new(algorithm: AuthenticationAlgorithm) -> Self {
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

    fn over(mut self, ip: Ip) -> Self {
        self.endpoints = if ip.is_v6() { ANY_V6 } else { ANY_V4 };
        self
    }

    fn icv(&self) -> usize {
        match self.algorithm {
            AuthenticationAlgorithm::Md5 | AuthenticationAlgorithm::Sha1 => 12,
            AuthenticationAlgorithm::Sha256 => 16,
            _ => 24,
        }
    }

    fn association(&self) -> SecurityAssociation<'_> {
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

    fn add_to(&self, engine: &Engine, direction: Direction) -> Result<SaHandle, AddError> {
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
                udp_encapsulation: UdpEncapsulation::None,
                associations,
            },
        )
    }

    /// Headers, AH with room for the ICV, and `payload`.
    fn frame(&self, ip: Ip, sequence: u32, payload: &[u8], next_header: u8) -> AhFrame {
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
    fn sign(&self, packet: &mut [u8], mut canonical: Vec<u8>, ah: usize, number: u64) {
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
struct AhFrame {
    bytes: Vec<u8>,
    ah: usize,
}

impl AhFrame {
    fn request(&self, handle: SaHandle) -> SendRequest {
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
fn canonical(ip: Ip, packet: &[u8]) -> Vec<u8> {
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

fn opened(trailer: Option<Trailer>) -> Verdict {
    Verdict::Processed(Outcome {
        next_crypto_done: false,
        status: CryptoStatus::Success,
        sa_delete_request: false,
        trailer,
    })
}

/// Every algorithm, kind of header and size, with and without ESN, in both modes.
#[test]
fn what_is_signed_is_what_others_sign() {
    for algorithm in ALGORITHMS {
        for ip in Ip::ALL {
            for esn in [None, Some(0x8000_0001)] {
                let mut sa = AhSa::new(algorithm).over(ip);
                sa.esn = esn;
                let engine = legacy_engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                for (sequence, size) in (1..).zip([0, 1, 15, 16, 17, 63, 64, 1420, 9000]) {
                    let inner = [headers(ip, UDP, size), payload(size)].concat();
                    let tunnel = if ip.is_v6() { 41 } else { 4 };
                    for (next_header, payload) in [(UDP, payload(size)), (tunnel, inner)] {
                        let frame = sa.frame(ip, sequence, &payload, next_header);
                        let mut packet = frame.bytes.clone();
                        engine
                            .seal(&simd(), &frame.request(out), &mut packet)
                            .unwrap();
                        let number = u64::from(esn.unwrap_or(0)) << 32 | u64::from(sequence);
                        let mut expected = frame.bytes.clone();
                        sa.sign(&mut expected, canonical(ip, &frame.bytes), frame.ah, number);
                        assert_eq!(packet, expected, "{sa:?} {ip:?} {size}");
                        assert_eq!(engine.open(&simd(), &mut packet), opened(None));
                        assert_eq!(packet, expected);
                    }
                }
            }
        }
    }
}

/// Routers change what is mutable and nothing else, in headers with options too.
#[test]
fn every_flipped_bit_but_the_mutable() {
    for algorithm in ALGORITHMS {
        for ip in Ip::ALL {
            let mut sa = AhSa::new(algorithm).over(ip);
            sa.esn = Some(3);
            let engine = legacy_engine(2);
            let out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let frame = sa.frame(ip, 77, &payload(20), UDP);
            let mut whole = frame.bytes.clone();
            engine
                .seal(&simd(), &frame.request(out), &mut whole)
                .unwrap();
            for bit in 0..whole.len() * 8 {
                let byte = bit / 8;
                let mutable = if ip.is_v6() {
                    // That the routing header leads once more to where it is: predictable.
                    let predicted = ip == Ip::V6Extensions && bit == 51 * 8 + 7;
                    (bit >= 4 && byte < 4) || byte == 7 || predicted
                } else {
                    // Flags and fragment offset count as zeros, but make a fragment.
                    byte == 1
                        || (8..9).contains(&byte)
                        || (10..12).contains(&byte)
                        || bit == 49
                        || bit == 48
                };
                let mut packet = whole.clone();
                packet[byte] ^= 0x80 >> (bit % 8);
                let before = packet.clone();
                let verdict = engine.open(&simd(), &mut packet);
                assert_eq!(packet, before);
                let accepted = verdict == opened(None);
                assert_eq!(
                    accepted, mutable,
                    "{algorithm:?} {ip:?} byte {byte} bit {bit}"
                );
                if byte >= frame.ah + 8 {
                    assert_eq!(verdict, failure(CryptoStatus::TransportAhAuthFailed));
                }
            }
        }
    }
}

#[test]
fn scapy_is_received_and_signed_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/scapy-ah.txt");
    let text = fs::read_to_string(path).unwrap();
    let mut received = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [_, algorithm, key, esn, sequence, mode, packet] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let algorithm = match algorithm {
            "HMAC-MD5-96" => AuthenticationAlgorithm::Md5,
            "HMAC-SHA1-96" => AuthenticationAlgorithm::Sha1,
            _ => AuthenticationAlgorithm::Sha256,
        };
        let mut sa = AhSa::new(algorithm);
        sa.key = hex::decode(key).unwrap();
        sa.esn = (esn != "-").then(|| u32::from_str_radix(esn, 16).unwrap());
        let packet = hex::decode(packet).unwrap();
        if packet[0] >> 4 == 6 {
            sa.endpoints = ANY_V6;
        }
        let sequence = u32::from_str_radix(sequence, 16).unwrap();
        let start = [0x0102_0304u32.to_be_bytes(), sequence.to_be_bytes()].concat();
        let at = packet.windows(8).position(|bytes| bytes == start).unwrap() - 4;
        let engine = legacy_engine(2);
        let mut association = sa.association();
        association.spi = 0x0102_0304;
        let add = |direction| {
            let params = SaParams {
                direction,
                endpoints: sa.endpoints,
                udp_encapsulation: UdpEncapsulation::None,
                associations: &[association],
            };
            engine.add_sa(&simd(), &params).unwrap()
        };
        add(Direction::Inbound);
        let out = add(Direction::Outbound);
        let mut open = packet.clone();
        assert_eq!(engine.open(&simd(), &mut open), opened(None), "{line}");
        assert_eq!(open, packet);

        let mut ours = packet.clone();
        ours[at + 12..at + 12 + sa.icv()].fill(0xEE);
        let frame = AhFrame {
            bytes: ours.clone(),
            ah: at,
        };
        engine
            .seal(&simd(), &frame.request(out), &mut ours)
            .unwrap();
        assert_eq!(ours, packet, "{line}");

        let mut damaged = packet.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let status = match mode {
            "tunnel" => CryptoStatus::TunnelAhAuthFailed,
            _ => CryptoStatus::TransportAhAuthFailed,
        };
        assert_eq!(engine.open(&simd(), &mut damaged), failure(status));
        received += 1;
    }
    assert_eq!(received, 66);
}

/// Changes the packet on its way as its routers do, and signs what arrives.
fn predicted(ip: Ip, front: &[u8], arrived: &[u8], counted: &[u8]) {
    for algorithm in ALGORITHMS {
        let sa = AhSa::new(algorithm).over(ip);
        let engine = legacy_engine(2);
        let out = sa.add_to(&engine, Direction::Outbound).unwrap();
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let plain = sa.frame(
            if ip.is_v6() { Ip::V6 } else { Ip::V4 },
            5,
            &payload(33),
            UDP,
        );
        let behind = &plain.bytes[plain.ah..];
        let total = front.len() + behind.len();
        let with = |front: &[u8]| {
            let mut packet = [front, behind].concat();
            if ip.is_v6() {
                packet[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            } else {
                packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            }
            packet
        };
        let frame = AhFrame {
            bytes: with(front),
            ah: front.len(),
        };
        let mut packet = frame.bytes.clone();
        engine
            .seal(&simd(), &frame.request(out), &mut packet)
            .unwrap();
        let mut expected = frame.bytes.clone();
        sa.sign(&mut expected, with(counted), frame.ah, 5);
        assert_eq!(packet, expected);
        // As it arrives.
        packet[..front.len()].copy_from_slice(&with(arrived)[..front.len()]);
        assert_eq!(engine.open(&simd(), &mut packet), opened(None));
    }
}

/// The destination is the last address of a source route; routes, time stamps and what is
/// not known count as zeros, router alert and security as they are.
#[test]
fn ipv4_options_on_their_way() {
    let fixed = |destination: [u8; 4], tos, flags, ttl, checksum| {
        let mut header = vec![0x4F, tos, 0, 0, 7, 7, flags, 0, ttl, 51, checksum, 0];
        header.extend(SOURCE_V4);
        header.extend(destination);
        header
    };
    let (first, second) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    for kind in [131, 137] {
        let route = |pointer, addresses: [[u8; 4]; 2]| {
            [vec![kind, 11, pointer], addresses.concat()].concat()
        };
        let rest = [
            &[1, 148, 4, 0, 0][..],
            &[68, 8, 5, 0, 1, 2, 3, 4],
            &[130, 4, 5, 6, 222, 4, 7, 7, 0, 9, 9, 9],
        ]
        .concat();
        let zeroed = [
            &[0; 11][..],
            &[1, 148, 4, 0, 0],
            &[0; 8],
            &[130, 4, 5, 6, 0, 0, 0, 0, 0, 9, 9, 9],
        ]
        .concat();
        let padding = [0; 4];
        let whole = |fixed: Vec<u8>, options: &[u8]| [&fixed[..], options, &padding].concat();
        predicted(
            Ip::V4,
            &whole(
                fixed(first, 0xB8, 0x40, 64, 1),
                &[route(4, [second, DESTINATION_V4]), rest.clone()].concat(),
            ),
            &whole(
                fixed(DESTINATION_V4, 0, 0, 61, 9),
                &[route(12, [first, second]), rest.clone()].concat(),
            ),
            &whole(fixed(DESTINATION_V4, 0, 0, 0, 0), &zeroed),
        );
    }
}

/// A routing header's addresses move by one with every hop; two types do that.
#[test]
fn ipv6_routing_on_its_way() {
    let hop = |byte| [byte; 16];
    for kind in [0, 2] {
        let packet = |destination: [u8; 16], left, hops: [[u8; 16]; 3], traffic: u8, limit: u8| {
            let mut packet = vec![
                0x60u8 | traffic >> 4,
                traffic << 4,
                traffic,
                traffic,
                0,
                0,
                0,
                limit,
            ];
            packet.extend(SOURCE_V6);
            packet.extend(destination);
            // An option that may change and one that may not.
            let changes = if limit == 0 { 0 } else { limit };
            packet.extend([43, 0, 0x3E, 1, changes, 0x1E, 1, 7]);
            packet.extend([51, 6, kind, left, 1, 2, 3, 4]);
            packet.extend(hops.concat());
            packet
        };
        let end = packet(hop(4), 0, [hop(1), hop(2), hop(3)], 0, 0);
        let arrived = packet(hop(4), 0, [hop(1), hop(2), hop(3)], 0x45, 60);
        predicted(
            Ip::V6,
            &packet(hop(1), 3, [hop(2), hop(3), hop(4)], 0xAB, 64),
            &arrived,
            &end,
        );
        predicted(
            Ip::V6,
            &packet(hop(3), 1, [hop(1), hop(2), hop(4)], 0xAB, 62),
            &arrived,
            &end,
        );
    }
}

/// AH over ESP: all algorithms of AH with some of ESP, ESP without an ICV of its own among
/// them.
#[test]
fn bundles() {
    let mut alone = Sa::separate(
        EncryptionAlgorithm::AesCbc128,
        AuthenticationAlgorithm::Sha1,
    );
    (alone.icv, alone.authentication) = (0, None);
    let within = [
        Sa::new(EncryptionAlgorithm::AesGcm128, 16),
        Sa::separate(EncryptionAlgorithm::AesCbc256, AuthenticationAlgorithm::Md5),
        Sa::separate(EncryptionAlgorithm::Null, AuthenticationAlgorithm::Sha1),
        Sa::separate(
            EncryptionAlgorithm::TripleDesCbc,
            AuthenticationAlgorithm::Sha1,
        ),
        alone,
    ];
    for algorithm in ALGORITHMS {
        for esp in &within {
            for ip in Ip::ALL {
                let mut sa = AhSa::new(algorithm).over(ip);
                sa.esp = Some(esp.clone());
                let engine = legacy_engine(2);
                let out = sa.add_to(&engine, Direction::Outbound).unwrap();
                sa.add_to(&engine, Direction::Inbound).unwrap();
                let inside = Frame::new(Ip::V4, esp, 9, &payload(50));
                let frame = sa.frame(ip, 7, &inside.bytes[inside.esp..], 50);
                let start = frame.bytes.len() - (inside.end - inside.esp);
                let request = SendRequest {
                    next_header: UDP,
                    pad_length: inside.pad_length,
                    esp_header_offset: (start / 4) as u8,
                    ..frame.request(out)
                };
                let mut packet = frame.bytes.clone();
                engine.seal(&simd(), &request, &mut packet).unwrap();

                // ESP is what it would be alone, and AH is over it.
                let iv = packet[start + 8..][..esp.iv()].to_vec();
                let mut expected = frame.bytes.clone();
                if esp.icv != 0 {
                    let sealed = esp.seal_as_engine(&inside, 9, &iv);
                    expected[start..].copy_from_slice(&sealed[inside.esp..]);
                } else {
                    expected[start..].copy_from_slice(&packet[start..]);
                    let body = start + 8 + esp.iv();
                    assert_ne!(expected[body..], frame.bytes[body..]);
                }
                let counted = canonical(ip, &expected);
                sa.sign(&mut expected, counted, frame.ah, 7);
                assert_eq!(packet, expected);

                // A wrong ICV of AH: nothing is decrypted.
                let mut damaged = packet.clone();
                *damaged.last_mut().unwrap() ^= 1;
                let before = damaged.clone();
                assert_eq!(
                    engine.open(&simd(), &mut damaged),
                    failure(CryptoStatus::TransportAhAuthFailed)
                );
                assert_eq!(damaged, before);
                // A wrong ICV of ESP within a right one of AH.
                if esp.icv != 0 {
                    let mut damaged = packet.clone();
                    *damaged.last_mut().unwrap() ^= 1;
                    let counted = canonical(ip, &damaged);
                    sa.sign(&mut damaged, counted, frame.ah, 7);
                    let before = damaged.clone();
                    assert_eq!(
                        engine.open(&simd(), &mut damaged),
                        failure(CryptoStatus::TransportEspAuthFailed)
                    );
                    assert_eq!(damaged, before);
                }
                let trailer = Some(Trailer {
                    next_header: UDP,
                    pad_length: inside.pad_length,
                });
                assert_eq!(engine.open(&simd(), &mut packet), opened(trailer));
                let body = start + 8 + esp.iv();
                assert_eq!(packet[body..][..50], payload(50));

                // One of the two protocols alone.
                let other = sa.frame(ip, 8, &payload(20), UDP);
                assert_eq!(
                    engine.open(&simd(), &mut other.bytes.clone()),
                    failure(CryptoStatus::InvalidProtocol)
                );
                let mut only = Frame::new(ip, esp, 8, &payload(20)).bytes;
                assert_eq!(
                    engine.open(&simd(), &mut only),
                    failure(CryptoStatus::InvalidProtocol)
                );
            }
        }
    }
}

/// Each header is where the request says it is.
#[test]
fn requests_that_do_not_fit() {
    let mut sa = AhSa::new(AuthenticationAlgorithm::Sha1);
    let esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    sa.esp = Some(esp.clone());
    let engine = engine(2);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let inside = Frame::new(Ip::V4, &esp, 9, &payload(50));
    let frame = sa.frame(Ip::V4, 7, &inside.bytes[inside.esp..], 50);
    let good = SendRequest {
        next_header: UDP,
        pad_length: inside.pad_length,
        esp_header_offset: 11,
        ..frame.request(out)
    };
    let refuse = |request: SendRequest, change: &dyn Fn(&mut Vec<u8>), error| {
        let mut packet = frame.bytes.clone();
        change(&mut packet);
        let before = packet.clone();
        assert_eq!(engine.seal(&simd(), &request, &mut packet), Err(error));
        assert_eq!(packet, before);
    };
    let mut request = good;
    request.ah_header_offset += 1;
    refuse(request, &|_| {}, SendError::HeaderMismatch);
    request = good;
    request.esp_header_offset += 1;
    refuse(request, &|_| {}, SendError::HeaderMismatch);
    request = good;
    request.pad_length += 1;
    refuse(request, &|_| {}, SendError::TrailerMismatch);
    refuse(
        good,
        &|packet| packet[frame.ah + 4] ^= 1,
        SendError::SpiMismatch,
    );
    refuse(
        good,
        &|packet| packet[frame.ah] = 17,
        SendError::HeaderMismatch,
    );
    refuse(
        good,
        &|packet| packet[frame.ah + 1] ^= 2,
        SendError::LengthMismatch,
    );
    refuse(good, &|packet| packet[9] = 50, SendError::HeaderMismatch);
    let mut packet = frame.bytes.clone();
    assert_eq!(engine.seal(&simd(), &good, &mut packet), Ok(()));
}

/// Options that end nowhere, a routing header that nobody knows: no ICV can be right.
#[test]
fn headers_that_cannot_be_predicted() {
    let sa = AhSa::new(AuthenticationAlgorithm::Sha256);
    let engine = engine(4);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    sa.add_to(&engine, Direction::Inbound).unwrap();
    let out_v6 = sa
        .clone()
        .over(Ip::V6)
        .add_to(&engine, Direction::Outbound)
        .unwrap();
    sa.clone()
        .over(Ip::V6)
        .add_to(&engine, Direction::Inbound)
        .unwrap();
    let check = |frame: AhFrame, out| {
        let mut packet = frame.bytes.clone();
        assert_eq!(
            engine.seal(&simd(), &frame.request(out), &mut packet),
            Err(SendError::Malformed)
        );
        assert_eq!(
            engine.open(&simd(), &mut packet),
            failure(CryptoStatus::GenericError)
        );
        assert_eq!(packet, frame.bytes);
    };
    for length in [0, 1, 9, 255] {
        let mut frame = sa.frame(Ip::V4Options, 1, b"data", UDP);
        frame.bytes[21] = length;
        check(frame, out);
    }
    let mut frame = sa.frame(Ip::V6Extensions, 1, b"data", UDP);
    // Segments left of a type that is not known; of type 0, more than there are.
    frame.bytes[50..52].copy_from_slice(&[4, 1]);
    check(frame.clone(), out_v6);
    frame.bytes[50..52].copy_from_slice(&[0, 2]);
    check(frame, out_v6);
}

/// Lengths of AH that are not the SA's.
#[test]
fn received_lengths() {
    for ip in [Ip::V4, Ip::V6] {
        let sa = AhSa::new(AuthenticationAlgorithm::Sha1).over(ip);
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let frame = sa.frame(ip, 1, &payload(40), UDP);
        for length in 0..=255 {
            let mut packet = frame.bytes.clone();
            packet[frame.ah + 1] = length;
            let expected = match length {
                4 => CryptoStatus::TransportAhAuthFailed,
                // Padded as over IPv6.
                5 if ip == Ip::V4 => CryptoStatus::TransportAhAuthFailed,
                _ => CryptoStatus::InvalidPacketSyntax,
            };
            assert_eq!(
                engine.open(&simd(), &mut packet),
                failure(expected),
                "{length}"
            );
        }
        for length in frame.ah + 8..frame.ah + 24 {
            let mut packet = frame.bytes[..length].to_vec();
            assert_eq!(
                engine.open(&simd(), &mut packet),
                failure(CryptoStatus::InvalidPacketSyntax)
            );
        }
    }
}

/// What is advertised is taken, and keys have one length.
#[test]
fn what_sas_are_taken() {
    for engine in [engine(4), legacy_engine(4)] {
        let capabilities = engine.capabilities();
        assert!(capabilities.ah && capabilities.ah_esp_combined);
        for algorithm in ALGORITHMS {
            for length in 0..64 {
                let mut sa = AhSa::new(algorithm);
                let right = sa.key.len() == length;
                sa.key = vec![1; length];
                let added = sa.add_to(&engine, Direction::Inbound);
                let expected = match capabilities.authentication.contains(&algorithm) {
                    false => Some(AddError::NotSupported),
                    true if right => None,
                    true => Some(AddError::InvalidParameter),
                };
                assert_eq!(added.err(), expected, "{algorithm:?} {length}");
                engine.delete_all();
            }
        }
        let sa = AhSa::new(AuthenticationAlgorithm::Sha1);
        let mut association = sa.association();
        association.encryption = Some(Algorithm {
            identifier: EncryptionAlgorithm::Null,
            key: &[],
            additional_info: 0,
        });
        let params = SaParams {
            direction: Direction::Inbound,
            endpoints: ANY_V4,
            udp_encapsulation: UdpEncapsulation::None,
            associations: &[association],
        };
        assert_eq!(
            engine.add_sa(&simd(), &params),
            Err(AddError::InvalidParameter)
        );
    }
}

/// AH as the tunnel around ESP, and ESP as the tunnel around AH.
#[test]
fn transport_over_tunnel() {
    let esp = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    for algorithm in ALGORITHMS {
        for ah_outside in [true, false] {
            let sa = AhSa::new(algorithm);
            let engine = legacy_engine(4);
            let ah_out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            let esp_out = esp.add_to(&engine, Direction::Outbound).unwrap();
            esp.add_to(&engine, Direction::Inbound).unwrap();
            let (mut packet, request, expected, inside) = if ah_outside {
                let inner = Frame::new(Ip::V4, &esp, 3, &payload(40));
                let outer = sa.frame(Ip::V4, 5, &inner.bytes, 4);
                let start = outer.bytes.len() - inner.end;
                let request = SendRequest {
                    transport: Some(esp_out),
                    tunnel: Some(ah_out),
                    ..outer.request(ah_out)
                };
                let mut expected = outer.bytes.clone();
                expected[start..].copy_from_slice(&esp.seal_elsewhere(&inner, 3));
                let counted = canonical(Ip::V4, &expected);
                sa.sign(&mut expected, counted, outer.ah, 5);
                (outer.bytes, request, expected, start + inner.esp + 16)
            } else {
                let inner = sa.frame(Ip::V4, 5, &payload(40), UDP);
                let outer = Frame::tunnel(Ip::V4, &esp, 3, &inner.bytes);
                let request = SendRequest {
                    transport: Some(ah_out),
                    tunnel: Some(esp_out),
                    ..outer.request(esp_out)
                };
                let mut signed = inner.bytes.clone();
                sa.sign(&mut signed, canonical(Ip::V4, &inner.bytes), inner.ah, 5);
                let mut within = outer.clone();
                let start = outer.payload(&esp);
                within.bytes[start..][..signed.len()].copy_from_slice(&signed);
                let expected = esp.seal_elsewhere(&within, 3);
                (outer.bytes, request, expected, start + signed.len() - 40)
            };
            engine.seal(&simd(), &request, &mut packet).unwrap();
            assert_eq!(packet, expected);
            let both = |status| {
                Verdict::Processed(Outcome {
                    next_crypto_done: true,
                    status,
                    sa_delete_request: false,
                    trailer: None,
                })
            };
            assert_eq!(
                engine.open(&simd(), &mut packet),
                both(CryptoStatus::Success)
            );
            assert_eq!(packet[inside..][..40], payload(40));

            let mut damaged = expected;
            *damaged.last_mut().unwrap() ^= 1;
            let status = if ah_outside {
                CryptoStatus::TunnelAhAuthFailed
            } else {
                CryptoStatus::TunnelEspAuthFailed
            };
            assert_eq!(engine.open(&simd(), &mut damaged), failure(status));
        }
    }
}

proptest! {
    /// Noise in front of AH, and within: nothing panics, is accepted or changed.
    #[test]
    fn noise_is_refused(
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x4F), Just(0x60)],
        protocol in prop_oneof![Just(51u8), Just(0), Just(43), Just(60), any::<u8>()],
        mut packet in proptest::collection::vec(any::<u8>(), 60..300),
        at in 20..200usize,
    ) {
        let engine = legacy_engine(4);
        let mut handles = Vec::new();
        for ip in [Ip::V4, Ip::V6] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let sa = AhSa::new(AuthenticationAlgorithm::Sha1).over(ip);
                handles.push(sa.add_to(&engine, direction).unwrap());
            }
        }
        let at = at & !3;
        packet[0] = version;
        packet[6..8].copy_from_slice(&[protocol, 0]);
        packet[9] = 51;
        let length = (packet.len() as u16).to_be_bytes();
        if version == 0x60 {
            packet[4..6].copy_from_slice(&[0, (length[1]).saturating_sub(40)]);
        } else {
            packet[2..4].copy_from_slice(&length);
            packet[6] = 0;
        }
        if let Some(place) = packet.get_mut(at..at + 12) {
            place[1] = 4;
            place[4..8].copy_from_slice(&AH_SPI.to_be_bytes());
        }
        let before = packet.clone();
        let verdict = engine.open(&simd(), &mut packet);
        prop_assert_ne!(verdict, opened(None));
        prop_assert_eq!(&packet, &before);
        for handle in handles {
            let request = SendRequest {
                transport: Some(handle),
                tunnel: None,
                next_header: 0,
                pad_length: 0,
                ah_header_offset: (at / 4) as u8,
                esp_header_offset: 0,
            };
            let mut packet = before.clone();
            if engine.seal(&simd(), &request, &mut packet).is_err() {
                prop_assert_eq!(&packet, &before);
            }
        }
    }
}
