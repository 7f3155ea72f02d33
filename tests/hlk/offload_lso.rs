//! NDISTest 6.5 - [2 Machine] - OffloadLSO.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, activate_offloads, assert_frames, roomy},
    oob::{CHECKSUM, LARGE_SEND, checksums, checksums_right, large_send, large_send_done},
    packets::{Packet, Transport, nets, tcp},
    switch::{PATIENCE, SwitchPort, VERSIONS, check},
};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::NDIS_STATUS_SUCCESS;

/// Bytes of TCP options.
const TCP_OPTIONS: [usize; 3] = [0, 12, 40];
/// The most payload of a segment; with the longest headers here a frame has 1514 bytes at most.
const MSS: [usize; 4] = [88, 536, 1000, 1220];
/// Segments: few, enough to come from more than one run of the send path, and the last one short or full.
const SEGMENTS: [(usize, usize); 4] = [(2, 1), (3, 0), (17, 33), (40, 0)];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (index, (name, net)) in nets().into_iter().enumerate() {
        let versions = match net {
            ipsecov2_tests::packets::Net::V4(..) => &[1, 2][..],
            ipsecov2_tests::packets::Net::V6(..) => &[2],
        };
        for &version in versions {
            for mixed in [false, true] {
                let beside = if mixed {
                    ", mixed with checksum offload"
                } else {
                    ""
                };
                cases.push(Case::new(
                    format!("LSOv{version}, {name}{beside}"),
                    "with any TCP options, flags, urgent pointer, MSS and number of segments the segments are those of a sender without offload",
                    move |figures| large_sends(index, version, mixed, figures),
                ));
            }
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - OffloadLSO",
        requirement: "Device.Network.LAN.LargeSendOffload",
        checks: "large sends of versions 1 and 2, by IP and TCP options, MSS and segments, alone and mixed with checksum offload",
        cases,
    }
}

/// TCP with random flags and a random urgent pointer: "TCP flags and urgent pointer are randomly generated".
fn random_tcp(random: &mut fastrand::Rng, options: usize) -> Transport {
    let Transport::Tcp(mut header) = tcp(options) else {
        unreachable!()
    };
    header.fin = random.bool();
    header.syn = random.bool();
    header.rst = random.bool();
    header.psh = random.bool();
    header.ack = random.bool();
    header.urg = random.bool();
    header.ece = random.bool();
    header.cwr = random.bool();
    header.urgent_pointer = random.u16(..);
    header.sequence_number = random.u32(..);
    header.window_size = random.u16(..);
    Transport::Tcp(header)
}

/// Statuses and what the lists tell of large sends.
fn complete(port: &SwitchPort, lists: Vec<SendNbl>) -> Vec<(i32, usize)> {
    let count = lists.len();
    let numbered = lists.into_iter().zip(0..).map(|(list, n)| list.cookie(n));
    check(port.open.send(numbered.collect()));
    let machine = port.open.machine().clone();
    let mut sent = check(port.protocol.wait_sent(&machine, count, PATIENCE));
    assert_eq!(sent.len(), count, "sends are not completed");
    sent.sort_by_key(|list| list.cookie);
    let told = sent.iter().map(|list| (list.status, list.info(LARGE_SEND)));
    told.collect()
}

fn large_sends(index: usize, version: u32, mixed: bool, figures: &mut Figures) {
    let ndis = VERSIONS[index % VERSIONS.len()];
    let lan = Lan::with(ndis, roomy(), roomy());
    let Lan { test, support, .. } = &lan;
    activate_offloads(test);
    activate_offloads(support);
    let (to, from) = (support.adapter.mac(), test.adapter.mac());
    let mut random = fastrand::Rng::with_seed(index as u64);
    let mut packet = |options, len| {
        Packet::new(
            nets()[index].clone(),
            random_tcp(&mut random, options),
            len,
            to,
            from,
        )
    };
    let mut segments = 0;
    for options in TCP_OPTIONS {
        for mss in MSS {
            for (count, less) in SEGMENTS {
                let len = mss * count - less;
                let large = packet(options, len);
                let about = format!("{large:?}, MSS {mss}");
                let split = [large.large(version).len() - len];
                let nb = SendNb::new(large.large(version)).split(&split);
                let list = SendNbl::with_net_buffers(vec![nb])
                    .info(LARGE_SEND, large_send(&large, version, mss))
                    .compact();
                let mut lists = vec![list];
                let mut expected = large.segments(mss);
                segments += expected.len();
                assert_eq!(expected.len(), count);
                let mut told = vec![(NDIS_STATUS_SUCCESS, large_send_done(version, len))];
                if mixed {
                    // A packet before and one after it whose checksums the adapter computes.
                    for (at, place) in [(0, 0), (2, expected.len() + 1)] {
                        let small = packet(options, random_length(mss));
                        let list =
                            SendNbl::new(small.unfinished()).info(CHECKSUM, checksums(&small));
                        lists.insert(at, list.compact());
                        expected.insert(place, small.frame());
                        told.insert(at, (NDIS_STATUS_SUCCESS, 0));
                    }
                }
                assert_eq!(complete(test, lists), told, "{about}");
                let received = support.received();
                // The receiver's word of each: etherparse and the driver agree on the checksums.
                let right = checksums_right(&large);
                assert!(
                    received.iter().all(|up| up.info[CHECKSUM] == right),
                    "{about}: a checksum is wrong"
                );
                let bytes: Vec<_> = received.into_iter().map(|up| up.data.concat()).collect();
                assert_frames(&bytes, &expected, &about);
            }
        }
    }
    figures.note("segments", segments);
    lan.finish();
}

/// Of a small packet beside the large one.
const fn random_length(mss: usize) -> usize {
    mss / 3 + 1
}
