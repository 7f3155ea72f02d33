//! Counters of an adapter, as OID_GEN_STATISTICS and its relatives report them: 64 bits, exact.
//!
//! Counting is a relaxed addition per burst, not per frame: the data path sums up in a [`Tally`] and
//! adds it at the end.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ethernet::{self, Cast};

/// Frames and bytes of one direction, by destination.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    directed: Count,
    multicast: Count,
    broadcast: Count,
}

/// Frames, and their bytes: Ethernet header included, FCS not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Tally {
    /// Counts a frame by its bytes; one without a header is none.
    pub fn frame(&mut self, frame: &[u8]) {
        if let Some(destination) = ethernet::destination(frame) {
            self.count(ethernet::cast(destination), frame.len());
        }
    }

    /// Counts one frame.
    pub fn count(&mut self, cast: Cast, bytes: usize) {
        let count = match cast {
            Cast::Directed => &mut self.directed,
            Cast::Multicast => &mut self.multicast,
            Cast::Broadcast => &mut self.broadcast,
        };
        count.frames = count.frames.wrapping_add(1);
        count.bytes = count.bytes.wrapping_add(bytes as u64);
    }
}

#[derive(Debug)]
struct Counter {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    const fn new() -> Self {
        Self {
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn add(&self, count: Count) {
        if count.frames != 0 {
            self.frames.fetch_add(count.frames, Ordering::Relaxed);
            self.bytes.fetch_add(count.bytes, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Count {
        Count {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// One direction.
#[derive(Debug)]
pub struct Flow {
    directed: Counter,
    multicast: Counter,
    broadcast: Counter,
}

impl Flow {
    const fn new() -> Self {
        Self {
            directed: Counter::new(),
            multicast: Counter::new(),
            broadcast: Counter::new(),
        }
    }

    /// Adds what a burst counted.
    pub fn add(&self, tally: &Tally) {
        self.directed.add(tally.directed);
        self.multicast.add(tally.multicast);
        self.broadcast.add(tally.broadcast);
    }

    /// Frames to one station.
    pub fn directed(&self) -> Count {
        self.directed.read()
    }

    /// Frames to a group.
    pub fn multicast(&self) -> Count {
        self.multicast.read()
    }

    /// Frames to all.
    pub fn broadcast(&self) -> Count {
        self.broadcast.read()
    }

    /// All frames.
    pub fn total(&self) -> Count {
        let parts = [self.directed(), self.multicast(), self.broadcast()];
        parts.iter().fold(Count::default(), |sum, part| Count {
            frames: sum.frames.wrapping_add(part.frames),
            bytes: sum.bytes.wrapping_add(part.bytes),
        })
    }
}

/// The counters of an adapter.
#[derive(Debug)]
pub struct Stats {
    /// Frames sent.
    pub sent: Flow,
    /// Frames indicated.
    pub received: Flow,
    /// Packets that could not be sent because they were wrong: too long, too short, or not to be
    /// sealed.
    pub send_errors: AtomicU64,
    /// Packets that could not be sent although there was nothing wrong with them: no resources, or a
    /// packet before them in their list was wrong.
    pub send_discards: AtomicU64,
    /// Frames for this adapter that are longer than it takes.
    pub receive_errors: AtomicU64,
    /// Frames for this adapter for which there was no receive buffer.
    pub receive_no_buffer: AtomicU64,
    /// Frames for this adapter that were dropped on purpose: another VLAN.
    pub receive_filtered: AtomicU64,
}

impl Stats {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            sent: Flow::new(),
            received: Flow::new(),
            send_errors: AtomicU64::new(0),
            send_discards: AtomicU64::new(0),
            receive_errors: AtomicU64::new(0),
            receive_no_buffer: AtomicU64::new(0),
            receive_filtered: AtomicU64::new(0),
        }
    }
}

/// Adds to a counter, if there is anything to add.
pub fn add(counter: &AtomicU64, count: u64) {
    if count != 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// The value of a counter.
pub fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
