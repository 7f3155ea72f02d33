//! NDISTest 6.5 - [1 Machine] - PM_Requirements.

use ipsecov2_tests::{
    hlk::{Case, Job},
    switch::{Switch, VERSIONS, check},
};
use ndis_sim::ndis::PowerState;
use ndis_sys::*;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [1 Machine] - PM_Requirements",
        requirement: "Device.Network.LAN.PM.PowMgmtNDIS",
        checks: "power management is reported as NDIS wants it, and its OIDs are answered accordingly",
        cases: vec![
            Case::new(
                "capabilities",
                "the adapter is power managed: NDIS puts it to sleep and does not halt it",
                |_| capabilities(),
            ),
            Case::new(
                "OID_PNP_CAPABILITIES",
                "no wake-up is reported: nothing could wake the machine",
                |_| pnp_capabilities(),
            ),
            Case::new("OID_PNP_QUERY_POWER", "every state may be entered", |_| {
                query_power()
            }),
            Case::new(
                "OID_PNP_SET_POWER",
                "the device states are entered, what is none is NDIS_STATUS_NOT_ACCEPTED",
                |_| set_power(),
            ),
            Case::new(
                "OID_PM_PARAMETERS",
                "from NDIS 6.20 on it is accepted when it enables nothing, and NDIS_STATUS_INVALID_PARAMETER when it enables what is not there",
                |_| parameters(),
            ),
        ],
    }
}

fn capabilities() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let general = port.adapter.general_attributes().expect("they are set");
        let [old, new] = [
            general.PowerManagementCapabilities.is_null(),
            general.PowerManagementCapabilitiesEx.is_null(),
        ];
        assert_eq!(
            (old, new),
            if version < 620 {
                (false, true)
            } else {
                (true, false)
            }
        );
        check(port.adapter.set_power(PowerState::D3));
        // It is there, and answers.
        let asleep = port.query(OID_GEN_XMIT_OK, 8);
        assert_eq!(asleep.status, NDIS_STATUS_SUCCESS);
        check(port.adapter.set_power(PowerState::D0));
        drop(port);
        switch.finish();
    }
}

fn pnp_capabilities() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let size = size_of::<NDIS_PNP_CAPABILITIES>();
        let answer = port.query(OID_PNP_CAPABILITIES, size);
        assert_eq!(answer.status, NDIS_STATUS_SUCCESS);
        assert_eq!(answer.data(), vec![0; size]);
        drop(port);
        switch.finish();
    }
}

fn query_power() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let answer = port.query(OID_PNP_QUERY_POWER, 4);
        assert_eq!(answer.status, NDIS_STATUS_SUCCESS);
        drop(port);
        switch.finish();
    }
}

fn set_power() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        for state in [-1, 0, 5, 6, 77, i32::MAX] {
            let set = port.set(OID_PNP_SET_POWER, &state.to_le_bytes());
            assert_eq!(set.status, NDIS_STATUS_NOT_ACCEPTED, "{state}");
        }
        for _ in 0..2 {
            check(port.adapter.set_power(PowerState::D3));
            check(port.adapter.set_power(PowerState::D0));
        }
        drop(port);
        switch.finish();
    }
}

fn parameters() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let set = |revision: u8, size: usize, at: usize, value: u32| {
            let mut bytes = vec![0; size];
            bytes[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, revision, size as u8, 0]);
            if at != 0 {
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            port.set(OID_PM_PARAMETERS, &bytes).status
        };
        let sizes = [
            (1, NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1),
            (2, NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_2),
        ];
        for (revision, size) in sizes {
            let nothing = set(revision, size, 0, 0);
            if version < 620 {
                assert_eq!(nothing, NDIS_STATUS_NOT_SUPPORTED);
                continue;
            }
            assert_eq!(nothing, NDIS_STATUS_SUCCESS);
            // EnabledWoLPacketPatterns and all that follows it.
            for at in (4..size).step_by(4) {
                for bit in [0, 1, 31] {
                    let enabled = set(revision, size, at, 1 << bit);
                    assert_eq!(enabled, NDIS_STATUS_INVALID_PARAMETER, "{at}: bit {bit}");
                }
            }
            assert_eq!(set(0, size, 0, 0), NDIS_STATUS_INVALID_PARAMETER);
        }
        drop(port);
        switch.finish();
    }
}
