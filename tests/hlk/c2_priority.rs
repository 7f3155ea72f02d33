//! NDISTest 6.0 - [2 Machine] - 2c_Priority.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, numbered},
    switch::{VERSIONS, config},
};
use ndis_sim::ndis::SendNbl;
use ndis_sys::{Ieee8021QNetBufferListInfo, NDIS_STATUS_SUCCESS};

const TAG: usize = Ieee8021QNetBufferListInfo as usize;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (kind, destination) in [
        ("DIRECTED", None),
        ("BROADCAST", Some([0xff; 6])),
        ("MULTICAST", Some([1, 0, 0x5e, 0, 0, 1])),
    ] {
        cases.push(Case::new(
            format!("{kind} packets"),
            "packets of every 802.1p priority, one and many to a call, come up with it",
            move |_| priorities(destination),
        ));
        cases.push(Case::new(
            format!("{kind} packets, priority off"),
            "with *PriorityVLANTag off or VLAN alone no priority is sent, and none is reported",
            move |_| without(destination),
        ));
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_Priority",
        requirement: "Device.Network.LAN.Base.PriorityVLAN",
        checks: "802.1p priorities of directed, broadcast and multicast packets survive",
        cases,
    }
}

fn priorities(destination: Option<[u8; 6]>) {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let destination = destination.unwrap_or(lan.support.adapter.mac());
        let source = lan.test.adapter.mac();
        let list = |priority: usize| {
            let bytes = numbered(destination, source, priority as u32, 200);
            (SendNbl::new(bytes.clone()).info(TAG, priority), bytes)
        };
        let all: Vec<usize> = (0..8).collect();
        for priorities in all.chunks(1).chain(all.chunks(8)) {
            let (lists, frames): (Vec<_>, Vec<_>) =
                priorities.iter().map(|&priority| list(priority)).unzip();
            let statuses = lan.test.send(lists);
            assert_eq!(statuses, vec![NDIS_STATUS_SUCCESS; priorities.len()]);
            let received = lan.support.received();
            assert_eq!(received.len(), priorities.len());
            for ((up, bytes), &priority) in received.iter().zip(frames).zip(priorities) {
                assert_eq!(up.data.concat(), bytes, "the tag is taken out");
                assert_eq!(up.info[TAG], priority);
            }
        }
        lan.finish();
    }
}

fn without(destination: Option<[u8; 6]>) {
    for setting in ["0", "2"] {
        let off = || config().keyword("*PriorityVLANTag", setting);
        let lan = Lan::with(630, off(), off());
        let destination = destination.unwrap_or(lan.support.adapter.mac());
        for priority in 0..8 {
            let bytes = numbered(destination, lan.test.adapter.mac(), 1, 200);
            let list = SendNbl::new(bytes.clone()).info(TAG, priority);
            assert_eq!(lan.test.send(vec![list]), [NDIS_STATUS_SUCCESS]);
            let received = lan.support.received();
            let [up] = &received[..] else {
                panic!("{} frames", received.len());
            };
            assert_eq!(up.data.concat(), bytes, "*PriorityVLANTag = {setting}");
            assert_eq!(up.info[TAG], 0, "*PriorityVLANTag = {setting}");
        }
        lan.finish();
    }
}
