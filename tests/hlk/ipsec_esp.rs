//! NDISTest 6.5 - [2 Machine] - IPSecESP.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lab_options,
    link::{Checksums, Link},
};
use tcpip::{
    algorithm::Suite,
    lab::NdisVersion,
    plan::{Plan, PlanMode, Shape, Version},
    policy::Keys,
    split::Split,
};

use crate::packets::{Payload, frame, most};

/// The algorithms that the job lists.
const ALGORITHMS: [(&str, &str); 7] = [
    ("AES-GCM-ESP 128", "aes-gcm-128"),
    ("AES-GCM-ESP 192", "aes-gcm-192"),
    ("AES-GCM-ESP 256", "aes-gcm-256"),
    ("ESP-NULL SHA-1-96", "null+hmac-sha-1-96"),
    ("ESP-NULL AES-GMAC 128", "null+aes-gmac-128"),
    ("ESP-NULL AES-GMAC 192", "null+aes-gmac-192"),
    ("ESP-NULL AES-GMAC 256", "null+aes-gmac-256"),
];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (name, suite) in ALGORITHMS {
        for (version, family) in [(Version::V4, "IPv4"), (Version::V6, "IPv6")] {
            for (mode, called) in [
                (PlanMode::Transport, "transport"),
                (PlanMode::Tunnel, "tunnel"),
            ] {
                let suite: Suite = suite.parse().expect("a suite");
                let ndis = NdisVersion::ALL[cases.len() % NdisVersion::ALL.len()];
                cases.push(Case::new(
                    format!("{name}, {family}, {called} mode"),
                    format!(
                        "simple sends of TCP, UDP and ICMP under {suite} are sealed and opened"
                    ),
                    move |figures| simple_sends(suite, version, mode, ndis, figures),
                ));
            }
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - IPSecESP",
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "offloaded ESP over IPv4 and IPv6, AES-GCM and null encryption with SHA-1 and AES-GMAC, by simple sends",
        cases,
    }
}

fn simple_sends(
    suite: Suite,
    version: Version,
    mode: PlanMode,
    ndis: NdisVersion,
    figures: &mut Figures,
) {
    let plan = Plan {
        shape: Shape {
            mode,
            ..Shape::default()
        },
        suite,
        icv_length: 16,
        esn: false,
        keys: Keys::Seed(1),
    };
    let overhead = plan.max_overhead().expect("a plan");
    let mut frames = Vec::new();
    for payload in [Payload::Tcp, Payload::Udp, Payload::Icmp] {
        let most = most(version, payload, overhead);
        for len in [0, 1, 2, 3, 64, 256, 576, 1024, most - 1, most] {
            frames.push(frame(version, payload, 1, len, frames.len() as u64));
        }
    }
    let link = Link::start(&lab_options(ndis));
    let offers = link.a.port.offers().expect("a report");
    let file = plan.make(frames.iter().map(Vec::as_slice), &offers);
    let offloaded = link.offload(file.expect("SAs").sas);
    let mut sender = link.sender(&offloaded);
    for split in [Split::Headers, Split::Whole, Split::Random(1)] {
        let protected = link.exchange(&mut sender, &offloaded, &frames, split, Checksums::Done);
        assert_eq!(protected, frames.len());
    }
    figures.note("packets", 3 * frames.len());
    figures.note("offloaded SAs", 2 * offloaded.sas.len());
    link.withdraw(offloaded);
    link.finish();
}
