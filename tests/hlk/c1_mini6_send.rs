//! NDISTest 6.0 - [1 Machine] - 1c_Mini6Send.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{LONGEST, Lan, SHORTEST, Shape, assert_frames, assert_sent, roomy},
    switch::VERSIONS,
};
use ndis_sys::{NDIS_PACKET_TYPE_PROMISCUOUS, OID_GEN_RCV_OK, OID_GEN_XMIT_OK};

/// NET_BUFFER_LISTs in a call.
const LISTS: [usize; 4] = [1, 3, 32, 200];
/// NET_BUFFERs in a list.
const PACKETS: [usize; 3] = [1, 2, 7];
/// MDLs in a NET_BUFFER.
const MDLS: [usize; 4] = [1, 2, 3, 16];
const SIZES: [usize; 6] = [SHORTEST, 61, 128, 590, LONGEST - 1, LONGEST];
const CALLS: u32 = 1;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for lists in LISTS {
        for packets in PACKETS {
            let version = VERSIONS[cases.len() % VERSIONS.len()];
            cases.push(Case::new(
                format!("NET_BUFFER_LISTs per call: {lists}, NET_BUFFERs per list: {packets}"),
                "whatever the number of MDLs and their sizes, every list is completed with success and every frame is on the wire",
                move |figures| send(version, lists, packets, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.0 - [1 Machine] - 1c_Mini6Send",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "sends to a random address, with any number of lists per call, packets per list, MDLs per packet and bytes",
        cases,
    }
}

fn send(version: u32, lists: usize, packets: usize, figures: &mut Figures) {
    let lan = Lan::with(version, roomy(), roomy());
    let Lan { test, support, .. } = &lan;
    support.filter(NDIS_PACKET_TYPE_PROMISCUOUS);
    let nobody = [0x02, 0x5a, 0x13, 0x77, 0x01, 0xc5];
    let mut number = 0;
    for mdls in MDLS {
        for size in SIZES {
            let shape = Shape {
                lists,
                packets,
                mdls,
                size,
            };
            for _ in 0..CALLS {
                let about = format!("{shape:?}");
                let batch = shape.batch(nobody, test.adapter.mac(), number);
                number += shape.frames() as u32;
                assert_sent(&test.send(batch.lists), &about);
                assert_frames(&support.received_bytes(), &batch.frames, &about);
            }
        }
    }
    assert_eq!(test.counter(OID_GEN_XMIT_OK), u64::from(number));
    assert_eq!(test.counter(OID_GEN_RCV_OK), 0);
    figures.note("frames", number);
    lan.finish();
}
