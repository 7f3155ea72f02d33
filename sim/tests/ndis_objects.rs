//! The checks of attributes and of the objects that a driver makes one by one: a deed in one place of the
//! driver, and the words of the report that say which check it was.

mod ndis_support;

use std::{ptr::null_mut, sync::atomic::Ordering::SeqCst};

use ndis_sim::{Irql, Rule, ndis::rules, processor};
use ndis_support::{deeds::*, handlers::TAG, *};
use ndis_sys::*;

#[test]
fn mdls_and_memory() {
    let cases: [(At, Deed, Rule, &str); 5] = [
        (
            At::Out,
            |_, nbl| {
                ndis!(NdisFreeMdl(first_buffer(nbl).MdlChain));
                None
            },
            rules::RECEIVE_OWNERSHIP,
            "describes data of an indicated NET_BUFFER_LIST",
        ),
        (
            At::Halt,
            |adapter, _| {
                // SAFETY: the driver's own MDL.
                unsafe { (*(adapter.mdl as *mut MDL)).MappedSystemVa = null_mut() };
                ndis!(NdisFreeMdl(adapter.mdl));
                None
            },
            rules::ALLOCATE_MDL,
            "the mapping of",
        ),
        (
            At::Halt,
            |adapter, _| {
                ndis!(NdisFreeMemory(adapter.memory, 4095, 0));
                None
            },
            rules::ALLOCATE_MEMORY,
            "length or tag is not that of",
        ),
        (
            At::Indicate,
            |adapter, nbl| {
                // SAFETY: the list's own MDL.
                unsafe { (*first_buffer(nbl).MdlChain).MdlFlags = 0 };
                indicate(adapter, nbl, 0);
                None
            },
            rules::NET_BUFFER_LIST,
            "is neither mapped nor locked",
        ),
        (
            At::Indicate,
            |_, nbl| {
                let buffer = &raw mut *first_buffer(nbl);
                ndis!(NdisAdvanceNetBufferDataStart(buffer, 5000, 0, 0));
                None
            },
            rules::NET_BUFFER_LIST,
            "NdisAdvanceNetBufferDataStart by 5000",
        ),
    ];
    for (at, what, rule, words) in cases {
        deed(at, what, rule, words);
    }
}

#[test]
fn pools() {
    let cases: [(Deed, Rule, &str); 10] = [
        (
            |adapter, _| {
                pool_of_lists(adapter, |p| p.PoolTag = 0);
                None
            },
            rules::ALLOCATE_MEMORY,
            "NdisAllocateNetBufferListPool without a PoolTag",
        ),
        (
            |adapter, _| {
                pool_of_lists(adapter, |p| (p.fAllocateNetBuffer, p.DataSize) = (0, 64));
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "with DataSize needs fAllocateNetBuffer",
        ),
        (
            |adapter, _| {
                pool_of_lists(adapter, |p| p.ContextSize = 15);
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "is no multiple of MEMORY_ALLOCATION_ALIGNMENT",
        ),
        (
            |adapter, _| {
                pool_of_buffers(adapter, |p| p.PoolTag = 0);
                None
            },
            rules::ALLOCATE_MEMORY,
            "NdisAllocateNetBufferPool without a PoolTag",
        ),
        (
            |_, _| {
                ndis!(NdisAllocateNetBufferList(0x1234, 0, 0));
                None
            },
            rules::HANDLE,
            "which is no such pool's handle",
        ),
        (
            |adapter, _| {
                let pool = pool_of_lists(adapter, |p| p.DataSize = 64);
                own_list(adapter, pool);
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "was not made with fAllocateNetBuffer and DataSize 0",
        ),
        (
            |adapter, _| {
                ndis!(NdisAllocateNetBufferAndNetBufferList(
                    adapter.pool,
                    0,
                    0,
                    0,
                    0,
                    60
                ));
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "DataOffset and DataLength are 0 when MdlChain is NULL",
        ),
        (
            |adapter, _| {
                let nbl = own_list(adapter, adapter.pool);
                ndis!(NdisAllocateNetBufferListContext(nbl, 16, 0, TAG));
                ndis!(NdisFreeNetBufferList(nbl));
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "context space was added",
        ),
        (
            |adapter, _| {
                let nbl = own_list(adapter, adapter.pool);
                ndis!(NdisFreeNetBufferListContext(nbl, 16));
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "has no 16 bytes of context in use",
        ),
        (
            |adapter, _| {
                let pool = pool_of_buffers(adapter, |_| ());
                let buffer = ndis!(NdisAllocateNetBuffer(pool, 0, 0, 0));
                ndis!(NdisFreeNetBuffer(buffer));
                ndis!(NdisFreeNetBuffer(buffer));
                None
            },
            rules::ALLOCATE_NET_BUFFER,
            "NdisFreeNetBuffer got",
        ),
    ];
    for (what, rule, words) in cases {
        deed(At::Initialize, what, rule, words);
    }
}

#[test]
fn timers_work_items_and_drivers() {
    let cases: [(Deed, Rule, &str); 7] = [
        (
            |adapter, _| {
                timer(adapter, |c| c.AllocationTag = 0);
                None
            },
            rules::ALLOCATE_MEMORY,
            "NdisAllocateTimerObject without an AllocationTag",
        ),
        (
            |adapter, _| {
                timer(adapter, |c| c.TimerFunction = None);
                None
            },
            rules::POINTER,
            "TimerFunction is NULL",
        ),
        (
            |_, _| {
                ndis!(NdisFreeTimerObject(0x1234));
                None
            },
            rules::HANDLE,
            "which is no timer object",
        ),
        (
            |_, _| {
                ndis!(NdisFreeIoWorkItem(0x1234));
                None
            },
            rules::HANDLE,
            "which is no work item",
        ),
        (
            |adapter, _| {
                let _held = processor::current().raise(Irql::DISPATCH);
                let work = life::work as *const ();
                let context = &raw const *adapter;
                ndis!(NdisQueueIoWorkItem(adapter.work_item, work, context));
                ndis!(NdisFreeIoWorkItem(adapter.work_item));
                None
            },
            rules::IO_WORK_ITEM,
            "a work item is freed while it is queued",
        ),
        (
            |adapter, _| {
                let driver = &adapter.plan.driver;
                let driver = driver.load(SeqCst);
                ndis!(NdisMDeregisterMiniportDriver(driver));
                None
            },
            rules::DEREGISTER,
            "the driver deregisters while it has 1 adapter(s)",
        ),
        (
            |adapter, _| {
                let driver = &adapter.plan.driver;
                let driver = driver.load(SeqCst);
                let pnp = [0u64; 8];
                ndis!(NdisSetOptionalHandlers(driver, pnp.as_ptr()));
                None
            },
            rules::CHARACTERISTICS,
            "from MiniportSetOptions only",
        ),
    ];
    for (what, rule, words) in cases {
        deed(At::Initialize, what, rule, words);
    }
}

#[test]
fn functions_of_protocol_drivers() {
    deed(
        At::Initialize,
        |adapter, _| {
            let _raised = processor::current().raise(Irql::DISPATCH);
            ndis!(NdisMNetPnPEvent(adapter.handle, [0u64; 21].as_ptr()));
            None
        },
        rules::IRQL_PROTOCOL,
        "NdisMNetPnPEvent",
    );
}

/// Objects of the driver live while it has adapters: it is the last halt that has to find them freed.
#[test]
fn generic_objects_are_gone_with_the_last_adapter() {
    let leak: Deed = |adapter, _| {
        let driver = adapter.plan.driver.load(SeqCst);
        ndis!(NdisAllocateGenericObject(driver, TAG, 8));
        None
    };
    let rig = Rig::new(Plan::new((6, 30)).doing(At::Initialize, leak));
    let driver = rig.load().unwrap();
    let [first, second] = [1, 2].map(|last| {
        let config = Rig::config().mac([2, 0, 0, 0, 0, last]);
        driver.add_adapter(config).unwrap()
    });
    first.halt().unwrap();
    let error = second.halt().unwrap_err();
    let check = error.bug_check().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(check.rule(), rules::ALLOCATE_GENERIC_OBJECT, "{check}");
    assert!(
        check
            .message()
            .contains("MiniportHaltEx of the last adapter"),
        "{check}"
    );
}

#[test]
fn attributes() {
    let cases: [(Deed, &str); 10] = [
        (
            |_, g| {
                general(g).MtuSize = 0;
                None
            },
            "MtuSize and LookaheadSize are not 0",
        ),
        (
            |_, g| {
                general(g).MacAddressLength = 33;
                None
            },
            "MacAddressLength is 33",
        ),
        (
            |_, g| {
                general(g).MacAddressLength = 8;
                None
            },
            "an Ethernet address has 6 bytes, not 8",
        ),
        (
            |_, g| {
                general(g).CurrentMacAddress[0] |= 1;
                None
            },
            "is no unicast address",
        ),
        (
            |_, g| {
                general(g).SupportedOidListLength = 6;
                None
            },
            "SupportedOidList of 6 bytes",
        ),
        (
            |_, g| {
                general(g).SupportedPacketFilters = 0;
                None
            },
            "SupportedPacketFilters is 0",
        ),
        (
            |_, g| {
                general(g).PowerManagementCapabilities = g as *mut _;
                None
            },
            "PowerManagementCapabilities is for NDIS 6.1 and older",
        ),
        (
            |_, g| {
                general(g).PowerManagementCapabilitiesEx = null_mut();
                None
            },
            "PowerManagementCapabilitiesEx is mandatory",
        ),
        (
            |_, g| {
                general(g).IfType = 71;
                None
            },
            "*IfType is 6 in the INF and 71 in the attributes",
        ),
        (
            |adapter, g| {
                initialize::set(adapter.handle, g as *const u64);
                None
            },
            "the general attributes are set twice",
        ),
    ];
    for (what, words) in cases {
        deed(At::General, what, rules::ATTRIBUTES, words);
    }
    let offload: [(Deed, &str); 2] = [
        (
            |adapter, a| {
                initialize::set(adapter.handle, a as *const u64);
                None
            },
            "the offload attributes are set twice",
        ),
        (
            |_, a| {
                let a = a as *mut NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES;
                // SAFETY: the driver's own structure, which it is about to set.
                unsafe { (*a).HardwareOffloadCapabilities = null_mut() };
                None
            },
            "go together",
        ),
    ];
    for (what, words) in offload {
        deed(At::Offload, what, rules::ATTRIBUTES, words);
    }
}
