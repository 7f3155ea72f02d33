//! Senders that keep an adapter busy: one thread for each processor, each with lists of its own that it sends
//! again when they have come back. The rate is that of the completions.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ndis_sim::ndis::{Open, PreparedNbl, Protocol, ReceivedNbl, SendOptions, SentNbl};
use ndis_sys::NDIS_STATUS_SUCCESS;

use super::Shape;
use crate::switch::{PATIENCE, check};

/// Calls whose lists are out at a time, of each thread.
const OUT: usize = 2;

/// A transport that counts, and keeps the lists that have come back.
#[derive(Default)]
pub struct Pump {
    /// By thread.
    home: Mutex<Vec<Vec<PreparedNbl>>>,
    back: Condvar,
    /// Frames that came up.
    pub received: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// What was sent, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Pumped {
    /// Frames, each of them completed with success.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first send to the last completion.
    pub time: Duration,
}

impl Pumped {
    /// Frames per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64()
    }

    /// Gbit/s.
    #[must_use]
    pub fn gigabits(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.time.as_secs_f64()
    }
}

impl Protocol for Pump {
    fn receive(&self, nbls: Vec<ReceivedNbl>, _flags: u32) {
        self.received
            .fetch_add(nbls.len() as u64, Ordering::Relaxed);
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        for list in sent {
            let counter = match list.status {
                NDIS_STATUS_SUCCESS => &self.succeeded,
                _ => &self.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            home[list.cookie as usize].push(list.into_prepared());
        }
        drop(home);
        self.back.notify_all();
    }
}

impl Pump {
    /// A transport without lists.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Sends `calls` times from each processor, through the binding that this protocol has.
    ///
    /// # Panics
    /// If a list is not completed, or not with success.
    pub fn run(
        self: &Arc<Self>,
        open: &Open,
        shape: Shape,
        destination: [u8; 6],
        calls: usize,
    ) -> Pumped {
        let machine = open.machine().clone();
        let processors = machine.processors().len();
        let source = open.adapter().mac();
        let prepare = |thread: usize| -> Vec<PreparedNbl> {
            let batches = (0..OUT).flat_map(|_| shape.batch(destination, source, 0).lists);
            let lists = batches.map(|list| list.cookie(thread as u64).prepare(&machine));
            lists.collect()
        };
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) =
            (0..processors).map(prepare).collect();
        let before = self.succeeded.load(Ordering::Acquire);

        let start = Instant::now();
        let threads = (0..processors).map(|cpu| {
            let (pump, open) = (self.clone(), open.clone());
            thread::spawn(move || {
                for _ in 0..calls {
                    let lists = pump.take(cpu, shape.lists);
                    let options = SendOptions {
                        cpu: Some(cpu),
                        ..SendOptions::default()
                    };
                    check(open.send_with(lists, options));
                }
                pump.take(cpu, shape.lists * OUT);
            })
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            thread.join().expect("a sender ends");
        }
        let time = start.elapsed();

        let lists = (processors * calls * shape.lists) as u64;
        assert_eq!(self.failed.load(Ordering::Acquire), 0, "lists failed");
        assert_eq!(
            self.succeeded.load(Ordering::Acquire) - before,
            lists,
            "lists are completed"
        );
        let frames = lists * shape.packets as u64;
        Pumped {
            frames,
            bytes: frames * shape.size as u64,
            time,
        }
    }

    /// Waits for lists of a thread to be at home, and takes them.
    fn take(&self, thread: usize, count: usize) -> Vec<PreparedNbl> {
        let home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut home, timed_out) = self
            .back
            .wait_timeout_while(home, PATIENCE, |home| home[thread].len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timed_out.timed_out(), "lists do not come back");
        let rest = home[thread].split_off(count);
        std::mem::replace(&mut home[thread], rest)
    }
}
