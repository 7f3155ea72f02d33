//! Pauses that come in the midst of something.

mod ndis_support;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use ndis_sim::{
    Machine,
    ndis::{Collector, SendNbl, rules},
};
use ndis_support::{driver::Loop, *};

/// "The driver waits for all calls to the NdisMIndicateReceiveNetBufferLists function to return" ("Pausing an
/// Adapter"): that the frames are back is not enough.
#[test]
fn a_pause_waits_for_indications_whose_frames_are_back() {
    deed(
        At::Returned,
        |adapter, _| {
            ndis!(NdisMPauseComplete(adapter.handle));
            None
        },
        rules::PAUSE_COMPLETE,
        "0 receives outstanding, and 1 indications under way",
    );
}

/// Stays in MiniportSendNetBufferLists for a while, and notes whether MiniportPause was called meanwhile.
fn linger(adapter: &Loop, _: u64) -> Option<i32> {
    adapter.plan.note("sending");
    for _ in 0..500 {
        ndis!(KeQueryTimeIncrement());
    }
    // Refused: what this driver would have to indicate is not counted yet.
    if !adapter.running.swap(false, SeqCst) {
        adapter.plan.note("paused meanwhile");
    }
    None
}

/// "The driver should reject any new send requests made to its MiniportSendNetBufferLists function" while it
/// pauses: so there are such calls. A schedule has them, and has them end before, too.
#[test]
fn a_schedule_has_pauses_during_calls() {
    let is_met = |seed| {
        let machine = Machine::builder().processors(2).canaries(false);
        let machine = machine.stack_limit(None).in_turns(seed).build();
        let rig = Rig::on(Plan::new((6, 30)).doing(At::Send, linger), machine);
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let open = adapter.open(Collector::new()).unwrap();
        rig.machine.scope(|scope| {
            scope.spawn(|| open.send(vec![SendNbl::new(frame(60))]).unwrap());
            while rig.plan.notes.lock().unwrap().is_empty() {
                rig.machine.sleep(Duration::from_micros(10));
            }
            adapter.pause().unwrap();
        });
        drop(open);
        adapter.halt().unwrap();
        assert!(driver.unload().unwrap().is_clean());
        let notes = rig.plan.notes.lock().unwrap();
        notes.iter().any(|note| note == "paused meanwhile")
    };
    let met = (0..24).filter(|seed| is_met(*seed)).count();
    assert!((1..24).contains(&met), "{met} of 24");
}
