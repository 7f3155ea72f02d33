//! What must not be left in memory when an SA goes, and where the driver could have left it: in
//! its pool, in what it gave back to the pool, and on the kernel stacks.

use std::collections::{BTreeSet, HashMap, HashSet};

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use ndis_sim::Machine;
use tcpip::{
    algorithm::Authentication,
    sas::{AuthenticationKey, Sa},
};

/// Eight bytes of a secret: enough not to be anywhere by accident.
type Needle = [u8; 8];

/// Secrets, and whose they are.
#[derive(Debug, Default)]
pub struct Secrets {
    needles: HashMap<Needle, String>,
}

impl Secrets {
    /// What follows from the keys of `sa` by the standards alone: the keys, the round keys of
    /// AES (FIPS 197 section 5.2), the hash key of GCM (SP 800-38D section 6.4), and the padded
    /// keys and states of HMAC (RFC 2104 section 4).
    #[must_use]
    pub fn of(sa: &Sa) -> Self {
        let mut secrets = Self::default();
        let mut authentication = |key: &AuthenticationKey| {
            secrets.add(&sa.name, &key.key);
            if key.algorithm.is_gmac() {
                secrets.add_aes(&sa.name, &key.key);
            } else {
                secrets.add_hmac(&sa.name, key);
            }
        };
        if let Some(ah) = &sa.ah {
            authentication(&ah.authentication);
        }
        if let Some(key) = sa.esp.as_ref().and_then(|esp| esp.authentication.as_ref()) {
            authentication(key);
        }
        if let Some(esp) = &sa.esp {
            let key = &esp.encryption.key;
            secrets.add(&sa.name, key);
            if esp.encryption.algorithm.iv_len() == 16 || esp.encryption.algorithm.is_gcm() {
                secrets.add_aes(&sa.name, key);
            }
        }
        secrets
    }

    /// All of `bytes`, four bytes apart.
    pub fn add(&mut self, whose: &str, bytes: &[u8]) {
        for at in (0..bytes.len().saturating_sub(7)).step_by(4) {
            let needle: Needle = bytes[at..at + 8].try_into().expect("eight bytes");
            if needle.iter().collect::<BTreeSet<_>>().len() >= 6 {
                self.needles.insert(needle, whose.to_owned());
            }
        }
    }

    fn add_aes(&mut self, whose: &str, key: &[u8]) {
        self.add(whose, &expanded(key));
        let mut hash_key = [0; 16].into();
        match key.len() {
            16 => Aes128::new_from_slice(key)
                .expect("16 bytes")
                .encrypt_block(&mut hash_key),
            24 => Aes192::new_from_slice(key)
                .expect("24 bytes")
                .encrypt_block(&mut hash_key),
            _ => Aes256::new_from_slice(key)
                .expect("32 bytes")
                .encrypt_block(&mut hash_key),
        }
        self.add(whose, &hash_key);
        let reversed: Vec<u8> = hash_key.iter().rev().copied().collect();
        self.add(whose, &reversed);
    }

    fn add_hmac(&mut self, whose: &str, key: &AuthenticationKey) {
        for pad in [0x36, 0x5C] {
            let mut block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(&key.key) {
                *byte ^= key;
            }
            self.add(whose, &block[..key.key.len()]);
            self.add(whose, &state_after(key.algorithm, &block));
        }
    }

    /// Takes what is in these blocks of the pool as secret: whatever form a key has there. What is
    /// in the blocks of an SA of the same kind with other keys as well (`decoy`) is none: what
    /// padding between members happens to hold.
    pub fn add_blocks(
        &mut self,
        machine: &Machine,
        whose: &str,
        addresses: &HashSet<usize>,
        decoy: &HashSet<usize>,
    ) {
        let (mut blocks, mut common) = (Vec::new(), HashSet::new());
        machine.kernel().pool.for_each_block(|block| {
            if block.freed {
                return;
            }
            if addresses.contains(&block.address) {
                blocks.push(block.bytes.to_vec());
            }
            if decoy.contains(&block.address) {
                common.extend(block.bytes.windows(8).map(<[u8]>::to_vec));
            }
        });
        for bytes in blocks {
            let mut own = Self::default();
            own.add(whose, &bytes);
            own.needles
                .retain(|needle, _| !common.contains(needle.as_slice()));
            self.extend(own);
        }
    }

    /// Takes over those of another.
    pub fn extend(&mut self, other: Self) {
        self.needles.extend(other.needles);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Where in the pool they are: whose, and in what kind of block.
    #[must_use]
    pub fn in_pool(&self, machine: &Machine) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        machine.kernel().pool.for_each_block(|block| {
            let state = if block.freed { "freed" } else { "live" };
            let (length, by) = (block.bytes.len(), block.by);
            self.search(block.bytes, |whose, at| {
                found.insert(format!(
                    "{whose}: at {at} in a {state} block of {length} bytes, of {by}"
                ));
            });
        });
        found
    }

    /// Whose are in the pool.
    #[must_use]
    pub fn owners_in_pool(&self, machine: &Machine) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        machine.kernel().pool.for_each_block(|block| {
            self.search(block.bytes, |whose, _| {
                found.insert(whose.to_owned());
            });
        });
        found
    }

    /// Where on the kernel stacks they are: whose, and how far below the top.
    #[must_use]
    pub fn on_stacks(&self, machine: &Machine) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        machine.for_each_kernel_stack(|stack| {
            self.search(stack, |whose, at| {
                found.insert(format!("{whose}: {} bytes deep", stack.len() - at));
            });
        });
        found
    }

    fn search(&self, bytes: &[u8], mut hit: impl FnMut(&str, usize)) {
        let mut first = vec![false; 1 << 16];
        for needle in self.needles.keys() {
            first[usize::from(u16::from_le_bytes([needle[0], needle[1]]))] = true;
        }
        for (at, window) in bytes.windows(8).enumerate() {
            if first[usize::from(u16::from_le_bytes([window[0], window[1]]))]
                && let Some(whose) = self.needles.get(window)
            {
                hit(whose, at);
            }
        }
    }
}

/// The blocks of the pool that are allocated now.
#[must_use]
pub fn blocks(machine: &Machine) -> HashSet<usize> {
    let mut addresses = HashSet::new();
    machine.kernel().pool.for_each_block(|block| {
        if !block.freed {
            addresses.insert(block.address);
        }
    });
    addresses
}

/// The key schedule of AES.
fn expanded(key: &[u8]) -> Vec<u8> {
    let words = key.len() / 4;
    let mut schedule = key.to_vec();
    let mut constant = 1;
    for index in words..4 * (words + 7) {
        let mut word: [u8; 4] = schedule[4 * index - 4..].try_into().expect("four bytes");
        if index % words == 0 {
            word.rotate_left(1);
            word = word.map(substitute);
            word[0] ^= constant;
            constant = doubled(constant);
        } else if words > 6 && index % words == 4 {
            word = word.map(substitute);
        }
        for byte in 0..4 {
            schedule.push(schedule[4 * (index - words) + byte] ^ word[byte]);
        }
    }
    schedule
}

fn doubled(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 == 0 { 0 } else { 0x1B }
}

/// The S-box (FIPS 197 section 5.1.1): the inverse in the field, and an affine map.
fn substitute(byte: u8) -> u8 {
    let times = |mut left: u8, right: u8| {
        let mut product = 0;
        for bit in 0..8 {
            if right >> bit & 1 != 0 {
                product ^= left;
            }
            left = doubled(left);
        }
        product
    };
    // The inverse is the 254th power.
    let inverse = (0..253).fold(byte, |power, _| times(power, byte));
    [0, 1, 2, 3, 4]
        .map(|by| inverse.rotate_left(by))
        .into_iter()
        .fold(0x63, |sum, part| sum ^ part)
}

/// The state of an HMAC's hash function after its first block, as it lies in memory.
fn state_after(algorithm: Authentication, block: &[u8; 64]) -> Vec<u8> {
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match algorithm {
        Authentication::HmacMd5 => {
            let mut state = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
            md5::block_api::compress(&mut state, &[*block]);
            bytes(&state)
        }
        Authentication::HmacSha1 => {
            let mut state = [
                0x6745_2301,
                0xEFCD_AB89,
                0x98BA_DCFE,
                0x1032_5476,
                0xC3D2_E1F0,
            ];
            sha1::block_api::compress(&mut state, &[*block]);
            bytes(&state)
        }
        _ => {
            let mut state = [
                0x6A09_E667,
                0xBB67_AE85,
                0x3C6E_F372,
                0xA54F_F53A,
                0x510E_527F,
                0x9B05_688C,
                0x1F83_D9AB,
                0x5BE0_CD19,
            ];
            sha2::block_api::compress256(&mut state, &[*block]);
            bytes(&state)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 appendix A.1 and A.3: the last word of the schedule.
    #[test]
    fn the_key_schedule_is_that_of_fips_197() {
        let key = |text: &str| {
            let digits = text.as_bytes().chunks(2);
            digits
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect::<Vec<_>>()
        };
        let short = expanded(&key("2b7e151628aed2a6abf7158809cf4f3c"));
        assert_eq!(short.len(), 176);
        assert_eq!(short[172..], [0xB6, 0x63, 0x0C, 0xA6]);
        let long = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        let long = expanded(&key(long));
        assert_eq!(long.len(), 240);
        assert_eq!(long[236..], [0x70, 0x6C, 0x63, 0x1E]);
    }
}
