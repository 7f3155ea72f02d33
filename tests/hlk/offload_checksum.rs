//! NDISTest 6.5 - [2 Machine] - OffloadChecksum.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, activate_offloads, padded},
    oob::{CHECKSUM, IP_FAILED, TCP_FAILED, UDP_FAILED, checksums, checksums_right},
    packets::{Net, Packet, Transport, nets, tcp, udp},
    switch::VERSIONS,
};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::NDIS_STATUS_SUCCESS;

const LENGTHS: [usize; 9] = [0, 1, 2, 3, 64, 255, 256, 999, 1200];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (index, (name, _)) in nets().into_iter().enumerate() {
        for transport in TRANSPORTS {
            let called = transport.name();
            cases.push(Case::new(
                format!("send, {name}, {called}"),
                "the checksums that are left to the adapter are those of other software, whatever the length and the buffers",
                move |figures| send(index, transport, figures),
            ));
            cases.push(Case::new(
                format!("receive, {name}, {called}"),
                "a packet with right checksums is told to be right, one with a wrong one to be wrong, and both come up unchanged",
                move |figures| receive(index, transport, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - OffloadChecksum",
        requirement: "Device.Network.LAN.ChecksumOffload",
        checks: "checksums of IPv4, TCP and UDP, sent and received, with options and extension headers",
        cases,
    }
}

#[derive(Clone, Copy)]
enum Over {
    Tcp(usize),
    Udp,
}

const TRANSPORTS: [Over; 4] = [Over::Tcp(0), Over::Tcp(12), Over::Tcp(40), Over::Udp];

impl Over {
    fn name(self) -> String {
        match self {
            Self::Tcp(0) => "TCP".to_owned(),
            Self::Tcp(options) => format!("TCP with {options} bytes of options"),
            Self::Udp => "UDP".to_owned(),
        }
    }

    fn header(self) -> Transport {
        match self {
            Self::Tcp(options) => tcp(options),
            Self::Udp => udp(),
        }
    }
}

fn start(version: u32) -> Lan {
    let lan = Lan::start(version);
    activate_offloads(&lan.test);
    activate_offloads(&lan.support);
    lan
}

fn net(index: usize) -> (&'static str, Net) {
    nets().swap_remove(index)
}

fn send(index: usize, transport: Over, figures: &mut Figures) {
    let version = VERSIONS[index % VERSIONS.len()];
    let lan = start(version);
    let Lan { test, support, .. } = &lan;
    let (to, from) = (support.adapter.mac(), test.adapter.mac());
    for len in LENGTHS {
        let packet = Packet::new(net(index), transport.header(), len, to, from);
        let nb = || SendNb::new(packet.unfinished());
        let shapes = [
            nb(),
            nb().split(&[packet.transport_offset()]),
            nb().split_every(1),
            nb().split(&[15, 20, 0, 7]).data_offset(3).slack(5),
        ];
        let list = SendNbl::with_net_buffers(shapes.to_vec())
            .info(CHECKSUM, checksums(&packet))
            .compact();
        assert_eq!(test.send(vec![list]), [NDIS_STATUS_SUCCESS], "{packet:?}");
        let received = support.received();
        assert_eq!(received.len(), shapes.len());
        for up in received {
            assert_eq!(up.data.concat(), padded(packet.frame()), "{packet:?}");
            assert_eq!(up.info[CHECKSUM], checksums_right(&packet), "{packet:?}");
        }
    }
    figures.note("packets", LENGTHS.len() * 4);
    lan.finish();
}

fn receive(index: usize, transport: Over, figures: &mut Figures) {
    let version = VERSIONS[index % VERSIONS.len()];
    let lan = start(version);
    let Lan { test, support, .. } = &lan;
    let (to, from) = (test.adapter.mac(), support.adapter.mac());
    let mut count = 0;
    for len in LENGTHS {
        let packet = Packet::new(net(index), transport.header(), len, to, from);
        let right = checksums_right(&packet);
        let mut frames = vec![(packet.frame(), right)];
        // The checksum itself, the ports, and the last byte of the payload.
        let at = packet.transport_offset();
        let field = at + if packet.is_tcp() { 16 } else { 6 };
        for wrong in [field, field + 1, at, packet.frame().len() - 1] {
            let mut bytes = packet.frame();
            bytes[wrong] ^= 0x10;
            let [succeeded, failed] = if packet.is_tcp() {
                [1 << 3, TCP_FAILED]
            } else {
                [1 << 4, UDP_FAILED]
            };
            // A UDP checksum of zero is none.
            if !packet.is_tcp() && bytes[field..field + 2] == [0, 0] {
                continue;
            }
            frames.push((bytes, right & !succeeded | failed));
        }
        if packet.is_v4() {
            // Time to live.
            let mut bytes = packet.frame();
            bytes[packet.ip_offset() + 8] ^= 1;
            frames.push((bytes, right & !(1 << 5) | IP_FAILED));
        }
        let lists = frames.iter().map(|(bytes, _)| SendNbl::new(bytes.clone()));
        let statuses = support.send(lists.collect());
        assert_eq!(statuses, vec![NDIS_STATUS_SUCCESS; frames.len()]);
        let received = test.received();
        assert_eq!(received.len(), frames.len());
        count += frames.len();
        for (up, (bytes, told)) in received.iter().zip(frames) {
            assert_eq!(up.data.concat(), padded(bytes), "{packet:?}");
            assert_eq!(up.info[CHECKSUM], told, "{packet:?}");
        }
    }
    figures.note("packets", count);
    lan.finish();
}
