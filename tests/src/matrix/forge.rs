//! Forged packets: which bit is changed, and what the documentation has the driver say.

use std::fmt;

use anyhow::{Context, Result, ensure};
use ndis_sys::{
    CRYPTO_TRANSPORT_AH_AUTH_FAILED, CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
    CRYPTO_TUNNEL_AH_AUTH_FAILED, CRYPTO_TUNNEL_ESP_AUTH_FAILED,
};
use tcpip::{offload::ReceiveStamp, recorder::Indicated, unframe::HeaderInfo};

use super::{
    bench::to_b,
    case::{Case, packet_of},
    check::{Purpose, Run},
    keys::Keyed,
    oracle::By,
    row::{Family, Row},
    sizes::Layout,
};

/// The payload of forged packets.
const PAYLOAD: usize = 61;

impl Run<'_> {
    /// Receives packet `number`, forged in as many ways as the plan wants, each time sealed anew.
    pub fn forge(&mut self, keyed: &Keyed, number: usize) -> Result<()> {
        let mut rng = self.generator(Purpose::Forge, number);
        let case = Case::new(self.row, keyed, number, PAYLOAD, &mut rng);
        let all = forgeries(keyed, &case);
        let most = self.plan.forgeries.min(all.len());
        let turned = all
            .iter()
            .cycle()
            .skip(self.index * most % all.len().max(1));
        let chosen: Vec<_> = turned.take(most).collect();
        let seals: Vec<_> = chosen
            .iter()
            .map(|one| case.to_seal(keyed, Some((one.step, (one.at, one.bits))), &mut rng))
            .collect();
        let sealed = self.seal(By::Rfc, keyed, &seals)?;
        let on_wire = |packets: &[Vec<u8>]| packets.last().cloned().expect("rows have headers");
        let opens: Vec<_> = sealed
            .iter()
            .map(|packets| case.to_open(&on_wire(packets)))
            .collect();
        let oracle = self.open(By::Rfc, keyed, &opens)?;
        let lists = sealed.iter().enumerate().map(|(at, packets)| {
            let framed = case.last();
            let frame = to_b(framed.packet.family, &on_wire(packets));
            Layout::of(self.index, at).list(frame, framed, at)
        });
        let indicated = self.bench.receive(lists.collect())?;
        let results = oracle.iter().zip(&indicated);
        for ((forgery, sealed), (oracle, seen)) in chosen.iter().zip(&sealed).zip(results) {
            check(self.row, keyed, &case, forgery, sealed, oracle, seen)
                .with_context(|| format!("forged: {forgery}"))?;
        }
        self.tally.forged += chosen.len();
        Ok(())
    }
}

/// What is to become of a forged packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The ICV of this header is wrong.
    Wrong,
    /// There is no SA for this portion; what is around it is opened.
    Unknown,
    /// A router may change that.
    Sound,
}

/// A change.
#[derive(Clone, Copy, Debug)]
struct Forgery {
    /// After which header.
    step: usize,
    /// The byte of the packet as it is then.
    at: usize,
    /// The bits.
    bits: u8,
    /// What it is.
    what: &'static str,
    /// What becomes of it.
    verdict: Verdict,
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of header {}", self.what, self.step)
    }
}

/// All that are tried with a packet.
fn forgeries(keyed: &Keyed, case: &Case) -> Vec<Forgery> {
    let mut all = Vec::new();
    for (step, framed) in case.frames.iter().enumerate() {
        let place = &framed.places[step];
        let mut add = |what, at, bits, verdict| {
            all.push(Forgery {
                step,
                at,
                bits,
                what,
                verdict,
            });
        };
        if !place.icv.is_empty() {
            let (sequence, body) = (if place.is_esp { 7 } else { 11 }, &place.body);
            add("sequence number", place.start + sequence, 1, Verdict::Wrong);
            if !place.iv.is_empty() {
                add("IV", place.iv.start, 0x80, Verdict::Wrong);
            }
            add("start of what is covered", body.start, 1, Verdict::Wrong);
            add("end of what is covered", body.end - 1, 0x80, Verdict::Wrong);
            add("start of the ICV", place.icv.start, 0x80, Verdict::Wrong);
            add("end of the ICV", place.icv.end - 1, 1, Verdict::Wrong);
        }
        let family = framed.packet.family;
        if !place.is_esp {
            add("reserved field", place.start + 2, 1, Verdict::Wrong);
            if place.icv.end < place.body.start {
                add("padding of the ICV", place.icv.end, 1, Verdict::Wrong);
            }
            if family == Family::V4 {
                add("IP identification", 4, 0x10, Verdict::Wrong);
            }
            for (what, at, bits) in mutable(family) {
                add(what, at, bits, Verdict::Sound);
            }
        }
        let outside = keyed.portion.get(step + 1) != keyed.portion.get(step);
        if outside {
            let spi = place.start + if place.is_esp { 3 } else { 7 };
            add("SPI", spi, 0x40, Verdict::Unknown);
            let (source, destination) = match family {
                Family::V4 => (15, 19),
                Family::V6 => (23, 39),
            };
            add("IP source", source, 0x10, Verdict::Unknown);
            add("IP destination", destination, 0x10, Verdict::Unknown);
        }
    }
    all
}

/// RFC 4302 section 3.3.3.1: fields that AH does not cover.
fn mutable(family: Family) -> Vec<(&'static str, usize, u8)> {
    match family {
        Family::V4 => vec![
            ("type of service", 1, 0xFF),
            ("\"don't fragment\"", 6, 0x40),
            ("time to live", 8, 0xFF),
            ("header checksum", 10, 0xFF),
        ],
        Family::V6 => vec![
            ("traffic class", 1, 0xF0),
            ("flow label", 3, 0xFF),
            ("hop limit", 7, 0xFF),
        ],
    }
}

/// The packet has the right status, and is as it came but for what was sound around the forgery.
fn check(
    row: &Row,
    keyed: &Keyed,
    case: &Case,
    forgery: &Forgery,
    sealed: &[Vec<u8>],
    oracle: &Result<Vec<u8>, String>,
    seen: &Indicated,
) -> Result<()> {
    let portion = keyed.portion[forgery.step];
    let outermost = portion + 1 == row.portions.len();
    let places = &case.last().places;
    let done = ReceiveStamp {
        crypto_done: true,
        ..ReceiveStamp::NONE
    };
    let (stamp, first, sound_portions) = match forgery.verdict {
        Verdict::Sound => (
            ReceiveStamp {
                next_crypto_done: row.portions.len() == 2,
                ..done
            },
            0,
            row.portions.len(),
        ),
        Verdict::Unknown if outermost => (ReceiveStamp::NONE, places.len(), 0),
        Verdict::Unknown => (done, forgery.step + 1, 1),
        Verdict::Wrong => (
            ReceiveStamp {
                next_crypto_done: !outermost,
                crypto_status: status(
                    places[forgery.step].is_esp,
                    row.portions[portion].tunnel.is_some(),
                ),
                ..done
            },
            forgery.step + 1,
            0,
        ),
    };
    ensure!(
        seen.stamp == stamp,
        "stamped {:?}, {}; expected was {}",
        seen.stamp,
        seen.stamp.status_name(),
        stamp.status_name()
    );
    let expected = case.opened(sealed, first);
    let packet = packet_of(&seen.frame, expected.len())?;
    ensure!(packet == expected, "other bytes than came");
    // One trailer, if what was opened has one.
    let esp = places.iter().rev().find(|place| place.is_esp);
    let trailer = esp.filter(|_| {
        let outer = keyed.portion.iter().zip(places);
        let last = row.portions.len() - 1;
        sound_portions == 1 && outer.rev().any(|(at, place)| *at == last && place.is_esp)
    });
    let header = trailer.map(|place| HeaderInfo {
        next_header: place.next_header,
        pad_len: place.pad_len,
    });
    ensure!(
        seen.header == header,
        "header information {:?}",
        seen.header
    );
    match forgery.verdict {
        Verdict::Wrong => ensure!(oracle.is_err(), "the oracle opens it"),
        Verdict::Sound => ensure!(oracle.is_ok(), "the oracle does not open it: {oracle:?}"),
        // The oracle does not look for SAs.
        Verdict::Unknown => {}
    }
    Ok(())
}

fn status(is_esp: bool, tunnel: bool) -> u32 {
    match (is_esp, tunnel) {
        (true, false) => CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
        (true, true) => CRYPTO_TUNNEL_ESP_AUTH_FAILED,
        (false, false) => CRYPTO_TRANSPORT_AH_AUTH_FAILED,
        (false, true) => CRYPTO_TUNNEL_AH_AUTH_FAILED,
    }
}
