//! What the types promise, without a kernel.

use core::ptr::{NonNull, null_mut};

use ndis_sys::*;

use crate::{
    fake_kernel::{kernel, mdl},
    *,
};

fn adapter() -> MiniportHandle {
    // SAFETY: the fake kernel looks at no handle.
    unsafe { MiniportHandle::from_raw(null_mut()) }
}

fn net_buffer(mdl: &mut MDL, offset: usize, len: usize) -> NET_BUFFER {
    let mut buffer = NET_BUFFER::ZERO;
    buffer.MdlChain = mdl;
    buffer.CurrentMdl = mdl;
    buffer.CurrentMdlOffset = offset as u32;
    buffer.DataOffset = offset as u32;
    buffer.DataLength = len as u32;
    buffer
}

fn gather(buffer: &mut NET_BUFFER, room: usize) -> Result<Vec<u8>, GatherError> {
    // SAFETY: a NET_BUFFER of the test, valid during the call.
    let buffer = unsafe { NetBuffer::from_raw(NonNull::from(buffer)) };
    let mut to = vec![0xee; room];
    let len = buffer.gather(&mut to)?;
    assert!(
        to[len..].iter().all(|&byte| byte == 0xee),
        "wrote behind the packet"
    );
    to.truncate(len);
    Ok(to)
}

#[test]
fn gathers_every_split_with_empty_pieces_between() {
    let data: Vec<u8> = (0..23).collect();
    for first in 0..=data.len() {
        for second in first..=data.len() {
            for offset in 0..=first {
                let mut last = mdl(&data[second..], null_mut());
                let mut empty = mdl(&[], &raw mut last);
                let mut middle = mdl(&data[first..second], &raw mut empty);
                let mut front = mdl(&data[..first], &raw mut middle);
                let len = data.len() - offset;
                let mut buffer = net_buffer(&mut front, offset, len);
                assert_eq!(gather(&mut buffer, 40).as_deref(), Ok(&data[offset..]));
            }
        }
    }
}

#[test]
fn takes_no_more_than_the_data_length() {
    let data = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut second = mdl(&data[4..], null_mut());
    let mut first = mdl(&data[..4], &raw mut second);
    let mut buffer = net_buffer(&mut first, 1, 5);
    assert_eq!(gather(&mut buffer, 16).unwrap(), [2, 3, 4, 5, 6]);
}

#[test]
fn a_chain_that_is_too_short_is_found() {
    let data = [1, 2, 3, 4];
    let mut only = mdl(&data, null_mut());
    let mut buffer = net_buffer(&mut only, 0, 5);
    assert_eq!(gather(&mut buffer, 16), Err(GatherError::ChainTooShort));
    let mut buffer = net_buffer(&mut only, 5, 1);
    assert_eq!(gather(&mut buffer, 16), Err(GatherError::ChainTooShort));
    let mut buffer = net_buffer(&mut only, 0, 4);
    buffer.CurrentMdl = null_mut();
    assert_eq!(gather(&mut buffer, 16), Err(GatherError::ChainTooShort));
}

#[test]
fn a_circle_of_empty_mdls_ends() {
    let mut only = mdl(&[], null_mut());
    only.Next = &raw mut only;
    let mut buffer = net_buffer(&mut only, 0, 1);
    assert_eq!(gather(&mut buffer, 16), Err(GatherError::ChainTooShort));
}

#[test]
fn no_room_and_no_mapping_are_told_apart() {
    let data = [1, 2, 3, 4];
    let mut only = mdl(&data, null_mut());
    let mut buffer = net_buffer(&mut only, 0, 4);
    assert_eq!(gather(&mut buffer, 3), Err(GatherError::NoRoom));

    let mut unmapped = mdl(&data, null_mut());
    unmapped.MdlFlags = MDL_PAGES_LOCKED;
    unmapped.StartVa = core::mem::replace(&mut unmapped.MappedSystemVa, null_mut());
    let mut buffer = net_buffer(&mut unmapped, 0, 4);
    kernel(|kernel| kernel.fail_mapping = true);
    assert_eq!(gather(&mut buffer, 4), Err(GatherError::NotMapped));
    kernel(|kernel| kernel.fail_mapping = false);
    assert_eq!(gather(&mut buffer, 4).unwrap(), data);
}

#[test]
fn peeks_across_pieces_and_not_beyond_the_packet() {
    let data = [1, 2, 3, 4, 5];
    let mut second = mdl(&data[2..], null_mut());
    let mut first = mdl(&data[..2], &raw mut second);
    let mut raw = net_buffer(&mut first, 0, 4);
    // SAFETY: the test's NET_BUFFER.
    let buffer = unsafe { NetBuffer::from_raw(NonNull::from(&mut raw)) };
    let mut head = [0; 3];
    buffer.peek(&mut head).unwrap();
    assert_eq!(head, [1, 2, 3]);
    assert_eq!(buffer.peek(&mut [0; 5]), Err(GatherError::ChainTooShort));
}

/// `count` lists of one NET_BUFFER each, chained; list `i` has cancel id `i`.
fn lists(count: usize) -> (Vec<NET_BUFFER_LIST>, Vec<NET_BUFFER>) {
    let mut buffers = vec![NET_BUFFER::ZERO; count];
    let mut lists = vec![NET_BUFFER_LIST::ZERO; count];
    let base = lists.as_mut_ptr();
    for (i, (list, buffer)) in lists.iter_mut().zip(&mut buffers).enumerate() {
        list.FirstNetBuffer = buffer;
        // The miniport's words hold rubbish when a list comes down.
        list.MiniportReserved = [core::ptr::dangling_mut::<u8>().cast(); 2];
        list.NetBufferListInfo[NetBufferListCancelId as usize] =
            core::ptr::without_provenance_mut(i);
        list.Next = if i + 1 < count {
            base.wrapping_add(i + 1)
        } else {
            null_mut()
        };
    }
    (lists, buffers)
}

fn chain(lists: &mut [NET_BUFFER_LIST]) -> SendChain {
    // SAFETY: the test's lists, chained, taken over once.
    unsafe { SendChain::from_raw(adapter(), lists.as_mut_ptr()) }
}

fn completed() -> Vec<NDIS_STATUS> {
    kernel(|kernel| {
        kernel
            .completed
            .drain(..)
            .map(|(status, _)| status)
            .collect()
    })
}

fn at<R>(work: impl FnOnce(Dispatch<'_>) -> R) -> R {
    at_dispatch(false, work)
}

#[test]
fn a_dropped_chain_completes_every_list_with_failure() {
    let (mut lists, _buffers) = lists(4);
    let mut chain = chain(&mut lists);
    assert_eq!(chain.len(), 4);
    drop(chain.pop());
    assert_eq!(completed(), [NDIS_STATUS_FAILURE]);
    drop(chain);
    assert_eq!(completed(), [NDIS_STATUS_FAILURE; 3]);
}

#[test]
fn every_list_is_completed_once_with_its_own_status() {
    let (mut lists, _buffers) = lists(3);
    let mut chain = chain(&mut lists);
    at(|at| {
        let mut done = Completions::new(adapter(), at);
        let mut first = chain.pop().unwrap();
        assert!(first.current().is_some());
        first.advance();
        assert!(first.current().is_none());
        first.finish(NDIS_STATUS_SUCCESS, &mut done);
        chain
            .pop()
            .unwrap()
            .finish(NDIS_STATUS_RESOURCES, &mut done);
        assert_eq!(done.len(), 2);
        assert!(completed().is_empty(), "handed back before the flush");
        done.flush();
        assert_eq!(completed(), [NDIS_STATUS_SUCCESS, NDIS_STATUS_RESOURCES]);
        chain.pop().unwrap().finish(NDIS_STATUS_PAUSED, &mut done);
    });
    let flags = kernel(|kernel| kernel.completed[0].1);
    assert_eq!(flags, NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL);
    assert_eq!(completed(), [NDIS_STATUS_PAUSED]);
    assert!(chain.pop().is_none());
}

#[test]
fn extract_keeps_the_order_of_both_parts() {
    let (mut lists, _buffers) = lists(6);
    let mut chain = chain(&mut lists);
    let id = |nbl: &SendNbl| nbl.info(InfoSlot::CancelId).addr();
    let mut odd = chain.extract(|nbl| id(nbl) % 2 == 1);
    let order = |chain: &mut SendChain| {
        let mut ids = Vec::new();
        while let Some(nbl) = chain.pop() {
            ids.push(id(&nbl));
            at(|at| nbl.finish(NDIS_STATUS_SUCCESS, &mut Completions::new(adapter(), at)));
        }
        ids
    };
    assert_eq!(order(&mut chain), [0, 2, 4]);
    assert_eq!(order(&mut odd), [1, 3, 5]);
}

#[test]
fn split_append_and_push_front_keep_the_order() {
    let (mut lists, _buffers) = lists(5);
    let mut rest = chain(&mut lists);
    let mut front = rest.split_front(2);
    assert_eq!((front.len(), rest.len()), (2, 3));
    let third = rest.pop().unwrap();
    rest.push_front(third);
    front.append(rest);
    assert!(front.any_of_first(5, |nbl| nbl.info(InfoSlot::CancelId).addr() == 4));
    assert!(!front.any_of_first(4, |nbl| nbl.info(InfoSlot::CancelId).addr() == 4));
    for expected in 0..5 {
        assert_eq!(
            front.pop().unwrap().info(InfoSlot::CancelId).addr(),
            expected
        );
    }
}

fn frames(count: usize) -> FramePool {
    // SAFETY: the fake kernel knows no level.
    let at = unsafe { Passive::assume() };
    let lists = NblPool::new(adapter(), Version::V6_1, 0, at).unwrap();
    FramePool::new(adapter(), Version::V6_1, lists, count, 64, at).unwrap()
}

#[test]
fn frames_go_up_and_come_home() {
    let pool = frames(3);
    let mut taken = at(|at| pool.take(2, at));
    assert_eq!((taken.len(), pool.away()), (2, 2));
    let mut frame = taken.pop().unwrap();
    frame.buffer_mut()[4..8].copy_from_slice(b"data");
    frame.set_data(4, 4);
    frame.clear_info();
    frame.set_info(InfoSlot::IpsecV2, core::ptr::without_provenance_mut(2));
    let mut up = FrameQueue::new();
    up.push_back(frame);
    at(|at| up.indicate(adapter(), at));
    let list = kernel(|kernel| kernel.indicated.pop()).unwrap();
    // SAFETY: the pool's list.
    unsafe {
        let buffer = (*list).FirstNetBuffer;
        assert_eq!((*buffer).DataLength, 4);
        assert_eq!(((*buffer).DataOffset, (*buffer).CurrentMdlOffset), (4, 4));
        assert_eq!(
            (*list).NetBufferListInfo[IPsecOffloadV2NetBufferListInfo as usize].addr(),
            2
        );
        let back = FrameQueue::from_returned(list);
        assert_eq!(back.len(), 1);
        at(|at| pool.give(back, at));
    }
    assert_eq!(pool.away(), 1);
    drop(taken);
    assert_eq!(pool.away(), 0);
    drop(pool);
    kernel(|kernel| assert_eq!((kernel.lists, kernel.mdls, kernel.pools), (0, 0, 0)));
}

#[test]
fn the_slots_of_the_version_are_cleared_and_no_more() {
    for (version, slots) in [
        (Version::V6_1, 13),
        (Version::V6_20, 18),
        (Version::V6_30, 24),
    ] {
        // SAFETY: the fake kernel knows no level.
        let at_passive = unsafe { Passive::assume() };
        let lists = NblPool::new(adapter(), version, 0, at_passive).unwrap();
        let pool = FramePool::new(adapter(), version, lists, 1, 64, at_passive).unwrap();
        let taken = at(|at| pool.take(1, at));
        at(|at| taken.indicate(adapter(), at));
        let list = kernel(|kernel| kernel.indicated.pop()).unwrap();
        // SAFETY: the pool's list, written as a stack may while it has it.
        let mut back = unsafe {
            (*list).NetBufferListInfo = [core::ptr::without_provenance_mut(7); _];
            FrameQueue::from_returned(list)
        };
        back.for_each(Frame::clear_info);
        // SAFETY: as above.
        let left = unsafe { (*list).NetBufferListInfo }.map(|word| word.addr());
        let mut expected = [0; MaxNetBufferListInfo];
        expected[slots..].fill(7);
        assert_eq!(left, expected, "{version:?}");
    }
}

#[test]
fn keywords_are_counted_and_terminated() {
    let name = keyword!("*Ab").as_string();
    assert_eq!((name.Length, name.MaximumLength), (6, 8));
    // SAFETY: the string's own units.
    let units = unsafe { core::slice::from_raw_parts(name.Buffer, 4) };
    assert_eq!(units, [0x2a, 0x41, 0x62, 0]);
}

#[test]
fn a_pool_gives_no_more_than_it_has() {
    let pool = frames(2);
    let taken = at(|at| pool.take(5, at));
    assert_eq!(taken.len(), 2);
    assert!(at(|at| pool.take(1, at)).is_empty());
}

#[test]
fn a_pool_that_cannot_be_made_leaves_nothing() {
    for count in 0..3 {
        kernel(|kernel| kernel.fail_list_after = Some(count));
        // SAFETY: the fake kernel knows no level.
        let at = unsafe { Passive::assume() };
        let lists = NblPool::new(adapter(), Version::V6_1, 0, at).unwrap();
        assert!(FramePool::new(adapter(), Version::V6_1, lists, 3, 64, at).is_err());
        kernel(|kernel| assert_eq!((kernel.lists, kernel.mdls, kernel.pools), (0, 0, 0)));
    }
}

#[test]
fn set_data_stays_inside_of_the_buffer() {
    let pool = frames(1);
    let mut frame = at(|at| pool.take(1, at)).pop().unwrap();
    frame.set_data(60, 10);
    assert_eq!(frame.data().len(), 4);
    frame.set_data(100, 10);
    assert!(frame.data().is_empty());
    frame.set_data(0, 64);
    frame.advance(1000);
    assert!(frame.data().is_empty());
}

fn request(kind: NDIS_REQUEST_TYPE, buffer: &mut [u8]) -> NDIS_OID_REQUEST {
    let mut request = NDIS_OID_REQUEST::ZERO;
    request.RequestType = kind;
    let mut set = NDIS_OID_REQUEST_SET::ZERO;
    set.InformationBuffer = buffer.as_mut_ptr().cast();
    set.InformationBufferLength = buffer.len() as u32;
    set.BytesRead = 77;
    set.BytesNeeded = 77;
    request.DATA.SET_INFORMATION = set;
    request
}

/// Answers a request and returns its status, bytes written or read, and bytes needed.
fn answer(
    request: &mut NDIS_OID_REQUEST,
    answer: impl FnOnce(OidRequest<'_>) -> Answered,
) -> (NDIS_STATUS, u32, u32) {
    // SAFETY: the test's request.
    let status = answer(unsafe { OidRequest::from_raw(NonNull::from(&mut *request)) }).status();
    // SAFETY: plain data; the members begin alike.
    let set = unsafe { request.DATA.SET_INFORMATION };
    (status, set.BytesRead, set.BytesNeeded)
}

#[test]
fn queries_report_written_and_needed_bytes() {
    let mut buffer = [0xee; 10];
    let mut query = request(NdisRequestQueryInformation, &mut buffer);
    assert_eq!(
        answer(&mut query, |query| query.report(&[1, 2, 3])),
        (NDIS_STATUS_SUCCESS, 3, 3)
    );
    assert_eq!(buffer[..4], [1, 2, 3, 0xee]);

    let mut query = request(NdisRequestQueryInformation, &mut buffer[..2]);
    let short = answer(&mut query, |query| query.report(&[7, 8, 9]));
    assert_eq!(short, (NDIS_STATUS_BUFFER_TOO_SHORT, 0, 3));
    assert_eq!(
        buffer[..2],
        [1, 2],
        "a buffer that is too short is not touched"
    );
}

#[test]
fn counters_are_64_bits_where_there_is_room() {
    let value = 0x1_0000_0002;
    for (room, expected) in [
        (3, (NDIS_STATUS_BUFFER_TOO_SHORT, 0, 8)),
        (4, (NDIS_STATUS_SUCCESS, 4, 8)),
        (7, (NDIS_STATUS_SUCCESS, 4, 8)),
        (8, (NDIS_STATUS_SUCCESS, 8, 8)),
    ] {
        let mut buffer = [0; 8];
        let mut query = request(NdisRequestQueryStatistics, &mut buffer[..room]);
        assert_eq!(
            answer(&mut query, |query| query.report_counter(value)),
            expected,
            "{room}"
        );
        assert_eq!(buffer[4], u8::from(room == 8), "{room}");
    }
}

#[test]
fn sets_report_read_and_needed_bytes() {
    let mut buffer = [1, 2, 3, 4];
    let mut set = request(NdisRequestSetInformation, &mut buffer);
    let accepted = answer(&mut set, |set| {
        assert_eq!((set.verb(), set.input()), (Verb::Set, &[1, 2, 3, 4][..]));
        set.accept(4)
    });
    assert_eq!(accepted, (NDIS_STATUS_SUCCESS, 4, 0));
    let short = answer(&mut set, |set| set.too_short(28));
    assert_eq!(short, (NDIS_STATUS_INVALID_LENGTH, 0, 28));
    let refused = answer(&mut set, |set| set.refuse(NDIS_STATUS_INVALID_DATA));
    assert_eq!(refused, (NDIS_STATUS_INVALID_DATA, 0, 0));
}

#[test]
fn a_request_without_a_buffer_has_none_whatever_its_length_says() {
    let mut set = request(NdisRequestSetInformation, &mut []);
    set.DATA.SET_INFORMATION = NDIS_OID_REQUEST_SET {
        InformationBufferLength: 4096,
        ..NDIS_OID_REQUEST_SET::ZERO
    };
    let answered = answer(&mut set, |set| {
        assert!(set.input().is_empty());
        set.too_short(4)
    });
    assert_eq!(answered.0, NDIS_STATUS_INVALID_LENGTH);
}

#[test]
fn plain_data_is_read_wherever_it_lies() {
    let bytes = [9, 1, 0, 0, 0, 2, 0];
    assert_eq!(read::<u32>(&bytes[1..]), Some(1));
    assert_eq!(read::<u32>(&bytes[4..]), None);
    assert_eq!(read_prefix::<u32>(&bytes[1..], 2), Some(1));
    assert_eq!(read_prefix::<u64>(&[1], 2), None);
    assert_eq!(bytes_of(&0x0403_0201_u32, 3), [1, 2, 3]);
}

#[test]
fn the_level_is_restored() {
    at(|_| assert_eq!(kernel(|kernel| kernel.irql), DISPATCH_LEVEL));
    assert_eq!(kernel(|kernel| kernel.irql), PASSIVE_LEVEL);
    at_dispatch(true, |_| {
        assert_eq!(kernel(|kernel| kernel.irql), PASSIVE_LEVEL)
    });
}

#[test]
fn locks_are_held_as_long_as_their_guards() {
    let lock = SpinLock::new(1);
    let shared = RwSpinLock::new(2);
    at(|at| {
        *lock.lock(at) += 1;
        assert_eq!(*lock.lock(at), 2);
        {
            let (one, two) = (shared.read(at), shared.read(at));
            assert_eq!(*one + *two, 4);
        }
        *shared.write(at) = 5;
        assert_eq!(*shared.read(at), 5);
    });
}

fn features() -> ExtendedFeatures {
    // SAFETY: the fake kernel knows no level.
    ExtendedFeatures::enabled(unsafe { Passive::assume() })
}

#[test]
fn the_bracket_is_saved_and_restored_once() {
    kernel(|kernel| kernel.enabled_features = XSTATE_MASK_LEGACY | XSTATE_MASK_GSSE);
    let inside =
        at(|at| features().with_state(at, |_| kernel(|kernel| (kernel.saves, kernel.restores))));
    assert_eq!(inside, Ok((1, 0)));
    kernel(|kernel| assert_eq!((kernel.saves, kernel.restores), (1, 1)));
}

#[test]
fn without_avx_there_is_nothing_to_save() {
    kernel(|kernel| kernel.enabled_features = XSTATE_MASK_LEGACY);
    assert_eq!(at(|at| features().with_state(at, |_| 7)), Ok(7));
    kernel(|kernel| assert_eq!((kernel.saves, kernel.restores), (0, 0)));
}

#[test]
fn nothing_runs_when_the_save_fails() {
    kernel(|kernel| {
        kernel.enabled_features = XSTATE_MASK_GSSE | XSTATE_MASK_AVX512;
        kernel.fail_save = true;
    });
    assert_eq!(
        at(|at| features().with_state(at, |_| unreachable!())),
        Err(SaveFailed) as Result<(), _>
    );
    kernel(|kernel| assert_eq!((kernel.saves, kernel.restores), (0, 0)));
}
