//! scapy's IPsec layer against the driver, both ways: it decrypts what the driver sends, and the
//! driver decrypts what it makes.

use std::path::Path;

use indicatif::ProgressBar;
use ipsecov2_tests::{lab_options, reference, run_options, traffic};
use tcpip::{
    algorithm::Encryption,
    capture::Capture,
    compare::same_on_the_link,
    lab::NdisVersion,
    packet::{Layout, PROTOCOL_ESP},
    receive::{Line, ReceiveOptions, receive},
    run::{Outcome, RunOptions, run},
    sas::SaFile,
    split::Split,
    unframe::unframe_esp,
};

const ALGORITHMS: [Encryption; 3] = [
    Encryption::AesGcm128,
    Encryption::AesGcm192,
    Encryption::AesGcm256,
];

/// Runs the recorded traffic into `out`, and returns how many packets were encrypted.
fn driver_sends(algorithm: Encryption, ndis_version: NdisVersion, out: &Path) -> usize {
    let options = RunOptions {
        suite: algorithm.into(),
        ..run_options(ndis_version, traffic(), out.to_owned())
    };
    run(&options, &ProgressBar::hidden())
        .and_then(Outcome::passed)
        .unwrap()
        .encrypted
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

fn is_esp(frame: &[u8]) -> bool {
    Layout::of(frame).is_ok_and(|layout| layout.protocol == PROTOCOL_ESP && !layout.fragment)
}

#[test]
fn scapy_decrypts_what_the_driver_sends() {
    for (algorithm, ndis_version) in ALGORITHMS.into_iter().zip(NdisVersion::ALL) {
        let out = tempfile::tempdir().unwrap();
        let path = |name: &str| out.path().join(name);
        let encrypted = driver_sends(algorithm, ndis_version, out.path());
        let report = reference::scapy(
            "decrypt",
            &path("sas.json"),
            &path("wire.pcap"),
            &path("scapy.pcap"),
        )
        .unwrap();
        assert_eq!(report.failed, [0; 0]);
        assert_eq!(report.processed, encrypted);
        assert!(encrypted > 200);
        let plain = Capture::read(&path("scapy.pcap")).unwrap();
        let original = Capture::read(&traffic()).unwrap();
        assert_eq!(plain.packets.len(), original.packets.len());
        for (plain, original) in plain.packets.iter().zip(&original.packets) {
            assert!(same_on_the_link(&plain.frame, &original.frame), "{plain:?}");
            assert_eq!(plain.timestamp, original.timestamp);
        }
    }
}

#[test]
fn the_driver_decrypts_what_scapy_makes() {
    let original = Capture::read(&traffic()).unwrap();
    for (algorithm, ndis_version) in ALGORITHMS.into_iter().zip(NdisVersion::ALL) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        driver_sends(algorithm, ndis_version, directory.path());
        // scapy takes random IVs, where the driver's are the sequence number.
        let report = reference::scapy(
            "encrypt",
            &path("sas.json"),
            &traffic(),
            &path("scapy.pcap"),
        )
        .unwrap();
        assert!(report.processed > 200);

        let lines = driver_receives(ndis_version, directory.path(), "scapy.pcap");
        let scapy = Capture::read(&path("scapy.pcap")).unwrap();
        let indicated = Capture::read(&path("indicated.pcap")).unwrap();
        let file = SaFile::read(&path("sas.json")).unwrap();
        let esp = file.sas[0].esp.as_ref().unwrap();
        let mut verified = 0;
        for (index, line) in lines.iter().enumerate() {
            let frame = &indicated.packets[index].frame;
            if !is_esp(&scapy.packets[index].frame) {
                assert!(!line.crypto_done && line.header_info.is_none(), "{line:?}");
                assert!(line.unchanged, "{line:?}");
                continue;
            }
            assert!(line.crypto_done && !line.next_crypto_done, "{line:?}");
            assert_eq!(line.crypto_status, "CRYPTO_SUCCESS", "{line:?}");
            assert!(line.header_info.is_some(), "{line:?}");
            let plain = unframe_esp(frame, esp.iv_len(), esp.icv_len(), None).unwrap();
            assert_eq!(plain.frame, original.packets[index].frame, "{line:?}");
            verified += 1;
        }
        assert_eq!(verified, report.processed);
    }
}

#[test]
fn the_driver_rejects_what_was_changed_on_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    driver_sends(Encryption::AesGcm128, NdisVersion::V6_1, directory.path());
    reference::scapy(
        "encrypt",
        &path("sas.json"),
        &traffic(),
        &path("scapy.pcap"),
    )
    .unwrap();
    let mut forged = Capture::read(&path("scapy.pcap")).unwrap();
    // One bit, at another place in each packet: sequence number, IV, ciphertext or ICV.
    let mut esp_packets = 0;
    for (index, packet) in forged.packets.iter_mut().enumerate() {
        if is_esp(&packet.frame) {
            let layout = Layout::of(&packet.frame).unwrap();
            let esp = layout.payload + 4..layout.end;
            let at = esp.start + index * 7919 % esp.len();
            packet.frame[at] ^= 1 << (index % 8);
            esp_packets += 1;
        }
    }
    assert!(esp_packets > 200);
    forged.write(&path("forged.pcap")).unwrap();

    let lines = driver_receives(NdisVersion::V6_1, directory.path(), "forged.pcap");
    for (line, packet) in lines.iter().zip(&forged.packets) {
        // Not released, not dropped, and the bytes as they came.
        assert!(line.unchanged, "{line:?}");
        assert!(line.header_info.is_none(), "{line:?}");
        assert_eq!(line.crypto_done, is_esp(&packet.frame), "{line:?}");
        if line.crypto_done {
            assert_eq!(line.crypto_status, "CRYPTO_TRANSPORT_ESP_AUTH_FAILED");
        }
    }
    assert_eq!(lines.iter().filter(|l| l.crypto_done).count(), esp_packets);
}
