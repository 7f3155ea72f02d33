//! The rules of the kernel half, as constants. Names are Driver Verifier's,
//! Static Driver Verifier's or the bug check's; a few that Windows leaves
//! unnamed (it just corrupts memory) carry a name of the same form.

super::rule::rules! {
    BugCheck {
        IRQL = "IRQL_NOT_LESS_OR_EQUAL" (0xA, 0), "debugger/bug-check-0xa--irql-not-less-or-equal",
            "A routine may be called only at the IRQL that its page gives.";
        IRQL_AT_RETURN = "IRQL_UNEXPECTED_VALUE" (0xC8, 0), "debugger/bug-check-0xc8--irql-unexpected-value",
            "A callback returns at the IRQL at which it was called.";
        IRQL_RAISE = "IRQL_NOT_GREATER_OR_EQUAL" (0x9, 0) also ["Irql_IrqlSetting_Function"],
            "debugger/bug-check-0x9--irql-not-greater-or-equal",
            "Raising goes up and lowering goes down.";
        SPIN_LOCK_OWNED = "SPIN_LOCK_ALREADY_OWNED" (0xF, 0) also ["SpinLock", "SpinLockDpr"],
            "debugger/bug-check-0xf--spin-lock-already-owned",
            "A spin lock is not acquired twice by its owner.";
        SPIN_LOCK_NOT_OWNED = "SPIN_LOCK_NOT_OWNED" (0x10, 0) also ["SpinLockRelease", "SpinLockBalanced"],
            "debugger/bug-check-0x10--spin-lock-not-owned",
            "A spin lock is released by its owner, with the call that matches the acquisition.";
        SPIN_LOCK_INIT = "SPIN_LOCK_INIT_FAILURE" (0x81, 0), "debugger/bug-check-0x81--spin-lock-init-failure",
            "A spin lock is initialized before it is used.";
        DEADLOCK = "DeadlockDetection" (0xC4, 0x1001), "devtest/deadlock-detection",
            "Locks that are held at the same time are always acquired in the same order.";
        DPC_WATCHDOG = "DPC_WATCHDOG_VIOLATION" (0x133, 0), "debugger/bug-check-0x133-dpc-watchdog-violation",
            "A DPC, or a call at DISPATCH_LEVEL, ends within its time.";
        DPC_SERIES = "DPC_WATCHDOG_VIOLATION" (0x133, 1), "debugger/bug-check-0x133-dpc-watchdog-violation",
            "DPCs that follow each other on a processor let it go below DISPATCH_LEVEL in time.";
        EXTENDED_STATE_BALANCE = "INVALID_EXTENDED_PROCESSOR_STATE" (0x131, 0),
            "ddi/wdm/nf-wdm-kerestoreextendedprocessorstate",
            "Saves and restores of extended state nest, in one thread at one IRQL, and are balanced when a callback returns.";
        STACK_OVERFLOW = "UNEXPECTED_KERNEL_MODE_TRAP" (0x7F, 8), "debugger/bug-check-0x7f--unexpected-kernel-mode-trap",
            "The kernel stack is not exceeded.";
        PAGE_FAULT = "PAGE_FAULT_IN_NONPAGED_AREA" (0x50, 0), "debugger/bug-check-0x50--page-fault-in-nonpaged-area",
            "Memory that is touched is mapped, and mapped for that access.";
        KMODE_EXCEPTION = "KMODE_EXCEPTION_NOT_HANDLED" (0x1E, 0), "debugger/bug-check-0x1e--kmode-exception-not-handled",
            "Kernel code raises no exception.";
        FAST_FAIL = "KERNEL_SECURITY_CHECK_FAILURE" (0x139, 0), "debugger/bug-check-0x139--kernel-security-check-failure",
            "The driver's own run-time checks hold.";
        POOL_TAG = "DRIVER_VERIFIER_DETECTED_VIOLATION" (0xC4, 0), "ddi/wdm/nf-wdm-exallocatepool2",
            "A pool allocation has a size, a tag and documented flags.";
        POOL_CORRUPTION = "BAD_POOL_HEADER" (0x19, 0x20), "debugger/bug-check-0x19--bad-pool-header",
            "A driver writes only within the bytes that it allocated.";
        POOL_CALLER = "BAD_POOL_CALLER" (0xC2, 7), "debugger/bug-check-0xc2--bad-pool-caller",
            "Pool is freed once, with the pointer and the tag with which it was allocated.";
        POOL_USE_AFTER_FREE = "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL" (0xD5, 0),
            "debugger/bug-check-0xd5--driver-page-fault-in-freed-special-pool",
            "Freed memory is not touched.";
        POOL_OVERRUN = "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION" (0xD6, 0),
            "debugger/bug-check-0xd6--driver-page-fault-beyond-end-of-allocation",
            "A driver touches only the bytes that it allocated.";
        POOL_LEAK = "DRIVER_VERIFIER_DETECTED_VIOLATION" (0xC4, 0x62),
            "debugger/bug-check-0xc4--driver-verifier-detected-violation",
            "A driver frees all pool before it unloads.";
        PENDING_AT_UNLOAD = "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS" (0xCE, 0),
            "debugger/bug-check-0xce--driver-unloaded-without-cancelling-pending-operations",
            "No timer, DPC or work item is pending when a driver unloads.";
        WDF_VIOLATION = "WDF_VIOLATION" (0x10D, 0), "debugger/bug-check-0x10d---wdf-violation",
            "The framework is used as documented.";
        WDF_LEAK = "WDF_OBJECT_LEAK" (0x10D, 0xA), "wdf/framework-object-life-cycle",
            "Framework objects are gone when the driver unloads.";
        INVALID_ARGUMENT = "DRIVER_VERIFIER_DETECTED_VIOLATION" (0xC4, 1),
            "debugger/bug-check-0xc4--driver-verifier-detected-violation",
            "Arguments are those that the page allows.";
        MANUALLY_INITIATED = "KeBugCheckEx", "ddi/wdm/nf-wdm-kebugcheckex",
            "The driver stopped the machine itself.";
    }
    StaticDriverVerifier {
        SPIN_LOCK_HELD = "SpinLock" also ["SpinLockDpr", "SpinLockDprRelease", "SpinLockBalanced"],
            "devtest/ndis-spinlock",
            "A callback returns with no spin lock held.";
        STALL_EXECUTION = "NdisStallExecution_Delay", "devtest/ndis-ndisstallexecution-delay",
            "NdisStallExecution (KeStallExecutionProcessor) is not called for more than 50 microseconds.";
        FLAGS_IRQL = "Flags_Irql", "devtest/ndis-flags-irql",
            "KeGetCurrentIrql is not called in a callback whose flags say whether the IRQL is DISPATCH_LEVEL.";
    }
    Reference {
        EXTENDED_STATE = "ExtendedProcessorState", "ddi/wdm/nf-wdm-kesaveextendedprocessorstate",
            "AVX, AVX-512 and opmask registers are used only between KeSaveExtendedProcessorState and KeRestoreExtendedProcessorState.";
        EXTENDED_STATE_MASK = "ExtendedProcessorStateMask", "ddi/wdm/nf-wdm-kesaveextendedprocessorstate",
            "The mask identifies only features that RtlGetEnabledExtendedFeatures reports.";
        NONVOLATILE_REGISTER = "NonvolatileRegister", "cpp/build/x64-calling-convention",
            "A function preserves rbx, rbp, rdi, rsi, rsp, r12 to r15, xmm6 to xmm15, the direction flag and the MXCSR control bits.";
        STACK_USE = "KERNEL_STACK_USE", "kernel/using-the-kernel-stack",
            "The kernel stack is about three pages, shared by every driver in the path.";
        RESOURCE_LEAK = "DRIVER_LEFT_RESOURCES", "kernel/unload-routine-functionality",
            "A driver gives back every object before it unloads.";
        BUFFER_OVERRUN = "MemoryCorruption", "devtest/special-pool",
            "A buffer handed to the driver is used only within its length.";
        WAIT_IRQL = "IrqlKeWaitForSingleObject", "ddi/wdm/nf-wdm-kewaitforsingleobject",
            "A wait with a time-out other than zero is made at <= APC_LEVEL.";
        OBJECT_STATE = "DRIVER_CAUGHT_MODIFYING_OBJECT", "kernel/introduction-to-kernel-dispatcher-objects",
            "A kernel object is initialized before it is used, and left alone while the kernel uses it.";
    }
    Simulator {
        HANG = "HANG", "",
            "Calls return and waits end.";
        SIMULATOR_PANIC = "SIMULATOR_PANIC", "",
            "Code of the simulator or of a test does not panic in a DPC or a work item.";
        MISSING_FUNCTION = "ATTEMPTED_EXECUTE_OF_UNIMPLEMENTED_FUNCTION", "",
            "The driver called a function that the simulator does not have.";
    }
}
