//! What the IPsec jobs share: SAs of one kind between two hosts, and the packets that go through them.

use ipsecov2_tests::{
    hlk::Figures,
    lab_options,
    link::{Checksums, Course, Link, Offloaded},
};
use tcpip::{
    algorithm::{Authentication, Encryption, Suite},
    lab::NdisVersion,
    plan::{Plan, PlanMode, Protocol, Shape, Version},
    policy::{Keys, Offers},
    sas::Sa,
    split::Split,
};

use crate::packets::{Hosts, Payload};

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
    if hosts.course == Course::Back {
        // Tunnels have the same gateways, whoever sends.
        for sa in sas.iter_mut().filter(|sa| sa.selector.is_some()) {
            std::mem::swap(&mut sa.source, &mut sa.destination);
        }
    }
    sas
}

/// Two hosts that have an SA for each course.
pub struct Talk {
    /// The machine.
    pub link: Link,
    /// The hosts that send, and their SAs.
    pub courses: Vec<(Hosts, Offloaded)>,
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
            courses: courses.into(),
            overhead: plan.max_overhead().expect("a plan"),
        }
    }

    /// Sends packets of these payloads and of all sizes both ways, in memory in three ways.
    ///
    /// # Panics
    /// If one is not sealed and opened as software does it.
    pub fn simple_sends(&self, payloads: &[Payload], figures: &mut Figures) {
        let mut packets = 0;
        for (hosts, offloaded) in &self.courses {
            let frames = hosts.frames(payloads, self.overhead);
            let mut sender = self.link.sender(offloaded);
            for split in [Split::Headers, Split::Whole, Split::Random(1)] {
                let exchange =
                    self.link
                        .exchange(&mut sender, offloaded, &frames, split, Checksums::Done);
                assert_eq!(exchange, frames.len(), "a packet went in the clear");
                packets += exchange;
            }
        }
        figures.note("packets", packets);
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
