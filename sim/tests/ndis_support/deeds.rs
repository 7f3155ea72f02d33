//! What deeds are made of.

use std::ptr::null_mut;

use ndis_sim::ndis::header;
use ndis_sys::*;

use super::{
    driver::Loop,
    handlers::{TAG, zeroed},
    life,
};
use crate::ndis;

/// The list that a deed is done with.
pub fn list(with: u64) -> &'static mut NET_BUFFER_LIST {
    // SAFETY: the driver passes a list that it has.
    unsafe { &mut *(with as *mut NET_BUFFER_LIST) }
}

pub fn first_buffer(with: u64) -> &'static mut NET_BUFFER {
    // SAFETY: every list of the driver's has a NET_BUFFER.
    unsafe { &mut *list(with).FirstNetBuffer }
}

pub fn stamp(with: u64, slot: u32, word: usize) {
    list(with).NetBufferListInfo[slot as usize] = word as PVOID;
}

/// The request that a deed is done with.
pub fn request(with: u64) -> &'static mut NDIS_OID_REQUEST {
    // SAFETY: the driver passes the request that it has.
    unsafe { &mut *(with as *mut NDIS_OID_REQUEST) }
}

pub fn oid_of(with: u64) -> u32 {
    // SAFETY: every kind of request has the member.
    unsafe { request(with).DATA.Oid }
}

/// A list of the driver's own, of one frame.
pub fn own_list(adapter: &Loop, pool: u64) -> u64 {
    let nbl = ndis!(NdisAllocateNetBufferAndNetBufferList(
        pool,
        0,
        0,
        adapter.mdl,
        0,
        60
    ));
    list(nbl).SourceHandle = adapter.handle();
    nbl
}

pub fn indicate(adapter: &Loop, nbl: u64, port: u32) {
    ndis!(NdisMIndicateReceiveNetBufferLists(
        adapter.handle,
        nbl,
        port,
        1,
        0
    ));
}

pub fn pool_of_lists(adapter: &Loop, change: fn(&mut NET_BUFFER_LIST_POOL_PARAMETERS)) -> u64 {
    let mut p: NET_BUFFER_LIST_POOL_PARAMETERS = zeroed();
    p.Header = header::NBL_POOL_PARAMETERS.header((6, 1));
    p.fAllocateNetBuffer = 1;
    p.PoolTag = TAG;
    change(&mut p);
    ndis!(NdisAllocateNetBufferListPool(adapter.handle, &raw const p))
}

pub fn pool_of_buffers(adapter: &Loop, change: fn(&mut NET_BUFFER_POOL_PARAMETERS)) -> u64 {
    let mut p: NET_BUFFER_POOL_PARAMETERS = zeroed();
    p.Header = header::NB_POOL_PARAMETERS.header((6, 1));
    p.PoolTag = TAG;
    change(&mut p);
    ndis!(NdisAllocateNetBufferPool(adapter.handle, &raw const p))
}

pub fn timer(adapter: &Loop, change: fn(&mut NDIS_TIMER_CHARACTERISTICS)) {
    let mut c: NDIS_TIMER_CHARACTERISTICS = zeroed();
    c.Header = header::TIMER_CHARACTERISTICS.header((6, 1));
    c.AllocationTag = TAG;
    c.TimerFunction = Some(life::tick);
    change(&mut c);
    let mut made: NDIS_HANDLE = null_mut();
    ndis!(NdisAllocateTimerObject(
        adapter.handle,
        &raw const c,
        &raw mut made
    ));
}

/// The general attributes that a deed is done with.
pub fn general(with: u64) -> &'static mut NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES {
    // SAFETY: the driver's own structure, which it is about to set.
    unsafe { &mut *(with as *mut NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES) }
}
