//! Packets: NET_BUFFER, NET_BUFFER_LIST, their pools, and the flags they travel with (nbl.h, ndis.h).

use crate::basic::*;
use crate::nbl_info::NDIS_NET_BUFFER_LIST_INFO;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{callbacks, constants, layouts};
use crate::wdm::MDL;
use core::ffi::c_void;

/// The number of `NetBufferListInfo` slots that an NDIS 6.30 driver is compiled with; 13 and 18 for
/// 6.1 and 6.20, see [`NdisVersion::max_net_buffer_list_info`](crate::NdisVersion::max_net_buffer_list_info).
pub const MaxNetBufferListInfo: usize = 24;

/// Shared memory of a packet (NDIS 6.20); of no concern to a driver without DMA.
#[repr(C)]
pub struct NET_BUFFER_SHARED_MEMORY {
    opaque: [u8; 0],
}

layouts! {
    /// One packet: `DataLength` bytes, `DataOffset` bytes into `MdlChain`. `CurrentMdl` is the MDL in
    /// which the data starts, `CurrentMdlOffset` bytes from that MDL's start.
    #[repr(align(16))]
    struct NET_BUFFER [176, 16] {
        Next @ 0: *mut NET_BUFFER,
        CurrentMdl @ 8: *mut MDL,
        CurrentMdlOffset @ 16: ULONG,
        _Padding0 @ 20: [u8; 4],
        DataLength @ 24: ULONG,
        _Padding1 @ 28: [u8; 4],
        MdlChain @ 32: *mut MDL,
        DataOffset @ 40: ULONG,
        _Padding2 @ 44: [u8; 4],
        ChecksumBias @ 48: USHORT,
        Reserved @ 50: USHORT,
        _Padding3 @ 52: [u8; 4],
        NdisPoolHandle @ 56: NDIS_HANDLE,
        NdisReserved @ 64: [PVOID; 2],
        ProtocolReserved @ 80: [PVOID; 6],
        MiniportReserved @ 128: [PVOID; 4],
        DataPhysicalAddress @ 160: NDIS_PHYSICAL_ADDRESS,
        SharedMemoryInfo @ 168: *mut NET_BUFFER_SHARED_MEMORY,
    }

    /// A list of packets that share out-of-band information.
    ///
    /// The true size follows the NDIS version of whoever owns the pool, and NDIS allocates more than
    /// any of them: never copy one, allocate one, or touch a slot of `NetBufferListInfo` beyond the
    /// registered version's maximum. Use it behind a pointer.
    #[repr(align(16))]
    struct NET_BUFFER_LIST [336, 16] {
        Next @ 0: *mut NET_BUFFER_LIST,
        FirstNetBuffer @ 8: *mut NET_BUFFER,
        Context @ 16: *mut NET_BUFFER_LIST_CONTEXT,
        ParentNetBufferList @ 24: *mut NET_BUFFER_LIST,
        NdisPoolHandle @ 32: NDIS_HANDLE,
        _Padding @ 40: [u8; 8],
        NdisReserved @ 48: [PVOID; 2],
        ProtocolReserved @ 64: [PVOID; 4],
        MiniportReserved @ 96: [PVOID; 2],
        Scratch @ 112: PVOID,
        SourceHandle @ 120: NDIS_HANDLE,
        NblFlags @ 128: ULONG,
        ChildRefCount @ 132: LONG,
        Flags @ 136: ULONG,
        Status @ 140: NDIS_STATUS,
        NetBufferListInfo @ 144: [PVOID; MaxNetBufferListInfo],
    }

    /// Context data of a NET_BUFFER_LIST; `Size` bytes from `ContextData`, used from `Offset` on.
    #[repr(align(16))]
    struct NET_BUFFER_LIST_CONTEXT [16, 16] {
        Next @ 0: *mut NET_BUFFER_LIST_CONTEXT,
        Size @ 8: USHORT,
        Offset @ 10: USHORT,
        _Padding @ 12: [u8; 4],
        ContextData @ 16: [UCHAR; 0],
    }

    /// What a pool of NET_BUFFER_LISTs is to be.
    struct NET_BUFFER_LIST_POOL_PARAMETERS [16, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        ProtocolId @ 4: UCHAR,
        fAllocateNetBuffer @ 5: BOOLEAN,
        ContextSize @ 6: USHORT,
        PoolTag @ 8: ULONG,
        DataSize @ 12: ULONG,
    }

    /// What a pool of NET_BUFFERs is to be.
    struct NET_BUFFER_POOL_PARAMETERS [12, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        PoolTag @ 4: ULONG,
        DataSize @ 8: ULONG,
    }
}

callbacks! {
    /// Allocates an MDL for a retreat; it may enlarge `*BufferSize`. IRQL <= DISPATCH_LEVEL.
    NET_BUFFER_ALLOCATE_MDL, NET_BUFFER_ALLOCATE_MDL_HANDLER: fn(BufferSize: *mut ULONG) -> *mut MDL;
    /// Frees such an MDL. IRQL <= DISPATCH_LEVEL.
    NET_BUFFER_FREE_MDL, NET_BUFFER_FREE_MDL_HANDLER: fn(Mdl: *mut MDL);
}

constants! {
    values UCHAR {
        NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1 = 1,
        NET_BUFFER_POOL_PARAMETERS_REVISION_1 = 1,
        NDIS_PROTOCOL_ID_DEFAULT = 0x00,
        NDIS_PROTOCOL_ID_TCP_IP = 0x02,
    }
    values SIZE_T {
        NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1 = 16,
        NDIS_SIZEOF_NET_BUFFER_POOL_PARAMETERS_REVISION_1 = 12,
    }
    values ULONG {
        /// The bits of `Flags` that belong to the protocol driver, for NDIS 6.30; 0xFFF0_0000 before.
        NBL_FLAGS_PROTOCOL_RESERVED = 0xFFF0_0003,
        /// The bits of `Flags` for whoever owns the list at the moment.
        NBL_FLAGS_SCRATCH = 0x000F_0000,
        /// The bits of `Flags` that belong to the miniport driver.
        NBL_FLAGS_MINIPORT_RESERVED = 0x0000_F000,
        /// The bits of `Flags` that belong to NDIS, for NDIS 6.30; 0x0FFF before.
        NBL_FLAGS_NDIS_RESERVED = 0x0000_0FFC,

        // `NblFlags`
        NDIS_NBL_FLAGS_SEND_READ_ONLY = 0x0001,
        NDIS_NBL_FLAGS_RECV_READ_ONLY = 0x0002,
        NDIS_NBL_FLAGS_HD_SPLIT = 0x0100,
        NDIS_NBL_FLAGS_IS_IPV4 = 0x0200,
        NDIS_NBL_FLAGS_IS_IPV6 = 0x0400,
        NDIS_NBL_FLAGS_IS_TCP = 0x0800,
        NDIS_NBL_FLAGS_IS_UDP = 0x1000,
        NDIS_NBL_FLAGS_SPLIT_AT_UPPER_LAYER_PROTOCOL_HEADER = 0x2000,
        NDIS_NBL_FLAGS_SPLIT_AT_UPPER_LAYER_PROTOCOL_PAYLOAD = 0x4000,
        NDIS_NBL_FLAGS_IS_LOOPBACK_PACKET = 0x8000,

        // MiniportSendNetBufferLists
        NDIS_SEND_FLAGS_DISPATCH_LEVEL = 0x0001,
        NDIS_SEND_FLAGS_CHECK_FOR_LOOPBACK = 0x0002,
        NDIS_SEND_FLAGS_SINGLE_QUEUE = 0x0004,

        // NdisMSendNetBufferListsComplete
        NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL = 0x0001,
        NDIS_SEND_COMPLETE_FLAGS_SINGLE_QUEUE = 0x0002,

        // NdisMIndicateReceiveNetBufferLists
        NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL = 0x0001,
        /// The lists come back when the call returns; MiniportReturnNetBufferLists is not called.
        NDIS_RECEIVE_FLAGS_RESOURCES = 0x0002,
        NDIS_RECEIVE_FLAGS_SINGLE_ETHER_TYPE = 0x0100,
        NDIS_RECEIVE_FLAGS_SINGLE_VLAN = 0x0200,
        NDIS_RECEIVE_FLAGS_PERFECT_FILTERED = 0x0400,
        NDIS_RECEIVE_FLAGS_SINGLE_QUEUE = 0x0800,
        NDIS_RECEIVE_FLAGS_SHARED_MEMORY_INFO_VALID = 0x1000,
        NDIS_RECEIVE_FLAGS_MORE_NBLS = 0x2000,

        // MiniportReturnNetBufferLists
        NDIS_RETURN_FLAGS_DISPATCH_LEVEL = 0x0001,
        NDIS_RETURN_FLAGS_SINGLE_QUEUE = 0x0002,

        // NdisAllocateCloneNetBufferList
        NDIS_CLONE_FLAGS_RESERVED = 0x0001,
        NDIS_CLONE_FLAGS_USE_ORIGINAL_MDLS = 0x0002,
    }
}

/// The slot `id` of the list's out-of-band information: the macro of this name, as an address.
///
/// # Safety
/// `nbl` must be valid, and `id` below the registered NDIS version's maximum.
pub const unsafe fn NET_BUFFER_LIST_INFO(
    nbl: *mut NET_BUFFER_LIST,
    id: NDIS_NET_BUFFER_LIST_INFO,
) -> *mut PVOID {
    // SAFETY: the slot lies in the list, as the caller guarantees; no reference is made.
    unsafe {
        (&raw mut (*nbl).NetBufferListInfo)
            .cast::<PVOID>()
            .add(id as usize)
    }
}

/// The first byte of the list's context data that is in use: the macro of this name.
///
/// # Safety
/// `nbl` must be valid and have a context.
pub const unsafe fn NET_BUFFER_LIST_CONTEXT_DATA_START(nbl: *mut NET_BUFFER_LIST) -> *mut c_void {
    // SAFETY: the data follow the context's head, and NDIS keeps `Offset` within them.
    unsafe {
        let context = (*nbl).Context;
        context
            .add(1)
            .cast::<u8>()
            .add((*context).Offset as usize)
            .cast()
    }
}

/// Whether MiniportSendNetBufferLists was called at DISPATCH_LEVEL: the macro of this name.
pub const fn NDIS_TEST_SEND_AT_DISPATCH_LEVEL(flags: ULONG) -> bool {
    flags & NDIS_SEND_FLAGS_DISPATCH_LEVEL != 0
}

/// Whether MiniportReturnNetBufferLists was called at DISPATCH_LEVEL: the macro of this name.
pub const fn NDIS_TEST_RETURN_AT_DISPATCH_LEVEL(flags: ULONG) -> bool {
    flags & NDIS_RETURN_FLAGS_DISPATCH_LEVEL != 0
}

/// Whether the indicated lists come back when the indication returns: the macro of this name.
pub const fn NDIS_TEST_RECEIVE_CANNOT_PEND(flags: ULONG) -> bool {
    flags & NDIS_RECEIVE_FLAGS_RESOURCES != 0
}
