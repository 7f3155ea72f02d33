//! The kernel stack of a thread, with a guard page and paint to measure use.

use std::{cell::Cell, ptr, slice, sync::Arc};

use parking_lot::Mutex;

/// Size and alignment of a kernel stack's address range. Far more than Windows'
/// 24 KiB, so that a driver which needs too much is measured, not crashed.
pub(super) const STACK_SIZE: usize = 256 * 1024;
const PAGE: usize = 4096;
const PAINT: u64 = 0xC5C5_C5C5_C5C5_C5C5;
/// Readable words above the first frame, for thunks that forward more arguments
/// than a call had.
const HEADROOM: usize = 256;
/// A clean stretch this long is the end of what was used: every page of a
/// larger frame is probed by `__chkstk`.
const CLEAN: usize = 2 * PAGE;

/// The kernel stacks of a machine.
#[derive(Default)]
pub(crate) struct Stacks(Mutex<Vec<usize>>);

impl Stacks {
    /// Shows what driver code has left on each of them. No driver code may run meanwhile.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&[u8])) {
        for base in self.0.lock().iter() {
            let bottom = base + 2 * PAGE;
            // SAFETY: above its guard page a stack is mapped, and stays so as long as it is in the
            // list; nobody runs on it, by the caller's promise.
            look(unsafe {
                slice::from_raw_parts(bottom as *const u8, STACK_SIZE - HEADROOM - 2 * PAGE)
            });
        }
    }
}

pub(super) struct KernelStack {
    base: usize,
    /// Lowest address known to have been used.
    low: Cell<usize>,
    all: Arc<Stacks>,
}

impl KernelStack {
    /// Maps a stack; its first word is `owner`, then comes a guard page.
    pub(super) fn new(all: Arc<Stacks>) -> Self {
        // SAFETY: a fresh anonymous mapping, of which the surplus for alignment
        // is unmapped again; nothing else refers to it.
        let base = unsafe {
            let raw = libc::mmap(
                ptr::null_mut(),
                2 * STACK_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            assert!(raw != libc::MAP_FAILED, "no memory for a kernel stack");
            let raw = raw as usize;
            let base = raw.next_multiple_of(STACK_SIZE);
            if base > raw {
                libc::munmap(raw as *mut _, base - raw);
            }
            let end = raw + 2 * STACK_SIZE;
            libc::munmap((base + STACK_SIZE) as *mut _, end - base - STACK_SIZE);
            libc::mprotect((base + PAGE) as *mut _, PAGE, libc::PROT_NONE);
            base
        };
        let stack = Self {
            base,
            low: Cell::new(base + STACK_SIZE),
            all,
        };
        // SAFETY: the range is mapped, writable and not in use.
        unsafe {
            let words = (STACK_SIZE - HEADROOM - 2 * PAGE) / 8;
            slice::from_raw_parts_mut(stack.bottom() as *mut u64, words).fill(PAINT);
        }
        stack.all.0.lock().push(base);
        stack
    }

    pub(super) fn set_owner(&self, owner: *const ()) {
        // SAFETY: the first page is mapped and writable.
        unsafe { (self.base as *mut *const ()).write(owner) };
    }

    fn bottom(&self) -> usize {
        self.base + 2 * PAGE
    }

    /// Where the stack starts to grow down from.
    pub(super) fn top(&self) -> usize {
        self.base + STACK_SIZE - HEADROOM
    }

    pub(super) fn contains(&self, address: usize) -> bool {
        (self.base..self.base + STACK_SIZE).contains(&address)
    }

    /// Whether the word at `address` can be read.
    pub(super) fn is_usable(&self, address: usize) -> bool {
        (self.bottom()..self.base + STACK_SIZE - 8).contains(&address)
    }

    /// Whether `address` is in the guard page.
    pub(super) fn is_guard(&self, address: usize) -> bool {
        (self.base + PAGE..self.bottom()).contains(&address)
    }

    /// Looks for use below what was known; the new depth in bytes if there is.
    pub(super) fn measure(&self) -> Option<usize> {
        let known = self.low.get();
        let mut low = known;
        let mut at = known;
        while at > self.bottom() && low - at < CLEAN {
            at -= 8;
            // SAFETY: within the mapped stack, which nobody runs on now (or at
            // higher addresses only).
            if unsafe { (at as *const u64).read_volatile() } != PAINT {
                low = at;
            }
        }
        self.low.set(low);
        (low < known).then(|| self.top() - low)
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        self.all.0.lock().retain(|base| *base != self.base);
        // SAFETY: the owner's thread has ended its use of it.
        unsafe { libc::munmap(self.base as *mut _, STACK_SIZE) };
    }
}
