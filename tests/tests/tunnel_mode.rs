//! Tunnel mode, IPv4 and IPv6 in each other: the driver's tunnels against software, scapy and
//! tshark; scapy's tunnels into the driver, and forged ones.

use std::{collections::HashSet, mem, path::Path};

use indicatif::ProgressBar;
use ipsecov2_tests::{lab_options, reference, round_trip::RoundTrip, suites, traffic};
use tcpip::{
    algorithm::Suite,
    capture::Capture,
    lab::NdisVersion,
    packet::{Layout, PROTOCOL_ESP},
    plan::{PlanMode, Shape, Version},
    policy::{Keys, Offers, make_sas},
    receive::{Line, ReceiveOptions, receive},
    sas::{Mode, SaFile},
    split::Split,
    synthetic, wireshark,
};

/// Both versions as the outer one; without it each packet has a tunnel of its own version.
const OUTER: [Option<Version>; 3] = [None, Some(Version::V4), Some(Version::V6)];

fn tunnel(outer: Option<Version>) -> Shape {
    Shape {
        mode: PlanMode::Tunnel,
        outer,
        ..Shape::default()
    }
}

/// 4 in 4, 6 in 6, 6 in 4 and 4 in 6 with every algorithm.
#[test]
fn every_algorithm_carries_packets_of_both_versions_in_both() {
    for (index, suite) in suites().into_iter().enumerate() {
        for (turn, outer) in OUTER.into_iter().enumerate() {
            let case = RoundTrip::numbered(3 * index + turn, tunnel(outer), &suite.to_string());
            let out = tempfile::tempdir().unwrap();
            let outcome = case.carries_the_traffic(out.path());
            // The wire shows the gateways only.
            let wire = Capture::read(&out.path().join("wire.pcap")).unwrap();
            let between = wire.packets.iter().filter_map(|p| tunnelled(&p.frame));
            let versions: Vec<u8> = between.map(|layout| layout.version).collect();
            assert_eq!(versions.len(), outcome.encrypted);
            for (version, expected) in [(4, Version::V4), (6, Version::V6)] {
                let any = versions.contains(&version);
                assert_eq!(any, outer.is_none_or(|outer| outer == expected));
            }
        }
    }
}

#[test]
fn scapy_takes_the_drivers_tunnels() {
    for (index, suite) in SUITES.into_iter().enumerate() {
        let outer = OUTER[index % OUTER.len()];
        RoundTrip::numbered(index, tunnel(outer), suite).scapy_takes_the_wire();
    }
}

#[test]
fn the_driver_takes_scapys_tunnels_of_the_other_version() {
    for (index, suite) in SUITES.into_iter().enumerate() {
        let outer = [Version::V4, Version::V6][index % 2];
        let case = RoundTrip::numbered(index, tunnel(Some(outer)), suite);
        case.the_driver_takes_scapys_packets();
    }
}

#[test]
fn tshark_finds_the_same_packets_in_the_tunnels() {
    let inside = ["tcp.seq_raw", "tcp.checksum", "udp.srcport", "icmp.seq"];
    let mut fields = vec!["esp.sequence", "esp.icv_good", "esp.protocol"];
    fields.extend(inside);
    for outer in OUTER {
        let out = tempfile::tempdir().unwrap();
        let case = RoundTrip {
            esn: false,
            ..RoundTrip::numbered(0, tunnel(outer), "aes-cbc-256+hmac-sha-256-128")
        };
        let outcome = case.carries_the_traffic(out.path());
        let configuration = out.path().join(wireshark::DIRECTORY);
        let wire = out.path().join("wire.pcap");
        let on_wire = reference::tshark(&configuration, &wire, &fields).unwrap();
        let plain = reference::tshark(&configuration, &traffic(), &fields).unwrap();
        let mut seen = 0;
        for (wire, plain) in on_wire.iter().zip(&plain) {
            if !wire["esp.sequence"].is_empty() {
                assert_eq!(wire["esp.icv_good"], "1", "{wire:?}");
                assert!(
                    ["0x04", "0x29"].contains(&wire["esp.protocol"].as_str()),
                    "{wire:?}"
                );
                seen += 1;
            }
            for field in inside {
                assert_eq!(wire[field], plain[field], "{field} of {wire:?}");
            }
        }
        assert_eq!(seen, outcome.encrypted);
    }
}

const SUITES: [&str; 4] = [
    "aes-gcm-256",
    "aes-cbc-128+hmac-sha-1-96",
    "aes-cbc-256+hmac-sha-256-128",
    "null+aes-gmac-128",
];

/// A tunnel between gateways for each IP version.
fn tunnels(suite: Suite, esn: bool) -> SaFile {
    let frames = [synthetic::udp_v4(64), synthetic::udp_v6(64)].map(Result::unwrap);
    let mut file = make_sas(
        frames.iter().map(Vec::as_slice),
        &Offers::EVERYTHING,
        suite,
        16,
        Keys::Seed(4),
    )
    .unwrap();
    let gateways = [
        ("203.0.113.1", "203.0.113.2"),
        ("2001:db8:ffff::1", "2001:db8:ffff::2"),
    ];
    for (sa, (source, destination)) in file.sas.iter_mut().zip(gateways) {
        sa.mode = Mode::Tunnel;
        sa.source = Some(source.parse().unwrap());
        sa.destination = Some(destination.parse().unwrap());
    }
    if esn {
        file.extend_sequence_numbers();
    }
    assert_eq!(file.sas.len(), 2);
    file
}

fn driver_receives(version: NdisVersion, directory: &Path, input: &str) -> Vec<Line> {
    let options = ReceiveOptions {
        lab: lab_options(version),
        sas: directory.join("sas.json"),
        input: directory.join(input),
        out: directory.to_owned(),
        split: Split::Random(8),
        burst: 32,
    };
    receive(&options, &ProgressBar::hidden()).unwrap()
}

/// The ESP payload of a tunnel between our gateways.
fn tunnelled(frame: &[u8]) -> Option<Layout> {
    let layout = Layout::of(frame).ok()?;
    let gateways = ["203.0.113.1", "2001:db8:ffff::1"];
    (layout.protocol == PROTOCOL_ESP && gateways.contains(&layout.source.to_string().as_str()))
        .then_some(layout)
}

#[test]
fn tunnels_of_scapy() {
    let original = Capture::read(&traffic()).unwrap();
    for (index, suite) in SUITES.into_iter().enumerate() {
        for esn in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let file = tunnels(suite.parse().unwrap(), esn);
            file.write(&path("sas.json")).unwrap();
            let report = reference::scapy(
                "encrypt",
                &path("sas.json"),
                &traffic(),
                &path("scapy.pcap"),
            )
            .unwrap();
            assert!(report.processed > 200, "{suite}");
            let mut scapy = Capture::read(&path("scapy.pcap")).unwrap();

            let version = NdisVersion::ALL[index % NdisVersion::ALL.len()];
            let lines = driver_receives(version, directory.path(), "scapy.pcap");
            let indicated = Capture::read(&path("indicated.pcap")).unwrap();
            let mut seen = [0, 0];
            for (index, line) in lines.iter().enumerate() {
                let about = format!("{suite}, ESN {esn}: {line:?}");
                let frame = &indicated.packets[index].frame;
                let Some(layout) = tunnelled(&scapy.packets[index].frame) else {
                    assert!(!line.crypto_done && line.unchanged, "{about}");
                    continue;
                };
                // The packet inside has no SA of its own.
                assert!(line.crypto_done && !line.next_crypto_done, "{about}");
                assert_eq!(line.crypto_status, "CRYPTO_SUCCESS", "{about}");
                let six = layout.version == 6;
                let header = line.header_info.expect("HeaderInfoSet");
                assert_eq!(header.next_header, if six { 41 } else { 4 }, "{about}");

                let esp = file.sas[usize::from(six)].esp.as_ref().unwrap();
                let start = layout.payload + 8 + esp.iv_len();
                let end = layout.end - esp.icv_len() - 2 - usize::from(header.pad_length);
                let inner = Layout::of(&original.packets[index].frame).unwrap();
                let plain = &original.packets[index].frame[inner.ip..inner.end];
                assert_eq!(&frame[start..end], plain, "{about}");
                // Everything around it is as it was on the wire.
                let wire = &scapy.packets[index].frame;
                assert_eq!(frame[..start], wire[..start], "{about}");
                let icv = layout.end - esp.icv_len()..layout.end;
                assert_eq!(frame[icv.clone()], wire[icv], "{about}");
                seen[usize::from(six)] += 1;
            }
            assert!(seen[0] > 20 && seen[1] > 20, "{suite}: {seen:?}");
            assert_eq!(seen[0] + seen[1], report.processed, "{suite}");

            // ADD_SA does not say which mode an SA is of: the first packet of each tunnel, whole,
            // shows it, and one bit of each of the others is changed.
            let mut learned = [false, false];
            let mut forged = HashSet::new();
            for (index, packet) in scapy.packets.iter_mut().enumerate() {
                if let Some(layout) = tunnelled(&packet.frame)
                    && mem::replace(&mut learned[usize::from(layout.version == 6)], true)
                {
                    let length = layout.end - layout.payload - 4;
                    packet.frame[layout.payload + 4 + index * 7919 % length] ^= 1 << (index % 8);
                    forged.insert(index);
                }
            }
            scapy.write(&path("forged.pcap")).unwrap();
            let lines = driver_receives(version, directory.path(), "forged.pcap");
            for (index, line) in lines.iter().enumerate() {
                let about = format!("{suite}, ESN {esn}: {line:?}");
                let is_tunnelled = tunnelled(&scapy.packets[index].frame).is_some();
                assert_eq!(line.crypto_done, is_tunnelled, "{about}");
                if forged.contains(&index) {
                    assert!(line.unchanged && line.header_info.is_none(), "{about}");
                    assert!(!line.next_crypto_done, "{about}");
                    let failed = "CRYPTO_TUNNEL_ESP_AUTH_FAILED";
                    assert_eq!(line.crypto_status, failed, "{about}");
                } else {
                    assert_eq!(line.crypto_status, "CRYPTO_SUCCESS", "{about}");
                }
            }
            assert_eq!(forged.len(), report.processed - 2);
        }
    }
}
