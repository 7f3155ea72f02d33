//! AH over ESP in one SA: every pair of algorithms against software, a choice of them against
//! scapy, both ways.

use ipsecov2_tests::round_trip::RoundTrip;
use tcpip::{
    algorithm::{Authentication, Suite},
    plan::{PlanMode, Protocol, Shape, Version},
};

fn bundle(ah: Authentication, mode: PlanMode, outer: Option<Version>) -> Shape {
    Shape {
        mode,
        protocol: Protocol::AhEsp,
        ah,
        outer,
        ..Shape::default()
    }
}

/// Every AH algorithm with every ESP that can be within it. Those that are documented ("Requirements
/// and Restrictions That Apply to IPsec Offloads") are among them: MD5 and SHA-1 in every
/// combination, and over ESP without authentication.
fn pairs() -> Vec<(Authentication, Suite)> {
    let each = Authentication::ALL.into_iter();
    each.flat_map(|ah| {
        Suite::all_within_ah()
            .into_iter()
            .map(move |suite| (ah, suite))
    })
    .collect()
}

const MODES: [(PlanMode, Option<Version>); 4] = [
    (PlanMode::Transport, None),
    (PlanMode::Tunnel, None),
    (PlanMode::Tunnel, Some(Version::V6)),
    (PlanMode::Tunnel, Some(Version::V4)),
];

#[test]
fn every_pair_carries_the_traffic() {
    let pairs = pairs();
    assert_eq!(pairs.len(), 6 * (3 + 3 + 3 * 6 + 6));
    for (number, (ah, suite)) in pairs.into_iter().enumerate() {
        let (mode, outer) = MODES[number % MODES.len()];
        let out = tempfile::tempdir().unwrap();
        let case = RoundTrip::numbered(number, bundle(ah, mode, outer), &suite.to_string());
        case.carries_the_traffic(out.path());
    }
}

/// The documented pairs, and one of each kind that the interface came to know later.
const CHOICE: [(Authentication, &str); 10] = [
    (Authentication::HmacMd5, "3des-cbc+hmac-md5-96"),
    (Authentication::HmacSha1, "aes-cbc-128+hmac-sha-1-96"),
    (Authentication::HmacMd5, "des-cbc+hmac-sha-1-96"),
    (Authentication::HmacSha1, "null+hmac-md5-96"),
    (Authentication::HmacMd5, "null+none"),
    (Authentication::HmacSha1, "null+none"),
    (Authentication::HmacSha256, "aes-cbc-256+none"),
    (Authentication::HmacSha256, "aes-gcm-128"),
    (Authentication::AesGmac128, "aes-gcm-256"),
    (Authentication::AesGmac256, "null+aes-gmac-192"),
];

fn choice() -> Vec<RoundTrip> {
    let mut cases = Vec::new();
    for (ah, suite) in CHOICE {
        let (mode, outer) = MODES[cases.len() % MODES.len()];
        let shape = bundle(ah, mode, outer);
        cases.push(RoundTrip::numbered(cases.len(), shape, suite));
    }
    cases
}

#[test]
fn scapy_agrees_with_the_driver() {
    for case in choice() {
        case.scapy_takes_the_wire();
    }
}

#[test]
fn the_driver_takes_what_scapy_makes_and_nothing_forged() {
    for case in choice() {
        case.the_driver_takes_scapys_packets();
    }
}
