//! NDISTest 6.5 - [2 Machine] - AddressChange.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, Shape, USUAL, Way},
    switch::{VERSIONS, check},
};
use ndis_sys::{
    NDIS_PACKET_TYPE_DIRECTED, NDIS_STATUS_SUCCESS, OID_802_3_CURRENT_ADDRESS,
    OID_802_3_PERMANENT_ADDRESS, OID_GEN_CURRENT_PACKET_FILTER,
};

/// Packets to each address.
const PACKETS: usize = 250;

/// What is written into the registry, and the address that it means if it is valid.
const ADDRESSES: [(&str, &str, Option<[u8; 6]>); 16] = [
    (
        "a local address",
        "02A0B1C2D3E4",
        Some([0x02, 0xa0, 0xb1, 0xc2, 0xd3, 0xe4]),
    ),
    ("another one", "0E0102030405", Some([0x0e, 1, 2, 3, 4, 5])),
    (
        "a global address",
        "00AA00112233",
        Some([0x00, 0xaa, 0x00, 0x11, 0x22, 0x33]),
    ),
    (
        "small letters",
        "02deadbeef01",
        Some([0x02, 0xde, 0xad, 0xbe, 0xef, 1]),
    ),
    (
        "hyphens",
        "02-00-5E-10-00-01",
        Some([0x02, 0x00, 0x5e, 0x10, 0, 1]),
    ),
    (
        "the highest",
        "FEFFFFFFFFFF",
        Some([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ),
    ("zero", "000000000000", None),
    ("broadcast", "FFFFFFFFFFFF", None),
    ("multicast", "01005E000001", None),
    ("local multicast", "030000000001", None),
    ("one byte less", "02A0B1C2D3", None),
    ("one byte more", "02A0B1C2D3E4F5", None),
    ("half a byte", "0", None),
    ("nothing", "", None),
    ("no number", "QWERTYUIOPAS", None),
    ("a number and something else", "02A0B1C2ZZZZ", None),
];

/// The job.
pub fn job() -> Job {
    let cases = ADDRESSES.into_iter().map(|(name, text, address)| {
        let checks = match address {
            Some(_) => "it is the current address, frames to it arrive and frames to the old one do not; the permanent one stays",
            None => "it changes nothing: the adapter starts with the address that it had",
        };
        Case::new(format!("{name} ({text})"), checks, move |_| {
            change(text, address);
        })
    });
    Job {
        name: "NDISTest 6.5 - [2 Machine] - AddressChange",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "valid and invalid values of NetworkAddress, between a stop and a start of the driver",
        cases: cases.collect(),
    }
}

/// The current and the permanent address, by OID and as NDIS was told.
fn addresses(lan: &Lan) -> [[u8; 6]; 2] {
    let port = &lan.test;
    let [current, permanent] =
        [OID_802_3_CURRENT_ADDRESS, OID_802_3_PERMANENT_ADDRESS].map(|oid| {
            let answer = port.query(oid, 6);
            assert_eq!(answer.status, NDIS_STATUS_SUCCESS);
            <[u8; 6]>::try_from(answer.data()).expect("6 bytes")
        });
    let general = port.adapter.general_attributes().expect("they are set");
    assert_eq!(general.CurrentMacAddress[..6], current);
    assert_eq!(general.PermanentMacAddress[..6], permanent);
    [current, permanent]
}

/// Stops and starts the driver with this in the registry.
fn restart(lan: &Lan, text: Option<&str>) {
    let port = &lan.test;
    check(port.adapter.halt());
    match text {
        Some(text) => port.adapter.set_keyword("NetworkAddress", text),
        None => port.adapter.remove_keyword("NetworkAddress"),
    }
    check(port.adapter.enable());
    let filter = NDIS_PACKET_TYPE_DIRECTED.to_le_bytes();
    let set = port.set(OID_GEN_CURRENT_PACKET_FILTER, &filter);
    assert_eq!(set.status, NDIS_STATUS_SUCCESS);
}

/// How many of the frames to an address arrive at the tested adapter.
fn arrive(lan: &Lan, to: [u8; 6]) -> usize {
    let shape = Shape {
        lists: PACKETS,
        packets: 1,
        mdls: 1,
        size: 100,
    };
    let (from, test) = lan.ends(Way::ToTest);
    let batch = shape.batch(to, from.adapter.mac(), 0);
    let statuses = from.send(batch.lists);
    assert!(statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS));
    let received = test.received_bytes();
    assert!(received.is_empty() || received == batch.frames);
    received.len()
}

fn change(text: &str, address: Option<[u8; 6]>) {
    for version in VERSIONS {
        let lan = Lan::start(version);
        lan.test.filter(USUAL & NDIS_PACKET_TYPE_DIRECTED);
        let [before, permanent] = addresses(&lan);
        assert_eq!(before, permanent);
        restart(&lan, Some(text));
        let expected = address.unwrap_or(before);
        assert_eq!(addresses(&lan), [expected, permanent]);
        assert_eq!(arrive(&lan, expected), PACKETS);
        if address.is_some() {
            assert_eq!(arrive(&lan, before), 0, "the old address");
        }
        restart(&lan, None);
        assert_eq!(addresses(&lan), [before, permanent], "as at the start");
        assert_eq!(arrive(&lan, before), PACKETS);
        lan.finish();
    }
}
