//! Every ESP algorithm that the driver advertises, end to end through the real driver, and both
//! ways against implementations of others: scapy and tshark.

use std::path::Path;

use indicatif::ProgressBar;
use ipsecov2_tests::{lab_options, reference, run_options, suites, traffic};
use tcpip::{
    algorithm::{Authentication, Suite},
    capture::{Capture, Packet},
    compare::same_on_the_link,
    lab::NdisVersion,
    packet::{Layout, PROTOCOL_ESP},
    receive::{Line, ReceiveOptions, receive},
    run::{Outcome, RunOptions, run},
    sas::SaFile,
    split::Split,
    unframe::unframe_esp,
    wireshark,
};

/// Runs the recorded traffic, which has both IP versions, into `out`.
fn driver_sends(suite: Suite, esn: bool, ndis_version: NdisVersion, out: &Path) -> Outcome {
    let options = RunOptions {
        suite,
        esn,
        ..run_options(ndis_version, traffic(), out.to_owned())
    };
    passed(&options)
}

fn passed(options: &RunOptions) -> Outcome {
    let outcome = run(options, &ProgressBar::hidden()).and_then(Outcome::passed);
    match outcome {
        Ok(outcome) => {
            assert!(outcome.encrypted > 200, "{outcome:?}");
            assert_eq!(outcome.verified, outcome.encrypted);
            outcome
        }
        Err(error) => panic!(
            "NDIS {}, {}, ESN {}, split {}: {error:#}",
            options.lab.ndis_version, options.suite, options.esn, options.split
        ),
    }
}

fn driver_receives(ndis_version: NdisVersion, directory: &Path, input: &str) -> Vec<Line> {
    let options = ReceiveOptions {
        lab: lab_options(ndis_version),
        sas: directory.join("sas.json"),
        input: directory.join(input),
        out: directory.to_owned(),
        split: Split::Random(8),
        burst: 32,
    };
    receive(&options, &ProgressBar::hidden()).unwrap()
}

fn esp_of(frame: &[u8]) -> Option<Layout> {
    let layout = Layout::of(frame).ok()?;
    (layout.protocol == PROTOCOL_ESP && !layout.fragment).then_some(layout)
}

/// Each algorithm with and without ESN, in every NDIS version, however packets lie in memory.
/// `run` compares every frame of the wire with software's, and what comes up with what was sent.
#[test]
fn every_advertised_algorithm_carries_the_traffic() {
    let splits = [
        Split::Whole,
        Split::Headers,
        Split::Every(1),
        Split::Every(7),
        Split::Random(3),
    ];
    for (index, suite) in suites().into_iter().enumerate() {
        for (turn, esn) in [false, true].into_iter().enumerate() {
            for (place, split) in splits.into_iter().enumerate() {
                let out = tempfile::tempdir().unwrap();
                let version = NdisVersion::ALL[(index + turn + place) % NdisVersion::ALL.len()];
                passed(&RunOptions {
                    suite,
                    esn,
                    split,
                    ..run_options(version, traffic(), out.path().to_owned())
                });
                let [wire, versions] = [out.path().join("wire.pcap"), traffic()]
                    .map(|path| Capture::read(&path).unwrap());
                assert_eq!(wire.packets.len(), versions.packets.len());
                for version in [4, 6] {
                    let layouts = wire.packets.iter().filter_map(|p| esp_of(&p.frame));
                    assert!(layouts.filter(|l| l.version == version).count() > 20);
                }
            }
        }
    }
}

/// RFC 3602 section 3: no two packets of an AES-CBC SA have one IV, and none can be foretold. The
/// driver's are ciphertext themselves (SP 800-38A appendix C), so neighbours differ all over.
#[test]
fn ivs_of_aes_cbc_differ_all_over() {
    for suite in suites() {
        if suite.iv_len() != 16 {
            continue;
        }
        let out = tempfile::tempdir().unwrap();
        let outcome = driver_sends(suite, false, NdisVersion::V6_1, out.path());
        let wire = Capture::read(&out.path().join("wire.pcap")).unwrap();
        let iv = |packet: &Packet| {
            let at = esp_of(&packet.frame)?.payload + 8;
            Some(u128::from_be_bytes(
                packet.frame[at..at + 16].try_into().unwrap(),
            ))
        };
        let ivs: Vec<u128> = wire.packets.iter().filter_map(iv).collect();
        assert_eq!(ivs.len(), outcome.encrypted);
        // Of random ones the chance that two of 300 differ in fewer than 20 bits is 2^-38.
        for (index, one) in ivs.iter().enumerate() {
            for other in &ivs[..index] {
                assert!(
                    (one ^ other).count_ones() >= 20,
                    "{suite}: {one:x} {other:x}"
                );
            }
        }
    }
}

#[test]
fn scapy_decrypts_every_algorithm() {
    let original = Capture::read(&traffic()).unwrap();
    for (index, suite) in suites().into_iter().enumerate() {
        for esn in [false, true] {
            let out = tempfile::tempdir().unwrap();
            let path = |name: &str| out.path().join(name);
            let version = NdisVersion::ALL[index % NdisVersion::ALL.len()];
            let outcome = driver_sends(suite, esn, version, out.path());
            let report = reference::scapy(
                "decrypt",
                &path("sas.json"),
                &path("wire.pcap"),
                &path("scapy.pcap"),
            )
            .unwrap();
            assert_eq!(report.failed, [0; 0], "{suite}, ESN {esn}");
            assert_eq!(report.processed, outcome.encrypted, "{suite}, ESN {esn}");
            let plain = Capture::read(&path("scapy.pcap")).unwrap();
            assert_eq!(plain.packets.len(), original.packets.len());
            for (plain, original) in plain.packets.iter().zip(&original.packets) {
                assert!(same_on_the_link(&plain.frame, &original.frame), "{suite}");
            }
        }
    }
}

/// scapy's packets come up decrypted; with one bit of each changed they come up as they were,
/// with the documented status.
#[test]
fn the_driver_takes_what_scapy_makes_and_nothing_forged() {
    let original = Capture::read(&traffic()).unwrap();
    for (index, suite) in suites().into_iter().enumerate() {
        for esn in [false, true] {
            let about = format!("{suite}, ESN {esn}");
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            let version = NdisVersion::ALL[index % NdisVersion::ALL.len()];
            driver_sends(suite, esn, version, directory.path());
            let report = reference::scapy(
                "encrypt",
                &path("sas.json"),
                &traffic(),
                &path("scapy.pcap"),
            )
            .unwrap();
            assert!(report.processed > 200, "{about}");

            let lines = driver_receives(version, directory.path(), "scapy.pcap");
            let mut scapy = Capture::read(&path("scapy.pcap")).unwrap();
            let indicated = Capture::read(&path("indicated.pcap")).unwrap();
            let file = SaFile::read(&path("sas.json")).unwrap();
            let esp = file.sas[0].esp.as_ref().unwrap();
            let mut verified = 0;
            for (index, line) in lines.iter().enumerate() {
                let about = format!("{about}: {line:?}");
                if esp_of(&scapy.packets[index].frame).is_none() {
                    assert!(!line.crypto_done && line.unchanged, "{about}");
                    continue;
                }
                assert!(line.crypto_done && !line.next_crypto_done, "{about}");
                assert_eq!(line.crypto_status, "CRYPTO_SUCCESS", "{about}");
                let frame = &indicated.packets[index].frame;
                let plain = unframe_esp(frame, esp.iv_len(), esp.icv_len(), None).unwrap();
                assert_eq!(plain.frame, original.packets[index].frame, "{about}");
                let header = line.header_info.expect("HeaderInfoSet");
                assert_eq!(header.next_header, plain.trailer.next_header, "{about}");
                assert_eq!(header.pad_length, plain.trailer.pad_len, "{about}");
                verified += 1;
            }
            assert_eq!(verified, report.processed, "{about}");

            // At another place in each packet: sequence number, IV, text or ICV.
            for (index, packet) in scapy.packets.iter_mut().enumerate() {
                if let Some(layout) = esp_of(&packet.frame) {
                    let length = layout.end - layout.payload - 4;
                    packet.frame[layout.payload + 4 + index * 7919 % length] ^= 1 << (index % 8);
                }
            }
            scapy.write(&path("forged.pcap")).unwrap();
            let lines = driver_receives(version, directory.path(), "forged.pcap");
            for (line, packet) in lines.iter().zip(&scapy.packets) {
                let about = format!("{about}: {line:?}");
                assert!(line.unchanged && line.header_info.is_none(), "{about}");
                assert_eq!(line.crypto_done, esp_of(&packet.frame).is_some(), "{about}");
                if line.crypto_done {
                    let failed = "CRYPTO_TRANSPORT_ESP_AUTH_FAILED";
                    assert_eq!(line.crypto_status, failed, "{about}");
                }
            }
            let failed = lines.iter().filter(|line| line.crypto_done);
            assert_eq!(failed.count(), verified, "{about}");
        }
    }
}

/// Of the packet inside, for tshark: enough to tell it from every other.
const INSIDE: [&str; 7] = [
    "tcp.seq_raw",
    "tcp.checksum",
    "udp.srcport",
    "udp.checksum",
    "icmp.checksum",
    "icmp.seq",
    "icmpv6.checksum",
];

/// tshark knows all of them but AES-GMAC. It knows ESN only in versions newer than those that
/// distributions have: scapy judges those packets.
#[test]
fn tshark_decrypts_every_algorithm_that_it_knows() {
    let mut fields = vec!["esp.sequence", "esp.icv_good", "esp.icv_bad"];
    fields.extend(INSIDE);
    for suite in suites() {
        let out = tempfile::tempdir().unwrap();
        let outcome = driver_sends(suite, false, NdisVersion::V6_1, out.path());
        let configuration = out.path().join(wireshark::DIRECTORY);
        let table = std::fs::read_to_string(configuration.join("esp_sa")).unwrap();
        if suite.authentication.is_some_and(Authentication::is_gmac) {
            assert!(table.lines().all(|line| line.starts_with('#')), "{table}");
            continue;
        }
        let wire = out.path().join("wire.pcap");
        let on_wire = reference::tshark(&configuration, &wire, &fields).unwrap();
        let plain = reference::tshark(&configuration, &traffic(), &fields).unwrap();
        assert_eq!(on_wire.len(), plain.len());
        let mut esp = 0;
        for (number, (wire, plain)) in on_wire.iter().zip(&plain).enumerate() {
            let about = format!("packet {}, {suite}: {wire:?}", number + 1);
            if !wire["esp.sequence"].is_empty() {
                esp += 1;
                assert_eq!(wire["esp.icv_good"], "1", "{about}");
                assert_ne!(wire["esp.icv_bad"], "1", "{about}");
            }
            for field in INSIDE {
                assert_eq!(wire[field], plain[field], "{field} of {about}");
            }
        }
        assert_eq!(esp, outcome.encrypted, "{suite}");
    }
}
