//! One thread at a time: the order of everything that happens on a machine, drawn from a seed.
//!
//! The threads of a machine (its processors', its clock's, and those of whoever uses it) pass one turn
//! among them. Whose turn is next is drawn, wherever a thread waits, ends, or crosses between machine and
//! driver and is made to stop there; nothing else hands the turn over. So what happens depends on the seed
//! alone, not on the host's scheduler. Time is counted in crossings, and skips to the next deadline when
//! everybody waits.
//!
//! The host still runs one thread after the other: what only shows when two processors are at the same
//! data at the same moment is for schedules without turns, and for models of the code.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{machine::Machine, sync};

/// What a crossing takes of simulated time.
const CROSSING: Duration = Duration::from_micros(1);
/// How often those who wait for their turn look whether whoever has it goes on.
const LOOK: Duration = Duration::from_secs(1);

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// What somebody waits for: the address of the object that will say so.
type Channel = usize;

#[derive(Clone, Copy)]
enum Wish {
    /// To go on.
    Go,
    /// To be woken, or that it is so late.
    Wait {
        channel: Option<Channel>,
        until: Option<Duration>,
    },
    /// Nothing any more.
    Left,
}

struct Seat {
    wish: Wish,
    /// It is this one's turn.
    called: Arc<Condvar>,
}

struct State {
    random: fastrand::Rng,
    seats: Vec<Seat>,
    holder: usize,
    now: Duration,
    order: u64,
}

impl State {
    /// Draws who is next, and lets it go on; with nobody left, nobody is.
    fn pass(&mut self) {
        loop {
            let now = self.now;
            for seat in &mut self.seats {
                if let Wish::Wait { until: Some(t), .. } = seat.wish
                    && t <= now
                {
                    seat.wish = Wish::Go;
                }
            }
            let ready = |seat: &&Seat| matches!(seat.wish, Wish::Go);
            let count = self.seats.iter().filter(ready).count();
            if count > 0 {
                let drawn = self.random.usize(..count);
                let mut those = self.seats.iter().enumerate();
                let next = those.by_ref().filter(|(_, seat)| ready(seat)).nth(drawn);
                if let Some((index, seat)) = next {
                    self.holder = index;
                    seat.called.notify_one();
                }
                return;
            }
            let deadlines = self.seats.iter().filter_map(|seat| match seat.wish {
                Wish::Wait { until, .. } => until,
                _ => None,
            });
            match deadlines.min() {
                Some(next) => self.now = next,
                None => return,
            }
        }
    }

    /// Whether anybody wants to go on, when it is not who does: that is no more than work that may come.
    fn is_waited_for(&self) -> bool {
        let others = self.seats.iter().enumerate();
        let mut others = others.filter(|(index, _)| *index != self.holder);
        others.any(|(_, seat)| match seat.wish {
            Wish::Go => true,
            Wish::Wait { until, .. } => until.is_some(),
            Wish::Left => false,
        })
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // FNV-1a: any mistake of a byte or of its place shows.
            self.order = (self.order ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

/// The turn of a machine's threads.
pub(crate) struct Turns {
    machine: Weak<Machine>,
    state: Mutex<State>,
    /// Nobody waits for a turn any more: the machine has stopped, or is gone.
    over: AtomicBool,
}

/// The calling thread's place among those who take turns, which it has the turn to give up: when it is
/// done, ends, or builds another machine.
struct Place {
    turns: Arc<Turns>,
    seat: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        state.seats[self.seat].wish = Wish::Left;
        if self.turns.are_taken() {
            state.pass();
        }
    }
}

/// A place for a thread that is about to start.
pub(crate) struct Ticket(Arc<Turns>, usize);

/// Gives the place up.
pub(crate) struct Taken(());

impl Turns {
    /// The first turn is the calling thread's.
    pub(crate) fn new(seed: u64, machine: Weak<Machine>) -> Arc<Self> {
        let turns = Arc::new(Self {
            machine,
            state: Mutex::new(State {
                random: fastrand::Rng::with_seed(seed ^ 0x7412_55ED),
                seats: Vec::new(),
                holder: 0,
                now: Duration::ZERO,
                order: 0xCBF2_9CE4_8422_2325,
            }),
            over: AtomicBool::new(false),
        });
        let seat = turns.seat();
        sit(&turns, seat);
        turns
    }

    fn seat(&self) -> usize {
        let mut state = self.state.lock();
        state.seats.push(Seat {
            wish: Wish::Go,
            called: Arc::default(),
        });
        state.seats.len() - 1
    }

    /// A place for a thread that the caller, whose turn it is, starts.
    pub(crate) fn ticket(self: &Arc<Self>) -> Ticket {
        expect_part(Some(self), "starts one for the machine");
        Ticket(Arc::clone(self), self.seat())
    }

    /// Whether threads take turns, and not all run as they like.
    fn are_taken(&self) -> bool {
        !self.over.load(Ordering::Acquire)
    }

    /// Lets everybody go on at once.
    pub(crate) fn end(&self) {
        // Under the lock: somebody may be about to wait.
        let state = self.state.lock();
        self.over.store(true, Ordering::Release);
        for seat in &state.seats {
            seat.called.notify_one();
        }
    }

    /// Simulated time.
    pub(crate) fn now(&self) -> Duration {
        self.state.lock().now
    }

    /// A hash of everything that [`Turns::note`] was told, in order.
    pub(crate) fn order(&self) -> u64 {
        self.state.lock().order
    }

    /// Something happens, now.
    pub(crate) fn note(&self, processor: u32, direction: u8, name: &str) {
        let mut state = self.state.lock();
        if !self.are_taken() {
            return;
        }
        state.now += CROSSING;
        state.mix(&processor.to_le_bytes());
        state.mix(&[direction]);
        state.mix(name.as_bytes());
    }

    /// Hands the turn over until the wish of `seat` is granted, and drawn.
    fn hand_over(&self, seat: usize, wish: Wish) {
        let mut state = self.state.lock();
        if !self.are_taken() {
            return;
        }
        state.now += CROSSING;
        state.seats[seat].wish = wish;
        state.pass();
        self.await_turn(state, seat);
    }

    fn await_turn(&self, mut state: MutexGuard<'_, State>, seat: usize) {
        let called = Arc::clone(&state.seats[seat].called);
        let mut watch = None;
        while self.are_taken()
            && (state.holder != seat || !matches!(state.seats[seat].wish, Wish::Go))
        {
            if !called.wait_for(&mut state, LOOK).timed_out() {
                continue;
            }
            if state.is_waited_for() {
                MutexGuard::unlocked(&mut state, || self.look(&mut watch));
            } else {
                watch = None;
            }
        }
    }

    /// Stops the machine when whoever has the turn does not go on.
    fn look(&self, watch: &mut Option<sync::Watch>) {
        let Some(machine) = self.machine.upgrade() else {
            return;
        };
        if !machine.is_stopped() {
            let watch = watch.get_or_insert_with(|| sync::Watch::of_the_host(&machine));
            watch.look(&machine, "a thread that has its turn");
        }
    }
}

impl Ticket {
    /// Takes the place for the calling thread, until the result is dropped.
    pub(crate) fn take(self) -> Taken {
        let Self(turns, seat) = self;
        turns.await_turn(turns.state.lock(), seat);
        sit(&turns, seat);
        Taken(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        drop(PLACE.take());
    }
}

fn sit(turns: &Arc<Turns>, seat: usize) {
    let turns = Arc::clone(turns);
    drop(PLACE.replace(Some(Place { turns, seat })));
}

/// The turns that the calling thread takes part in, as long as they are taken.
fn mine() -> Option<(Arc<Turns>, usize)> {
    PLACE.with_borrow(|place| {
        let place = place.as_ref().filter(|place| place.turns.are_taken())?;
        Some((Arc::clone(&place.turns), place.seat))
    })
}

/// Whether the calling thread takes turns with others.
pub(crate) fn are_taken() -> bool {
    mine().is_some()
}

/// Stops a thread that would wait for good, or disturb the order: one that takes no part in the turns of the
/// machine that it uses, or takes part in those of another one.
pub(crate) fn expect_part(turns: Option<&Arc<Turns>>, what: impl fmt::Display) {
    let part = PLACE.with_borrow(|place| {
        let mine = place.as_ref().map(|place| &place.turns);
        // Looked at first: they may be over from one moment to the next.
        mine.map(Arc::as_ptr) == turns.map(Arc::as_ptr)
            || !turns.is_some_and(|turns| turns.are_taken())
                && !mine.is_some_and(|turns| turns.are_taken())
    });
    assert!(
        part,
        "a thread that takes no turns here {what}; Machine::scope starts those that do"
    );
}

/// A number of the seed's, another one each time, if threads take turns.
pub(crate) fn draw() -> Option<u64> {
    mine().map(|(turns, _)| turns.state.lock().random.u64(..))
}

/// Lets others go on, if threads take turns; false if they do not.
pub(crate) fn pass() -> bool {
    let Some((turns, seat)) = mine() else {
        return false;
    };
    turns.hand_over(seat, Wish::Go);
    true
}

/// Waits until `channel` is woken or the time is over, or for no reason; false if threads do not take turns.
pub(crate) fn wait(channel: Option<Channel>, limit: Option<Duration>) -> bool {
    let Some((turns, seat)) = mine() else {
        return false;
    };
    let until = limit.map(|limit| turns.now().saturating_add(limit));
    turns.hand_over(seat, Wish::Wait { channel, until });
    true
}

/// Those who wait for `channel` go on when it is their turn.
pub(crate) fn wake(channel: Channel) {
    let Some((turns, _)) = mine() else {
        return;
    };
    for seat in &mut turns.state.lock().seats {
        if matches!(seat.wish, Wish::Wait { channel: Some(c), .. } if c == channel) {
            seat.wish = Wish::Go;
        }
    }
}
