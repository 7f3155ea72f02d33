//! Large sends with IPsec through the driver: byte for byte what a transport sends that cuts first and
//! has each segment sealed, by software that shares nothing with the driver.

use std::sync::Arc;

use ipsecov2_tests::{
    lab_options,
    large::Large,
    mostly_compact,
    packets::{Net, Packet, Transport, nets, tcp},
    switch::{PATIENCE, check},
};
use ndis_sim::{
    Irql,
    ndis::{AdapterConfig, Collector, Frame, SendNb, SendNbl},
};
use ndis_sys::*;
use tcpip::{
    algorithm::Suite,
    lab::{HARDWARE_ID, Lab, LabOptions, NdisVersion, Port},
    offload::{self, Handle, ReceiveStamp, Way},
    outbound::Sender,
    plan::{Plan, Protocol, Shape, UdpPlace},
    policy::Keys,
    protection::EspPortion,
    sas::Sa,
};

const LARGE_SEND: usize = TcpLargeSendNetBufferListInfo as usize;
const IPSEC: usize = IPsecOffloadV2NetBufferListInfo as usize;
const TUNNEL: usize = IPsecOffloadV2TunnelNetBufferListInfo as usize;
const HEADER: usize = IPsecOffloadV2HeaderNetBufferListInfo as usize;
/// NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE in its bit.
const V2: usize = 1 << 30;

struct Side {
    port: Port,
    protocol: Arc<Collector>,
}

impl Side {
    fn start(lab: &Lab, keywords: &[(&str, &str)]) -> Self {
        let protocol = Collector::new();
        let config = AdapterConfig::new(HARDWARE_ID).keyword("*ReceiveBuffers", "4096");
        let config = keywords.iter().fold(config, |config, (name, value)| {
            config.keyword(*name, *value)
        });
        let port = lab
            .port_with(config, protocol.clone())
            .expect("the adapter starts");
        port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
            .expect("the filter is set");
        port.activate_offload().expect("offload is activated");
        Self { port, protocol }
    }

    fn send(&self, list: SendNbl) -> (i32, usize) {
        self.port.send(vec![list]).expect("the machine runs");
        let machine = self.port.open.machine().clone();
        let sent = check(self.protocol.wait_sent(&machine, 1, PATIENCE));
        (sent[0].status, sent[0].info(LARGE_SEND))
    }

    fn received(&self) -> Vec<Frame> {
        let machine = self.port.open.machine();
        machine.settle().unwrap_or_else(|check| panic!("{check}"));
        let received = self.protocol.take_received();
        received.iter().map(|frame| frame.frame()).collect()
    }
}

/// A sender, a receiver, and someone who has no SA and hears everything.
struct Wire {
    lab: Lab,
    a: Side,
    b: Side,
    tap: Side,
    sas: Vec<Sa>,
    outbound: Vec<Handle>,
    inbound: Vec<Handle>,
}

impl Wire {
    fn start(options: &LabOptions, suite: &str, shape: Shape, change: impl Fn(&mut Sa)) -> Self {
        let lab = Lab::start(options).expect("the machine starts");
        let [a, b, tap] = [(); 3].map(|()| Side::start(&lab, &[]));
        let frames: Vec<_> = [0, 4]
            .map(|net| Packet::new(nets()[net].clone(), tcp(0), 1, [2; 6], [4; 6]).frame())
            .into();
        let plan = Plan {
            shape,
            suite: suite.parse::<Suite>().expect("a suite"),
            icv_length: 16,
            esn: false,
            keys: Keys::Seed(6),
        };
        let offers = a.port.offers().expect("a report");
        let frames = frames.iter().map(Vec::as_slice);
        let mut sas = plan.make(frames, &offers).expect("SAs").sas;
        sas.iter_mut().for_each(change);
        let outbound = a.port.offload(&sas, Way::Outbound).expect("SAs");
        let inbound = b.port.offload(&sas, Way::Inbound).expect("SAs");
        Self {
            lab,
            a,
            b,
            tap,
            sas,
            outbound,
            inbound,
        }
    }

    fn packet(&self, net: (&str, Net), tcp: Transport, len: usize) -> Packet {
        let (to, from) = (self.b.port.adapter.mac(), self.a.port.adapter.mac());
        Packet::new(net, tcp, len, to, from)
    }

    fn finish(self) {
        self.a.port.delete_sas(&self.outbound).expect("deleted");
        self.b.port.delete_sas(&self.inbound).expect("deleted");
        drop((self.a, self.b, self.tap));
        if let Err(error) = self.lab.finish() {
            panic!("{error:#}");
        }
    }
}

fn bytes(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.data.concat()).collect()
}

fn assert_same(found: &[Vec<u8>], expected: &[Vec<u8>], about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}: frames");
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        assert!(
            found == expected,
            "{about}: frame {number} of {} bytes differs from one of {} at {at:?}",
            found.len(),
            expected.len()
        );
    }
}

/// ESP, ESP in UDP, AH, and AH over ESP.
fn shapes() -> [Shape; 4] {
    let of = |protocol| Shape {
        protocol,
        ..Shape::default()
    };
    [
        of(Protocol::Esp),
        Shape {
            udp_esp: Some(UdpPlace::Outer),
            ..of(Protocol::Esp)
        },
        of(Protocol::Ah),
        of(Protocol::AhEsp),
    ]
}

/// Every kind of algorithm and header, MSS that leave every kind of rest, any MDLs; what is on the
/// wire, and what comes up opened.
#[test]
fn segments_are_those_of_a_transport_that_cuts_first() {
    for (index, suite) in [
        "aes-gcm-256",
        "aes-gcm-128",
        "aes-cbc-128+hmac-sha-1-96",
        "aes-cbc-256+hmac-sha-256-128",
        "null+hmac-sha-256-128",
        "null+aes-gmac-192",
    ]
    .into_iter()
    .enumerate()
    {
        let version = NdisVersion::ALL[index % NdisVersion::ALL.len()];
        for shape in shapes() {
            let wire = Wire::start(&lab_options(version), suite, shape, |sa| {
                if index % 2 == 1 {
                    let esp = sa.esp.iter_mut();
                    esp.for_each(|esp| (esp.esn, esp.sequence_high) = (true, 9));
                    let ah = sa.ah.iter_mut();
                    ah.for_each(|ah| (ah.esn, ah.sequence_high) = (true, 5));
                }
            });
            let mut sender = Sender::new(&wire.sas, wire.a.port.offers().expect("a report"));
            let sizes = [(7, 50), (536, 5000), (1000, 30_000), (1300, 2501)];
            let mut number = 0;
            for net in [0, 1, 2, 4, 5, 6] {
                for options in [0, 12, 40] {
                    for (mss, len) in sizes {
                        let packet = wire.packet(nets()[net].clone(), tcp(options), len);
                        let mss = mss.min(1100 - options);
                        let of = if packet.is_v4() && number % 2 == 0 {
                            1
                        } else {
                            2
                        };
                        let large = Large::new(&mut sender, &packet, mss, of);
                        let about = format!("{suite}, {shape:?}: {packet:?}, MSS {mss}");
                        let nb = SendNb::new(large.bytes.clone());
                        let nb = match number % 4 {
                            0 => nb,
                            1 => nb.split_every(61).data_offset(5),
                            2 => nb.split(&[1, 0, 13, 3, 40, 0, 1000]).slack(9),
                            _ => nb.split_every(1460),
                        };
                        let list = mostly_compact(large.list(nb, &wire.outbound), number);
                        number += 1;
                        let sent = wire.a.send(list);
                        let told = if of == 1 { len } else { V2 };
                        assert_eq!(sent, (NDIS_STATUS_SUCCESS, told), "{about}");
                        let on_wire = bytes(&wire.tap.received());
                        let expected = large.expected(&wire.sas, &on_wire);
                        assert_same(&on_wire, &expected, &about);
                        for (frame, segment) in wire.b.received().iter().zip(&large.segments) {
                            let stamp = ReceiveStamp::from_info(frame.info[IPSEC]);
                            assert!(stamp.crypto_done && stamp.crypto_status == 0, "{about}");
                            let plain = frame.data.concat();
                            let payload = &segment.plain[packet.transport_offset()..];
                            assert!(
                                plain.windows(payload.len()).any(|part| part == payload),
                                "{about}"
                            );
                        }
                    }
                }
            }
            wire.finish();
        }
    }
}

/// The work of a call is bounded, and what is left goes on in the DPC: with the right sequence
/// numbers, also when they wrap in between, and other packets of the SA behind it.
#[test]
fn it_goes_on_in_the_dpc_across_the_wrap() {
    for (suite, shape) in [
        ("aes-gcm-128", shapes()[0]),
        ("aes-cbc-256+hmac-sha-1-96", shapes()[1]),
        ("aes-gcm-256", shapes()[3]),
    ] {
        let options = LabOptions {
            processors: 1,
            ..lab_options(NdisVersion::V6_30)
        };
        let wire = Wire::start(&options, suite, shape, |sa| {
            let esp = sa.esp.as_mut().expect("ESP");
            (esp.esn, esp.sequence_high, esp.sequence) = (true, 7, u32::MAX - 200);
            if let Some(ah) = &mut sa.ah {
                (ah.esn, ah.sequence_high, ah.sequence) = (true, 3, u32::MAX - 50);
            }
        });
        let mut sender = Sender::new(&wire.sas, wire.a.port.offers().expect("a report"));
        let packets: Vec<_> = [(0, 1500), (0, 900), (4, 1300)]
            .map(|(net, len)| wire.packet(nets()[net].clone(), tcp(12), len))
            .into();
        // The SA has to have seen the numbers before the wrap.
        let large: Vec<_> = packets
            .iter()
            .map(|packet| Large::new(&mut sender, packet, 4, 2))
            .collect();
        let lists: Vec<_> = large
            .iter()
            .zip(0..)
            .map(|(large, cookie)| {
                let nb = SendNb::new(large.bytes.clone()).split_every(700);
                large.list(nb, &wire.outbound).cookie(cookie)
            })
            .collect();
        let (open, adapter) = (wire.a.port.open.clone(), wire.a.port.adapter.clone());
        let machine = wire.a.port.open.machine().clone();
        let left = machine.run(Some(0), Irql::DISPATCH, move || {
            open.send(lists).map(|()| adapter.sends_outstanding())
        });
        assert_eq!(check(left.unwrap()), 3, "all of it in one call");
        let sent = check(wire.a.protocol.wait_sent(&machine, 3, PATIENCE));
        assert!(sent.iter().all(|list| list.status == NDIS_STATUS_SUCCESS));
        drop(sent);
        let on_wire = bytes(&wire.tap.received());
        let mut rest = &on_wire[..];
        for (packet, large) in packets.iter().zip(&large) {
            let (these, later) = rest.split_at(large.segments.len());
            let expected = large.expected(&wire.sas, these);
            assert_same(these, &expected, &packet.name);
            rest = later;
        }
        assert!(rest.is_empty());
        let up = wire.b.received();
        assert_eq!(up.len(), on_wire.len());
        for frame in up {
            let stamp = ReceiveStamp::from_info(frame.info[IPSEC]);
            assert!(stamp.crypto_done && stamp.crypto_status == 0);
        }
        wire.finish();
    }
}

/// Each contradiction fails the list, and nothing of it is sent; the next good one has the number
/// that it says.
#[test]
fn what_is_refused() {
    let options = lab_options(NdisVersion::V6_1);
    let wire = Wire::start(&options, "aes-gcm-256", Shape::default(), |_| {});
    let mut sender = Sender::new(&wire.sas, wire.a.port.offers().expect("a report"));
    let packet = wire.packet(nets()[0].clone(), tcp(12), 4000);
    let large = Large::new(&mut sender, &packet, 1000, 2);
    let handle = wire.outbound[large.protection.sa()];
    let inbound = wire.a.port.offload(&wire.sas, Way::Inbound).expect("SAs");
    let header = |change: fn(&mut EspPortion)| {
        let mut protection = large.protection;
        change(protection.outer.esp.as_mut().expect("ESP"));
        offload::transmit_header(&protection).expect("an offset")
    };
    let good = || large.list(SendNb::new(large.bytes.clone()), &wire.outbound);
    // IP, TCP, ESP with IV, trailer and ICV.
    let room = 1500 - 20 - 32 - 16 - 2 - 16;
    let too_long = Large::new(&mut sender, &packet, room + 1, 2);
    const FAILURE: i32 = NDIS_STATUS_FAILURE;
    let cases = [
        // "The packet won't be sent through a tunnel."
        ("a tunnel", good().info(TUNNEL, handle), FAILURE),
        (
            "only a tunnel",
            good().info(IPSEC, 0).info(TUNNEL, handle),
            FAILURE,
        ),
        (
            "an IPv4 packet",
            good().info(HEADER, header(|p| p.next_header = 4)),
            FAILURE,
        ),
        (
            "UDP",
            good().info(HEADER, header(|p| p.next_header = 17)),
            FAILURE,
        ),
        ("no such SA", good().info(IPSEC, 0xDEAD_BEEF), FAILURE),
        (
            "an SA for receiving",
            good().info(IPSEC, inbound[large.protection.sa()]),
            FAILURE,
        ),
        (
            "ESP elsewhere",
            good().info(HEADER, header(|p| p.at += 4)),
            FAILURE,
        ),
        (
            "TCP elsewhere",
            good().info(LARGE_SEND, large.word + (4 << 20)),
            FAILURE,
        ),
        ("no SA at all", good().info(IPSEC, 0), FAILURE),
        (
            "more padding than packet",
            {
                let mut short = large.bytes.clone();
                short.truncate(short.len() - 4000);
                large.list(SendNb::new(short), &wire.outbound)
            },
            FAILURE,
        ),
        (
            "segments that are too long with their trailer",
            too_long.list(SendNb::new(too_long.bytes.clone()), &wire.outbound),
            NDIS_STATUS_INVALID_LENGTH,
        ),
    ];
    for (name, list, status) in cases {
        assert_eq!(wire.a.send(list), (status, V2), "{name}");
        assert!(wire.tap.received().is_empty(), "{name}");
    }
    let most = Large::new(&mut sender, &packet, room, 2);
    let list = most.list(SendNb::new(most.bytes.clone()), &wire.outbound);
    for (list, large) in [(good(), &large), (list, &most)] {
        assert_eq!(wire.a.send(list), (NDIS_STATUS_SUCCESS, V2));
        let on_wire = bytes(&wire.tap.received());
        let expected = large.expected(&wire.sas, &on_wire);
        assert_same(&on_wire, &expected, "a good one");
    }
    wire.a.port.delete_sas(&inbound).expect("deleted");
    wire.finish();
}

/// LsoSupported: large sends of packets with IPsec are taken when, and only when, it says so.
#[test]
fn it_is_advertised_when_it_is_done() {
    let lab = Lab::start(&lab_options(NdisVersion::V6_1)).expect("the machine starts");
    let keywords = ["*LsoV1IPv4", "*LsoV2IPv4", "*LsoV2IPv6"];
    for off in 0..1 << keywords.len() {
        let set: Vec<_> = (0..keywords.len())
            .filter(|bit| off >> bit & 1 != 0)
            .map(|bit| (keywords[bit], "0"))
            .collect();
        let side = Side::start(&lab, &set);
        let offload = side
            .port
            .adapter
            .offloads()
            .current()
            .expect("a report")
            .get();
        let on = offload.LsoV1.IPv4.MaxOffLoadSize != 0
            || offload.LsoV2.IPv4.MaxOffLoadSize != 0
            || offload.LsoV2.IPv6.MaxOffLoadSize != 0;
        assert_eq!(on, set.len() != keywords.len());
        assert_eq!(offload.IPsecV2.LsoSupported != 0, on, "{set:?}");
    }
    if let Err(error) = lab.finish() {
        panic!("{error:#}");
    }
}
