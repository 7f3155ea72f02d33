//! Memory with an inaccessible page on both sides, which is inaccessible itself once it is given back,
//! and stays so for as long as possible: Driver Verifier's special pool, and the buffers of a test.
//!
//! A machine reserves address space by the gibibyte and hands it out in turn, so that an address is
//! not used again before all the others were.

use std::{
    collections::BTreeMap,
    fs, slice,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    guarded::Fence,
    history::Object,
    report::{Rule, rules},
};

pub(crate) const PAGE: usize = 4096;
const CHUNK: usize = 1 << 30;

/// What is in a piece of such memory, for the report of an access that misses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) what: &'static str,
    /// Whose history belongs to it.
    pub(crate) object: Option<Object>,
    /// What an access beyond its ends breaks.
    pub(crate) outside: Rule,
}

/// Memory that was handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Its first accessible page, and how many bytes are accessible.
    pub(crate) base: usize,
    pub(crate) body: usize,
    /// Where what was asked for is.
    pub(crate) start: usize,
}

struct Piece {
    body: usize,
    start: usize,
    len: usize,
    live: bool,
    content: Content,
}

/// An access that missed a piece of memory, or came too late for it.
pub(crate) struct Miss {
    pub(crate) rule: Rule,
    pub(crate) text: String,
    pub(crate) object: Option<Object>,
}

#[derive(Default)]
struct Pieces {
    /// Reserved ranges of addresses.
    chunks: Vec<(usize, usize)>,
    /// By base. Those that were given back stay until their addresses are used again.
    all: BTreeMap<usize, Piece>,
    /// Where to look next: the chunk, and the address.
    chunk: usize,
    next: usize,
}

/// A machine's fenced memory.
#[derive(Default)]
pub(crate) struct Fences(Mutex<Pieces>);

/// Pieces of all machines that are accessible: each takes two of the host's mappings.
static ACCESSIBLE: AtomicUsize = AtomicUsize::new(0);

/// How many of them special pool may have: the rest of the mappings is for buffers, stacks and images.
static SHARE: LazyLock<usize> = LazyLock::new(|| {
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let limit: Option<usize> = limit.and_then(|text| text.trim().parse().ok());
    limit.unwrap_or(65530) / 2 / 8 * 5
});

/// Whether special pool has had its share of the host's mappings.
pub(crate) fn share_is_used_up() -> bool {
    ACCESSIBLE.load(Ordering::Relaxed) >= *SHARE
}

/// Where a byte is that is not `byte`, for guard bytes of whole pages.
///
/// # Safety
/// The range is accessible and initialized.
pub(crate) unsafe fn first_unlike(start: usize, size: usize, byte: u8) -> Option<usize> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts(start as *const u8, size) };
    let sound = [byte; 256];
    // Many at a time; which it was is of interest only when one is wrong.
    if bytes.chunks(sound.len()).all(|c| *c == sound[..c.len()]) {
        return None;
    }
    bytes.iter().position(|b| *b != byte)
}

fn map(address: usize, len: usize, fixed: i32) -> Option<usize> {
    // SAFETY: reserves addresses that nobody has, or (fixed) takes those of a piece that is its caller's.
    let map = unsafe {
        libc::mmap(
            address as *mut libc::c_void,
            len,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed,
            -1,
            0,
        )
    };
    (map != libc::MAP_FAILED).then_some(map as usize)
}

fn protect(address: usize, len: usize, protection: i32) -> bool {
    // SAFETY: pages of a piece that is its caller's.
    unsafe { libc::mprotect(address as *mut libc::c_void, len, protection) == 0 }
}

impl Pieces {
    /// A place for `body` bytes between inaccessible pages.
    fn find(&mut self, body: usize) -> Option<usize> {
        let needed = body.checked_add(2 * PAGE)?;
        for _ in 0..=self.chunks.len() {
            if let Some(base) = self.find_in_chunk(body) {
                return Some(base);
            }
            self.chunk = (self.chunk + 1) % self.chunks.len().max(1);
            self.next = self.chunks.get(self.chunk).map_or(0, |c| c.0 + PAGE);
        }
        let len = needed.max(CHUNK);
        let start = map(0, len, 0)?;
        self.chunks.push((start, start + len));
        (self.chunk, self.next) = (self.chunks.len() - 1, start + PAGE);
        self.find_in_chunk(body)
    }

    fn find_in_chunk(&mut self, body: usize) -> Option<usize> {
        let end = self.chunks.get(self.chunk)?.1;
        loop {
            let base = self.next;
            let beyond = base.checked_add(body)?.checked_add(PAGE)?;
            if beyond > end {
                return None;
            }
            let mut old = Vec::new();
            let mut in_the_way = None;
            for (at, piece) in self.all.range(..beyond).rev() {
                if at + piece.body + PAGE <= base {
                    break;
                }
                if piece.live {
                    in_the_way = Some(at + piece.body + PAGE);
                    break;
                }
                old.push(*at);
            }
            if let Some(next) = in_the_way {
                self.next = next;
                continue;
            }
            for at in old {
                self.all.remove(&at);
            }
            self.next = beyond;
            return Some(base);
        }
    }
}

impl Fences {
    /// `len` zeroed bytes against the inaccessible page at one end, as closely as the alignment (a
    /// power of two up to a page) allows; `None` when the host has no memory or no mappings left.
    pub(crate) fn take(
        &self,
        len: usize,
        align: usize,
        fence: Fence,
        content: Content,
    ) -> Option<Room> {
        let body = len.max(1).checked_next_multiple_of(PAGE)?;
        let mut pieces = self.0.lock();
        let base = pieces.find(body)?;
        let start = match fence {
            Fence::End => (base + body - len) & !(align - 1),
            Fence::Start => base,
        };
        let piece = Piece {
            body,
            start,
            len,
            live: true,
            content,
        };
        pieces.all.insert(base, piece);
        drop(pieces);
        if !protect(base, body, libc::PROT_READ | libc::PROT_WRITE) {
            self.0.lock().all.remove(&base);
            return None;
        }
        ACCESSIBLE.fetch_add(1, Ordering::Relaxed);
        Some(Room { base, body, start })
    }

    /// Says what is in a piece.
    pub(crate) fn describe(&self, base: usize, content: Content) {
        if let Some(piece) = self.0.lock().all.get_mut(&base) {
            piece.content = content;
        }
    }

    /// Makes a piece inaccessible.
    pub(crate) fn give_back(&self, room: Room) {
        // New pages join the inaccessible ones beside them, so that no mapping is lost to what is gone.
        if map(room.base, room.body, libc::MAP_FIXED).is_none() {
            protect(room.base, room.body, libc::PROT_NONE);
        }
        ACCESSIBLE.fetch_sub(1, Ordering::Relaxed);
        if let Some(piece) = self.0.lock().all.get_mut(&room.base) {
            piece.live = false;
        }
    }

    /// What an access to `address` has missed.
    pub(crate) fn at(&self, address: usize) -> Option<Miss> {
        let pieces = self.0.lock();
        let near = |(base, piece): &(&usize, &Piece)| {
            address + PAGE >= **base && address < **base + piece.body + PAGE
        };
        let below = pieces.all.range(..=address).next_back().filter(near);
        let above = pieces.all.range(address..).next().filter(near);
        let distance = |piece: &Piece| {
            let end = piece.start + piece.len;
            (piece.start.saturating_sub(address)).max((address + 1).saturating_sub(end))
        };
        let inside = |(base, piece): &(&usize, &Piece)| address < **base + piece.body;
        let (_, piece) = match (below, above) {
            (Some(below), _) if inside(&below) => below,
            (below, above) => below
                .into_iter()
                .chain(above)
                .min_by_key(|(_, piece)| distance(piece))?,
        };
        Some(piece.miss(address))
    }
}

impl Piece {
    fn miss(&self, address: usize) -> Miss {
        let Content {
            what,
            object,
            outside,
        } = self.content;
        let (start, len) = (self.start, self.len);
        let whole = format!("the {what} of {len} bytes at 0x{start:x}");
        let (rule, place) = if address < start {
            (outside, format!("byte {} before", start - address))
        } else if address >= start + len {
            (outside, format!("byte {} after", address - start - len + 1))
        } else {
            (rules::PAGE_FAULT, format!("byte {} of", address - start))
        };
        if self.live {
            return Miss {
                rule,
                text: format!("{place} {whole}"),
                object,
            };
        }
        Miss {
            rule: rules::POOL_USE_AFTER_FREE,
            text: format!("{place} {whole}, which is freed"),
            object,
        }
    }
}

impl Drop for Fences {
    fn drop(&mut self) {
        let pieces = self.0.get_mut();
        let live = pieces.all.values().filter(|piece| piece.live).count();
        ACCESSIBLE.fetch_sub(live, Ordering::Relaxed);
        for (start, end) in &pieces.chunks {
            // SAFETY: the machine's own addresses; it and all that was in them is gone.
            unsafe { libc::munmap(*start as *mut libc::c_void, end - start) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content = Content {
        what: "test",
        object: None,
        outside: rules::BUFFER_OVERRUN,
    };

    #[test]
    fn addresses_are_not_used_again_before_the_others_were() {
        let fences = Fences::default();
        let first = fences.take(10, 1, Fence::End, CONTENT).unwrap();
        fences.give_back(first);
        let kept = fences.take(5000, 8, Fence::Start, CONTENT).unwrap();
        let per_round = CHUNK / (2 * PAGE);
        let mut again = 0;
        for _ in 0..per_round {
            let room = fences.take(10, 1, Fence::End, CONTENT).unwrap();
            let (end, start) = (room.base + room.body + PAGE, kept.base);
            assert!(end <= start || room.base >= start + kept.body + PAGE);
            again += usize::from(room.base == first.base);
            fences.give_back(room);
        }
        assert_eq!(again, 1, "{per_round}");
        assert_eq!(fences.0.lock().chunks.len(), 1);
        // More than is reserved so far.
        let large = fences.take(2 * CHUNK, 1, Fence::End, CONTENT).unwrap();
        assert_eq!(large.body, 2 * CHUNK);
        assert_eq!(fences.0.lock().chunks.len(), 2);
    }

    #[test]
    fn an_access_is_laid_to_the_nearest_piece() {
        let fences = Fences::default();
        let one = fences.take(10, 1, Fence::End, CONTENT).unwrap();
        let two = fences.take(10, 1, Fence::Start, CONTENT).unwrap();
        assert_eq!(two.base, one.base + 2 * PAGE);
        let said = |address| fences.at(address).map(|miss| (miss.rule, miss.text));
        let after = one.start + 10;
        let is = |start: usize, place: &str| format!("{place} the test of 10 bytes at 0x{start:x}");
        let outside = rules::BUFFER_OVERRUN;
        assert_eq!(said(after), Some((outside, is(one.start, "byte 1 after"))));
        let before = two.start - 1;
        assert_eq!(
            said(before),
            Some((outside, is(two.start, "byte 1 before")))
        );
        assert_eq!(said(one.base - PAGE - 1), None);
        fences.give_back(one);
        let freed = is(one.start, "byte 9 of") + ", which is freed";
        assert_eq!(
            said(one.start + 9),
            Some((rules::POOL_USE_AFTER_FREE, freed))
        );
    }
}
