//! NDISTest 6.5 - [2 Machine] - ShortPackets.

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, SHORTEST, padded},
    switch::{VERSIONS, frame},
};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::{
    Ieee8021QNetBufferListInfo, NDIS_PACKET_TYPE_PROMISCUOUS, NDIS_STATUS_SUCCESS,
    OID_GEN_BYTES_XMIT,
};

/// The shortest packet: an Ethernet header.
const HEADER: usize = 14;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for version in VERSIONS {
        cases.push(Case::new(
            format!("every length below the minimum, NDIS {version}"),
            "packets of 14 to 61 bytes arrive padded with constant data to 60, whatever was in the buffers before",
            move |_| every_length(version),
        ));
    }
    cases.push(Case::new(
        "in any number of buffers",
        "a short packet may be split at any byte, and what lies behind it in its buffer is not sent",
        |_| split(),
    ));
    cases.push(Case::new(
        "with a tag",
        "the tag counts to the minimum length of the medium",
        |_| tagged(),
    ));
    Job {
        name: "NDISTest 6.5 - [2 Machine] - ShortPackets",
        requirement: "Device.Network.LAN.Base.ShortPacketPadding",
        checks: "packets that are shorter than the medium allows are padded with constant data, not with old bytes",
        cases,
    }
}

/// Both adapters have had other bytes in all their buffers.
fn soiled(version: u32) -> Lan {
    let lan = Lan::start(version);
    lan.support.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    let bytes = [[0xee; 12].as_slice(), &[0x88, 0xb5], &[0xaa; 200]].concat();
    for _ in 0..3 {
        let lists = (0..200).map(|_| SendNbl::new(bytes.clone()).compact());
        let statuses = lan.test.send(lists.collect());
        assert!(statuses.iter().all(|&status| status == NDIS_STATUS_SUCCESS));
        assert_eq!(lan.support.received().len(), 200);
    }
    lan
}

fn every_length(version: u32) {
    let lan = soiled(version);
    let Lan { test, support, .. } = &lan;
    let before = test.counter(OID_GEN_BYTES_XMIT);
    let mut bytes = 0;
    for length in HEADER..=SHORTEST + 1 {
        let sent = frame(support.adapter.mac(), test.adapter.mac(), length);
        test.send_frame(&sent);
        assert_eq!(support.received_bytes(), [padded(sent)], "{length} bytes");
        bytes += length.max(SHORTEST) as u64;
    }
    // What was sent is what was on the wire.
    assert_eq!(test.counter(OID_GEN_BYTES_XMIT) - before, bytes);
    lan.finish();
}

fn split() {
    let lan = soiled(630);
    let Lan { test, support, .. } = &lan;
    for length in [HEADER, 30, SHORTEST - 1] {
        let sent = frame(support.adapter.mac(), test.adapter.mac(), length);
        let nb = || SendNb::new(sent.clone()).slack(40);
        let shapes = (0..=length).map(|at| nb().split(&[at]));
        let shapes = shapes.chain([nb().split_every(1), nb().data_offset(33)]);
        for (at, shape) in shapes.enumerate() {
            let list = SendNbl::with_net_buffers(vec![shape]);
            assert_eq!(test.send(vec![list]), [NDIS_STATUS_SUCCESS]);
            let received = support.received_bytes();
            assert_eq!(
                received,
                [padded(sent.clone())],
                "{length} bytes, shape {at}"
            );
        }
    }
    lan.finish();
}

fn tagged() {
    const TAG: usize = Ieee8021QNetBufferListInfo as usize;
    let lan = soiled(630);
    let Lan { test, support, .. } = &lan;
    for length in HEADER..=SHORTEST {
        let sent = frame(support.adapter.mac(), test.adapter.mac(), length);
        let list = SendNbl::new(sent.clone()).info(TAG, 5);
        assert_eq!(test.send(vec![list]), [NDIS_STATUS_SUCCESS]);
        // On the wire it has 4 bytes more, which are taken out again.
        let mut expected = sent;
        expected.resize(length.max(SHORTEST - 4), 0);
        assert_eq!(support.received_bytes(), [expected], "{length} bytes");
    }
    lan.finish();
}
