//! What the IPsec jobs share: SAs of one kind between two hosts, and the packets that go through them.

use std::mem;

use ipsecov2_tests::{
    hlk::Figures,
    lab_options,
    link::{Checksums, Course, Link, Offloaded},
};
use tcpip::{
    algorithm::{Authentication, Encryption, Suite},
    lab::NdisVersion,
    large_send::LsoVersion,
    outbound::Sender,
    plan::{Plan, PlanMode, Protocol, Shape, Version},
    policy::{Keys, Offers},
    sas::{Mode, Sa, Selector},
    split::Split,
};

use crate::packets::{Hosts, Payload};

/// Less than 64 KiB by all headers that there may be.
const LSO_V1_MOST: usize = 65_000;

/// Both modes, and what the HLK calls them.
pub const MODES: [(PlanMode, &str); 2] = [
    (PlanMode::Transport, "transport mode"),
    (PlanMode::Tunnel, "tunnel mode"),
];

/// Both IP versions.
pub const VERSIONS: [Version; 2] = [Version::V4, Version::V6];

/// NDIS versions by turns, so that the cases of a job have them all.
pub fn ndis(turn: usize) -> NdisVersion {
    NdisVersion::ALL[turn % NdisVersion::ALL.len()]
}

/// ESP of this suite.
pub fn esp(mode: PlanMode, suite: &str) -> Plan {
    let shape = Shape {
        mode,
        ..Shape::default()
    };
    plan(shape, suite.parse().expect("a suite"))
}

/// AH with this algorithm.
pub fn ah(mode: PlanMode, ah: Authentication) -> Plan {
    let shape = Shape {
        mode,
        protocol: Protocol::Ah,
        ah,
        ..Shape::default()
    };
    // There is no ESP that the suite would be of.
    plan(shape, Encryption::AesGcm128.into())
}

/// AH with this algorithm over ESP of this suite, as one bundle.
pub fn ah_esp(mode: PlanMode, ah: Authentication, suite: &str) -> Plan {
    let shape = Shape {
        mode,
        protocol: Protocol::AhEsp,
        ah,
        ..Shape::default()
    };
    plan(shape, suite.parse().expect("a suite"))
}

fn plan(shape: Shape, suite: Suite) -> Plan {
    Plan {
        shape,
        suite,
        icv_length: 16,
        esn: false,
        keys: Keys::Seed(1),
    }
}

/// The SAs of a plan for these hosts.
///
/// # Panics
/// If the plan contradicts itself.
pub fn sas(plan: &Plan, hosts: Hosts) -> Vec<Sa> {
    let keys = match (plan.keys, hosts.course) {
        (Keys::Seed(seed), Course::Back) => Keys::Seed(seed + 1_000_000),
        (keys, _) => keys,
    };
    let frame = hosts.frame(Payload::Udp, 0, 0);
    let file = Plan { keys, ..*plan }.make([frame.as_slice()].into_iter(), &Offers::EVERYTHING);
    let mut sas = file.unwrap_or_else(|error| panic!("{error:#}")).sas;
    let (source, destination) = hosts.addresses();
    for sa in sas.iter_mut().filter(|sa| sa.mode == Mode::Tunnel) {
        // Only these hosts' packets go into the tunnel, if it is not for packets of other SAs.
        sa.selector = sa.selector.map(|_| Selector {
            source: source.into(),
            destination: destination.into(),
        });
        // A plan has the same gateways, whoever sends.
        if hosts.course == Course::Back {
            mem::swap(&mut sa.source, &mut sa.destination);
        }
    }
    sas
}

/// Two hosts that have SAs for both courses.
pub struct Talk {
    link: Link,
    courses: [(Hosts, Offloaded); 2],
    overhead: usize,
}

impl Talk {
    /// Starts a machine and offloads the SAs.
    ///
    /// # Panics
    /// If that fails.
    pub fn start(plan: &Plan, version: Version, ndis: NdisVersion) -> Self {
        let link = Link::start(&lab_options(ndis));
        let courses = Course::BOTH.map(|course| {
            let hosts = Hosts {
                version,
                number: 1,
                course,
            };
            (hosts, link.offload(course, sas(plan, hosts)))
        });
        Self {
            link,
            courses,
            overhead: plan.max_overhead().expect("a plan"),
        }
    }

    /// Lets each host speak.
    pub fn each(&self, mut speak: impl FnMut(&mut Speaker<'_>)) {
        for (hosts, offloaded) in &self.courses {
            speak(&mut Speaker {
                link: &self.link,
                hosts: *hosts,
                offloaded,
                sender: self.link.sender(offloaded),
                overhead: self.overhead,
            });
        }
    }

    /// Takes the SAs down, and ends.
    ///
    /// # Panics
    /// If something is left, or was found.
    pub fn finish(self, figures: &mut Figures) {
        let count = |(_, offloaded): &(Hosts, Offloaded)| offloaded.sas.len();
        let count: usize = self.courses.iter().map(count).sum();
        figures.note("SAs offloaded to each adapter", count);
        for (_, offloaded) in self.courses {
            self.link.withdraw(offloaded);
        }
        self.link.finish();
    }
}

/// A host that sends.
pub struct Speaker<'a> {
    link: &'a Link,
    offloaded: &'a Offloaded,
    sender: Sender<'a>,
    /// It and the other one.
    pub hosts: Hosts,
    /// Bytes that IPsec adds to a packet.
    pub overhead: usize,
}

impl Speaker<'_> {
    /// Sends frames, each of which an SA must take: how many.
    ///
    /// # Panics
    /// If one is not sealed and opened as software does it.
    pub fn send(&mut self, frames: &[Vec<u8>], split: Split, checksums: Checksums) -> usize {
        let sent = self
            .link
            .exchange(&mut self.sender, self.offloaded, frames, split, checksums);
        assert_eq!(sent, frames.len(), "a packet went in the clear");
        sent
    }

    /// Sends packets of these payloads and of all sizes, in memory in three ways: how many.
    ///
    /// # Panics
    /// As [`Speaker::send`].
    pub fn simple_sends(&mut self, payloads: &[Payload]) -> usize {
        let frames = self.hosts.frames(payloads, self.overhead);
        let splits = [Split::Headers, Split::Whole, Split::Random(1)];
        let sent = splits.map(|split| self.send(&frames, split, Checksums::Done));
        sent.into_iter().sum()
    }

    /// Sends TCP and UDP packets of all sizes, whose checksums are left to the miniport: how many.
    ///
    /// # Panics
    /// As [`Speaker::send`], and if the receiver does not look at a checksum.
    pub fn with_checksum_offload(&mut self) -> usize {
        let payloads = [Payload::Tcp, Payload::Udp];
        let frames = self.hosts.frames(&payloads, self.overhead);
        let splits = [Split::Headers, Split::Random(2)];
        let sent = splits.map(|split| self.send(&frames, split, Checksums::Left));
        sent.into_iter().sum()
    }

    /// Sends a large TCP packet in each version that there is: in how many segments. `beside` the SAs: that
    /// of two other hosts, which have none.
    ///
    /// # Panics
    /// If a segment is not as it must be.
    pub fn large_sends(&mut self, len: usize, beside: bool) -> usize {
        let hosts = Hosts {
            number: self.hosts.number + u16::from(beside),
            ..self.hosts
        };
        let mss = hosts.mss(if beside { 0 } else { self.overhead });
        let mut segments = 0;
        for &version in hosts.lso() {
            // The length field of the IP header has the whole packet in version 1.
            let len = match version {
                LsoVersion::V1 => len.min(LSO_V1_MOST),
                LsoVersion::V2 => len,
            };
            let large = hosts.large(len, mss, version);
            segments += self
                .link
                .exchange_large(&mut self.sender, self.offloaded, &large);
        }
        segments
    }
}
