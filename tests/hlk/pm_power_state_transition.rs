//! NDISTest 6.5 - [2 Machine] - PM_PowerStateTransition.

use std::sync::atomic::{AtomicBool, Ordering};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, Shape, Way, roomy},
    switch::{PATIENCE, VERSIONS, check},
};
use ndis_sim::ndis::{PowerState, SendNbl, SendOptions};
use ndis_sys::*;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (name, steps) in [
        ("standby", &[Step::Sleep][..]),
        ("standby twice", &[Step::Sleep, Step::Sleep]),
        ("hibernation", &[Step::Shutdown]),
        ("standby, then hibernation", &[Step::Sleep, Step::Shutdown]),
        ("hibernation, then standby", &[Step::Shutdown, Step::Sleep]),
    ] {
        cases.push(Case::new(
            name,
            "before, between and after the transitions frames go both ways, with the settings that there were",
            move |_| transitions(steps),
        ));
    }
    cases.push(Case::new(
        "while it sleeps",
        "nothing comes in, and a send that NDIS lets through is NDIS_STATUS_LOW_POWER_STATE",
        |_| asleep(),
    ));
    cases.push(Case::new(
        "under traffic",
        "30 ways down and up while both adapters send: each send ends with a documented status, what comes up is right",
        under_traffic,
    ));
    Job {
        name: "NDISTest 6.5 - [2 Machine] - PM_PowerStateTransition",
        requirement: "Device.Network.LAN.PM.PowMgmtNDIS",
        checks: "the adapter comes out of every sleep as it went in, in all combinations of standby and hibernation",
        cases,
    }
}

#[derive(Clone, Copy)]
enum Step {
    /// D3, and back to D0.
    Sleep,
    /// The machine goes off in between: the adapter is initialized again.
    Shutdown,
}

fn transitions(steps: &'static [Step]) {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let adapter = &lan.test.adapter;
        let filter = NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST;
        lan.test.filter(filter);
        lan.connected("before");
        let before = [adapter.mac(), lan.support.adapter.mac()];
        for step in steps {
            match step {
                Step::Sleep => {
                    check(adapter.set_power(PowerState::D3));
                    check(adapter.set_power(PowerState::D0));
                    let kept = lan.test.query(OID_GEN_CURRENT_PACKET_FILTER, 4);
                    assert_eq!(kept.u32(), Some(filter));
                }
                Step::Shutdown => {
                    check(adapter.set_power(PowerState::D3));
                    check(adapter.set_power(PowerState::D0));
                    check(adapter.halt());
                    check(adapter.enable());
                    lan.test.filter(filter);
                }
            }
            lan.connected("afterwards");
            assert_eq!([adapter.mac(), lan.support.adapter.mac()], before);
        }
        lan.finish();
    }
}

fn asleep() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let Lan { test, support, .. } = &lan;
        check(test.adapter.set_power(PowerState::D3));
        let bytes =
            ipsecov2_tests::lan::numbered(test.adapter.mac(), support.adapter.mac(), 1, 100);
        support.send_frame(&bytes);
        assert!(test.received().is_empty());
        let through = SendOptions {
            through: true,
            ..SendOptions::default()
        };
        let machine = &lan.switch.machine;
        let list = SendNbl::new(bytes).prepare(machine);
        check(test.open.send_with(vec![list], through));
        let sent = check(test.protocol.wait_sent(machine, 1, PATIENCE));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].status, NDIS_STATUS_LOW_POWER_STATE);
        drop(sent);
        check(test.adapter.set_power(PowerState::D0));
        lan.connected("awake");
        lan.finish();
    }
}

fn under_traffic(figures: &mut Figures) {
    for version in VERSIONS {
        let lan = Lan::with(version, roomy(), roomy());
        let stop = AtomicBool::new(false);
        let mut sent = 0;
        std::thread::scope(|scope| {
            let flows = Way::BOTH.map(|way| {
                let (lan, stop) = (&lan, &stop);
                scope.spawn(move || flow(lan, way, stop))
            });
            for _ in 0..30 {
                check(lan.test.adapter.set_power(PowerState::D3));
                check(lan.test.adapter.set_power(PowerState::D0));
            }
            stop.store(true, Ordering::Release);
            sent = flows.map(|flow| flow.join().expect("it ends")).iter().sum();
        });
        lan.connected("afterwards");
        figures.note("lists", sent);
        lan.finish();
    }
}

/// Sends until it is told to stop. Returns how many lists.
fn flow(lan: &Lan, way: Way, stop: &AtomicBool) -> usize {
    let (from, to) = lan.ends(way);
    let (mut sent, mut number) = (0, 0);
    while !stop.load(Ordering::Acquire) || sent == 0 {
        let shape = Shape {
            lists: 150,
            packets: 1,
            mdls: 1,
            size: 100,
        };
        let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), number);
        let statuses = from.send(batch.lists);
        sent += statuses.len();
        for status in statuses {
            let sleeps = [NDIS_STATUS_PAUSED, NDIS_STATUS_LOW_POWER_STATE].contains(&status);
            assert!(
                status == NDIS_STATUS_SUCCESS || (sleeps && way == Way::FromTest),
                "{status:#x}"
            );
        }
        let mut expected = batch.frames.iter();
        for frame in to.received_bytes() {
            assert!(
                expected.any(|sent| *sent == frame),
                "a frame came up changed, twice or out of order"
            );
        }
        number += shape.frames() as u32;
    }
    sent
}
