//! Every kind of SA: framed, sealed by software, judged, and taken off again; byte by byte where
//! the RFCs say which bytes.

use tcpip::{
    algorithm::{Authentication, Suite},
    checksum::ChecksumStamp,
    offload::{ReceiveStamp, transmit_header, transmit_header_of},
    outbound::{Outgoing, Sender, expected_indicated, seal_in_software},
    packet::Layout,
    plan::{Plan, PlanMode, Protocol, Shape, UdpPlace, Version},
    policy::{Clear, Keys, Offers, outbound_sa},
    recorder::Indicated,
    sas::{Sa, SaFile, max_overhead},
    synthetic,
    unframe::HeaderInfo,
    verify::{check_indicated, check_received, check_wire},
};

fn plan(shape: Shape, suite: &str, esn: bool) -> Plan {
    Plan {
        shape,
        suite: suite.parse().unwrap(),
        icv_length: 16,
        esn,
        keys: Keys::Seed(3),
    }
}

fn make(plan: &Plan, frames: &[Vec<u8>]) -> Vec<Sa> {
    let frames = frames.iter().map(Vec::as_slice);
    plan.make(frames, &Offers::EVERYTHING).unwrap().sas
}

/// Everything that goes together.
fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for mode in [
        PlanMode::Transport,
        PlanMode::Tunnel,
        PlanMode::TransportOverTunnel,
    ] {
        for protocol in [Protocol::Esp, Protocol::Ah, Protocol::AhEsp] {
            for udp_esp in [None, Some(UdpPlace::Outer), Some(UdpPlace::Inner)] {
                for outer in [None, Some(Version::V4), Some(Version::V6)] {
                    let shape = Shape {
                        mode,
                        protocol,
                        udp_esp,
                        outer,
                        ..Shape::default()
                    };
                    if plan(shape, "aes-gcm-128", false).max_overhead().is_ok() {
                        shapes.push(shape);
                    }
                }
            }
        }
    }
    assert_eq!(shapes.len(), (3 + 1) + (9 + 3) + (9 + 6));
    shapes
}

/// What a perfect driver at the other end indicates.
fn received(outgoing: &Outgoing, sas: &[Sa], wire: &[u8]) -> Indicated {
    let protection = outgoing.protection.unwrap();
    let nested = protection.inner.is_some();
    Indicated {
        frame: expected_indicated(outgoing, sas, wire).unwrap(),
        stamp: ReceiveStamp {
            crypto_done: true,
            next_crypto_done: nested,
            ..ReceiveStamp::NONE
        },
        header: protection.esp().filter(|_| !nested).map(|esp| HeaderInfo {
            next_header: esp.next_header,
            pad_len: esp.pad_len,
        }),
        checksums: ChecksumStamp::default(),
        tunnel: 0,
    }
}

#[test]
fn every_shape_there_and_back() {
    let suites = [
        "aes-gcm-256",
        "aes-cbc-128+hmac-sha-1-96",
        "null+aes-gmac-192",
    ];
    for (index, shape) in shapes().into_iter().enumerate() {
        for suite in suites {
            for esn in [false, true] {
                let plan = plan(shape, suite, esn);
                let frames = [10, 57, 1400].map(|payload| {
                    [
                        synthetic::udp_v4(28 + payload).unwrap(),
                        synthetic::udp_v6(48 + payload).unwrap(),
                    ]
                });
                let frames = frames.concat();
                let sas = make(&plan, &frames);
                let mut sender = Sender::new(&sas, Offers::EVERYTHING);
                for (number, frame) in frames.iter().enumerate() {
                    let about = format!("{shape:?}, {suite}, ESN {esn}, packet {number}");
                    let outgoing = sender.prepare(number + 1, frame).unwrap();
                    let added = outgoing.frame.len() - frame.len();
                    assert!(added <= plan.max_overhead().unwrap(), "{about}");
                    assert!(added <= max_overhead(&sas), "{about}");
                    let wire = seal_in_software(&outgoing, &sas).unwrap();
                    assert_ne!(wire, outgoing.frame, "{about}");
                    let seen = Indicated {
                        frame: wire.clone(),
                        stamp: ReceiveStamp::NONE,
                        header: None,
                        checksums: ChecksumStamp::default(),
                        tunnel: 0,
                    };
                    check_wire(&outgoing, &seen, &sas).expect(&about);
                    let up = received(&outgoing, &sas, &wire);
                    check_indicated(&outgoing, &wire, &up, &sas).expect(&about);
                    let plain = check_received(&outgoing, &up, &sas, frame).expect(&about);
                    assert_eq!(plain, *frame, "{about}");

                    // One bit, elsewhere each time: never right on the wire, never opened.
                    let layout = Layout::of(&wire).unwrap();
                    let at =
                        layout.payload + (index * 37 + number * 11) % (wire.len() - layout.payload);
                    let mut forged = seen.clone();
                    forged.frame[at] ^= 0x10;
                    assert!(check_wire(&outgoing, &forged, &sas).is_err(), "{about}");
                    let opened = expected_indicated(&outgoing, &sas, &forged.frame);
                    // UDP's ports and checksum are not covered by the ICV of ESP.
                    if shape.udp_esp != Some(UdpPlace::Outer) || at >= layout.payload + 8 {
                        assert!(opened.is_err(), "{about}, byte {at}");
                    }
                }
            }
        }
    }
}

#[test]
fn next_crypto_done_is_expected_exactly_in_transport_over_tunnel() {
    for shape in shapes() {
        let frames = [synthetic::udp_v4(100).unwrap()];
        let sas = make(&plan(shape, "aes-gcm-128", false), &frames);
        let outgoing = Sender::new(&sas, Offers::EVERYTHING)
            .prepare(1, &frames[0])
            .unwrap();
        let wire = seal_in_software(&outgoing, &sas).unwrap();
        let mut up = received(&outgoing, &sas, &wire);
        assert!(check_received(&outgoing, &up, &sas, &frames[0]).is_ok());
        up.stamp.next_crypto_done = !up.stamp.next_crypto_done;
        assert!(check_received(&outgoing, &up, &sas, &frames[0]).is_err());
    }
}

/// The words count from the outermost IP header, in units of 4 bytes.
#[test]
fn out_of_band_words() {
    let word = |shape: Shape, frame: Vec<u8>| {
        let frames = [frame];
        let sas = make(&plan(shape, "aes-gcm-128", false), &frames);
        let outgoing = Sender::new(&sas, Offers::EVERYTHING)
            .prepare(1, &frames[0])
            .unwrap();
        let protection = outgoing.protection.unwrap();
        let word = transmit_header(&protection).unwrap();
        let inner = protection.inner;
        let inner = inner.map(|inner| transmit_header_of(&protection, &inner).unwrap());
        (
            word.to_le_bytes()[..4].to_vec(),
            inner.map(|word| word.to_le_bytes()[..4].to_vec()),
        )
    };
    let shape = |mode, protocol, outer| Shape {
        mode,
        protocol,
        outer,
        ..Shape::default()
    };
    let four = || synthetic::udp_v4(60).unwrap();
    let six = || synthetic::udp_v6(60).unwrap();
    use {PlanMode::*, Protocol::*};
    // Next header, pad length, AH offset, ESP offset.
    let cases = [
        (shape(Transport, Esp, None), four(), [17, 2, 0, 5]),
        (shape(Transport, Esp, None), six(), [17, 2, 0, 10]),
        (shape(Transport, Ah, None), four(), [0, 0, 5, 0]),
        (shape(Transport, AhEsp, None), four(), [17, 2, 5, 12]),
        (shape(Transport, AhEsp, None), six(), [17, 2, 10, 18]),
        (shape(Tunnel, Esp, None), four(), [4, 2, 0, 5]),
        (shape(Tunnel, Esp, Some(Version::V4)), six(), [41, 2, 0, 5]),
        (
            shape(Tunnel, AhEsp, Some(Version::V6)),
            four(),
            [4, 2, 10, 18],
        ),
    ];
    for (shape, frame, expected) in cases {
        assert_eq!(word(shape, frame), (expected.to_vec(), None), "{shape:?}");
    }
    let udp = Shape {
        udp_esp: Some(UdpPlace::Outer),
        ..Shape::default()
    };
    assert_eq!(word(udp, four()).0, [17, 2, 0, 7]);
    // Outer IP header, ESP header and IV, inner IP header: 20 + 16 + 20.
    let nested = shape(TransportOverTunnel, Esp, None);
    let inner = Some(vec![17, 2, 0, 14]);
    assert_eq!(word(nested, four()), (vec![4, 2, 0, 5], inner));
}

#[test]
fn headers_of_ah() {
    for (algorithm, version, bytes) in [
        (Authentication::HmacSha1, Version::V4, 24),
        (Authentication::HmacSha1, Version::V6, 24),
        (Authentication::HmacSha256, Version::V4, 28),
        (Authentication::HmacSha256, Version::V6, 32),
        (Authentication::AesGmac128, Version::V4, 36),
        (Authentication::AesGmac128, Version::V6, 40),
    ] {
        let shape = Shape {
            protocol: Protocol::Ah,
            ah: algorithm,
            ..Shape::default()
        };
        let frame = match version {
            Version::V4 => synthetic::udp_v4(60).unwrap(),
            Version::V6 => synthetic::udp_v6(60).unwrap(),
        };
        let frames = [frame.clone()];
        let sas = make(&plan(shape, "aes-gcm-128", false), &frames);
        let outgoing = Sender::new(&sas, Offers::EVERYTHING)
            .prepare(1, &frame)
            .unwrap();
        let layout = Layout::of(&frame).unwrap();
        let (before, after) = frame.split_at(layout.payload);
        let framed = &outgoing.frame;
        assert_eq!(framed.len(), frame.len() + bytes);
        assert_eq!(framed[layout.protocol_field], 51);
        let header = &framed[before.len()..][..bytes];
        assert_eq!(header[..4], [17, (bytes / 4 - 2) as u8, 0, 0]);
        assert_eq!(
            header[4..8],
            sas[0].ah.as_ref().unwrap().spi.0.to_be_bytes()
        );
        assert_eq!(header[8..12], [0, 0, 0, 1]);
        let padding = bytes - 12 - algorithm.iv_len() - algorithm.icv_len();
        assert!(header[bytes - padding..].iter().all(|&byte| byte == 0));
        assert!(header[12..bytes - padding].iter().all(|&byte| byte == 0xA5));
        assert_eq!(framed[before.len() + bytes..], *after);
    }
}

/// RFC 4301 section 5.1.2: what the outer header takes over.
#[test]
fn outer_headers() {
    for outer in [Version::V4, Version::V6] {
        for mut frame in [
            synthetic::udp_v4(60).unwrap(),
            synthetic::udp_v6(60).unwrap(),
        ] {
            let six = frame[14] >> 4 == 6;
            // Class 0xB9.
            if six {
                (frame[14], frame[15]) = (0x6B, frame[15] & 0x0F | 0x90);
            } else {
                (frame[15], frame[20]) = (0xB9, 0x40);
            }
            let frames = [frame.clone()];
            let shape = Shape {
                mode: PlanMode::Tunnel,
                outer: Some(outer),
                ..Shape::default()
            };
            let sas = make(&plan(shape, "aes-gcm-128", false), &frames);
            let outgoing = Sender::new(&sas, Offers::EVERYTHING)
                .prepare(1, &frame)
                .unwrap();
            let framed = &outgoing.frame;
            let layout = Layout::of(framed).unwrap();
            assert_eq!((layout.protocol, layout.end), (50, framed.len()));
            assert_eq!(framed[..12], frame[..12]);
            match outer {
                Version::V4 => {
                    assert_eq!(framed[12..16], [8, 0, 0x45, 0xB9]);
                    assert_eq!((framed[20], framed[22]), (0x40, 64), "DF, TTL");
                    assert_eq!(layout.source.to_string(), "203.0.113.1");
                }
                Version::V6 => {
                    assert_eq!(framed[12..16], [0x86, 0xDD, 0x6B, 0x90]);
                    assert_eq!(framed[21], 64, "hop limit");
                    assert_eq!(layout.source.to_string(), "2001:db8:ffff::1");
                }
            }
            let esp = outgoing.protection.unwrap().esp().unwrap();
            assert_eq!(esp.next_header, if six { 41 } else { 4 });
            let inside = outgoing.protection.unwrap().header_len();
            let inner = &outgoing.plain[14..];
            assert_eq!(framed[inside..][..inner.len()], *inner);
        }
    }
}

#[test]
fn plans_that_contradict_themselves() {
    let default = Shape::default();
    let wrong = [
        (
            Shape {
                protocol: Protocol::AhEsp,
                udp_esp: Some(UdpPlace::Outer),
                ..default
            },
            "aes-gcm-128",
        ),
        (
            Shape {
                udp_esp: Some(UdpPlace::Inner),
                ..default
            },
            "aes-gcm-128",
        ),
        (
            Shape {
                outer: Some(Version::V4),
                ..default
            },
            "aes-gcm-128",
        ),
        (default, "null+none"),
    ];
    for (shape, suite) in wrong {
        let plan = plan(shape, suite, false);
        let none = std::iter::empty();
        assert!(plan.make(none, &Offers::EVERYTHING).is_err(), "{shape:?}");
    }
    assert!("aes-gcm-128+none".parse::<Suite>().is_ok());
    assert_eq!(Suite::all_within_ah().len(), Suite::all().len() + 6);
}

#[test]
fn tunnels_and_those_within() {
    let text = r#"{ "version": 1, "sas": [
        { "name": "host", "source": "192.0.2.1", "destination": "192.0.2.2", "tunnel": "carrier",
          "esp": { "spi": 256, "encryption": { "algorithm": "aes-gcm-128",
                   "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304" } } },
        { "name": "carrier", "mode": "tunnel", "source": "2001:db8::1", "destination": "2001:db8::2",
          "esp": { "spi": 257, "encryption": { "algorithm": "aes-gcm-128",
                   "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304" } } },
        { "name": "net", "mode": "tunnel", "source": "2001:db8::1", "destination": "2001:db8::2",
          "selector": { "source": "10.0.0.0/8", "destination": "0.0.0.0/0" },
          "esp": { "spi": 258, "encryption": { "algorithm": "aes-gcm-128",
                   "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304" } } } ] }"#;
    let file = SaFile::parse(text).unwrap();
    let chosen = |frame: &[u8]| {
        let index = outbound_sa(&file.sas, &Layout::of(frame).unwrap());
        index.map(|index| file.sas[index].name.as_str())
    };
    let mut frame = synthetic::udp_v4(60).unwrap();
    assert_eq!(chosen(&frame), Some("host"));
    frame[26] = 10;
    assert_eq!(chosen(&frame), Some("net"), "IPv4 in a tunnel of IPv6");
    frame[26] = 11;
    assert_eq!(chosen(&frame), None, "the carrier takes none of its own");
    assert_eq!(chosen(&synthetic::udp_v6(60).unwrap()), None);
    let outgoing = Sender::new(&file.sas, Offers::EVERYTHING)
        .prepare(1, &frame)
        .unwrap();
    assert_eq!(outgoing.protection, Err(Clear::NoSa));

    let wrong = text.replacen("\"mode\": \"tunnel\", ", "", 1);
    let error = format!("{:#}", SaFile::parse(&wrong).unwrap_err());
    assert!(error.contains("SA host"), "{error}");
    let wrong = text.replacen("0.0.0.0/0", "::/0", 1);
    let error = format!("{:#}", SaFile::parse(&wrong).unwrap_err());
    assert!(error.contains("SA net"), "{error}");
}
