//! Packets and NET_BUFFER_LISTs that no transport and no sane sender would make: each gets the
//! status or the verdict of the documentation, its bytes are not touched, and the driver lives.

use std::{sync::Arc, time::Duration};

use ipsecov2_tests::{adapter::TestAdapter, lab_options};
use ndis_sim::ndis::{SendNb, SendNbl};
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo, NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS,
};
use tcpip::{
    algorithm::Encryption,
    compare::same_on_the_link,
    lab::{Lab, NdisVersion, PATIENCE, Port, net_buffer_list, status_name},
    offload::{self, Handle, ReceiveStamp, Way},
    outbound::{Outgoing, Protection, Sender, seal_in_software},
    packet::{Layout, set_ip_length},
    policy::{Keys, Offers, make_sas},
    recorder::{Indicated, Recorder},
    sas::Sa,
    split::Split,
    synthetic,
};

const SUCCESS: &str = "NDIS_STATUS_SUCCESS";
const FAILURE: &str = "NDIS_STATUS_FAILURE";

/// Sender, receiver and SAs for one packet of each family.
struct Wire {
    lab: Lab,
    a: Port,
    b: Port,
    a_side: Arc<Recorder>,
    b_side: Arc<Recorder>,
    sas: Vec<Sa>,
    outbound: Vec<Handle>,
    inbound: Vec<Handle>,
    outgoing: Vec<Outgoing>,
}

impl Wire {
    fn start(version: NdisVersion) -> Self {
        let frames = [
            synthetic::udp_v4(28 + 61).unwrap(),
            synthetic::udp_v6(48 + 61).unwrap(),
        ];
        let sas = make_sas(
            frames.iter().map(Vec::as_slice),
            &Offers::EVERYTHING,
            Encryption::AesGcm256,
            16,
            Keys::Seed(3),
        )
        .unwrap()
        .sas;
        let lab = Lab::start(&lab_options(version)).unwrap();
        let [a_side, b_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
        let a = lab.port(1514, a_side.clone()).unwrap();
        let b = lab.port(1514, b_side.clone()).unwrap();
        a.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED).unwrap();
        b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS).unwrap();
        a.activate_offload().unwrap();
        b.activate_offload().unwrap();
        let outbound = a.offload(&sas, Way::Outbound).unwrap();
        let inbound = b.offload(&sas, Way::Inbound).unwrap();
        let mut sender = Sender::new(&sas, Offers::EVERYTHING);
        let outgoing = frames
            .iter()
            .enumerate()
            .map(|(index, frame)| sender.prepare(index + 1, frame).unwrap())
            .collect();
        Self {
            lab,
            a,
            b,
            a_side,
            b_side,
            sas,
            outbound,
            inbound,
            outgoing,
        }
    }

    /// The frame of packet `index` as it is on the wire.
    fn sealed(&self, index: usize) -> Vec<u8> {
        seal_in_software(&self.outgoing[index], &self.sas).unwrap()
    }

    fn protection(&self, index: usize) -> Protection {
        self.outgoing[index].protection.unwrap()
    }

    /// Sends one list, and returns the name of its status.
    fn send(&self, nbl: SendNbl) -> String {
        self.a.send(vec![nbl]).unwrap();
        let completed = self.a_side.take_completed(1, PATIENCE);
        status_name(completed[0].status)
    }

    /// Sends frames without SA in one chain, and returns what the receiver indicates.
    fn receive(&self, frames: &[Vec<u8>]) -> Vec<Indicated> {
        let chain = frames.iter().map(|frame| SendNbl::new(frame.clone()));
        self.a.send(chain.collect()).unwrap();
        for completed in self.a_side.take_completed(frames.len(), PATIENCE) {
            assert_eq!(status_name(completed.status), SUCCESS);
        }
        let indicated = self.b_side.take_received(frames.len(), PATIENCE);
        assert_eq!(indicated.len(), frames.len(), "a packet was lost");
        indicated
    }

    /// Both packets still go through, so nothing was broken; then everything ends.
    fn finish(self) {
        self.lab.machine().settle().unwrap();
        assert_eq!(self.b_side.take_received(1, Duration::ZERO), []);
        for (index, outgoing) in self.outgoing.iter().enumerate() {
            let nbl = net_buffer_list(outgoing, &self.outbound, Split::Headers).unwrap();
            assert_eq!(self.send(nbl), SUCCESS);
            let seen = self.b_side.take_received(1, PATIENCE);
            assert!(seen[0].stamp.crypto_done, "packet {index}");
            assert_eq!(seen[0].stamp.status_name(), "CRYPTO_SUCCESS");
        }
        self.a.delete_sas(&self.outbound).unwrap();
        self.b.delete_sas(&self.inbound).unwrap();
        drop((self.a, self.b));
        self.lab.finish().unwrap();
    }
}

fn with_sa(frame: Vec<u8>, handle: Handle, header: usize) -> SendNbl {
    SendNbl::new(frame)
        .info(IPsecOffloadV2NetBufferListInfo as usize, handle)
        .info(IPsecOffloadV2HeaderNetBufferListInfo as usize, header)
}

#[test]
fn sends_with_handles_that_name_no_sa() {
    for version in NdisVersion::ALL {
        let wire = Wire::start(version);
        let header = offload::transmit_header(&wire.protection(0)).unwrap();
        let real = wire.outbound[0];
        let stale = {
            let mut other = wire.sas.clone();
            for esp in other.iter_mut().filter_map(|sa| sa.esp.as_mut()) {
                esp.spi.0 += 0x100;
            }
            let handles = wire.a.offload(&other, Way::Outbound).unwrap();
            wire.a.delete_sas(&handles).unwrap();
            handles[0]
        };
        let inbound = {
            let handles = wire.a.offload(&wire.sas, Way::Inbound).unwrap();
            let status = wire.send(with_sa(wire.outgoing[0].frame.clone(), handles[0], header));
            wire.a.delete_sas(&handles).unwrap();
            status
        };
        assert_eq!(inbound, FAILURE, "an inbound SA");
        let mut handles: Vec<usize> = (0..64).map(|bit| real ^ 1 << bit).collect();
        handles.extend([stale, 1, usize::MAX]);
        for handle in handles.into_iter().filter(|h| !wire.outbound.contains(h)) {
            if handle == 0 {
                continue;
            }
            let nbl = with_sa(wire.outgoing[0].frame.clone(), handle, header);
            assert_eq!(wire.send(nbl), FAILURE, "{handle:#x}");
            // As the tunnel SA, beside the right transport SA and alone.
            let tunnel = IPsecOffloadV2TunnelNetBufferListInfo as usize;
            let nbl = with_sa(wire.outgoing[0].frame.clone(), real, header).info(tunnel, handle);
            assert_eq!(wire.send(nbl), FAILURE, "{handle:#x}");
            let nbl = SendNbl::new(wire.outgoing[0].frame.clone()).info(tunnel, handle);
            assert_eq!(wire.send(nbl), FAILURE, "{handle:#x}");
        }

        // The wrong SA of the two, and one bad list in a chain does not take the others along.
        let nbl = with_sa(wire.outgoing[0].frame.clone(), wire.outbound[1], header);
        assert_eq!(wire.send(nbl), FAILURE);
        let good = || net_buffer_list(&wire.outgoing[0], &wire.outbound, Split::Whole).unwrap();
        let bad = with_sa(wire.outgoing[0].frame.clone(), stale, header).cookie(77);
        wire.a.send(vec![good(), bad, good()]).unwrap();
        for completed in wire.a_side.take_completed(3, PATIENCE) {
            let expected = if completed.cookie == 77 {
                FAILURE
            } else {
                SUCCESS
            };
            assert_eq!(status_name(completed.status), expected);
        }
        assert_eq!(wire.b_side.take_received(2, PATIENCE).len(), 2);
        wire.finish();
    }
}

#[test]
fn sends_cut_at_every_byte() {
    for version in NdisVersion::ALL {
        let wire = Wire::start(version);
        for (index, outgoing) in wire.outgoing.iter().enumerate() {
            let header = offload::transmit_header(&wire.protection(index)).unwrap();
            for length in 0..outgoing.frame.len() {
                let frame = outgoing.frame[..length].to_vec();
                let status = wire.send(with_sa(frame, wire.outbound[index], header));
                assert_eq!(status, FAILURE, "{length} bytes of packet {index}");
            }
            // The same with an IP length that agrees, from the shortest IP packet on.
            let shortest = Layout::of(&outgoing.frame).unwrap();
            for length in shortest.payload..outgoing.frame.len() {
                let mut frame = outgoing.frame[..length].to_vec();
                set_ip_length(&mut frame, shortest.version, shortest.ip, length).unwrap();
                let status = wire.send(with_sa(frame, wire.outbound[index], header));
                assert_eq!(status, FAILURE, "whole packet of {length} bytes");
            }
        }
        wire.finish();
    }
}

#[test]
fn sends_whose_out_of_band_data_is_wrong() {
    let wire = Wire::start(NdisVersion::V6_1);
    for (index, outgoing) in wire.outgoing.iter().enumerate() {
        let right = wire.protection(index);
        let header = offload::transmit_header(&right).unwrap();
        for bit in 0..32 {
            // AhHeaderOffset means nothing for an SA without AH.
            if (16..24).contains(&bit) {
                continue;
            }
            let told = header ^ 1 << bit;
            // A PadLength of zero says nothing where there is a trailer: the packet goes out.
            if (8..16).contains(&bit) && told >> 8 & 0xFF == 0 {
                continue;
            }
            let nbl = with_sa(outgoing.frame.clone(), wire.outbound[index], told);
            assert_eq!(wire.send(nbl), FAILURE, "bit {bit}");
        }
        // Bits of the packet that must agree: protocol, SPI, pad length, next header.
        let frame = &outgoing.frame;
        let layout = Layout::of(frame).unwrap();
        let trailer = frame.len() - 16 - 2;
        let pad_length = frame[trailer];
        for at in [
            layout.protocol_field,
            layout.payload,
            layout.payload + 3,
            trailer,
            trailer + 1,
        ] {
            if at == trailer && pad_length == 0 {
                continue;
            }
            let mut wrong = frame.clone();
            wrong[at] ^= 1;
            let nbl = with_sa(wrong, wire.outbound[index], header);
            assert_eq!(wire.send(nbl), FAILURE, "byte {at}");
        }
        // An SA on a packet that is no IP packet.
        let mut wrong = frame.clone();
        wrong[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(
            wire.send(with_sa(wrong, wire.outbound[index], header)),
            FAILURE
        );
    }
    wire.finish();
}

#[test]
fn lists_without_bytes() {
    for version in NdisVersion::ALL {
        let wire = Wire::start(version);
        let header = offload::transmit_header(&wire.protection(0)).unwrap();
        for handle in [0, wire.outbound[0]] {
            let cases: [(&str, Vec<SendNb>); 5] = [
                ("no NET_BUFFER", vec![]),
                ("no MDL", vec![SendNb::without_mdl()]),
                ("an MDL of no bytes", vec![SendNb::new(Vec::new())]),
                (
                    "only unused bytes",
                    vec![SendNb::new(Vec::new()).data_offset(20).slack(20)],
                ),
                (
                    "empty MDLs",
                    vec![SendNb::new(Vec::new()).split(&[0, 0, 0])],
                ),
            ];
            for (what, net_buffers) in cases {
                let nbl = SendNbl::with_net_buffers(net_buffers)
                    .info(IPsecOffloadV2NetBufferListInfo as usize, handle)
                    .info(IPsecOffloadV2HeaderNetBufferListInfo as usize, header);
                assert_eq!(wire.send(nbl), FAILURE, "{what}");
            }
            // Shorter than an Ethernet header.
            for length in 1..14 {
                let nbl = with_sa(vec![2; length], handle, header);
                assert_eq!(wire.send(nbl), FAILURE, "{length} bytes");
            }
        }
        // Longer than the adapter's maximum.
        for (length, expected) in [(1514, SUCCESS), (1515, "NDIS_STATUS_INVALID_LENGTH")] {
            assert_eq!(
                wire.send(SendNbl::new(vec![2; length])),
                expected,
                "{length}"
            );
        }
        assert_eq!(wire.b_side.take_received(1, PATIENCE)[0].frame.len(), 1514);
        wire.finish();
    }
}

/// The documented verdicts: untouched and unstamped, or stamped with an error, or verified.
fn verdict(seen: &Indicated) -> &'static str {
    if seen.stamp == ReceiveStamp::NONE {
        assert_eq!(seen.header, None);
        return "not processed";
    }
    assert!(
        seen.stamp.crypto_done && !seen.stamp.next_crypto_done,
        "{seen:?}"
    );
    seen.stamp.status_name()
}

#[test]
fn received_packets_cut_at_every_byte() {
    for version in NdisVersion::ALL {
        let wire = Wire::start(version);
        for index in 0..wire.outgoing.len() {
            let sealed = wire.sealed(index);
            let layout = Layout::of(&sealed).unwrap();

            // Cut on the way, so that the IP header says more than there is. Once the SPI is
            // there the SA is found, and "the receive packet's length is invalid".
            let frames: Vec<_> = (14..sealed.len()).map(|n| sealed[..n].to_vec()).collect();
            for (frame, seen) in frames.iter().zip(wire.receive(&frames)) {
                // Ethernet's minimum pads short frames, and the padding looks like packet.
                let on_link = frame.len().max(60);
                let expected = if on_link < layout.payload + 4 || frame.len() < layout.payload + 4 {
                    ["not processed", "CRYPTO_INVALID_PACKET_SYNTAX"]
                } else {
                    ["CRYPTO_INVALID_PACKET_SYNTAX"; 2]
                };
                assert!(
                    expected.contains(&verdict(&seen)),
                    "{} bytes: {}",
                    frame.len(),
                    verdict(&seen)
                );
                assert!(same_on_the_link(&seen.frame, frame));
            }

            // Cut by the sender, with an IP length that agrees: too short for ESP, or a wrong ICV.
            let frames: Vec<_> = (layout.payload..sealed.len())
                .map(|n| {
                    let mut frame = sealed[..n].to_vec();
                    set_ip_length(&mut frame, layout.version, layout.ip, n).unwrap();
                    frame
                })
                .collect();
            for (frame, seen) in frames.iter().zip(wire.receive(&frames)) {
                let esp = frame.len() - layout.payload;
                let expected = match esp {
                    0..4 => "not processed",
                    // Header, IV, trailer, ICV; and whole 4-byte words (RFC 4303 section 2.4).
                    _ if esp < 8 + 8 + 2 + 16 || !esp.is_multiple_of(4) => {
                        "CRYPTO_INVALID_PACKET_SYNTAX"
                    }
                    _ => "CRYPTO_TRANSPORT_ESP_AUTH_FAILED",
                };
                assert_eq!(verdict(&seen), expected, "{esp} bytes of ESP");
                assert!(same_on_the_link(&seen.frame, frame));
            }
        }
        wire.finish();
    }
}

#[test]
fn received_packets_with_a_bit_flipped() {
    let wire = Wire::start(NdisVersion::V6_1);
    for index in 0..wire.outgoing.len() {
        let sealed = wire.sealed(index);
        let layout = Layout::of(&sealed).unwrap();
        let flip = |at: usize, bit: usize| {
            let mut frame = sealed.clone();
            frame[at] ^= 1 << bit;
            frame
        };
        // In the SPI: no such SA. Anywhere behind: not authentic.
        let spi: Vec<_> = (0..32)
            .map(|n| flip(layout.payload + n / 8, n % 8))
            .collect();
        for (frame, seen) in spi.iter().zip(wire.receive(&spi)) {
            assert_eq!(verdict(&seen), "not processed");
            assert_eq!(seen.frame, *frame);
        }
        for first in (layout.payload + 4..sealed.len()).step_by(8) {
            let frames: Vec<_> = (first..sealed.len().min(first + 8))
                .flat_map(|at| (0..8).map(move |bit| (at, bit)))
                .map(|(at, bit)| flip(at, bit))
                .collect();
            for (frame, seen) in frames.iter().zip(wire.receive(&frames)) {
                assert_eq!(verdict(&seen), "CRYPTO_TRANSPORT_ESP_AUTH_FAILED");
                assert_eq!(seen.frame, *frame, "ciphertext must stay");
            }
        }
        // To another host, the SA does not apply; from another, neither.
        for at in [layout.ip + 15, layout.ip + 19]
            .into_iter()
            .filter(|_| layout.version == 4)
            .chain(
                [layout.ip + 23, layout.ip + 39]
                    .into_iter()
                    .filter(|_| layout.version == 6),
            )
        {
            let frames = [flip(at, 0)];
            let seen = wire.receive(&frames);
            assert_eq!(verdict(&seen[0]), "not processed", "byte {at}");
        }
    }
    wire.finish();
}

#[test]
fn packets_after_their_sa_is_gone() {
    let wire = Wire::start(NdisVersion::V6_30);
    let frames = [wire.sealed(0), wire.sealed(1)];
    wire.b.delete_sas(&wire.inbound[..1]).unwrap();
    let seen = wire.receive(&frames);
    assert_eq!(verdict(&seen[0]), "not processed");
    assert_eq!(seen[0].frame, frames[0]);
    assert_eq!(verdict(&seen[1]), "CRYPTO_SUCCESS");
    let again = wire.b.offload(&wire.sas[..1], Way::Inbound).unwrap();
    let seen = wire.receive(&frames);
    assert_eq!(verdict(&seen[0]), "CRYPTO_SUCCESS");
    assert_ne!(again, wire.inbound[..1]);
    wire.b.delete_sas(&again).unwrap();
    wire.b.offload(&wire.sas[..1], Way::Inbound).unwrap();
    wire.finish();
}

/// Receive-side processing is off until OID_OFFLOAD_ENCAPSULATION (its page), and without
/// activation a handle on a send changes nothing.
#[test]
fn nothing_is_processed_before_offload_is_activated() {
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start(version);
        let lab = &adapter.lab;
        let silent_side = Recorder::on(lab.machine());
        let silent = lab.port(1514, silent_side.clone()).unwrap();
        silent
            .set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
            .unwrap();
        let frame = synthetic::udp_v4(100).unwrap();
        let sas = make_sas(
            [frame.as_slice()].into_iter(),
            &Offers::EVERYTHING,
            Encryption::AesGcm128,
            16,
            Keys::Seed(4),
        )
        .unwrap()
        .sas;
        let inbound = silent.offload(&sas, Way::Inbound).unwrap();
        let outgoing = Sender::new(&sas, Offers::EVERYTHING)
            .prepare(1, &frame)
            .unwrap();
        let sealed = seal_in_software(&outgoing, &sas).unwrap();
        adapter
            .port
            .send(vec![SendNbl::new(sealed.clone())])
            .unwrap();
        let seen = silent_side.take_received(1, PATIENCE);
        assert_eq!(verdict(&seen[0]), "not processed");
        assert_eq!(seen[0].frame, sealed);

        silent.activate_offload().unwrap();
        adapter.port.send(vec![SendNbl::new(sealed)]).unwrap();
        let seen = silent_side.take_received(1, PATIENCE);
        assert_eq!(verdict(&seen[0]), "CRYPTO_SUCCESS");
        silent.delete_sas(&inbound).unwrap();
        drop(silent);
        adapter.finish();
    }
}
