//! Sending and receiving of the loopback driver.

use std::{ptr::null_mut, sync::atomic::Ordering::SeqCst};

use ndis_sim::{Irql, processor};
use ndis_sys::*;

use super::{
    driver::{At, Loop, Misdeed, look, next},
    handlers::TAG,
};
use crate::ndis;

pub unsafe extern "efiapi" fn send(
    context: NDIS_HANDLE,
    first: *mut NET_BUFFER_LIST,
    _port: u32,
    flags: u32,
) {
    let adapter = Loop::of(context);
    let mut nbl = first;
    while !nbl.is_null() {
        let following = next(nbl);
        // SAFETY: NDIS's list, until it is completed.
        unsafe {
            (*nbl).Next = null_mut();
            adapter.deed(At::Send, nbl as u64);
            if adapter.running.load(SeqCst) {
                loop_back(adapter, nbl, flags);
                spoil(adapter, nbl);
                (*nbl).Status = NDIS_STATUS_SUCCESS;
            } else {
                (*nbl).Status = NDIS_STATUS_PAUSED;
            }
            let named = (*nbl).NetBufferListInfo[IPsecOffloadV2NetBufferListInfo as usize] as u64;
            let known = adapter
                .sas
                .lock()
                .unwrap()
                .iter()
                .any(|(sa, _)| *sa == named);
            if named != 0 && !known && !adapter.does(Misdeed::SendUnknown) {
                (*nbl).Status = NDIS_STATUS_FAILURE;
                if adapter.does(Misdeed::SendUnknownLength) {
                    (*nbl).Status = NDIS_STATUS_INVALID_LENGTH;
                }
            }
            if adapter.does(Misdeed::OddStatus) {
                (*nbl).Status = NDIS_STATUS_INVALID_DATA;
            }
            if adapter.does(Misdeed::DenyLink) {
                (*nbl).Status = NDIS_STATUS_MEDIA_DISCONNECTED;
            }
        }
        let first = adapter.sent.fetch_add(1, SeqCst) == 0;
        let keep =
            adapter.does(Misdeed::KeepSend) || (first && adapter.does(Misdeed::KeepFirstSend));
        if keep {
            adapter.kept.lock().unwrap().push_back(nbl as u64);
        } else {
            complete(adapter, nbl, flags);
        }
        nbl = following;
    }
}

fn complete(adapter: &Loop, nbl: *mut NET_BUFFER_LIST, flags: u32) {
    let done = || {
        ndis!(NdisMSendNetBufferListsComplete(
            adapter.handle,
            nbl,
            flags & 1
        ));
    };
    match adapter.plan.misdeed {
        Misdeed::CompleteAtDirql => {
            let _raised = processor::current().raise(Irql::DIRQL);
            done();
        }
        Misdeed::CompleteTwice => {
            done();
            done();
        }
        Misdeed::ReadCompletedSend => {
            done();
            // The protocol frees its request some time after it has got it back.
            let mut kept = adapter.kept.lock().unwrap();
            kept.push_back(nbl as u64);
            let first = kept[0];
            drop(kept);
            look(first);
        }
        _ => done(),
    }
}

/// Does to a send what no miniport may.
///
/// # Safety
/// The list is NDIS's, and not completed.
unsafe fn spoil(adapter: &Loop, nbl: *mut NET_BUFFER_LIST) {
    // SAFETY: as the caller says.
    unsafe {
        let nb = (*nbl).FirstNetBuffer;
        let mdl = (*nb).CurrentMdl;
        match adapter.plan.misdeed {
            Misdeed::ChangeData => {
                *(*mdl)
                    .MappedSystemVa
                    .cast::<u8>()
                    .add((*nb).CurrentMdlOffset as usize) ^= 1;
            }
            Misdeed::ChangeLength => (*nb).DataLength -= 1,
            Misdeed::ChangeInfo => (*nbl).NetBufferListInfo[0] = 1 as PVOID,
            Misdeed::TellOfLargeSend => {
                (*nbl).NetBufferListInfo[TcpLargeSendNetBufferListInfo as usize] = 60 as PVOID;
            }
            Misdeed::ChangeMdl => (*mdl).ByteCount -= 1,
            Misdeed::Overrun => {
                *(*mdl)
                    .MappedSystemVa
                    .cast::<u8>()
                    .add((*mdl).ByteCount as usize) = 0;
            }
            Misdeed::ReadBehindSend => {
                look((*mdl).MappedSystemVa as u64 + u64::from((*mdl).ByteCount))
            }
            Misdeed::ReadBeforeSend => look((*mdl).MappedSystemVa as u64 - 1),
            // The only MDL is the last of the structures, and has a page or two.
            Misdeed::ReadBehindList => look(mdl as u64 + (*mdl).Size as u64 + 8),
            _ => {}
        }
    }
}

/// Copies a frame into a list of the driver's own and indicates it.
///
/// # Safety
/// The list is NDIS's, of one NET_BUFFER.
unsafe fn loop_back(adapter: &Loop, nbl: *mut NET_BUFFER_LIST, flags: u32) {
    if adapter.does(Misdeed::IndicateSend) {
        // SAFETY: as the caller says.
        unsafe { (*nbl).SourceHandle = adapter.handle() };
        ndis!(NdisMIndicateReceiveNetBufferLists(
            adapter.handle,
            nbl,
            0,
            1,
            flags & 1
        ));
    }
    // SAFETY: the list's own NET_BUFFER, and memory allocated here.
    unsafe {
        let nb = (*nbl).FirstNetBuffer;
        let len = (*nb).DataLength;
        let mut room = len;
        if adapter.does(Misdeed::TooLong) {
            room = 4000;
        }
        let data = ndis!(NdisAllocateMemoryWithTagPriority(
            adapter.handle,
            room + 2,
            TAG,
            0
        ));
        let whole = ndis!(NdisGetDataBuffer(nb, len, data, 1, 0));
        if whole != data {
            std::ptr::copy_nonoverlapping(whole as *const u8, data as *mut u8, len as usize);
        }
        let mdl = ndis!(NdisAllocateMdl(adapter.handle, data, room + 2));
        let up = ndis!(NdisAllocateNetBufferAndNetBufferList(
            adapter.pool,
            0,
            0,
            mdl,
            0,
            room
        )) as *mut NET_BUFFER_LIST;
        (*up).SourceHandle = adapter.handle();
        indicate(adapter, up, flags);
    }
}

/// Writes the word of IPsec task offload version 2.
///
/// # Safety
/// The list is the driver's own.
unsafe fn stamp(nbl: *mut NET_BUFFER_LIST, word: usize) {
    // SAFETY: as the caller says.
    unsafe { (*nbl).NetBufferListInfo[IPsecOffloadV2NetBufferListInfo as usize] = word as PVOID };
}

/// # Safety
/// The list is the driver's own.
unsafe fn indicate(adapter: &Loop, up: *mut NET_BUFFER_LIST, flags: u32) {
    if adapter.does(Misdeed::AskIrql) {
        ndis!(KeGetCurrentIrql());
    }
    let mut count = 1u32;
    let mut flags = flags & 1;
    // SAFETY: as the caller says.
    unsafe {
        match adapter.plan.misdeed {
            Misdeed::OtherSource => (*up).SourceHandle = null_mut(),
            Misdeed::WrongCount => count = 2,
            Misdeed::BadOffset => (*(*up).FirstNetBuffer).CurrentMdlOffset += 1,
            Misdeed::DispatchLie => flags = 1,
            Misdeed::CryptoEarly => stamp(up, 0x2),
            Misdeed::NextAlone => stamp(up, 0x4),
            Misdeed::StampReserved => stamp(up, 0x8),
            Misdeed::StampStatus => stamp(up, 9 << 16 | 2),
            _ => {}
        }
    }
    adapter.deed(At::Indicate, up as u64);
    adapter.out.fetch_add(1, SeqCst);
    let lie = adapter.does(Misdeed::DispatchLie);
    let before = processor::current().irql();
    if lie {
        processor::current().set_irql(Irql::PASSIVE);
    }
    ndis!(NdisMIndicateReceiveNetBufferLists(
        adapter.handle,
        up,
        0,
        count,
        flags
    ));
    processor::current().set_irql(before);
    // The list is not the driver's now: unless the protocols gave it back
    // already, in which case it is gone.
    if adapter.out() == 0 {
        return;
    }
    adapter.deed(At::Out, up as u64);
    // SAFETY: the list is out, and so allocated.
    unsafe {
        match adapter.plan.misdeed {
            Misdeed::TouchIndicated => {
                let mdl = (*(*up).FirstNetBuffer).MdlChain;
                *(*mdl).MappedSystemVa.cast::<u8>() ^= 0xFF;
            }
            Misdeed::FreeIndicated => {
                ndis!(NdisFreeNetBufferList(up));
            }
            Misdeed::IndicateTwice => {
                ndis!(NdisMIndicateReceiveNetBufferLists(
                    adapter.handle,
                    up,
                    0,
                    1,
                    flags
                ));
            }
            _ => {}
        }
    }
}

pub unsafe extern "efiapi" fn returned(
    context: NDIS_HANDLE,
    first: *mut NET_BUFFER_LIST,
    _flags: u32,
) {
    let adapter = Loop::of(context);
    let mut nbl = first;
    while !nbl.is_null() {
        let following = next(nbl);
        adapter.deed(At::Returned, nbl as u64);
        // SAFETY: the driver's own list, back from NDIS.
        unsafe {
            let mdl = (*(*nbl).FirstNetBuffer).MdlChain;
            let data = (*mdl).MappedSystemVa;
            ndis!(NdisFreeNetBufferList(nbl));
            ndis!(NdisFreeMdl(mdl));
            ndis!(NdisFreeMemory(data, 0, 0));
        }
        adapter.out.fetch_sub(1, SeqCst);
        nbl = following;
    }
    if adapter.out() == 0 && adapter.pausing.swap(false, SeqCst) {
        ndis!(NdisMPauseComplete(adapter.handle));
    }
}

pub unsafe extern "efiapi" fn cancel_send(context: NDIS_HANDLE, id: PVOID) {
    let adapter = Loop::of(context);
    adapter.plan.note(format!("cancel send {:#x}", id as u64));
}
