//! Fault injection: which calls fail, and how often.

mod machine_support;

use std::{hint::black_box, sync::Arc};

use machine_support::{F1, F3, drive, imports, machine};
use ndis_sim::{
    Irql, Machine,
    inject::{Faults, Places},
};

const NON_PAGED: u64 = 0x40;
const TAG: u64 = 0x3130_4654;

/// Allocates three times in a loop and once behind it; the result has a bit for each success.
extern "efiapi" fn allocate_four(allocate: F3, free: F1) -> u64 {
    let mut successes = 0;
    // Not to be unrolled: it is one place.
    for i in 0..black_box(3) {
        let p = allocate(NON_PAGED, 24, TAG);
        successes |= u64::from(p != 0) << i;
        if p != 0 {
            free(p);
        }
    }
    let p = allocate(NON_PAGED, 24, TAG);
    if p != 0 {
        free(p);
    }
    successes | u64::from(p != 0) << 3
}

fn run(m: &Machine) -> u64 {
    let args = imports(m, ["ExAllocatePool2", "ExFreePool"]);
    drive(m, Irql::PASSIVE, allocate_four as *const (), &args).unwrap()
}

/// Runs until a run has found no new place, on a machine of its own each time, and returns what
/// succeeded in each.
fn search(places: &Arc<Places>, time: u64) -> Vec<u64> {
    let mut results = Vec::new();
    loop {
        let m = machine();
        m.faults().fail_new_place(places, time);
        results.push(run(&m));
        let found = m.faults().found();
        assert_eq!(m.faults().failures(), u64::from(found.is_some()));
        match found {
            Some(place) => assert_eq!(place.export, "ExAllocatePool2"),
            None => return results,
        }
    }
}

#[test]
fn every_place_fails_once_and_alone() {
    let places = Places::new();
    assert_eq!(search(&places, 1), [0b1110, 0b0111, 0b1111]);
    assert_eq!(places.by_export(), [("ExAllocatePool2", 2)].into());
    let all = places.all();
    let stacks: Vec<_> = all.keys().map(|place| &place.stack).collect();
    assert_ne!(stacks[0], stacks[1]);
    assert!(all.keys().all(|place| place.callback == "TestCallback"));
    // Nothing is left for another search with the same places.
    assert_eq!(search(&places, 1), [0b1111]);
}

#[test]
fn a_place_can_fail_at_a_later_time() {
    let places = Places::new();
    assert_eq!(search(&places, 3), [0b1011, 0b1111]);
    assert_eq!(search(&Places::new(), 4), [0b1111]);
}

#[test]
fn random_failures_are_those_of_the_seed() {
    let failing = |seed, probability| {
        let faults = Faults::default();
        faults.fail_randomly(seed, probability);
        let failing: Vec<_> = (0..200).map(|_| faults.hit("ExAllocatePool2")).collect();
        let count = failing.iter().filter(|fails| **fails).count();
        assert_eq!(faults.failures(), count as u64);
        (failing, count)
    };
    let (first, count) = failing(7, 0.25);
    assert!((20..80).contains(&count), "{count} of 200 with p = 1/4");
    assert_eq!(failing(7, 0.25).0, first);
    assert_ne!(failing(8, 0.25).0, first);
    assert_eq!(failing(7, 0.0).1, 0);
    assert_eq!(failing(7, 1.0).1, 200);
}

#[test]
fn disarmed_nothing_fails() {
    let m = machine();
    m.faults().fail_randomly(1, 1.0);
    assert_eq!(run(&m), 0);
    m.faults().clear();
    assert_eq!(run(&m), 0b1111);
    assert_eq!(m.faults().failures(), 0);
    assert_eq!(m.faults().found(), None);
}
