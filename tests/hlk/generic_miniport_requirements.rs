//! NDISTest 6.5 - [1 Machine] - GenericMiniportRequirements.

use ipsecov2_tests::{
    hlk::{Case, Job},
    inf,
    switch::{Switch, VERSIONS},
};
use ndis_sim::inf::Inf;
use ndis_sys::{OID_GEN_DRIVER_VERSION, OID_GEN_VENDOR_DESCRIPTION, OID_GEN_VENDOR_DRIVER_VERSION};
use tcpip::lab::HARDWARE_ID;

/// What stands for something else in the names of performance counters, which are made of ifDesc.
const INVALID: [char; 6] = ['(', ')', '#', '/', '\\', '*'];
/// MAX_INTERFACE_NAME and IF_MAX_STRING_SIZE: characters of ifDescr.
const LONGEST: usize = 255;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [1 Machine] - GenericMiniportRequirements",
        requirement: "Device.Network.DevFund.NdisVersion",
        checks: "the description has no invalid characters, and the miniport is of NDIS 6",
        cases: vec![
            Case::new(
                "ifDesc",
                "the device's description has no characters that the names of performance counters cannot have",
                |_| description(),
            ),
            Case::new(
                "vendor description",
                "OID_GEN_VENDOR_DESCRIPTION is a terminated ANSI string without such characters",
                |_| vendor_description(),
            ),
            Case::new(
                "NDIS version",
                "the driver registers with NDIS 6.1 or later, and answers OID_GEN_DRIVER_VERSION with the version that it has registered",
                |_| version(),
            ),
        ],
    }
}

fn assert_valid(text: &str) {
    assert!(!text.is_empty() && text.len() <= LONGEST, "{text:?}");
    for character in text.chars() {
        assert!(
            character.is_ascii_graphic() || character == ' ',
            "{character:?} in {text:?}"
        );
        assert!(!INVALID.contains(&character), "{character:?} in {text:?}");
    }
    assert_eq!(text, text.trim());
}

fn description() {
    let inf = Inf::load(&inf()).expect("the INF is sound");
    let install = inf.install(HARDWARE_ID).expect("the device is in it");
    assert_valid(&install.description);
}

fn vendor_description() {
    let switch = Switch::new(630);
    let port = switch.port();
    let answer = port.query(OID_GEN_VENDOR_DESCRIPTION, 256);
    let (end, text) = answer.data().split_last().expect("a string");
    assert_eq!(*end, 0, "it is not terminated");
    assert_valid(std::str::from_utf8(text).expect("ANSI"));
    let version = port.query(OID_GEN_VENDOR_DRIVER_VERSION, 4).u32();
    assert_ne!(version, Some(0));
    drop(port);
    switch.finish();
}

fn version() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let (major, minor) = switch.driver.registered_version();
        assert!((major, minor) >= (6, 1), "NDIS {major}.{minor}");
        // 6.1 is 610.
        let number = u32::from(major) * 100 + u32::from(minor) * if minor < 10 { 10 } else { 1 };
        assert_eq!(number, version);
        let port = switch.port();
        let answer = port.query(OID_GEN_DRIVER_VERSION, 2);
        assert_eq!(answer.data(), [minor, major]);
        drop(port);
        switch.finish();
    }
}
