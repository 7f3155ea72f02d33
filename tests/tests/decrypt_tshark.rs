//! tshark decrypts what the driver put on the wire, with nothing but the directory that a run
//! writes, and finds every ICV right and the same packets inside.

use indicatif::ProgressBar;
use ipsecov2_tests::{reference, run_options, traffic};
use tcpip::{
    algorithm::Encryption,
    lab::NdisVersion,
    run::{Outcome, RunOptions, run},
    wireshark,
};

/// Of the packet inside: enough to tell it from every other.
const INSIDE: [&str; 10] = [
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.len",
    "tcp.checksum",
    "udp.srcport",
    "udp.length",
    "udp.checksum",
    "icmp.checksum",
    "icmp.seq",
    "icmpv6.checksum",
];

#[test]
fn every_esp_packet_decrypts_with_a_good_icv() {
    for (algorithm, icv_length) in [
        (Encryption::AesGcm128, 16),
        (Encryption::AesGcm192, 12),
        (Encryption::AesGcm256, 8),
        (Encryption::AesGcm256, 16),
    ] {
        let out = tempfile::tempdir().unwrap();
        let options = RunOptions {
            suite: algorithm.into(),
            icv_length,
            ..run_options(NdisVersion::V6_1, traffic(), out.path().to_owned())
        };
        let outcome = run(&options, &ProgressBar::hidden())
            .and_then(Outcome::passed)
            .unwrap();

        let mut fields = vec!["esp.sequence", "esp.icv_good", "esp.icv_bad"];
        fields.extend(INSIDE);
        let configuration = out.path().join(wireshark::DIRECTORY);
        let wire = out.path().join("wire.pcap");
        let on_wire = reference::tshark(&configuration, &wire, &fields).unwrap();
        let plain = reference::tshark(&configuration, &traffic(), &fields).unwrap();
        assert_eq!(on_wire.len(), plain.len());

        let mut esp = 0;
        for (number, (wire, plain)) in on_wire.iter().zip(&plain).enumerate() {
            let about = format!("packet {}, {algorithm:?}: {wire:?}", number + 1);
            if !wire["esp.sequence"].is_empty() {
                esp += 1;
                assert_eq!(wire["esp.icv_good"], "1", "{about}");
                assert_ne!(wire["esp.icv_bad"], "1", "{about}");
            }
            for field in INSIDE {
                assert_eq!(wire[field], plain[field], "{field} of {about}");
            }
        }
        assert_eq!(esp, outcome.encrypted);
        assert!(esp > 200);

        // Without our directory there is nothing to see: the keys did it.
        let elsewhere = tempfile::tempdir().unwrap();
        let blind = reference::tshark(elsewhere.path(), &wire, &fields).unwrap();
        assert!(blind.iter().all(|packet| packet["esp.icv_good"] != "1"));
    }
}
