//! NDISTest 6.0 - [2 Machine] - 2c_Mini6SendRecv.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{LONGEST, Lan, SHORTEST, Shape, Way, roomy},
    switch::VERSIONS,
};
use ndis_sys::{OID_GEN_RCV_NO_BUFFER, OID_GEN_RCV_OK};

const LISTS: [usize; 4] = [1, 2, 16, 120];
const PACKETS: [usize; 3] = [1, 3, 10];
const BUFFERS: [usize; 3] = [1, 2, 5];
const SIZES: [usize; 5] = [SHORTEST, 64, 250, 1000, LONGEST];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for lists in LISTS {
        for packets in PACKETS {
            let version = VERSIONS[cases.len() % VERSIONS.len()];
            cases.push(Case::new(
                format!("NET_BUFFER_LISTs per call: {lists}, NET_BUFFERs per list: {packets}"),
                "whatever the number and sizes of data buffers, the test card receives every packet, unchanged and in order",
                move |figures| receive(version, lists, packets, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_Mini6SendRecv",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the support card sends any number of lists per call, packets per list, buffers per packet and bytes: all are received",
        cases,
    }
}

fn receive(version: u32, lists: usize, packets: usize, figures: &mut Figures) {
    let lan = Lan::with(version, roomy(), roomy());
    let (from, to) = lan.ends(Way::ToTest);
    let mut number = 0;
    for mdls in BUFFERS {
        for size in SIZES {
            let shape = Shape {
                lists,
                packets,
                mdls,
                size,
            };
            let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), number);
            number += shape.frames() as u32;
            lan.carry(Way::ToTest, batch, &format!("{shape:?}"));
        }
    }
    assert_eq!(to.counter(OID_GEN_RCV_OK), u64::from(number));
    assert_eq!(to.counter(OID_GEN_RCV_NO_BUFFER), 0);
    figures.note("frames", number);
    lan.finish();
}
