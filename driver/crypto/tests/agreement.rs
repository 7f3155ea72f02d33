//! Against the `aes-gcm` crate, which shares the block cipher and the hash but not one
//! line of the mode; and what a receiver must not do.

use aes_gcm::aead::{AeadInOut, KeyInit};
use ipsec_crypto::{Aes128Gcm, Aes256Gcm, OpenError, Simd};
use proptest::prelude::*;

fn simd() -> Simd {
    // SAFETY: user mode.
    unsafe { Simd::assume_saved() }
}

fn agree(key: [u8; 32], nonce: [u8; 12], aad: &[u8], plaintext: &[u8]) {
    let mut theirs = plaintext.to_vec();
    let their_tag = aes_gcm::Aes256Gcm::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), aad, (&mut theirs[..]).into())
        .unwrap();
    let ours = Aes256Gcm::new(&simd(), &key).unwrap();
    let mut message = plaintext.to_vec();
    let tag = ours
        .seal_in_place(&simd(), &nonce, aad, &mut message)
        .unwrap();
    assert_eq!(message, theirs);
    assert_eq!(tag[..], their_tag[..]);
    ours.open_in_place(&simd(), &nonce, aad, &mut message, &tag)
        .unwrap();
    assert_eq!(message, plaintext);
}

/// Every length around the batches of every backend (8, 32 and 64 blocks).
#[test]
fn every_length_agrees() {
    let plaintext: Vec<u8> = (0..3000).map(|i| (i * 7) as u8).collect();
    for length in 0..2200 {
        agree(
            [3; 32],
            [length as u8; 12],
            &plaintext[..length % 40],
            &plaintext[..length],
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_messages_agree(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in proptest::collection::vec(any::<u8>(), 0..600),
        plaintext in proptest::collection::vec(any::<u8>(), 0..9001),
    ) {
        agree(key, nonce, &aad, &plaintext);
    }
}

#[test]
fn every_bit_counts() {
    let key = Aes128Gcm::new(&simd(), &[9; 16]).unwrap();
    let (nonce, aad) = ([1; 12], [2; 12]);
    let mut sealed = vec![0x42; 100];
    let tag = key
        .seal_in_place(&simd(), &nonce, &aad, &mut sealed)
        .unwrap();
    let refuse = |nonce: &[u8; 12], aad: &[u8], sealed: &[u8], tag: &[u8]| {
        let mut message = sealed.to_vec();
        assert_eq!(
            key.open_in_place(&simd(), nonce, aad, &mut message, tag),
            Err(OpenError::WrongTag)
        );
        assert_eq!(message, sealed, "untouched");
    };
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for bit in 0..sealed.len() * 8 {
        refuse(&nonce, &aad, &flipped(&sealed, bit), &tag);
    }
    for bit in 0..aad.len() * 8 {
        refuse(&nonce, &flipped(&aad, bit), &sealed, &tag);
    }
    for bit in 0..nonce.len() * 8 {
        let nonce = flipped(&nonce, bit).try_into().unwrap();
        refuse(&nonce, &aad, &sealed, &tag);
    }
    for bit in 0..tag.len() * 8 {
        refuse(&nonce, &aad, &sealed, &flipped(&tag, bit));
    }
    refuse(&nonce, &aad, &sealed[..99], &tag);
    refuse(&nonce, &aad[..11], &sealed, &tag);
}

#[test]
fn truncated_tags_are_checked_as_far_as_they_go() {
    let key = Aes128Gcm::new(&simd(), &[9; 16]).unwrap();
    let mut sealed = vec![0x42; 64];
    let tag = key
        .seal_in_place(&simd(), &[1; 12], &[], &mut sealed)
        .unwrap();
    for length in 0..=16 {
        let mut message = sealed.clone();
        let opened = key.open_in_place(&simd(), &[1; 12], &[], &mut message, &tag[..length]);
        if matches!(length, 4 | 8 | 12..) {
            assert_eq!(opened, Ok(()));
            assert_eq!(message, [0x42; 64]);
            let mut wrong = tag;
            wrong[length - 1] ^= 1;
            let mut message = sealed.clone();
            assert_eq!(
                key.open_in_place(&simd(), &[1; 12], &[], &mut message, &wrong[..length]),
                Err(OpenError::WrongTag)
            );
        } else {
            assert_eq!(opened, Err(OpenError::TagLength));
            assert_eq!(message, sealed);
        }
    }
    let mut message = sealed.clone();
    assert_eq!(
        key.open_in_place(&simd(), &[1; 12], &[], &mut message, &[0; 17]),
        Err(OpenError::TagLength)
    );
}
