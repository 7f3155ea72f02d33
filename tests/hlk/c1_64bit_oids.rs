//! NDISTest 6.0 - [1 Machine] - 1c_64BitOIDs.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, Shape, Way},
    switch::VERSIONS,
};
use ndis_sys::*;

/// Those that the HLK queries, and the others of which "General Statistics" wants 64 bits of an adapter of a
/// gigabit and more.
const COUNTERS: [(&str, u32); 16] = [
    ("OID_GEN_XMIT_OK", OID_GEN_XMIT_OK),
    ("OID_GEN_RCV_OK", OID_GEN_RCV_OK),
    ("OID_GEN_DIRECTED_BYTES_XMIT", OID_GEN_DIRECTED_BYTES_XMIT),
    ("OID_GEN_DIRECTED_FRAMES_XMIT", OID_GEN_DIRECTED_FRAMES_XMIT),
    ("OID_GEN_MULTICAST_BYTES_XMIT", OID_GEN_MULTICAST_BYTES_XMIT),
    (
        "OID_GEN_MULTICAST_FRAMES_XMIT",
        OID_GEN_MULTICAST_FRAMES_XMIT,
    ),
    ("OID_GEN_BROADCAST_BYTES_XMIT", OID_GEN_BROADCAST_BYTES_XMIT),
    (
        "OID_GEN_BROADCAST_FRAMES_XMIT",
        OID_GEN_BROADCAST_FRAMES_XMIT,
    ),
    ("OID_GEN_DIRECTED_BYTES_RCV", OID_GEN_DIRECTED_BYTES_RCV),
    ("OID_GEN_DIRECTED_FRAMES_RCV", OID_GEN_DIRECTED_FRAMES_RCV),
    ("OID_GEN_MULTICAST_BYTES_RCV", OID_GEN_MULTICAST_BYTES_RCV),
    ("OID_GEN_MULTICAST_FRAMES_RCV", OID_GEN_MULTICAST_FRAMES_RCV),
    ("OID_GEN_BROADCAST_BYTES_RCV", OID_GEN_BROADCAST_BYTES_RCV),
    ("OID_GEN_BROADCAST_FRAMES_RCV", OID_GEN_BROADCAST_FRAMES_RCV),
    ("OID_GEN_BYTES_XMIT", OID_GEN_BYTES_XMIT),
    ("OID_GEN_BYTES_RCV", OID_GEN_BYTES_RCV),
];

/// The job.
pub fn job() -> Job {
    let cases = COUNTERS.map(|(name, oid)| {
        Case::new(
            name,
            "a query with 0, 4 and 8 bytes gets nothing, the low half, and the whole, and is told that 8 are needed",
            move |_| query(oid),
        )
    });
    Job {
        name: "NDISTest 6.0 - [1 Machine] - 1c_64BitOIDs",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the counters of an adapter of a gigabit and more have 64 bits, and answer short queries as documented",
        cases: cases.into(),
    }
}

fn query(oid: u32) {
    for version in VERSIONS {
        let lan = Lan::start(version);
        // So that the counter is not zero; of group addresses it may be.
        let shape = Shape {
            lists: 5,
            packets: 1,
            mdls: 1,
            size: 600,
        };
        for way in Way::BOTH {
            let (from, to) = lan.ends(way);
            let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), 0);
            lan.carry(way, batch, "before");
        }
        let [none, half, whole] = [0, 4, 8].map(|room| lan.test.query(oid, room));
        let refused = [NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_BUFFER_TOO_SHORT];
        assert!(refused.contains(&none.status), "{:#x}", none.status);
        assert_eq!((none.bytes_needed, none.bytes_written), (8, 0));
        assert_eq!(half.status, NDIS_STATUS_SUCCESS);
        assert_eq!((half.bytes_needed, half.bytes_written), (8, 4));
        assert_eq!(whole.status, NDIS_STATUS_SUCCESS);
        assert_eq!(whole.bytes_written, 8);
        let value = whole.u64().expect("8 bytes");
        assert_eq!(half.u32(), Some(value as u32), "the low half");
        if [OID_GEN_XMIT_OK, OID_GEN_RCV_OK].contains(&oid) {
            assert_eq!(value, 5);
        }
        lan.finish();
    }
}
