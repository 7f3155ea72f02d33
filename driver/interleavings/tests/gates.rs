//! The gates of an adapter's data path: sends and frames against pause, reset, power and restart.
#![cfg(loom)]

use interleavings::{
    Dispatch, Passive,
    gates::{Finished, Gates},
    state::{Reason, State},
};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use ndis_sys::{NDIS_STATUS_LOW_POWER_STATE, NDIS_STATUS_PAUSED, NDIS_STATUS_RESET_IN_PROGRESS};

/// An adapter as far as its gates go.
struct Adapter {
    gates: Gates,
    state: State,
    /// Sends in progress, and frames that are out.
    inside: AtomicUsize,
    pauses: AtomicUsize,
    resets: AtomicUsize,
}

impl Adapter {
    fn paused() -> Arc<Self> {
        let gates = Gates::closed();
        // SAFETY: nobody uses them yet.
        unsafe { gates.initialize() };
        Arc::new(Self {
            gates,
            state: State::paused(),
            inside: AtomicUsize::new(0),
            pauses: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
        })
    }

    fn running() -> Arc<Self> {
        let adapter = Self::paused();
        adapter.restart();
        adapter
    }

    fn restart(&self) {
        let at = Dispatch::assume();
        self.gates.open_receives(at);
        self.gates.resume(&self.state, Reason::Paused, at);
    }

    /// MiniportSendNetBufferLists; the status with which it was refused.
    fn send(&self) -> Option<i32> {
        let at = Dispatch::assume();
        if let Err(status) = self.gates.enter_tx(&self.state, at) {
            return Some(status);
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        let refusal = self.state.refusal();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.finish(self.gates.leave_tx(at));
        refusal
    }

    /// A frame goes up and comes back.
    fn receive(&self) {
        let at = Dispatch::assume();
        if self.gates.enter_rx(2) {
            self.inside.fetch_add(1, Ordering::SeqCst);
            self.finish(self.gates.leave_rx(1, at));
            self.inside.fetch_sub(1, Ordering::SeqCst);
            self.finish(self.gates.leave_rx(1, at));
        }
    }

    fn finish(&self, finished: Finished) {
        if finished.reset {
            self.end_reset();
        }
        if finished.pause {
            self.end_pause();
        }
    }

    fn end_pause(&self) {
        assert_eq!(self.inside.load(Ordering::SeqCst), 0, "paused too early");
        self.pauses.fetch_add(1, Ordering::SeqCst);
    }

    fn end_reset(&self) {
        self.gates
            .resume(&self.state, Reason::Resetting, Dispatch::assume());
        self.resets.fetch_add(1, Ordering::SeqCst);
    }

    /// MiniportPause.
    fn pause(&self) {
        self.state.set(Reason::Paused);
        if self.gates.pause(Dispatch::assume()) {
            self.end_pause();
        }
    }

    /// MiniportResetEx.
    fn reset(&self) {
        self.state.set(Reason::Resetting);
        match self.gates.reset(Dispatch::assume()) {
            Some(true) => self.end_reset(),
            Some(false) => {}
            None => panic!("there is one reset only"),
        }
    }
}

fn bounded(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn spawn(adapter: &Arc<Adapter>, work: impl FnOnce(&Adapter) + 'static) -> thread::JoinHandle<()> {
    let adapter = Arc::clone(adapter);
    thread::spawn(move || work(&adapter))
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn admitted_or(status: i32) -> impl Fn(&Adapter) {
    move |adapter| {
        let refused = adapter.send();
        assert!(
            refused.is_none_or(|refused| refused == status),
            "{refused:x?}"
        );
    }
}

#[test]
fn a_pause_completes_once_behind_the_last_send() {
    bounded(|| {
        let adapter = Adapter::running();
        let senders = [(); 2].map(|()| spawn(&adapter, admitted_or(NDIS_STATUS_PAUSED)));
        adapter.pause();
        join(senders);
        assert_eq!(adapter.pauses.load(Ordering::SeqCst), 1);
        assert_eq!(adapter.send(), Some(NDIS_STATUS_PAUSED));
    });
}

#[test]
fn a_pause_waits_for_sends_and_frames() {
    bounded(|| {
        let adapter = Adapter::running();
        let others = [
            spawn(&adapter, admitted_or(NDIS_STATUS_PAUSED)),
            spawn(&adapter, Adapter::receive),
        ];
        adapter.pause();
        join(others);
        assert_eq!(adapter.pauses.load(Ordering::SeqCst), 1);
        assert!(!adapter.gates.enter_rx(1));
    });
}

#[test]
fn a_reset_completes_once_and_lets_sends_in_again() {
    bounded(|| {
        let adapter = Adapter::running();
        let senders = [(); 2].map(|()| spawn(&adapter, admitted_or(NDIS_STATUS_RESET_IN_PROGRESS)));
        adapter.reset();
        join(senders);
        assert_eq!(adapter.resets.load(Ordering::SeqCst), 1);
        assert_eq!(adapter.send(), None);
    });
}

#[test]
fn a_pause_and_a_reset_at_once_both_complete() {
    bounded(|| {
        let adapter = Adapter::running();
        let others = [
            spawn(&adapter, |adapter| {
                adapter.send();
            }),
            spawn(&adapter, Adapter::reset),
        ];
        adapter.pause();
        join(others);
        assert_eq!(adapter.pauses.load(Ordering::SeqCst), 1);
        assert_eq!(adapter.resets.load(Ordering::SeqCst), 1);
        assert_eq!(adapter.send(), Some(NDIS_STATUS_PAUSED));
        adapter.restart();
        assert_eq!(adapter.send(), None);
    });
}

/// A send that meets the gate closed gets the reason for that, also when it is just being opened.
#[test]
fn a_refused_send_has_a_reason() {
    bounded(|| {
        let adapter = Adapter::paused();
        let senders = [(); 2].map(|()| spawn(&adapter, admitted_or(NDIS_STATUS_PAUSED)));
        adapter.restart();
        join(senders);
        assert_eq!(adapter.send(), None);
    });
}

#[test]
fn low_power_waits_for_the_sends_and_full_power_lets_them_in() {
    bounded(|| {
        let adapter = Adapter::running();
        let sender = spawn(&adapter, admitted_or(NDIS_STATUS_LOW_POWER_STATE));
        let at = Dispatch::assume();
        adapter.state.set(Reason::LowPower);
        adapter.gates.close_sends(at);
        adapter.gates.wait_idle(Passive::assume());
        assert_eq!(adapter.inside.load(Ordering::SeqCst), 0);
        adapter.gates.resume(&adapter.state, Reason::LowPower, at);
        sender.join().unwrap();
        assert_eq!(adapter.send(), None);
    });
}

/// Whoever takes the last reason away opens the gate, whoever that is.
#[test]
fn two_reasons_that_go_at_once_leave_the_gate_open() {
    bounded(|| {
        let adapter = Adapter::paused();
        adapter.state.set(Reason::LowPower);
        let other = spawn(&adapter, |adapter| {
            adapter
                .gates
                .resume(&adapter.state, Reason::LowPower, Dispatch::assume());
        });
        adapter.restart();
        other.join().unwrap();
        assert_eq!(adapter.send(), None);
    });
}
