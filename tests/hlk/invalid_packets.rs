//! NDISTest 6.5 - [2 Machine] - InvalidPackets.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{LONGEST, Lan, statistics::Statistics},
    switch::{VERSIONS, frame},
};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::{
    Ieee8021QNetBufferListInfo, NDIS_STATUS_FAILURE, NDIS_STATUS_INVALID_LENGTH,
    NDIS_STATUS_SUCCESS, TcpIpChecksumNetBufferListInfo, TcpLargeSendNetBufferListInfo,
};

type Make = fn(&Lan) -> SendNbl;

fn bytes(lan: &Lan, length: usize) -> Vec<u8> {
    frame(lan.support.adapter.mac(), lan.test.adapter.mac(), length)
}

/// What is sent, how it ends, and whether anything of it is on the wire.
const PACKETS: [(&str, i32, Make); 14] = [
    ("no bytes", NDIS_STATUS_FAILURE, |_| SendNbl::new(vec![])),
    ("no MDL", NDIS_STATUS_FAILURE, |_| {
        SendNbl::with_net_buffers(vec![SendNb::without_mdl()])
    }),
    ("one byte", NDIS_STATUS_FAILURE, |lan| {
        SendNbl::new(bytes(lan, 1))
    }),
    ("an address and no more", NDIS_STATUS_FAILURE, |lan| {
        SendNbl::new(bytes(lan, 6))
    }),
    ("a byte less than a header", NDIS_STATUS_FAILURE, |lan| {
        SendNbl::new(bytes(lan, 13))
    }),
    (
        "less than a header, in empty and one-byte buffers",
        NDIS_STATUS_FAILURE,
        |lan| {
            let nb = SendNb::new(bytes(lan, 13)).split(&[0, 1, 0, 1, 1, 0]);
            SendNbl::with_net_buffers(vec![nb])
        },
    ),
    (
        "a byte more than the longest",
        NDIS_STATUS_INVALID_LENGTH,
        |lan| SendNbl::new(bytes(lan, LONGEST + 1)),
    ),
    ("64 KB", NDIS_STATUS_INVALID_LENGTH, |lan| {
        SendNbl::new(bytes(lan, 65_536))
    }),
    ("a megabyte", NDIS_STATUS_INVALID_LENGTH, |lan| {
        SendNbl::new(bytes(lan, 1 << 20))
    }),
    (
        "too long with the header that its tag makes room for",
        NDIS_STATUS_INVALID_LENGTH,
        |lan| {
            let mut bytes = bytes(lan, LONGEST + 5);
            bytes[12..16].copy_from_slice(&[0x81, 0, 0, 7]);
            SendNbl::new(bytes)
        },
    ),
    (
        "a checksum of what is no IP packet",
        NDIS_STATUS_FAILURE,
        |lan| {
            let asked = 1 | 1 << 2 | 1 << 4 | 34 << 16;
            SendNbl::new(bytes(lan, 200)).info(TcpIpChecksumNetBufferListInfo as usize, asked)
        },
    ),
    (
        "a large send of what is no IP packet",
        NDIS_STATUS_FAILURE,
        |lan| {
            let asked = 536 | 34 << 20 | 1 << 30;
            SendNbl::new(bytes(lan, 3000)).info(TcpLargeSendNetBufferListInfo as usize, asked)
        },
    ),
    ("a large send without bytes", NDIS_STATUS_FAILURE, |_| {
        SendNbl::new(vec![]).info(TcpLargeSendNetBufferListInfo as usize, 536 | 54 << 20)
    }),
    ("a tag for less than a header", NDIS_STATUS_FAILURE, |lan| {
        SendNbl::new(bytes(lan, 13)).info(Ieee8021QNetBufferListInfo as usize, 7 | 5 << 4)
    }),
];

/// The job.
pub fn job() -> Job {
    let cases = PACKETS.into_iter().map(|(name, status, make)| {
        Case::new(
            name,
            "the list is completed with an error that is counted, nothing goes out, and the lists around it do",
            move |_| refused(status, make),
        )
    });
    Job {
        name: "NDISTest 6.5 - [2 Machine] - InvalidPackets",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "packets that cannot be sent are given back with an error and harm nobody",
        cases: cases.collect(),
    }
}

fn refused(status: i32, make: Make) {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let good = |lan: &Lan| SendNbl::new(bytes(lan, 100));
        let statuses = lan.test.send(vec![good(&lan), make(&lan), good(&lan)]);
        assert_eq!(statuses, [NDIS_STATUS_SUCCESS, status, NDIS_STATUS_SUCCESS]);
        let expected = vec![bytes(&lan, 100); 2];
        assert_eq!(lan.support.received_bytes(), expected);
        let mut statistics = Statistics::default();
        for _ in 0..2 {
            statistics.sent(lan.support.adapter.mac(), 100);
        }
        statistics.out_errors = 1;
        assert_eq!(Statistics::of(&lan.test), statistics);
        lan.connected("afterwards");
        lan.finish();
    }
}
