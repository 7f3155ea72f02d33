//! NDISTest 6.5 - [2 Machine] - Stats.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{LONGEST, Lan, SHORTEST, USUAL, numbered, statistics::Statistics},
    oob::{LARGE_SEND, TAG, large_send, tag},
    packets::{Packet, nets, tcp},
    switch::{PATIENCE, Switch, VERSIONS, check, config, frame},
};
use ndis_sim::{
    Irql,
    ndis::{Collector, PowerState, SendNb, SendNbl},
};
use ndis_sys::*;

const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [2 Machine] - Stats",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "OID_GEN_STATISTICS and the counters beside it are exact on both sides",
        cases: vec![
            Case::new(
                "directed, multicast and broadcast",
                "frames and bytes of each kind, both ways, are those that were sent, padding included",
                kinds,
            ),
            Case::new(
                "what nobody receives",
                "a frame without a taker is sent and received by nobody",
                |_| nobody(),
            ),
            Case::new(
                "802.1Q tags",
                "the tag counts on both sides, though the receiver takes it out (ifInOctets of RFC 2863)",
                |_| tags(),
            ),
            Case::new(
                "lists with a bad packet",
                "what was sent, what was wrong and what was behind it come to what was handed down",
                |_| bad_packets(),
            ),
            Case::new(
                "out of resources",
                "a packet that cannot be mapped is discarded, not wrong",
                |_| resources(),
            ),
            Case::new(
                "large sends",
                "segments count, not the large packet",
                |_| segments(),
            ),
            Case::new(
                "no receive buffers",
                "OID_GEN_RCV_NO_BUFFER is the exact number of frames that were lost, and part of ifInDiscards",
                no_buffer,
            ),
            Case::new(
                "too long for the receiver",
                "a jumbo frame is a receive error of the adapter that does not take it",
                |_| too_long(),
            ),
            Case::new(
                "of another VLAN",
                "a frame that the adapter's VLAN keeps out is discarded",
                |_| other_vlan(),
            ),
            Case::new(
                "reset, pause and low power",
                "the statistics go on where they were",
                |_| kept(),
            ),
        ],
    }
}

/// Sends lists of a packet each, which must succeed, and throws away what comes up.
fn send(from: &Lan, packets: Vec<Vec<u8>>) {
    let lists = packets
        .into_iter()
        .map(|bytes| SendNbl::new(bytes).compact());
    let statuses = from.test.send(lists.collect());
    assert!(statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS));
    drop(from.support.received());
}

fn kinds(figures: &mut Figures) {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let mut random = fastrand::Rng::with_seed(version.into());
        let ports = [&lan.test, &lan.support];
        let mut expected = [Statistics::default(); 2];
        for round in 0..400 {
            let from = round % 2;
            let to = ports[1 - from].adapter.mac();
            let to = [to, to, GROUP, ALL][random.usize(..4)];
            let length = random.usize(14..=LONGEST);
            let bytes = frame(to, ports[from].adapter.mac(), length);
            ports[from].send_frame(&bytes);
            drop(ports[1 - from].received());
            expected[from].sent(to, length.max(SHORTEST));
            expected[1 - from].received(to, length.max(SHORTEST));
        }
        for (port, expected) in ports.iter().zip(expected) {
            assert_eq!(Statistics::of(port), expected);
        }
        figures.note("frames", 400);
        lan.finish();
    }
}

fn nobody() {
    let lan = Lan::start(630);
    let stranger = [2, 9, 9, 9, 9, 9];
    send(&lan, vec![frame(stranger, lan.test.adapter.mac(), 200); 7]);
    let mut expected = Statistics::default();
    for _ in 0..7 {
        expected.sent(stranger, 200);
    }
    assert_eq!(Statistics::of(&lan.test), expected);
    assert_eq!(Statistics::of(&lan.support), Statistics::default());
    lan.finish();
}

fn tags() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let (test, support) = (&lan.test, &lan.support);
        let mut expected = [Statistics::default(); 2];
        for (length, word) in [(100, tag(5, 0)), (30, tag(0, 9)), (LONGEST, tag(7, 4094))] {
            for to in [support.adapter.mac(), GROUP, ALL] {
                let bytes = frame(to, test.adapter.mac(), length);
                let list = SendNbl::new(bytes).info(TAG, word);
                assert_eq!(test.send(vec![list]), [NDIS_STATUS_SUCCESS]);
                assert_eq!(support.received().len(), 1);
                let on_the_wire = (length + 4).max(SHORTEST);
                expected[0].sent(to, on_the_wire);
                expected[1].received(to, on_the_wire);
            }
        }
        assert_eq!(Statistics::of(test), expected[0]);
        assert_eq!(Statistics::of(support), expected[1]);
        lan.finish();
    }
}

fn bad_packets() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let to = lan.support.adapter.mac();
        let packet = |length| SendNb::new(frame(to, lan.test.adapter.mac(), length));
        let list = |lengths: &[usize]| {
            let packets = lengths.iter().map(|&length| packet(length));
            SendNbl::with_net_buffers(packets.collect())
        };
        let failed = NDIS_STATUS_INVALID_LENGTH;
        let (lists, statuses): (Vec<_>, Vec<_>) = [
            (list(&[100, 100, 100]), NDIS_STATUS_SUCCESS),
            (list(&[100, 2000, 100, 100]), failed),
            (list(&[2000]), failed),
            (list(&[5, 2000, 100]), NDIS_STATUS_FAILURE),
            // What is asked for cannot be done with any of its packets.
            (
                list(&[100, 100]).info(LARGE_SEND, 1000 | 34 << 20),
                NDIS_STATUS_FAILURE,
            ),
        ]
        .into_iter()
        .unzip();
        assert_eq!(lan.test.send(lists), statuses);
        assert_eq!(lan.support.received().len(), 4);
        let mut expected = Statistics::default();
        for _ in 0..4 {
            expected.sent(to, 100);
        }
        expected.out_errors = 1 + 1 + 1 + 2;
        expected.out_discards = 2 + 2;
        assert_eq!(Statistics::of(&lan.test), expected);
        lan.finish();
    }
}

fn resources() {
    let lan = Lan::start(630);
    let to = lan.support.adapter.mac();
    let packet = || SendNb::new(frame(to, lan.test.adapter.mac(), 100)).unmapped();
    let list = SendNbl::with_net_buffers(vec![packet(), packet(), packet()]);
    let faults = lan.switch.machine.faults();
    faults.fail_if(|name, before| name == "MmMapLockedPagesSpecifyCache" && before == 1);
    assert_eq!(lan.test.send(vec![list]), [NDIS_STATUS_RESOURCES]);
    faults.clear();
    drop(lan.support.received());
    let mut expected = Statistics::default();
    expected.sent(to, 100);
    expected.out_discards = 2;
    assert_eq!(Statistics::of(&lan.test), expected);
    lan.finish();
}

fn segments() {
    let lan = Lan::start(630);
    let (to, from) = (lan.support.adapter.mac(), lan.test.adapter.mac());
    let packet = Packet::new(nets()[0].clone(), tcp(12), 5000, to, from);
    let list = SendNbl::new(packet.large(2)).info(LARGE_SEND, large_send(&packet, 2, 1200));
    assert_eq!(lan.test.send(vec![list]), [NDIS_STATUS_SUCCESS]);
    let mut expected = [Statistics::default(); 2];
    for segment in packet.segments(1200) {
        expected[0].sent(to, segment.len());
        expected[1].received(to, segment.len());
    }
    assert_eq!(lan.support.received().len(), 5);
    assert_eq!(Statistics::of(&lan.test), expected[0]);
    assert_eq!(Statistics::of(&lan.support), expected[1]);
    lan.finish();
}

fn no_buffer(figures: &mut Figures) {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let sender = switch.port();
        let few = config().keyword("*ReceiveBuffers", "32");
        let receiver = switch.port_on(few, Collector::holding());
        receiver.filter(USUAL);
        let (to, from) = (receiver.adapter.mac(), sender.adapter.mac());
        let mut expected = Statistics::default();
        for (sent, lost) in [(32, 0), (100, 100), (1, 1)] {
            let lists = (0..sent).map(|n| SendNbl::new(numbered(to, from, n, 80)));
            let statuses = sender.send(lists.collect());
            assert!(
                statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS),
                "the wire took them"
            );
            let machine = &switch.machine;
            machine.settle().unwrap_or_else(|check| panic!("{check}"));
            for _ in lost..u64::from(sent) {
                expected.received(to, 80);
            }
            expected.in_discards += lost;
            assert_eq!(Statistics::of(&receiver), expected);
            let no_buffer = receiver.counter(OID_GEN_RCV_NO_BUFFER);
            assert_eq!(no_buffer, expected.in_discards);
        }
        // With the buffers back it goes on.
        let held = check(
            receiver
                .protocol
                .wait_received(&switch.machine, 32, PATIENCE),
        );
        check(receiver.open.return_nbls(held, Irql::DISPATCH));
        sender.send_frame(&numbered(to, from, 0, 80));
        assert_eq!(receiver.received().len(), 1);
        expected.received(to, 80);
        assert_eq!(Statistics::of(&receiver), expected);
        figures.note("lost", expected.in_discards);
        drop(receiver.protocol.take_received());
        drop((sender, receiver));
        switch.finish();
    }
}

fn too_long() {
    let jumbo = config().keyword("*JumboPacket", "9014");
    let lan = Lan::with(630, jumbo, config());
    let bytes = frame(ALL, lan.test.adapter.mac(), 9014);
    send(
        &lan,
        vec![bytes.clone(), bytes, frame(ALL, lan.test.adapter.mac(), 90)],
    );
    let mut expected = Statistics::default();
    expected.received(ALL, 90);
    expected.in_errors = 2;
    assert_eq!(Statistics::of(&lan.support), expected);
    lan.finish();
}

fn other_vlan() {
    let lan = Lan::with(630, config(), config().keyword("VlanID", "9"));
    for (vlan, length) in [(9, 100), (10, 200), (0, 300)] {
        let bytes = frame(ALL, lan.test.adapter.mac(), length);
        let list = SendNbl::new(bytes).info(TAG, tag(0, vlan));
        assert_eq!(lan.test.send(vec![list]), [NDIS_STATUS_SUCCESS]);
    }
    assert_eq!(lan.support.received().len(), 2);
    let mut expected = Statistics::default();
    expected.received(ALL, 104);
    expected.received(ALL, 300);
    expected.in_discards = 1;
    assert_eq!(Statistics::of(&lan.support), expected);
    assert_eq!(lan.support.counter(OID_GEN_RCV_NO_BUFFER), 0);
    lan.finish();
}

fn kept() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let adapter = &lan.test.adapter;
        let mut expected = Statistics::default();
        let to = lan.support.adapter.mac();
        for event in 0..4 {
            match event {
                0 => {}
                1 => check(adapter.reset()),
                2 => check(adapter.pause().and_then(|()| adapter.restart())),
                _ => {
                    check(adapter.set_power(PowerState::D3));
                    check(adapter.set_power(PowerState::D0));
                }
            }
            send(&lan, vec![frame(to, adapter.mac(), 100); 3]);
            for _ in 0..3 {
                expected.sent(to, 100);
            }
            assert_eq!(Statistics::of(&lan.test), expected, "after event {event}");
        }
        lan.finish();
    }
}
