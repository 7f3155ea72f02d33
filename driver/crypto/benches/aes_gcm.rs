//! Seal and open of one packet, beside the `aes-gcm` crate over the same primitives.
#![allow(missing_docs)]

use aes_gcm::aead::{AeadInOut, KeyInit};
use divan::{Bencher, counter::BytesCount};
use ipsec_crypto::{Aes128Gcm, Aes256Gcm, Simd};

const SIZES: [usize; 4] = [64, 576, 1420, 8192];
const AAD: [u8; 8] = [0, 0, 1, 2, 0, 0, 0, 1];

fn main() {
    divan::main();
}

macro_rules! group {
    ($name:ident, $ours:ty, $theirs:ty, $key:expr) => {
        mod $name {
            use super::*;

            #[divan::bench(args = SIZES)]
            fn seal_ours(bencher: Bencher<'_, '_>, size: usize) {
                // SAFETY: user mode.
                let simd = unsafe { Simd::assume_saved() };
                let key = <$ours>::new(&simd, &$key).unwrap();
                let mut buffer = vec![7; size];
                bencher.counter(BytesCount::new(size)).bench_local(|| {
                    key.seal_in_place(&simd, &[3; 12], &AAD, divan::black_box(&mut buffer))
                });
            }

            #[divan::bench(args = SIZES)]
            fn seal_aes_gcm_crate(bencher: Bencher<'_, '_>, size: usize) {
                let key = <$theirs>::new(&$key.into());
                let mut buffer = vec![7; size];
                bencher.counter(BytesCount::new(size)).bench_local(|| {
                    key.encrypt_inout_detached(
                        &[3; 12].into(),
                        &AAD,
                        divan::black_box(&mut buffer[..]).into(),
                    )
                });
            }

            #[divan::bench(args = SIZES)]
            fn open_ours(bencher: Bencher<'_, '_>, size: usize) {
                // SAFETY: user mode.
                let simd = unsafe { Simd::assume_saved() };
                let key = <$ours>::new(&simd, &$key).unwrap();
                let mut buffer = vec![7; size];
                let tag = key
                    .seal_in_place(&simd, &[3; 12], &AAD, &mut buffer)
                    .unwrap();
                let sealed = buffer.clone();
                bencher
                    .counter(BytesCount::new(size))
                    .with_inputs(|| sealed.clone())
                    .bench_local_refs(|buffer| {
                        key.open_in_place(&simd, &[3; 12], &AAD, buffer, &tag)
                            .unwrap()
                    });
            }

            #[divan::bench(args = SIZES)]
            fn open_aes_gcm_crate(bencher: Bencher<'_, '_>, size: usize) {
                let key = <$theirs>::new(&$key.into());
                let mut buffer = vec![7; size];
                let tag = key
                    .encrypt_inout_detached(&[3; 12].into(), &AAD, (&mut buffer[..]).into())
                    .unwrap();
                let sealed = buffer.clone();
                bencher
                    .counter(BytesCount::new(size))
                    .with_inputs(|| sealed.clone())
                    .bench_local_refs(|buffer| {
                        key.decrypt_inout_detached(
                            &[3; 12].into(),
                            &AAD,
                            (&mut buffer[..]).into(),
                            &tag,
                        )
                        .unwrap()
                    });
            }
        }
    };
}

group!(aes128, Aes128Gcm, aes_gcm::Aes128Gcm, [1u8; 16]);
group!(aes256, Aes256Gcm, aes_gcm::Aes256Gcm, [1u8; 32]);
