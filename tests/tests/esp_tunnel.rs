//! Tunnel mode: packets that scapy put into tunnels come up from the real driver decrypted, and
//! forged ones as they were.

use std::{collections::HashSet, mem, path::Path};

use indicatif::ProgressBar;
use ipsecov2_tests::{lab_options, reference, traffic};
use tcpip::{
    algorithm::Suite,
    capture::Capture,
    lab::NdisVersion,
    packet::{Layout, PROTOCOL_ESP},
    policy::{Keys, Offers, make_sas},
    receive::{Line, ReceiveOptions, receive},
    sas::{Mode, SaFile},
    synthetic,
};

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
