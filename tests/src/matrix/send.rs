//! Packets that the driver sealed, opened by the oracle.

use std::{collections::HashSet, ops::Range};

use anyhow::{Context, Result, bail, ensure};
use ndis_sim::ndis::SendNbl;
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo,
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT as Word, Zero,
};
use tcpip::offload::Handle;

use super::{
    bench::from_a,
    case::{Case, packet_of},
    check::{Purpose, Run},
    framing::{Framed, ROOM},
    keys::Keyed,
    oracle::{By, Open},
    row::{Family, Row},
    sizes::Layout,
};

/// The IVs of a row's packets that the driver chose, with their header.
pub type Ivs = HashSet<(usize, Vec<u8>)>;

impl Run<'_> {
    /// Sends a packet for each of the payloads `sizes`, from number `first` on.
    pub fn send(
        &mut self,
        keyed: &Keyed,
        handles: &[Handle],
        first: usize,
        sizes: &[usize],
        ivs: &mut Ivs,
    ) -> Result<()> {
        let mut rng = self.generator(Purpose::Send, first);
        let cases: Vec<_> = (first..)
            .zip(sizes)
            .map(|(number, &payload)| Case::new(self.row, keyed, number, payload, &mut rng))
            .collect();
        let lists = (first..).zip(&cases).map(|(number, case)| {
            let framed = case.last();
            let frame = from_a(framed.packet.family, &framed.packet.bytes);
            let list = Layout::of(self.index, number).list(frame, framed, number);
            with_words(list, self.row, keyed, framed, handles, number)
        });
        let wire = self.bench.send(lists.collect())?;
        let mut opens = Vec::new();
        for ((case, frame), size) in cases.iter().zip(&wire).zip(sizes) {
            let packet = check_wire(keyed, case, frame, ivs)
                .with_context(|| format!("payload of {size}"))?;
            opens.push(case.to_open(packet));
        }
        let all: Vec<_> = (0..cases.len()).collect();
        self.check_opened(By::Rfc, keyed, &cases, &opens, &all)?;
        let mut chosen = self.for_scapy(first, cases.len());
        chosen.retain(|&at| scapy_opens(self.row, &cases[at]));
        self.check_opened(By::Scapy, keyed, &cases, &opens, &chosen)?;
        self.tally.sent += cases.len();
        self.tally.by_rfc += cases.len();
        self.tally.by_scapy += chosen.len();
        Ok(())
    }

    /// The oracle finds the plain packets in those of the wire.
    fn check_opened(
        &mut self,
        by: By,
        keyed: &Keyed,
        cases: &[Case],
        opens: &[Open],
        which: &[usize],
    ) -> Result<()> {
        let chosen: Vec<_> = which.iter().map(|&at| opens[at].clone()).collect();
        for (&at, opened) in which.iter().zip(self.open(by, keyed, &chosen)?) {
            let case = &cases[at];
            let payload = case.plain.payload().len();
            match opened {
                Ok(plain) if plain == case.plain.bytes => {}
                Ok(_) => bail!("{by:?} finds another packet, payload of {payload}"),
                Err(why) => bail!("{by:?} does not open it, payload of {payload}: {why}"),
            }
        }
        Ok(())
    }
}

/// Behind IPv6 extension headers scapy takes what it has decrypted of ESP in transport mode for
/// the first of them, and fails if it cannot be that.
fn scapy_opens(row: &Row, case: &Case) -> bool {
    let extension = case.plain.family == Family::V6 && case.plain.point > Family::V6.header_len();
    let [innermost, ..] = &row.portions[..] else {
        return true;
    };
    !extension || innermost.tunnel.is_some() || innermost.protection.esp.is_none()
}

/// The out-of-band words of TCP/IP. Of two portions it describes one or the other; the handle of
/// a tunnel alone goes into either word.
fn with_words(
    list: SendNbl,
    row: &Row,
    keyed: &Keyed,
    framed: &Framed,
    handles: &[Handle],
    number: usize,
) -> SendNbl {
    let transport = IPsecOffloadV2NetBufferListInfo as usize;
    let tunnel = IPsecOffloadV2TunnelNetBufferListInfo as usize;
    let list = match *handles {
        [one] if row.portions[0].tunnel.is_some() && number.is_multiple_of(2) => {
            list.info(tunnel, one)
        }
        [one] => list.info(transport, one),
        _ => list.info(transport, handles[0]).info(tunnel, handles[1]),
    };
    let described = number % row.portions.len();
    let mut word = Word::ZERO;
    for (place, portion) in framed.places.iter().zip(&keyed.portion) {
        if *portion != described {
            continue;
        }
        let offset = (place.start / 4) as u32;
        if place.is_esp {
            word = word
                .with(Word::EspHeaderOffset, offset)
                .with(Word::NextHeader, place.next_header.into())
                .with(Word::PadLength, place.pad_len.into());
        } else {
            word = word.with(Word::AhHeaderOffset, offset);
        }
    }
    list.info(
        IPsecOffloadV2HeaderNetBufferListInfo as usize,
        word.Bits as usize,
    )
}

/// What is to be seen without keys: nothing but IVs, encrypted text and ICVs was changed, and
/// these were; an IV is the sequence number, or one that was not there before.
fn check_wire<'f>(
    keyed: &Keyed,
    case: &Case,
    frame: &'f [u8],
    ivs: &mut HashSet<(usize, Vec<u8>)>,
) -> Result<&'f [u8]> {
    let framed = case.last();
    let packet = packet_of(frame, framed.packet.bytes.len())?;
    let mut known = [packet.to_vec(), framed.packet.bytes.clone()];
    let mut computed = |range: &Range<usize>| {
        for bytes in &mut known {
            bytes[range.clone()].fill(0);
        }
    };
    let mut visible = true;
    for (at, place) in framed.places.iter().enumerate().rev() {
        computed(&place.iv);
        computed(&place.icv);
        if visible {
            ensure!(
                place.icv.is_empty() || !packet[place.icv.clone()].iter().all(|&b| b == ROOM),
                "the ICV was not written"
            );
            let iv = &packet[place.iv.clone()];
            if keyed.iv_is_sequence[at] {
                ensure!(
                    iv == case.sequences[at].to_be_bytes(),
                    "the IV is {iv:02x?}"
                );
            } else if !iv.is_empty() {
                ensure!(!iv.iter().all(|&b| b == ROOM), "the IV was not written");
                ensure!(
                    ivs.insert((at, iv.to_vec())),
                    "the IV {iv:02x?} comes again"
                );
            }
        }
        if keyed.encrypted[at] {
            computed(&place.body);
            visible = false;
        }
    }
    ensure!(known[0] == known[1], "more of the packet was changed");
    Ok(packet)
}
