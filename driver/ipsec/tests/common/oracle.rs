//! CBC, HMAC and AES-GMAC in ESP as their definitions have them, a block at a time, over
//! crates that the engine does not use (`hmac`, `aes-gcm`) or uses otherwise.

use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit, consts::U12, inout::InOutBuf};
use aes_gcm::aes::cipher::{BlockCipherEncrypt, BlockSizeUser};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use hmac::{Hmac, Mac};
use ipsec::{AuthenticationAlgorithm, EncryptionAlgorithm};

use super::{Frame, Sa};

impl Sa {
    /// What the wire must show: the framed packet, sealed with this IV.
    pub fn seal_as_engine(&self, frame: &Frame, number: u64, iv: &[u8]) -> Vec<u8> {
        let Some((authentication, key)) = &self.authentication else {
            return self.seal_with_iv(frame, number, u64::from_be_bytes(iv.try_into().unwrap()));
        };
        let mut packet = frame.bytes.clone();
        let esp = &mut packet[frame.esp..frame.end];
        assert_eq!(iv.len(), self.iv());
        esp[8..8 + iv.len()].copy_from_slice(iv);
        let end = esp.len() - self.icv as usize;
        let body = &mut esp[8 + iv.len()..end];
        encrypt(self.algorithm, &self.key, iv, body);
        let high = self.esn.map(|_| ((number >> 32) as u32).to_be_bytes());
        let tag = if iv.len() == 8 && self.algorithm == EncryptionAlgorithm::Null {
            let mut aad = self.spi.to_be_bytes().to_vec();
            aad.extend(high.iter().flatten());
            aad.extend((number as u32).to_be_bytes());
            aad.extend(&esp[8..end]);
            gmac(key, iv, &aad)
        } else {
            let mut message = esp[..end].to_vec();
            message.extend(high.iter().flatten());
            tag(*authentication, key, &message)
        };
        esp[end..].copy_from_slice(&tag[..self.icv as usize]);
        packet
    }
}

fn encrypt(algorithm: EncryptionAlgorithm, key: &[u8], iv: &[u8], body: &mut [u8]) {
    match algorithm {
        EncryptionAlgorithm::DesCbc => cbc(des::Des::new_from_slice(key).unwrap(), iv, body),
        EncryptionAlgorithm::TripleDesCbc => {
            cbc(des::TdesEde3::new_from_slice(key).unwrap(), iv, body);
        }
        EncryptionAlgorithm::AesCbc128 => cbc(Aes128::new_from_slice(key).unwrap(), iv, body),
        EncryptionAlgorithm::AesCbc192 => cbc(Aes192::new_from_slice(key).unwrap(), iv, body),
        EncryptionAlgorithm::AesCbc256 => cbc(Aes256::new_from_slice(key).unwrap(), iv, body),
        EncryptionAlgorithm::Null => {}
        _ => panic!("combined mode"),
    }
}

fn cbc<C: BlockCipherEncrypt + BlockSizeUser>(cipher: C, iv: &[u8], body: &mut [u8]) {
    let mut previous = iv.to_vec();
    for block in body.chunks_mut(C::block_size()) {
        block
            .iter_mut()
            .zip(&previous)
            .for_each(|(to, from)| *to ^= from);
        cipher.encrypt_block(block.try_into().unwrap());
        previous = block.to_vec();
    }
}

/// The whole HMAC.
pub fn tag(algorithm: AuthenticationAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    fn finish<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }
    match algorithm {
        AuthenticationAlgorithm::Md5 => finish::<Hmac<md5::Md5>>(key, message),
        AuthenticationAlgorithm::Sha1 => finish::<Hmac<sha1::Sha1>>(key, message),
        AuthenticationAlgorithm::Sha256 => finish::<Hmac<sha2::Sha256>>(key, message),
        _ => panic!("not an HMAC"),
    }
}

/// `key` ends with the salt.
pub fn gmac(key: &[u8], iv: &[u8], aad: &[u8]) -> Vec<u8> {
    let (key, salt) = key.split_at(key.len() - 4);
    let nonce: [u8; 12] = [salt, iv].concat().try_into().unwrap();
    fn seal(cipher: impl AeadInOut<NonceSize = U12>, nonce: [u8; 12], aad: &[u8]) -> Vec<u8> {
        let empty = InOutBuf::from(&mut [][..]);
        let tag = cipher.encrypt_inout_detached(&nonce.into(), aad, empty);
        tag.unwrap().to_vec()
    }
    match key.len() {
        16 => seal(
            AesGcm::<Aes128, U12>::new_from_slice(key).unwrap(),
            nonce,
            aad,
        ),
        24 => seal(
            AesGcm::<Aes192, U12>::new_from_slice(key).unwrap(),
            nonce,
            aad,
        ),
        _ => seal(
            AesGcm::<Aes256, U12>::new_from_slice(key).unwrap(),
            nonce,
            aad,
        ),
    }
}
