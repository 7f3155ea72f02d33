//! Thousands of randomised schedules: direct OIDs against sends and receives, with pause, reset, power,
//! removal, reconfiguration and other requests mixed in, on several adapters and processors.
//!
//! `IPSECOV2_STRESS_SECONDS` says for how long; `IPSECOV2_STRESS_SEED` names the first schedule, to have it
//! again, otherwise the clock does.

use std::{
    env,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ipsecov2_tests::{
    stress::{self, Figures},
    tell,
};

/// What a whole test run spends on it unless told otherwise.
const DEFAULT_SECONDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

#[test]
fn randomised_schedules_break_no_rule() {
    let seconds = number("IPSECOV2_STRESS_SECONDS").unwrap_or(DEFAULT_SECONDS);
    let first = number("IPSECOV2_STRESS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_millis() as u64)
    });
    let began = Instant::now();
    let mut told = began;
    let mut figures = Figures::default();
    for seed in first.. {
        figures += stress::run(seed);
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            tell(format_args!("stress: {figures}"));
        }
        if began.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    tell(format_args!(
        "stress: {figures}; from seed {first} in {} s, no violation",
        began.elapsed().as_secs()
    ));
    assert!(figures.completed > 0 && figures.verified > 0 && figures.operations > 0);
}

/// The choices of a seed are the same every time: one thread of each kind, and no other's events.
#[test]
fn a_seed_decides() {
    let once = stress::plan_of(42);
    assert_eq!(once, stress::plan_of(42));
    assert_ne!(once, stress::plan_of(43));
}
