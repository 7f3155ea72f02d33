//! Buffers for the driver, fenced by an inaccessible page and guard bytes.

use std::{fmt, ptr, slice, sync::Arc};

use crate::{
    fence::{Content, PAGE, Room, first_unlike},
    machine::Machine,
    report::{BugCheck, rules, violation_on_about},
};

const GUARD: u8 = 0xFD;
/// What a frequent check looks at on each side.
const NEARBY: usize = 64;

/// Which end of the buffer lies against an inaccessible page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Any access beyond the end faults at once; writes before the start are
    /// seen at release, or fault where the buffer begins with its page.
    End,
    /// Any access before the start faults at once; writes beyond the end are
    /// seen at release.
    Start,
}

/// Memory of the machine's that the driver may use within its length only.
///
/// The driver may write to it at any time, so it is read and written through
/// copies or through the pointer.
pub struct GuardedBuf {
    machine: Arc<Machine>,
    room: Room,
    len: usize,
    content: Content,
}

impl GuardedBuf {
    /// A zeroed buffer of `len` bytes, aligned to 8, fenced at its end.
    #[must_use]
    pub fn new(machine: Arc<Machine>, len: usize) -> Self {
        Self::with(machine, len, 8, Fence::End)
    }

    /// A zeroed buffer, aligned to `align` bytes (a power of two up to a page),
    /// with the inaccessible page at the given end. With `Fence::End` and an
    /// alignment of 1 the very next byte is inaccessible.
    ///
    /// # Panics
    /// When the alignment is not as said or the host has no memory.
    #[must_use]
    pub fn with(machine: Arc<Machine>, len: usize, align: usize, fence: Fence) -> Self {
        assert!(align.is_power_of_two() && align <= PAGE);
        let content = Content {
            what: "buffer",
            object: None,
            outside: rules::BUFFER_OVERRUN,
        };
        let room = machine.fences().take(len, align, fence, content);
        let room = room.unwrap_or_else(|| {
            panic!(
                "the host has no memory or no mapping left for a buffer of {len} bytes (see vm.max_map_count)"
            )
        });
        let buffer = Self {
            machine,
            room,
            len,
            content,
        };
        for range in buffer.guards() {
            // SAFETY: the guards are accessible parts of the buffer's pages.
            unsafe { ptr::write_bytes(range.start as *mut u8, GUARD, range.len()) };
        }
        buffer
    }

    /// The guard bytes before and after: their addresses.
    fn guards(&self) -> [std::ops::Range<usize>; 2] {
        let Room { base, body, start } = self.room;
        [base..start, start + self.len..base + body]
    }

    /// Says what it is, for the report of an access beyond its ends or after its time.
    pub(crate) fn describe(&mut self, content: Content) {
        self.content = content;
        self.machine.fences().describe(self.room.base, content);
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address for the driver.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.room.start as *mut u8
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(
            offset
                .checked_add(bytes.len())
                .is_some_and(|end| end <= self.len)
        );
        // SAFETY: within the buffer, as asserted.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr().add(offset), bytes.len()) };
    }

    /// Copies `len` bytes from `offset`.
    ///
    /// # Panics
    /// When the range is not within the buffer.
    #[must_use]
    pub fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: within the buffer, as asserted; it is initialized memory.
        unsafe { slice::from_raw_parts(self.as_ptr().add(offset), len) }.to_vec()
    }

    /// Copies the whole.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.read(0, self.len)
    }

    /// What is wrong with the guard bytes, if something is.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.damage_within(PAGE)
    }

    /// What is wrong with the guard bytes next to the buffer, if something is:
    /// for checks so frequent that all of them are too many. The others are
    /// looked at when the buffer is given up.
    #[must_use]
    pub fn damage_nearby(&self) -> Option<String> {
        self.damage_within(NEARBY)
    }

    /// Looks at `reach` guard bytes on each side.
    fn damage_within(&self, reach: usize) -> Option<String> {
        let [before, after] = self.guards();
        let before = before.start.max(before.end.saturating_sub(reach))..before.end;
        let after = after.start..after.end.min(after.start.saturating_add(reach));
        let damaged = |range: std::ops::Range<usize>| {
            // SAFETY: the guards are accessible, initialized parts of the buffer's pages.
            unsafe { first_unlike(range.start, range.len(), GUARD) }
        };
        if let Some(at) = damaged(before.clone()) {
            return Some(format!(
                "byte {} before a buffer of {} bytes was written",
                before.len() - at,
                self.len
            ));
        }
        damaged(after).map(|at| {
            format!(
                "byte {} after a buffer of {} bytes was written",
                at + 1,
                self.len
            )
        })
    }

    /// Checks the guard bytes and gives the buffer up.
    ///
    /// # Errors
    /// The bug check with which the machine was stopped because they were
    /// overwritten (on a processor thread it does not return).
    pub fn release(self) -> Result<(), BugCheck> {
        match self.damage() {
            Some(damage) => {
                let objects: Vec<_> = self.content.object.into_iter().collect();
                let rule = self.content.outside;
                Err(violation_on_about(&self.machine, rule, damage, &objects))
            }
            None => Ok(()),
        }
    }
}

impl Drop for GuardedBuf {
    fn drop(&mut self) {
        let damage = self.damage();
        self.machine.fences().give_back(self.room);
        if let Some(damage) = damage {
            let objects: Vec<_> = self.content.object.into_iter().collect();
            self.machine
                .stop_about(self.content.outside, damage, &objects);
        }
    }
}

impl fmt::Debug for GuardedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedBuf({:p}, {} bytes)", self.as_ptr(), self.len)
    }
}
