//! IPsec TOv2 Logo Test, the groups Algorithm Testing for IPv4 and for IPv6.
//!
//! How its names are read. Each is a policy, and so a pair of SAs, in transport mode:
//!
//! | name | SAs |
//! |---|---|
//! | `AH[AESGMACn]` | AH with AES-GMAC |
//! | `ESP[None,GCMn]` | ESP without encryption, with AES-GMAC (cipher first: AES-GCM cannot leave out its integrity) |
//! | `ESP[GCMn,GCMn]` | ESP with AES-GCM, which is named as cipher and as integrity |
//! | `AH+ESP[GCMn,GCMn]` | a bundle: AH with AES-GMAC over ESP with AES-GCM |
//! | `..._authIP` | the same; the policy has its keys from AuthIP instead of IKE, of which an adapter sees only keys |
//!
//! The page's `AH+ESP[GCM256,GCM256]TDP` is taken for TCP, which is the one that would be missing.

use ipsecov2_tests::hlk::{Case, Figures, Job};
use tcpip::{
    algorithm::Authentication::{AesGmac128, AesGmac192, AesGmac256},
    lab::NdisVersion,
    plan::{Plan, PlanMode, Version},
    policy::Keys,
};

use crate::{
    ipsec::{Talk, ah, ah_esp, esp, ndis},
    packets::Payload,
};

const TRANSPORT: PlanMode = PlanMode::Transport;

/// The policies, in the page's order.
fn policies() -> [(&'static str, Plan); 12] {
    [
        ("AH[AESGMAC128]", ah(TRANSPORT, AesGmac128)),
        ("AH[AESGMAC192]", ah(TRANSPORT, AesGmac192)),
        ("AH[AESGMAC256]", ah(TRANSPORT, AesGmac256)),
        ("ESP[None,GCM128]", esp(TRANSPORT, "null+aes-gmac-128")),
        ("ESP[None,GCM192]", esp(TRANSPORT, "null+aes-gmac-192")),
        ("ESP[None,GCM256]", esp(TRANSPORT, "null+aes-gmac-256")),
        ("ESP[GCM128,GCM128]", esp(TRANSPORT, "aes-gcm-128")),
        ("ESP[GCM192,GCM192]", esp(TRANSPORT, "aes-gcm-192")),
        ("ESP[GCM256,GCM256]", esp(TRANSPORT, "aes-gcm-256")),
        (
            "AH+ESP[GCM128,GCM128]",
            ah_esp(TRANSPORT, AesGmac128, "aes-gcm-128"),
        ),
        (
            "AH+ESP[GCM192,GCM192]",
            ah_esp(TRANSPORT, AesGmac192, "aes-gcm-192"),
        ),
        (
            "AH+ESP[GCM256,GCM256]",
            ah_esp(TRANSPORT, AesGmac256, "aes-gcm-256"),
        ),
    ]
}

/// The jobs, one for each IP version.
pub fn jobs() -> [Job; 2] {
    [
        job(
            "IPsec TOv2 Logo Test - Algorithm Testing for IPv4",
            Version::V4,
        ),
        job(
            "IPsec TOv2 Logo Test - Algorithm Testing for IPv6",
            Version::V6,
        ),
    ]
}

fn job(name: &'static str, version: Version) -> Job {
    let mut cases = Vec::new();
    for (payload, called) in [(Payload::Tcp, "TCP"), (Payload::Udp, "UDP")] {
        for (policy, plan) in policies() {
            cases.push(case(
                format!("{policy}{called}"),
                plan,
                version,
                payload,
                ndis(cases.len()),
            ));
        }
        let (policy, plan) = policies()[0];
        let other = Plan {
            keys: Keys::Random,
            ..plan
        };
        cases.push(case(
            format!("{policy}{called}_authIP"),
            other,
            version,
            payload,
            ndis(cases.len()),
        ));
    }
    Job {
        name,
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "with each algorithm of authentication and encryption, traffic between two machines is offloaded, \
                 and as many SAs as the policy makes",
        cases,
    }
}

fn case(name: String, plan: Plan, version: Version, payload: Payload, ndis: NdisVersion) -> Case {
    let checks = format!(
        "{payload:?} both ways, each packet offloaded at both ends; an SA each way at both adapters, NDIS {ndis}"
    );
    Case::new(name, checks, move |figures: &mut Figures| {
        let talk = Talk::start(&plan, version, ndis);
        let mut packets = 0;
        talk.each(|host| packets += host.simple_sends(&[payload]));
        figures.note("packets", packets);
        talk.finish(figures);
    })
}
