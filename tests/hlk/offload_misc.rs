//! NDISTest 6.5 - [1 Machine] - OffloadMisc.

use std::mem::offset_of;

use ipsecov2_tests::{
    hlk::{Case, Job},
    stateless::{
        CHECKSUMS, Done, EVERYTHING, LARGE_SENDS, assert_state, parameters, reported, start,
    },
    switch::{Switch, SwitchPort, VERSIONS, config},
};
use ndis_sim::ndis::AdapterConfig;
use ndis_sys::*;

/// The keyword of IPsec, which has no member among the stateless offloads.
const IPSEC: &str = "*IPsecOffloadV2";

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        cases.push(Case::new(
            format!("everything off, then on again, NDIS {version}"),
            "the current configuration is flipped by OID_TCP_OFFLOAD_PARAMETERS, the driver is unloaded and loaded: it stays; and so back",
            move |_| flip_all(version),
        ));
    }
    for (index, (keyword, member, _)) in CHECKSUMS.into_iter().enumerate() {
        cases.push(Case::new(
            format!("{keyword} alone"),
            "one offload is flipped, and after unload and load it is what it was set to, in the report and in what is done",
            move |_| flip_one(keyword, member, 1, move |done| done.checksums[index] = (false, false)),
        ));
    }
    for (index, (keyword, member, _)) in LARGE_SENDS.into_iter().enumerate() {
        cases.push(Case::new(
            format!("{keyword} alone"),
            "one offload is flipped, and after unload and load it is what it was set to, in the report and in what is done",
            move |_| flip_one(keyword, member, 1, move |done| done.large[index] = false),
        ));
    }
    cases.push(Case::new(
        "*IPsecOffloadV2 alone",
        "AH and ESP are flipped, and after unload and load they are what they were set to",
        |_| flip_ipsec(),
    ));
    Job {
        name: "NDISTest 6.5 - [1 Machine] - OffloadMisc",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "settings of offloads persist through unload and load of the driver",
        cases,
    }
}

fn set(port: &SwitchPort, members: &[(usize, u8)]) {
    let result = port.set(OID_TCP_OFFLOAD_PARAMETERS, &parameters(members));
    assert_eq!(result.status, NDIS_STATUS_SUCCESS);
}

/// What NDIS has kept in the registry of an adapter, for it to start with after the driver was loaded anew.
fn kept(port: &SwitchPort) -> AdapterConfig {
    let checksums = CHECKSUMS.iter().map(|(keyword, ..)| *keyword);
    let large = LARGE_SENDS.iter().map(|(keyword, ..)| *keyword);
    let all = checksums.chain(large).chain([IPSEC]);
    all.fold(config(), |config, keyword| {
        match port.adapter.keyword(keyword) {
            Some(value) => config.keyword(keyword, value),
            None => config.without(keyword),
        }
    })
}

fn current(port: &SwitchPort) -> NDIS_OFFLOAD {
    port.adapter.offloads().current().expect("a report").get()
}

/// Unloads the driver, and loads it on a machine of its own with that configuration.
fn reload(version: u32, switch: Switch, port: SwitchPort) -> (Switch, SwitchPort) {
    let config = kept(&port);
    drop(port);
    switch.finish();
    let switch = Switch::new(version);
    let port = start(&switch, config);
    (switch, port)
}

fn members(value: u8, large: u8) -> Vec<(usize, u8)> {
    let checksums = CHECKSUMS.iter().map(|(_, member, _)| (*member, value));
    let large = LARGE_SENDS.iter().map(|(_, member, _)| (*member, large));
    checksums.chain(large).collect()
}

fn flip_all(version: u32) {
    let switch = Switch::new(version);
    let port = start(&switch, config());
    assert_eq!(reported(&current(&port)), EVERYTHING);
    let nothing = Done {
        checksums: [(false, false); 5],
        large: [false; 3],
    };
    let ipsec = offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV2);
    let mut off = members(1, 1);
    off.push((ipsec, NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED));
    set(&port, &off);
    let (switch, port) = reload(version, switch, port);
    let peer = start(&switch, config());
    assert_state(&port, &peer, &nothing, "flipped and loaded anew");
    let of = current(&port).IPsecV2;
    assert_eq!((of.Ah, of.Esp), (0, 0));
    drop(peer);
    let mut on = members(4, 2);
    on.push((ipsec, NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED));
    set(&port, &on);
    let (switch, port) = reload(version, switch, port);
    let peer = start(&switch, config());
    assert_state(&port, &peer, &EVERYTHING, "restored and loaded anew");
    let of = current(&port).IPsecV2;
    assert_eq!((of.Ah, of.Esp), (1, 1));
    drop((port, peer));
    switch.finish();
}

fn flip_one(keyword: &str, member: usize, off: u8, change: impl Fn(&mut Done)) {
    let switch = Switch::new(630);
    let port = start(&switch, config());
    set(&port, &[(member, off)]);
    assert_eq!(port.adapter.keyword(keyword).as_deref(), Some("0"));
    let (switch, port) = reload(630, switch, port);
    let peer = start(&switch, config());
    let mut expected = EVERYTHING;
    change(&mut expected);
    assert_state(&port, &peer, &expected, keyword);
    drop((port, peer));
    switch.finish();
}

fn flip_ipsec() {
    let member = offset_of!(NDIS_OFFLOAD_PARAMETERS, IPsecV2);
    for (value, ah, esp) in [
        (NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED, 0, 0),
        (NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED, 1, 0),
        (NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED, 0, 1),
        (NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED, 1, 1),
    ] {
        let switch = Switch::new(630);
        let port = start(&switch, config());
        set(&port, &[(member, value)]);
        let (switch, port) = reload(630, switch, port);
        let of = current(&port).IPsecV2;
        assert_eq!((of.Ah, of.Esp), (ah, esp));
        drop(port);
        switch.finish();
    }
}
