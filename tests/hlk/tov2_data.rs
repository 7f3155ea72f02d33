//! IPsec TOv2 Logo Test, the groups Data Testing for IPv4 and for IPv6.
//!
//! Its page names the scenarios and not the cases: the names of the cases are this suite's.

use std::{
    mem,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lab_options,
    link::{Checksums, Course, Link},
};
use tcpip::{
    algorithm::Authentication::AesGmac128,
    lab::{NdisVersion, status_name},
    offload::Way,
    plan::{Plan, PlanMode, Shape, Version},
    policy::Keys,
    sas::{Sa, Spi},
    split::Split,
};

use crate::{
    ipsec::{Speaker, Talk, ah, ah_esp, esp, ndis, sas},
    packets::{Hosts, Payload, name},
    variety,
};

/// The jobs, one for each IP version.
pub fn jobs() -> [Job; 2] {
    [
        job("IPsec TOv2 Logo Test - Data Testing for IPv4", Version::V4),
        job("IPsec TOv2 Logo Test - Data Testing for IPv6", Version::V6),
    ]
}

fn job(name: &'static str, version: Version) -> Job {
    let mut cases = Vec::new();
    protocols(&mut cases, version);
    sizes(&mut cases, version);
    rekeying(&mut cases, version);
    tunnels(&mut cases, version);
    multiple(&mut cases, version);
    Job {
        name,
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "IPsec task offload with different protocols and data sizes, rekey intervals, in tunnel mode, and \
                 with multiple security associations",
        cases,
    }
}

/// Policies of the algorithm groups, one of each protocol.
fn policies(mode: PlanMode) -> [(&'static str, Plan); 3] {
    [
        ("AH[AESGMAC128]", ah(mode, AesGmac128)),
        ("ESP[GCM128,GCM128]", esp(mode, "aes-gcm-128")),
        (
            "AH+ESP[GCM128,GCM128]",
            ah_esp(mode, AesGmac128, "aes-gcm-128"),
        ),
    ]
}

fn protocols(cases: &mut Vec<Case>, version: Version) {
    for (payload, called) in [
        (Payload::Tcp, "TCP"),
        (Payload::Udp, "UDP"),
        (Payload::Icmp, "ICMP"),
    ] {
        for (policy, plan) in policies(PlanMode::Transport) {
            let ndis = ndis(cases.len());
            cases.push(Case::new(
                format!("Protocols: {called}, {policy}"),
                format!("{called} traffic both ways is offloaded, NDIS {ndis}"),
                move |figures| {
                    let talk = Talk::start(&plan, version, ndis);
                    let mut packets = 0;
                    talk.each(|host| packets += host.simple_sends(&[payload]));
                    figures.note("packets", packets);
                    talk.finish(figures);
                },
            ));
        }
    }
}

/// Bytes that are handed to TCP at once.
const SIZES: [(usize, &str); 7] = [
    (1, "1 byte"),
    (512, "512 bytes"),
    (4_096, "4 KiB"),
    (16_384, "16 KiB"),
    (65_536, "64 KiB"),
    (131_072, "128 KiB"),
    (262_143, "256 KiB less 1"),
];

fn sizes(cases: &mut Vec<Case>, version: Version) {
    for (len, called) in SIZES {
        for (policy, plan) in policies(PlanMode::Transport) {
            let ndis = ndis(cases.len());
            cases.push(Case::new(
                format!("Data sizes: {called}, {policy}"),
                format!("TCP data, in one large send where it is more than a segment, NDIS {ndis}"),
                move |figures| {
                    let talk = Talk::start(&plan, version, ndis);
                    let mut packets = 0;
                    talk.each(|host| packets += data(host, len));
                    figures.note("packets on the wire", packets);
                    talk.finish(figures);
                },
            ));
        }
    }
}

/// TCP hands the data down as one packet, whatever its length.
fn data(host: &mut Speaker<'_>, len: usize) -> usize {
    if len > host.hosts.mss(host.overhead) {
        return host.large_sends(len, false);
    }
    let frame = host.hosts.frame(Payload::Tcp, len, 1);
    host.send(&[frame], Split::Headers, Checksums::Left)
}

/// Packets between two key exchanges, and how many there are.
const INTERVALS: [(usize, usize); 3] = [(1, 300), (10, 100), (100, 20)];

fn rekeying(cases: &mut Vec<Case>, version: Version) {
    for (interval, rekeys) in INTERVALS {
        for (policy, plan) in policies(PlanMode::Transport) {
            let ndis = ndis(cases.len());
            cases.push(Case::new(
                format!("Rekey intervals: {interval} packet(s), {policy}"),
                format!("{rekeys} times new SAs take over while traffic runs, and others come and go all the time, NDIS {ndis}"),
                move |figures| rekey(&plan, version, interval, rekeys, ndis, figures),
            ));
        }
    }
}

/// Ends the other thread, whatever happens to this one.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn rekey(
    plan: &Plan,
    version: Version,
    interval: usize,
    rekeys: usize,
    ndis: NdisVersion,
    figures: &mut Figures,
) {
    let link = Link::start(&lab_options(ndis));
    let hosts = hosts(version, 1);
    // SPIs and keys are new each time.
    let generation = |number: u64| {
        let plan = Plan {
            keys: Keys::Seed(number),
            ..*plan
        };
        let mut sas = sas(&plan, hosts);
        for sa in &mut sas {
            let spi = Spi(0x3000_0000 + 2 * number as u32);
            sa.esp.iter_mut().for_each(|esp| esp.spi = spi);
            let spi = Spi(spi.0 + 1);
            sa.ah.iter_mut().for_each(|ah| ah.spi = spi);
        }
        link.offload(hosts.course, sas)
    };
    let stop = AtomicBool::new(false);
    let mut packets = 0;
    let others = thread::scope(|scope| {
        let others = scope.spawn(|| come_and_go(&link, version, &stop));
        let guard = StopOnDrop(&stop);
        let mut current = generation(0);
        for number in 1..=rekeys as u64 {
            let mut next = generation(number);
            // The last packets of the old SAs are still under way when the new ones are used.
            let mut of_current = link.sender(&current);
            let mut of_next = link.sender(&next);
            for (sender, offloaded) in [(&mut of_current, &current), (&mut of_next, &next)] {
                let len = 40 + number as usize % 1000;
                let frames = vec![hosts.frame(Payload::Udp, len, number); interval];
                packets +=
                    link.exchange(sender, offloaded, &frames, Split::Headers, Checksums::Done);
            }
            next.skip(interval);
            link.withdraw(mem::replace(&mut current, next));
        }
        link.withdraw(current);
        drop(guard);
        others.join().expect("the other SAs come and go")
    });
    assert_eq!(packets, 2 * interval * rekeys, "a packet went in the clear");
    figures.note("packets", packets);
    figures.note("rekeys", rekeys);
    figures.note("other SAs added and removed meanwhile", others);
    // None of all these is left: there is room for as many as the adapter takes.
    let capacity = link.a.port.offers().expect("a report").capacity;
    let full = link.offload(Course::Forth, variety(version, capacity));
    link.withdraw(full);
    link.finish();
}

/// Adds and removes SAs of other hosts, a list at a time: how many.
fn come_and_go(link: &Link, version: Version, stop: &AtomicBool) -> usize {
    let others: Vec<_> = (100..116)
        .map(|turn| variety::sa(turn.into(), hosts(version, turn)))
        .collect();
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let offloaded = link.offload(Course::Forth, others.clone());
        count += offloaded.sas.len();
        link.withdraw(offloaded);
    }
    count
}

fn tunnels(cases: &mut Vec<Case>, version: Version) {
    for outer in [Version::V4, Version::V6] {
        for (policy, plan) in policies(PlanMode::Tunnel) {
            let plan = Plan {
                shape: Shape {
                    outer: Some(outer),
                    ..plan.shape
                },
                ..plan
            };
            let ndis = ndis(cases.len());
            cases.push(Case::new(
                format!("Tunnel mode: {policy} in {}", name(outer)),
                format!("TCP, UDP and ICMP of two hosts in the tunnel of two gateways, both ways, NDIS {ndis}"),
                move |figures| {
                    let talk = Talk::start(&plan, version, ndis);
                    let mut packets = 0;
                        talk.each(|host| packets += host.simple_sends(&Payload::ALL));
                        figures.note("packets", packets);
                    talk.finish(figures);
                },
            ));
        }
    }
}

/// How many SAs; none for as many as the adapter takes.
const COUNTS: [Option<u16>; 4] = [Some(2), Some(32), Some(256), None];

fn hosts(version: Version, number: u16) -> Hosts {
    Hosts {
        version,
        number,
        course: Course::Forth,
    }
}

/// So many SAs of all kinds, each of other hosts.
fn variety(version: Version, count: usize) -> Vec<Sa> {
    let numbers = 0..u16::try_from(count).expect("fewer than there are hosts");
    let sas = numbers.map(|number| variety::sa(number.into(), hosts(version, number)));
    sas.collect()
}

fn multiple(cases: &mut Vec<Case>, version: Version) {
    for count in COUNTS {
        let ndis = ndis(cases.len());
        let (called, checks) = match count {
            Some(count) => (
                count.to_string(),
                "traffic on all of them, of all kinds in turn",
            ),
            None => (
                "SaOffloadCapacity".to_owned(),
                "traffic on as many as the adapter reports; one more is refused and changes nothing",
            ),
        };
        cases.push(Case::new(
            format!("Multiple security associations: {called}"),
            format!("{checks}, NDIS {ndis}"),
            move |figures| many(version, count, ndis, figures),
        ));
    }
}

fn many(version: Version, count: Option<u16>, ndis: NdisVersion, figures: &mut Figures) {
    let link = Link::start(&lab_options(ndis));
    let capacity = link.a.port.offers().expect("a report").capacity;
    let all = count.map_or(capacity, usize::from);
    let mut sas = variety(version, all + 1);
    let more = sas.pop().expect("one more");
    let offloaded = link.offload(Course::Forth, sas);
    if count.is_none() {
        for (end, way) in [(&link.a, Way::Outbound), (&link.b, Way::Inbound)] {
            let added = end.port.add_sas(&[&more], way);
            let refused = added.expect("the machine runs").remove(0);
            let status = refused.expect_err("there is no room").status;
            assert_eq!(status_name(status), "NDIS_STATUS_RESOURCES");
        }
    }
    let mut sender = link.sender(&offloaded);
    let frames: Vec<_> = (0..all as u16)
        .map(|number| {
            let payload = Payload::ALL[usize::from(number) % 3];
            hosts(version, number).frame(payload, 200, number.into())
        })
        .collect();
    let packets = link.exchange(
        &mut sender,
        &offloaded,
        &frames,
        Split::Headers,
        Checksums::Done,
    );
    assert_eq!(packets, frames.len(), "a packet went in the clear");
    figures.note("offloaded SAs", all);
    figures.note("packets", packets);
    link.withdraw(offloaded);
    link.finish();
}
