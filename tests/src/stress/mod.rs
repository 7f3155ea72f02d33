//! Randomised schedules: adapters of the driver on one wire, with transports that send and receive on some
//! processors, offload and delete SAs by direct requests on others, and an administrator who pauses,
//! resets, puts to sleep, reconfigures and removes adapters meanwhile. All of it is chosen by a seed, which
//! also perturbs the order of events in the simulator. In the end the books must balance.
//!
//! | module | concern |
//! |---|---|
//! | `plan` | what the seed decides before anything runs |
//! | `station` | an adapter's place on the wire, and its transport's requests |
//! | `workers`, `associate`, `administer` | who acts: transports that send and return, those that offload, administrators |
//! | `audit` | the books in the end |
//! | `figures` | what happened, counted |

mod administer;
mod associate;
mod audit;
mod figures;
mod plan;
mod station;
mod workers;

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ndis_sim::{
    Machine,
    inf::{Inf, RegValue},
    ndis::{Miniport, Open, Package},
};
use tcpip::lab::HARDWARE_ID;

use crate::{flow::Flows, ledger::Ledger, listener::Listener};
pub use figures::{Action, Figures};

use figures::Counts;
use plan::{Plan, Pool};
use station::Station;

/// One schedule in progress.
struct World {
    machine: Arc<Machine>,
    driver: Miniport,
    plan: Plan,
    flows: Arc<Flows>,
    /// Of each flow, the next number.
    next: Vec<AtomicU64>,
    /// Of each flow: something was done that lets its packets come up sealed, or not at all.
    disturbed: Vec<AtomicBool>,
    stations: Vec<Station>,
    ledger: Arc<Ledger>,
    counts: Counts,
    /// Every binding that there was.
    bindings: RwLock<Vec<(Arc<Listener>, Open)>>,
    stop: AtomicBool,
}

impl World {
    /// Something is done to a station that loses frames; and when the others' links follow it, theirs.
    fn interrupt(&self, station: &Station) {
        for other in &self.stations {
            if self.plan.follows || other.index == station.index {
                other.interrupted.store(true, Ordering::Release);
            }
        }
    }
}

/// What a seed decides, in words.
#[must_use]
pub fn plan_of(seed: u64) -> String {
    format!("{:?}", Plan::of(seed))
}

/// Whether the threads of a seed's schedule take turns, so that the seed decides their order.
#[must_use]
pub fn takes_turns(seed: u64) -> bool {
    Plan::of(seed).in_turns
}

/// The flows of a seed, with all that is in them.
#[must_use]
pub fn flows_of(seed: u64) -> String {
    format!("{:?}", Plan::of(seed).flows())
}

/// Calls that do not fail here: whoever cannot read its configuration is another adapter.
const READ: [&str; 3] = [
    "NdisOpenConfigurationEx",
    "NdisReadConfiguration",
    "NdisReadNetworkAddress",
];

/// From now on calls fail that may: which ones of a function, counted from here, the seed decides for each
/// function by itself.
fn fail_calls(world: &World, probability: f64) {
    let seed = world.plan.seed ^ 0xfa11;
    let fails = move |name: &str, number: u64| {
        let mut hasher = std::hash::DefaultHasher::new();
        (seed, name, number).hash(&mut hasher);
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        !READ.contains(&name) && random.f64() < probability
    };
    world.machine.faults().fail_if(fails);
}

/// What came of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What happened.
    pub figures: Figures,
    /// A hash of the order in which it did, if threads took turns.
    pub order: Option<u64>,
}

/// Runs the schedule of a seed.
///
/// # Panics
/// When a rule is broken, something leaks, or the books do not balance; the message has the seed.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    run_plan(Plan::of(seed))
}

fn run_plan(plan: Plan) -> Outcome {
    let seed = plan.seed;
    let machine = Machine::builder().processors(plan.processors);
    let machine = if plan.in_turns {
        machine.in_turns(seed)
    } else {
        machine.perturb(seed)
    };
    let machine = match plan.pool {
        Pool::Guarded => machine.special_pool(false).build(),
        Pool::Special => machine.build(),
        Pool::VerifyStart => machine.verify_start().build(),
    };
    let inf = Inf::load(&crate::inf()).expect("the INF is sound");
    let package =
        Package::new(inf, HARDWARE_ID).parameter("NdisVersion", RegValue::Dword(plan.version));
    let driver = Miniport::load(&machine, &crate::driver(), package)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let flows = Arc::new(plan.flows());
    let world = World {
        next: flows.0.iter().map(|_| AtomicU64::new(0)).collect(),
        disturbed: flows.0.iter().map(|_| AtomicBool::new(false)).collect(),
        stations: (0..plan.stations).map(Station::new).collect(),
        ledger: Arc::default(),
        counts: Counts::default(),
        bindings: RwLock::default(),
        stop: AtomicBool::new(false),
        machine,
        driver,
        plan,
        flows,
    };
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
    for station in &world.stations {
        station.start(&world, &mut random);
    }
    let settled = world.machine.settle();
    settled.unwrap_or_else(|check| panic!("seed {seed}: {check}"));
    workers::open_flows(&world);
    if let Some(probability) = world.plan.failures {
        fail_calls(&world, probability);
    }
    world.machine.scope(|scope| {
        // Each has random numbers of its own, so that they do not depend on who runs first.
        let mut fork = || random.fork();
        let mut senders = Vec::new();
        for station in &world.stations {
            for _ in 0..world.plan.senders {
                let random = fork();
                senders.push(scope.spawn(|| workers::send(&world, station, random)));
            }
            let random = fork();
            scope.spawn(|| associate::associate(&world, station, random));
        }
        let random = fork();
        scope.spawn(|| workers::give_back(&world, random));
        let administrators: Vec<_> = (0..world.plan.administrators)
            .map(|_| {
                let random = fork();
                scope.spawn(|| administer::administer(&world, random))
            })
            .collect();
        let ended = senders.into_iter().chain(administrators);
        let ended: Vec<_> = ended.map(|worker| worker.join()).collect();
        world.stop.store(true, Ordering::Release);
        for result in ended {
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        }
    });
    audit::audit(world)
}
