//! NDISTest 6.5 - [2 Machine] - IPSecAhEsp.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lab_options,
    link::{Checksums, Course, Link},
};
use ndis_sim::ndis::{Adapter, Error, PowerState};
use tcpip::{lab::NdisVersion, split::Split};

use crate::{
    ipsec::{VERSIONS, ndis},
    packets::{Hosts, Payload},
    variety,
};

/// Pairs of hosts, each of which has an SA for each course.
const PAIRS: u16 = 96;
/// How often an event happens.
const ROUNDS: usize = 3;

/// What the job does to an adapter.
#[derive(Clone, Copy, Debug)]
enum Event {
    Reset,
    Standby,
    Both,
}

impl Event {
    fn happen(self, adapter: &Adapter) -> Result<(), Error> {
        let standby = || {
            adapter.set_power(PowerState::D3)?;
            adapter.set_power(PowerState::D0)
        };
        match self {
            Self::Reset => adapter.reset(),
            Self::Standby => standby(),
            Self::Both => adapter.reset().and_then(|()| standby()),
        }
    }
}

/// The job.
pub fn job() -> Job {
    let mut cases = vec![Case::new(
        "variety of AH and ESP SAs",
        format!(
            "{PAIRS} pairs of hosts, each with an SA or bundle each way, of all kinds in turn; traffic on all of them"
        ),
        |figures| traffic_on_all(ndis(0), |_| {}, figures),
    )];
    for (event, name) in [
        (Event::Reset, "MiniportReset"),
        (Event::Standby, "Standby (D0, D3, D0)"),
        (Event::Both, "MiniportReset and Standby"),
    ] {
        for (at_a, at_b, whose) in [
            (true, false, "of the test adapter"),
            (false, true, "of the support adapter"),
            (true, true, "of both adapters"),
        ] {
            let ndis = ndis(cases.len());
            cases.push(Case::new(
                format!("{name} {whose}"),
                format!("{ROUNDS} times between traffic: the SAs are kept and go on with their sequence numbers, NDIS {ndis}"),
                move |figures| {
                    let happen = |link: &Link| {
                        for (end, wanted) in [(&link.a, at_a), (&link.b, at_b)] {
                            if wanted {
                                let done = event.happen(&end.port.adapter);
                                done.unwrap_or_else(|error| panic!("{event:?}: {error}"));
                            }
                        }
                    };
                    traffic_on_all(ndis, happen, figures);
                },
            ));
        }
    }
    Job {
        name: "NDISTest 6.5 - [2 Machine] - IPSecAhEsp",
        requirement: "Device.Network.LAN.IPsec.IPsec",
        checks: "a variety of AH and ESP SAs is offloaded, traffic on all of them is processed, also across \
                 MiniportReset and Standby",
        cases,
    }
}

/// Traffic, then the event and traffic again, a few times, all on the same SAs.
fn traffic_on_all(ndis: NdisVersion, event: impl Fn(&Link), figures: &mut Figures) {
    let link = Link::start(&lab_options(ndis));
    let offloaded = Course::BOTH.map(|course| {
        let each = pairs(course).zip(0..);
        link.offload(
            course,
            each.map(|(hosts, turn)| variety::sa(turn, hosts)).collect(),
        )
    });
    let courses = Course::BOTH.into_iter().zip(&offloaded);
    let mut talks: Vec<_> = courses
        .map(|(course, offloaded)| (course, offloaded, link.sender(offloaded)))
        .collect();
    let mut packets = 0;
    for round in 0..=ROUNDS {
        for (course, offloaded, sender) in &mut talks {
            let frames: Vec<_> = pairs(*course)
                .flat_map(|hosts| {
                    let seed = round as u64;
                    let payload = Payload::ALL[(usize::from(hosts.number) + round) % 3];
                    [17, 700].map(|len| hosts.frame(payload, len, seed))
                })
                .collect();
            let protected =
                link.exchange(sender, offloaded, &frames, Split::Headers, Checksums::Done);
            assert_eq!(protected, frames.len(), "a packet went in the clear");
            packets += protected;
        }
        if round < ROUNDS {
            event(&link);
        }
    }
    figures.note(
        "SAs offloaded to each adapter",
        offloaded.iter().map(|one| one.sas.len()).sum::<usize>(),
    );
    figures.note("packets", packets);
    offloaded.into_iter().for_each(|one| link.withdraw(one));
    link.finish();
}

fn pairs(course: Course) -> impl Iterator<Item = Hosts> {
    (0..PAIRS).map(move |number| Hosts {
        version: VERSIONS[usize::from(number % 2)],
        number,
        course,
    })
}
