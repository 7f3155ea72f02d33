//! NDISTest 6.5 - [2 Machine] - ConfigCheck.

use ipsecov2_tests::{
    hlk::{Case, Job},
    inf,
    lan::Lan,
    switch::VERSIONS,
};
use ndis_sim::inf::{Inf, RegValue, lookup};
use ndis_sys::*;
use tcpip::lab::HARDWARE_ID;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [2 Machine] - ConfigCheck",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "test and support adapter are installed and connected as the other jobs need it",
        cases: vec![
            Case::new(
                "installation",
                "the INF has the mandatory keywords, every advanced property has a default among its values, and the adapter agrees with them",
                |_| installation(),
            ),
            Case::new(
                "adapters",
                "both adapters run on Ethernet at the same speed, connected, each with an address of its own",
                |_| adapters(),
            ),
            Case::new(
                "connection",
                "frames go both ways, and the support adapter can be promiscuous",
                |_| connection(),
            ),
        ],
    }
}

fn installation() {
    let inf = Inf::load(&inf()).expect("the INF is sound");
    let install = inf.install(HARDWARE_ID).expect("the device is in it");
    let lan = Lan::start(630);
    let general = lan.test.adapter.general_attributes().expect("they are set");
    for (keyword, value) in [
        ("*IfType", u32::from(general.IfType)),
        ("*MediaType", general.MediaType as u32),
        ("*PhysicalMediaType", general.PhysicalMediumType as u32),
    ] {
        let of_inf = lookup(&install.adapter, keyword);
        assert_eq!(of_inf, Some(&RegValue::Dword(value)), "{keyword}");
    }
    for param in &install.params {
        let Some(default) = &param.default else {
            assert!(param.optional, "{} has no default", param.name);
            continue;
        };
        let stored = lookup(&install.adapter, &param.name);
        assert_eq!(
            stored,
            Some(&RegValue::Sz(default.clone())),
            "{}",
            param.name
        );
        match param.kind.as_str() {
            "enum" => assert!(param.choices.iter().any(|(value, _)| value == default)),
            "int" => {
                let number = default.parse::<u64>().expect("a number");
                let range = param.min.expect("Min")..=param.max.expect("Max");
                assert!(range.contains(&number), "{}", param.name);
            }
            kind => panic!("{} is of type {kind}", param.name),
        }
    }
    lan.finish();
}

fn adapters() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let [test, support] = [&lan.test, &lan.support];
        for port in [test, support] {
            let general = port.adapter.general_attributes().expect("they are set");
            assert_eq!(general.MediaType, NdisMedium802_3);
            assert_eq!(u32::from(general.IfType), IF_TYPE_ETHERNET_CSMACD as u32);
            assert_eq!(general.MediaConnectState, MediaConnectStateConnected);
            assert_eq!(general.MediaDuplexState, MediaDuplexStateFull);
            assert_eq!(general.MacAddressLength, 6);
            let status = port.query(OID_GEN_HARDWARE_STATUS, 4).u32();
            assert_eq!(status, Some(NdisHardwareStatusReady as u32));
            let size = port.query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4).u32();
            assert_eq!(size, Some(general.MtuSize + 14));
        }
        assert_ne!(test.adapter.mac(), support.adapter.mac());
        let speed = |oid| [test, support].map(|port| port.query(oid, 4).u32());
        let [of_test, of_support] = speed(OID_GEN_LINK_SPEED);
        assert!(of_test == of_support && of_test > Some(0));
        lan.finish();
    }
}

fn connection() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        lan.connected("as installed");
        lan.support.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
        let stranger = ipsecov2_tests::lan::numbered([2; 6], lan.test.adapter.mac(), 1, 200);
        lan.test.send_frame(&stranger);
        assert_eq!(lan.support.received_bytes(), [stranger]);
        lan.finish();
    }
}
