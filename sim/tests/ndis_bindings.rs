//! What NDIS makes of the requests of bindings before a miniport gets them, and adapters that are enabled again.

mod ndis_support;

use ndis_sim::ndis::{Collector, Error, OidRequest, OidResult, Open, SendNbl};
use ndis_support::*;
use ndis_sys::*;

fn group(number: u8) -> [u8; 6] {
    [1, 0, 0x5E, 0, 0, number]
}

fn change(open: &Open, oid: u32, address: [u8; 6]) -> OidResult {
    open.oid(OidRequest::set(oid, address)).unwrap()
}

#[test]
fn additions_and_deletions_become_one_multicast_list() {
    const ADD: u32 = OID_802_3_ADD_MULTICAST_ADDRESS;
    const DELETE: u32 = OID_802_3_DELETE_MULTICAST_ADDRESS;
    let rig = Rig::new(Plan::new((6, 30)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let [one, other] = [(); 2].map(|()| adapter.open(Collector::new()).unwrap());
    // BytesRead is the length of the list that the miniport gets: that of both bindings, without duplicates.
    for (open, oid, address, addresses) in [
        (&one, ADD, group(1), 1),
        (&one, ADD, group(2), 2),
        (&one, ADD, group(1), 2),
        (&other, ADD, group(2), 2),
        (&other, ADD, group(3), 3),
        (&one, DELETE, group(1), 3),
        (&one, DELETE, group(1), 2),
        (&one, DELETE, group(2), 2),
        (&other, DELETE, group(2), 1),
    ] {
        let result = change(open, oid, address);
        assert_eq!(result.status, NDIS_STATUS_SUCCESS);
        assert_eq!(result.bytes_read, addresses * 6, "{oid:#x} {address:x?}");
    }
    // A list with duplicates.
    let twice = [group(5), group(6), group(5)].concat();
    let set = one
        .oid(OidRequest::set(OID_802_3_MULTICAST_LIST, twice))
        .unwrap();
    assert_eq!(set.bytes_read, 3 * 6);
    // What NDIS ends itself.
    assert_ne!(change(&one, DELETE, group(99)).status, NDIS_STATUS_SUCCESS);
    let unicast = change(&one, ADD, [2, 0, 0, 0, 0, 1]);
    assert_eq!(unicast.status, NDIS_STATUS_MULTICAST_FULL);
    let long = one.oid(OidRequest::set(ADD, [1; 7])).unwrap();
    assert_eq!(long.status, NDIS_STATUS_INVALID_LENGTH);
    // 5, 6 and 3 are there; the adapter has room for 32.
    for number in 10..39 {
        let added = change(&other, ADD, group(number));
        assert_eq!(added.status, NDIS_STATUS_SUCCESS, "{number}");
    }
    let full = change(&other, ADD, group(39));
    assert_eq!(full.status, NDIS_STATUS_MULTICAST_FULL);
    assert_eq!(
        change(&other, ADD, group(38)).status,
        NDIS_STATUS_SUCCESS,
        "one that is there already"
    );
}

#[test]
fn a_buffer_may_be_misaligned_and_is_fenced_all_the_same() {
    let rig = Rig::new(Plan::new((6, 30)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let open = adapter.open(Collector::new()).unwrap();
    for by in 0..8 {
        for room in [4, 5, 8, 13] {
            let request = OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, room).misaligned(by);
            let result = open.oid(request).unwrap();
            assert_eq!(result.address % 8, by as u64);
            assert_eq!(result.u32(), Some(1514));
            assert!(result.buffer[4..].iter().all(|byte| *byte == 0xA5));
        }
        let request = OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, 3).misaligned(by);
        let short = open.oid(request).unwrap();
        assert_eq!(short.status, NDIS_STATUS_BUFFER_TOO_SHORT);
    }
}

#[test]
fn a_disabled_adapter_is_enabled_with_what_the_registry_has_then() {
    for version in [(6, 1), (6, 20), (6, 30)] {
        let rig = Rig::new(Plan::new(version));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let collector = Collector::new();
        let open = adapter.open(collector.clone()).unwrap();
        let filter = || {
            let bits = NDIS_PACKET_TYPE_PROMISCUOUS.to_le_bytes();
            let set = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, bits);
            assert_eq!(open.oid(set).unwrap().status, NDIS_STATUS_SUCCESS);
        };
        let heard = || {
            open.send(vec![SendNbl::new(frame(100))]).unwrap();
            rig.machine.settle().unwrap();
            collector.take_received().len()
        };
        filter();
        assert_eq!(heard(), 1);
        assert!(matches!(adapter.enable(), Err(Error::State { .. })));
        for (value, mtu) in [("9014", 9000), ("1514", 1500)] {
            adapter.halt().unwrap();
            adapter.remove_keyword("*JumboPacket");
            adapter.set_keyword("*JumboPacket", value);
            adapter.enable().unwrap();
            assert_eq!(adapter.mtu(), mtu);
            // The binding is as a new one.
            assert_eq!(heard(), 0);
            filter();
            assert_eq!(heard(), 1);
        }
        adapter.surprise_remove().unwrap();
        adapter.enable().unwrap();
        filter();
        assert_eq!(heard(), 1);
        drop(open);
        assert!(driver.unload().unwrap().is_clean());
    }
}
