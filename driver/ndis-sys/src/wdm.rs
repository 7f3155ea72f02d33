//! The items of wdm.h that a miniport meets: memory descriptor lists, dispatcher objects, deferred
//! procedure calls, the driver object, extended processor state.

use crate::basic::*;
use crate::table::{callbacks, constants, layouts};
use core::ffi::c_void;

/// A device object; the driver only passes it on.
#[repr(C)]
pub struct DEVICE_OBJECT {
    opaque: [u8; 0],
}

/// An I/O request packet; the driver only passes it on.
#[repr(C)]
pub struct IRP {
    opaque: [u8; 0],
}

layouts! {
    /// A memory descriptor list: one virtually contiguous piece of a buffer.
    struct MDL [48, 8] {
        Next @ 0: *mut MDL,
        Size @ 8: CSHORT,
        MdlFlags @ 10: CSHORT,
        _Padding @ 12: [u8; 4],
        Process @ 16: PVOID,
        MappedSystemVa @ 24: PVOID,
        StartVa @ 32: PVOID,
        ByteCount @ 40: ULONG,
        ByteOffset @ 44: ULONG,
    }

    /// The head of everything that can be waited for. Opaque to drivers; the members named are those
    /// of an event.
    struct DISPATCHER_HEADER [24, 8] {
        Type @ 0: UCHAR,
        Signalling @ 1: UCHAR,
        Size @ 2: UCHAR,
        Reserved1 @ 3: UCHAR,
        SignalState @ 4: LONG,
        WaitListHead @ 8: LIST_ENTRY,
    }

    /// An event; in non-paged memory, opaque to drivers.
    struct KEVENT [24, 8] {
        Header @ 0: DISPATCHER_HEADER,
    }

    /// A deferred procedure call; in non-paged memory, opaque to drivers.
    struct KDPC [64, 8] {
        Type @ 0: UCHAR,
        Importance @ 1: UCHAR,
        Number @ 2: USHORT,
        _Padding @ 4: [u8; 4],
        DpcListEntry @ 8: SINGLE_LIST_ENTRY,
        ProcessorHistory @ 16: KAFFINITY,
        DeferredRoutine @ 24: PKDEFERRED_ROUTINE,
        DeferredContext @ 32: PVOID,
        SystemArgument1 @ 40: PVOID,
        SystemArgument2 @ 48: PVOID,
        DpcData @ 56: PVOID,
    }

    /// A driver's extension of its [`DRIVER_OBJECT`].
    struct DRIVER_EXTENSION [40, 8] {
        DriverObject @ 0: *mut DRIVER_OBJECT,
        AddDevice @ 8: PVOID,
        Count @ 16: ULONG,
        _Padding @ 20: [u8; 4],
        ServiceKeyName @ 24: UNICODE_STRING,
    }

    /// A loaded driver. The routines that a miniport does not touch are plain pointers here.
    struct DRIVER_OBJECT [336, 8] {
        Type @ 0: CSHORT,
        Size @ 2: CSHORT,
        _Padding0 @ 4: [u8; 4],
        DeviceObject @ 8: *mut DEVICE_OBJECT,
        Flags @ 16: ULONG,
        _Padding1 @ 20: [u8; 4],
        DriverStart @ 24: PVOID,
        DriverSize @ 32: ULONG,
        _Padding2 @ 36: [u8; 4],
        DriverSection @ 40: PVOID,
        DriverExtension @ 48: *mut DRIVER_EXTENSION,
        DriverName @ 56: UNICODE_STRING,
        HardwareDatabase @ 72: *mut UNICODE_STRING,
        FastIoDispatch @ 80: PVOID,
        DriverInit @ 88: PDRIVER_INITIALIZE,
        DriverStartIo @ 96: PVOID,
        DriverUnload @ 104: PDRIVER_UNLOAD,
        MajorFunction @ 112: [PVOID; 28],
    }
}

/// Saved extended processor state (x86-64): opaque to drivers, filled by
/// [`KeSaveExtendedProcessorState`](crate::KeSaveExtendedProcessorState). May be on the stack: the
/// state itself goes to memory that the kernel allocates.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct XSTATE_SAVE {
    opaque: [u64; 7],
}

const _: () = assert!(size_of::<XSTATE_SAVE>() == 56 && align_of::<XSTATE_SAVE>() == 8);

// SAFETY: it is an array of integers.
unsafe impl crate::table::Zero for XSTATE_SAVE {}

/// What the watchdog says of the deferred procedure calls of a processor, from
/// [`KeQueryDpcWatchdogInformation`](crate::KeQueryDpcWatchdogInformation). The figures have no dimension.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KDPC_WATCHDOG_INFORMATION {
    /// What one call may take; 0 for no limit.
    pub DpcTimeLimit: ULONG,
    /// What is left of that.
    pub DpcTimeCount: ULONG,
    /// What a sequence of calls may take together; 0 for no limit.
    pub DpcWatchdogLimit: ULONG,
    /// What is left of that.
    pub DpcWatchdogCount: ULONG,
    /// Reserved.
    pub Reserved: ULONG,
}

const _: () = assert!(
    size_of::<KDPC_WATCHDOG_INFORMATION>() == 20 && align_of::<KDPC_WATCHDOG_INFORMATION>() == 4
);

// SAFETY: it consists of integers.
unsafe impl crate::table::Zero for KDPC_WATCHDOG_INFORMATION {}

callbacks! {
    /// Runs a deferred procedure call at DISPATCH_LEVEL.
    KDEFERRED_ROUTINE, PKDEFERRED_ROUTINE: fn(Dpc: *mut KDPC, DeferredContext: PVOID, SystemArgument1: PVOID, SystemArgument2: PVOID);
    /// `DriverEntry`, at PASSIVE_LEVEL.
    DRIVER_INITIALIZE, PDRIVER_INITIALIZE: fn(DriverObject: *mut DRIVER_OBJECT, RegistryPath: *mut UNICODE_STRING) -> NTSTATUS;
    /// Unloads the driver, at PASSIVE_LEVEL.
    DRIVER_UNLOAD, PDRIVER_UNLOAD: fn(DriverObject: *mut DRIVER_OBJECT);
}

constants! {
    values CSHORT {
        /// `MappedSystemVa` is valid: the pages are mapped into system space.
        MDL_MAPPED_TO_SYSTEM_VA = 0x0001,
        MDL_PAGES_LOCKED = 0x0002,
        /// `MappedSystemVa` is valid: the memory is non-paged pool.
        MDL_SOURCE_IS_NONPAGED_POOL = 0x0004,
        MDL_ALLOCATED_FIXED_SIZE = 0x0008,
        MDL_PARTIAL = 0x0010,
        MDL_PARTIAL_HAS_BEEN_MAPPED = 0x0020,
        MDL_IO_PAGE_READ = 0x0040,
        MDL_WRITE_OPERATION = 0x0080,
        MDL_PARENT_MAPPED_SYSTEM_VA = 0x0100,
        MDL_FREE_EXTRA_PTES = 0x0200,
        MDL_DESCRIBES_AWE = 0x0400,
        MDL_IO_SPACE = 0x0800,
        MDL_NETWORK_HEADER = 0x1000,
        MDL_MAPPING_CAN_FAIL = 0x2000,
        MDL_ALLOCATED_MUST_SUCCEED = 0x4000,
    }
    values ULONG {
        MdlMappingNoWrite = 0x8000_0000,
        MdlMappingNoExecute = 0x4000_0000,
        PAGE_SIZE = 4096,
        PAGE_SHIFT = 12,
        MEMORY_ALLOCATION_ALIGNMENT = 16,
    }
    values KIRQL {
        PASSIVE_LEVEL = 0,
        APC_LEVEL = 1,
        DISPATCH_LEVEL = 2,
        HIGH_LEVEL = 15,
    }
    values NTSTATUS {
        STATUS_SUCCESS = 0,
        STATUS_PENDING = 0x103,
        /// A wait ran out of time; a success code.
        STATUS_TIMEOUT = 0x102,
        STATUS_BUFFER_OVERFLOW = 0x8000_0005_u32 as NTSTATUS,
        STATUS_UNSUCCESSFUL = 0xC000_0001_u32 as NTSTATUS,
        STATUS_INVALID_PARAMETER = 0xC000_000D_u32 as NTSTATUS,
        STATUS_INVALID_DEVICE_REQUEST = 0xC000_0010_u32 as NTSTATUS,
        STATUS_NO_MEMORY = 0xC000_0017_u32 as NTSTATUS,
        STATUS_BUFFER_TOO_SMALL = 0xC000_0023_u32 as NTSTATUS,
        STATUS_INSUFFICIENT_RESOURCES = 0xC000_009A_u32 as NTSTATUS,
        STATUS_DEVICE_NOT_READY = 0xC000_00A3_u32 as NTSTATUS,
        STATUS_NOT_SUPPORTED = 0xC000_00BB_u32 as NTSTATUS,
    }
    values KPROCESSOR_MODE {
        KernelMode = 0,
        UserMode = 1,
    }
    values ULONG64 {
        /// [`ExAllocatePool2`](crate::ExAllocatePool2): do not zero the memory.
        POOL_FLAG_UNINITIALIZED = 0x2,
        POOL_FLAG_CACHE_ALIGNED = 0x8,
        /// Memory that may be touched at any IRQL.
        POOL_FLAG_NON_PAGED = 0x40,
        POOL_FLAG_PAGED = 0x100,
        XSTATE_MASK_LEGACY_FLOATING_POINT = 1 << 0,
        XSTATE_MASK_LEGACY_SSE = 1 << 1,
        XSTATE_MASK_LEGACY = XSTATE_MASK_LEGACY_FLOATING_POINT | XSTATE_MASK_LEGACY_SSE,
        /// The upper halves of YMM0 to YMM15: AVX and AVX2.
        XSTATE_MASK_GSSE = 1 << 2,
        XSTATE_MASK_AVX = XSTATE_MASK_GSSE,
        /// The mask registers k0 to k7.
        XSTATE_MASK_AVX512_KMASK = 1 << 5,
        /// The upper halves of ZMM0 to ZMM15.
        XSTATE_MASK_AVX512_ZMM_H = 1 << 6,
        /// ZMM16 to ZMM31.
        XSTATE_MASK_AVX512_ZMM = 1 << 7,
        XSTATE_MASK_AVX512 = XSTATE_MASK_AVX512_KMASK | XSTATE_MASK_AVX512_ZMM_H | XSTATE_MASK_AVX512_ZMM,
    }
    /// How an event is reset: by hand, or by releasing one waiter.
    enumeration EVENT_TYPE {
        NotificationEvent = 0,
        SynchronizationEvent = 1,
    }
    /// How pages are cached.
    enumeration MEMORY_CACHING_TYPE {
        MmNonCached = 0,
        MmCached = 1,
        MmWriteCombined = 2,
    }
    /// How hard to try to map pages.
    enumeration MM_PAGE_PRIORITY {
        LowPagePriority = 0,
        NormalPagePriority = 16,
        HighPagePriority = 32,
    }
    /// Why a thread waits.
    enumeration KWAIT_REASON {
        Executive = 0,
    }
    /// Where in its queue a deferred procedure call goes.
    enumeration KDPC_IMPORTANCE {
        LowImportance = 0,
        MediumImportance = 1,
        HighImportance = 2,
        MediumHighImportance = 3,
    }
}

/// The system address of the memory that `mdl` describes, mapping it when need be; null when that
/// fails. `priority`: an [`MM_PAGE_PRIORITY`], with [`MdlMappingNoExecute`]. IRQL <= DISPATCH_LEVEL.
/// The macro of this name in wdm.h.
///
/// # Safety
/// `mdl` must describe locked or non-paged memory.
#[inline]
pub unsafe fn MmGetSystemAddressForMdlSafe(mdl: *mut MDL, priority: ULONG) -> *mut c_void {
    // SAFETY: the caller's MDL is valid; the import's own terms are the caller's too.
    unsafe {
        if (*mdl).MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
            (*mdl).MappedSystemVa
        } else {
            crate::MmMapLockedPagesSpecifyCache(
                mdl,
                KernelMode,
                MmCached,
                core::ptr::null_mut(),
                0,
                priority,
            )
        }
    }
}
