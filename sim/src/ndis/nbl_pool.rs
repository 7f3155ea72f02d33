//! Pools of NET_BUFFER_LISTs and NET_BUFFERs, and what is allocated from them.
//!
//! NDIS's own structures are larger than a driver's, so everything here is laid
//! out by hand: a NET_BUFFER_LIST with room for every information slot of the
//! simulated Windows, then the preallocated NET_BUFFER, then the context.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    fmt, ptr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use ndis_sys::{
    MDL, NDIS_HANDLE, NDIS_STATUS, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, NET_BUFFER,
    NET_BUFFER_LIST, NET_BUFFER_LIST_CONTEXT, NET_BUFFER_LIST_POOL_PARAMETERS,
    NET_BUFFER_POOL_PARAMETERS, SIZE_T, ULONG, USHORT,
};
use parking_lot::Mutex;

use super::{
    header,
    memory::{mdl_for, mdl_size},
    nbl::Snapshot,
    rules,
    state::{Owner, State, here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    irql::Irql,
    report::violation,
};

/// A pool.
pub(super) struct Pool {
    pub(super) handle: u64,
    pub(super) owner: Owner,
    kind: Kind,
    data_size: u32,
    context_size: u16,
    live: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lists { with_buffer: bool },
    Buffers,
}

impl Pool {
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.kind == Kind::Buffers {
            "NET_BUFFER"
        } else {
            "NET_BUFFER_LIST"
        };
        write!(f, "{of} pool {:#x}", self.handle)
    }
}

/// Who may use a NET_BUFFER_LIST of a driver's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Holder {
    /// The driver that allocated it.
    Driver,
    /// NDIS and the protocols, until MiniportReturnNetBufferLists.
    Indicated,
    /// NDIS and the protocols, until NdisMIndicateReceiveNetBufferLists returns.
    Loaned,
}

/// A NET_BUFFER_LIST that a driver allocated.
pub(super) struct NblRecord {
    pub(super) nbl: *mut NET_BUFFER_LIST,
    block: Block,
    pool: Arc<Pool>,
    context: *mut NET_BUFFER_LIST_CONTEXT,
    _data: Option<Data>,
    holder: AtomicU8,
    /// The adapter that indicated it, while it is not the driver's.
    pub(super) adapter: AtomicU64,
    pub(super) snapshot: Mutex<Option<Snapshot>>,
}

// SAFETY: the structures are reached through raw pointers only.
unsafe impl Send for NblRecord {}
// SAFETY: as above.
unsafe impl Sync for NblRecord {}

impl NblRecord {
    pub(super) fn holder(&self) -> Holder {
        match self.holder.load(Ordering::Acquire) {
            0 => Holder::Driver,
            1 => Holder::Indicated,
            _ => Holder::Loaned,
        }
    }

    /// Passes the list from one holder to another; false if it is not `from`'s.
    pub(super) fn pass(&self, from: Holder, to: Holder) -> bool {
        self.holder
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The pool's owner.
    pub(super) fn owner(&self) -> Owner {
        self.pool.owner
    }
}

/// A NET_BUFFER that a driver allocated by itself.
pub(super) struct NbRecord {
    _block: Block,
    pool: Arc<Pool>,
    _data: Option<Data>,
}

/// Context space that NdisAllocateNetBufferListContext added.
pub(super) struct NblContext {
    _block: Block,
}

/// Zeroed memory with guard bytes behind it.
struct Block {
    memory: *mut u8,
    layout: Layout,
    used: usize,
}

// SAFETY: owned memory.
unsafe impl Send for Block {}
// SAFETY: only read through a shared reference.
unsafe impl Sync for Block {}

const GUARD: u8 = 0xFD;
const GUARD_LEN: usize = 16;

impl Block {
    fn new(used: usize) -> Option<Self> {
        let layout = Layout::from_size_align(used + GUARD_LEN, 16).ok()?;
        // SAFETY: the size is not 0; the guard lies within the allocation.
        unsafe {
            let memory = alloc_zeroed(layout);
            if memory.is_null() {
                return None;
            }
            ptr::write_bytes(memory.add(used), GUARD, GUARD_LEN);
            Some(Self {
                memory,
                layout,
                used,
            })
        }
    }

    fn is_intact(&self) -> bool {
        // SAFETY: the guard lies within the allocation.
        (0..GUARD_LEN).all(|i| unsafe { *self.memory.add(self.used + i) } == GUARD)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; poisoned for those who look later.
        unsafe {
            ptr::write_bytes(self.memory, 0xDD, self.used);
            dealloc(self.memory, self.layout);
        }
    }
}

/// Data and its MDL, for pools with a DataSize.
struct Data {
    _bytes: Box<[u8]>,
    mdl: Block,
}

impl Data {
    fn new(len: u32) -> Option<Self> {
        let mut bytes = vec![0; len as usize].into_boxed_slice();
        let va = bytes.as_mut_ptr() as u64;
        let mdl = Block::new(mdl_size(va, len))?;
        // SAFETY: the block holds an MDL.
        unsafe { mdl.memory.cast::<MDL>().write(mdl_for(va, len)) };
        Some(Self { _bytes: bytes, mdl })
    }
}

/// Bytes of a NET_BUFFER_LIST of NDIS 6.85: 28 information slots.
pub(super) const NBL_SIZE: usize = 144 + 8 * 28;
const _: () = assert!(NBL_SIZE.is_multiple_of(16) && NBL_SIZE >= size_of::<NET_BUFFER_LIST>());

/// MEMORY_ALLOCATION_ALIGNMENT
const ALIGNMENT: u16 = 16;

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_NET_BUFFER)
    };
    vec![
        any(
            "NdisAllocateNetBufferListPool",
            allocate_list_pool as *const (),
            2,
        ),
        any("NdisFreeNetBufferListPool", free_list_pool as *const (), 1),
        any(
            "NdisAllocateNetBufferPool",
            allocate_buffer_pool as *const (),
            2,
        ),
        any("NdisFreeNetBufferPool", free_buffer_pool as *const (), 1),
        any("NdisAllocateNetBufferList", allocate_list as *const (), 3),
        any(
            "NdisAllocateNetBufferAndNetBufferList",
            allocate_both as *const (),
            6,
        ),
        any("NdisFreeNetBufferList", free_list as *const (), 1),
        any("NdisAllocateNetBuffer", allocate_buffer as *const (), 4),
        any("NdisFreeNetBuffer", free_buffer as *const (), 1),
        any(
            "NdisAllocateNetBufferListContext",
            allocate_context as *const (),
            4,
        ),
        any("NdisFreeNetBufferListContext", free_context as *const (), 2),
        any("NdisGetPoolFromNetBufferList", pool_of_list as *const (), 1),
    ]
}

extern "efiapi" fn allocate_list_pool(
    handle: NDIS_HANDLE,
    parameters: *const NET_BUFFER_LIST_POOL_PARAMETERS,
) -> NDIS_HANDLE {
    required(parameters, "Parameters");
    here(|machine, state| {
        let owner = state.owner(handle as u64);
        let version = state.driver_of(owner).map_or((6, 0), |d| d.version);
        // SAFETY: checked for NULL; the header is checked before the rest is read.
        let p = unsafe {
            header::NBL_POOL_PARAMETERS.check(parameters, version);
            parameters.read_unaligned()
        };
        if p.PoolTag == 0 {
            violation(
                rules::ALLOCATE_MEMORY,
                "NdisAllocateNetBufferListPool without a PoolTag",
            );
        }
        let with_buffer = p.fAllocateNetBuffer != 0;
        if p.DataSize != 0 && !with_buffer {
            violation(
                rules::ALLOCATE_NET_BUFFER,
                "a NET_BUFFER_LIST pool with DataSize needs fAllocateNetBuffer",
            );
        }
        aligned(p.ContextSize, "ContextSize");
        if machine.faults().hit("NdisAllocateNetBufferListPool") {
            return ptr::null_mut();
        }
        add_pool(
            state,
            owner,
            Kind::Lists { with_buffer },
            p.DataSize,
            p.ContextSize,
        )
    })
}

extern "efiapi" fn allocate_buffer_pool(
    handle: NDIS_HANDLE,
    parameters: *const NET_BUFFER_POOL_PARAMETERS,
) -> NDIS_HANDLE {
    required(parameters, "Parameters");
    here(|machine, state| {
        let owner = state.owner(handle as u64);
        let version = state.driver_of(owner).map_or((6, 0), |d| d.version);
        // SAFETY: checked for NULL; the header is checked before the rest is read.
        let p = unsafe {
            header::NB_POOL_PARAMETERS.check(parameters, version);
            parameters.read_unaligned()
        };
        if p.PoolTag == 0 {
            violation(
                rules::ALLOCATE_MEMORY,
                "NdisAllocateNetBufferPool without a PoolTag",
            );
        }
        if machine.faults().hit("NdisAllocateNetBufferPool") {
            return ptr::null_mut();
        }
        add_pool(state, owner, Kind::Buffers, p.DataSize, 0)
    })
}

fn add_pool(
    state: &State,
    owner: Owner,
    kind: Kind,
    data_size: u32,
    context_size: u16,
) -> NDIS_HANDLE {
    let handle = state.handle();
    let live = AtomicUsize::new(0);
    state.pools.insert(
        handle,
        Pool {
            handle,
            owner,
            kind,
            data_size,
            context_size,
            live,
        }
        .into(),
    );
    handle as NDIS_HANDLE
}

extern "efiapi" fn free_list_pool(handle: NDIS_HANDLE) {
    free_pool(handle, true);
}

extern "efiapi" fn free_buffer_pool(handle: NDIS_HANDLE) {
    free_pool(handle, false);
}

fn free_pool(handle: NDIS_HANDLE, lists: bool) {
    here(|_, state| {
        let pool = find_pool(state, handle, lists);
        if pool.live() != 0 {
            violation(
                rules::ALLOCATE_NET_BUFFER,
                format!(
                    "{}: {} structures of {pool} are still allocated",
                    what(),
                    pool.live()
                ),
            );
        }
        state.pools.remove(pool.handle);
    });
}

fn find_pool(state: &State, handle: NDIS_HANDLE, lists: bool) -> Arc<Pool> {
    match state.pools.get(handle as u64) {
        Some(pool) if (pool.kind != Kind::Buffers) == lists => pool,
        _ => violation(
            rules::HANDLE,
            format!(
                "{} got {handle:p}, which is no such pool's handle (any more)",
                what()
            ),
        ),
    }
}

fn aligned(size: u16, parameter: &str) {
    if !size.is_multiple_of(ALIGNMENT) {
        violation(
            rules::ALLOCATE_NET_BUFFER,
            format!(
                "{}: {parameter} {size} is no multiple of MEMORY_ALLOCATION_ALIGNMENT",
                what()
            ),
        );
    }
}

/// The start of an MDL chain, for a new NET_BUFFER.
#[derive(Clone, Copy)]
struct Start {
    mdl: *mut MDL,
    offset: u32,
    len: usize,
}

extern "efiapi" fn allocate_list(
    handle: NDIS_HANDLE,
    context: USHORT,
    back_fill: USHORT,
) -> *mut NET_BUFFER_LIST {
    here(|machine, state| {
        let pool = find_pool(state, handle, true);
        if machine.faults().hit("NdisAllocateNetBufferList") {
            return ptr::null_mut();
        }
        let start = Start {
            mdl: ptr::null_mut(),
            offset: 0,
            len: 0,
        };
        make_list(state, &pool, context, back_fill, start)
    })
}

extern "efiapi" fn allocate_both(
    handle: NDIS_HANDLE,
    context: USHORT,
    back_fill: USHORT,
    mdl: *mut MDL,
    offset: ULONG,
    len: SIZE_T,
) -> *mut NET_BUFFER_LIST {
    here(|machine, state| {
        let pool = find_pool(state, handle, true);
        if pool.kind != (Kind::Lists { with_buffer: true }) || pool.data_size != 0 {
            violation(
                rules::ALLOCATE_NET_BUFFER,
                format!(
                    "{}: {pool} was not made with fAllocateNetBuffer and DataSize 0",
                    what()
                ),
            );
        }
        if machine
            .faults()
            .hit("NdisAllocateNetBufferAndNetBufferList")
        {
            return ptr::null_mut();
        }
        make_list(state, &pool, context, back_fill, Start { mdl, offset, len })
    })
}

fn make_list(
    state: &State,
    pool: &Arc<Pool>,
    context: u16,
    back_fill: u16,
    start: Start,
) -> *mut NET_BUFFER_LIST {
    aligned(context, "ContextSize");
    aligned(back_fill, "ContextBackFill");
    let with_buffer = pool.kind == Kind::Lists { with_buffer: true };
    let room = context.saturating_add(back_fill).max(pool.context_size);
    let context_at = NBL_SIZE
        + if with_buffer {
            size_of::<NET_BUFFER>()
        } else {
            0
        };
    let used = context_at
        + if room == 0 {
            0
        } else {
            size_of::<NET_BUFFER_LIST_CONTEXT>() + usize::from(room)
        };
    let Some(block) = Block::new(used) else {
        return ptr::null_mut();
    };
    let data = if pool.data_size == 0 {
        None
    } else {
        Data::new(pool.data_size)
    };
    let nbl = block.memory.cast::<NET_BUFFER_LIST>();
    let mut context_pointer = ptr::null_mut();
    // SAFETY: the block holds the structures one after the other, each 16-aligned.
    unsafe {
        (*nbl).NdisPoolHandle = pool.handle as NDIS_HANDLE;
        if with_buffer {
            let nb = block.memory.add(NBL_SIZE).cast::<NET_BUFFER>();
            let start = match &data {
                Some(data) => Start {
                    mdl: data.mdl.memory.cast(),
                    offset: 0,
                    len: 0,
                },
                None => start,
            };
            init_buffer(nb, pool, start);
            (*nbl).FirstNetBuffer = nb;
        }
        if room != 0 {
            context_pointer = block
                .memory
                .add(context_at)
                .cast::<NET_BUFFER_LIST_CONTEXT>();
            (*context_pointer).Size = room;
            (*context_pointer).Offset = room - context;
            (*nbl).Context = context_pointer;
        }
    }
    pool.live.fetch_add(1, Ordering::AcqRel);
    let record = NblRecord {
        nbl,
        block,
        pool: Arc::clone(pool),
        context: context_pointer,
        _data: data,
        holder: AtomicU8::new(Holder::Driver as u8),
        adapter: AtomicU64::new(0),
        snapshot: Mutex::new(None),
    };
    state.nbls.insert(nbl as u64, record.into());
    nbl
}

/// # Safety
/// `nb` is zeroed memory for a NET_BUFFER.
unsafe fn init_buffer(nb: *mut NET_BUFFER, pool: &Pool, start: Start) {
    if start.mdl.is_null() && (start.offset != 0 || start.len != 0) {
        violation(
            rules::ALLOCATE_NET_BUFFER,
            format!(
                "{}: DataOffset and DataLength are 0 when MdlChain is NULL",
                what()
            ),
        );
    }
    // SAFETY: as the caller says; the MDL chain is walked by its own lengths.
    unsafe {
        (*nb).NdisPoolHandle = pool.handle as NDIS_HANDLE;
        (*nb).MdlChain = start.mdl;
        (*nb).DataOffset = start.offset;
        (*nb).DataLength = u32::try_from(start.len).unwrap_or(u32::MAX);
        let (mut mdl, mut offset) = (start.mdl, start.offset);
        while !mdl.is_null() && offset >= (*mdl).ByteCount && !(*mdl).Next.is_null() {
            offset -= (*mdl).ByteCount;
            mdl = (*mdl).Next;
        }
        (*nb).CurrentMdl = mdl;
        (*nb).CurrentMdlOffset = offset;
        if !start.mdl.is_null()
            && let Some(fault) = super::nbl::fault(nb)
        {
            violation(rules::NET_BUFFER_LIST, format!("{}: {fault}", what()));
        }
    }
}

extern "efiapi" fn free_list(nbl: *mut NET_BUFFER_LIST) {
    here(|_, state| {
        let Some(record) = state.nbls.get(nbl as u64) else {
            violation(
                rules::ALLOCATE_NET_BUFFER,
                format!(
                    "NdisFreeNetBufferList got {nbl:p}, which is not allocated from a pool (any more)"
                ),
            );
        };
        if record.holder() != Holder::Driver {
            violation(
                rules::RECEIVE_OWNERSHIP,
                format!("NdisFreeNetBufferList: {nbl:p} is indicated and was not returned yet"),
            );
        }
        // SAFETY: the record keeps the structure.
        if unsafe { (*nbl).Context } != record.context {
            violation(
                rules::ALLOCATE_NET_BUFFER,
                format!("NdisFreeNetBufferList: context space was added to {nbl:p} and not freed"),
            );
        }
        if !record.block.is_intact() {
            violation(
                rules::BUFFER_OVERRUN,
                format!(
                    "the bytes behind the NET_BUFFER_LIST {nbl:p} and its context were written"
                ),
            );
        }
        state.nbls.remove(nbl as u64);
        record.pool.live.fetch_sub(1, Ordering::AcqRel);
    });
}

extern "efiapi" fn allocate_buffer(
    handle: NDIS_HANDLE,
    mdl: *mut MDL,
    offset: ULONG,
    len: SIZE_T,
) -> *mut NET_BUFFER {
    here(|machine, state| {
        let pool = find_pool(state, handle, false);
        if machine.faults().hit("NdisAllocateNetBuffer") {
            return ptr::null_mut();
        }
        let Some(block) = Block::new(size_of::<NET_BUFFER>()) else {
            return ptr::null_mut();
        };
        let data = if pool.data_size == 0 {
            None
        } else {
            Data::new(pool.data_size)
        };
        let start = match &data {
            Some(data) => Start {
                mdl: data.mdl.memory.cast(),
                offset: 0,
                len: 0,
            },
            None => Start { mdl, offset, len },
        };
        let nb = block.memory.cast::<NET_BUFFER>();
        // SAFETY: the block is zeroed and holds a NET_BUFFER.
        unsafe { init_buffer(nb, &pool, start) };
        pool.live.fetch_add(1, Ordering::AcqRel);
        state.nbs.insert(
            nb as u64,
            NbRecord {
                _block: block,
                pool,
                _data: data,
            }
            .into(),
        );
        nb
    })
}

extern "efiapi" fn free_buffer(nb: *mut NET_BUFFER) {
    here(|_, state| {
        let Some(record) = state.nbs.remove(nb as u64) else {
            violation(
                rules::ALLOCATE_NET_BUFFER,
                format!(
                    "NdisFreeNetBuffer got {nb:p}, which NdisAllocateNetBuffer did not return or which was freed"
                ),
            );
        };
        record.pool.live.fetch_sub(1, Ordering::AcqRel);
    });
}

extern "efiapi" fn allocate_context(
    nbl: *mut NET_BUFFER_LIST,
    size: USHORT,
    back_fill: USHORT,
    _tag: ULONG,
) -> NDIS_STATUS {
    required(nbl, "NetBufferList");
    aligned(size, "ContextSize");
    aligned(back_fill, "ContextBackFill");
    here(|machine, state| {
        if machine.faults().hit("NdisAllocateNetBufferListContext") {
            return NDIS_STATUS_RESOURCES;
        }
        // SAFETY: a NET_BUFFER_LIST by the page; the new block holds what is written.
        unsafe {
            let current = (*nbl).Context;
            if !current.is_null() && (*current).Offset >= size {
                (*current).Offset -= size;
                return NDIS_STATUS_SUCCESS;
            }
            let room = size.saturating_add(back_fill);
            let Some(block) = Block::new(size_of::<NET_BUFFER_LIST_CONTEXT>() + usize::from(room))
            else {
                return NDIS_STATUS_RESOURCES;
            };
            let context = block.memory.cast::<NET_BUFFER_LIST_CONTEXT>();
            (*context).Next = current;
            (*context).Size = room;
            (*context).Offset = room - size;
            (*nbl).Context = context;
            state
                .nbl_contexts
                .insert(context as u64, NblContext { _block: block }.into());
        }
        NDIS_STATUS_SUCCESS
    })
}

extern "efiapi" fn free_context(nbl: *mut NET_BUFFER_LIST, size: USHORT) {
    required(nbl, "NetBufferList");
    here(|_, state| {
        // SAFETY: a NET_BUFFER_LIST by the page.
        unsafe {
            let context = (*nbl).Context;
            if context.is_null() || (*context).Size - (*context).Offset < size {
                violation(
                    rules::ALLOCATE_NET_BUFFER,
                    format!(
                        "NdisFreeNetBufferListContext: {nbl:p} has no {size} bytes of context in use"
                    ),
                );
            }
            (*context).Offset += size;
            if (*context).Offset == (*context).Size
                && state.nbl_contexts.get(context as u64).is_some()
            {
                (*nbl).Context = (*context).Next;
                state.nbl_contexts.remove(context as u64);
            }
        }
    });
}

extern "efiapi" fn pool_of_list(nbl: *mut NET_BUFFER_LIST) -> NDIS_HANDLE {
    required(nbl, "NetBufferList");
    // SAFETY: a NET_BUFFER_LIST by the page.
    unsafe { (*nbl).NdisPoolHandle }
}
