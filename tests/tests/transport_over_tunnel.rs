//! An SA of two hosts in the tunnel of two gateways: both handles on send, NextCryptoDone on
//! receive exactly then.

use ipsecov2_tests::round_trip::RoundTrip;
use tcpip::{
    algorithm::Authentication,
    plan::{PlanMode, Protocol, Shape, Version},
};

fn shape(protocol: Protocol, ah: Authentication, outer: Option<Version>) -> Shape {
    Shape {
        mode: PlanMode::TransportOverTunnel,
        protocol,
        ah,
        outer,
        ..Shape::default()
    }
}

fn cases() -> Vec<RoundTrip> {
    let kinds = [
        (Protocol::Esp, Authentication::HmacSha1, "aes-gcm-256"),
        (
            Protocol::Esp,
            Authentication::HmacSha1,
            "aes-cbc-128+hmac-sha-1-96",
        ),
        (Protocol::Esp, Authentication::HmacSha1, "null+aes-gmac-256"),
        (Protocol::Ah, Authentication::HmacSha256, "aes-gcm-256"),
        (Protocol::Ah, Authentication::AesGmac128, "aes-gcm-256"),
        (
            Protocol::AhEsp,
            Authentication::HmacSha256,
            "aes-cbc-256+hmac-sha-256-128",
        ),
        (Protocol::AhEsp, Authentication::HmacSha1, "null+none"),
        (
            Protocol::Esp,
            Authentication::HmacMd5,
            "3des-cbc+hmac-md5-96",
        ),
    ];
    let mut cases = Vec::new();
    for (protocol, ah, suite) in kinds {
        for outer in [None, Some(Version::V4), Some(Version::V6)] {
            let shape = shape(protocol, ah, outer);
            cases.push(RoundTrip::numbered(cases.len(), shape, suite));
        }
    }
    cases
}

#[test]
fn both_portions_are_sealed_and_opened() {
    for case in cases() {
        let out = tempfile::tempdir().unwrap();
        case.carries_the_traffic(out.path());
    }
}

#[test]
fn scapy_agrees_with_the_driver() {
    for case in cases().into_iter().step_by(2) {
        case.scapy_takes_the_wire();
    }
}

#[test]
fn the_driver_takes_what_scapy_makes_and_nothing_forged() {
    for case in cases().into_iter().skip(1).step_by(2) {
        case.the_driver_takes_scapys_packets();
    }
}
