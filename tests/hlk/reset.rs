//! NDISTest 6.5 - [2 Machine] - Reset.

use std::sync::atomic::{AtomicBool, Ordering};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, Shape, Way, numbered, roomy},
    switch::{VERSIONS, check},
};
use ndis_sim::ndis::AdapterState;
use ndis_sys::*;

/// The job.
pub fn job() -> Job {
    let mut cases = vec![Case::new(
        "what outlives a reset",
        "addresses, packet filter, multicast list, VLAN, lookahead and link are what they were, for NDIS and for traffic",
        |_| outlives(),
    )];
    for (name, sends, receives) in [
        ("while it sends", true, false),
        ("while it receives", false, true),
        ("while it does both", true, true),
    ] {
        cases.push(Case::new(
            name,
            "50 resets under traffic: each completes, each send ends with success or NDIS_STATUS_RESET_IN_PROGRESS, what comes up is right",
            move |figures| under_traffic(sends, receives, figures),
        ));
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - Reset",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the adapter works after resets as before, and loses in them what it may lose and no more",
        cases,
    }
}

fn outlives() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let Lan { test, support, .. } = &lan;
        let group = [1, 0, 0x5e, 1, 2, 3];
        let filter = NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_MULTICAST;
        for (oid, bytes) in [
            (OID_802_3_MULTICAST_LIST, group.to_vec()),
            (OID_GEN_CURRENT_PACKET_FILTER, filter.to_le_bytes().to_vec()),
            (OID_GEN_VLAN_ID, 9_u32.to_le_bytes().to_vec()),
            (OID_GEN_CURRENT_LOOKAHEAD, 300_u32.to_le_bytes().to_vec()),
        ] {
            assert_eq!(test.set(oid, &bytes).status, NDIS_STATUS_SUCCESS);
        }
        let queried = [
            OID_GEN_CURRENT_PACKET_FILTER,
            OID_GEN_CURRENT_LOOKAHEAD,
            OID_GEN_VLAN_ID,
            OID_802_3_CURRENT_ADDRESS,
            OID_802_3_PERMANENT_ADDRESS,
            OID_802_3_MULTICAST_LIST,
            OID_GEN_MAXIMUM_TOTAL_SIZE,
            OID_GEN_LINK_STATE,
            OID_GEN_MEDIA_CONNECT_STATUS,
        ];
        let state = || queried.map(|oid| test.query(oid, 64).data().to_vec());
        let before = state();
        for _ in 0..3 {
            check(test.adapter.reset());
            assert_eq!(test.adapter.state(), AdapterState::Running);
            assert_eq!(state(), before);
            let source = support.adapter.mac();
            for (number, to, heard) in [
                (1, test.adapter.mac(), true),
                (2, group, true),
                (3, [1, 0, 0x5e, 9, 9, 9], false),
                (4, [0xff; 6], false),
            ] {
                let bytes = numbered(to, source, number, 90);
                support.send_frame(&bytes);
                let expected = if heard { vec![bytes] } else { vec![] };
                assert_eq!(test.received_bytes(), expected);
            }
            // What it sends is in its VLAN.
            let bytes = numbered(support.adapter.mac(), test.adapter.mac(), 5, 90);
            test.send_frame(&bytes);
            let up = support.received();
            assert_eq!(up.len(), 1);
            assert_eq!(up[0].info[Ieee8021QNetBufferListInfo as usize], 9 << 4);
        }
        lan.finish();
    }
}

fn under_traffic(sends: bool, receives: bool, figures: &mut Figures) {
    for version in VERSIONS {
        let lan = Lan::with(version, roomy(), roomy());
        let stop = AtomicBool::new(false);
        let (mut sent, mut aborted) = (0, 0);
        std::thread::scope(|scope| {
            let flows = Way::BOTH.map(|way| {
                let wanted = match way {
                    Way::FromTest => sends,
                    Way::ToTest => receives,
                };
                let (lan, stop) = (&lan, &stop);
                wanted.then(|| scope.spawn(move || flow(lan, way, stop)))
            });
            for _ in 0..50 {
                check(lan.test.adapter.reset());
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Release);
            for flow in flows.into_iter().flatten() {
                let (all, ended) = flow.join().expect("it ends");
                sent += all;
                aborted += ended;
            }
        });
        lan.connected("after the resets");
        figures.note("lists", sent);
        figures.note("ended by a reset", aborted);
        lan.finish();
    }
}

/// Sends until it is told to stop. Returns how many lists, and how many of them a reset has ended.
fn flow(lan: &Lan, way: Way, stop: &AtomicBool) -> (usize, usize) {
    let (from, to) = lan.ends(way);
    let (mut sent, mut aborted, mut number) = (0, 0, 0);
    while !stop.load(Ordering::Acquire) || sent == 0 {
        let shape = Shape {
            lists: 200,
            packets: 1,
            mdls: 1,
            size: 100,
        };
        let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), number);
        let statuses = from.send(batch.lists);
        sent += statuses.len();
        let gone = statuses.iter().filter(|&&status| {
            let reset = status == NDIS_STATUS_RESET_IN_PROGRESS;
            assert!(
                status == NDIS_STATUS_SUCCESS || (reset && way == Way::FromTest),
                "{status:#x}"
            );
            reset
        });
        aborted += gone.count();
        // A part of what was sent, in order: the adapter that is reset drops what it has received.
        let mut expected = batch.frames.iter();
        for frame in to.received_bytes() {
            assert!(
                expected.any(|sent| *sent == frame),
                "a frame came up changed, twice or out of order"
            );
        }
        number += shape.frames() as u32;
    }
    (sent, aborted)
}
