//! NDISTest 6.5 - [2 Machine] - CheckConnectivity.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Batch, LONGEST, Lan, NUMBERED, Way, assert_frames, assert_sent, numbered, roomy},
    switch::{PATIENCE, VERSIONS, check},
};
use ndis_sim::{
    Irql,
    ndis::{SendNb, SendOptions},
};

/// Calls each way.
const CALLS: usize = 60;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        for seed in 1..=2 {
            cases.push(Case::new(
                format!("NDIS {version}, seed {seed}"),
                "random IRQL, lists per call, packets per list, sizes and buffers, one way and then the other: everything arrives",
                move |figures| random(version, seed, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - CheckConnectivity",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "sends and receives under stress with random IRQL, packets per list and sizes, in both directions",
        cases,
    }
}

/// Random lists from number `first` on, no more than buffers are there for.
pub fn random_batch(
    random: &mut fastrand::Rng,
    to: [u8; 6],
    from: [u8; 6],
    first: &mut u32,
) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..random.usize(1..=30) {
        let packets = (0..random.usize(1..=5)).map(|_| {
            let size = random.usize(NUMBERED..=LONGEST);
            let bytes = numbered(to, from, *first, size);
            *first += 1;
            let nb = SendNb::new(bytes.clone()).data_offset(random.usize(..9));
            let nb = nb.split(&[random.usize(..=size), random.usize(..=size)]);
            (if random.bool() { nb } else { nb.unmapped() }, bytes)
        });
        batch.push(packets.collect());
    }
    batch
}

fn random(version: u32, seed: u64, figures: &mut Figures) {
    let lan = Lan::with(version, roomy(), roomy());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut number = 0;
    for way in Way::BOTH {
        let (from, to) = lan.ends(way);
        for call in 0..CALLS {
            let (destination, source) = (to.adapter.mac(), from.adapter.mac());
            let batch = random_batch(&mut random, destination, source, &mut number);
            let irql = [Irql::PASSIVE, Irql::APC, Irql::DISPATCH][random.usize(..3)];
            let options = SendOptions {
                irql,
                cpu: random.bool().then(|| random.usize(..2)),
                ..SendOptions::default()
            };
            let machine = &lan.switch.machine;
            let lists = batch.lists.iter().map(|list| list.prepare(machine));
            check(from.open.send_with(lists.collect(), options));
            let count = batch.lists.len();
            let sent = check(from.protocol.wait_sent(machine, count, PATIENCE));
            let statuses: Vec<_> = sent.iter().map(|list| list.status).collect();
            assert_eq!(statuses.len(), count, "sends are not completed");
            let about = format!("seed {seed}, {way:?}, call {call} at {irql}");
            assert_sent(&statuses, &about);
            assert_frames(&to.received_bytes(), &batch.frames, &about);
        }
    }
    figures.note("frames", number);
    lan.finish();
}
