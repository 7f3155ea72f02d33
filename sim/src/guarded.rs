//! Buffers for the driver, fenced by an inaccessible page and guard bytes.

use std::{fmt, ptr, slice, sync::Arc};

use crate::{
    machine::Machine,
    report::{BugCheck, rules, violation_on},
};

const PAGE: usize = 4096;
const GUARD: u8 = 0xFD;
/// Guard bytes to compare with, many at a time.
const SOUND: [u8; 256] = [GUARD; 256];
/// What a frequent check looks at on each side.
const NEARBY: usize = 64;

/// Which end of the buffer lies against the inaccessible page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Any access beyond the end faults at once; writes before the start are
    /// seen at release.
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
    map: *mut u8,
    mapped: usize,
    start: usize,
    len: usize,
    fence: Fence,
}

// SAFETY: the mapping belongs to the object; access is through raw pointers.
unsafe impl Send for GuardedBuf {}
// SAFETY: as above; the methods that take `&self` copy bytes.
unsafe impl Sync for GuardedBuf {}

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
        let body = len.max(1).next_multiple_of(PAGE);
        let mapped = body + PAGE;
        // SAFETY: a new mapping; its first or last page is made inaccessible.
        let map = unsafe {
            let map = libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert!(
                map != libc::MAP_FAILED,
                "the host has no memory or no mapping left for a buffer of {len} bytes (see vm.max_map_count)"
            );
            let map = map.cast::<u8>();
            let wall = if fence == Fence::End { body } else { 0 };
            libc::mprotect(map.add(wall).cast(), PAGE, libc::PROT_NONE);
            map
        };
        let start = match fence {
            Fence::End => (body - len) & !(align - 1),
            Fence::Start => PAGE,
        };
        let buffer = Self {
            machine,
            map,
            mapped,
            start,
            len,
            fence,
        };
        for range in buffer.guards() {
            // SAFETY: the guards are accessible parts of the mapping.
            unsafe { ptr::write_bytes(buffer.map.add(range.start), GUARD, range.len()) };
        }
        buffer
    }

    /// The guard bytes before and after, as offsets into the mapping.
    fn guards(&self) -> [std::ops::Range<usize>; 2] {
        let accessible = match self.fence {
            Fence::End => 0..self.mapped - PAGE,
            Fence::Start => PAGE..self.mapped,
        };
        [
            accessible.start..self.start,
            self.start + self.len..accessible.end,
        ]
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
        // SAFETY: the start is within the mapping.
        unsafe { self.map.add(self.start) }
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
            // SAFETY: the guards are accessible, initialized parts of the mapping.
            let bytes = unsafe { slice::from_raw_parts(self.map.add(range.start), range.len()) };
            let sound = bytes.chunks(SOUND.len()).all(|c| *c == SOUND[..c.len()]);
            if sound {
                return None;
            }
            bytes.iter().position(|b| *b != GUARD)
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
            Some(damage) => Err(violation_on(&self.machine, rules::BUFFER_OVERRUN, damage)),
            None => Ok(()),
        }
    }
}

impl Drop for GuardedBuf {
    fn drop(&mut self) {
        let damage = self.damage();
        // SAFETY: the mapping is the object's own; the driver has given it back.
        unsafe { libc::munmap(self.map.cast(), self.mapped) };
        if let Some(damage) = damage {
            self.machine.stop(rules::BUFFER_OVERRUN, damage);
        }
    }
}

impl fmt::Debug for GuardedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedBuf({:p}, {} bytes)", self.as_ptr(), self.len)
    }
}
