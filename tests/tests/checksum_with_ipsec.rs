//! Checksum offload beside IPsec offload: checksums are computed before encryption, and validated of
//! what was decrypted.

use std::sync::Arc;

use ipsecov2_tests::{
    lab_options,
    packets::{Packet, nets, tcp, udp},
    switch::{PATIENCE, check},
};
use ndis_sim::ndis::{AdapterConfig, Collector, Frame, SendNbl};
use ndis_sys::*;
use tcpip::{
    algorithm::Suite,
    lab::{HARDWARE_ID, Lab, NdisVersion, Port, net_buffer_list},
    offload::Way,
    outbound::{Outgoing, Sender, expected_on_wire},
    policy::{Keys, make_sas},
    split::Split,
};

const CHECKSUM: usize = TcpIpChecksumNetBufferListInfo as usize;
const TCP_SUCCEEDED: usize = 1 << 3;
const UDP_SUCCEEDED: usize = 1 << 4;
const IP_SUCCEEDED: usize = 1 << 5;

struct Side {
    port: Port,
    protocol: Arc<Collector>,
}

impl Side {
    fn start(lab: &Lab) -> Self {
        let protocol = Collector::new();
        let port = lab
            .port_with(AdapterConfig::new(HARDWARE_ID), protocol.clone())
            .expect("the adapter starts");
        port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
            .expect("the filter is set");
        port.activate_offload().expect("offload is activated");
        Self { port, protocol }
    }

    fn send(&self, list: SendNbl) -> i32 {
        self.port.send(vec![list]).expect("the machine runs");
        let machine = self.port.open.machine().clone();
        let sent = check(self.protocol.wait_sent(&machine, 1, PATIENCE));
        sent[0].status
    }

    /// The only frame that came up.
    fn received(&self) -> Frame {
        let machine = self.port.open.machine();
        machine.settle().unwrap_or_else(|check| panic!("{check}"));
        let received = self.protocol.take_received();
        assert_eq!(received.len(), 1);
        received[0].frame()
    }
}

/// The word that asks for all checksums, of a packet whose transport header is at `offset` now.
fn word(packet: &Packet, offset: usize) -> usize {
    let ip = if packet.is_v4() { 1 | 1 << 4 } else { 2 };
    ip | if packet.is_tcp() {
        1 << 2 | offset << 16
    } else {
        1 << 3
    }
}

#[test]
fn checksums_are_under_the_encryption() {
    for (suite, version) in [
        ("aes-gcm-256", NdisVersion::V6_30),
        ("aes-cbc-128+hmac-sha-1-96", NdisVersion::V6_1),
        ("null+hmac-sha-256-128", NdisVersion::V6_20),
    ] {
        let lab = Lab::start(&lab_options(version)).expect("the machine starts");
        let (a, b, tap) = (Side::start(&lab), Side::start(&lab), Side::start(&lab));
        let packets: Vec<Packet> = [0, 1, 4, 5]
            .into_iter()
            .flat_map(|net| [tcp(0), tcp(12), udp()].map(|transport| (net, transport)))
            .zip([0, 1, 100, 1300].into_iter().cycle())
            .map(|((net, transport), len)| {
                let (to, from) = (b.port.adapter.mac(), a.port.adapter.mac());
                Packet::new(nets()[net].clone(), transport, len, to, from)
            })
            .collect();
        let frames: Vec<Vec<u8>> = packets.iter().map(Packet::frame).collect();
        let offers = a.port.offers().expect("a report");
        let file = make_sas(
            frames.iter().map(Vec::as_slice),
            &offers,
            suite.parse::<Suite>().expect("a suite"),
            16,
            Keys::Seed(5),
        )
        .expect("SAs");
        let outbound = a
            .port
            .offload(&file.sas, Way::Outbound)
            .expect("SAs are added");
        let inbound = b
            .port
            .offload(&file.sas, Way::Inbound)
            .expect("SAs are added");
        let mut sender = Sender::new(&file.sas, offers);
        for (packet, frame) in packets.iter().zip(&frames) {
            let about = format!("{suite}: {packet:?}");
            let whole = sender.prepare(1, frame).expect("it is framed");
            let protection = whole.protection.expect("it has an SA");
            // The ESP payload, which is behind the IV.
            let transport = protection.header_len();
            let field = transport + if packet.is_tcp() { 16 } else { 6 };
            let (transport_right, transport_wrong) = if packet.is_tcp() {
                (TCP_SUCCEEDED, 1)
            } else {
                (UDP_SUCCEEDED, 1 << 1)
            };
            let ip = if packet.is_v4() { IP_SUCCEEDED } else { 0 };

            let mut unfinished = whole.clone();
            unfinished.frame[field..field + 2].copy_from_slice(&[0x12, 0x34]);
            if packet.is_v4() {
                unfinished.frame[packet.ip_offset() + 10..][..2].fill(0);
            }
            let list = |outgoing: &Outgoing| {
                net_buffer_list(outgoing, &outbound, Split::Headers).expect("a list")
            };
            let offloaded = list(&unfinished).info(CHECKSUM, word(packet, transport));
            assert_eq!(a.send(offloaded), NDIS_STATUS_SUCCESS, "{about}");
            let wire = tap.received();
            let bytes = wire.data.concat();
            let mut expected = expected_on_wire(&whole, &file.sas, &bytes).expect("it is sealed");
            expected.resize(expected.len().max(60), 0);
            assert_eq!(bytes, expected, "{about}");
            // Who has no SA sees the outer header alone.
            assert_eq!(wire.info[CHECKSUM], ip, "{about}");
            let up = b.received();
            assert_ne!(
                up.info[IPsecOffloadV2NetBufferListInfo as usize], 0,
                "{about}"
            );
            assert_eq!(up.info[CHECKSUM], ip | transport_right, "{about}");

            // With the ICV broken nothing is said of what was not decrypted.
            let mut forged = bytes.clone();
            let last = whole.frame.len() - 1;
            forged[last] ^= 1;
            assert_eq!(tap.send(SendNbl::new(forged)), NDIS_STATUS_SUCCESS);
            assert_eq!(b.received().info[CHECKSUM], ip, "{about}");
            assert_eq!(a.received().info[CHECKSUM], ip, "{about}");

            // A wrong checksum under the encryption is found.
            let mut wrong = sender.prepare(2, frame).expect("it is framed");
            wrong.frame[field] ^= 0x40;
            assert_eq!(a.send(list(&wrong)), NDIS_STATUS_SUCCESS, "{about}");
            drop(tap.received());
            assert_eq!(b.received().info[CHECKSUM], ip | transport_wrong, "{about}");

            // What does not agree with the packet is refused, and nothing is sent.
            let sequence_left = sender.prepare(3, frame).expect("it is framed");
            for bad in [
                word(packet, transport) ^ 3,
                word(packet, transport) | 3 << 2,
                if packet.is_tcp() {
                    word(packet, protection.esp().expect("ESP").at)
                } else {
                    word(packet, 0) ^ 3 << 2
                },
            ] {
                let refused = list(&sequence_left).info(CHECKSUM, bad);
                assert_eq!(a.send(refused), NDIS_STATUS_FAILURE, "{about}: {bad:#x}");
            }
        }
        a.port.delete_sas(&outbound).expect("SAs are deleted");
        b.port.delete_sas(&inbound).expect("SAs are deleted");
        let Side { port, .. } = a;
        drop((port, b, tap));
        if let Err(error) = lab.finish() {
            panic!("{error:#}");
        }
    }
}
