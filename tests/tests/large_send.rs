//! Large sends through the driver: byte for byte what a sender without offload would have sent, in
//! order, whatever the headers, the MSS and the MDLs; and what is refused, cancelled and completed.

use ipsecov2_tests::{
    oob::{LARGE_SEND, LARGE_SEND_IPV6, LARGE_SEND_V2, TAG, large_send, large_send_done},
    packets::{Net, Packet, Transport, nets, tcp, udp},
    switch::{PATIENCE, Switch, SwitchPort, check, config},
};
use ndis_sim::{
    Irql, Machine,
    ndis::{SendNb, SendNbl},
};
use ndis_sys::*;

/// Two adapters, the second of which hears everything and has buffers enough.
fn pair(switch: &Switch, jumbo: &str) -> (SwitchPort, SwitchPort) {
    let config = || config().keyword("*JumboPacket", jumbo);
    let a = switch.port_with(config());
    let b = switch.port_with(config().keyword("*ReceiveBuffers", "4096"));
    b.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    (a, b)
}

fn packet(a: &SwitchPort, b: &SwitchPort, net: (&str, Net), tcp: Transport, len: usize) -> Packet {
    Packet::new(net, tcp, len, b.adapter.mac(), a.adapter.mac())
}

/// What NDIS sees of the completion, and the statuses.
fn complete(a: &SwitchPort, lists: Vec<SendNbl>) -> Vec<(i32, usize)> {
    let count = lists.len();
    let numbered = lists.into_iter().zip(0..).map(|(l, n)| l.cookie(n));
    check(a.open.send(numbered.collect()));
    let machine = a.open.machine().clone();
    let mut sent = check(a.protocol.wait_sent(&machine, count, PATIENCE));
    assert_eq!(sent.len(), count);
    sent.sort_by_key(|list| list.cookie);
    sent.iter()
        .map(|list| (list.status, list.info(LARGE_SEND)))
        .collect()
}

fn assert_same(found: &[Vec<u8>], expected: &[Vec<u8>], about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}: frames");
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        let mut expected = expected.clone();
        expected.resize(expected.len().max(60), 0);
        if *found != expected {
            let at = found.iter().zip(&expected).position(|(a, b)| a != b);
            panic!(
                "{about}: frame {number} of {} bytes differs from one of {} at {at:?}",
                found.len(),
                expected.len()
            );
        }
    }
}

#[test]
fn segments_are_those_of_a_sender_without_offload() {
    for (jumbo, sizes) in [
        (
            "1514",
            &[
                (1_usize, 40_usize),
                (7, 100),
                (536, 8000),
                (1000, 65_000),
                (1200, 40_001),
                // A transport should not ask for this, and would ask again and again.
                (1000, 1000),
                (1400, 5),
            ][..],
        ),
        ("9014", &[(1460, 9000), (4000, 65_000), (8700, 60_000)][..]),
    ] {
        let switch = Switch::new(610);
        let (a, b) = pair(&switch, jumbo);
        let mut number = 0;
        for net in nets() {
            for options in [0, 12, 40] {
                for &(mss, len) in sizes {
                    let packet = packet(&a, &b, net.clone(), tcp(options), len);
                    // Also with the tag in the frame.
                    let packet = if number % 3 == 2 {
                        packet.tagged(0x6005)
                    } else {
                        packet
                    };
                    let version = if packet.is_v4() && number % 2 == 0 {
                        1
                    } else {
                        2
                    };
                    let data = packet.large(version);
                    let head = data.len() - len;
                    let nb = match number % 5 {
                        0 => SendNb::new(data),
                        1 => SendNb::new(data).split(&[head]),
                        2 => SendNb::new(data).split_every(61).data_offset(5),
                        3 => SendNb::new(data)
                            .split(&[1, 0, 13, 3, 40, 0, 1000])
                            .slack(9),
                        _ => SendNb::new(data).split_every(1460),
                    };
                    number += 1;
                    let list = SendNbl::with_net_buffers(vec![nb])
                        .info(LARGE_SEND, large_send(&packet, version, mss))
                        .compact();
                    let about = format!("{packet:?}, MSS {mss}, version {version}");
                    assert_eq!(
                        complete(&a, vec![list]),
                        [(NDIS_STATUS_SUCCESS, large_send_done(version, len))],
                        "{about}"
                    );
                    let mut expected = packet.segments(mss);
                    if packet.link.len() > 12 {
                        // The receiver takes the tag out.
                        for frame in &mut expected {
                            frame.drain(12..16);
                        }
                    }
                    assert_same(&b.received_bytes(), &expected, &about);
                }
            }
        }
        switch.finish();
    }
}

/// A word with nothing but a type is what a completion leaves: the list may be sent again.
#[test]
fn a_word_that_asks_for_nothing() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch, "1514");
    for (net, words) in [
        (0, &[LARGE_SEND_V2][..]),
        (4, &[LARGE_SEND_V2, LARGE_SEND_V2 | LARGE_SEND_IPV6]),
    ] {
        for &word in words {
            let packet = packet(&a, &b, nets()[net].clone(), tcp(0), 700);
            let list = SendNbl::new(packet.frame()).info(LARGE_SEND, word);
            assert_eq!(
                complete(&a, vec![list]),
                [(NDIS_STATUS_SUCCESS, LARGE_SEND_V2)]
            );
            assert_same(&b.received_bytes(), &[packet.frame()], &packet.name);
        }
    }
    switch.finish();
}

#[test]
fn a_byte_per_mdl() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch, "1514");
    for net in [0, 4].map(|kind| nets()[kind].clone()) {
        for (mss, len) in [(3, 50), (536, 5000), (1000, 20_000)] {
            let packet = packet(&a, &b, net.clone(), tcp(12), len);
            let nb = SendNb::new(packet.large(2)).split_every(1);
            let list = SendNbl::with_net_buffers(vec![nb])
                .info(LARGE_SEND, large_send(&packet, 2, mss))
                .compact();
            assert_eq!(
                complete(&a, vec![list]),
                [(NDIS_STATUS_SUCCESS, LARGE_SEND_V2)]
            );
            assert_same(&b.received_bytes(), &packet.segments(mss), &packet.name);
        }
    }
    switch.finish();
}

#[test]
fn as_much_as_is_advertised_and_no_more() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch, "9014");
    let offload = a.adapter.offloads().current().unwrap().get();
    let (v1, v2) = (offload.LsoV1.IPv4, offload.LsoV2);
    assert!((0xf000..=0x1_0000).contains(&v1.MaxOffLoadSize));
    assert!(v2.IPv4.MaxOffLoadSize >= 0x1_0000 && v2.IPv6.MaxOffLoadSize >= 0x1_0000);
    assert_eq!(
        (
            v1.MinSegmentCount,
            v2.IPv4.MinSegmentCount,
            v2.IPv6.MinSegmentCount
        ),
        (2, 2, 2)
    );
    for (version, net, options, most) in [
        (1, 0, 0, v1.MaxOffLoadSize),
        // The longest headers that the length field has to count too.
        (1, 2, 40, v1.MaxOffLoadSize),
        (2, 0, 12, v2.IPv4.MaxOffLoadSize),
        (2, 4, 12, v2.IPv6.MaxOffLoadSize),
    ] {
        let most = most as usize;
        let net = nets()[net].clone();
        for (len, status) in [
            (most, NDIS_STATUS_SUCCESS),
            (most + 1, NDIS_STATUS_INVALID_LENGTH),
        ] {
            let packet = packet(&a, &b, net.clone(), tcp(options), len);
            let data = packet.large(version);
            if version == 1 && data.len() - 14 > 65_535 {
                // Such a packet cannot tell its length.
                continue;
            }
            let list = SendNbl::new(data).info(LARGE_SEND, large_send(&packet, version, 1400));
            let sent = if status == NDIS_STATUS_SUCCESS {
                len
            } else {
                0
            };
            assert_eq!(
                complete(&a, vec![list]),
                [(status, large_send_done(version, sent))],
                "{packet:?}"
            );
            let found = b.received_bytes();
            if status == NDIS_STATUS_SUCCESS {
                assert_same(&found, &packet.segments(1400), &packet.name);
            } else {
                assert!(found.is_empty());
            }
        }
    }
    switch.finish();
}

#[test]
fn flags_tags_and_order() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch, "1514");
    let plain = |len: usize| {
        let bytes = packet(&a, &b, nets()[0].clone(), udp(), len).frame();
        (SendNbl::new(bytes.clone()), bytes)
    };
    let Transport::Tcp(mut header) = tcp(0) else {
        unreachable!()
    };
    header.fin = true;
    header.cwr = true;
    let large = packet(&a, &b, nets()[0].clone(), Transport::Tcp(header), 2500);
    let list = SendNbl::new(large.large(2))
        .info(LARGE_SEND, large_send(&large, 2, 1000))
        .info(TAG, 5 | 9 << 4);
    let (before, after) = (plain(100), plain(200));
    assert_eq!(
        complete(&a, vec![before.0, list, after.0]),
        [
            (NDIS_STATUS_SUCCESS, 0),
            (NDIS_STATUS_SUCCESS, LARGE_SEND_V2),
            (NDIS_STATUS_SUCCESS, 0)
        ]
    );
    let received = b.received();
    let bytes: Vec<_> = received.iter().map(|frame| frame.data.concat()).collect();
    let segments = large.segments(1000);
    let expected = [vec![before.1], segments, vec![after.1]].concat();
    assert_same(&bytes, &expected, "among others");
    let flags: Vec<u8> = bytes[1..4].iter().map(|frame| frame[47]).collect();
    assert_eq!(flags, [0b1101_0000, 0b0101_0000, 0b0101_1001]);
    let tags: Vec<usize> = received.iter().map(|frame| frame.info[TAG]).collect();
    assert_eq!(tags, [0, 5 | 9 << 4, 5 | 9 << 4, 5 | 9 << 4, 0]);
    switch.finish();
}

#[test]
fn work_is_bounded_and_goes_on_in_order() {
    let switch = Switch::on(Machine::builder().processors(1).build(), 610);
    let (a, b) = pair(&switch, "1514");
    let first = packet(&a, &b, nets()[0].clone(), tcp(0), 1000);
    let second = packet(&a, &b, nets()[4].clone(), tcp(12), 777);
    let list = |packet: &Packet, mss| {
        SendNbl::new(packet.large(2)).info(LARGE_SEND, large_send(packet, 2, mss))
    };
    let lists = vec![list(&first, 1), list(&second, 2)];
    let (open, adapter) = (a.open.clone(), a.adapter.clone());
    // At DISPATCH_LEVEL of the only processor the send DPC cannot run in between.
    let left = switch.machine.run(Some(0), Irql::DISPATCH, move || {
        open.send(lists).map(|()| adapter.sends_outstanding())
    });
    assert_eq!(check(left.unwrap()), 2, "all of it in one call");
    let machine = a.open.machine().clone();
    let sent = check(a.protocol.wait_sent(&machine, 2, PATIENCE));
    assert!(sent.iter().all(|list| list.status == NDIS_STATUS_SUCCESS));
    let expected = [first.segments(1), second.segments(2)].concat();
    assert_same(&b.received_bytes(), &expected, "in many runs");
    assert_eq!(a.counter(OID_GEN_XMIT_OK), 1000 + 389);
    switch.finish();
}

#[test]
fn what_was_sent_before_a_cancellation_is_told() {
    let switch = Switch::on(Machine::builder().processors(1).build(), 610);
    let (a, b) = pair(&switch, "1514");
    for version in [1, 2] {
        let large = packet(&a, &b, nets()[0].clone(), tcp(0), 5000);
        let lists: Vec<_> = (0..2)
            .map(|number| {
                SendNbl::new(large.large(version))
                    .info(LARGE_SEND, large_send(&large, version, 10))
                    .cancel_id(7 + number)
                    .cookie(number as u64)
            })
            .collect();
        let open = a.open.clone();
        let done = switch.machine.run(Some(0), Irql::DISPATCH, move || {
            open.send(lists)?;
            open.cancel_sends(7)
        });
        check(done.unwrap());
        let mut sent = check(a.protocol.wait_sent(&switch.machine, 2, PATIENCE));
        sent.sort_by_key(|list| list.cookie);
        let frames = b.received_bytes();
        let all = large.segments(10);
        let first = frames.len() - all.len();
        // A run of the send path is 128 frames; looking at the head counts as one.
        assert_eq!(first, 127);
        assert_same(&frames[..first], &all[..first], "before it was cancelled");
        assert_same(&frames[first..], &all, "the other one");
        assert_eq!(
            (sent[0].status, sent[0].info(LARGE_SEND)),
            (
                NDIS_STATUS_SEND_ABORTED,
                large_send_done(version, first * 10)
            )
        );
        assert_eq!(
            (sent[1].status, sent[1].info(LARGE_SEND)),
            (NDIS_STATUS_SUCCESS, large_send_done(version, 5000))
        );
        drop(sent);
    }
    switch.finish();
}

#[test]
fn without_memory_for_a_mapping_what_was_sent_is_told() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch, "1514");
    let large = packet(&a, &b, nets()[0].clone(), tcp(0), 3000);
    let data = large.large(1);
    // The head, one segment, and the rest: the third mapping fails.
    let nb = SendNb::new(data).split(&[54, 1000]).unmapped();
    let list = SendNbl::with_net_buffers(vec![nb]).info(LARGE_SEND, large_send(&large, 1, 1000));
    let mut mappings = 0;
    switch.machine.faults().fail_if(move |name, _| {
        mappings += usize::from(name == "MmMapLockedPagesSpecifyCache");
        mappings == 3 && name == "MmMapLockedPagesSpecifyCache"
    });
    assert_eq!(complete(&a, vec![list]), [(NDIS_STATUS_RESOURCES, 1000)]);
    assert_same(&b.received_bytes(), &large.segments(1000)[..1], "the first");
    assert_eq!(a.counter(OID_GEN_XMIT_DISCARDS), 1);
    switch.finish();
}

#[test]
fn nonsense_is_refused_and_nothing_is_sent() {
    const FAILURE: i32 = NDIS_STATUS_FAILURE;
    const LENGTH: i32 = NDIS_STATUS_INVALID_LENGTH;
    let switch = Switch::new(610);
    let (a, b) = pair(&switch, "1514");
    let v4 = packet(&a, &b, nets()[0].clone(), tcp(0), 4000);
    let v6 = packet(&a, &b, nets()[4].clone(), tcp(0), 4000);
    let datagram = packet(&a, &b, nets()[0].clone(), udp(), 4000);
    let fragment = {
        let mut packet = v4.clone();
        if let Net::V4(header, _) = &mut packet.net {
            header.more_fragments = true;
        }
        packet
    };
    let cases = vec![
        ("no MSS", v4.large(2), large_send(&v4, 2, 0), FAILURE),
        (
            "no MSS, version 1",
            v4.large(1),
            large_send(&v4, 1, 0),
            FAILURE,
        ),
        (
            "one segment beyond the MTU",
            v4.large(2),
            large_send(&v4, 2, 4000),
            LENGTH,
        ),
        (
            "the largest MSS",
            v4.large(2),
            large_send(&v4, 2, 0xf_ffff),
            LENGTH,
        ),
        (
            "segments beyond the MTU",
            v4.large(2),
            large_send(&v4, 2, 1461),
            LENGTH,
        ),
        (
            "offset before",
            v4.large(2),
            large_send(&v4, 2, 1000) - (4 << 20),
            FAILURE,
        ),
        (
            "offset behind",
            v4.large(2),
            large_send(&v4, 2, 1000) + (4 << 20),
            FAILURE,
        ),
        ("no offset", v4.large(2), 1000 | LARGE_SEND_V2, FAILURE),
        (
            "UDP",
            datagram.large(2),
            large_send(&datagram, 2, 1000),
            FAILURE,
        ),
        (
            "IPv6 called IPv4",
            v6.large(2),
            large_send(&v6, 2, 1000) & !LARGE_SEND_IPV6,
            FAILURE,
        ),
        (
            "IPv4 called IPv6",
            v4.large(2),
            large_send(&v4, 2, 1000) | LARGE_SEND_IPV6,
            FAILURE,
        ),
        (
            "IPv6 of version 1",
            v6.large(1),
            large_send(&v6, 1, 1000),
            FAILURE,
        ),
        (
            "a fragment",
            fragment.large(2),
            large_send(&fragment, 2, 1000),
            FAILURE,
        ),
        (
            "headers alone",
            v4.large(2)[..54].to_vec(),
            large_send(&v4, 2, 1000),
            FAILURE,
        ),
        (
            "half of the headers",
            v4.large(2)[..40].to_vec(),
            large_send(&v4, 2, 1000),
            FAILURE,
        ),
        (
            "shorter than its header says",
            v4.large(1)[..3000].to_vec(),
            large_send(&v4, 1, 1000),
            FAILURE,
        ),
        ("no IP", vec![0x88; 4000], large_send(&v4, 2, 1000), FAILURE),
    ];
    let mut errors = 0;
    for (name, data, info, status) in cases {
        let list = SendNbl::new(data).info(LARGE_SEND, info);
        assert_eq!(
            complete(&a, vec![list]),
            [(status, info & LARGE_SEND_V2)],
            "{name}"
        );
        assert!(b.received().is_empty(), "{name}");
        errors += 1;
        assert_eq!(a.counter(OID_GEN_XMIT_ERROR), errors, "{name}");
    }
    // "Any NET_BUFFER_LIST structure that contains the LSOv1 or LSOv2 OOB data also contains a single
    // NET_BUFFER structure."
    let two = SendNbl::with_net_buffers(vec![SendNb::new(v4.large(2)); 2])
        .info(LARGE_SEND, large_send(&v4, 2, 1000));
    assert_eq!(complete(&a, vec![two]), [(FAILURE, LARGE_SEND_V2)]);
    assert!(b.received().is_empty());
    // The adapter is none the worse for it.
    let good = SendNbl::new(v4.large(2)).info(LARGE_SEND, large_send(&v4, 2, 1000));
    assert_eq!(
        complete(&a, vec![good]),
        [(NDIS_STATUS_SUCCESS, LARGE_SEND_V2)]
    );
    assert_same(&b.received_bytes(), &v4.segments(1000), "a good one");
    switch.finish();
}
