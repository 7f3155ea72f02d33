//! NDISTest 6.5 - [1 Machine] - OffloadParity.

use ipsecov2_tests::{
    hlk::{Case, Job},
    stateless::{CHECKSUMS, EVERYTHING, LARGE_SENDS, Pair, reported, start},
    switch::{Switch, VERSIONS, config},
};
use ndis_sys::NDIS_OFFLOAD;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        cases.push(Case::new(
            format!("capabilities, NDIS {version}"),
            "what the hardware is said to do over IPv4 it is said to do over IPv6: checksums, large sends, IPsec",
            move |_| capabilities(version),
        ));
    }
    cases.push(Case::new(
        "what is done",
        "checksums and large sends over IPv6 are done as those over IPv4 are",
        |_| done(),
    ));
    for (name, pairs) in [
        (
            "keywords of checksums",
            &[
                ("*TCPChecksumOffloadIPv4", "*TCPChecksumOffloadIPv6"),
                ("*UDPChecksumOffloadIPv4", "*UDPChecksumOffloadIPv6"),
            ][..],
        ),
        ("keywords of large sends", &[("*LsoV2IPv4", "*LsoV2IPv6")]),
    ] {
        cases.push(Case::new(
            name,
            "each is there for IPv4 and IPv6, and switching one off leaves the other on",
            move |_| keywords(pairs),
        ));
    }
    Job {
        name: "NDISTest 6.5 - [1 Machine] - OffloadParity",
        requirement: "Device.Network.LAN.Base.IPv4AndIPv6OffloadParity",
        checks: "offloads of IPv4 and of IPv6 are alike (version 1 of large sends is of IPv4 alone)",
        cases,
    }
}

fn parity(offload: &NDIS_OFFLOAD) {
    let of = reported(offload);
    let [_, tcp_v4, udp_v4, tcp_v6, udp_v6] = of.checksums;
    assert_eq!((tcp_v4, udp_v4), (tcp_v6, udp_v6));
    let [_, large_v4, large_v6] = of.large;
    assert_eq!(large_v4, large_v6);
    let v2 = &offload.LsoV2;
    assert_eq!(v2.IPv4.MaxOffLoadSize, v2.IPv6.MaxOffLoadSize);
    assert_eq!(v2.IPv4.MinSegmentCount, v2.IPv6.MinSegmentCount);
    assert_eq!(v2.IPv4.Encapsulation, v2.IPv6.Encapsulation);
    let checksum = &offload.Checksum;
    for (v4, v6) in [
        (
            checksum.IPv4Transmit.Encapsulation,
            checksum.IPv6Transmit.Encapsulation,
        ),
        (
            checksum.IPv4Receive.Encapsulation,
            checksum.IPv6Receive.Encapsulation,
        ),
    ] {
        assert_eq!(v4, v6);
    }
    // One structure is of both; this says that it is of IPv6 too, options and headers included.
    let ipsec = &offload.IPsecV2;
    assert_eq!(ipsec.IPv6Supported, 1);
    assert_eq!(ipsec.IPv4Options, ipsec.IPv6NonIPsecExtensionHeaders);
}

fn capabilities(version: u32) {
    let switch = Switch::new(version);
    let port = start(&switch, config());
    let offloads = port.adapter.offloads();
    parity(&offloads.hardware().expect("a report").get());
    parity(&offloads.default_config().expect("a report").get());
    parity(&offloads.current().expect("a report").get());
    drop(port);
    switch.finish();
}

fn done() {
    let switch = Switch::new(630);
    let (port, peer) = (start(&switch, config()), start(&switch, config()));
    let done = Pair {
        port: &port,
        peer: &peer,
    };
    assert_eq!(done.done(), EVERYTHING);
    drop((port, peer));
    switch.finish();
}

fn keywords(pairs: &'static [(&str, &str)]) {
    let known = |keyword: &str| {
        CHECKSUMS.iter().any(|(name, ..)| *name == keyword)
            || LARGE_SENDS.iter().any(|(name, ..)| *name == keyword)
    };
    for (v4, v6) in pairs {
        assert!(known(v4) && known(v6));
        let switch = Switch::new(630);
        let [of_v4, of_v6, of_both] = [vec![*v4], vec![*v6], vec![*v4, *v6]].map(|off| {
            let off = off.iter().fold(config(), |of, name| of.keyword(*name, "0"));
            let port = start(&switch, off);
            reported(&port.adapter.offloads().current().expect("a report").get())
        });
        assert_ne!(of_v4, of_v6);
        assert_ne!(of_v4, EVERYTHING);
        // What one switches off and what the other does, together.
        for index in 0..5 {
            let both = (
                of_v4.checksums[index].0 && of_v6.checksums[index].0,
                of_v4.checksums[index].1 && of_v6.checksums[index].1,
            );
            assert_eq!(of_both.checksums[index], both);
        }
        for index in 0..3 {
            let both = of_v4.large[index] && of_v6.large[index];
            assert_eq!(of_both.large[index], both);
        }
        switch.finish();
    }
}
