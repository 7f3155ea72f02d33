//! UDP encapsulation of ESP (RFC 3948), the four subtypes of IPsecOV2.

use ipsecov2_tests::round_trip::RoundTrip;
use tcpip::plan::{PlanMode, Shape, UdpPlace, Version};

fn shape(mode: PlanMode, place: UdpPlace, outer: Option<Version>) -> Shape {
    Shape {
        mode,
        udp_esp: Some(place),
        outer,
        ..Shape::default()
    }
}

/// All subtypes, in tunnels of both versions.
fn cases() -> Vec<RoundTrip> {
    let subtypes = [
        shape(PlanMode::Transport, UdpPlace::Outer, None),
        shape(PlanMode::Tunnel, UdpPlace::Outer, None),
        shape(PlanMode::Tunnel, UdpPlace::Outer, Some(Version::V4)),
        shape(PlanMode::Tunnel, UdpPlace::Outer, Some(Version::V6)),
        shape(PlanMode::TransportOverTunnel, UdpPlace::Outer, None),
        shape(
            PlanMode::TransportOverTunnel,
            UdpPlace::Outer,
            Some(Version::V6),
        ),
        shape(PlanMode::TransportOverTunnel, UdpPlace::Inner, None),
        shape(
            PlanMode::TransportOverTunnel,
            UdpPlace::Inner,
            Some(Version::V4),
        ),
    ];
    let suites = [
        "aes-gcm-256",
        "aes-cbc-192+hmac-sha-1-96",
        "null+aes-gmac-128",
    ];
    let cases = subtypes
        .into_iter()
        .enumerate()
        .map(|(number, shape)| RoundTrip::numbered(number, shape, suites[number % suites.len()]));
    cases.collect()
}

#[test]
fn every_subtype_carries_the_traffic() {
    for case in cases() {
        let out = tempfile::tempdir().unwrap();
        case.carries_the_traffic(out.path());
    }
}

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
