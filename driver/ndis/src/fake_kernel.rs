//! The imports of this crate for its unit tests on a development machine: enough of a kernel to
//! count what the wrappers do. What a kernel *checks* is the simulator's business.
//!
//! State is per thread: each test runs on its own.

use core::ptr::null_mut;
use std::{cell::RefCell, vec::Vec};

use ndis_sys::*;

/// What the wrappers did on this thread.
#[derive(Default)]
pub struct Kernel {
    pub irql: KIRQL,
    /// Statuses of completed lists, in order, with the flags of their call.
    pub completed: Vec<(NDIS_STATUS, ULONG)>,
    /// Lists that were indicated and not returned.
    pub indicated: Vec<*mut NET_BUFFER_LIST>,
    /// Allocations that are still there.
    pub mdls: usize,
    pub lists: usize,
    pub pools: usize,
    /// Fails the allocation when it reaches zero.
    pub fail_list_after: Option<usize>,
    pub fail_mapping: bool,
    pub fail_save: bool,
    pub enabled_features: u64,
    pub saves: usize,
    pub restores: usize,
}

std::thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

/// Looks at, or changes, this thread's kernel.
pub fn kernel<R>(work: impl FnOnce(&mut Kernel) -> R) -> R {
    KERNEL.with_borrow_mut(work)
}

/// An MDL over `bytes` that is in system space already.
pub fn mdl(bytes: &[u8], next: *mut MDL) -> MDL {
    let mut mdl = MDL::ZERO;
    mdl.Next = next;
    mdl.MdlFlags = MDL_SOURCE_IS_NONPAGED_POOL;
    mdl.MappedSystemVa = bytes.as_ptr().cast_mut().cast();
    mdl.ByteCount = bytes.len() as ULONG;
    mdl
}

#[unsafe(no_mangle)]
extern "efiapi" fn KfRaiseIrql(irql: KIRQL) -> KIRQL {
    kernel(|kernel| {
        assert!(irql >= kernel.irql, "raised downwards");
        core::mem::replace(&mut kernel.irql, irql)
    })
}

#[unsafe(no_mangle)]
extern "efiapi" fn KeLowerIrql(irql: KIRQL) {
    kernel(|kernel| {
        assert!(irql <= kernel.irql, "lowered upwards");
        kernel.irql = irql;
    });
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn KeAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) {
    // SAFETY: the wrapper's lock; tests of this crate contend for none.
    unsafe {
        assert_eq!(*lock, 0, "deadlock");
        *lock = 1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn KeReleaseSpinLockFromDpcLevel(lock: *mut KSPIN_LOCK) {
    // SAFETY: as above.
    unsafe {
        assert_eq!(*lock, 1, "not held");
        *lock = 0;
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn ExAcquireSpinLockSharedAtDpcLevel(lock: *mut EX_SPIN_LOCK) {
    // SAFETY: as above.
    unsafe {
        assert!(*lock >= 0, "deadlock");
        *lock += 1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn ExReleaseSpinLockSharedFromDpcLevel(lock: *mut EX_SPIN_LOCK) {
    // SAFETY: as above.
    unsafe {
        assert!(*lock > 0, "not held");
        *lock -= 1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn ExAcquireSpinLockExclusiveAtDpcLevel(lock: *mut EX_SPIN_LOCK) {
    // SAFETY: as above.
    unsafe {
        assert_eq!(*lock, 0, "deadlock");
        *lock = -1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn ExReleaseSpinLockExclusiveFromDpcLevel(lock: *mut EX_SPIN_LOCK) {
    // SAFETY: as above.
    unsafe {
        assert_eq!(*lock, -1, "not held");
        *lock = 0;
    }
}

#[unsafe(no_mangle)]
extern "efiapi" fn RtlGetEnabledExtendedFeatures(mask: ULONG64) -> ULONG64 {
    kernel(|kernel| kernel.enabled_features & mask)
}

#[unsafe(no_mangle)]
extern "efiapi" fn KeSaveExtendedProcessorState(
    mask: ULONG64,
    _save: *mut XSTATE_SAVE,
) -> NTSTATUS {
    kernel(|kernel| {
        assert_eq!(
            mask & !kernel.enabled_features,
            0,
            "a feature that is not enabled"
        );
        if kernel.fail_save {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        kernel.saves += 1;
        STATUS_SUCCESS
    })
}

#[unsafe(no_mangle)]
extern "efiapi" fn KeRestoreExtendedProcessorState(_save: *mut XSTATE_SAVE) {
    kernel(|kernel| kernel.restores += 1);
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut MDL,
    mode: KPROCESSOR_MODE,
    _cache: MEMORY_CACHING_TYPE,
    _address: PVOID,
    bug_check: ULONG,
    priority: ULONG,
) -> PVOID {
    assert_eq!((mode, bug_check), (KernelMode, 0));
    assert_ne!(priority & MdlMappingNoExecute, 0, "an executable mapping");
    if kernel(|kernel| kernel.fail_mapping) {
        return null_mut();
    }
    // SAFETY: a test's MDL, whose StartVa is its memory.
    unsafe {
        (*mdl).MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
        (*mdl).MappedSystemVa = (*mdl).StartVa;
        (*mdl).MappedSystemVa
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn NdisMSendNetBufferListsComplete(
    _adapter: NDIS_HANDLE,
    list: *mut NET_BUFFER_LIST,
    flags: ULONG,
) {
    let mut list = list;
    while !list.is_null() {
        // SAFETY: the wrapper's lists.
        unsafe {
            kernel(|kernel| kernel.completed.push(((*list).Status, flags)));
            list = (*list).Next;
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "efiapi" fn NdisMIndicateReceiveNetBufferLists(
    _adapter: NDIS_HANDLE,
    list: *mut NET_BUFFER_LIST,
    _port: NDIS_PORT_NUMBER,
    count: ULONG,
    _flags: ULONG,
) {
    let before = kernel(|kernel| kernel.indicated.len());
    let mut list = list;
    while !list.is_null() {
        // SAFETY: the wrapper's lists.
        unsafe {
            kernel(|kernel| kernel.indicated.push(list));
            list = (*list).Next;
        }
    }
    assert_eq!(
        kernel(|kernel| kernel.indicated.len()) - before,
        count as usize
    );
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisAllocateNetBufferListPool(
    _adapter: NDIS_HANDLE,
    parameters: *const NET_BUFFER_LIST_POOL_PARAMETERS,
) -> NDIS_HANDLE {
    // SAFETY: the wrapper's parameters.
    assert_eq!(unsafe { (*parameters).fAllocateNetBuffer }, 1);
    kernel(|kernel| kernel.pools += 1);
    core::ptr::dangling_mut::<u64>().cast()
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisFreeNetBufferListPool(_pool: NDIS_HANDLE) {
    kernel(|kernel| {
        assert_eq!(kernel.lists, 0, "a pool is freed before its lists");
        kernel.pools -= 1;
    });
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisAllocateNetBufferAndNetBufferList(
    _pool: NDIS_HANDLE,
    _context_size: USHORT,
    _back_fill: USHORT,
    mdl: *mut MDL,
    offset: ULONG,
    length: SIZE_T,
) -> *mut NET_BUFFER_LIST {
    let fails = kernel(|kernel| match &mut kernel.fail_list_after {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    });
    if fails {
        return null_mut();
    }
    let mut buffer = NET_BUFFER::ZERO;
    buffer.MdlChain = mdl;
    buffer.CurrentMdl = mdl;
    buffer.DataOffset = offset;
    buffer.DataLength = length as ULONG;
    let mut list = NET_BUFFER_LIST::ZERO;
    list.FirstNetBuffer = Box::into_raw(Box::new(buffer));
    kernel(|kernel| kernel.lists += 1);
    Box::into_raw(Box::new(list))
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisFreeNetBufferList(list: *mut NET_BUFFER_LIST) {
    kernel(|kernel| kernel.lists -= 1);
    // SAFETY: boxed by the allocation above.
    unsafe {
        let list = Box::from_raw(list);
        drop(Box::from_raw(list.FirstNetBuffer));
    }
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisAllocateMdl(
    _adapter: NDIS_HANDLE,
    memory: PVOID,
    length: ULONG,
) -> *mut MDL {
    kernel(|kernel| kernel.mdls += 1);
    let mut mdl = MDL::ZERO;
    mdl.MdlFlags = MDL_SOURCE_IS_NONPAGED_POOL;
    mdl.MappedSystemVa = memory;
    mdl.ByteCount = length;
    Box::into_raw(Box::new(mdl))
}

#[unsafe(no_mangle)]
extern "efiapi" fn NdisFreeMdl(mdl: *mut MDL) {
    kernel(|kernel| kernel.mdls -= 1);
    // SAFETY: boxed by the allocation above.
    drop(unsafe { Box::from_raw(mdl) });
}

/// What no test reaches, and the linker wants.
macro_rules! unused {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "efiapi" fn $name() {
            unreachable!(stringify!($name));
        }
    )* };
}

unused! {
    KeGetCurrentProcessorNumberEx
    KeInitializeEvent KeSetEvent KeClearEvent KeWaitForSingleObject KeInitializeDpc KeInsertQueueDpc
    KeRemoveQueueDpc KeFlushQueuedDpcs NdisMIndicateStatusEx NdisMPauseComplete NdisMResetComplete
    KeQueryDpcWatchdogInformation IoGetStackLimits NdisAllocateIoWorkItem NdisQueueIoWorkItem NdisFreeIoWorkItem
    NdisOpenConfigurationEx NdisCloseConfiguration NdisReadConfiguration NdisReadNetworkAddress
}
