//! NDISTest 6.5 - [2 Machine] - IPSecAH.

use ipsecov2_tests::hlk::{Case, Job};
use tcpip::algorithm::Authentication;

use crate::{
    ipsec::{MODES, Talk, VERSIONS, ah, ndis},
    packets::{Payload, name},
};

/// The algorithms that the job lists.
const ALGORITHMS: [(&str, Authentication); 4] = [
    ("AUTH-SHA-1-96", Authentication::HmacSha1),
    ("AUTH-AES-GMAC 128", Authentication::AesGmac128),
    ("AUTH-AES-GMAC 192", Authentication::AesGmac192),
    ("AUTH-AES-GMAC 256", Authentication::AesGmac256),
];

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (algorithm, authentication) in ALGORITHMS {
        for version in VERSIONS {
            for (mode, called) in MODES {
                let ndis = ndis(cases.len());
                cases.push(Case::new(
                    format!("{algorithm}, {}, {called}", name(version)),
                    format!("simple sends of TCP, UDP and ICMP under AH, both ways, NDIS {ndis}"),
                    move |figures| {
                        let talk = Talk::start(&ah(mode, authentication), version, ndis);
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
        name: "NDISTest 6.5 - [2 Machine] - IPSecAH",
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "offloaded authentication on IPv4 and IPv6 AH frames: SHA-1-96 and AES-GMAC, with simple sends",
        cases,
    }
}
