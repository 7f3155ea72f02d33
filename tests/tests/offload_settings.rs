//! Every keyword and every member of OID_TCP_OFFLOAD_PARAMETERS: what is reported is what is done, and
//! what is off is neither reported nor done.

use std::mem::offset_of;

use ipsecov2_tests::{
    stateless::{
        CHECKSUMS, Done, EVERYTHING, LARGE_SENDS, assert_state, parameters, reported, start, tx_rx,
    },
    switch::{Switch, VERSIONS, check, config},
};
use ndis_sim::ndis::AdapterConfig;
use ndis_sys::*;

#[test]
fn without_a_word_everything_is_on() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let peer = start(&switch, config());
        let port = start(&switch, config());
        let default = port.adapter.offloads().default_config().unwrap().get();
        assert_eq!(reported(&default), EVERYTHING);
        assert_state(&port, &peer, &EVERYTHING, "default");
        switch.finish();
    }
}

#[test]
fn every_keyword_and_every_value() {
    let switch = Switch::new(610);
    let peer = start(&switch, config());
    for (index, (keyword, ..)) in CHECKSUMS.into_iter().enumerate() {
        for value in 0..4 {
            let port = start(&switch, config().keyword(keyword, value.to_string()));
            let mut expected = EVERYTHING;
            expected.checksums[index] = tx_rx(value);
            let default = port.adapter.offloads().default_config().unwrap().get();
            assert_eq!(reported(&default), expected, "{keyword} = {value}");
            assert_state(&port, &peer, &expected, &format!("{keyword} = {value}"));
        }
    }
    for (index, (keyword, ..)) in LARGE_SENDS.into_iter().enumerate() {
        for value in 0..2 {
            let port = start(&switch, config().keyword(keyword, value.to_string()));
            let mut expected = EVERYTHING;
            expected.large[index] = value == 1;
            assert_state(&port, &peer, &expected, &format!("{keyword} = {value}"));
        }
    }
    switch.finish();
}

#[test]
fn values_that_a_keyword_does_not_know_mean_its_default() {
    let switch = Switch::new(610);
    let keywords = CHECKSUMS.iter().map(|(keyword, ..)| *keyword);
    let keywords = keywords.chain(LARGE_SENDS.iter().map(|(keyword, ..)| *keyword));
    for keyword in keywords {
        for value in ["4", "4294967295"] {
            let value = ndis_sim::inf::RegValue::Sz(value.to_owned());
            let port = switch.port_with(config().value(keyword, value));
            let default = port.adapter.offloads().default_config().unwrap().get();
            assert_eq!(reported(&default), EVERYTHING, "{keyword}");
        }
        let port = switch.port_with(config().without(keyword));
        let default = port.adapter.offloads().default_config().unwrap().get();
        assert_eq!(reported(&default), EVERYTHING, "{keyword}");
    }
    switch.finish();
}

#[test]
fn grouped_keywords_count_where_no_granular_one_is() {
    let switch = Switch::new(610);
    let peer = start(&switch, config());
    let grouped = [
        ("*TCPUDPChecksumOffloadIPv4", 0..3),
        ("*TCPUDPChecksumOffloadIPv6", 3..5),
    ];
    for (keyword, members) in grouped {
        for value in 0..4 {
            let bare = || {
                let keyword = config().keyword(keyword, value.to_string());
                members
                    .clone()
                    .fold(keyword, |config, index| config.without(CHECKSUMS[index].0))
            };
            let mut expected = EVERYTHING;
            for index in members.clone() {
                expected.checksums[index] = tx_rx(value);
            }
            let port = start(&switch, bare());
            assert_state(&port, &peer, &expected, &format!("{keyword} = {value}"));
            // The granular one is the more exact wish.
            let index = members.start;
            let port = start(&switch, bare().keyword(CHECKSUMS[index].0, "1"));
            expected.checksums[index] = (true, false);
            assert_state(
                &port,
                &peer,
                &expected,
                &format!("{keyword} = {value}, granular"),
            );
        }
    }
    switch.finish();
}

#[test]
fn every_member_of_the_parameters_and_what_remains_of_it() {
    let switch = Switch::new(610);
    let peer = start(&switch, config());
    let port = start(&switch, config());
    let mut expected = EVERYTHING;
    let mut indications = port.adapter.offloads().indications();
    let mut set = |member, value, expected: &Done| {
        let result = port.set(OID_TCP_OFFLOAD_PARAMETERS, &parameters(&[(member, value)]));
        assert_eq!(result.status, NDIS_STATUS_SUCCESS);
        indications += 1;
        assert_eq!(port.adapter.offloads().indications(), indications);
        assert_state(
            &port,
            &peer,
            expected,
            &format!("member {member} = {value}"),
        );
    };
    for (index, (_, member, _)) in CHECKSUMS.into_iter().enumerate() {
        // The last one stays; "no change" changes nothing.
        for value in [4, 1, 0, 4, 3, 2] {
            if value != 0 {
                expected.checksums[index] = tx_rx(value - 1);
            }
            set(member, value, &expected);
        }
    }
    for (index, (_, member, _)) in LARGE_SENDS.into_iter().enumerate() {
        for value in [2, 1, 0, 2, 0, 1] {
            if value != 0 {
                expected.large[index] = value == 2;
            }
            set(member, value, &expected);
        }
    }
    // NDIS has kept the settings as keywords: the adapter would start with them the next time.
    let keywords = CHECKSUMS.iter().map(|(keyword, ..)| *keyword);
    let keywords = keywords.chain(LARGE_SENDS.iter().map(|(keyword, ..)| *keyword));
    let kept = keywords.fold(config(), |config, keyword| {
        config.keyword(keyword, port.adapter.keyword(keyword).expect("it is kept"))
    });
    check(port.adapter.halt());
    let again = start(&switch, kept);
    assert_state(&again, &peer, &expected, "started again");
    switch.finish();
}

#[test]
fn parameters_that_are_refused_change_nothing() {
    let switch = Switch::new(630);
    let port = start(&switch, config());
    let indications = port.adapter.offloads().indications();
    let revision_3 = |members: &[(usize, u8)]| {
        let mut bytes = parameters(&[]);
        bytes.resize(NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_3, 0);
        bytes[1..3].copy_from_slice(&[3, NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_3 as u8]);
        for &(at, value) in members {
            bytes[at] = value;
        }
        bytes
    };
    let invalid = NDIS_STATUS_INVALID_DATA;
    let absent = NDIS_STATUS_NOT_SUPPORTED;
    let mut cases = vec![];
    for (_, member, _) in CHECKSUMS {
        cases.extend([(member, 5, invalid), (member, 255, invalid)]);
    }
    for (_, member, _) in LARGE_SENDS {
        cases.extend([(member, 3, invalid), (member, 255, invalid)]);
    }
    cases.extend([
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV2), 5, invalid),
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV1), 2, absent),
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV1), 5, invalid),
        (
            offset_of!(NDIS_OFFLOAD_PARAMETERS, TcpConnectionIPv4),
            2,
            absent,
        ),
        (
            offset_of!(NDIS_OFFLOAD_PARAMETERS, TcpConnectionIPv4),
            3,
            invalid,
        ),
        (
            offset_of!(NDIS_OFFLOAD_PARAMETERS, TcpConnectionIPv6),
            2,
            absent,
        ),
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, RscIPv4), 2, absent),
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, RscIPv4), 3, invalid),
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, RscIPv6), 2, absent),
        (
            offset_of!(NDIS_OFFLOAD_PARAMETERS, EncapsulatedPacketTaskOffload),
            1,
            absent,
        ),
        (
            offset_of!(NDIS_OFFLOAD_PARAMETERS, EncapsulatedPacketTaskOffload),
            3,
            invalid,
        ),
    ]);
    // Beside something that could be done.
    let beside = (offset_of!(NDIS_OFFLOAD_PARAMETERS, LsoV2IPv4), 1);
    for (member, value, status) in cases {
        let members = [beside, (member, value)];
        let result = port.set(OID_TCP_OFFLOAD_PARAMETERS, &revision_3(&members));
        assert_eq!(result.status, status, "member {member} = {value}");
        let current = port.adapter.offloads().current().unwrap().get();
        assert_eq!(reported(&current), EVERYTHING, "member {member} = {value}");
    }
    // To switch off what is not there is no mistake.
    let off = [
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV1), 1),
        (offset_of!(NDIS_OFFLOAD_PARAMETERS, RscIPv4), 1),
        (
            offset_of!(NDIS_OFFLOAD_PARAMETERS, EncapsulatedPacketTaskOffload),
            2,
        ),
    ];
    assert_eq!(port.adapter.offloads().indications(), indications);
    assert_eq!(
        port.set(OID_TCP_OFFLOAD_PARAMETERS, &revision_3(&off))
            .status,
        NDIS_STATUS_SUCCESS
    );
    drop(port);
    switch.finish();
}

#[test]
fn coexistence_with_ipsec_is_flagged_from_ndis_6_30_on() {
    const TCP: u32 = IPSEC_OFFLOAD_V2_AND_TCP_CHECKSUM_COEXISTENCE;
    const UDP: u32 = IPSEC_OFFLOAD_V2_AND_UDP_CHECKSUM_COEXISTENCE;
    for version in VERSIONS {
        let switch = Switch::new(version);
        for (keywords, expected) in [
            (&[][..], TCP | UDP),
            (&["*IPsecOffloadV2"], 0),
            (&["*TCPChecksumOffloadIPv4"], TCP | UDP),
            (&["*TCPChecksumOffloadIPv4", "*TCPChecksumOffloadIPv6"], UDP),
            (&["*UDPChecksumOffloadIPv4", "*UDPChecksumOffloadIPv6"], TCP),
        ] {
            let off = |config: AdapterConfig, keyword: &&str| config.keyword(*keyword, "0");
            let port = switch.port_with(keywords.iter().fold(config(), off));
            let flags = port.adapter.offloads().current().unwrap().get().Flags;
            let expected = if version < 630 { 0 } else { expected };
            assert_eq!(flags, expected, "NDIS {version}, without {keywords:?}");
        }
        switch.finish();
    }
}
