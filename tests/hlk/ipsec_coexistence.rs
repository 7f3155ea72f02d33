//! The coexistence that the requirement asks for, which no job of the HLK has to itself: "using IPsec task offload
//! does not preclude leveraging" large send offload, checksum offload and receive side scaling, "for each IPsec mode".
//!
//! Large sends are not for tunnels ("Sending Network Data with IPsec Offload Version 2"), so with SAs in tunnel mode
//! they are those of other hosts. The adapter has no receive side scaling.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lab_options,
    link::Link,
};
use tcpip::{
    algorithm::Authentication,
    lab::NdisVersion,
    plan::{Plan, PlanMode, Shape, UdpPlace},
};

use crate::{
    ipsec::{Talk, VERSIONS, ah, ah_esp, esp, ndis},
    packets::name,
};

/// The payloads of the large sends.
const SIZES: [usize; 3] = [3_000, 20_000, 65_000];

/// Every mode, and every header in transport mode.
fn plans() -> [(&'static str, Plan); 8] {
    let transport = PlanMode::Transport;
    let gcm = esp(transport, "aes-gcm-128");
    let udp = Plan {
        shape: Shape {
            udp_esp: Some(UdpPlace::Outer),
            ..gcm.shape
        },
        ..gcm
    };
    let sha1 = Authentication::HmacSha1;
    [
        ("ESP, transport mode", gcm),
        ("ESP in UDP, transport mode", udp),
        ("AH, transport mode", ah(transport, sha1)),
        (
            "AH and ESP, transport mode",
            ah_esp(transport, sha1, "aes-gcm-256"),
        ),
        ("ESP, tunnel mode", esp(PlanMode::Tunnel, "aes-gcm-128")),
        ("AH, tunnel mode", ah(PlanMode::Tunnel, sha1)),
        (
            "AH and ESP, tunnel mode",
            ah_esp(PlanMode::Tunnel, sha1, "aes-gcm-256"),
        ),
        (
            "ESP, transport over tunnel",
            esp(PlanMode::TransportOverTunnel, "aes-gcm-128"),
        ),
    ]
}

/// The job.
pub fn job() -> Job {
    let mut cases: Vec<_> = NdisVersion::ALL.map(reported_together).into();
    for (called, plan) in plans() {
        for version in VERSIONS {
            let ndis = ndis(cases.len());
            cases.push(Case::new(
                format!("Checksum offload, {called}, {}", name(version)),
                format!("checksums are filled in before packets are sealed, and validated when they are opened, NDIS {ndis}"),
                move |figures| {
                    let talk = Talk::start(&plan, version, ndis);
                    let mut packets = 0;
                    talk.each(|host| packets += host.with_checksum_offload());
                    figures.note("packets", packets);
                    talk.finish(figures);
                },
            ));
            let in_tunnel = plan.shape.mode != PlanMode::Transport;
            let checks = match in_tunnel {
                false => format!(
                    "large packets are cut and each segment is sealed; other packets of the SA in between, NDIS {ndis}"
                ),
                true => format!(
                    "large packets without SA are cut, and packets go through the tunnel in between, NDIS {ndis}"
                ),
            };
            cases.push(Case::new(
                format!("Large send offload, {called}, {}", name(version)),
                checks,
                move |figures| {
                    let talk = Talk::start(&plan, version, ndis);
                    let (mut packets, mut segments) = (0, 0);
                    talk.each(|host| {
                        for len in SIZES {
                            segments += host.large_sends(len, in_tunnel);
                            packets += host.with_checksum_offload();
                        }
                    });
                    figures.note("segments of large sends", segments);
                    figures.note("other packets", packets);
                    talk.finish(figures);
                },
            ));
        }
    }
    Job {
        name: "Device.Network.LAN.IPsec.IPsec - Coexistence",
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "IPsec task offload does not preclude large send and checksum offload, in each IPsec mode",
        cases,
    }
}

fn reported_together(version: NdisVersion) -> Case {
    Case::new(
        format!("Capabilities, NDIS {version}"),
        "IPsec, checksums and large sends are all on in the current configuration at once",
        move |figures: &mut Figures| {
            let link = Link::start(&lab_options(version));
            let offloads = link.a.port.adapter.offloads();
            let current = offloads.current().expect("a current configuration").get();
            assert_ne!(current.IPsecV2.Esp, 0, "ESP");
            assert_ne!(current.IPsecV2.Ah, 0, "AH");
            assert_ne!(current.IPsecV2.Transport, 0, "transport mode");
            assert_ne!(current.IPsecV2.Tunnel, 0, "tunnel mode");
            assert_ne!(current.IPsecV2.IPv6Supported, 0, "IPv6");
            assert_ne!(current.IPsecV2.LsoSupported, 0, "large sends with IPsec");
            assert_ne!(current.LsoV1.IPv4.MaxOffLoadSize, 0, "LSOv1");
            assert_ne!(current.LsoV2.IPv4.MaxOffLoadSize, 0, "LSOv2 for IPv4");
            assert_ne!(current.LsoV2.IPv6.MaxOffLoadSize, 0, "LSOv2 for IPv6");
            for (checksums, encapsulation) in [
                ("sent, IPv4", current.Checksum.IPv4Transmit.Encapsulation),
                ("received, IPv4", current.Checksum.IPv4Receive.Encapsulation),
                ("sent, IPv6", current.Checksum.IPv6Transmit.Encapsulation),
                ("received, IPv6", current.Checksum.IPv6Receive.Encapsulation),
            ] {
                assert_ne!(encapsulation, 0, "checksums {checksums}");
            }
            figures.note("SaOffloadCapacity", current.IPsecV2.SaOffloadCapacity);
            link.finish();
        },
    )
}
