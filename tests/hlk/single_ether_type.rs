//! NDISTest 6.5 - [2 Machine] - SingleEtherType.

use std::sync::{Arc, Mutex, PoisonError};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Batch, Lan, USUAL, numbered},
    switch::{Switch, VERSIONS, check, config},
};
use ndis_sim::ndis::{OidRequest, Protocol, ReceivedNbl, SendNb};
use ndis_sys::{
    NDIS_RECEIVE_FLAGS_SINGLE_ETHER_TYPE, NDIS_STATUS_SUCCESS, OID_GEN_CURRENT_PACKET_FILTER,
};

/// IPv4, IPv6, ARP and one for local use.
const TYPES: [[u8; 2]; 4] = [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x88, 0xb5]];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        for (name, mixed) in [("one EtherType", false), ("mixed EtherTypes", true)] {
            cases.push(Case::new(
                format!("{name}, NDIS {version}"),
                "an indication with NDIS_RECEIVE_FLAGS_SINGLE_ETHER_TYPE has frames of one EtherType; without it any may be there",
                move |figures| indications(version, mixed, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - SingleEtherType",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "no indication is said to have one EtherType and has several",
        cases,
    }
}

/// Notes the EtherTypes and the flags of each indication.
#[derive(Default)]
struct Watcher(Mutex<Vec<(Vec<[u8; 2]>, u32)>>);

impl Protocol for Watcher {
    fn receive(&self, nbls: Vec<ReceivedNbl>, flags: u32) {
        let types = nbls.iter().map(|nbl| {
            let frame = nbl.data(0);
            [frame[12], frame[13]]
        });
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((types.collect(), flags));
    }
}

fn indications(version: u32, mixed: bool, figures: &mut Figures) {
    let lan = Lan::on(Switch::new(version), config(), config());
    let watcher = Arc::new(Watcher::default());
    let open = check(lan.test.adapter.open(Arc::clone(&watcher) as Arc<_>));
    let filter = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, USUAL.to_le_bytes());
    assert_eq!(check(open.oid(filter)).status, NDIS_STATUS_SUCCESS);
    let Lan { test, support, .. } = &lan;
    let mut frames = Vec::new();
    for round in 0..8 {
        let mut batch = Batch::default();
        for number in 0..100 {
            let mut bytes = numbered(test.adapter.mac(), support.adapter.mac(), number, 80);
            let which = if mixed { number as usize } else { round } % TYPES.len();
            bytes[12..14].copy_from_slice(&TYPES[which]);
            batch.push(vec![(SendNb::new(bytes.clone()), bytes)]);
        }
        frames.extend(batch.frames);
        ipsecov2_tests::lan::assert_sent(&support.send(batch.lists), "frames");
        let machine = &lan.switch.machine;
        machine.settle().unwrap_or_else(|check| panic!("{check}"));
    }
    drop(test.protocol.take_received());
    let seen = std::mem::take(&mut *watcher.0.lock().unwrap_or_else(PoisonError::into_inner));
    let types: Vec<_> = seen.iter().flat_map(|(types, _)| types.clone()).collect();
    let sent: Vec<_> = frames.iter().map(|frame| [frame[12], frame[13]]).collect();
    assert_eq!(types, sent, "not every frame came up");
    for (types, flags) in &seen {
        let single = types.iter().all(|kind| *kind == types[0]);
        let said = flags & NDIS_RECEIVE_FLAGS_SINGLE_ETHER_TYPE != 0;
        assert!(single || !said, "{types:02x?} is said to be one EtherType");
    }
    // Else the flag could not be wrong.
    let most = seen.iter().map(|(types, _)| types.len()).max();
    assert!(most > Some(1), "every frame comes up alone");
    figures.note("indications", seen.len());
    drop(open);
    lan.finish();
}
