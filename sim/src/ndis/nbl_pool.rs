//! NET_BUFFER_LISTs and NET_BUFFERs that are allocated from pools.
//!
//! NDIS's own structures are larger than a driver's, so everything here is laid
//! out by hand: a NET_BUFFER_LIST with room for every information slot of the
//! simulated Windows, then the preallocated NET_BUFFER, then the context.

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use ndis_sys::{
    MDL, NDIS_HANDLE, NET_BUFFER, NET_BUFFER_LIST, NET_BUFFER_LIST_CONTEXT, SIZE_T, ULONG, USHORT,
};
use parking_lot::Mutex;

use super::{
    block::{Block, Data},
    nbl::Snapshot,
    pool::{Kind, Pool, aligned, find_pool},
    rules,
    state::{Owner, State, here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    history::Kind as Object,
    irql::Irql,
    machine::Machine,
    report::{violation, violation_about},
};

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
    data: Option<Data>,
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
    block: Block,
    pool: Arc<Pool>,
    data: Option<Data>,
}

/// Bytes of a NET_BUFFER_LIST of NDIS 6.85: 28 information slots.
pub(super) const NBL_SIZE: usize = 144 + 8 * 28;
const _: () = assert!(NBL_SIZE.is_multiple_of(16) && NBL_SIZE >= size_of::<NET_BUFFER_LIST>());

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_NET_BUFFER)
    };
    vec![
        any("NdisAllocateNetBufferList", allocate_list as *const (), 3),
        any(
            "NdisAllocateNetBufferAndNetBufferList",
            allocate_both as *const (),
            6,
        ),
        any("NdisFreeNetBufferList", free_list as *const (), 1),
        any("NdisAllocateNetBuffer", allocate_buffer as *const (), 4),
        any("NdisFreeNetBuffer", free_buffer as *const (), 1),
        any("NdisGetPoolFromNetBufferList", pool_of_list as *const (), 1),
    ]
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
        make_list(machine, state, &pool, context, back_fill, start)
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
        make_list(
            machine,
            state,
            &pool,
            context,
            back_fill,
            Start { mdl, offset, len },
        )
    })
}

fn make_list(
    machine: &Machine,
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
    let Some(block) = Block::new(machine, used, Object::NetBufferList) else {
        return ptr::null_mut();
    };
    let Ok(data) = data_of(machine, pool) else {
        return ptr::null_mut();
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
        data,
        holder: AtomicU8::new(Holder::Driver as u8),
        adapter: AtomicU64::new(0),
        snapshot: Mutex::new(None),
    };
    state.nbls.insert(nbl as u64, record.into());
    let what = "allocated from pool";
    machine.note(Object::NetBufferList, nbl as u64, what, pool.handle);
    nbl
}

/// What a structure of the pool is allocated with; an error when there is no memory for it.
fn data_of(machine: &Machine, pool: &Pool) -> Result<Option<Data>, ()> {
    if pool.data_size == 0 {
        return Ok(None);
    }
    Data::new(machine, pool.data_size).map(Some).ok_or(())
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
    here(|machine, state| {
        let Some(record) = state.nbls.get(nbl as u64) else {
            violation_about(
                rules::ALLOCATE_NET_BUFFER,
                format!(
                    "NdisFreeNetBufferList got {nbl:p}, which is not allocated from a pool (any more)"
                ),
                &[(Object::NetBufferList, nbl as u64)],
            );
        };
        if record.holder() != Holder::Driver {
            violation_about(
                rules::RECEIVE_OWNERSHIP,
                format!("NdisFreeNetBufferList: {nbl:p} is indicated and was not returned yet"),
                &[(Object::NetBufferList, nbl as u64)],
            );
        }
        // SAFETY: the record keeps the structure.
        if unsafe { (*nbl).Context } != record.context {
            violation_about(
                rules::ALLOCATE_NET_BUFFER,
                format!("NdisFreeNetBufferList: context space was added to {nbl:p} and not freed"),
                &[(Object::NetBufferList, nbl as u64)],
            );
        }
        state.nbls.remove(nbl as u64);
        machine.note(Object::NetBufferList, nbl as u64, "freed", 0);
        record.pool.live.fetch_sub(1, Ordering::AcqRel);
        record.block.free();
        record.data.iter().for_each(Data::free);
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
        let Some(block) = Block::new(machine, size_of::<NET_BUFFER>(), Object::NetBuffer) else {
            return ptr::null_mut();
        };
        let Ok(data) = data_of(machine, &pool) else {
            return ptr::null_mut();
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
        let what = "allocated from pool";
        machine.note(Object::NetBuffer, nb as u64, what, pool.handle);
        state
            .nbs
            .insert(nb as u64, NbRecord { block, pool, data }.into());
        nb
    })
}

extern "efiapi" fn free_buffer(nb: *mut NET_BUFFER) {
    here(|machine, state| {
        let Some(record) = state.nbs.remove(nb as u64) else {
            violation_about(
                rules::ALLOCATE_NET_BUFFER,
                format!(
                    "NdisFreeNetBuffer got {nb:p}, which NdisAllocateNetBuffer did not return or which was freed"
                ),
                &[(Object::NetBuffer, nb as u64)],
            );
        };
        machine.note(Object::NetBuffer, nb as u64, "freed", 0);
        record.pool.live.fetch_sub(1, Ordering::AcqRel);
        record.block.free();
        record.data.iter().for_each(Data::free);
    });
}

extern "efiapi" fn pool_of_list(nbl: *mut NET_BUFFER_LIST) -> NDIS_HANDLE {
    required(nbl, "NetBufferList");
    // SAFETY: a NET_BUFFER_LIST by the page.
    unsafe { (*nbl).NdisPoolHandle }
}
