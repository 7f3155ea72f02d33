//! No initialization vector may come twice under one key: with AES-GCM and AES-GMAC that gives
//! the authentication key away (SP 800-38D section 8), with CBC it shows what is equal.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use crate::{
    packet::{Layout, PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_UDP},
    sas::{AuthenticationKey, Esp, Sa},
};

/// The port of ESP in UDP (RFC 3948).
const UDP_ESP: [u8; 2] = 4500u16.to_be_bytes();
/// Bytes of AH in front of the ICV.
const AH: usize = 12;

/// Remembers every IV that it was shown, by key.
#[derive(Debug, Default)]
pub struct IvWatch {
    /// Key and salt, and the IV.
    seen: HashSet<(Vec<u8>, Vec<u8>)>,
}

/// The IV of one header of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iv {
    /// Key and salt of what it is for.
    pub key: Vec<u8>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl IvWatch {
    /// Takes note of the IVs that a frame on the wire shows: those of the outermost AH and ESP.
    ///
    /// # Errors
    ///
    /// If one of them was seen before under the same key.
    pub fn note(&mut self, frame: &[u8], sas: &[Sa]) -> Result<()> {
        for Iv { key, bytes } in ivs(frame, sas) {
            let text = hex::encode(&bytes);
            ensure!(
                self.seen.insert((key, bytes)),
                "the IV {text} was on the wire before, under the same key"
            );
        }
        Ok(())
    }

    /// How many different IVs there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// The IVs that a frame shows.
#[must_use]
pub fn ivs(frame: &[u8], sas: &[Sa]) -> Vec<Iv> {
    find(frame, sas).unwrap_or_default()
}

fn find(frame: &[u8], sas: &[Sa]) -> Option<Vec<Iv>> {
    let layout = Layout::of(frame).ok()?;
    let mut found = Vec::new();
    let (mut protocol, mut at) = (layout.protocol, layout.payload);
    if protocol == PROTOCOL_UDP && udp_port(frame, at, 2)? == UDP_ESP {
        (protocol, at) = (PROTOCOL_ESP, at + 8);
    }
    if protocol == PROTOCOL_AH {
        let header = frame.get(at..at + AH)?;
        let of_ah = sas.iter().filter_map(|sa| sa.ah.as_ref());
        let ah = of_ah
            .filter(|ah| header[4..8] == ah.spi.0.to_be_bytes())
            .map(|ah| &ah.authentication)
            .next()?;
        if ah.algorithm.is_gmac() {
            found.push(iv(ah_key(ah), frame, at + AH, ah.algorithm.iv_len())?);
        }
        (protocol, at) = (header[0], at + (usize::from(header[1]) + 2) * 4);
    }
    if protocol == PROTOCOL_ESP {
        let spi = frame.get(at..at + 4)?;
        let mut of_esp = sas.iter().filter_map(|sa| sa.esp.as_ref());
        let esp = of_esp.find(|esp| *spi == esp.spi.0.to_be_bytes())?;
        if esp.iv_len() > 0 {
            found.push(iv(esp_key(esp), frame, at + 8, esp.iv_len())?);
        }
    }
    Some(found)
}

fn udp_port(frame: &[u8], at: usize, offset: usize) -> Option<[u8; 2]> {
    frame.get(at + offset..)?.first_chunk().copied()
}

fn ah_key(key: &AuthenticationKey) -> Vec<u8> {
    [&key.key[..], &key.salt].concat()
}

fn esp_key(esp: &Esp) -> Vec<u8> {
    match &esp.authentication {
        Some(gmac) if gmac.algorithm.is_gmac() => ah_key(gmac),
        _ => [&esp.encryption.key[..], &esp.encryption.salt].concat(),
    }
}

fn iv(key: Vec<u8>, frame: &[u8], at: usize, length: usize) -> Option<Iv> {
    let bytes = frame.get(at..at + length)?.to_vec();
    Some(Iv { key, bytes })
}
