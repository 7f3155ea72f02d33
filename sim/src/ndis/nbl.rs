//! Walking NET_BUFFER_LISTs, NET_BUFFERs and MDLs, and telling whether they are
//! well formed.

use ndis_sys::{MDL, NET_BUFFER, NET_BUFFER_LIST};

use super::{memory::system_address, rules, state::what};
use crate::report::violation;

/// Longer chains than this do not occur; they are cycles.
const MAX_CHAIN: usize = 1 << 18;

/// Information slots of an NDIS 6.30 driver; what later versions added follows.
pub(super) const INFO_SLOTS: usize = ndis_sys::MaxNetBufferListInfo;

/// The lists of a chain.
///
/// # Safety
/// `first` is NULL or the first of a chain of NET_BUFFER_LISTs.
pub(super) unsafe fn chain(first: *mut NET_BUFFER_LIST) -> Vec<*mut NET_BUFFER_LIST> {
    let mut all = Vec::new();
    let mut next = first;
    while !next.is_null() {
        if all.len() == MAX_CHAIN {
            violation(
                rules::NET_BUFFER_LIST,
                format!("{}: the chain of NET_BUFFER_LISTs does not end", what()),
            );
        }
        all.push(next);
        // SAFETY: as the caller says.
        next = unsafe { (*next).Next };
    }
    all
}

/// The NET_BUFFERs of a list.
///
/// # Safety
/// `nbl` points to a NET_BUFFER_LIST.
pub(super) unsafe fn net_buffers(
    nbl: *const NET_BUFFER_LIST,
) -> impl Iterator<Item = *mut NET_BUFFER> {
    // SAFETY: as the caller says.
    let mut next = unsafe { (*nbl).FirstNetBuffer };
    let mut count = 0;
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        count += 1;
        if count > MAX_CHAIN {
            violation(
                rules::NET_BUFFER_LIST,
                "the chain of NET_BUFFERs does not end",
            );
        }
        let current = next;
        // SAFETY: a member of the list.
        next = unsafe { (*current).Next };
        Some(current)
    })
}

/// The MDLs of a chain.
///
/// # Safety
/// `first` is NULL or the first of a chain of MDLs.
pub(super) unsafe fn mdls(first: *mut MDL) -> impl Iterator<Item = *mut MDL> {
    let mut next = first;
    let mut count = 0;
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        count += 1;
        if count > MAX_CHAIN {
            violation(rules::NET_BUFFER_LIST, "the chain of MDLs does not end");
        }
        let current = next;
        // SAFETY: a member of the chain.
        next = unsafe { (*current).Next };
        Some(current)
    })
}

/// What is wrong with a NET_BUFFER, if anything is: the data must lie within
/// the MDLs, and the current MDL must be the one that DataOffset leads to.
///
/// # Safety
/// `nb` points to a NET_BUFFER.
pub(super) unsafe fn fault(nb: *const NET_BUFFER) -> Option<String> {
    // SAFETY: as the caller says; the chain is walked by its own links.
    unsafe {
        let NET_BUFFER {
            CurrentMdl,
            CurrentMdlOffset,
            DataLength,
            MdlChain,
            DataOffset,
            ..
        } = nb.read();
        if MdlChain.is_null() {
            return (DataLength != 0 || DataOffset != 0 || !CurrentMdl.is_null())
                .then(|| format!("NET_BUFFER {nb:p} has {DataLength} bytes and no MDL"));
        }
        let mut total = 0u64;
        let mut current_at = None;
        for mdl in mdls(MdlChain) {
            if mdl == CurrentMdl {
                current_at = Some((total, u64::from((*mdl).ByteCount)));
            }
            total += u64::from((*mdl).ByteCount);
        }
        let (offset, len) = (u64::from(DataOffset), u64::from(DataLength));
        if offset + len > total {
            return Some(format!(
                "NET_BUFFER {nb:p} has {DataLength} bytes at offset {DataOffset}, its MDLs have {total}"
            ));
        }
        match current_at {
            None => Some(format!(
                "CurrentMdl of NET_BUFFER {nb:p} is not in its chain"
            )),
            Some((before, count)) => {
                let within = u64::from(CurrentMdlOffset);
                (before + within != offset || within > count).then(|| {
                    format!(
                        "NET_BUFFER {nb:p}: CurrentMdl and CurrentMdlOffset say {}, DataOffset says {offset}",
                        before + within
                    )
                })
            }
        }
    }
}

/// Calls `f` with each piece of a NET_BUFFER's data, in order.
///
/// # Safety
/// `nb` is well formed.
pub(super) unsafe fn pieces(nb: *const NET_BUFFER, mut f: impl FnMut(*mut u8, usize)) {
    // SAFETY: as the caller says.
    unsafe {
        let mut left = (*nb).DataLength as usize;
        let mut skip = (*nb).CurrentMdlOffset as usize;
        for mdl in mdls((*nb).CurrentMdl) {
            if left == 0 {
                break;
            }
            let here = ((*mdl).ByteCount as usize).saturating_sub(skip).min(left);
            if here != 0 {
                f(system_address(mdl).add(skip), here);
            }
            left -= here;
            skip = 0;
        }
    }
}

/// Appends the data of a NET_BUFFER.
///
/// # Safety
/// `nb` is well formed, and nobody writes the data meanwhile.
pub(super) unsafe fn gather(nb: *const NET_BUFFER, out: &mut Vec<u8>) {
    // SAFETY: as the caller says.
    unsafe {
        out.reserve((*nb).DataLength as usize);
        pieces(nb, |at, len| {
            out.extend_from_slice(std::slice::from_raw_parts(at, len))
        });
    }
}

/// The first `N` bytes of a NET_BUFFER's data, or `None` if it has fewer.
///
/// # Safety
/// `nb` is well formed.
pub(super) unsafe fn head<const N: usize>(nb: *const NET_BUFFER) -> Option<[u8; N]> {
    let mut head = [0; N];
    let mut have = 0;
    // SAFETY: as the caller says.
    unsafe {
        pieces(nb, |at, len| {
            let take = len.min(N - have);
            std::ptr::copy_nonoverlapping(at, head.as_mut_ptr().add(have), take);
            have += take;
        });
    }
    (have == N).then_some(head)
}

/// A fingerprint of a list that its owner must not touch for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// NET_BUFFERs, MDLs, status and out-of-band information.
    pub(super) shape: u64,
    /// The data, if they are watched.
    pub(super) data: Option<u64>,
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
}

/// Four lanes, so that one multiplication need not wait for the other.
fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [hash, !hash, hash.rotate_left(32), hash ^ 0x55];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    let hash = lanes.into_iter().fold(hash, mix);
    rest.iter().fold(hash, |hash, b| mix(hash, u64::from(*b)))
}

impl Snapshot {
    /// # Safety
    /// `nbl` is well formed, and nobody writes the data meanwhile.
    pub(super) unsafe fn of(nbl: *const NET_BUFFER_LIST, with_data: bool) -> Self {
        let (mut shape, mut data) = (1, 1);
        // SAFETY: as the caller says.
        unsafe {
            shape = mix(shape, (*nbl).FirstNetBuffer as u64);
            shape = mix(shape, (*nbl).Context as u64);
            shape = mix(shape, (*nbl).SourceHandle as u64);
            for slot in 0..INFO_SLOTS {
                shape = mix(
                    shape,
                    (&raw const (*nbl).NetBufferListInfo)
                        .cast::<u64>()
                        .add(slot)
                        .read(),
                );
            }
            for nb in net_buffers(nbl) {
                for word in [
                    (*nb).Next as u64,
                    (*nb).CurrentMdl as u64,
                    u64::from((*nb).CurrentMdlOffset),
                    u64::from((*nb).DataLength),
                    (*nb).MdlChain as u64,
                    u64::from((*nb).DataOffset),
                ] {
                    shape = mix(shape, word);
                }
                for mdl in mdls((*nb).MdlChain) {
                    shape = mix(shape, (*mdl).Next as u64);
                    shape = mix(shape, u64::from((*mdl).ByteCount));
                    shape = mix(shape, (*mdl).MappedSystemVa as u64);
                }
                if with_data {
                    pieces(nb, |at, len| {
                        data = mix_bytes(data, std::slice::from_raw_parts(at, len));
                    });
                }
            }
        }
        Self {
            shape,
            data: with_data.then_some(data),
        }
    }
}
