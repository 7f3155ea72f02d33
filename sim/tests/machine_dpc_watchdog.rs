//! The watchdog over DPCs that follow each other on a processor.

mod machine_support;

use std::sync::Arc;

use machine_support::*;
use ndis_sim::{Irql, Machine, report::rules};

const STATUS_SUCCESS: u64 = 0;
const STATUS_UNSUCCESSFUL: u64 = 0xC000_0001;

/// What the DPC of these tests uses, and what it has been told.
#[repr(C)]
struct World {
    insert: F3,
    query: F1,
    /// How often the DPC is still to queue itself.
    times: u64,
    /// For each run: status, limit, what is left.
    told: [[u64; 3]; 8],
    count: usize,
}

extern "efiapi" fn routine(dpc: u64, world: *mut World) -> u64 {
    // SAFETY: the test's world, which one processor uses.
    let world = unsafe { &mut *world };
    let mut information = [0_u32; 5];
    let status = (world.query)(information.as_mut_ptr() as u64) & 0xFFFF_FFFF;
    if let Some(told) = world.told.get_mut(world.count) {
        *told = [status, information[2].into(), information[3].into()];
    }
    world.count += 1;
    if world.times > 0 {
        world.times -= 1;
        (world.insert)(dpc, 0, 0);
    }
    0
}

/// Runs a series of `length` DPCs, and returns what each of them was told.
fn series(m: &Arc<Machine>, length: u64) -> Vec<[u64; 3]> {
    let [insert, query] = imports(m, ["KeInsertQueueDpc", "KeQueryDpcWatchdogInformation"]);
    // SAFETY: thunks of these signatures.
    let (insert, query) = unsafe {
        (
            std::mem::transmute::<u64, F3>(insert),
            std::mem::transmute::<u64, F1>(query),
        )
    };
    let world = Box::leak(Box::new(World {
        insert,
        query,
        times: length - 1,
        told: [[99; 3]; 8],
        count: 0,
    }));
    let dpc = Box::leak(Box::new([0_u64; 8])).as_mut_ptr() as u64;
    let args = [dpc, routine as *const () as u64, &raw mut *world as u64];
    call(m, Irql::PASSIVE, "KeInitializeDpc", &args).unwrap();
    // An error is that the machine was stopped: the caller looks.
    let _ = call(m, Irql::PASSIVE, "KeInsertQueueDpc", &[dpc, 0, 0]);
    let _ = m.settle();
    world.told[..world.count.min(8)].to_vec()
}

#[test]
fn a_series_of_dpcs_that_does_not_end_stops_the_machine() {
    let m = machine();
    m.kernel().dpc_watchdog.limit(Some(20));
    series(&m, 20);
    assert!(m.bug_check().is_none(), "20 are allowed");
    // Each series has time of its own.
    series(&m, 20);
    assert!(m.bug_check().is_none(), "20 are allowed, and then 20");
    assert_eq!(m.kernel().dpc_watchdog.longest_series(), 20);
    series(&m, 21);
    assert_eq!(m.bug_check().unwrap().rule(), rules::DPC_SERIES);
}

#[test]
fn a_dpc_is_told_what_is_left_of_its_series() {
    let m = machine();
    let watchdog = &m.kernel().dpc_watchdog;
    watchdog.limit(Some(100));
    let left = |left: [u64; 3]| left.map(|left| [STATUS_SUCCESS, 100, left]).to_vec();
    assert_eq!(series(&m, 3), left([99, 98, 97]));
    assert_eq!(series(&m, 3), left([99, 98, 97]));
    watchdog.exhausted(true);
    assert_eq!(series(&m, 3), left([0, 0, 0]));
    watchdog.exhausted(false);
    watchdog.limit(None);
    assert_eq!(series(&m, 2), [[STATUS_SUCCESS, 0, 0]; 2]);
    assert_eq!(watchdog.queries(), 11);
    assert!(m.bug_check().is_none());
}

#[test]
fn outside_of_a_dpc_there_is_nothing_to_tell() {
    let m = machine();
    let information = Box::leak(Box::new([0_u32; 5])).as_mut_ptr() as u64;
    let name = "KeQueryDpcWatchdogInformation";
    let status = call(&m, Irql::DISPATCH, name, &[information]).unwrap();
    assert_eq!(status & 0xFFFF_FFFF, STATUS_UNSUCCESSFUL);
}

/// As other drivers may leave less: see [`ndis_sim::Builder::perturb`].
#[test]
fn perturbed_there_is_now_and_then_no_time_left() {
    let m = Machine::builder().perturb(4).build();
    let told: Vec<_> = (0..100).flat_map(|_| series(&m, 8)).collect();
    let short = told.iter().filter(|[_, _, left]| *left == 0).count();
    assert!(
        (1..told.len() / 2).contains(&short),
        "{short} of {}",
        told.len()
    );
}
