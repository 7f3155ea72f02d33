//! Large sends and checksums that TCP/IP leaves to the adapter, with and without an SA, by the
//! transport's own words: what must be on the wire is made by cutting, summing and sealing in
//! software, and what comes up must be the packets, with true checksum bits.

use std::sync::Arc;

use ipsecov2_tests::lab_options;
use ndis_sys::{
    NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS, TcpIpChecksumNetBufferListInfo,
};
use tcpip::{
    algorithm::Authentication,
    checksum::leave_to_the_miniport,
    lab::{Lab, NdisVersion, PATIENCE, Port, net_buffer_list},
    large_send::{self, LargePacket, LsoVersion, tcp_head},
    offload::{Handle, Way},
    outbound::{Outgoing, Sender},
    plan::{Plan, PlanMode, Protocol, Shape, UdpPlace, Version},
    policy::{Keys, Offers},
    recorder::Recorder,
    sas::Sa,
    split::Split,
    synthetic,
    verify::{check_completion, check_indicated, check_received, check_wire},
};

struct Wire {
    lab: Lab,
    a: Port,
    b: Port,
    tap: Port,
    a_side: Arc<Recorder>,
    b_side: Arc<Recorder>,
    tap_side: Arc<Recorder>,
    sas: Vec<Sa>,
    outbound: Vec<Handle>,
    inbound: Vec<Handle>,
}

impl Wire {
    fn start(version: NdisVersion, sas: Vec<Sa>) -> Self {
        let lab = Lab::start(&lab_options(version)).unwrap();
        let [a_side, b_side, tap_side] = [(); 3].map(|()| Recorder::on(lab.machine()));
        let a = lab.port(1514, a_side.clone()).unwrap();
        let b = lab.port(1514, b_side.clone()).unwrap();
        let tap = lab.port(1514, tap_side.clone()).unwrap();
        a.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED).unwrap();
        for port in [&b, &tap] {
            port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
                .unwrap();
        }
        for port in [&a, &b, &tap] {
            port.activate_offload().unwrap();
        }
        let outbound = a.offload(&sas, Way::Outbound).unwrap();
        let inbound = b.offload(&sas, Way::Inbound).unwrap();
        Self {
            lab,
            a,
            b,
            tap,
            a_side,
            b_side,
            tap_side,
            sas,
            outbound,
            inbound,
        }
    }

    /// The packets of one send, on the wire and at B: `expected`, in their order.
    fn judge(&self, expected: &[Outgoing], about: &str) {
        let completed = self.a_side.take_completed(1, PATIENCE);
        check_completion(&expected[0], &completed)
            .unwrap_or_else(|error| panic!("{about}: {error:#}"));
        let on_wire = self.tap_side.take_received(expected.len(), PATIENCE);
        let came_up = self.b_side.take_received(expected.len(), PATIENCE);
        assert_eq!(
            (on_wire.len(), came_up.len()),
            (expected.len(), expected.len())
        );
        for (index, outgoing) in expected.iter().enumerate() {
            let (wire, seen) = (&on_wire[index], &came_up[index]);
            let judged = check_wire(outgoing, wire, &self.sas)
                .and_then(|()| check_indicated(outgoing, &wire.frame, seen, &self.sas))
                .and_then(|()| check_received(outgoing, seen, &self.sas, &outgoing.plain));
            if let Err(error) = judged {
                panic!("{about}, packet {}: {error:#}", index + 1);
            }
            // The adapter must have looked: the transport leaves this to it.
            let stamp = seen.checksums;
            assert!(stamp.tcp.is_some() || stamp.udp.is_some(), "{about}");
        }
    }

    fn finish(self) {
        self.a.delete_sas(&self.outbound).unwrap();
        self.b.delete_sas(&self.inbound).unwrap();
        drop((self.a, self.b, self.tap));
        self.lab.finish().unwrap();
    }
}

fn plan(shape: Shape, suite: &str, esn: bool) -> Plan {
    Plan {
        shape,
        suite: suite.parse().unwrap(),
        icv_length: 16,
        esn,
        keys: Keys::Seed(8),
    }
}

fn large(six: bool, len: usize, mss: usize, version: LsoVersion, discard: u8) -> LargePacket {
    let hosts = if six {
        ["2001:db8::1", "2001:db8::2"]
    } else {
        ["192.0.2.1", "192.0.2.2"]
    };
    let [source, destination] = hosts.map(|host| host.parse().unwrap());
    LargePacket {
        // CWR, ACK, PSH and FIN.
        head: tcp_head(
            source,
            destination,
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            0x99,
        ),
        payload: (0..len).map(|at| (at * 7) as u8).collect(),
        mss,
        version,
        discard,
    }
}

/// The kinds of SAs that large packets may have; none is one of them.
fn kinds() -> Vec<Option<Plan>> {
    let udp = Shape {
        udp_esp: Some(UdpPlace::Outer),
        ..Shape::default()
    };
    let ah = Shape {
        protocol: Protocol::Ah,
        ah: Authentication::HmacSha256,
        ..Shape::default()
    };
    let bundle = Shape {
        protocol: Protocol::AhEsp,
        ..ah
    };
    vec![
        None,
        Some(plan(Shape::default(), "aes-gcm-256", true)),
        Some(plan(Shape::default(), "aes-cbc-128+hmac-sha-1-96", false)),
        Some(plan(Shape::default(), "null+aes-gmac-128", false)),
        Some(plan(udp, "aes-gcm-128", false)),
        Some(plan(ah, "aes-gcm-128", false)),
        Some(plan(bundle, "aes-cbc-256+hmac-sha-256-128", true)),
    ]
}

#[test]
fn large_sends_are_cut_and_each_segment_is_protected() {
    for (number, kind) in kinds().into_iter().enumerate() {
        for (six, version) in [
            (false, LsoVersion::V1),
            (false, LsoVersion::V2),
            (true, LsoVersion::V2),
        ] {
            let sizes = [(2_001, 1000, 0), (40_000, 1300, 0), (9_000, 536, 5)];
            let template = large(six, 2, 1, version, 0);
            let segments = template.segments().unwrap();
            let frames = segments.iter().map(Vec::as_slice);
            let sas = kind.map_or(Vec::new(), |plan| {
                plan.make(frames, &Offers::EVERYTHING).unwrap().sas
            });
            let wire = Wire::start(NdisVersion::ALL[number % 3], sas);
            let sas = wire.sas.clone();
            let mut sender = Sender::new(&sas, wire.a.offers().unwrap());
            for (len, mss, discard) in sizes {
                let has_esp = kind.is_some_and(|plan| plan.shape.protocol != Protocol::Ah);
                let discard = if has_esp { discard } else { 0 };
                let packet = large(six, len, mss, version, discard);
                let outgoing = sender.prepare_large(1, &packet).unwrap();
                let list = large_send::net_buffer_list(&outgoing, &wire.outbound, 1460).unwrap();
                wire.a.send(vec![list]).unwrap();
                let about = format!("{kind:?}, IPv6 {six}, {version:?}, {len} bytes, MSS {mss}");
                wire.judge(&outgoing.segments, &about);
            }
            wire.finish();
        }
    }
}

#[test]
fn checksums_are_filled_in_before_the_packet_is_sealed() {
    let tunnel = Shape {
        mode: PlanMode::Tunnel,
        outer: Some(Version::V6),
        ..Shape::default()
    };
    let mut kinds = kinds();
    kinds.push(Some(plan(tunnel, "aes-gcm-256", false)));
    for (number, kind) in kinds.into_iter().enumerate() {
        let tcp = |six| large(six, 333, 1000, LsoVersion::V2, 0).segments().unwrap();
        let frames = [
            tcp(false).remove(0),
            tcp(true).remove(0),
            synthetic::udp_v4(101).unwrap(),
            synthetic::udp_v6(102).unwrap(),
        ];
        let plain = frames.iter().map(Vec::as_slice);
        let sas = kind.map_or(Vec::new(), |plan| {
            plan.make(plain, &Offers::EVERYTHING).unwrap().sas
        });
        let wire = Wire::start(NdisVersion::ALL[number % 3], sas);
        let sas = wire.sas.clone();
        let mut sender = Sender::new(&sas, wire.a.offers().unwrap());
        for (index, frame) in frames.iter().enumerate() {
            let outgoing = sender.prepare(index + 1, frame).unwrap();
            let protection = outgoing.protection.as_ref().ok();
            let mut down = outgoing.clone();
            let word = leave_to_the_miniport(&mut down.frame, &outgoing.plain, protection);
            let list = net_buffer_list(&down, &wire.outbound, Split::Random(2)).unwrap();
            let list = list.info(TcpIpChecksumNetBufferListInfo as usize, word.unwrap());
            wire.a.send(vec![list]).unwrap();
            wire.judge(&[outgoing], &format!("{kind:?}, packet {}", index + 1));
        }
        wire.finish();
    }
}
