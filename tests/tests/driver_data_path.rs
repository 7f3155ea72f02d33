//! Frames without IPsec: filters, lengths, padding, tags, order, cancellation, and what happens when
//! something runs out.

use ipsecov2_tests::switch::{PATIENCE, Switch, SwitchPort, check, config, frame};
use ndis_sim::{
    Irql, Machine,
    ndis::{Collector, SendNb, SendNbl},
};
use ndis_sys::*;

const TAG: usize = Ieee8021QNetBufferListInfo as usize;

/// The word of NDIS_NET_BUFFER_LIST_8021Q_INFO.
const fn tag(priority: usize, vlan: usize) -> usize {
    priority | vlan << 4
}

#[test]
fn the_packet_filter_decides() {
    const DIRECTED: u32 = NDIS_PACKET_TYPE_DIRECTED;
    const MULTICAST: u32 = NDIS_PACKET_TYPE_MULTICAST;
    const ALL: u32 = NDIS_PACKET_TYPE_ALL_MULTICAST;
    const BROADCAST: u32 = NDIS_PACKET_TYPE_BROADCAST;
    const PROMISCUOUS: u32 = NDIS_PACKET_TYPE_PROMISCUOUS;
    let switch = Switch::new(610);
    let (a, b) = (switch.port(), switch.port());
    let listed = [1, 0, 0x5e, 1, 2, 3];
    let unlisted = [1, 0, 0x5e, 9, 9, 9];
    assert_eq!(
        b.set(OID_802_3_MULTICAST_LIST, &listed).status,
        NDIS_STATUS_SUCCESS
    );
    let destinations = [
        b.adapter.mac(),
        [2, 7, 7, 7, 7, 7],
        listed,
        unlisted,
        [0xff; 6],
    ];
    // NDIS filters again for each protocol: what the adapter itself lets in, its counter tells.
    let mut indicated = 0;
    for (filter, taken) in [
        (0, [false; 5]),
        (DIRECTED, [true, false, false, false, false]),
        (MULTICAST, [false, false, true, false, false]),
        (ALL, [false, false, true, true, false]),
        (BROADCAST, [false, false, false, false, true]),
        (
            DIRECTED | MULTICAST | BROADCAST,
            [true, false, true, false, true],
        ),
        (PROMISCUOUS, [true; 5]),
    ] {
        b.filter(filter);
        for (destination, taken) in destinations.iter().zip(taken) {
            a.send_frame(&frame(*destination, a.adapter.mac(), 64));
            assert_eq!(
                b.received().len(),
                usize::from(taken),
                "{filter:#x} {destination:02x?}"
            );
            indicated += u64::from(taken);
            assert_eq!(
                b.counter(OID_GEN_RCV_OK),
                indicated,
                "{filter:#x} {destination:02x?}"
            );
        }
    }
    // An empty list clears it.
    b.filter(MULTICAST);
    assert_eq!(
        b.set(OID_802_3_MULTICAST_LIST, &[]).status,
        NDIS_STATUS_SUCCESS
    );
    a.send_frame(&frame(listed, a.adapter.mac(), 64));
    assert!(b.received().is_empty());
    switch.finish();
}

#[test]
fn thirty_two_multicast_addresses() {
    let switch = Switch::new(610);
    let (a, b) = (switch.port(), switch.port());
    b.filter(NDIS_PACKET_TYPE_MULTICAST);
    let list: Vec<[u8; 6]> = (0..32).map(|i| [1, 0, 0x5e, 0, 0, i]).collect();
    assert_eq!(
        b.set(OID_802_3_MULTICAST_LIST, &list.concat()).status,
        NDIS_STATUS_SUCCESS
    );
    for address in &list {
        a.send_frame(&frame(*address, a.adapter.mac(), 64));
    }
    a.send_frame(&frame([1, 0, 0x5e, 0, 0, 32], a.adapter.mac(), 64));
    assert_eq!(b.received().len(), 32);
    switch.finish();
}

fn pair(switch: &Switch) -> (SwitchPort, SwitchPort) {
    let (a, b) = (switch.port(), switch.port());
    b.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    (a, b)
}

#[test]
fn short_frames_are_padded_with_zeroes() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    // Fill the buffers with other bytes first.
    for _ in 0..600 {
        a.send_frame(&[[0xff; 12].as_slice(), &[0x88, 0xb5], &[0xaa; 100]].concat());
        drop(b.received());
    }
    for length in 14..=61 {
        let sent = frame(b.adapter.mac(), a.adapter.mac(), length);
        a.send_frame(&sent);
        let mut expected = sent;
        expected.resize(length.max(60), 0);
        assert_eq!(b.received_bytes(), [expected], "{length} bytes");
    }
    switch.finish();
}

#[test]
fn lengths_that_are_none_are_refused() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    for (length, status) in [
        (0, NDIS_STATUS_FAILURE),
        (1, NDIS_STATUS_FAILURE),
        (13, NDIS_STATUS_FAILURE),
        (1514, NDIS_STATUS_SUCCESS),
        (1515, NDIS_STATUS_INVALID_LENGTH),
        (65_000, NDIS_STATUS_INVALID_LENGTH),
    ] {
        let list = SendNbl::new(frame(b.adapter.mac(), a.adapter.mac(), length));
        assert_eq!(a.send(vec![list]), [status], "{length} bytes");
    }
    let empty = SendNbl::with_net_buffers(vec![SendNb::without_mdl()]);
    assert_eq!(a.send(vec![empty]), [NDIS_STATUS_FAILURE]);
    assert_eq!(b.received().len(), 1);
    assert_eq!(a.counter(OID_GEN_XMIT_ERROR), 6);
    assert_eq!(a.counter(OID_GEN_XMIT_OK), 1);
    // A tag in the frame comes on top of the maximum.
    let mut tagged = frame(b.adapter.mac(), a.adapter.mac(), 1518);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
    a.send_frame(&tagged);
    switch.finish();
}

#[test]
fn a_list_stops_at_its_first_bad_packet() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    let good = |length| SendNb::new(frame(b.adapter.mac(), a.adapter.mac(), length));
    let list = SendNbl::with_net_buffers(vec![good(100), good(2000), good(101)]);
    let after = SendNbl::with_net_buffers(vec![good(102)]);
    assert_eq!(
        a.send(vec![list, after]),
        [NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_SUCCESS]
    );
    let lengths: Vec<_> = b.received_bytes().iter().map(Vec::len).collect();
    assert_eq!(lengths, [100, 102]);
    switch.finish();
}

#[test]
fn jumbo_frames_go_where_they_fit() {
    let switch = Switch::new(610);
    let jumbo = || config().keyword("*JumboPacket", "9014");
    let (a, b, small) = (
        switch.port_with(jumbo()),
        switch.port_with(jumbo()),
        switch.port(),
    );
    for port in [&b, &small] {
        port.filter(NDIS_PACKET_TYPE_BROADCAST);
    }
    let bytes = frame([0xff; 6], a.adapter.mac(), 9014);
    a.send_frame(&bytes);
    assert_eq!(b.received_bytes(), [bytes]);
    assert!(small.received().is_empty());
    assert_eq!(small.counter(OID_GEN_RCV_ERROR), 1);
    switch.finish();
}

#[test]
fn long_chains_keep_their_order() {
    let switch = Switch::new(610);
    let (a, b) = (
        switch.port(),
        switch.port_with(config().keyword("*ReceiveBuffers", "4096")),
    );
    b.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    // Lists of 1 to 7 packets, 2000 packets in all: many runs of the send DPC.
    let numbered = |number: usize| {
        let mut bytes = frame(b.adapter.mac(), a.adapter.mac(), 64);
        bytes[20..24].copy_from_slice(&(number as u32).to_be_bytes());
        bytes
    };
    let mut number = 0;
    let mut lists = Vec::new();
    while number < 2000 {
        let count = (number % 7 + 1).min(2000 - number);
        let packets = (number..number + count).map(|n| SendNb::new(numbered(n)).split_every(17));
        lists.push(SendNbl::with_net_buffers(packets.collect()));
        number += count;
    }
    let statuses = a.send(lists);
    assert!(statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS));
    let received = b.received_bytes();
    assert_eq!(received.len(), 2000);
    for (number, bytes) in received.iter().enumerate() {
        assert_eq!(*bytes, numbered(number));
    }
    switch.finish();
}

#[test]
fn sends_go_behind_those_that_wait() {
    let switch = Switch::on(Machine::builder().processors(1).build(), 610);
    let (a, b) = pair(&switch);
    let lists = |numbers: std::ops::Range<usize>| -> Vec<_> {
        let numbered = numbers.map(|number| {
            let mut bytes = frame(b.adapter.mac(), a.adapter.mac(), 64);
            bytes[20..24].copy_from_slice(&(number as u32).to_be_bytes());
            SendNbl::new(bytes)
        });
        numbered.collect()
    };
    let (many, few) = (lists(0..300), lists(300..310));
    let open = a.open.clone();
    // At DISPATCH_LEVEL of the only processor the send DPC cannot run in between.
    let done = switch.machine.run(Some(0), Irql::DISPATCH, move || {
        open.send(many)?;
        open.send(few)
    });
    check(done.unwrap());
    let numbers: Vec<_> = b
        .received_bytes()
        .iter()
        .map(|bytes| u32::from_be_bytes(bytes[20..24].try_into().unwrap()))
        .collect();
    assert_eq!(numbers, (0..310).collect::<Vec<_>>());
    drop(a.protocol.take_sent());
    switch.finish();
}

#[test]
fn queued_sends_are_cancelled_by_their_id() {
    let switch = Switch::on(Machine::builder().processors(1).build(), 610);
    let (a, b) = pair(&switch);
    let lists: Vec<_> = (0..400)
        .map(|i| {
            SendNbl::new(frame(b.adapter.mac(), a.adapter.mac(), 60))
                .cancel_id(1 + i % 2)
                .cookie(i as u64)
        })
        .collect();
    let open = a.open.clone();
    // At DISPATCH_LEVEL of the only processor the send DPC cannot run in between.
    let done = switch.machine.run(Some(0), Irql::DISPATCH, move || {
        open.send(lists)?;
        open.cancel_sends(2)
    });
    check(done.unwrap());
    let mut sent = check(a.protocol.wait_sent(&switch.machine, 400, PATIENCE));
    assert_eq!(sent.len(), 400);
    sent.sort_by_key(|list| list.cookie);
    let aborted = |id: u64| {
        let of_id = sent.iter().filter(|list| 1 + list.cookie % 2 == id);
        of_id
            .filter(|list| list.status == NDIS_STATUS_SEND_ABORTED)
            .count()
    };
    assert_eq!(aborted(1), 0);
    // The first 128 packets went out in the call.
    assert_eq!(aborted(2), (400 - 128) / 2);
    drop(b.received());
    switch.finish();
}

#[test]
fn tags_travel_in_the_frame_and_beside_it() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    let tap = switch.port_with(config().keyword("*PriorityVLANTag", "0"));
    tap.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    for (priority, vlan) in [(0, 0), (5, 0), (0, 7), (7, 4094), (3, 100)] {
        let bytes = frame(b.adapter.mac(), a.adapter.mac(), 100);
        let list = SendNbl::new(bytes.clone()).info(TAG, tag(priority, vlan));
        assert_eq!(a.send(vec![list]), [NDIS_STATUS_SUCCESS]);
        let [up] = b.received().try_into().unwrap();
        assert_eq!(up.data.concat(), bytes, "the tag is taken out");
        assert_eq!(up.info[TAG], tag(priority, vlan));
        let [wire] = tap.received_bytes().try_into().unwrap();
        if (priority, vlan) == (0, 0) {
            assert_eq!(wire, bytes);
        } else {
            let tci = ((priority << 13 | vlan) as u16).to_be_bytes();
            let expected = [&bytes[..12], &[0x81, 0x00], &tci, &bytes[12..]].concat();
            assert_eq!(wire, expected);
        }
    }
    switch.finish();
}

#[test]
fn an_adapter_of_a_vlan_hears_no_other() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    let c = switch.port_with(config().keyword("VlanID", "9"));
    c.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    let send = |vlan| {
        let list = SendNbl::new(frame([0xff; 6], a.adapter.mac(), 64)).info(TAG, tag(0, vlan));
        assert_eq!(a.send(vec![list]), [NDIS_STATUS_SUCCESS]);
    };
    for (vlan, heard) in [(0, 1), (9, 1), (10, 0)] {
        send(vlan);
        assert_eq!(c.received().len(), heard, "VLAN {vlan}");
        assert_eq!(b.received().len(), 1);
    }
    assert_eq!(c.counter(OID_GEN_RCV_DISCARDS), 1);
    // What an adapter of a VLAN sends is in it.
    c.send_frame(&frame([0xff; 6], c.adapter.mac(), 64));
    assert_eq!(b.received()[0].info[TAG], tag(0, 9));
    assert_eq!(
        c.set(OID_GEN_VLAN_ID, &10_u32.to_le_bytes()).status,
        NDIS_STATUS_SUCCESS
    );
    send(10);
    assert_eq!(c.received().len(), 1);
    switch.finish();
}

#[test]
fn without_receive_buffers_frames_are_lost_and_counted() {
    let switch = Switch::new(610);
    let a = switch.port();
    let b = switch.port_on(
        config().keyword("*ReceiveBuffers", "32"),
        Collector::holding(),
    );
    b.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    let frames = (0..100).map(|_| SendNbl::new(frame(b.adapter.mac(), a.adapter.mac(), 64)));
    let statuses = a.send(frames.collect());
    assert!(
        statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS),
        "the wire took them"
    );
    let held = check(b.protocol.wait_received(&switch.machine, 32, PATIENCE));
    assert_eq!(held.len(), 32);
    assert_eq!(b.counter(OID_GEN_RCV_NO_BUFFER), 68);
    assert_eq!(b.counter(OID_GEN_RCV_OK), 32);
    check(b.open.return_nbls(held, Irql::DISPATCH));
    a.send_frame(&frame(b.adapter.mac(), a.adapter.mac(), 64));
    assert_eq!(b.received().len(), 1);
    drop(b.protocol.take_received());
    switch.finish();
}

#[test]
fn a_packet_that_cannot_be_mapped_is_out_of_resources() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    let bytes = frame(b.adapter.mac(), a.adapter.mac(), 64);
    let list = || SendNbl::with_net_buffers(vec![SendNb::new(bytes.clone()).unmapped()]);
    switch
        .machine
        .faults()
        .fail_next("MmMapLockedPagesSpecifyCache");
    assert_eq!(
        a.send(vec![list(), list()]),
        [NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS]
    );
    assert_eq!(b.received_bytes(), [bytes]);
    assert_eq!(a.counter(OID_GEN_XMIT_DISCARDS), 1);
    assert_eq!(a.counter(OID_GEN_XMIT_ERROR), 0);
    switch.finish();
}
