//! The real driver carries real traffic: out of one adapter protected, over the wire, up at
//! another verified. Every frame on the wire is compared with what independent software makes of
//! the packet, every packet that comes up with what was sent (see `tcpip::run`).

use std::fs;

use indicatif::ProgressBar;
use ipsecov2_tests::{run_options, traffic};
use tcpip::{
    algorithm::Encryption,
    capture::{Capture, Packet, Timestamp},
    lab::NdisVersion,
    policy::Clear,
    run::{Outcome, RunOptions, run},
    sas::SaFile,
    split::Split,
    synthetic,
};

const ALGORITHMS: [Encryption; 3] = [
    Encryption::AesGcm128,
    Encryption::AesGcm192,
    Encryption::AesGcm256,
];

fn run_quietly(options: &RunOptions) -> Outcome {
    match run(options, &ProgressBar::hidden()).and_then(Outcome::passed) {
        Ok(outcome) => outcome,
        Err(error) => panic!(
            "NDIS {}, {:?}, split {}: {error:#}",
            options.lab.ndis_version, options.suite, options.split
        ),
    }
}

/// The recorded traffic through every NDIS version, key size and split.
#[test]
fn recorded_traffic_arrives() {
    let splits = [
        Split::Whole,
        Split::Headers,
        Split::Every(1),
        Split::Every(7),
        Split::Random(1),
    ];
    for ndis_version in NdisVersion::ALL {
        for algorithm in ALGORITHMS {
            for split in splits {
                let out = tempfile::tempdir().unwrap();
                let options = RunOptions {
                    suite: algorithm.into(),
                    split,
                    ..run_options(ndis_version, traffic(), out.path().to_owned())
                };
                let outcome = run_quietly(&options);
                assert_eq!(outcome.packets, 284);
                assert!(outcome.encrypted > 200, "{outcome:?}");
                assert_eq!(outcome.verified, outcome.encrypted);
                // Clear are only those that must be.
                for reason in outcome.clear.keys() {
                    let must = [
                        Clear::NotIp,
                        Clear::Multicast,
                        Clear::NeighborDiscovery,
                        Clear::Fragment,
                        Clear::NotOffered,
                    ];
                    assert!(must.contains(reason), "{reason}");
                }
                assert_eq!(
                    fs::read(out.path().join("received.pcap")).unwrap(),
                    fs::read(traffic()).unwrap()
                );
            }
        }
    }
}

/// Every ICV length of RFC 4106.
#[test]
fn every_icv_length() {
    for icv_length in [8, 12, 16] {
        let out = tempfile::tempdir().unwrap();
        let options = RunOptions {
            icv_length,
            ..run_options(NdisVersion::V6_1, traffic(), out.path().to_owned())
        };
        assert!(run_quietly(&options).encrypted > 200);
    }
}

/// One packet per send call, and all in one; one processor, and many.
#[test]
fn bursts_and_processors() {
    for (burst, processors) in [(1, 1), (1, 4), (284, 1), (284, 2), (13, 3)] {
        let out = tempfile::tempdir().unwrap();
        let mut options = run_options(NdisVersion::V6_1, traffic(), out.path().to_owned());
        options.burst = burst;
        options.lab.processors = processors;
        assert_eq!(run_quietly(&options).packets, 284);
    }
}

/// Payloads of every length around the block sizes, and up to jumbo frames, over both families.
#[test]
fn every_payload_length() {
    // 8,907 bytes in UDP over IPv6 in ESP make the largest frame, 9,014 bytes.
    let lengths = (0..=130).chain(1380..=1420).chain(8_895..=8_907);
    let mut capture = Capture::default();
    for payload in lengths {
        for frame in [
            synthetic::udp_v4(28 + payload).unwrap(),
            synthetic::udp_v6(48 + payload).unwrap(),
        ] {
            let seconds = capture.packets.len() as u32;
            let timestamp = Timestamp {
                seconds,
                fraction: 0,
            };
            capture.packets.push(Packet::new(timestamp, frame));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input.pcap");
    capture.write(&input).unwrap();
    for split in [Split::Headers, Split::Random(2)] {
        let options = RunOptions {
            split,
            ..run_options(
                NdisVersion::V6_30,
                input.clone(),
                directory.path().join("out"),
            )
        };
        let outcome = run_quietly(&options);
        assert_eq!(outcome.encrypted, capture.packets.len());
    }
}

/// Tags, link padding, checksums left to a NIC, cut and foreign packets: `received.pcap` has them
/// as they were, and what can be protected is.
#[test]
fn odd_captures_come_back_as_they_were() {
    let plain = synthetic::udp_v4(28 + 4).unwrap();
    let change = |change: fn(&mut Vec<u8>)| {
        let mut frame = plain.clone();
        change(&mut frame);
        frame
    };
    let odd = [
        // (frame, whether it can be protected)
        (plain.clone(), true),
        (change(|frame| frame.extend_from_slice(&[0; 14])), true),
        (
            change(|frame| frame.extend_from_slice(b"trailer of a link")),
            true,
        ),
        (change(|frame| frame[24..26].fill(0)), true),
        (
            change(|frame| drop(frame.splice(12..12, [0x81, 0, 0x20, 5]))),
            false,
        ),
        (change(|frame| frame[16..18].fill(0)), false),
        (change(|frame| frame.truncate(40)), false),
        (change(|frame| frame[0] = 0xFF), false),
        // ESP of others, under the SPI that would have been the first of the run.
        (
            change(|frame| {
                frame[23] = 50;
                frame[34..38].copy_from_slice(&0x1000_0001_u32.to_be_bytes());
            }),
            false,
        ),
    ];
    let mut capture = Capture::default();
    for (index, (frame, _)) in odd.iter().enumerate() {
        let timestamp = Timestamp {
            seconds: 1,
            fraction: index as u32,
        };
        capture.packets.push(Packet::new(timestamp, frame.clone()));
    }
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input.pcap");
    capture.write(&input).unwrap();
    for version in NdisVersion::ALL {
        let outcome = run_quietly(&run_options(
            version,
            input.clone(),
            directory.path().to_owned(),
        ));
        let protected = odd.iter().filter(|(_, protected)| *protected).count();
        assert_eq!((outcome.packets, outcome.encrypted), (odd.len(), protected));
        assert_eq!(
            fs::read(directory.path().join("received.pcap")).unwrap(),
            fs::read(&input).unwrap()
        );
    }
}

/// Frames that no adapter can carry end the run with a reason.
#[test]
fn frames_of_segmentation_offload_are_refused() {
    let mut capture = Capture::default();
    let frame = synthetic::udp_v4(20_000).unwrap();
    capture
        .packets
        .push(Packet::new(Timestamp::default(), frame));
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input.pcap");
    capture.write(&input).unwrap();
    let options = run_options(NdisVersion::V6_1, input, directory.path().to_owned());
    let error = run(&options, &ProgressBar::hidden()).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("packet 1 of"), "{error}");
    assert!(error.contains("the adapter takes 9014"), "{error}");
    assert!(error.contains("tasks.large_send in sas.json"), "{error}");
}

/// A frame without a whole Ethernet header is not sent; the packets around it are not blamed.
#[test]
fn only_the_packet_that_cannot_be_sent_is_named() {
    let good = || synthetic::udp_v4(100).unwrap();
    let mut capture = Capture::default();
    for frame in [good(), good(), vec![0xff; 9], good(), good()] {
        capture
            .packets
            .push(Packet::new(Timestamp::default(), frame));
    }
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input.pcap");
    capture.write(&input).unwrap();
    let options = run_options(NdisVersion::V6_1, input, directory.path().to_owned());
    let outcome = run(&options, &ProgressBar::hidden()).unwrap();
    assert_eq!((outcome.packets, outcome.verified), (5, 4));
    let [failure] = outcome.failures.as_slice() else {
        panic!("{:?}", outcome.failures);
    };
    assert!(failure.starts_with("packet 3 "), "{failure}");
    assert!(failure.contains("NDIS_STATUS_FAILURE"), "{failure}");
}

/// Two runs from one seed are the same on the wire; random keys differ.
#[test]
fn keys_come_from_where_they_should() {
    let wire_and_keys = |keys| {
        let out = tempfile::tempdir().unwrap();
        let options = RunOptions {
            keys,
            ..run_options(NdisVersion::V6_1, traffic(), out.path().to_owned())
        };
        run_quietly(&options);
        let sas = SaFile::read(&out.path().join("sas.json")).unwrap();
        (fs::read(out.path().join("wire.pcap")).unwrap(), sas.sas)
    };
    let seeded = wire_and_keys(tcpip::policy::Keys::Seed(5));
    assert!(seeded == wire_and_keys(tcpip::policy::Keys::Seed(5)));
    assert!(seeded != wire_and_keys(tcpip::policy::Keys::Seed(6)));
    let random = wire_and_keys(tcpip::policy::Keys::Random);
    assert!(random != wire_and_keys(tcpip::policy::Keys::Random));
}
