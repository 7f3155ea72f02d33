//! NDISTest 6.5 - [2 Machine] - PacketFilters.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, numbered},
    switch::VERSIONS,
};
use ndis_sys::*;

/// The filters that the adapter says it has.
const FILTERS: [u32; 5] = [
    NDIS_PACKET_TYPE_DIRECTED,
    NDIS_PACKET_TYPE_MULTICAST,
    NDIS_PACKET_TYPE_ALL_MULTICAST,
    NDIS_PACKET_TYPE_BROADCAST,
    NDIS_PACKET_TYPE_PROMISCUOUS,
];
const LISTED: [u8; 6] = [1, 0, 0x5e, 1, 2, 3];
const UNLISTED: [u8; 6] = [1, 0, 0x5e, 9, 9, 9];
const STRANGER: [u8; 6] = [2, 7, 7, 7, 7, 7];

/// The job.
pub fn job() -> Job {
    let mut cases = vec![Case::new(
        "supported filters",
        "every filter that the adapter reports is accepted, any other is refused and changes nothing",
        |_| supported(),
    )];
    for (name, checks, destination) in [
        (
            "packets to the adapter",
            "the adapter indicates them with a filter that takes them, and does not without",
            Destination::Own,
        ),
        (
            "packets to another station",
            "the adapter indicates them only when it is promiscuous",
            Destination::Stranger,
        ),
        (
            "packets to a listed multicast address",
            "any multicast filter takes them",
            Destination::Listed,
        ),
        (
            "packets to another multicast address",
            "all-multicast takes them, the list does not",
            Destination::Unlisted,
        ),
        (
            "broadcast packets",
            "the broadcast filter takes them",
            Destination::Broadcast,
        ),
    ] {
        cases.push(Case::new(
            name,
            format!("with each of the 32 sets of filters: {checks}"),
            move |figures| filtered(destination, figures),
        ));
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - PacketFilters",
        requirement: "Device.Network.LAN.Base.PacketFiltering",
        checks: "all combinations of filters, for each kind of destination, by what the adapter itself lets in",
        cases,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    Own,
    Stranger,
    Listed,
    Unlisted,
    Broadcast,
}

impl Destination {
    fn taken(self, filter: u32) -> bool {
        let has = |bits: u32| filter & bits != 0;
        has(NDIS_PACKET_TYPE_PROMISCUOUS)
            || match self {
                Self::Own => has(NDIS_PACKET_TYPE_DIRECTED),
                Self::Stranger => false,
                Self::Listed => has(NDIS_PACKET_TYPE_MULTICAST | NDIS_PACKET_TYPE_ALL_MULTICAST),
                Self::Unlisted => has(NDIS_PACKET_TYPE_ALL_MULTICAST),
                Self::Broadcast => has(NDIS_PACKET_TYPE_BROADCAST),
            }
    }
}

fn supported() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let port = &lan.test;
        let general = port.adapter.general_attributes().expect("they are set");
        let all = FILTERS.iter().fold(0, |all, filter| all | filter);
        assert_eq!(general.SupportedPacketFilters, all);
        for bit in 0..32 {
            let filter = 1_u32 << bit;
            let result = port.set(
                OID_GEN_CURRENT_PACKET_FILTER,
                &(filter | NDIS_PACKET_TYPE_DIRECTED).to_le_bytes(),
            );
            let expected = if all & filter != 0 {
                NDIS_STATUS_SUCCESS
            } else {
                NDIS_STATUS_NOT_SUPPORTED
            };
            assert_eq!(result.status, expected, "{filter:#x}");
            if expected == NDIS_STATUS_NOT_SUPPORTED {
                // It is what it was: the last one that was accepted.
                let kept = port.query(OID_GEN_CURRENT_PACKET_FILTER, 4).u32();
                assert_eq!(kept.map(|kept| kept & filter), Some(0), "{filter:#x}");
            }
        }
        lan.finish();
    }
}

fn filtered(destination: Destination, figures: &mut Figures) {
    let lan = Lan::start(630);
    let Lan { test, support, .. } = &lan;
    let list = test.set(OID_802_3_MULTICAST_LIST, &LISTED);
    assert_eq!(list.status, NDIS_STATUS_SUCCESS);
    let to = match destination {
        Destination::Own => test.adapter.mac(),
        Destination::Stranger => STRANGER,
        Destination::Listed => LISTED,
        Destination::Unlisted => UNLISTED,
        Destination::Broadcast => [0xff; 6],
    };
    // NDIS filters again for its bindings: what the adapter itself lets in, its counter tells.
    let mut indicated = 0;
    for set in 0..1 << FILTERS.len() {
        let chosen = FILTERS
            .iter()
            .enumerate()
            .filter(|(bit, _)| set >> bit & 1 != 0);
        let filter = chosen.fold(0, |all, (_, filter)| all | filter);
        test.filter(filter);
        let bytes = numbered(to, support.adapter.mac(), set, 100);
        support.send_frame(&bytes);
        let taken = destination.taken(filter);
        let expected = if taken { vec![bytes] } else { vec![] };
        assert_eq!(test.received_bytes(), expected, "filter {filter:#x}");
        indicated += u64::from(taken);
        assert_eq!(
            test.counter(OID_GEN_RCV_OK),
            indicated,
            "filter {filter:#x}"
        );
    }
    figures.note("taken", indicated);
    lan.finish();
}
