//! The imports from ntoskrnl.exe. Only what is exported on every supported Windows (10 version 2004
//! on), for x64 and ARM64: where wdm.h has a macro or an inline function, the export behind it.
//! The IRQL named is the highest at which the call is allowed, from the page of that function.

use crate::basic::*;
use crate::table::imports;
use crate::wdm::*;

imports! { FUNCTIONS:
    /// Allocates pool, zeroed unless told otherwise; null on failure. IRQL <= DISPATCH_LEVEL (non-paged).
    fn ExAllocatePool2(Flags: ULONG64, NumberOfBytes: SIZE_T, Tag: ULONG) -> PVOID;
    /// Frees pool. IRQL <= DISPATCH_LEVEL (non-paged).
    fn ExFreePoolWithTag(P: PVOID, Tag: ULONG);
    /// Frees pool whatever its tag. IRQL <= DISPATCH_LEVEL (non-paged).
    fn ExFreePool(P: PVOID);

    /// Stops the machine. Any IRQL.
    fn KeBugCheckEx(BugCheckCode: ULONG, BugCheckParameter1: ULONG_PTR, BugCheckParameter2: ULONG_PTR, BugCheckParameter3: ULONG_PTR, BugCheckParameter4: ULONG_PTR) -> !;

    /// The current IRQL. Any IRQL.
    fn KeGetCurrentIrql() -> KIRQL;
    /// Raises the IRQL and returns the former one; `KeRaiseIrql` is a macro over it. At or below the new IRQL.
    fn KfRaiseIrql(NewIrql: KIRQL) -> KIRQL;
    /// Lowers the IRQL to one that [`KfRaiseIrql`] returned. At or above the new IRQL.
    fn KeLowerIrql(NewIrql: KIRQL);

    /// Raises to DISPATCH_LEVEL, takes the lock, returns the former IRQL. IRQL <= DISPATCH_LEVEL.
    /// `KeAcquireSpinLock` is a macro over it.
    fn KeAcquireSpinLockRaiseToDpc(SpinLock: *mut KSPIN_LOCK) -> KIRQL;
    /// Frees the lock and restores the IRQL. At DISPATCH_LEVEL.
    fn KeReleaseSpinLock(SpinLock: *mut KSPIN_LOCK, NewIrql: KIRQL);
    /// Takes the lock. At DISPATCH_LEVEL or above.
    fn KeAcquireSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK);
    /// Frees the lock. At DISPATCH_LEVEL or above.
    fn KeReleaseSpinLockFromDpcLevel(SpinLock: *mut KSPIN_LOCK);
    /// Takes the lock if it is free. At DISPATCH_LEVEL or above.
    fn KeTryToAcquireSpinLockAtDpcLevel(SpinLock: *mut KSPIN_LOCK) -> BOOLEAN;

    /// Takes the lock shared, raising to DISPATCH_LEVEL; returns the former IRQL. IRQL <= DISPATCH_LEVEL.
    fn ExAcquireSpinLockShared(SpinLock: *mut EX_SPIN_LOCK) -> KIRQL;
    /// Frees it and restores the IRQL. At DISPATCH_LEVEL.
    fn ExReleaseSpinLockShared(SpinLock: *mut EX_SPIN_LOCK, OldIrql: KIRQL);
    /// Takes the lock exclusively, raising to DISPATCH_LEVEL; returns the former IRQL. IRQL <= DISPATCH_LEVEL.
    fn ExAcquireSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK) -> KIRQL;
    /// Frees it and restores the IRQL. At DISPATCH_LEVEL.
    fn ExReleaseSpinLockExclusive(SpinLock: *mut EX_SPIN_LOCK, OldIrql: KIRQL);
    /// Takes the lock shared. At DISPATCH_LEVEL or above.
    fn ExAcquireSpinLockSharedAtDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    /// Frees it. At DISPATCH_LEVEL or above.
    fn ExReleaseSpinLockSharedFromDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    /// Takes the lock exclusively. At DISPATCH_LEVEL or above.
    fn ExAcquireSpinLockExclusiveAtDpcLevel(SpinLock: *mut EX_SPIN_LOCK);
    /// Frees it. At DISPATCH_LEVEL or above.
    fn ExReleaseSpinLockExclusiveFromDpcLevel(SpinLock: *mut EX_SPIN_LOCK);

    /// Makes an event. Any IRQL.
    fn KeInitializeEvent(Event: *mut KEVENT, Type: EVENT_TYPE, State: BOOLEAN);
    /// Signals the event and returns its former state. IRQL <= DISPATCH_LEVEL when `Wait` is false.
    fn KeSetEvent(Event: *mut KEVENT, Increment: KPRIORITY, Wait: BOOLEAN) -> LONG;
    /// Resets the event. IRQL <= DISPATCH_LEVEL.
    fn KeClearEvent(Event: *mut KEVENT);
    /// Resets the event and returns its former state. IRQL <= DISPATCH_LEVEL.
    fn KeResetEvent(Event: *mut KEVENT) -> LONG;
    /// The event's state. IRQL <= DISPATCH_LEVEL.
    fn KeReadStateEvent(Event: *mut KEVENT) -> LONG;
    /// Waits. `Timeout` in units of 100 ns, negative for a duration, null for ever. IRQL <= APC_LEVEL,
    /// or DISPATCH_LEVEL with a timeout of zero.
    fn KeWaitForSingleObject(Object: PVOID, WaitReason: KWAIT_REASON, WaitMode: KPROCESSOR_MODE, Alertable: BOOLEAN, Timeout: *mut LARGE_INTEGER) -> NTSTATUS;
    /// Sleeps. `Interval` in units of 100 ns, negative for a duration. IRQL <= APC_LEVEL.
    fn KeDelayExecutionThread(WaitMode: KPROCESSOR_MODE, Alertable: BOOLEAN, Interval: *mut LARGE_INTEGER) -> NTSTATUS;

    /// Makes a deferred procedure call. Any IRQL.
    fn KeInitializeDpc(Dpc: *mut KDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: PVOID);
    /// Queues it; false if it was queued already. Any IRQL.
    fn KeInsertQueueDpc(Dpc: *mut KDPC, SystemArgument1: PVOID, SystemArgument2: PVOID) -> BOOLEAN;
    /// Takes it from its queue; false if it was not queued. Any IRQL.
    fn KeRemoveQueueDpc(Dpc: *mut KDPC) -> BOOLEAN;
    /// Waits until every queued DPC of every processor has run. PASSIVE_LEVEL.
    fn KeFlushQueuedDpcs();
    /// What is left of the time of the deferred procedure calls that run on this processor, one after the
    /// other. STATUS_UNSUCCESSFUL when none runs. DISPATCH_LEVEL.
    fn KeQueryDpcWatchdogInformation(WatchdogInformation: *mut KDPC_WATCHDOG_INFORMATION) -> NTSTATUS;
    /// Sets its importance, before it is queued. Any IRQL.
    fn KeSetImportanceDpc(Dpc: *mut KDPC, Importance: KDPC_IMPORTANCE);
    /// Sets the processor that will run it. Any IRQL.
    fn KeSetTargetProcessorDpcEx(Dpc: *mut KDPC, ProcNumber: *mut PROCESSOR_NUMBER) -> NTSTATUS;

    /// The ends of the stack that is in use; `IoGetRemainingStackSize` is inline over it. Any IRQL.
    fn IoGetStackLimits(LowLimit: *mut ULONG_PTR, HighLimit: *mut ULONG_PTR);

    /// The index of the current processor in the whole system. Any IRQL; of use at DISPATCH_LEVEL or above.
    fn KeGetCurrentProcessorNumberEx(ProcNumber: *mut PROCESSOR_NUMBER) -> ULONG;
    /// The processor of an index. Any IRQL.
    fn KeGetProcessorNumberFromIndex(ProcIndex: ULONG, ProcNumber: *mut PROCESSOR_NUMBER) -> NTSTATUS;
    /// The number of active processors of a group, or of all ([`ALL_PROCESSOR_GROUPS`]). Any IRQL.
    fn KeQueryActiveProcessorCountEx(GroupNumber: USHORT) -> ULONG;
    /// The number of processors that there can be in a group, or in all. Any IRQL.
    fn KeQueryMaximumProcessorCountEx(GroupNumber: USHORT) -> ULONG;

    /// A monotonic counter; its frequency in Hz at `PerformanceFrequency` unless that is null. Any IRQL.
    fn KeQueryPerformanceCounter(PerformanceFrequency: *mut LARGE_INTEGER) -> LARGE_INTEGER;
    /// The time in units of 100 ns since 1601 (UTC). Any IRQL.
    fn KeQuerySystemTimePrecise(CurrentTime: *mut LARGE_INTEGER);

    /// Saves the enabled extended state that `Mask` names, so that it may be used. x86-64 only.
    /// Fails with STATUS_INSUFFICIENT_RESOURCES. IRQL <= DISPATCH_LEVEL.
    fn KeSaveExtendedProcessorState(Mask: ULONG64, XStateSave: *mut XSTATE_SAVE) -> NTSTATUS;
    /// Restores what was saved; saves and restores nest. x86-64 only. At the IRQL of the save.
    fn KeRestoreExtendedProcessorState(XStateSave: *mut XSTATE_SAVE);
    /// The features of `FeatureMask` that the system has enabled. x86-64 only. PASSIVE_LEVEL.
    fn RtlGetEnabledExtendedFeatures(FeatureMask: ULONG64) -> ULONG64;

    /// Maps locked pages; null on failure if `BugCheckOnFailure` is 0. IRQL <= DISPATCH_LEVEL (KernelMode).
    fn MmMapLockedPagesSpecifyCache(MemoryDescriptorList: *mut MDL, AccessMode: KPROCESSOR_MODE, CacheType: MEMORY_CACHING_TYPE, RequestedAddress: PVOID, BugCheckOnFailure: ULONG, Priority: ULONG) -> PVOID;
    /// Unmaps them. IRQL <= DISPATCH_LEVEL.
    fn MmUnmapLockedPages(BaseAddress: PVOID, MemoryDescriptorList: *mut MDL);
    /// Fills an MDL for non-paged pool. IRQL <= DISPATCH_LEVEL.
    fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: *mut MDL);
    /// Allocates an MDL; null on failure. IRQL <= DISPATCH_LEVEL.
    fn IoAllocateMdl(VirtualAddress: PVOID, Length: ULONG, SecondaryBuffer: BOOLEAN, ChargeQuota: BOOLEAN, Irp: *mut IRP) -> *mut MDL;
    /// Frees it. IRQL <= DISPATCH_LEVEL.
    fn IoFreeMdl(Mdl: *mut MDL);
}

/// Every processor group, for [`KeQueryActiveProcessorCountEx`] and [`KeQueryMaximumProcessorCountEx`].
pub const ALL_PROCESSOR_GROUPS: USHORT = 0xffff;
