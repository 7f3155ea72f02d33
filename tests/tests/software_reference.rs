//! The transport's own framing, stripping and software ESP, before any driver is involved:
//! scapy and tshark must agree with them, for they judge the driver.

use ipsecov2_tests::{reference, suites, traffic};
use tcpip::{
    algorithm::{Authentication, Suite},
    capture::{Capture, Packet},
    outbound::{Sender, seal_in_software},
    policy::{Keys, Offers, make_sas},
    sas::SaFile,
    software::SoftwareEsp,
    unframe::unframe_esp,
    wireshark,
};

/// Plain capture, SAs, and the capture protected in software.
fn protected(algorithm: Suite, icv_length: usize, esn: bool) -> (Capture, SaFile, Capture) {
    let plain = Capture::read(&traffic()).unwrap();
    let frames = plain.packets.iter().map(|packet| packet.frame.as_slice());
    let mut file = make_sas(
        frames,
        &Offers::EVERYTHING,
        algorithm,
        icv_length,
        Keys::Seed(7),
    )
    .unwrap();
    if esn {
        for esp in file.sas.iter_mut().filter_map(|sa| sa.esp.as_mut()) {
            (esp.esn, esp.sequence_high) = (true, 3);
        }
    }
    let mut sender = Sender::new(&file.sas, Offers::EVERYTHING);
    let mut wire = plain.like();
    for (index, packet) in plain.packets.iter().enumerate() {
        let outgoing = sender.prepare(index + 1, &packet.frame).unwrap();
        let frame = seal_in_software(&outgoing, &file.sas).unwrap();
        wire.packets.push(Packet::new(packet.timestamp, frame));
    }
    (plain, file, wire)
}

#[test]
fn scapy_decrypts_what_software_protects() {
    for algorithm in suites() {
        for esn in [false, true] {
            let (plain, file, wire) = protected(algorithm, 16, esn);
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            file.write(&path("sas.json")).unwrap();
            wire.write(&path("wire.pcap")).unwrap();
            let report = reference::scapy(
                "decrypt",
                &path("sas.json"),
                &path("wire.pcap"),
                &path("plain.pcap"),
            )
            .unwrap();
            assert_eq!(report.failed, [0; 0], "{algorithm} {esn}");
            assert!(report.processed > 200, "{report:?}");
            let decrypted = Capture::read(&path("plain.pcap")).unwrap();
            assert_eq!(decrypted.packets, plain.packets);
        }
    }
}

#[test]
fn software_opens_what_scapy_protects() {
    for algorithm in suites() {
        for esn in [false, true] {
            let (plain, file, _) = protected(algorithm, 16, esn);
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            file.write(&path("sas.json")).unwrap();
            let report =
                reference::scapy("encrypt", &path("sas.json"), &traffic(), &path("wire.pcap"))
                    .unwrap();
            let wire = Capture::read(&path("wire.pcap")).unwrap();
            assert_eq!(wire.packets.len(), plain.packets.len());

            let mut sender = Sender::new(&file.sas, Offers::EVERYTHING);
            let mut opened = 0;
            for (index, (packet, original)) in wire.packets.iter().zip(&plain.packets).enumerate() {
                let outgoing = sender.prepare(index + 1, &original.frame).unwrap();
                let Ok(protection) = outgoing.protection else {
                    assert_eq!(packet.frame, original.frame);
                    continue;
                };
                let esp = file.sas[protection.sa()].esp.as_ref().unwrap();
                let software = SoftwareEsp::new(esp).unwrap();
                let mut frame = packet.frame.clone();
                software.open(&mut frame, esp.sequence_high).unwrap();
                let plain = unframe_esp(&frame, esp.iv_len(), esp.icv_len(), None).unwrap();
                assert_eq!(plain.frame, original.frame, "packet {}", index + 1);
                assert_eq!(
                    u64::from(plain.sequence),
                    protection.esp().unwrap().sequence & 0xFFFF_FFFF
                );
                opened += 1;

                let last = frame.len() - 1;
                let mut forged = packet.frame.clone();
                forged[last] ^= 1;
                assert!(software.open(&mut forged, esp.sequence_high).is_err());
            }
            assert_eq!(opened, report.processed);
            assert!(opened > 200);
        }
    }
}

#[test]
fn tshark_decrypts_what_software_protects() {
    for algorithm in suites() {
        if algorithm
            .authentication
            .is_some_and(Authentication::is_gmac)
        {
            continue; // tshark does not know it
        }
        let lengths = if algorithm.encryption.is_gcm() {
            8..=16
        } else {
            16..=16
        };
        for icv_length in lengths.step_by(4) {
            let (plain, file, wire) = protected(algorithm, icv_length, false);
            let directory = tempfile::tempdir().unwrap();
            wireshark::write_configuration(directory.path(), &file.sas).unwrap();
            let path = directory.path().join("wire.pcap");
            wire.write(&path).unwrap();
            let packets = reference::tshark(
                &directory.path().join(wireshark::DIRECTORY),
                &path,
                &[
                    "esp.sequence",
                    "esp.icv_good",
                    "esp.icv_bad",
                    "esp.protocol",
                    "ip.proto",
                    "ipv6.nxt",
                ],
            )
            .unwrap();
            assert_eq!(packets.len(), plain.packets.len());
            let esp: Vec<_> = packets
                .iter()
                .filter(|p| !p["esp.sequence"].is_empty())
                .collect();
            assert!(esp.len() > 200);
            for packet in esp {
                assert_eq!(
                    packet["esp.icv_good"], "1",
                    "{algorithm} {icv_length} {packet:?}"
                );
                assert!(!packet["esp.protocol"].is_empty(), "{packet:?}");
            }
        }
    }
}
