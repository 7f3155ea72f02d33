//! Context space of NET_BUFFER_LISTs.

use ndis_sys::{
    NDIS_STATUS, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, NET_BUFFER_LIST,
    NET_BUFFER_LIST_CONTEXT, ULONG, USHORT,
};

use super::{
    block::Block,
    pool::aligned,
    rules,
    state::{here, required},
};
use crate::{
    exports::{Export, NDIS},
    history::Kind,
    irql::Irql,
    report::violation,
};

/// Context space that NdisAllocateNetBufferListContext added.
pub(super) struct NblContext {
    block: Block,
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_NET_BUFFER)
    };
    vec![
        any(
            "NdisAllocateNetBufferListContext",
            allocate_context as *const (),
            4,
        ),
        any("NdisFreeNetBufferListContext", free_context as *const (), 2),
    ]
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
            let len = size_of::<NET_BUFFER_LIST_CONTEXT>() + usize::from(room);
            let Some(block) = Block::part(machine, len, (Kind::NetBufferList, nbl as u64)) else {
                return NDIS_STATUS_RESOURCES;
            };
            let context = block.memory.cast::<NET_BUFFER_LIST_CONTEXT>();
            (*context).Next = current;
            (*context).Size = room;
            (*context).Offset = room - size;
            (*nbl).Context = context;
            state
                .nbl_contexts
                .insert(context as u64, NblContext { block }.into());
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
                && let Some(record) = state.nbl_contexts.remove(context as u64)
            {
                (*nbl).Context = (*context).Next;
                record.block.free();
            }
        }
    });
}
