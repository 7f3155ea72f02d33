//! Out-of-band information of NET_BUFFER_LISTs: the slots that exist in the lists of every NDIS
//! version this crate knows (6.1 has 13; later versions only add).

use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo, Ieee8021QNetBufferListInfo, NET_BUFFER_LIST,
    NET_BUFFER_LIST_INFO, NetBufferListCancelId, PVOID, TcpIpChecksumNetBufferListInfo,
    TcpLargeSendNetBufferListInfo,
};

/// The number of slots of an NDIS 6.1 list, the smallest there is.
const SLOTS: i32 = 13;

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoSlot {
    /// Checksum offload.
    Checksum,
    /// IPsec offload: the SA on send, the verdict on receive.
    IpsecV2,
    /// IPsec offload: the tunnel SA on send.
    IpsecV2Tunnel,
    /// IPsec offload: where the headers are.
    IpsecV2Header,
    /// Large send offload.
    LargeSend,
    /// 802.1Q tag.
    Ieee8021Q,
    /// Identifier by which sends are cancelled.
    CancelId,
}

impl InfoSlot {
    /// NDIS_NET_BUFFER_LIST_INFO.
    pub(crate) const fn id(self) -> i32 {
        match self {
            Self::Checksum => TcpIpChecksumNetBufferListInfo,
            Self::IpsecV2 => IPsecOffloadV2NetBufferListInfo,
            Self::IpsecV2Tunnel => IPsecOffloadV2TunnelNetBufferListInfo,
            Self::IpsecV2Header => IPsecOffloadV2HeaderNetBufferListInfo,
            Self::LargeSend => TcpLargeSendNetBufferListInfo,
            Self::Ieee8021Q => Ieee8021QNetBufferListInfo,
            Self::CancelId => NetBufferListCancelId,
        }
    }
}

/// Clears all slots.
///
/// # Safety
/// `nbl` is valid and the driver's.
pub(crate) unsafe fn clear(nbl: *mut NET_BUFFER_LIST) {
    for id in 0..SLOTS {
        // SAFETY: every list has these slots.
        unsafe {
            *NET_BUFFER_LIST_INFO(nbl, id) = core::ptr::null_mut::<core::ffi::c_void>() as PVOID
        };
    }
}
