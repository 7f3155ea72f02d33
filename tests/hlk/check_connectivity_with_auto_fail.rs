//! NDISTest 6.5 - [2 Machine] - CheckConnectivity with AutoFail.

use std::collections::BTreeMap;

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, Way, assert_sent, padded, roomy},
    switch::VERSIONS,
};
use ndis_sys::{
    NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, OID_GEN_XMIT_DISCARDS, OID_GEN_XMIT_OK,
};
use tcpip::lab::status_name;

use crate::check_connectivity::random_batch;

const CALLS: usize = 30;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (seed, version) in (1..).zip(VERSIONS) {
        for probability in [0.01, 0.1, 0.5] {
            cases.push(Case::new(
                format!("NDIS {version}, {:.0} % of the calls fail", probability * 100.0),
                "lists end with success or NDIS_STATUS_RESOURCES; what is said to be sent arrives, and all is well when calls do not fail",
                move |figures| auto_fail(version, seed, probability, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - CheckConnectivity with AutoFail",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "CheckConnectivity while Driver Verifier makes calls of the driver fail",
        cases,
    }
}

fn auto_fail(version: u32, seed: u64, probability: f64, figures: &mut Figures) {
    let lan = Lan::with(version, roomy(), roomy());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut number = 0;
    let faults = lan.switch.machine.faults();
    faults.fail_randomly(seed, probability);
    let mut ended = BTreeMap::<_, usize>::new();
    for way in Way::BOTH {
        let (from, to) = lan.ends(way);
        let mut handed_down = 0;
        for _ in 0..CALLS {
            let (destination, source) = (to.adapter.mac(), from.adapter.mac());
            let batch = random_batch(&mut random, destination, source, &mut number);
            handed_down += batch.frames.len() as u64;
            let statuses = from.send(batch.lists);
            for status in &statuses {
                *ended.entry(status_name(*status)).or_default() += 1;
            }
            let known = [NDIS_STATUS_SUCCESS, NDIS_STATUS_RESOURCES];
            assert!(
                statuses.iter().all(|status| known.contains(status)),
                "{ended:?}"
            );
            // In order, and unchanged; of lists that failed those before the one that did.
            let mut sent = batch.frames.iter();
            for frame in to.received_bytes() {
                let known = sent.any(|sent| padded(sent.clone()) == frame);
                assert!(known, "a frame came up changed, twice or out of order");
            }
        }
        let [ok, discards] = [OID_GEN_XMIT_OK, OID_GEN_XMIT_DISCARDS].map(|oid| from.counter(oid));
        assert_eq!(ok + discards, handed_down, "packets are not accounted for");
        assert_eq!(
            ok,
            to.counter(ndis_sys::OID_GEN_RCV_OK),
            "sent and not received"
        );
    }
    figures.note("failures", faults.failures());
    for (status, count) in &ended {
        figures.note(
            match status.as_str() {
                "NDIS_STATUS_SUCCESS" => "lists sent",
                _ => "lists out of resources",
            },
            count,
        );
    }
    assert!(faults.failures() > 0 && ended.len() == 2, "{ended:?}");
    faults.clear();
    for way in Way::BOTH {
        let (from, to) = lan.ends(way);
        let (destination, source) = (to.adapter.mac(), from.adapter.mac());
        let batch = random_batch(&mut random, destination, source, &mut number);
        assert_sent(&from.send(batch.lists), "afterwards");
        assert_eq!(to.received().len(), batch.frames.len());
    }
    lan.finish();
}
