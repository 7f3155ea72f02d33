//! One packet of a row: plain, framed, and as it must come up.

use anyhow::{Result, ensure};
use rand_chacha::ChaCha20Rng;
use tcpip::packet::ETHERNET_HEADER;

use super::{
    framing::{Framed, Packet},
    keys::{self, Keyed},
    oracle::{Open, Seal, Step},
    row::Row,
};

/// One packet.
pub(super) struct Case {
    pub plain: Packet,
    pub sequences: Vec<u64>,
    /// After each header.
    pub frames: Vec<Framed>,
}

impl Case {
    /// Packet `number` of the SAs, with random contents.
    pub fn new(
        row: &Row,
        keyed: &Keyed,
        number: usize,
        payload: usize,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        // scapy cannot put UDP behind extension headers.
        let options = !row.portions.iter().any(|portion| portion.has_udp());
        let plain = keys::plain(row.family, payload, options, rng);
        let sequences = keyed.sequences(number);
        let frames = keyed.frame(&plain, &sequences);
        Self {
            plain,
            sequences,
            frames,
        }
    }

    /// For the oracle, with random IVs, and with a change after one of the steps.
    pub fn to_seal(
        &self,
        keyed: &Keyed,
        change: Option<(usize, (usize, u8))>,
        rng: &mut ChaCha20Rng,
    ) -> Seal {
        let steps = keyed.headers.iter().zip(&self.sequences).enumerate();
        let steps = steps.map(|(at, (header, &sequence))| Step {
            sequence,
            iv: keys::bytes(rng, header.iv_len),
            flip: change.filter(|(step, _)| *step == at).map(|(_, flip)| flip),
        });
        Seal {
            packet: self.plain.bytes.clone(),
            steps: steps.collect(),
        }
    }

    /// For the oracle, a packet of the wire.
    pub fn to_open(&self, packet: &[u8]) -> Open {
        let high = self.sequences.iter().map(|one| (one >> 32) as u32);
        Open {
            packet: packet.to_vec(),
            high: high.collect(),
        }
    }

    /// With all headers.
    pub fn last(&self) -> &Framed {
        self.frames.last().expect("rows have headers")
    }

    /// The packet that the indication must have: as the oracle has `sealed` it, with what the
    /// headers from `first` on cover in plain text.
    pub fn opened(&self, sealed: &[Vec<u8>], first: usize) -> Vec<u8> {
        let mut inside = match first {
            0 => self.plain.bytes.clone(),
            _ => sealed[first - 1].clone(),
        };
        for (at, framed) in self.frames.iter().enumerate().skip(first) {
            let place = &framed.places[at];
            let point = match (place.inner, at) {
                (Some(_), _) => 0,
                (None, 0) => self.plain.point,
                (None, _) => self.frames[at - 1].packet.point,
            };
            let mut packet = sealed[at].clone();
            let payload = &inside[point..];
            let text = place.body.start + payload.len();
            packet[place.body.start..text].copy_from_slice(payload);
            let trailer = text..place.body.end;
            packet[trailer.clone()].copy_from_slice(&framed.packet.bytes[trailer]);
            inside = packet;
        }
        inside
    }

    /// Everything that the oracle did not have to compute is as framing has it.
    pub fn check_headers(&self, sealed: &[Vec<u8>]) -> Result<()> {
        for (at, (framed, sealed)) in self.frames.iter().zip(sealed).enumerate() {
            let place = &framed.places[at];
            let mine = &framed.packet.bytes;
            ensure!(
                mine.len() == sealed.len(),
                "the oracle's packet is longer or shorter"
            );
            let known = [mine, sealed].map(|bytes| {
                let mut bytes = bytes.clone();
                for computed in [&place.iv, &place.body, &place.icv] {
                    bytes[computed.clone()].fill(0);
                }
                bytes
            });
            ensure!(known[0] == known[1], "the oracle frames it otherwise");
        }
        Ok(())
    }
}

/// The packet of a frame, without Ethernet's padding to 60 bytes, which must be zeros.
pub(super) fn packet_of(frame: &[u8], len: usize) -> Result<&[u8]> {
    let end = ETHERNET_HEADER + len;
    ensure!(
        frame.len() == end.max(60) && frame[end..].iter().all(|&byte| byte == 0),
        "a frame of {} bytes for a packet of {len}",
        frame.len()
    );
    Ok(&frame[ETHERNET_HEADER..end])
}
