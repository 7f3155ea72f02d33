//! The out-of-band words of IPsec Task Offload Version 2: on the lists that are indicated, and on
//! sends that name SAs.

use std::sync::atomic::Ordering;

use ndis_sys::{
    CRYPTO_INVALID_PROTOCOL, IPsecOffloadV2HeaderNetBufferListInfo,
    IPsecOffloadV2NetBufferListInfo, IPsecOffloadV2TunnelNetBufferListInfo, NET_BUFFER_LIST,
};

use super::{adapter::AdapterBlock, ipsec_offload_v2::is_active, nbl::INFO_SLOTS, rules};
use crate::report::Rule;

const SLOT: usize = IPsecOffloadV2NetBufferListInfo as usize;
const TUNNEL: usize = IPsecOffloadV2TunnelNetBufferListInfo as usize;
const HEADER: usize = IPsecOffloadV2HeaderNetBufferListInfo as usize;
/// In the words of a list that goes back to the miniport: no value that one may indicate.
const STALE: usize = usize::MAX;

const CRYPTO_DONE: usize = 1 << 1;
const NEXT_CRYPTO_DONE: usize = 1 << 2;
/// SaDeleteReq, CryptoDone, NextCryptoDone, CryptoStatus.
const DEFINED: usize = 0xFFFF_0007;
const HEADER_INFO_SET: usize = 1 << 16;
const HEADER_DEFINED: usize = 0x1_FFFF;

unsafe fn word(nbl: *const NET_BUFFER_LIST, slot: usize) -> usize {
    // SAFETY: the caller's list, which has these slots.
    unsafe {
        (&raw const (*nbl).NetBufferListInfo)
            .cast::<usize>()
            .add(slot)
            .read()
    }
}

/// Writes what no miniport may leave there, for the one that forgets to write.
///
/// # Safety
/// `nbl` is a list that goes back to the miniport.
pub(super) unsafe fn spoil(nbl: *mut NET_BUFFER_LIST) {
    for slot in [SLOT, TUNNEL, HEADER] {
        // SAFETY: the list has these slots, and nobody else uses it now.
        unsafe {
            (&raw mut (*nbl).NetBufferListInfo)
                .cast::<usize>()
                .add(slot)
                .write(STALE)
        };
    }
}

/// What is wrong with the words of an indicated list, if anything is.
///
/// # Safety
/// `nbl` is a list with all slots.
pub(super) unsafe fn fault(
    adapter: &AdapterBlock,
    nbl: *const NET_BUFFER_LIST,
) -> Option<(Rule, String)> {
    // SAFETY: as the caller says.
    let (status, header) = unsafe { (word(nbl, SLOT), word(nbl, HEADER)) };
    let stamped = |text: &str| {
        Some((
            rules::IPSEC_STAMP,
            format!("{text}; the word is 0x{status:x}"),
        ))
    };
    if status & !DEFINED != 0 {
        return stamped("IPsecOffloadV2NetBufferListInfo is not written");
    }
    let crypto_status = (status >> 16) as u32;
    if crypto_status > CRYPTO_INVALID_PROTOCOL {
        return stamped("CryptoStatus is none of the documented values");
    }
    if status & CRYPTO_DONE == 0 {
        if status & NEXT_CRYPTO_DONE != 0 {
            let text = format!("NextCryptoDone without CryptoDone; the word is 0x{status:x}");
            return Some((rules::IPSEC_NEXT_CRYPTO_DONE, text));
        }
        if crypto_status != 0 {
            return stamped("CryptoStatus without CryptoDone");
        }
    } else if adapter.filter.lock().encapsulation.is_none()
        && !adapter.encapsulating.load(Ordering::Acquire)
    {
        let text = "CryptoDone is set before OID_OFFLOAD_ENCAPSULATION was".to_owned();
        return Some((rules::IPSEC_BEFORE_ENCAPSULATION, text));
    }
    if header & !HEADER_DEFINED != 0 {
        let text = format!("IPsecOffloadV2HeaderNetBufferListInfo is not written: 0x{header:x}");
        return Some((rules::IPSEC_STAMP, text));
    }
    if header & HEADER_INFO_SET != 0 && (status & CRYPTO_DONE == 0 || crypto_status != 0) {
        return stamped("HeaderInfoSet for a packet that was not processed");
    }
    None
}

/// The handle of a send request of which the transport has no SA, if it names such a one and
/// sends are to be protected.
pub(super) fn unknown_handle(adapter: &AdapterBlock, info: &[usize; INFO_SLOTS]) -> Option<usize> {
    let named = [info[SLOT], info[TUNNEL]];
    if named == [0, 0] || !is_active(adapter) {
        return None;
    }
    named
        .into_iter()
        .find(|handle| adapter.associations.is_unknown(*handle))
}
