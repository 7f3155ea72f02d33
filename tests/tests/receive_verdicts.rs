//! What the driver says of received packets, and that it leaves those alone that it has not
//! verified: every CryptoStatus reached by a packet, in every protocol and mode.

use std::collections::BTreeSet;

use ipsecov2_tests::{
    associations::{Kind, extend, sa},
    bench::{Bench, config},
    framed::{ETHERNET, Packet, ah_icv, around, in_ip, packet, sealed_payload, tunnelled},
    lab_options,
};
use ndis_sim::ndis::{AdapterConfig, SendNbl};
use tcpip::{
    algorithm::{Authentication, Encryption},
    lab::{HARDWARE_ID, NdisVersion},
    offload::{ReceiveStamp, Way},
    packet::{PROTOCOL_AH, PROTOCOL_ESP, set_ip_length},
    recorder::Indicated,
    sas::{Mode, Sa, Spi},
    software::SoftwareEsp,
};

const SUCCESS: &str = "CRYPTO_SUCCESS";
const GENERIC_ERROR: &str = "CRYPTO_GENERIC_ERROR";
const INVALID_SYNTAX: &str = "CRYPTO_INVALID_PACKET_SYNTAX";
const INVALID_PROTOCOL: &str = "CRYPTO_INVALID_PROTOCOL";

/// The packet was taken for one of an SA and failed: its bytes are as they were on the wire, and
/// only the status says anything.
fn failed(seen: &Indicated, wire: &[u8], status: &str, what: &str) {
    let expected = ReceiveStamp {
        crypto_done: true,
        crypto_status: seen.stamp.crypto_status,
        ..ReceiveStamp::NONE
    };
    assert_eq!(seen.stamp, expected, "{what}");
    assert_eq!(seen.stamp.status_name(), status, "{what}");
    assert_eq!(seen.header, None, "{what}");
    assert_eq!(seen.tunnel, 0, "{what}");
    assert_eq!(seen.frame[..wire.len()], *wire, "{what}");
}

fn untouched(seen: &Indicated, wire: &[u8], what: &str) {
    assert_eq!(seen.stamp, ReceiveStamp::NONE, "{what}");
    assert_eq!(seen.header, None, "{what}");
    assert_eq!(seen.tunnel, 0, "{what}");
    assert_eq!(seen.frame[..wire.len()], *wire, "{what}");
}

/// A packet that went through: its payload is there again, and nothing around it has changed.
fn succeeded(seen: &Indicated, sent: &Packet, wire: &[u8], sa: &Sa, what: &str) {
    let expected = ReceiveStamp {
        crypto_done: true,
        ..ReceiveStamp::NONE
    };
    assert_eq!(seen.stamp, expected, "{what}");
    let header = seen.header.map(|info| (info.next_header, info.pad_len));
    let trailer = sa.esp.as_ref().map(|_| (sent.next_header, sent.pad_length));
    assert_eq!(header, trailer, "{what}");
    let end = sealed_payload(sa, sent);
    assert_eq!(seen.frame[end.clone()], sent.frame[end.clone()], "{what}");
    assert_eq!(seen.frame[..end.start], wire[..end.start], "{what}");
    assert_eq!(seen.frame[end.end..], wire[end.end..], "{what}");
}

/// Writes the length of a frame that was cut or grew into its IP header.
fn with_length(mut frame: Vec<u8>) -> Vec<u8> {
    let version = frame[ETHERNET] >> 4;
    let end = frame.len();
    set_ip_length(&mut frame, version, ETHERNET, end).unwrap();
    frame
}

/// The status of a wrong ICV of the outermost header.
fn auth_failed(sa: &Sa) -> &'static str {
    match (sa.ah.is_some(), sa.mode) {
        (true, Mode::Transport) => "CRYPTO_TRANSPORT_AH_AUTH_FAILED",
        (true, Mode::Tunnel) => "CRYPTO_TUNNEL_AH_AUTH_FAILED",
        (false, Mode::Transport) => "CRYPTO_TRANSPORT_ESP_AUTH_FAILED",
        (false, Mode::Tunnel) => "CRYPTO_TUNNEL_ESP_AUTH_FAILED",
    }
}

/// Where the protocol of the outermost IPsec header is named.
fn protocol_field(frame: &[u8]) -> usize {
    ETHERNET + if frame[ETHERNET] >> 4 == 4 { 9 } else { 6 }
}

/// Puts every packet that can fail behind one that went through, and notes the statuses.
fn every_failure(bench: &Bench, sa: &Sa, statuses: &mut BTreeSet<&'static str>) {
    let handles = bench.add(sa);
    let about = |what: &str| format!("{what}: {} {:?}", sa.name, sa.mode);
    let sent = packet(sa, 60, 1);
    let (wire, seen) = bench.pass(sent.list(handles.0, 0), std::slice::from_ref(sa));
    let wire = wire[..sent.frame.len()].to_vec();
    succeeded(&seen, &sent, &wire, sa, &about("right"));
    statuses.insert(SUCCESS);
    let outermost = sent.ah.or(sent.esp).unwrap();
    let mut fail = |frame: &[u8], status: &'static str, what: &str| {
        failed(&bench.put(frame), frame, status, &about(what));
        statuses.insert(status);
    };

    // The first and the last byte of the ICV, and one byte of what it is over.
    let icv = match &sa.ah {
        Some(ah) => outermost + 12..outermost + 12 + ah_icv(ah),
        None => wire.len() - sa.esp.as_ref().unwrap().icv_len()..wire.len(),
    };
    let sequence = outermost + if sa.ah.is_some() { 11 } else { 7 };
    for at in [icv.start, icv.end - 1, sent.payload.start, sequence] {
        let mut wrong = wire.clone();
        wrong[at] ^= 0x10;
        fail(&wrong, auth_failed(sa), &format!("byte {at}"));
    }

    // No room for the header; in ESP also a body that is no whole blocks.
    let least = if sa.ah.is_some() { 12 } else { 8 };
    for length in [least, least + 4] {
        let short = with_length(wire[..outermost + length].to_vec());
        fail(&short, INVALID_SYNTAX, &format!("{length} bytes"));
    }
    let alignment = sa.esp.as_ref().map_or(0, |esp| {
        if sa.ah.is_some() {
            0
        } else {
            esp.encryption.algorithm.alignment()
        }
    });
    if alignment > 1 {
        let ragged = with_length(wire[..wire.len() - 1].to_vec());
        fail(&ragged, INVALID_SYNTAX, "ragged");
    }
    // The IP header says more than there is; Ethernet's minimum must not make up for it.
    let mut truncated = wire.clone();
    set_ip_length(
        &mut truncated,
        wire[ETHERNET] >> 4,
        ETHERNET,
        wire.len() + 8,
    )
    .unwrap();
    fail(&truncated, INVALID_SYNTAX, "truncated");
    if sa.ah.is_some() {
        for length in [0, 1, wire[outermost + 1] + 2, 255] {
            let mut wrong = wire.clone();
            wrong[outermost + 1] = length;
            fail(&wrong, INVALID_SYNTAX, &format!("AH length {length}"));
        }
    }

    // The SA's SPI in the other protocol.
    let mut other = wire.clone();
    if let Some(ah) = &sa.ah {
        other[protocol_field(&wire)] = PROTOCOL_ESP;
        other.splice(outermost..outermost, ah.spi.0.to_be_bytes());
        fail(
            &with_length(other),
            INVALID_PROTOCOL,
            "ESP with the SPI of AH",
        );
    } else {
        other[protocol_field(&wire)] = PROTOCOL_AH;
        other.splice(outermost..outermost, [17, 4, 0, 0]);
        fail(
            &with_length(other),
            INVALID_PROTOCOL,
            "AH with the SPI of ESP",
        );
    }
    if sa.ah.is_some() && sa.esp.is_some() {
        // One header of the two.
        let mut alone = wire.clone();
        alone[protocol_field(&wire)] = PROTOCOL_ESP;
        alone.drain(outermost..sent.esp.unwrap());
        let alone = with_length(alone);
        fail(&alone, INVALID_PROTOCOL, "ESP without its AH");
        let mut alone = wire.clone();
        alone[outermost] = 17;
        fail(&alone, INVALID_PROTOCOL, "AH without its ESP");
    }
    // Authentic, and its padding would be longer than the packet: no adapter seals that, so that it
    // is done in software.
    if let (None, Some(esp)) = (&sa.ah, &sa.esp)
        && let Ok(software) = SoftwareEsp::new(esp)
    {
        let sent = packet(sa, 60, 9);
        let mut frame = sent.frame;
        let pad_length = frame.len() - esp.icv_len() - 2;
        frame[pad_length] = 255;
        let mut wire = frame.clone();
        software.seal(&mut wire, 0).unwrap();
        let seen = bench.put(&wire);
        let expected = ReceiveStamp {
            crypto_done: true,
            crypto_status: seen.stamp.crypto_status,
            ..ReceiveStamp::NONE
        };
        assert_eq!(seen.stamp, expected, "{}", sa.name);
        assert_eq!(seen.stamp.status_name(), GENERIC_ERROR, "{}", sa.name);
        assert_eq!(seen.header, None, "{}", sa.name);
        // It was opened: that is the form that it is in.
        let body = sent.payload.start..pad_length + 2;
        assert_eq!(seen.frame[body.clone()], frame[body], "{}", sa.name);
        statuses.insert(GENERIC_ERROR);
    }
    // After all of that the SA is as good as before.
    let sent = packet(sa, 61, 2);
    let (wire, seen) = bench.pass(sent.list(handles.0, 0), std::slice::from_ref(sa));
    let wire = wire[..sent.frame.len()].to_vec();
    succeeded(&seen, &sent, &wire, sa, &about("right again"));
    bench.delete(handles);
}

/// Every protocol, algorithm and mode, over both families; all eight statuses come from packets.
#[test]
fn every_status_is_reached_by_a_packet() {
    for version in NdisVersion::ALL {
        let bench = Bench::start(version, || config(true));
        let mut statuses = BTreeSet::new();
        let mut number = 1;
        for (index, kind) in Kind::all().into_iter().enumerate() {
            for mode in [Mode::Transport, Mode::Tunnel] {
                for six in [false, true] {
                    // The other versions of the structures change nothing on the data path.
                    number += 1;
                    if version == NdisVersion::V6_1 || index % 7 == number as usize % 7 {
                        every_failure(&bench, &sa(kind, mode, six, number), &mut statuses);
                    }
                }
            }
        }
        let all: BTreeSet<_> = (0..8)
            .map(|crypto_status| {
                let stamp = ReceiveStamp {
                    crypto_status,
                    ..ReceiveStamp::NONE
                };
                stamp.status_name()
            })
            .collect();
        assert_eq!(all.len(), 8);
        assert_eq!(statuses, all);
        bench.finish();
    }
}

/// An SA with the AH alone, or the ESP alone, of a bundle or a tunnel: what a sender that makes
/// one of the two wrong would be.
fn half(sa: &Sa, esp: bool) -> Sa {
    let mut half = sa.clone();
    half.name
        .push_str(if esp { ", ESP alone" } else { ", AH alone" });
    if esp {
        half.ah = None;
    } else {
        half.esp = None;
    }
    half
}

/// AH is right and the ESP in it is not.
#[test]
fn a_bundle_whose_esp_is_wrong() {
    let bench = Bench::start(NdisVersion::V6_1, || config(true));
    for (number, authentication) in (1..).zip(Authentication::ALL) {
        for (mode, status) in [
            (Mode::Transport, "CRYPTO_TRANSPORT_ESP_AUTH_FAILED"),
            (Mode::Tunnel, "CRYPTO_TUNNEL_ESP_AUTH_FAILED"),
        ] {
            for six in [false, true] {
                let kind = Kind::Bundle(
                    Encryption::Null,
                    Some(authentication),
                    Authentication::HmacSha256,
                );
                let sa = sa(kind, mode, six, number);
                let handles = bench.add(&sa);
                let right = packet(&sa, 40, 1);
                let (wire, seen) = bench.pass_unwatched(right.list(handles.0, 0));
                assert_eq!(seen.stamp.status_name(), SUCCESS);
                let mut wire = wire[..right.frame.len()].to_vec();
                *wire.last_mut().unwrap() ^= 1;
                // The AH of the sender's other SA, which has the same key.
                let signer = half(&sa, false);
                let signer = Bench::add_at(&bench.a, &signer, Way::Outbound);
                let signed = Packet {
                    frame: wire,
                    esp: None,
                    ..right
                };
                let (wire, seen) = bench.pass_unwatched(signed.list(signer, 0));
                failed(&seen, &wire, status, &sa.name);
                bench.a.delete_sas(&[signer]).unwrap();
                bench.delete(handles);
            }
        }
    }
    bench.finish();
}

/// Transport over tunnel: NextCryptoDone when, and only when, both were processed.
#[test]
fn two_payloads_in_one_packet() {
    for version in NdisVersion::ALL {
        let bench = Bench::start(version, || config(true));
        let mut number = 1;
        for suite in [
            "aes-gcm-128",
            "aes-cbc-256+hmac-sha-1-96",
            "null+aes-gmac-256",
        ] {
            let kind = Kind::Esp(suite.parse().unwrap());
            for inner_kind in [kind, Kind::Ah(Authentication::HmacSha1)] {
                for (outer_six, inner_six) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    number += 2;
                    let outer = sa(kind, Mode::Tunnel, outer_six, number);
                    let inner = sa(inner_kind, Mode::Transport, inner_six, number + 1);
                    check_two_payloads(&bench, &outer, &inner);
                }
            }
        }
        bench.finish();
    }
}

fn check_two_payloads(bench: &Bench, outer: &Sa, inner: &Sa) {
    let what = format!("{} in {}", inner.name, outer.name);
    let sas = [outer.clone(), inner.clone()];
    let tunnel = bench.add(outer);
    let transport = bench.add(inner);
    let sent = tunnelled(outer, inner, 50, 1);
    let list = sent.list(transport.0, tunnel.0);
    let (wire, seen) = bench.pass(list, &sas);
    let both = ReceiveStamp {
        crypto_done: true,
        next_crypto_done: true,
        ..ReceiveStamp::NONE
    };
    assert_eq!(seen.stamp, both, "{what}");
    let payload = sent.payload.clone();
    assert_eq!(seen.frame[payload.clone()], sent.frame[payload.clone()]);

    // The tunnel is wrong: nothing inside is looked at.
    let mut wrong = wire[..sent.frame.len()].to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    failed(&bench.put(&wrong), &wrong, auth_failed(outer), &what);

    // The packet in it is wrong, and the tunnel around that is right.
    let plain = packet(inner, 50, 2);
    let (sealed, _) = bench.pass(plain.list(transport.0, 0), &sas);
    let mut sealed = sealed[..plain.frame.len()].to_vec();
    *sealed.last_mut().unwrap() ^= 1;
    let carried = in_tunnel(outer, &sealed[ETHERNET..], 2);
    let (_, seen) = bench.pass(carried.list(0, tunnel.0), &sas);
    let inner_status = auth_failed(inner);
    assert_eq!(seen.stamp.status_name(), inner_status, "{what}");
    assert!(seen.stamp.crypto_done && seen.stamp.next_crypto_done);
    let inside = carried.payload.clone();
    assert_eq!(seen.frame[inside], sealed[ETHERNET..], "{what}");

    // The packet in it has no SA at the receiver.
    bench.b.delete_sas(&[transport.1]).unwrap();
    let plain = packet(inner, 50, 3);
    let (sealed, _) = bench.pass(plain.list(transport.0, 0), &sas);
    let sealed = &sealed[..plain.frame.len()];
    let carried = in_tunnel(outer, &sealed[ETHERNET..], 3);
    let (_, seen) = bench.pass(carried.list(0, tunnel.0), &sas);
    let one = ReceiveStamp {
        crypto_done: true,
        ..ReceiveStamp::NONE
    };
    assert_eq!(seen.stamp, one, "{what}");
    assert_eq!(seen.frame[carried.payload.clone()], sealed[ETHERNET..]);
    let header = seen.header.map(|info| info.next_header);
    assert_eq!(header, Some(carried.next_header), "{what}");
    bench.a.delete_sas(&[transport.0]).unwrap();
    bench.delete(tunnel);
}

/// A packet, whatever it is, in the tunnel of `outer`.
fn in_tunnel(outer: &Sa, inner: &[u8], sequence: u32) -> Packet {
    around(
        outer,
        inner,
        if inner[0] >> 4 == 6 { 41 } else { 4 },
        sequence.into(),
    )
}

/// Fragments, packets without SA, and headers that lead elsewhere: nothing is done and no flag is
/// set. So it is with packets that have an SA, before receive offload is activated.
#[test]
fn what_is_left_alone() {
    for version in NdisVersion::ALL {
        let bench = Bench::start(version, || config(true));
        let kinds = [
            Kind::Esp("aes-gcm-256".parse().unwrap()),
            Kind::Esp("aes-cbc-128+hmac-sha-1-96".parse().unwrap()),
            Kind::Ah(Authentication::HmacSha256),
            Kind::Ah(Authentication::AesGmac128),
            Kind::Bundle(Encryption::AesCbc192, None, Authentication::HmacSha1),
        ];
        let mut sealed = Vec::new();
        for (number, kind) in (1..).zip(kinds) {
            for six in [false, true] {
                let sa = sa(kind, Mode::Transport, six, number * 2 + u32::from(six));
                let handles = bench.add(&sa);
                let sent = packet(&sa, 80, 1);
                let (wire, seen) = bench.pass(sent.list(handles.0, 0), std::slice::from_ref(&sa));
                assert_eq!(seen.stamp.status_name(), SUCCESS);
                let wire = wire[..sent.frame.len()].to_vec();
                for (what, frame) in left_alone(&wire, sent.ah.or(sent.esp).unwrap()) {
                    let what = format!("{what}: {}", sa.name);
                    untouched(&bench.put(&frame), &frame, &what);
                }
                // Its own packet still has the SA, until that is deleted.
                assert!(bench.put(&wire).stamp.crypto_done);
                bench.delete(handles);
                untouched(&bench.put(&wire), &wire, "deleted");
                sealed.push((sa, wire));
            }
        }
        bench.finish();

        let bench = Bench::start_idle(&lab_options(version), || config(true));
        for (sa, wire) in &sealed {
            let handle = Bench::add_at(&bench.b, sa, Way::Inbound);
            untouched(&bench.put(wire), wire, "before OID_OFFLOAD_ENCAPSULATION");
            bench.b.delete_sas(&[handle]).unwrap();
        }
        bench.finish();
    }
}

/// Frames made of one that has an SA, none of which has.
fn left_alone(wire: &[u8], header: usize) -> Vec<(String, Vec<u8>)> {
    let six = wire[ETHERNET] >> 4 == 6;
    let mut frames = Vec::new();
    let mut add = |what: &str, frame: Vec<u8>| frames.push((what.to_owned(), with_length(frame)));
    let changed = |at: usize, value: u8| {
        let mut frame = wire.to_vec();
        frame[at] = value;
        frame
    };
    if six {
        let mut fragment = wire.to_vec();
        let protocol = fragment[ETHERNET + 6];
        fragment[ETHERNET + 6] = 44;
        for (what, offset) in [
            ("first fragment", [0, 1]),
            ("later fragment", [0, 8]),
            ("atomic fragment", [0, 0]),
        ] {
            let mut fragment = fragment.clone();
            let extension = [protocol, 0, offset[0], offset[1], 0, 0, 0, 9];
            fragment.splice(header..header, extension);
            add(what, fragment);
        }
        // Extension headers without number.
        let mut long = wire.to_vec();
        long[ETHERNET + 6] = 60;
        for index in 0..9 {
            let next = if index == 0 { protocol } else { 60 };
            long.splice(header..header, [next, 0, 1, 4, 0, 0, 0, 0]);
        }
        add("nine extension headers", long);
        add("no next header", changed(ETHERNET + 6, 59));
        // Nobody knows what this one does to the addresses, which AH is over.
        if protocol == PROTOCOL_AH {
            let mut routed = wire.to_vec();
            routed[ETHERNET + 6] = 43;
            routed.splice(header..header, [protocol, 0, 200, 1, 0, 0, 0, 0]);
            add("unknown routing header", routed);
        }
        add("a protocol that is unknown", changed(ETHERNET + 6, 253));
    } else {
        add("first fragment", changed(ETHERNET + 6, 0x20));
        add("later fragment", changed(ETHERNET + 7, 1));
        add("last fragment", changed(ETHERNET + 6, 0x1F));
        add("a protocol that is unknown", changed(ETHERNET + 9, 253));
    }
    // Another SPI, in whichever header: of AH it is behind the first four bytes.
    let spi = if wire[protocol_field(wire)] == PROTOCOL_AH {
        header + 4
    } else {
        header
    };
    add("unknown SPI", changed(spi + 3, wire[spi + 3] ^ 0x80));
    let destination = ETHERNET + if six { 39 } else { 19 };
    add("another destination", changed(destination, 77));
    let source = ETHERNET + if six { 23 } else { 15 };
    add("another source", changed(source, 77));
    // Not an IP packet at all.
    let mut other = wire.to_vec();
    other[12..14].copy_from_slice(&[0x88, 0xB5]);
    frames.push(("another EtherType".to_owned(), other));
    let mut other = wire.to_vec();
    other[ETHERNET] = 0x70 | (other[ETHERNET] & 0x0F);
    frames.push(("IP version 7".to_owned(), other));
    frames
}

/// Without LegacyAlgorithms, and with everything else, an SA asks for its deletion when only a
/// sixteenth of its numbers is left, and works on until DELETE_SA.
#[test]
fn deletion_is_asked_for_near_the_last_number() {
    const LAST_QUIET: u32 = 0xEFFF_FFFF;
    for version in NdisVersion::ALL {
        let bench = Bench::start(version, || config(false));
        let kinds = Kind::all().into_iter().filter(|kind| !kind.is_legacy());
        for (number, kind) in (1..).zip(kinds) {
            let sa = sa(kind, Mode::Transport, number % 2 == 1, number);
            let handles = bench.add(&sa);
            let ask = |sequence: u32| {
                let list = packet(&sa, 20, sequence).list(handles.0, 0);
                let (_, seen) = bench.pass(list, std::slice::from_ref(&sa));
                assert_eq!(seen.stamp.status_name(), SUCCESS, "{}", sa.name);
                seen.stamp.sa_delete_req
            };
            let asked = [1, LAST_QUIET - 1, LAST_QUIET].map(ask);
            assert_eq!(asked, [false; 3], "{}", sa.name);
            let asked = [LAST_QUIET + 1, LAST_QUIET + 2, u32::MAX - 1, u32::MAX].map(ask);
            assert_eq!(asked, [true; 4], "{}", sa.name);
            bench.delete(handles);
        }
        // With ESN it is the high half that counts.
        for (high, expected) in [
            (LAST_QUIET, false),
            (LAST_QUIET + 1, true),
            (u32::MAX, true),
        ] {
            let mut sa = sa(
                Kind::Esp("aes-gcm-128".parse().unwrap()),
                Mode::Transport,
                false,
                500,
            );
            extend(&mut sa, high);
            let handles = bench.add(&sa);
            let list = packet(&sa, 20, u32::MAX).list(handles.0, 0);
            let (_, seen) = bench.pass(list, std::slice::from_ref(&sa));
            assert_eq!(seen.stamp.sa_delete_req, expected, "{high:#x}");
            bench.delete(handles);
        }
        bench.finish();
    }
}

/// Ciphers with blocks of 8 bytes are worn out after 2^20 of them (SP 800-67).
#[test]
fn deletion_is_asked_for_when_a_cipher_is_worn_out() {
    const LIMIT: usize = 1 << 23;
    for suite in ["des-cbc+hmac-sha-1-96", "3des-cbc+hmac-md5-96"] {
        let bench = Bench::start(NdisVersion::V6_1, || {
            config(true).keyword("*JumboPacket", "9014")
        });
        let sa = sa(Kind::Esp(suite.parse().unwrap()), Mode::Transport, false, 1);
        let handles = bench.add(&sa);
        let mut bytes = 0;
        let mut sequence = 0;
        while bytes < LIMIT + 5 * 8900 {
            sequence += 1;
            let sent = packet(&sa, 8900, sequence);
            let (_, seen) = bench.pass(sent.list(handles.0, 0), std::slice::from_ref(&sa));
            assert_eq!(seen.stamp.status_name(), SUCCESS);
            bytes += sent.payload.len() + usize::from(sent.pad_length) + 2;
            assert_eq!(seen.stamp.sa_delete_req, bytes >= LIMIT, "{bytes} bytes");
        }
        bench.delete(handles);
        bench.finish();
    }
}

/// A table that is nearly full asks for the SA that was idle, and for no other; that one works on
/// until it is deleted.
#[test]
fn deletion_is_asked_for_when_the_table_is_nearly_full() {
    for version in NdisVersion::ALL {
        let config = || AdapterConfig::new(HARDWARE_ID).keyword("SaOffloadCapacity", "8");
        let bench = Bench::start(version, config);
        let kind = Kind::Esp("aes-gcm-128".parse().unwrap());
        // Seven of eight places at the receiver; the sender has one of its own at a time.
        let sas: Vec<_> = (1..=8)
            .map(|number| sa(kind, Mode::Transport, false, number))
            .collect();
        let inbound = |sa: &Sa| Bench::add_at(&bench.b, sa, Way::Inbound);
        let handles: Vec<_> = sas[..7].iter().map(inbound).collect();
        let mut sequence = 0;
        let mut asks = |index: usize| {
            sequence += 1;
            let outbound = Bench::add_at(&bench.a, &sas[index], Way::Outbound);
            let list = packet(&sas[index], 20, sequence).list(outbound, 0);
            let (_, seen) = bench.pass(list, &sas);
            bench.a.delete_sas(&[outbound]).unwrap();
            assert!(seen.stamp.crypto_done);
            assert_eq!(seen.stamp.status_name(), SUCCESS);
            seen.stamp.sa_delete_req
        };
        for index in (0..7).filter(|&index| index != 3) {
            assert!(!asks(index), "{index}");
        }
        // The eighth makes it nearly full, and the fourth was never used.
        let last = inbound(&sas[7]);
        for index in 0..7 {
            assert_eq!(asks(index), index == 3, "{index}");
        }
        assert!(asks(3));
        // Added again it is new, and the eighth, which was not used yet, is the next to go.
        bench.b.delete_sas(&handles[3..4]).unwrap();
        let again = inbound(&sas[3]);
        for index in 0..8 {
            assert_eq!(asks(index), index == 7, "{index}");
        }
        bench.b.delete_sas(&[last, again]).unwrap();
        bench.b.delete_sas(&handles[..3]).unwrap();
        bench.b.delete_sas(&handles[4..]).unwrap();
        bench.finish();
    }
}

/// A packet on an SA that is for sending only, and one with an SPI of another adapter's.
#[test]
fn a_sending_sa_receives_nothing() {
    let bench = Bench::start(NdisVersion::V6_1, || config(false));
    let sa = sa(
        Kind::Esp("aes-gcm-256".parse().unwrap()),
        Mode::Transport,
        false,
        1,
    );
    let outbound = Bench::add_at(&bench.a, &sa, Way::Outbound);
    let at_receiver = Bench::add_at(&bench.b, &sa, Way::Outbound);
    let sent = packet(&sa, 30, 1);
    let (wire, seen) = bench.pass(sent.list(outbound, 0), std::slice::from_ref(&sa));
    untouched(&seen, &wire[..sent.frame.len()], "an outbound SA");
    bench.a.delete_sas(&[outbound]).unwrap();
    bench.b.delete_sas(&[at_receiver]).unwrap();
    bench.finish();
}

/// Plain packets among protected ones are stamped too.
#[test]
fn packets_without_ipsec_are_stamped_as_such() {
    let bench = Bench::start(NdisVersion::V6_30, || config(false));
    for six in [false, true] {
        let mut sa = sa(
            Kind::Ah(Authentication::HmacSha1),
            Mode::Transport,
            six,
            1 + u32::from(six),
        );
        sa.ah.as_mut().unwrap().spi = Spi(0x1234_5678);
        let handles = bench.add(&sa);
        let addresses = (sa.source.unwrap(), sa.destination.unwrap());
        // UDP whose first bytes are the SPI.
        let udp = [0x12, 0x34, 0x56, 0x78, 0, 12, 0, 0, 1, 2, 3, 4];
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        frame.extend(if six { [0x86, 0xDD] } else { [0x08, 0x00] });
        frame.extend(in_ip(six, addresses, 17, &udp));
        let (wire, seen) = bench.pass_unwatched(SendNbl::new(frame));
        untouched(&seen, &wire, "UDP");
        bench.delete(handles);
    }
    bench.finish();
}
