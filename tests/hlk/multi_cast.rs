//! NDISTest 6.5 - [2 Machine] - MultiCast Address.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, numbered},
    switch::{SwitchPort, VERSIONS},
};
use ndis_sys::*;

/// How many addresses there must be room for (Device.Network.LAN.Base.32MulticastAddresses).
const MOST: u8 = 32;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [2 Machine] - MultiCast Address",
        requirement: "Device.Network.LAN.Base.32MulticastAddresses",
        checks: "32 multicast addresses are received, however they are added and deleted, and no others",
        cases: vec![
            Case::new(
                "added one at a time",
                "32 addresses are added one after the other; at each step just those that are in the list are received",
                |_| one_at_a_time(),
            ),
            Case::new(
                "set as a list",
                "lists of any length up to 32 replace each other; an empty one clears the list",
                |_| lists(),
            ),
            Case::new(
                "more than 32",
                "a 33rd address is NDIS_STATUS_MULTICAST_FULL, and the 32 stay",
                |_| too_many(),
            ),
            Case::new(
                "what is no list of multicast addresses",
                "a unicast address among them or a length that is no multiple of 6 is refused, and the list stays",
                |_| no_list(),
            ),
            Case::new(
                "without the filter",
                "the list counts only while NDIS_PACKET_TYPE_MULTICAST is set",
                |_| without_filter(),
            ),
            Case::new(
                "after a reset and in low power",
                "the list outlives a reset and the way to D3 and back",
                |_| kept(),
            ),
        ],
    }
}

fn address(number: u8) -> [u8; 6] {
    [1, 0, 0x5e, 0x40, 0, number]
}

/// Which of the addresses up to one more than fit are received.
fn heard(lan: &Lan) -> Vec<u8> {
    let Lan { test, support, .. } = lan;
    for number in 0..=MOST {
        let source = support.adapter.mac();
        support.send_frame(&numbered(address(number), source, number.into(), 64));
    }
    let frames = test.received_bytes();
    frames.iter().map(|frame| frame[5]).collect()
}

fn listening(version: u32) -> Lan {
    let lan = Lan::start(version);
    lan.test.filter(NDIS_PACKET_TYPE_MULTICAST);
    lan
}

fn set(port: &SwitchPort, numbers: std::ops::Range<u8>) {
    let list: Vec<_> = numbers.map(address).collect();
    let result = port.set(OID_802_3_MULTICAST_LIST, &list.concat());
    assert_eq!(result.status, NDIS_STATUS_SUCCESS);
}

fn one_at_a_time() {
    for version in VERSIONS {
        let lan = listening(version);
        let change = |oid, number| lan.test.set(oid, &address(number)).status;
        assert_eq!(heard(&lan), [0_u8; 0]);
        let room = lan.test.query(OID_802_3_MAXIMUM_LIST_SIZE, 4).u32();
        assert_eq!(room, Some(MOST.into()));
        for number in 0..MOST {
            let added = change(OID_802_3_ADD_MULTICAST_ADDRESS, number);
            assert_eq!(added, NDIS_STATUS_SUCCESS);
            assert_eq!(heard(&lan), (0..=number).collect::<Vec<_>>());
        }
        let added = change(OID_802_3_ADD_MULTICAST_ADDRESS, MOST);
        assert_eq!(added, NDIS_STATUS_MULTICAST_FULL);
        // One that was added twice has to be deleted twice.
        let again = change(OID_802_3_ADD_MULTICAST_ADDRESS, 7);
        assert_eq!(again, NDIS_STATUS_SUCCESS);
        for left in [(0..MOST).collect(), (0..MOST).filter(|n| *n != 7).collect()] {
            let deleted = change(OID_802_3_DELETE_MULTICAST_ADDRESS, 7);
            assert_eq!(deleted, NDIS_STATUS_SUCCESS);
            let left: Vec<u8> = left;
            assert_eq!(heard(&lan), left);
        }
        for number in (0..MOST).filter(|number| *number != 7) {
            let deleted = change(OID_802_3_DELETE_MULTICAST_ADDRESS, number);
            assert_eq!(deleted, NDIS_STATUS_SUCCESS);
        }
        assert_eq!(heard(&lan), [0_u8; 0]);
        lan.finish();
    }
}

fn lists() {
    let lan = listening(630);
    for length in (0..=MOST).chain([1, 0]) {
        set(&lan.test, 0..length);
        assert_eq!(heard(&lan), (0..length).collect::<Vec<_>>());
    }
    set(&lan.test, 5..20);
    set(&lan.test, 10..30);
    assert_eq!(heard(&lan), (10..30).collect::<Vec<_>>());
    lan.finish();
}

fn too_many() {
    let lan = listening(630);
    set(&lan.test, 0..MOST);
    let list: Vec<_> = (0..=MOST).map(address).collect();
    let result = lan.test.set(OID_802_3_MULTICAST_LIST, &list.concat());
    assert_eq!(result.status, NDIS_STATUS_MULTICAST_FULL);
    assert_eq!(heard(&lan), (0..MOST).collect::<Vec<_>>());
    lan.finish();
}

fn no_list() {
    let lan = listening(630);
    set(&lan.test, 0..3);
    let mut mixed = [address(4), address(5)].concat();
    mixed[6] = 2;
    for (bytes, status) in [
        (mixed.clone(), NDIS_STATUS_INVALID_DATA),
        (mixed[..7].to_vec(), NDIS_STATUS_INVALID_LENGTH),
        (mixed[..5].to_vec(), NDIS_STATUS_INVALID_LENGTH),
    ] {
        let result = lan.test.set(OID_802_3_MULTICAST_LIST, &bytes);
        assert_eq!(result.status, status, "{bytes:x?}");
        assert_eq!(heard(&lan), [0, 1, 2], "{bytes:x?}");
    }
    lan.finish();
}

fn without_filter() {
    let lan = listening(630);
    set(&lan.test, 0..4);
    for (filter, expected) in [
        (NDIS_PACKET_TYPE_DIRECTED, vec![]),
        (NDIS_PACKET_TYPE_MULTICAST, vec![0, 1, 2, 3]),
        (
            NDIS_PACKET_TYPE_ALL_MULTICAST,
            (0..=MOST).collect::<Vec<_>>(),
        ),
        (NDIS_PACKET_TYPE_MULTICAST, vec![0, 1, 2, 3]),
    ] {
        lan.test.filter(filter);
        assert_eq!(heard(&lan), expected, "filter {filter:#x}");
    }
    lan.finish();
}

fn kept() {
    use ndis_sim::ndis::PowerState::{D0, D3};
    for version in VERSIONS {
        let lan = listening(version);
        set(&lan.test, 3..9);
        let adapter = &lan.test.adapter;
        ipsecov2_tests::switch::check(adapter.reset());
        assert_eq!(heard(&lan), (3..9).collect::<Vec<_>>(), "after a reset");
        ipsecov2_tests::switch::check(adapter.set_power(D3));
        assert_eq!(heard(&lan), [0_u8; 0], "in D3");
        ipsecov2_tests::switch::check(adapter.set_power(D0));
        assert_eq!(heard(&lan), (3..9).collect::<Vec<_>>(), "back in D0");
        lan.finish();
    }
}
