//! Two hosts with SAs between them, and a tap: packets go down as TCP/IP hands them down, and each is judged
//! on the wire and where it comes up, against software that shares nothing with the driver.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use ndis_sim::ndis::{AdapterConfig, SendNbl};
use ndis_sys::{NDIS_PACKET_TYPE_PROMISCUOUS, TcpIpChecksumNetBufferListInfo};
use tcpip::{
    checksum::leave_to_the_miniport,
    iv::IvWatch,
    lab::{HARDWARE_ID, Lab, LabOptions, PATIENCE, Port, net_buffer_list, status_name},
    large_send::{self, LargePacket},
    offload::{Handle, Way},
    outbound::{Outgoing, Sender},
    recorder::{Indicated, Recorder},
    sas::Sa,
    split::Split,
    verify::{check_indicated, check_received, check_wire},
};

/// Packets per call, fewer than a receiver has buffers.
const BURST: usize = 32;
/// Enough for the segments of any large send.
const RECEIVE_BUFFERS: &str = "2048";
/// Bytes per MDL of a large send's payload.
const MDL: usize = 1460;

/// An adapter with a transport on top.
pub struct End {
    /// The adapter.
    pub port: Port,
    side: Arc<Recorder>,
}

/// Two hosts, and a tap that sees what is between them. All take all frames: made-up packets are not
/// addressed to an adapter.
pub struct Link {
    /// The machine and the driver.
    pub lab: Lab,
    /// One host.
    pub a: End,
    /// The other one.
    pub b: End,
    tap: End,
    ivs: Mutex<IvWatch>,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// From A to B.
    Forth,
    /// From B to A.
    Back,
}

impl Course {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Forth, Self::Back];
}

/// SAs that both ends have, for packets of one course.
pub struct Offloaded {
    /// The SAs.
    pub sas: Vec<Sa>,
    course: Course,
    outbound: Vec<Handle>,
    inbound: Vec<Handle>,
}

/// How a packet is handed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// With all checksums.
    Done,
    /// Those that the transport may leave to the miniport are left to it, and the receiver has to have
    /// looked at them. For TCP and UDP.
    Left,
}

impl End {
    fn start(lab: &Lab) -> Self {
        let side = Recorder::on(lab.machine());
        let config = AdapterConfig::new(HARDWARE_ID).keyword("*ReceiveBuffers", RECEIVE_BUFFERS);
        let port = lab
            .port_with(config, side.clone())
            .unwrap_or_else(|error| panic!("{error:#}"));
        port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
            .and_then(|()| port.activate_offload())
            .unwrap_or_else(|error| panic!("{error:#}"));
        Self { port, side }
    }
}

impl Link {
    /// Starts the machine and the adapters, with offload activated.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn start(options: &LabOptions) -> Self {
        let lab = Lab::start(options).unwrap_or_else(|error| panic!("{error:#}"));
        let [a, b, tap] = [(); 3].map(|()| End::start(&lab));
        Self {
            lab,
            a,
            b,
            tap,
            ivs: Mutex::default(),
        }
    }

    /// Who sends packets of this course, and who receives them.
    #[must_use]
    pub fn ends(&self, course: Course) -> (&End, &End) {
        match course {
            Course::Forth => (&self.a, &self.b),
            Course::Back => (&self.b, &self.a),
        }
    }

    /// Offloads SAs: outbound at the sender, inbound at the receiver.
    ///
    /// # Panics
    /// If the driver refuses one.
    #[must_use]
    pub fn offload(&self, course: Course, sas: Vec<Sa>) -> Offloaded {
        let (from, to) = self.ends(course);
        let [outbound, inbound] = [(from, Way::Outbound), (to, Way::Inbound)].map(|(end, way)| {
            let handles = end.port.offload(&sas, way);
            handles.unwrap_or_else(|error| panic!("{error:#}"))
        });
        Offloaded {
            sas,
            course,
            outbound,
            inbound,
        }
    }

    /// Takes SAs down at both ends.
    ///
    /// # Panics
    /// If the driver refuses.
    pub fn withdraw(&self, offloaded: Offloaded) {
        let (from, to) = self.ends(offloaded.course);
        let deleted = from.port.delete_sas(&offloaded.outbound);
        let deleted = deleted.and_then(|()| to.port.delete_sas(&offloaded.inbound));
        deleted.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// A sender of packets under these SAs. Without any, they go in the clear.
    ///
    /// # Panics
    /// If the adapter reports no offload.
    #[must_use]
    pub fn sender<'a>(&self, offloaded: &'a Offloaded) -> Sender<'a> {
        let (from, _) = self.ends(offloaded.course);
        let offers = from.port.offers();
        let offers = offers.unwrap_or_else(|error| panic!("{error:#}"));
        Sender::new(&offloaded.sas, offers)
    }

    /// Sends plain frames in bursts, each protected if an SA takes it, and judges each. Returns how many
    /// were protected.
    ///
    /// # Panics
    /// If one is not on the wire and at the receiver what it must be.
    pub fn exchange(
        &self,
        sender: &mut Sender<'_>,
        offloaded: &Offloaded,
        frames: &[Vec<u8>],
        split: Split,
        checksums: Checksums,
    ) -> usize {
        let mut protected = 0;
        for burst in frames.chunks(BURST) {
            let mut outgoing = Vec::new();
            let mut lists = Vec::new();
            for (frame, number) in burst.iter().zip(1..) {
                let (packet, list) = offloaded
                    .list(sender, number, frame, split, checksums)
                    .unwrap_or_else(|error| panic!("packet {number}: {error:#}"));
                protected += usize::from(packet.protection.is_ok());
                outgoing.push(packet);
                lists.push(list);
            }
            self.send(lists, offloaded.course);
            let came_up = self.judge(&outgoing, offloaded);
            if checksums == Checksums::Left {
                assert_looked_at(&outgoing, &came_up);
            }
        }
        protected
    }

    /// Sends a large TCP packet, which the driver has to cut, and judges each segment. Returns how many
    /// there were.
    ///
    /// # Panics
    /// If one is not on the wire and at the receiver what it must be.
    pub fn exchange_large(
        &self,
        sender: &mut Sender<'_>,
        offloaded: &Offloaded,
        packet: &LargePacket,
    ) -> usize {
        let outgoing = sender
            .prepare_large(1, packet)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let list = large_send::net_buffer_list(&outgoing, &offloaded.outbound, MDL);
        let list = list.unwrap_or_else(|error| panic!("{error:#}"));
        self.send(vec![list], offloaded.course);
        assert_looked_at(
            &outgoing.segments,
            &self.judge(&outgoing.segments, offloaded),
        );
        outgoing.segments.len()
    }

    /// Sends lists in one chain. Each must be completed once, with success.
    fn send(&self, lists: Vec<SendNbl>, course: Course) {
        let count = lists.len();
        let (from, _) = self.ends(course);
        if let Err(error) = from.port.send(lists) {
            panic!("{error:#}");
        }
        let completed = from.side.take_completed(count, PATIENCE);
        for number in 1..=count as u64 {
            let of_packet = completed.iter().filter(|sent| sent.cookie == number);
            let statuses: Vec<_> = of_packet.map(|sent| status_name(sent.status)).collect();
            assert_eq!(
                statuses,
                ["NDIS_STATUS_SUCCESS"],
                "completions of packet {number} of {count}"
            );
        }
    }

    /// What was sent must be on the wire and come up at the receiver, in order: each packet byte for byte what
    /// software makes of it, with the right stamps, and under an IV of its own. Returns what came up.
    fn judge(&self, outgoing: &[Outgoing], offloaded: &Offloaded) -> Vec<Indicated> {
        let on_wire = self.tap.side.take_received(outgoing.len(), PATIENCE);
        let (_, to) = self.ends(offloaded.course);
        let came_up = to.side.take_received(outgoing.len(), PATIENCE);
        assert_eq!(on_wire.len(), outgoing.len(), "frames on the wire");
        assert_eq!(came_up.len(), outgoing.len(), "frames that came up");
        let mut ivs = self.ivs.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, outgoing) in outgoing.iter().enumerate() {
            let (wire, seen, sas) = (&on_wire[index], &came_up[index], &offloaded.sas);
            let judged = check_wire(outgoing, wire, sas)
                .and_then(|()| ivs.note(&wire.frame, sas))
                .context("on the wire")
                .and_then(|()| check_indicated(outgoing, &wire.frame, seen, sas))
                .and_then(|()| check_received(outgoing, seen, sas, &outgoing.plain));
            if let Err(error) = judged {
                panic!("packet {}: {error:#}", outgoing.number);
            }
        }
        came_up
    }

    /// Ends everything; no frame that nobody asked for, nothing left, nothing found.
    ///
    /// # Panics
    /// If that is not so.
    pub fn finish(self) {
        let Self { lab, a, b, tap, .. } = self;
        let settled = lab.machine().settle();
        settled.unwrap_or_else(|check| panic!("{check}"));
        for end in [&a, &b, &tap] {
            assert_eq!(end.side.take_received(1, Duration::ZERO), []);
        }
        drop((a, b, tap));
        lab.finish().unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// The receiver says something of each packet's TCP or UDP checksum.
fn assert_looked_at(packets: &[Outgoing], came_up: &[Indicated]) {
    for (packet, seen) in packets.iter().zip(came_up) {
        assert!(
            seen.checksums.tcp.is_some() || seen.checksums.udp.is_some(),
            "packet {}: nothing is said of its checksum",
            packet.number
        );
    }
}

impl Offloaded {
    /// Sequence numbers of the next sender start behind so many packets.
    pub fn skip(&mut self, packets: usize) {
        for sa in &mut self.sas {
            let esp = sa.esp.iter_mut().map(|esp| &mut esp.sequence);
            let ah = sa.ah.iter_mut().map(|ah| &mut ah.sequence);
            esp.chain(ah)
                .for_each(|sequence| *sequence += packets as u32);
        }
    }

    /// A packet for the driver, and the list that carries it.
    fn list(
        &self,
        sender: &mut Sender<'_>,
        number: usize,
        frame: &[u8],
        split: Split,
        checksums: Checksums,
    ) -> Result<(Outgoing, SendNbl)> {
        let outgoing = sender.prepare(number, frame)?;
        if checksums == Checksums::Done {
            let list = net_buffer_list(&outgoing, &self.outbound, split)?;
            return Ok((outgoing, list));
        }
        let mut down = outgoing.clone();
        let protection = outgoing.protection.as_ref().ok();
        let word = leave_to_the_miniport(&mut down.frame, &outgoing.plain, protection);
        let word = word.context("the packet has no checksum that could be left")?;
        let list = net_buffer_list(&down, &self.outbound, split)?
            .info(TcpIpChecksumNetBufferListInfo as usize, word);
        Ok((outgoing, list))
    }
}
