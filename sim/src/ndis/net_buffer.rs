//! Access to the data of NET_BUFFERs: NdisGetDataBuffer, moving the data start,
//! and copying.

use std::ptr;

use ndis_sys::{
    BOOLEAN, MDL, NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_SUCCESS, NET_BUFFER,
    NET_BUFFER_FREE_MDL_HANDLER, NET_BUFFER_LIST, NetBufferListCancelId, PVOID, ULONG,
};

use super::{
    nbl::{INFO_SLOTS, fault, pieces},
    rules,
    state::{required, what},
};
use crate::{
    exports::{Export, NDIS},
    irql::Irql,
    report::violation,
};

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_NET_BUFFER)
    };
    vec![
        any("NdisGetDataBuffer", data_buffer as *const (), 5),
        any("NdisAdvanceNetBufferDataStart", advance as *const (), 4),
        any("NdisRetreatNetBufferDataStart", retreat as *const (), 4),
        any("NdisCopyFromNetBufferToNetBuffer", copy as *const (), 6),
        any("NdisCopySendNetBufferListInfo", copy_info as *const (), 2),
        any(
            "NdisCopyReceiveNetBufferListInfo",
            copy_info as *const (),
            2,
        ),
    ]
}

fn check(nb: *const NET_BUFFER) {
    required(nb, "NetBuffer");
    // SAFETY: a NET_BUFFER by the page.
    if let Some(fault) = unsafe { fault(nb) } {
        violation(rules::NET_BUFFER_LIST, format!("{}: {fault}", what()));
    }
}

extern "efiapi" fn data_buffer(
    nb: *const NET_BUFFER,
    needed: ULONG,
    storage: PVOID,
    multiple: ULONG,
    offset: ULONG,
) -> PVOID {
    check(nb);
    let needed = needed as usize;
    // SAFETY: checked just now.
    unsafe {
        if ((*nb).DataLength as usize) < needed || needed == 0 {
            return ptr::null_mut();
        }
        let mut first = None;
        pieces(nb, |at, len| {
            first.get_or_insert((at, len));
        });
        let fits =
            |at: *mut u8| multiple <= 1 || at as u64 % u64::from(multiple) == u64::from(offset);
        if let Some((at, len)) = first
            && len >= needed
            && fits(at)
        {
            return at.cast();
        }
        if storage.is_null() {
            return ptr::null_mut();
        }
        let mut done = 0;
        pieces(nb, |at, len| {
            let take = len.min(needed - done);
            ptr::copy_nonoverlapping(at, storage.cast::<u8>().add(done), take);
            done += take;
        });
        storage
    }
}

/// Makes CurrentMdl and CurrentMdlOffset follow DataOffset.
///
/// # Safety
/// `nb` points to a NET_BUFFER whose MDLs hold its data.
unsafe fn relocate(nb: *mut NET_BUFFER) {
    // SAFETY: as the caller says.
    unsafe {
        let (mut mdl, mut left): (*mut MDL, u32) = ((*nb).MdlChain, (*nb).DataOffset);
        while !mdl.is_null() && left >= (*mdl).ByteCount && !(*mdl).Next.is_null() {
            left -= (*mdl).ByteCount;
            mdl = (*mdl).Next;
        }
        (*nb).CurrentMdl = mdl;
        (*nb).CurrentMdlOffset = left;
    }
}

extern "efiapi" fn advance(
    nb: *mut NET_BUFFER,
    delta: ULONG,
    _free_mdl: BOOLEAN,
    _handler: NET_BUFFER_FREE_MDL_HANDLER,
) {
    check(nb);
    // SAFETY: checked just now.
    unsafe {
        if (*nb).DataLength < delta {
            violation(
                rules::NET_BUFFER_LIST,
                format!(
                    "{} by {delta}, the data has {} bytes",
                    what(),
                    (*nb).DataLength
                ),
            );
        }
        (*nb).DataLength -= delta;
        (*nb).DataOffset += delta;
        relocate(nb);
    }
}

/// Uses the unused data space. More than there is fails: the simulator gives a
/// miniport no memory that it would have to give back in some other way.
extern "efiapi" fn retreat(
    nb: *mut NET_BUFFER,
    delta: ULONG,
    _back_fill: ULONG,
    _handler: *const (),
) -> NDIS_STATUS {
    check(nb);
    // SAFETY: checked just now.
    unsafe {
        if (*nb).DataOffset < delta {
            return NDIS_STATUS_FAILURE;
        }
        (*nb).DataLength += delta;
        (*nb).DataOffset -= delta;
        relocate(nb);
    }
    NDIS_STATUS_SUCCESS
}

extern "efiapi" fn copy(
    to: *mut NET_BUFFER,
    to_offset: ULONG,
    count: ULONG,
    from: *const NET_BUFFER,
    from_offset: ULONG,
    copied: *mut ULONG,
) -> NDIS_STATUS {
    check(to);
    check(from);
    required(copied, "BytesCopied");
    let mut bytes = Vec::new();
    // SAFETY: both were checked just now, the out parameter too.
    unsafe {
        super::nbl::gather(from, &mut bytes);
        let bytes = bytes.get(from_offset as usize..).unwrap_or_default();
        let mut bytes = &bytes[..bytes.len().min(count as usize)];
        let mut skip = to_offset as usize;
        let mut done = 0u32;
        pieces(to, |at, len| {
            let over = skip.min(len);
            skip -= over;
            let take = (len - over).min(bytes.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), at.add(over), take);
            bytes = &bytes[take..];
            done += take as u32;
        });
        copied.write(done);
    }
    NDIS_STATUS_SUCCESS
}

extern "efiapi" fn copy_info(to: *mut NET_BUFFER_LIST, from: *const NET_BUFFER_LIST) {
    required(to, "DestNetBufferList");
    required(from, "SrcNetBufferList");
    // SAFETY: checked for NULL; both have these slots.
    unsafe {
        let source = (&raw const (*from).NetBufferListInfo).cast::<usize>();
        let target = (&raw mut (*to).NetBufferListInfo).cast::<usize>();
        for slot in (0..INFO_SLOTS).filter(|s| *s != NetBufferListCancelId as usize) {
            target.add(slot).write(source.add(slot).read());
        }
    }
}
