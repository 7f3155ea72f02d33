//! Checksum offload through the driver: what is sent has the checksums of other software, received
//! packets are stamped with what their checksums are, and what is off is not done.

use ipsecov2_tests::{
    oob::*,
    packets::{Net, Packet, Transport, nets, tcp, udp},
    switch::{Switch, SwitchPort, VERSIONS, frame},
};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::*;

fn activate(port: &SwitchPort, v4: u32, v6: u32) {
    let words = [
        v4,
        NDIS_ENCAPSULATION_IEEE_802_3,
        14,
        v6,
        NDIS_ENCAPSULATION_IEEE_802_3,
        14,
    ];
    let header = [NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, 28, 0];
    let bytes: Vec<u8> = header
        .into_iter()
        .chain(words.into_iter().flat_map(u32::to_le_bytes))
        .collect();
    assert_eq!(
        port.set(OID_OFFLOAD_ENCAPSULATION, &bytes).status,
        NDIS_STATUS_SUCCESS
    );
}

/// Two adapters, the second of which hears everything and has its offloads activated.
fn pair(switch: &Switch) -> (SwitchPort, SwitchPort) {
    let (a, b) = (switch.port(), switch.port());
    b.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    activate(&b, NDIS_OFFLOAD_SET_ON, NDIS_OFFLOAD_SET_ON);
    (a, b)
}

fn packet(
    a: &SwitchPort,
    b: &SwitchPort,
    net: (&str, Net),
    transport: Transport,
    len: usize,
) -> Packet {
    Packet::new(net, transport, len, b.adapter.mac(), a.adapter.mac())
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

#[test]
fn sent_checksums_are_those_of_other_software_and_found_right() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let (a, b) = pair(&switch);
        let mut number = 0;
        for net in nets() {
            for transport in [tcp(0), tcp(40), udp()] {
                for len in [0, 1, 2, 17, 600, 1201] {
                    let packet = packet(&a, &b, net.clone(), transport.clone(), len);
                    let tagged = number % 4 == 3;
                    let packet = if tagged {
                        packet.tagged(0x6005)
                    } else {
                        packet
                    };
                    let data = packet.unfinished();
                    let nb = match number % 3 {
                        0 => SendNb::new(data),
                        1 => SendNb::new(data).split_every(1),
                        _ => SendNb::new(data).split(&[15, 20, 0, 7]).data_offset(3),
                    };
                    let beside = if number % 4 == 1 { 3 | 7 << 4 } else { 0 };
                    number += 1;
                    let list = SendNbl::with_net_buffers(vec![nb.clone(), nb])
                        .info(CHECKSUM, checksums(&packet))
                        .info(TAG, beside)
                        .compact();
                    assert_eq!(a.send(vec![list]), [NDIS_STATUS_SUCCESS], "{packet:?}");
                    let mut expected = packet.frame();
                    if tagged {
                        expected.drain(12..16);
                    }
                    // The medium's minimum counts the tag.
                    let minimum = if tagged || beside != 0 { 56 } else { 60 };
                    expected.resize(expected.len().max(minimum), 0);
                    let received = b.received();
                    assert_eq!(received.len(), 2);
                    for up in received {
                        assert_eq!(up.data.concat(), expected, "{packet:?}");
                        assert_eq!(up.info[CHECKSUM], checksums_right(&packet), "{packet:?}");
                    }
                }
            }
        }
        switch.finish();
    }
}

#[test]
fn each_checksum_alone() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    for transport in [tcp(12), udp()] {
        let packet = packet(&a, &b, nets()[1].clone(), transport, 100);
        let (whole, unfinished) = (packet.frame(), packet.unfinished());
        let ip = packet.ip_offset() + 10..packet.ip_offset() + 12;
        let field = packet.transport_offset() + if packet.is_tcp() { 16 } else { 6 };
        let (all, failed) = if packet.is_tcp() {
            (TCP_SUCCEEDED, TCP_FAILED)
        } else {
            (UDP_SUCCEEDED, UDP_FAILED)
        };
        for (word, fields, found) in [
            (
                checksums(&packet) & !IP_HEADER,
                std::iter::once(field..field + 2).collect(),
                all | IP_FAILED,
            ),
            (IS_IPV4 | IP_HEADER, vec![ip], failed | IP_SUCCEEDED),
            // "If both flags are not set, the NIC should not perform any checksum operations."
            (checksums(&packet) & !IS_IPV4, vec![], failed | IP_FAILED),
            (IS_IPV4, vec![], failed | IP_FAILED),
        ] {
            let mut expected = unfinished.clone();
            for field in fields {
                expected[field.clone()].copy_from_slice(&whole[field]);
            }
            let list = SendNbl::new(unfinished.clone()).info(CHECKSUM, word);
            assert_eq!(a.send(vec![list]), [NDIS_STATUS_SUCCESS]);
            let [up] = b.received().try_into().unwrap();
            assert_eq!(up.data.concat(), padded(expected), "{word:#x}");
            assert_eq!(up.info[CHECKSUM], found, "{word:#x}");
        }
    }
    switch.finish();
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    for net in [0, 4].map(|kind| nets()[kind].clone()) {
        let mut packet = packet(&a, &b, net, udp(), 64);
        // The checksum of the rest, in place of two bytes of it, makes the sum all ones.
        packet.payload[..2].fill(0);
        let at = packet.transport_offset() + 6;
        let checksum = packet.frame()[at..at + 2].to_vec();
        packet.payload[..2].copy_from_slice(&checksum);
        let list = SendNbl::new(packet.unfinished()).info(CHECKSUM, checksums(&packet));
        assert_eq!(a.send(vec![list]), [NDIS_STATUS_SUCCESS]);
        let [up] = b.received().try_into().unwrap();
        let bytes = up.data.concat();
        assert_eq!(bytes[at..at + 2], [0xff, 0xff]);
        assert_eq!(bytes, packet.frame());
        assert_eq!(up.info[CHECKSUM], checksums_right(&packet));
    }
    switch.finish();
}

#[test]
fn received_packets_are_stamped_with_what_they_are() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    let check = |name: &str, bytes: Vec<u8>, expected: usize| {
        a.send_frame(&bytes);
        let [up] = b.received().try_into().unwrap();
        assert_eq!(up.info[CHECKSUM], expected, "{name}");
        assert_eq!(up.data.concat(), padded(bytes), "{name}");
    };
    for net in nets() {
        for transport in [tcp(12), udp()] {
            let packet = packet(&a, &b, net.clone(), transport, 77);
            let name = packet.name.clone();
            let (good, bad) = if packet.is_tcp() {
                (TCP_SUCCEEDED, TCP_FAILED)
            } else {
                (UDP_SUCCEEDED, UDP_FAILED)
            };
            let ip = if packet.is_v4() { IP_SUCCEEDED } else { 0 };
            check(&name, packet.frame(), ip | good);
            let mut bytes = packet.frame();
            *bytes.last_mut().unwrap() ^= 1;
            check(&name, bytes, ip | bad);
            if packet.is_v4() {
                let mut bytes = packet.frame();
                // Time to live.
                bytes[packet.ip_offset() + 8] -= 1;
                check(&name, bytes, IP_FAILED | good);
                // A fragment: the header alone.
                let mut fragment = packet.clone();
                if let Net::V4(header, _) = &mut fragment.net {
                    header.more_fragments = true;
                }
                check("a fragment", fragment.frame(), IP_SUCCEEDED);
            }
            if !packet.is_tcp() {
                let mut bytes = packet.frame();
                let at = packet.transport_offset() + 6;
                bytes[at..at + 2].fill(0);
                check("no UDP checksum", bytes, ip);
                let mut bytes = packet.frame();
                bytes[at - 1] += 1;
                check("a wrong UDP length", bytes, ip);
            } else {
                let mut bytes = packet.frame();
                bytes[packet.transport_offset() + 12] = 0xf0 & 0x40;
                check("no TCP header", bytes, ip);
            }
        }
    }
    check("no IP", frame(b.adapter.mac(), a.adapter.mac(), 100), 0);
    let packet = packet(&a, &b, nets()[0].clone(), udp(), 30);
    for (name, at, value, expected) in [
        ("ICMP", 23, 1, IP_FAILED),
        ("version 5", 14, 0x55, 0),
        ("longer than the frame", 16, 0x40, 0),
    ] {
        let mut bytes = packet.frame();
        bytes[at] = value;
        check(name, bytes, expected);
    }
    let mut padded = packet.frame();
    padded.resize(200, 0x55);
    check("Ethernet padding", padded, checksums_right(&packet));
    switch.finish();
}

#[test]
fn nothing_is_validated_before_it_is_allowed() {
    let switch = Switch::new(610);
    let (a, b) = (switch.port(), switch.port());
    b.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    let packets = [0, 4].map(|kind| packet(&a, &b, nets()[kind].clone(), tcp(0), 50));
    let words = || {
        packets.each_ref().map(|packet| {
            a.send_frame(&packet.frame());
            b.received()[0].info[CHECKSUM]
        })
    };
    let all = packets.each_ref().map(checksums_right);
    assert_eq!(words(), [0, 0]);
    const ON: u32 = NDIS_OFFLOAD_SET_ON;
    const OFF: u32 = NDIS_OFFLOAD_SET_OFF;
    const SAME: u32 = NDIS_OFFLOAD_SET_NO_CHANGE;
    for (v4, v6, expected) in [
        (ON, OFF, [all[0], 0]),
        (SAME, ON, all),
        (OFF, SAME, [0, all[1]]),
        (ON, OFF, [all[0], 0]),
        (OFF, OFF, [0, 0]),
        (ON, ON, all),
    ] {
        activate(&b, v4, v6);
        assert_eq!(words(), expected, "{v4} {v6}");
        // The report says the same.
        let report = b.adapter.offloads().current().unwrap().get().Checksum;
        let reported = [
            report.IPv4Receive.Encapsulation,
            report.IPv6Receive.Encapsulation,
        ];
        assert_eq!(reported.map(|e| e != 0), expected.map(|word| word != 0));
    }
    switch.finish();
}

#[test]
fn nonsense_is_refused_and_nothing_is_sent() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    let v4 = packet(&a, &b, nets()[0].clone(), tcp(0), 100);
    let v6 = packet(&a, &b, nets()[4].clone(), tcp(0), 100);
    let datagram = packet(&a, &b, nets()[0].clone(), udp(), 100);
    let mut fragment = datagram.clone();
    if let Net::V4(header, _) = &mut fragment.net {
        header.more_fragments = true;
    }
    let mut cases = vec![
        ("both versions", v4.unfinished(), checksums(&v4) | IS_IPV6),
        (
            "IPv4 called IPv6",
            v4.unfinished(),
            checksums(&v4) ^ IS_IPV4 ^ IS_IPV6,
        ),
        (
            "IPv6 called IPv4",
            v6.unfinished(),
            checksums(&v6) ^ IS_IPV4 ^ IS_IPV6,
        ),
        ("both transports", v4.unfinished(), checksums(&v4) | UDP),
        ("TCP called UDP", v4.unfinished(), IS_IPV4 | UDP),
        (
            "UDP called TCP",
            datagram.unfinished(),
            IS_IPV4 | TCP | (34 * TCP_OFFSET),
        ),
        ("no offset", v4.unfinished(), IS_IPV4 | TCP),
        (
            "offset before",
            v4.unfinished(),
            IS_IPV4 | TCP | (10 * TCP_OFFSET),
        ),
        (
            "offset behind",
            v4.unfinished(),
            IS_IPV4 | TCP | (38 * TCP_OFFSET),
        ),
        (
            "the largest offset",
            v4.unfinished(),
            IS_IPV4 | TCP | (1023 * TCP_OFFSET),
        ),
        ("a fragment", fragment.unfinished(), checksums(&fragment)),
        (
            "no IP",
            frame(b.adapter.mac(), a.adapter.mac(), 100),
            IS_IPV4 | IP_HEADER,
        ),
        ("cut off", v4.unfinished()[..100].to_vec(), checksums(&v4)),
        (
            "cut in the header",
            v4.unfinished()[..40].to_vec(),
            checksums(&v4),
        ),
    ];
    let mut short = datagram.unfinished();
    short[38..40].copy_from_slice(&[0, 7]);
    cases.push(("UDP length 7", short, checksums(&datagram)));
    for (errors, (name, data, info)) in (1..).zip(cases) {
        let list = SendNbl::new(data).info(CHECKSUM, info);
        assert_eq!(a.send(vec![list]), [NDIS_STATUS_FAILURE], "{name}");
        assert!(b.received().is_empty(), "{name}");
        assert_eq!(a.counter(OID_GEN_XMIT_ERROR), errors, "{name}");
    }
    switch.finish();
}
