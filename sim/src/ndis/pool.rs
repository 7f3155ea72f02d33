//! Pools of NET_BUFFER_LISTs and of NET_BUFFERs.

use std::{
    fmt, ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ndis_sys::{NDIS_HANDLE, NET_BUFFER_LIST_POOL_PARAMETERS, NET_BUFFER_POOL_PARAMETERS};

use super::{
    header, rules,
    state::{Owner, State, here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    history::Kind as Object,
    irql::Irql,
    report::violation,
};

/// A pool.
pub(super) struct Pool {
    pub(super) handle: u64,
    pub(super) owner: Owner,
    pub(super) kind: Kind,
    pub(super) data_size: u32,
    pub(super) context_size: u16,
    pub(super) live: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
    here(|machine, _| machine.note(Object::NetBufferPool, handle, "allocated", 0));
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
    here(|machine, state| {
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
        machine.note(Object::NetBufferPool, pool.handle, "freed", 0);
    });
}

pub(super) fn find_pool(state: &State, handle: NDIS_HANDLE, lists: bool) -> Arc<Pool> {
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

pub(super) fn aligned(size: u16, parameter: &str) {
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
