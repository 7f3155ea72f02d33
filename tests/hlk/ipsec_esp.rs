//! NDISTest 6.5 - [2 Machine] - IPSecESP.

use ipsecov2_tests::hlk::{Case, Job};

use crate::{
    ipsec::{MODES, Talk, VERSIONS, esp, ndis},
    packets::{Payload, name},
};

/// The algorithms that the job lists.
const ALGORITHMS: [(&str, &str); 7] = [
    ("AES-GCM-ESP 128", "aes-gcm-128"),
    ("AES-GCM-ESP 192", "aes-gcm-192"),
    ("AES-GCM-ESP 256", "aes-gcm-256"),
    ("ESP-NULL-AUTH-SHA-1-96", "null+hmac-sha-1-96"),
    ("ESP-NULL-AUTH-AES-GMAC 128", "null+aes-gmac-128"),
    ("ESP-NULL-AUTH-AES-GMAC 192", "null+aes-gmac-192"),
    ("ESP-NULL-AUTH-AES-GMAC 256", "null+aes-gmac-256"),
];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (algorithm, suite) in ALGORITHMS {
        for version in VERSIONS {
            for (mode, called) in MODES {
                let ndis = ndis(cases.len());
                cases.push(Case::new(
                    format!("{algorithm}, {}, {called}", name(version)),
                    format!(
                        "simple sends of TCP, UDP and ICMP under {suite}, both ways, NDIS {ndis}"
                    ),
                    move |figures| {
                        let talk = Talk::start(&esp(mode, suite), version, ndis);
                        let mut packets = 0;
                        talk.each(|host| packets += host.simple_sends(&Payload::ALL));
                        figures.note("packets", packets);
                        talk.finish(figures);
                    },
                ));
            }
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - IPSecESP",
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "offloaded confidentiality and authentication on IPv4 and IPv6 ESP frames: AES-GCM, and null \
                 encryption with SHA-1-96 and AES-GMAC, with simple sends",
        cases,
    }
}
