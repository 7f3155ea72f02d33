//! Sound packets that the oracle made, received.

use anyhow::{Context, Result, ensure};
use tcpip::{offload::ReceiveStamp, recorder::Indicated, unframe::HeaderInfo};

use super::{
    bench::to_b,
    case::{Case, packet_of},
    check::{Purpose, Run},
    keys::Keyed,
    oracle::By,
    row::Row,
    sizes::Layout,
};

impl Run<'_> {
    /// Receives a packet for each of the payloads `sizes`, from number `first` on.
    pub fn receive(&mut self, keyed: &Keyed, first: usize, sizes: &[usize]) -> Result<()> {
        let mut rng = self.generator(Purpose::Receive, first);
        let cases: Vec<_> = (first..)
            .zip(sizes)
            .map(|(number, &payload)| Case::new(self.row, keyed, number, payload, &mut rng))
            .collect();
        let seals: Vec<_> = cases
            .iter()
            .map(|case| case.to_seal(keyed, None, &mut rng))
            .collect();
        let sealed = self.seal(By::Rfc, keyed, &seals)?;
        let chosen = self.for_scapy(first, cases.len());
        let for_scapy: Vec<_> = chosen.iter().map(|&at| seals[at].clone()).collect();
        let by_scapy = self.seal(By::Scapy, keyed, &for_scapy)?;
        for (&at, packets) in chosen.iter().zip(&by_scapy) {
            ensure!(
                sealed[at] == *packets,
                "scapy and the RFCs differ, payload of {}",
                sizes[at]
            );
        }

        let lists = (first..).zip(cases.iter().zip(&sealed));
        let lists = lists.map(|(number, (case, sealed))| {
            let framed = case.last();
            let frame = to_b(
                framed.packet.family,
                sealed.last().expect("rows have headers"),
            );
            Layout::of_injected(self.index, number, frame.len()).list(frame, framed, number)
        });
        let indicated = self.bench.receive(lists.collect())?;
        let seen = sealed.iter().zip(&indicated);
        for ((case, size), (sealed, seen)) in cases.iter().zip(sizes).zip(seen) {
            case.check_headers(sealed)
                .and_then(|()| check_indicated(self.row, case, sealed, seen))
                .with_context(|| format!("received, payload of {size}"))?;
        }
        self.tally.received += cases.len();
        self.tally.by_rfc += cases.len();
        self.tally.by_scapy += chosen.len();
        Ok(())
    }
}

/// Decrypted where it was encrypted, as it came in all other places; stamped, and with the
/// trailer in the header information when there is one trailer.
fn check_indicated(row: &Row, case: &Case, sealed: &[Vec<u8>], seen: &Indicated) -> Result<()> {
    let expected = case.opened(sealed, 0);
    let packet = packet_of(&seen.frame, expected.len())?;
    let two = row.portions.len() == 2;
    let stamp = ReceiveStamp {
        crypto_done: true,
        next_crypto_done: two,
        ..ReceiveStamp::NONE
    };
    ensure!(
        seen.stamp == stamp,
        "stamped {:?}, {}",
        seen.stamp,
        seen.stamp.status_name()
    );
    ensure!(packet == expected, "other bytes than were sent");
    let esp = case.last().places.iter().find(|place| place.is_esp);
    let header = esp.filter(|_| !two).map(|place| HeaderInfo {
        next_header: place.next_header,
        pad_len: place.pad_len,
    });
    ensure!(
        seen.header == header,
        "header information {:?} instead of {header:?}",
        seen.header
    );
    ensure!(seen.tunnel == 0, "the tunnel's word is {:#x}", seen.tunnel);
    Ok(())
}
