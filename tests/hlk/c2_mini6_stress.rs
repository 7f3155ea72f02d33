//! NDISTest 6.0 - [2 Machine] - 2c_Mini6Stress.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Batch, LONGEST, Lan, NUMBERED, Way, numbered, roomy},
    switch::VERSIONS,
};
use ndis_sim::ndis::SendNb;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        for seed in 0..2 {
            cases.push(Case::new(
                format!("random lists both ways, NDIS {version}, seed {seed}"),
                "both adapters send random lists from random processors at the same time; nothing is lost, changed or overtaken",
                move |figures| stress(version, seed, figures),
            ));
        }
    }
    for (name, checks, place) in [
        (
            "any boundary, two buffers",
            "a packet is sent from two buffers that meet at any of its bytes",
            Place::Meet,
        ),
        (
            "any boundary, one buffer",
            "a packet is sent from a buffer that begins at any offset of its MDL",
            Place::Offset,
        ),
        (
            "any boundary, short buffers",
            "a packet is sent from buffers of any one length, down to a byte each, with empty ones between",
            Place::Every,
        ),
    ] {
        cases.push(Case::new(name, checks, move |figures| {
            boundaries(place, figures);
        }));
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_Mini6Stress",
        requirement: "Device.Network.LAN.Base.AnyBoundary",
        checks: "the send and receive paths under stress, with buffers on any boundary",
        cases,
    }
}

/// Random packets from number `first` on.
fn random_batch(
    random: &mut fastrand::Rng,
    to: [u8; 6],
    from: [u8; 6],
    first: &mut u32,
    most: usize,
) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..random.usize(1..=most) {
        let packets = (0..random.usize(1..=4)).map(|_| {
            let size = match random.u8(..3) {
                0 => random.usize(NUMBERED..=100),
                1 => LONGEST - random.usize(..3),
                _ => random.usize(NUMBERED..=LONGEST),
            };
            let bytes = numbered(to, from, *first, size);
            *first += 1;
            let offset = random.usize(..20);
            let mut split = Vec::new();
            while split.iter().sum::<usize>() < offset + size && split.len() < 12 {
                split.push(random.usize(..=size / 2));
            }
            let nb = SendNb::new(bytes.clone())
                .data_offset(offset)
                .slack(random.usize(..9))
                .split(&split);
            (if random.bool() { nb } else { nb.unmapped() }, bytes)
        });
        batch.push(packets.collect());
    }
    batch
}

fn stress(version: u32, seed: u64, figures: &mut Figures) {
    let lan = Lan::with(version, roomy(), roomy());
    let totals = std::thread::scope(|scope| {
        let senders = Way::BOTH.map(|way| {
            let lan = &lan;
            scope.spawn(move || {
                let (from, to) = lan.ends(way);
                let mut random = fastrand::Rng::with_seed(seed * 2 + u64::from(way == Way::ToTest));
                let mut number = 0;
                let mut sent = Vec::new();
                for _ in 0..60 {
                    let (to, source) = (to.adapter.mac(), from.adapter.mac());
                    let batch = random_batch(&mut random, to, source, &mut number, 20);
                    let about = format!("seed {seed}, up to frame {number}");
                    ipsecov2_tests::lan::assert_sent(&from.send(batch.lists), &about);
                    sent.extend(batch.frames);
                }
                sent
            })
        });
        senders.map(|sender| sender.join().expect("a sender ends"))
    });
    for (way, sent) in Way::BOTH.into_iter().zip(totals) {
        let (_, to) = lan.ends(way);
        ipsecov2_tests::lan::assert_frames(&to.received_bytes(), &sent, &format!("{way:?}"));
        figures.note("frames", sent.len());
    }
    lan.finish();
}

#[derive(Clone, Copy)]
enum Place {
    Meet,
    Offset,
    Every,
}

fn boundaries(place: Place, figures: &mut Figures) {
    let lan = Lan::with(630, roomy(), roomy());
    let (from, to) = lan.ends(Way::FromTest);
    for (size, number) in [(60, 0), (97, 1), (LONGEST, 2)] {
        let shapes: Vec<SendNb> = {
            let nb = || SendNb::new(numbered(to.adapter.mac(), from.adapter.mac(), number, size));
            match place {
                Place::Meet => (0..=size).map(|at| nb().split(&[at])).collect(),
                Place::Offset => (0..=64)
                    .map(|at| nb().data_offset(at).slack(at % 7))
                    .collect(),
                Place::Every => (1..=size.min(200))
                    .map(|len| {
                        let mut split = [len, 0].repeat(size.div_ceil(len));
                        split.insert(0, 0);
                        nb().split(&split)
                    })
                    .collect(),
            }
        };
        let bytes = numbered(to.adapter.mac(), from.adapter.mac(), number, size);
        for (at, chunk) in shapes.chunks(50).enumerate() {
            let mut batch = Batch::default();
            for nb in chunk {
                batch.push(vec![(nb.clone(), bytes.clone())]);
            }
            lan.carry(
                Way::FromTest,
                batch,
                &format!("{size} bytes, from {}", at * 50),
            );
        }
        figures.note("boundaries", shapes.len());
    }
    lan.finish();
}
