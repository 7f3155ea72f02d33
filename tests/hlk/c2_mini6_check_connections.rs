//! NDISTest 6.0 - [2 Machine] - 2c_Mini6CheckConnections.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, Shape, Way},
    switch::VERSIONS,
};
use ndis_sys::{OID_GEN_RCV_OK, OID_GEN_XMIT_OK};

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        for way in Way::BOTH {
            let from = match way {
                Way::FromTest => "the test card",
                Way::ToTest => "the support card",
            };
            cases.push(Case::new(
                format!("100 NET_BUFFER_LISTs from {from}, NDIS {version}"),
                "100 lists of one NET_BUFFER each are sent, all of them completed with success, and all of them arrive",
                move |_| check(version, way),
            ));
        }
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_Mini6CheckConnections",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "basic connectivity: the two cards are connected, and 100 sends make it through",
        cases,
    }
}

fn check(version: u32, way: Way) {
    let lan = Lan::start(version);
    let shape = Shape {
        lists: 100,
        packets: 1,
        mdls: 1,
        size: 512,
    };
    let (from, to) = lan.ends(way);
    let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), 0);
    lan.carry(way, batch, "connectivity");
    assert_eq!(from.counter(OID_GEN_XMIT_OK), 100);
    assert_eq!(to.counter(OID_GEN_RCV_OK), 100);
    lan.finish();
}
