//! Packets that are sent in pieces, and what the completion of a large send tells.

use core::ptr::{NonNull, null_mut};

use ndis_sys::*;

use crate::{
    fake_kernel::{kernel, mdl},
    *,
};

fn net_buffer(mdl: *mut MDL, offset: usize, len: usize) -> NET_BUFFER {
    let mut buffer = NET_BUFFER::ZERO;
    buffer.MdlChain = mdl;
    buffer.CurrentMdl = mdl;
    buffer.CurrentMdlOffset = offset as u32;
    buffer.DataLength = len as u32;
    // The miniport's words hold rubbish when a list comes down.
    buffer.MiniportReserved = [core::ptr::dangling_mut::<u8>().cast(); 4];
    buffer
}

fn list(first: &mut NET_BUFFER, large_send: usize) -> NET_BUFFER_LIST {
    let mut list = NET_BUFFER_LIST::ZERO;
    list.FirstNetBuffer = first;
    list.MiniportReserved = [core::ptr::dangling_mut::<u8>().cast(); 2];
    list.NetBufferListInfo[TcpLargeSendNetBufferListInfo as usize] =
        core::ptr::without_provenance_mut(large_send);
    list
}

fn chain(list: &mut NET_BUFFER_LIST) -> SendChain {
    // SAFETY: the fake kernel looks at no handle; the test's list, taken over once.
    unsafe { SendChain::from_raw(MiniportHandle::from_raw(null_mut()), list) }
}

/// What is left in the slot.
fn told(list: &NET_BUFFER_LIST) -> usize {
    list.NetBufferListInfo[TcpLargeSendNetBufferListInfo as usize].addr()
}

#[test]
fn reading_goes_on_where_it_stopped_over_every_split() {
    let data: Vec<u8> = (0..19).collect();
    for first in 0..=data.len() {
        for second in first..=data.len() {
            for step in 1..=data.len() {
                let mut last = mdl(&data[second..], null_mut());
                let mut empty = mdl(&[], &raw mut last);
                let mut middle = mdl(&data[first..second], &raw mut empty);
                let mut front = mdl(&data[..first], &raw mut middle);
                let mut buffer = net_buffer(&raw mut front, 0, data.len());
                let mut raw = list(&mut buffer, 0);
                let mut chain = chain(&mut raw);
                let mut read = Vec::new();
                while read.len() < data.len() {
                    // As if in another burst each time.
                    let mut nbl = chain.pop().unwrap();
                    let mut piece = vec![0; step.min(data.len() - read.len())];
                    nbl.read(&mut piece).unwrap();
                    read.extend(piece);
                    chain.push_front(nbl);
                }
                assert_eq!(read, data);
                let mut nbl = chain.pop().unwrap();
                assert_eq!(nbl.read(&mut [0]), Err(GatherError::ChainTooShort));
                nbl.restart();
                let mut again = vec![0; data.len()];
                nbl.read(&mut again).unwrap();
                assert_eq!(again, data);
            }
        }
    }
    kernel(|kernel| kernel.completed.clear());
}

#[test]
fn a_byte_per_mdl_is_no_reason_to_refuse() {
    let bytes: Vec<u8> = (0..70_000).map(|i| i as u8).collect();
    let mut mdls: Vec<MDL> = bytes.chunks(1).map(|byte| mdl(byte, null_mut())).collect();
    let base = mdls.as_mut_ptr();
    for (i, mdl) in mdls.iter_mut().enumerate().rev().skip(1) {
        mdl.Next = base.wrapping_add(i + 1);
    }
    let mut buffer = net_buffer(base, 0, bytes.len());
    // SAFETY: the test's NET_BUFFER.
    let buffer = unsafe { NetBuffer::from_raw(NonNull::from(&mut buffer)) };
    let mut gathered = vec![0; bytes.len()];
    buffer.gather(&mut gathered).unwrap();
    assert!(gathered == bytes);
    let mut cursor = buffer.cursor();
    cursor.read(&mut gathered[..1000]).unwrap();
    assert_eq!(cursor.left(), bytes.len() - 1000);
}

#[test]
fn a_new_packet_is_read_from_its_start() {
    let (one, two) = ([1_u8, 2, 3], [4_u8, 5, 6]);
    let mut second_mdl = mdl(&two, null_mut());
    let mut second = net_buffer(&raw mut second_mdl, 1, 2);
    let mut first_mdl = mdl(&one, null_mut());
    let mut first = net_buffer(&raw mut first_mdl, 0, 3);
    first.Next = &raw mut second;
    let mut raw = list(&mut first, 0);
    let mut nbl = chain(&mut raw).pop().unwrap();
    assert!(!nbl.is_single());
    nbl.read(&mut [0; 2]).unwrap();
    nbl.advance();
    let mut bytes = [0; 2];
    nbl.read(&mut bytes).unwrap();
    assert_eq!(bytes, [5, 6]);
    nbl.advance();
    assert_eq!(nbl.read(&mut bytes), Err(GatherError::ChainTooShort));
}

#[test]
fn completions_of_large_sends_tell_what_the_pages_say() {
    const V2: usize = 1 << 30;
    const IPV6: usize = 1 << 31;
    for (asked, sent, expected) in [
        (0, 0, 0),
        (0, 77, 0),
        // MSS and TcpHeaderOffset of version 1 become TcpPayload.
        (1460 | 34 << 20, 65_000, 65_000),
        (1460 | 34 << 20, 0, 0),
        // Of version 2 the type alone is left.
        (1460 | 34 << 20 | V2, 65_000, V2),
        (1460 | 54 << 20 | V2 | IPV6, 0, V2),
    ] {
        for drop_it in [false, true] {
            let byte = [0_u8];
            let mut only = mdl(&byte, null_mut());
            let mut buffer = net_buffer(&raw mut only, 0, 1);
            let mut raw = list(&mut buffer, asked);
            let mut nbl = chain(&mut raw).pop().unwrap();
            assert!(nbl.is_single());
            assert_eq!(nbl.payload_sent(), 0);
            nbl.set_payload_sent(sent);
            assert_eq!(nbl.payload_sent(), sent);
            if drop_it {
                drop(nbl);
            } else {
                at_dispatch(false, |at| {
                    // SAFETY: the fake kernel looks at no handle.
                    let adapter = unsafe { MiniportHandle::from_raw(null_mut()) };
                    nbl.finish(NDIS_STATUS_SUCCESS, &mut Completions::new(adapter, at));
                });
            }
            assert_eq!(told(&raw), expected, "{asked:#x} {sent}");
        }
    }
    kernel(|kernel| kernel.completed.clear());
}
