//! Out-of-band information of NET_BUFFER_LISTs. The slots with a name here exist in the lists of every
//! NDIS version that this crate knows: 6.1 has 13, later versions only add.

use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo, Ieee8021QNetBufferListInfo, NET_BUFFER_LIST,
    NET_BUFFER_LIST_INFO, NetBufferListCancelId, TcpIpChecksumNetBufferListInfo,
    TcpLargeSendNetBufferListInfo,
};

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

/// Clears the first `slots` slots.
///
/// # Safety
/// `nbl` is valid, the driver's, and has as many slots.
pub(crate) unsafe fn clear(nbl: *mut NET_BUFFER_LIST, slots: usize) {
    for id in 0..slots {
        // SAFETY: by the caller's promise.
        unsafe { *NET_BUFFER_LIST_INFO(nbl, id as i32) = core::ptr::null_mut() };
    }
}
