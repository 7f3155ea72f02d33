//! Pool memory. Pages: ExAllocatePool2, ExFreePoolWithTag, POOL_FLAGS.
//!
//! As special pool, a block ends at an inaccessible page (or begins behind one), has guard bytes where
//! it does not reach the page, and becomes inaccessible when it is freed. Otherwise it has guard bytes
//! on both sides; a freed one is filled and kept for a while, so that late writes are seen.

mod contents;

use std::{
    alloc::{self, Layout},
    collections::{BTreeMap, HashMap, VecDeque},
    ptr, slice,
    sync::Arc,
};

use ndis_sys::{
    POOL_FLAG_CACHE_ALIGNED, POOL_FLAG_NON_PAGED, POOL_FLAG_PAGED, POOL_FLAG_UNINITIALIZED,
};
use parking_lot::Mutex;

use crate::{
    exports::{Export, NTOSKRNL},
    fence::{self, Content, Fences, PAGE, Room, first_unlike},
    guarded::Fence,
    history::{Kind, Object},
    irql::Irql,
    machine::Machine,
    ndis::rules::{BUFFER_OVERRUN, FREED_SECRET},
    processor,
    report::{Finding, rules, violation, violation_about},
};

const CACHE_LINE: usize = 64;
/// Blocks are aligned to this on 64-bit systems.
const ALIGN: usize = 16;
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xFD;
/// Fresh memory that was not asked to be zeroed: not a pattern that works by luck.
const FRESH_BYTE: u8 = 0xCD;
const FREED_BYTE: u8 = 0xDD;
/// Blocks of a tag whose histories a leak report shows.
const LEAKS_SHOWN: usize = 3;
const QUARANTINE_BLOCKS: usize = 1024;
const QUARANTINE_BYTES: usize = 16 << 20;

const POOL_FLAG_USE_QUOTA: u64 = 0x1;
const POOL_FLAG_SESSION: u64 = 0x4;
const POOL_FLAG_RAISE_ON_FAILURE: u64 = 0x20;
const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
/// "Required": bits in the lower half that Windows must know.
const KNOWN: u64 = POOL_FLAG_USE_QUOTA
    | POOL_FLAG_UNINITIALIZED
    | POOL_FLAG_SESSION
    | POOL_FLAG_CACHE_ALIGNED
    | POOL_FLAG_RAISE_ON_FAILURE
    | POOL_FLAG_NON_PAGED
    | POOL_FLAG_NON_PAGED_EXECUTE
    | POOL_FLAG_PAGED;
const REQUIRED_HALF: u64 = 0xFFFF_FFFF;

use contents::Kept;
pub use contents::PoolBlock;

/// A machine's pool.
pub struct Pool {
    special: Option<Special>,
    freed: Mutex<Option<FreedCheck>>,
    state: Mutex<PoolState>,
}

/// Which end of a block is fenced, and where its memory is from.
type Special = (Fence, Arc<Fences>);

type FreedCheck = Box<dyn Fn(&[u8]) -> Option<String> + Send>;

#[derive(Default)]
struct PoolState {
    live: HashMap<usize, Block>,
    freed: HashMap<usize, Block>,
    order: VecDeque<usize>,
    quarantined: usize,
    allocations: u64,
    not_special: u64,
    /// What was in freed blocks, while it is kept.
    kept: Option<Vec<Kept>>,
}

/// The memory of one allocation.
struct Block {
    address: usize,
    len: usize,
    tag: u32,
    paged: bool,
    by: &'static str,
    /// Which allocation it was.
    serial: u64,
    object: Object,
    memory: Memory,
}

enum Memory {
    /// With guard bytes on both sides.
    Heap { base: *mut u8, layout: Layout },
    /// Against an inaccessible page.
    Special {
        room: Room,
        fences: Arc<Fences>,
        freed: bool,
    },
}

// SAFETY: a block owns its memory.
unsafe impl Send for Block {}

/// What may be wrong with a free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// Not the address of a block.
    Unknown,
    /// Freed before.
    Twice,
    /// Allocated with another tag.
    Tag(u32),
    /// Written beyond its ends.
    Corrupt(String),
    /// An earlier block was written after it was freed; this one is free now.
    LateWrite(LateWrite),
}

/// A write to a block that was freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateWrite {
    text: String,
    object: Object,
}

/// A tag as it was written in the source.
#[must_use]
pub fn tag_text(tag: u32) -> String {
    tag.to_le_bytes()
        .iter()
        .map(|b| {
            if (0x20..0x7F).contains(b) {
                char::from(*b)
            } else {
                '?'
            }
        })
        .collect()
}

impl Block {
    fn new(len: usize, align: usize, special: Option<&Special>, object: Kind) -> Option<Self> {
        let fenced = special.and_then(|special| Self::special(len, align, special, object));
        let (address, memory) = match fenced {
            Some(fenced) => fenced,
            None => Self::heap(len, align)?,
        };
        let block = Self {
            address,
            len,
            tag: 0,
            paged: false,
            by: "",
            serial: 0,
            object: (object, address as u64),
            memory,
        };
        for (start, size) in block.guards() {
            // SAFETY: guards are accessible parts of the block's memory.
            unsafe { ptr::write_bytes(start as *mut u8, GUARD_BYTE, size) };
        }
        Some(block)
    }

    fn heap(len: usize, align: usize) -> Option<(usize, Memory)> {
        let lead = GUARD.max(align);
        let layout = Layout::from_size_align(len.checked_add(lead + GUARD)?, align).ok()?;
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc::alloc(layout) };
        (!base.is_null()).then(|| (base as usize + lead, Memory::Heap { base, layout }))
    }

    /// As Windows does, a block comes from elsewhere when special pool is used up.
    fn special(
        len: usize,
        align: usize,
        (fence, fences): &Special,
        kind: Kind,
    ) -> Option<(usize, Memory)> {
        if fence::share_is_used_up() {
            return None;
        }
        let content = Content {
            what: kind.name(),
            object: None,
            outside: rules::POOL_OVERRUN,
        };
        let room = fences.take(len, align, *fence, content)?;
        let memory = Memory::Special {
            room,
            fences: Arc::clone(fences),
            freed: false,
        };
        Some((room.start, memory))
    }

    /// Guard bytes before and after, as (address, size).
    fn guards(&self) -> [(usize, usize); 2] {
        let (start, end) = match &self.memory {
            Memory::Heap { base, layout } => (*base as usize, *base as usize + layout.size()),
            Memory::Special { room, .. } => (room.base, room.base + room.body),
        };
        [
            (start, self.address - start),
            (self.address + self.len, end - self.address - self.len),
        ]
    }

    fn damage(&self) -> Option<String> {
        let [before, after] = self.guards().map(|(start, size)| {
            // SAFETY: guards are accessible, initialized parts of the block's memory.
            unsafe { first_unlike(start, size, GUARD_BYTE) }
        });
        let block = format!("{}, allocated in {}", self.describe(), self.by);
        let lead = self.guards()[0].1;
        if let Some(at) = before {
            return Some(format!("the byte {} before {block} was written", lead - at));
        }
        after.map(|at| format!("the byte {} after {block} was written", at + 1))
    }

    fn describe(&self) -> String {
        let (len, tag) = (self.len, tag_text(self.tag));
        match self.object.0 {
            Kind::Pool => format!("a block of {len} bytes, tag '{tag}'"),
            kind => format!("a {kind} of {len} bytes"),
        }
    }

    fn written_after_free(&self) -> bool {
        if matches!(self.memory, Memory::Special { .. }) {
            return false; // It would have faulted.
        }
        // SAFETY: the block is in quarantine: nobody should use it, and it is mapped.
        unsafe { first_unlike(self.address, self.len, FREED_BYTE) }.is_some()
    }

    fn make_freed(&mut self) {
        match &mut self.memory {
            // SAFETY: the driver has given the bytes back.
            Memory::Heap { .. } => unsafe {
                ptr::write_bytes(self.address as *mut u8, FREED_BYTE, self.len)
            },
            Memory::Special {
                room,
                fences,
                freed,
            } => {
                if !std::mem::replace(freed, true) {
                    fences.give_back(*room);
                }
            }
        }
    }

    /// Bytes that it takes up although it is freed.
    fn kept_bytes(&self) -> usize {
        match self.memory {
            Memory::Heap { .. } => self.len,
            Memory::Special { .. } => 0,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match self.memory {
            // SAFETY: memory that this block owns, in the form in which it was got.
            Memory::Heap { base, layout } => unsafe { alloc::dealloc(base, layout) },
            Memory::Special { .. } => self.make_freed(),
        }
    }
}

impl Pool {
    pub(crate) fn new(special: Option<Special>) -> Self {
        Self {
            special,
            freed: Mutex::new(None),
            state: Mutex::default(),
        }
    }

    /// Looks at the contents of every block that the driver frees, before they are gone: what `check`
    /// says of a block breaks [`FREED_SECRET`](crate::ndis::rules::FREED_SECRET). For those who know
    /// which bytes must not be left in memory.
    pub fn check_freed(&self, check: impl Fn(&[u8]) -> Option<String> + Send + 'static) {
        *self.freed.lock() = Some(Box::new(check));
    }

    /// What the check says of a block that is about to be freed.
    fn secret(&self, address: *const u8, len: usize) -> Option<String> {
        let check = self.freed.lock();
        // SAFETY: an allocated block, which the driver is giving back.
        check.as_ref()?(unsafe { slice::from_raw_parts(address, len) })
    }

    /// Allocates a block, or null when the host has no memory.
    #[must_use]
    pub fn allocate(&self, len: usize, tag: u32, zero: bool) -> *mut u8 {
        self.allocate_for(len, tag, zero, false, ALIGN)
    }

    fn allocate_for(&self, len: usize, tag: u32, zero: bool, paged: bool, align: usize) -> *mut u8 {
        let align = if len >= PAGE { PAGE } else { align };
        let mut block = match Block::new(len, align, self.special.as_ref(), Kind::Pool) {
            Some(block) => block,
            None => return ptr::null_mut(),
        };
        (block.tag, block.paged) = (tag, paged);
        let address = self.add(block, if zero { 0 } else { FRESH_BYTE });
        if let Some(cpu) = processor::try_current() {
            let machine = cpu.machine();
            machine.note(Kind::Pool, address as u64, "allocated, bytes:", len as u64);
        }
        address
    }

    /// Zeroed memory of an object of the system's, or null. The object is known by its address unless
    /// it has another name.
    pub(crate) fn allocate_object(
        &self,
        len: usize,
        align: usize,
        kind: Kind,
        name: Option<u64>,
    ) -> *mut u8 {
        let Some(mut block) = Block::new(len, align, self.special.as_ref(), kind) else {
            return ptr::null_mut();
        };
        block.object.1 = name.unwrap_or(block.object.1);
        self.add(block, 0)
    }

    fn add(&self, mut block: Block, fill: u8) -> *mut u8 {
        block.by = caller();
        let address = block.address;
        let special = match &block.memory {
            Memory::Special { room, fences, .. } => {
                let content = Content {
                    what: block.object.0.name(),
                    object: Some(block.object),
                    outside: rules::POOL_OVERRUN,
                };
                fences.describe(room.base, content);
                true
            }
            Memory::Heap { .. } => false,
        };
        // SAFETY: the length of a block that nobody else knows yet.
        unsafe { ptr::write_bytes(address as *mut u8, fill, block.len) };
        let mut state = self.state.lock();
        state.allocations += 1;
        state.not_special += u64::from(!special);
        block.serial = state.allocations;
        // Special pool has used the address again.
        if let Some(old) = state.freed.remove(&address) {
            state.quarantined -= old.kept_bytes();
            state.order.retain(|a| *a != address);
        }
        state.live.insert(address, block);
        address as *mut u8
    }

    /// Frees a block; with a tag only if it is the block's.
    ///
    /// # Errors
    /// The block stays as it is, except after a late write to another one.
    pub fn free(&self, address: *mut u8, tag: Option<u32>) -> Result<(), FreeError> {
        let address = address as usize;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(block) = state.live.get(&address) else {
            return Err(if state.freed.contains_key(&address) {
                FreeError::Twice
            } else {
                FreeError::Unknown
            });
        };
        if tag.is_some_and(|t| t != block.tag) {
            return Err(FreeError::Tag(block.tag));
        }
        if let Some(damage) = block.damage() {
            return Err(FreeError::Corrupt(damage));
        }
        let Some(mut block) = state.live.remove(&address) else {
            return Err(FreeError::Unknown);
        };
        if let Some(kept) = &mut state.kept {
            kept.push(Kept::of(&block));
        }
        block.make_freed();
        state.quarantined += block.kept_bytes();
        state.order.push_back(address);
        state.freed.insert(address, block);
        let mut late = None;
        while state.order.len() > QUARANTINE_BLOCKS || state.quarantined > QUARANTINE_BYTES {
            let oldest = state.order.pop_front().and_then(|a| state.freed.remove(&a));
            let Some(oldest) = oldest else {
                break;
            };
            state.quarantined -= oldest.kept_bytes();
            late = late.or_else(|| Self::late_write(&oldest));
        }
        late.map_or(Ok(()), |what| Err(FreeError::LateWrite(what)))
    }

    fn late_write(block: &Block) -> Option<LateWrite> {
        block.written_after_free().then(|| LateWrite {
            text: format!("{} was written after it was freed", block.describe()),
            object: block.object,
        })
    }

    /// Looks at all guard bytes and all freed blocks in quarantine.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        let state = self.state.lock();
        let live = state.live.values().find_map(Block::damage);
        live.or_else(|| {
            let late = state.freed.values().find_map(Self::late_write);
            late.map(|late| late.text)
        })
    }

    /// Length of the allocated block at `address`.
    fn len_of(&self, address: *const u8) -> Option<usize> {
        let state = self.state.lock();
        state.live.get(&(address as usize)).map(|b| b.len)
    }

    /// Addresses of the oldest blocks of a tag that are allocated.
    fn oldest(&self, tag: u32, count: usize) -> Vec<u64> {
        let state = self.state.lock();
        let mut blocks: Vec<&Block> = state.live.values().filter(|b| b.tag == tag).collect();
        blocks.sort_by_key(|b| b.serial);
        blocks
            .iter()
            .take(count)
            .map(|b| b.address as u64)
            .collect()
    }

    /// Blocks and bytes that are allocated, by tag.
    #[must_use]
    pub fn usage(&self) -> BTreeMap<u32, (usize, usize)> {
        let mut by_tag = BTreeMap::new();
        for block in self.state.lock().live.values() {
            let (blocks, bytes) = by_tag.entry(block.tag).or_insert((0, 0));
            *blocks += 1;
            *bytes += block.len;
        }
        by_tag
    }

    /// Number of allocations so far, for tests of paths that must not allocate.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.state.lock().allocations
    }

    /// Number of allocations so far that came from elsewhere than special pool: all of them when it is
    /// off, and those for which the host had no mappings to spare (vm.max_map_count).
    #[must_use]
    pub fn not_special(&self) -> u64 {
        self.state.lock().not_special
    }

    /// Whether the block at `address` comes from paged pool.
    #[must_use]
    pub fn is_paged(&self, address: *const u8) -> bool {
        self.state
            .lock()
            .live
            .get(&(address as usize))
            .is_some_and(|b| b.paged)
    }

    /// Reports and forgets what is still allocated, and late writes.
    pub(crate) fn leaks(&self, machine: &Machine) -> Vec<Finding> {
        let damage = self.damage();
        let mut findings: Vec<_> = self
            .usage()
            .into_iter()
            .map(|(tag, (blocks, bytes))| {
                let histories = machine.histories();
                let oldest = self.oldest(tag, LEAKS_SHOWN);
                Finding {
                    rule: rules::POOL_LEAK,
                    message: format!(
                        "{blocks} blocks, {bytes} bytes, tag '{}' were not freed",
                        tag_text(tag)
                    ),
                    histories: oldest
                        .into_iter()
                        .filter_map(|id| histories.of(machine.images(), (Kind::Pool, id)))
                        .collect(),
                }
            })
            .collect();
        findings.extend(damage.map(|message| Finding::new(rules::POOL_CORRUPTION, message)));
        let mut state = self.state.lock();
        let kept = state.kept.take();
        *state = PoolState {
            kept,
            ..PoolState::default()
        };
        drop(state);
        findings
    }
}

fn caller() -> &'static str {
    processor::try_current().map_or("the simulator", |c| c.thread().callback())
}

/// Frees on behalf of the driver; stops the machine when it may not.
pub fn free_or_stop(pool: &Pool, address: *mut u8, tag: Option<u32>) {
    let cpu = processor::current();
    let machine = cpu.machine();
    if let Some(len) = pool.len_of(address) {
        machine.kernel().locks.forget(address as usize, len);
        machine.note(Kind::Pool, address as u64, "freed", 0);
        if let Some(secret) = pool.secret(address, len) {
            violation_about(FREED_SECRET, secret, &[(Kind::Pool, address as u64)]);
        }
    }
    let violation =
        |rule, text: String| -> ! { violation_about(rule, text, &[(Kind::Pool, address as u64)]) };
    let given = tag.map_or(String::new(), |t| format!(" with tag '{}'", tag_text(t)));
    match pool.free(address, tag) {
        Ok(()) => {}
        Err(FreeError::Unknown) => violation(
            rules::POOL_CALLER,
            format!("{address:p} is not an allocated block"),
        ),
        Err(FreeError::Twice) => {
            violation(rules::POOL_CALLER, format!("{address:p} was already freed"))
        }
        Err(FreeError::Tag(tag)) => violation(
            rules::POOL_CALLER,
            format!(
                "{address:p} was allocated with tag '{}' and freed{given}",
                tag_text(tag)
            ),
        ),
        Err(FreeError::LateWrite(late)) => late.stop(),
        Err(FreeError::Corrupt(what)) => violation(rules::POOL_CORRUPTION, what),
    }
}

impl LateWrite {
    fn stop(self) -> ! {
        violation_about(rules::POOL_USE_AFTER_FREE, self.text, &[self.object])
    }
}

/// Frees the memory of an object of the system's; stops the machine if it, or one that was freed
/// before, was misused.
pub(crate) fn free_object(pool: &Pool, address: *mut u8, object: Object) {
    match pool.free(address, None) {
        Ok(()) => {}
        Err(FreeError::Corrupt(what)) => violation_about(BUFFER_OVERRUN, what, &[object]),
        Err(FreeError::LateWrite(late)) => late.stop(),
        Err(error) => panic!("{object:?} at {address:p}: {error:?}"),
    }
}

unsafe extern "efiapi" fn ex_allocate_pool2(flags: u64, bytes: usize, tag: u32) -> *mut u8 {
    let cpu = processor::current();
    let kinds = flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED);
    let unknown = flags & REQUIRED_HALF & !KNOWN;
    if tag == 0 || bytes == 0 || kinds.count_ones() != 1 || unknown != 0 {
        let message = format!("ExAllocatePool2(flags 0x{flags:x}, {bytes} bytes, tag 0x{tag:x})");
        violation(rules::POOL_TAG, message);
    }
    if kinds == POOL_FLAG_PAGED && cpu.irql() > Irql::APC {
        violation(
            rules::IRQL,
            format!("paged pool allocated at {}", cpu.irql()),
        );
    }
    let machine = cpu.machine();
    if machine.faults().hit("ExAllocatePool2") {
        return ptr::null_mut();
    }
    let align = if flags & POOL_FLAG_CACHE_ALIGNED != 0 {
        CACHE_LINE
    } else {
        ALIGN
    };
    let (zero, paged) = (
        flags & POOL_FLAG_UNINITIALIZED == 0,
        kinds == POOL_FLAG_PAGED,
    );
    machine
        .kernel()
        .pool
        .allocate_for(bytes, tag, zero, paged, align)
}

fn free(address: *mut u8, tag: Option<u32>) {
    let cpu = processor::current();
    let pool = &cpu.machine().kernel().pool;
    if cpu.irql() > Irql::APC && pool.is_paged(address) {
        violation(rules::IRQL, format!("paged pool freed at {}", cpu.irql()));
    }
    free_or_stop(pool, address, tag);
}

unsafe extern "efiapi" fn ex_free_pool(address: *mut u8) {
    free(address, None);
}

unsafe extern "efiapi" fn ex_free_pool_with_tag(address: *mut u8, tag: u32) {
    // A tag of zero asks for no comparison.
    free(address, (tag != 0).then_some(tag));
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e("ExAllocatePool2", ex_allocate_pool2 as *const (), 3),
        e("ExFreePool", ex_free_pool as *const (), 1),
        e("ExFreePoolWithTag", ex_free_pool_with_tag as *const (), 2),
    ]
}
