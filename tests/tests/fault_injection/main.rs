//! Every place where something can fail is made to fail once: every allocation and every other call that
//! may fail by its documentation, keyed by the driver's call stack, from DriverEntry to unload. A fault
//! shows only in what was being done, with a documented status, and that goes well when it is done again;
//! nothing leaks, hangs or breaks a rule, and everything afterwards works.
//!
//! With `IPSECOV2_FAULTS` set the places are listed with their call stacks.

mod everything;
mod run;
mod traffic;

use std::{collections::BTreeSet, env, sync::Arc};

use ipsecov2_tests::{driver, inf, tell};
use ndis_sim::{
    Machine,
    inf::Inf,
    inject::Places,
    ndis::{Miniport, Package},
};
use tcpip::lab::{HARDWARE_ID, NdisVersion};

use everything::everything;

/// Imports of the driver that may fail though the driver makes no mistake, by their documentation.
const MAY_FAIL: [&str; 13] = [
    "ExAllocatePool2",
    "KeSaveExtendedProcessorState",
    "MmMapLockedPagesSpecifyCache",
    "NdisAllocateIoWorkItem",
    "NdisAllocateMdl",
    "NdisAllocateNetBufferAndNetBufferList",
    "NdisAllocateNetBufferListPool",
    "NdisMRegisterMiniportDriver",
    "NdisMSetMiniportAttributes",
    "NdisOpenConfigurationEx",
    "NdisReadConfiguration",
    "NdisReadNetworkAddress",
    "WdfVersionBind",
];

/// Functions of the framework's table that the driver uses and that may fail.
const FRAMEWORK_MAY_FAIL: [&str; 4] = [
    "WdfDeviceMiniportCreate",
    "WdfDriverCreate",
    "WdfDriverOpenParametersRegistryKey",
    "WdfRegistryQueryULong",
];

/// Callbacks in which such a call is made: DPC and work item are those of sends and those of receives.
const CALLBACKS: [&str; 6] = [
    "CustomDpc",
    "DriverEntry",
    "MiniportDirectOidRequest",
    "MiniportInitializeEx",
    "MiniportSendNetBufferLists",
    "NdisIoWorkItemRoutine",
];

/// Imports of the driver that return nothing that could say so, or fail for a mistake only.
const CANNOT_FAIL: [&str; 42] = [
    "DbgPrint",
    "ExAcquireSpinLockExclusiveAtDpcLevel",
    "ExAcquireSpinLockSharedAtDpcLevel",
    "ExFreePool",
    "ExReleaseSpinLockExclusiveFromDpcLevel",
    "ExReleaseSpinLockSharedFromDpcLevel",
    "IoGetStackLimits",
    "KeAcquireSpinLockAtDpcLevel",
    "KeBugCheckEx",
    "KeClearEvent",
    "KeFlushQueuedDpcs",
    "KeGetCurrentProcessorNumberEx",
    "KeInitializeDpc",
    "KeInitializeEvent",
    // FALSE says that the DPC is queued already.
    "KeInsertQueueDpc",
    "KeLowerIrql",
    // It fails where no DPC runs.
    "KeQueryDpcWatchdogInformation",
    "KeQueryMaximumProcessorCountEx",
    "KeReleaseSpinLockFromDpcLevel",
    "KeRemoveQueueDpc",
    "KeRestoreExtendedProcessorState",
    "KeSetEvent",
    // Without a time-out, not alertable and in kernel mode it ends with STATUS_SUCCESS only.
    "KeWaitForSingleObject",
    "KfRaiseIrql",
    "NdisCloseConfiguration",
    "NdisFreeIoWorkItem",
    "NdisFreeMdl",
    "NdisFreeNetBufferList",
    "NdisFreeNetBufferListPool",
    "NdisMDeregisterMiniportDriver",
    "NdisMGetDeviceProperty",
    "NdisMIndicateReceiveNetBufferLists",
    "NdisMIndicateStatusEx",
    "NdisMPauseComplete",
    "NdisMResetComplete",
    "NdisMSendNetBufferListsComplete",
    "NdisQueueIoWorkItem",
    "NdisWriteErrorLogEntry",
    "RtlGetEnabledExtendedFeatures",
    "WdfVersionUnbind",
    // Of the compiler: memcmp, memcpy, memmove, memset, __chkstk.
    "mem*",
    "__chkstk",
];

fn search(places: &Arc<Places>, time: u64, version: NdisVersion) -> usize {
    let mut count = 0;
    while everything(places, time, version).is_some() {
        count += 1;
    }
    count
}

#[test]
fn every_place_that_can_fail_is_made_to_fail() {
    let places = Places::new();
    for version in NdisVersion::ALL {
        search(&places, 1, version);
    }
    let by_export = places.by_export();
    tell(format_args!(
        "fault injection: {} distinct places (export and call stack) made to fail, each once",
        places.all().len()
    ));
    let by_callback = places.by_callback();
    for (name, count) in by_export.iter().chain(&by_callback) {
        tell(format_args!("  {count:>4}  {name}"));
    }
    for (place, lines) in places.all() {
        // From the import to what NDIS, KMDF or the kernel has called, by name.
        assert!(
            !place.callback.is_empty(),
            "the stack is not complete: {place}"
        );
        assert!(!place.stack.is_empty(), "nobody has called it: {place}");
        if env::var_os("IPSECOV2_FAULTS").is_some() {
            tell(format_args!("{place}\n    {}", lines.join("\n    ")));
        }
    }
    let expected = MAY_FAIL.iter().chain(&FRAMEWORK_MAY_FAIL);
    let expected: BTreeSet<_> = expected.copied().collect();
    assert_eq!(by_export.into_keys().collect::<BTreeSet<_>>(), expected);
    // Nothing that may fail is called in queries, sets, pauses, resets, power transitions, returns, halts
    // and the unload: `Run::sure` sees to it.
    assert_eq!(
        by_callback.into_keys().collect::<BTreeSet<_>>(),
        BTreeSet::from(CALLBACKS)
    );
}

/// A loop that fails in its middle has something to undo.
#[test]
fn every_place_is_made_to_fail_at_its_second_time() {
    let places = Places::new();
    let count = search(&places, 2, NdisVersion::V6_30);
    tell(format_args!(
        "fault injection: {count} places made to fail when reached for the second time"
    ));
    assert!(count > 0);
}

/// No import that may fail is forgotten when the driver gets a new one.
#[test]
fn every_import_is_known_to_fail_or_not() {
    let machine = Machine::builder().build();
    let package = Package::new(Inf::load(&inf()).unwrap(), HARDWARE_ID);
    let loaded = Miniport::load(&machine, &driver(), package).unwrap();
    for (dll, name) in loaded.driver().image().unwrap().imports() {
        let name = if name.starts_with("mem") {
            "mem*"
        } else {
            name
        };
        assert_eq!(
            u8::from(MAY_FAIL.contains(&name)) + u8::from(CANNOT_FAIL.contains(&name)),
            1,
            "{dll}!{name}"
        );
    }
    assert!(loaded.unload().unwrap().is_clean());
}
