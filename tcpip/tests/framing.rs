//! Framing and stripping, on packets whose layout is known byte by byte.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder};
use tcpip::{
    algorithm::Suite,
    framing::{Framed, Numbers, ROOM, frame as frame_for},
    packet::{Layout, NoLayout, ipv4_checksum},
    places::PlaceError,
    policy::{Clear, Keys, Offers, eligible, make_sas},
    sas::{Sa, Spi},
    unframe::{HeaderInfo, UnframeError, unframe_esp},
};

/// An SA with AES-GCM and an ICV of 16 bytes; its next sequence number is 0x9ABCDEF0.
fn sa(algorithm: &str) -> Sa {
    let suite: Suite = algorithm.parse().unwrap();
    let frames = [udp_v4(b"x")];
    let mut file = make_sas(
        frames.iter().map(Vec::as_slice),
        &Offers::EVERYTHING,
        suite,
        16,
        Keys::Seed(1),
    )
    .unwrap();
    file.sas[0].esp.as_mut().unwrap().spi = Spi(0x1234_5678);
    file.sas.remove(0)
}

const NUMBERS: Numbers = Numbers {
    esp: 0x9ABC_DEF0,
    ah: 0,
};

fn gcm(frame: &[u8], layout: &Layout) -> Framed {
    frame_for(frame, layout, &sa("aes-gcm-128"), 0, &NUMBERS).unwrap()
}

fn ethernet(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

fn udp_v4(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(1000, 2000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// An IPv6 packet with these extension headers and a UDP header of zeros.
fn v6_with(headers: &[Extension]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, (_, bytes)) in headers.iter().enumerate() {
        let next = headers.get(index + 1).map_or(17, |next| next.0);
        body.push(next);
        body.extend_from_slice(&bytes[1..]);
    }
    body.extend_from_slice(&[0; 8]);
    let ip = Ipv6Header {
        payload_length: body.len() as u16,
        next_header: IpNumber(headers.first().map_or(17, |first| first.0)),
        hop_limit: 1,
        source: [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        destination: [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        ..Ipv6Header::default()
    };
    let mut packet = Vec::new();
    ip.write(&mut packet).unwrap();
    packet.extend_from_slice(&body);
    ethernet(0x86DD, &packet)
}

/// Next-header number and bytes of an extension header.
type Extension = (u8, &'static [u8]);

const HOP_BY_HOP: Extension = (0, &[0, 0, 1, 4, 0, 0, 0, 0]);
const DESTINATION: Extension = (60, &[0, 0, 1, 4, 0, 0, 0, 0]);
const ROUTING: Extension = (43, &[0, 0, 4, 0, 0, 0, 0, 0]);
const FRAGMENT: Extension = (44, &[0, 0, 0, 0, 0, 0, 0, 0]);

#[test]
fn esp_stands_where_rfc_4303_puts_it() {
    // (headers in the packet, how many of them stay in front of ESP)
    let cases: [(&[Extension], usize); 7] = [
        (&[], 0),
        (&[HOP_BY_HOP], 1),
        (&[DESTINATION], 0),
        (&[ROUTING], 1),
        (&[HOP_BY_HOP, DESTINATION], 1),
        (&[HOP_BY_HOP, DESTINATION, ROUTING], 3),
        (&[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION], 3),
    ];
    for (headers, in_front) in cases {
        let frame = v6_with(headers);
        let layout = Layout::of(&frame).unwrap();
        assert_eq!(layout.payload, 14 + 40 + 8 * in_front, "{headers:?}");
        assert_eq!(layout.ipv6_extension_headers, !headers.is_empty());
        let behind = headers.get(in_front).map_or(17, |next| next.0);
        assert_eq!(layout.protocol, behind);
        assert_eq!(frame[layout.protocol_field], behind);

        let framed = gcm(&frame, &layout);
        let again = Layout::of(&framed.frame).unwrap();
        assert_eq!((again.protocol, again.payload), (50, layout.payload));
        assert_eq!(again.end, framed.frame.len());
        let plain = unframe_esp(&framed.frame, 8, 16, None).unwrap();
        assert_eq!(plain.frame, frame);
    }
}

#[test]
fn every_payload_length_is_padded_as_rfc_4303_says() {
    for (algorithm, alignment, iv) in [
        ("aes-gcm-128", 4, 8),
        ("null+hmac-sha-256-128", 4, 0),
        ("3des-cbc+hmac-sha-256-128", 8, 8),
        ("aes-cbc-128+hmac-sha-256-128", 16, 16),
    ] {
        let sa = sa(algorithm);
        for len in 0..=40 {
            let frame = udp_v4(&vec![b'x'; len]);
            let layout = Layout::of(&frame).unwrap();
            let framed = frame_for(&frame, &layout, &sa, 0, &NUMBERS).unwrap();
            let portion = framed.portion.esp.unwrap();
            assert_eq!((portion.at, portion.next_header), (34, 17));
            assert_eq!(framed.portion.payload, 42 + iv);
            let pad = usize::from(portion.pad_len);
            assert!(pad < alignment);
            assert_eq!((8 + len + pad + 2) % alignment, 0);

            let esp = &framed.frame[34..];
            assert_eq!(esp[..8], [0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xF0]);
            let (room, text) = esp[8..].split_at(iv);
            assert!(room.iter().all(|&byte| byte == ROOM));
            assert_eq!(text[..8 + len], frame[34..]);
            let padding: Vec<u8> = (1..=pad as u8).collect();
            assert_eq!(text[8 + len..][..pad], padding);
            assert_eq!(text[8 + len + pad..][..2], [pad as u8, 17]);
            assert_eq!(text[10 + len + pad..], [ROOM; 16]);
            assert_eq!(framed.portion.trailer_len, pad + 2 + 16);

            let (ip, _) = Ipv4Header::from_slice(&framed.frame[14..]).unwrap();
            assert_eq!(usize::from(ip.total_len), framed.frame.len() - 14);
            assert_eq!(ip.protocol, IpNumber(50));
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        }
    }
}

#[test]
fn link_padding_stays_out_of_esp() {
    let plain = udp_v4(b"abc");
    let mut padded = plain.clone();
    padded.resize(60, 0);
    let layout = Layout::of(&padded).unwrap();
    let framed = gcm(&padded, &layout);
    assert_eq!(
        unframe_esp(&framed.frame, 8, 16, None).unwrap().frame,
        plain
    );
}

#[test]
fn stripping_notices_what_is_wrong() {
    let frame = udp_v4(b"a");
    let layout = Layout::of(&frame).unwrap();
    let framed = gcm(&frame, &layout);
    let esp = framed.portion.esp.unwrap();
    let (pad_len, next_header) = (esp.pad_len, esp.next_header);
    assert_eq!((pad_len, next_header), (1, 17));
    let trailer = framed.frame.len() - 16 - 2;
    let with = |at: usize, byte: u8| {
        let mut frame = framed.frame.clone();
        frame[at] = byte;
        unframe_esp(&frame, 8, 16, None).unwrap_err()
    };
    assert_eq!(
        with(trailer - 1, 9),
        UnframeError::Padding {
            position: 1,
            byte: 9
        }
    );
    assert_eq!(with(trailer, 200), UnframeError::PadLength(200));

    let info = HeaderInfo {
        next_header,
        pad_len,
    };
    assert!(unframe_esp(&framed.frame, 8, 16, Some(info)).is_ok());
    let wrong = HeaderInfo {
        next_header: 6,
        pad_len,
    };
    assert_eq!(
        unframe_esp(&framed.frame, 8, 16, Some(wrong)),
        Err(UnframeError::HeaderInfo {
            oob: wrong,
            trailer: info
        })
    );
    assert_eq!(
        unframe_esp(&frame, 8, 16, None),
        Err(PlaceError::Protocol(17, "ESP").into())
    );
    // Cut at every byte: an error each, or a packet that is not whole.
    for len in 0..framed.frame.len() {
        assert!(unframe_esp(&framed.frame[..len], 8, 16, None).is_err());
    }
}

#[test]
fn the_policy_passes_what_ipsec_must_not_touch() {
    let everything = Offers::EVERYTHING;
    let decide = |frame: &[u8]| eligible(frame, &everything).map(drop);
    assert_eq!(decide(&udp_v4(b"x")), Ok(()));
    assert_eq!(decide(&ethernet(0x0806, &[0; 28])), Err(Clear::NotIp));
    assert_eq!(decide(&v6_with(&[FRAGMENT])), Err(Clear::Fragment));

    let mut frame = udp_v4(b"x");
    frame[0] |= 1;
    assert_eq!(decide(&frame), Err(Clear::Multicast));
    let mut frame = udp_v4(b"x");
    frame[30] = 224;
    assert_eq!(decide(&frame), Err(Clear::Multicast));
    for (port, at) in [(500u16, 34), (4500, 34), (500, 36), (4500, 36)] {
        let mut frame = udp_v4(b"x");
        frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
        assert_eq!(decide(&frame), Err(Clear::Ike), "{port} at {at}");
    }
    for protocol in [50, 51] {
        let mut frame = udp_v4(b"x");
        frame[23] = protocol;
        assert_eq!(decide(&frame), Err(Clear::AlreadyIpsec));
    }
    let mut frame = v6_with(&[]);
    frame[20] = 58;
    for (kind, expected) in [
        (128, Ok(())),
        (133, Err(Clear::NeighborDiscovery)),
        (137, Err(Clear::NeighborDiscovery)),
    ] {
        frame[54] = kind;
        assert_eq!(decide(&frame), expected, "ICMPv6 {kind}");
    }

    let nothing = Offers {
        ipv6: false,
        ipv4_options: false,
        ipv6_extension_headers: false,
        capacity: 1,
    };
    assert_eq!(
        eligible(&v6_with(&[]), &nothing).map(drop),
        Err(Clear::NotOffered)
    );
    assert!(eligible(&udp_v4(b"x"), &nothing).is_ok());
}

#[test]
fn incomplete_packets_have_no_layout() {
    for frame in [udp_v4(b"payload"), v6_with(&[HOP_BY_HOP, ROUTING])] {
        for len in 0..frame.len() {
            let expected = if len < 14 {
                NoLayout::NotIp
            } else {
                NoLayout::Malformed
            };
            assert_eq!(Layout::of(&frame[..len]), Err(expected), "{len} bytes");
        }
    }
    // What segmentation offload leaves in captures.
    let mut frame = v6_with(&[]);
    frame[18..20].fill(0);
    assert_eq!(Layout::of(&frame), Err(NoLayout::Malformed));
    let mut frame = udp_v4(b"x");
    frame[16..18].fill(0);
    assert_eq!(Layout::of(&frame), Err(NoLayout::Malformed));
}

#[test]
fn ipv4_fragments_are_recognised() {
    for (offset, more) in [(0, true), (8, false), (8, true)] {
        let mut ip = Ipv4Header::new(8, 64, IpNumber::UDP, [1, 2, 3, 4], [5, 6, 7, 8]).unwrap();
        ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        ip.more_fragments = more;
        let mut packet = Vec::new();
        ip.write(&mut packet).unwrap();
        packet.extend_from_slice(&[0; 8]);
        let layout = Layout::of(&ethernet(0x0800, &packet)).unwrap();
        assert!(layout.fragment);
        assert_eq!(ipv4_checksum(&packet[..20]), ip.calc_header_checksum());
    }
}
