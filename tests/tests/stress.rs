//! Thousands of randomised schedules: direct OIDs against sends and receives, with pause, reset, power,
//! removal, reconfiguration and other requests mixed in, on several adapters and processors.
//!
//! `IPSECOV2_STRESS_SECONDS` says for how long. Each schedule has a seed, which the message of a failure
//! names; with `IPSECOV2_STRESS_SEED` only that schedule runs. In three of four the threads take turns, and the
//! seed decides everything: once is enough. In the others they run at the same time, the host's scheduler has its
//! part, and such a schedule is repeated until the time is up.

use std::{
    collections::HashSet,
    env,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ipsecov2_tests::{
    stress::{self, Figures},
    tell,
};

/// What a whole test run spends on it unless told otherwise.
const DEFAULT_SECONDS: u64 = 300;
/// Between one report and the next.
const REPORT: Duration = Duration::from_secs(60);
/// Schedules after which everything that a schedule may contain has been there.
const ENOUGH: u64 = 500;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// A first seed that is not that of another run.
fn by_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

#[test]
fn randomised_schedules_break_no_rule() {
    let seconds = number("IPSECOV2_STRESS_SECONDS").unwrap_or(DEFAULT_SECONDS);
    let only = number("IPSECOV2_STRESS_SEED");
    let first = only.unwrap_or_else(by_the_clock);
    let began = Instant::now();
    let mut told = began;
    let mut figures = Figures::default();
    for seed in first.. {
        let seed = only.unwrap_or(seed);
        let run = panic::catch_unwind(AssertUnwindSafe(|| stress::run(seed)));
        let done = run.unwrap_or_else(|panic| {
            tell(format_args!(
                "stress: seed {seed} failed after {figures}; once more: IPSECOV2_STRESS_SEED={seed} cargo \
                 xtask test -p ipsecov2-tests --test stress\n{}",
                stress::plan_of(seed)
            ));
            panic::resume_unwind(panic)
        });
        figures += done.figures;
        if told.elapsed() > REPORT {
            told = Instant::now();
            tell(format_args!("stress: {figures}"));
        }
        let order = only.and(done.order);
        if let Some(order) = order {
            tell(format_args!(
                "stress: seed {seed}: order of events {order:016x}"
            ));
        }
        if order.is_some() || began.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    tell(format_args!(
        "stress: {figures}; from seed {first} in {} s, no violation, no leak",
        began.elapsed().as_secs()
    ));
    assert!(figures.completed > 0);
    if only.is_none() && figures.schedules >= ENOUGH {
        assert!(figures.verified > 0);
        assert_eq!(figures.never_done(), []);
    }
}

/// Every call into and out of the driver comes in the same order, on the same processor.
#[test]
fn a_seed_whose_threads_take_turns_is_the_same_schedule_every_time() {
    let seeds: Vec<_> = (0..16).filter(|seed| stress::takes_turns(*seed)).collect();
    let orders: HashSet<_> = seeds
        .iter()
        .map(|&seed| {
            let once = stress::run(seed);
            assert_eq!(once, stress::run(seed), "seed {seed}");
            once.order
        })
        .collect();
    assert!(orders.len() == seeds.len() && !orders.contains(&None));
}

/// The choices of a seed are the same every time: one thread of each kind, and no other's events.
#[test]
fn a_seed_decides() {
    let of = |seed| (stress::plan_of(seed), stress::flows_of(seed));
    let once = of(42);
    assert_eq!(once, of(42));
    let other = of(43);
    assert!(once.0 != other.0 && once.1 != other.1);
}
