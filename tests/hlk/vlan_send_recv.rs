//! NDISTest 6.5 - [2 Machine] - VlanSendRecv.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, numbered},
    oob::{TAG, tag},
    switch::{SwitchPort, VERSIONS, config},
};
use ndis_sim::ndis::SendNbl;
use ndis_sys::*;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [2 Machine] - VlanSendRecv",
        requirement: "Device.Network.LAN.Base.PriorityVLAN",
        checks: "802.1Q VLANs, by out-of-band data, by VlanID and by OID_GEN_VLAN_ID",
        cases: vec![
            Case::new(
                "every VLAN by out-of-band data",
                "the identifier of each of the 4094 VLANs, with and without priority, comes up as it was sent",
                |_| every_vlan(),
            ),
            Case::new(
                "adapters of VLANs",
                "an adapter hears its own VLAN and what has none, sends into its own, and nothing else",
                |_| adapters_of_vlans(),
            ),
            Case::new(
                "OID_GEN_VLAN_ID",
                "the OID moves an adapter to another VLAN; what is no VLAN is refused",
                |_| by_oid(),
            ),
            Case::new(
                "tags in the frame",
                "a tag that the sender has put into the frame is on the wire as it is, and comes up beside the frame",
                |_| in_the_frame(),
            ),
            Case::new(
                "VLANs off",
                "with *PriorityVLANTag off or priority alone no VLAN is sent, tags of others stay or are told, and there is no OID_GEN_VLAN_ID",
                |_| off(),
            ),
        ],
    }
}

/// Sends a frame with a word beside it, and returns what comes up: bytes and word.
fn pass(from: &SwitchPort, to: &SwitchPort, bytes: &[u8], word: usize) -> Vec<(Vec<u8>, usize)> {
    let list = SendNbl::new(bytes).info(TAG, word);
    assert_eq!(from.send(vec![list]), [NDIS_STATUS_SUCCESS]);
    let received = to.received().into_iter();
    received
        .map(|up| (up.data.concat(), up.info[TAG]))
        .collect()
}

fn broadcast(from: &SwitchPort) -> Vec<u8> {
    numbered([0xff; 6], from.adapter.mac(), 7, 100)
}

fn every_vlan() {
    let lan = Lan::start(630);
    let Lan { test, support, .. } = &lan;
    let to = support.adapter.mac();
    let mut expected = Vec::new();
    for (call, vlans) in (1..4095).collect::<Vec<_>>().chunks(100).enumerate() {
        let lists = vlans.iter().map(|&vlan| {
            let bytes = numbered(to, test.adapter.mac(), vlan as u32, 100);
            let word = tag(vlan % 8, vlan);
            expected.push((bytes.clone(), word));
            SendNbl::new(bytes).info(TAG, word).compact()
        });
        let statuses = test.send(lists.collect());
        assert!(statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS));
        let received = support.received().into_iter();
        let found: Vec<_> = received
            .map(|up| (up.data.concat(), up.info[TAG]))
            .collect();
        assert_eq!(found, std::mem::take(&mut expected), "call {call}");
    }
    lan.finish();
}

fn adapters_of_vlans() {
    for version in VERSIONS {
        let vlan = |id: &str| config().keyword("VlanID", id);
        let lan = Lan::with(version, vlan("0"), vlan("9"));
        let Lan { test, support, .. } = &lan;
        for (id, heard) in [(0, true), (9, true), (1, false), (10, false), (4094, false)] {
            let bytes = broadcast(test);
            let word = tag(0, id);
            let expected = if heard {
                vec![(bytes.clone(), word)]
            } else {
                vec![]
            };
            assert_eq!(pass(test, support, &bytes, word), expected, "VLAN {id}");
        }
        // Its own goes with what it sends, unless the sender names another.
        let bytes = broadcast(support);
        for (asked, sent) in [(0, 9), (9, 9), (3, 3)] {
            let up = pass(support, test, &bytes, tag(2, asked));
            assert_eq!(up, [(bytes.clone(), tag(2, sent))]);
        }
        lan.finish();
    }
}

fn by_oid() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let Lan { test, support, .. } = &lan;
        for id in [1_u32, 100, 4094, 0] {
            let set = support.set(OID_GEN_VLAN_ID, &id.to_le_bytes());
            assert_eq!(set.status, NDIS_STATUS_SUCCESS);
            assert_eq!(support.query(OID_GEN_VLAN_ID, 4).u32(), Some(id));
            let bytes = broadcast(support);
            let word = tag(0, id as usize);
            assert_eq!(pass(support, test, &bytes, 0), [(bytes.clone(), word)]);
            let other = tag(0, 77);
            let heard = pass(test, support, &broadcast(test), other).len();
            assert_eq!(heard, usize::from(id == 0), "VLAN {id}");
        }
        for id in [4095_u32, 4096, 0x1_0001, u32::MAX] {
            let set = support.set(OID_GEN_VLAN_ID, &id.to_le_bytes());
            assert_eq!(set.status, NDIS_STATUS_INVALID_DATA, "{id}");
            assert_eq!(support.query(OID_GEN_VLAN_ID, 4).u32(), Some(0));
        }
        lan.finish();
    }
}

fn in_the_frame() {
    let lan = Lan::start(630);
    let Lan { test, support, .. } = &lan;
    for (tci, word) in [
        (0x2005_u16, tag(1, 5)),
        (0xe000, tag(7, 0)),
        (0x0ffe, tag(0, 4094)),
    ] {
        let bytes = broadcast(test);
        let with_tag = [&bytes[..12], &[0x81, 0], &tci.to_be_bytes(), &bytes[12..]].concat();
        assert_eq!(pass(test, support, &with_tag, 0), [(bytes, word)]);
    }
    lan.finish();
}

fn off() {
    for (setting, priority) in [("0", false), ("1", true)] {
        let off = config().keyword("*PriorityVLANTag", setting);
        let lan = Lan::with(630, config(), off.keyword("VlanID", "9"));
        let Lan { test, support, .. } = &lan;
        let bytes = broadcast(support);
        let up = pass(support, test, &bytes, tag(0, 5));
        assert_eq!(up, [(bytes, 0)], "*PriorityVLANTag = {setting}");
        let bytes = broadcast(test);
        let [(up, word)] = &pass(test, support, &bytes, tag(3, 5))[..] else {
            panic!("no frame, or more than one");
        };
        if priority {
            assert_eq!((up, *word), (&bytes, tag(3, 5)));
        } else {
            let tci = 0x6005_u16.to_be_bytes();
            let with_tag = [&bytes[..12], &[0x81, 0], &tci, &bytes[12..]].concat();
            assert_eq!((up, *word), (&with_tag, 0));
        }
        let query = support.query(OID_GEN_VLAN_ID, 4);
        assert_eq!(query.status, NDIS_STATUS_NOT_SUPPORTED);
        lan.finish();
    }
}
