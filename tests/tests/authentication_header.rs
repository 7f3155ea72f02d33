//! AH alone, with every algorithm, in transport mode and as a tunnel: the driver against software
//! and scapy, both ways; packets with options and extension headers.

use indicatif::ProgressBar;
use ipsecov2_tests::{round_trip::RoundTrip, run_options};
use tcpip::{
    algorithm::Authentication,
    capture::{Capture, Packet, Timestamp},
    lab::NdisVersion,
    plan::{PlanMode, Protocol, Shape, Version},
    run::{Outcome, RunOptions, run},
    split::Split,
    synthetic,
};

fn ah(algorithm: Authentication, mode: PlanMode, outer: Option<Version>) -> Shape {
    Shape {
        mode,
        protocol: Protocol::Ah,
        ah: algorithm,
        outer,
        ..Shape::default()
    }
}

/// Every algorithm in every mode. HMAC-MD5 is one of them: its cases switch it on.
fn cases() -> Vec<RoundTrip> {
    let tunnels = [None, Some(Version::V4), Some(Version::V6)];
    let mut cases = Vec::new();
    for (index, algorithm) in Authentication::ALL.into_iter().enumerate() {
        let tunnel = (PlanMode::Tunnel, tunnels[index % 3]);
        for (mode, outer) in [(PlanMode::Transport, None), tunnel] {
            let number = cases.len();
            // What ESP would use does not matter.
            let case = RoundTrip::numbered(number, ah(algorithm, mode, outer), "aes-gcm-256");
            cases.push(case);
        }
    }
    cases
}

#[test]
fn every_algorithm_authenticates_the_traffic() {
    for case in cases() {
        let out = tempfile::tempdir().unwrap();
        case.carries_the_traffic(out.path());
    }
}

/// AES-GMAC in AH is the script's own, over scapy's mutable fields and another AES library.
#[test]
fn scapy_agrees_with_the_driver() {
    for case in cases() {
        case.scapy_takes_the_wire();
    }
}

#[test]
fn the_driver_takes_what_scapy_makes_and_nothing_forged() {
    for case in cases() {
        case.the_driver_takes_scapys_packets();
    }
}

/// An IPv4 packet with these options, padded with the end of the list.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut frame = synthetic::udp_v4(60).unwrap();
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let words = 5 + options.len() / 4;
    frame.splice(34..34, options);
    frame[14] = 0x40 | words as u8;
    let length = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[24..26].fill(0);
    let checksum = tcpip::packet::ipv4_checksum(&frame[14..14 + 4 * words]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// An IPv6 packet with these extension headers: number and bytes, next header left open.
fn with_extensions(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut frame = synthetic::udp_v6(80).unwrap();
    let mut headers = Vec::new();
    for (index, (_, bytes)) in extensions.iter().enumerate() {
        headers.push(extensions.get(index + 1).map_or(17, |next| next.0));
        headers.extend_from_slice(&bytes[1..]);
    }
    frame[20] = extensions[0].0;
    frame.splice(54..54, headers);
    let length = (frame.len() - 54) as u16;
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    frame
}

/// The headers that change on the way, in ways that are foretold and in ways that are not. `run`
/// compares with software's own reading of RFC 4302.
fn odd_headers() -> Vec<Vec<u8>> {
    let route = |kind: u8, pointer: u8| {
        let mut option = vec![kind, 11, pointer];
        option.extend_from_slice(&[192, 0, 2, 9, 192, 0, 2, 10]);
        option
    };
    let mut routing = vec![0, 4, 0, 2, 0, 0, 0, 0];
    for last in [7, 8] {
        routing.extend_from_slice(&[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    let with_segments = |left: u8| {
        let mut header = routing.clone();
        header[3] = left;
        header
    };
    let hop_by_hop: &[u8] = &[0, 0, 0x3E, 4, 1, 2, 3, 4];
    let immutable: &[u8] = &[0, 0, 0x1E, 4, 1, 2, 3, 4];
    vec![
        with_options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0]),
        with_options(&[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        with_options(&[148, 4, 0, 0]),
        with_options(&[1, 1, 130, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        with_options(&route(131, 4)),
        with_options(&route(131, 8)),
        with_options(&route(131, 12)),
        with_options(&route(137, 4)),
        with_options(&route(137, 12)),
        with_options(&[0x9E, 4, 1, 2]),
        with_extensions(&[(0, hop_by_hop)]),
        with_extensions(&[(0, immutable)]),
        with_extensions(&[(0, hop_by_hop), (60, immutable), (43, &with_segments(2))]),
        with_extensions(&[(43, &with_segments(1))]),
        with_extensions(&[(43, &with_segments(0)), (60, hop_by_hop)]),
        with_extensions(&[(60, hop_by_hop)]),
    ]
}

#[test]
fn options_and_extension_headers() {
    let mut capture = Capture::default();
    for frame in odd_headers() {
        capture
            .packets
            .push(Packet::new(Timestamp::default(), frame));
    }
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("odd.pcap");
    capture.write(&input).unwrap();
    for protocol in [Protocol::Ah, Protocol::AhEsp] {
        for (number, algorithm) in Authentication::ALL.into_iter().enumerate() {
            if algorithm.is_legacy() {
                continue;
            }
            for mode in [PlanMode::Transport, PlanMode::Tunnel] {
                let version = NdisVersion::ALL[number % 3];
                let options = RunOptions {
                    shape: Shape {
                        protocol,
                        ..ah(algorithm, mode, None)
                    },
                    esn: number % 2 == 0,
                    split: Split::Random(4),
                    ..run_options(version, input.clone(), directory.path().join("out"))
                };
                let outcome = run(&options, &ProgressBar::hidden()).and_then(Outcome::passed);
                let outcome =
                    outcome.unwrap_or_else(|error| panic!("{algorithm:?}, {mode:?}: {error:#}"));
                assert_eq!(outcome.verified, capture.packets.len(), "{outcome:?}");
            }
        }
    }
}
