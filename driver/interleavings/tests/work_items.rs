//! Work items, and the link that is looked after in one: those who queue against those who wait, sleep and
//! halt.
#![cfg(loom)]

use std::ffi::c_void;

use interleavings::{Dispatch, MiniportHandle, Passive, WorkItem, following::Following};
use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What a routine uses, and nobody may any more once it is gone.
struct Owner {
    work_item: WorkItem,
    gone: AtomicBool,
    asleep: AtomicBool,
    runs: AtomicUsize,
}

unsafe extern "efiapi" fn routine(context: *mut c_void, _: *mut c_void) {
    // SAFETY: the model keeps it.
    let owner = unsafe { &*context.cast::<Owner>() };
    owner.work_item.run(Dispatch::assume(), || {
        assert!(
            !owner.gone.load(Ordering::SeqCst),
            "it runs after its owner"
        );
        // As whoever looks before it acts.
        if !owner.asleep.load(Ordering::SeqCst) {
            owner.runs.fetch_add(1, Ordering::SeqCst);
        }
    });
}

/// An owner that stays for the model's time, with its work item made.
fn owner() -> Arc<Owner> {
    let work_item = WorkItem::new(MiniportHandle, routine, Passive::assume());
    let owner = Arc::new(Owner {
        work_item: work_item.expect("there is memory"),
        gone: AtomicBool::new(false),
        asleep: AtomicBool::new(false),
        runs: AtomicUsize::new(0),
    });
    let context = std::ptr::from_ref(&*owner).cast_mut().cast();
    // SAFETY: the owner outlives the model: each thread has a share of it.
    unsafe { owner.work_item.initialize(context) };
    owner
}

/// `retire` returns when the last run is over, and none begins afterwards.
#[test]
fn nothing_runs_after_retire() {
    loom::model(|| {
        let owner = owner();
        let other = Arc::clone(&owner);
        let queued = thread::spawn(move || other.work_item.queue(Dispatch::assume()));
        owner.work_item.retire(Passive::assume());
        owner.gone.store(true, Ordering::SeqCst);
        let runs = owner.runs.load(Ordering::SeqCst);
        let queued = queued.join().unwrap();
        assert_eq!(runs, usize::from(queued), "what was queued has run");
        assert!(!owner.work_item.queue(Dispatch::assume()));
    });
}

/// Who says first that it sleeps, and then waits, is disturbed by nobody.
#[test]
fn nobody_acts_after_the_wait() {
    loom::model(|| {
        let owner = owner();
        let other = Arc::clone(&owner);
        let queue = thread::spawn(move || {
            let _ = other.work_item.queue(Dispatch::assume());
        });
        owner.asleep.store(true, Ordering::SeqCst);
        owner.work_item.wait(Passive::assume());
        let runs = owner.runs.load(Ordering::SeqCst);
        queue.join().unwrap();
        owner.work_item.retire(Passive::assume());
        assert_eq!(owner.runs.load(Ordering::SeqCst), runs);
    });
}

/// Each look is a thread; no model here has more than five.
fn model() -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.max_threads = 5;
    model.preemption_bound = Some(3);
    model
}

/// An adapter with a link that follows a partner.
struct Adapter {
    following: Following,
    partner: AtomicBool,
    asleep: AtomicBool,
    gone: AtomicBool,
    told: Mutex<Vec<bool>>,
}

unsafe extern "efiapi" fn look(context: *mut c_void, _: *mut c_void) {
    // SAFETY: as in `routine`.
    let adapter = unsafe { &*context.cast::<Adapter>() };
    adapter.following.run(
        Dispatch::assume(),
        || {
            assert!(
                !adapter.gone.load(Ordering::SeqCst),
                "it looks after the halt"
            );
            let awake = !adapter.asleep.load(Ordering::SeqCst);
            awake.then(|| adapter.partner.load(Ordering::SeqCst))
        },
        |up| adapter.told.lock().unwrap().push(up),
    );
}

impl Adapter {
    fn start(partner: bool) -> Arc<Self> {
        let following = Following::new(MiniportHandle, look, Passive::assume());
        let adapter = Arc::new(Self {
            following: following.unwrap_or_else(|_| panic!("there is memory")),
            partner: AtomicBool::new(partner),
            asleep: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            told: Mutex::new(Vec::new()),
        });
        let context = std::ptr::from_ref(&*adapter).cast_mut().cast();
        // SAFETY: as in `owner`.
        unsafe { adapter.following.initialize(context) };
        adapter.following.begin(partner, Dispatch::assume());
        adapter.following.start(Dispatch::assume());
        adapter
    }

    /// One that has done the look that belongs to its start.
    fn started(partner: bool) -> Arc<Self> {
        let adapter = Self::start(partner);
        adapter.following.flush(Passive::assume());
        adapter
    }

    fn set_partner(&self, there: bool) {
        self.partner.store(there, Ordering::SeqCst);
        self.following.changed(Dispatch::assume());
    }

    fn told(&self) -> Vec<bool> {
        self.told.lock().unwrap().clone()
    }
}

/// However a partner's coming and going falls together with the looks: told are changes only, and the last
/// of them is true.
#[test]
fn what_is_told_last_is_true() {
    model().check(|| {
        let adapter = Adapter::started(false);
        let other = Arc::clone(&adapter);
        let partner = thread::spawn(move || {
            other.set_partner(true);
            other.set_partner(false);
        });
        partner.join().unwrap();
        adapter.following.flush(Passive::assume());
        let told = adapter.told();
        assert!([vec![], vec![true, false]].contains(&told), "{told:?}");
        adapter.following.retire(Passive::assume());
    });
}

/// Two who say so at once, as of two partners one comes and goes.
#[test]
fn two_who_say_so_at_once_are_both_heard() {
    model().check(|| {
        let adapter = Adapter::started(false);
        let other = Arc::clone(&adapter);
        let thread = thread::spawn(move || other.set_partner(true));
        adapter.set_partner(true);
        thread.join().unwrap();
        adapter.following.flush(Passive::assume());
        assert_eq!(adapter.told(), [true]);
        adapter.following.retire(Passive::assume());
    });
}

/// Nothing is told between the flush of a low-power state and waking; after that, what is so.
#[test]
fn a_sleeper_tells_nothing_until_it_wakes() {
    model().check(|| {
        let adapter = Adapter::started(false);
        // Its look is on a thread of its own, and may come at any time from now on.
        adapter.set_partner(true);
        adapter.asleep.store(true, Ordering::SeqCst);
        adapter.following.flush(Passive::assume());
        let before = adapter.told();
        adapter.following.flush(Passive::assume());
        assert_eq!(adapter.told(), before, "told in its sleep");
        adapter.asleep.store(false, Ordering::SeqCst);
        adapter.following.changed(Dispatch::assume());
        adapter.following.flush(Passive::assume());
        assert_eq!(adapter.told(), [true]);
        adapter.following.retire(Passive::assume());
    });
}

/// After the halt's `retire` nobody looks, although others still say that they come and go.
#[test]
fn nobody_looks_after_the_halt() {
    model().check(|| {
        let adapter = Adapter::started(false);
        let other = Arc::clone(&adapter);
        let partner = thread::spawn(move || other.set_partner(true));
        adapter.following.retire(Passive::assume());
        adapter.gone.store(true, Ordering::SeqCst);
        partner.join().unwrap();
    });
}
