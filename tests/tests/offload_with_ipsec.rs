//! Large sends and checksums that TCP/IP leaves to the adapter, with and without an SA, by the
//! transport's own words: what must be on the wire is made by cutting, summing and sealing in
//! software, and what comes up must be the packets, with true checksum bits.

use ipsecov2_tests::{
    lab_options,
    link::{Checksums, Course, Link},
};
use tcpip::{
    algorithm::Authentication,
    lab::NdisVersion,
    large_send::{LargePacket, LsoVersion, tcp_head},
    plan::{Plan, PlanMode, Protocol, Shape, UdpPlace, Version},
    policy::{Keys, Offers},
    split::Split,
    synthetic,
};

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
            let link = Link::start(&lab_options(NdisVersion::ALL[number % 3]));
            let offloaded = link.offload(Course::Forth, sas);
            let mut sender = link.sender(&offloaded);
            for (len, mss, discard) in sizes {
                let has_esp = kind.is_some_and(|plan| plan.shape.protocol != Protocol::Ah);
                let discard = if has_esp { discard } else { 0 };
                println!("{kind:?}, IPv6 {six}, {version:?}, {len} bytes, MSS {mss}");
                let packet = large(six, len, mss, version, discard);
                let segments = link.exchange_large(&mut sender, &offloaded, &packet);
                assert_eq!(segments, len.div_ceil(mss));
            }
            link.withdraw(offloaded);
            link.finish();
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
        println!("{kind:?}");
        let link = Link::start(&lab_options(NdisVersion::ALL[number % 3]));
        let offloaded = link.offload(Course::Forth, sas);
        let mut sender = link.sender(&offloaded);
        let (split, checksums) = (Split::Random(2), Checksums::Left);
        let protected = link.exchange(&mut sender, &offloaded, &frames, split, checksums);
        assert_eq!(protected, if kind.is_some() { frames.len() } else { 0 });
        link.withdraw(offloaded);
        link.finish();
    }
}
