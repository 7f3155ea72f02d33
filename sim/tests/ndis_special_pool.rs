//! What NDIS allocates for a driver is under special pool too: a driver that reads what it has freed, or
//! one byte beyond what it has allocated, is stopped where it does, and told which object it was.

mod ndis_support;

use std::{sync::Arc, time::Duration};

use ndis_sim::{
    BugCheck, Irql, Machine, Rule, gate,
    history::Kind,
    ndis::{header, rules},
    report::rules as machine_rules,
};
use ndis_support::{handlers::TAG, handlers::zeroed, initialize::make_pool, *};
use ndis_sys::*;

/// Reads a byte.
fn look(address: u64) -> u64 {
    // SAFETY: none: that it may not be read is the point.
    u64::from(unsafe { (address as *const u8).read_volatile() })
}

/// An object of NDIS: how a driver gets one (its address, and the address behind it), and frees it.
struct Case {
    name: &'static str,
    kind: Kind,
    allocate: fn(u64) -> (u64, u64),
    free: fn(u64),
}

fn list(adapter: u64, context: u64) -> u64 {
    ndis!(NdisAllocateNetBufferList(make_pool(adapter), context, 0))
}

fn net_buffer(adapter: u64, data: u32) -> u64 {
    let mut p: NET_BUFFER_POOL_PARAMETERS = zeroed();
    p.Header = header::NB_POOL_PARAMETERS.header((6, 1));
    p.PoolTag = TAG;
    p.DataSize = data;
    let pool = ndis!(NdisAllocateNetBufferPool(adapter, &raw const p));
    ndis!(NdisAllocateNetBuffer(pool, 0, 0, 0))
}

/// The list's own NET_BUFFER.
fn first(nbl: u64) -> u64 {
    // SAFETY: a list from a pool.
    unsafe { (*(nbl as *const NET_BUFFER_LIST)).FirstNetBuffer as u64 }
}

fn context(nbl: u64) -> u64 {
    // SAFETY: as above.
    unsafe { (*(nbl as *const NET_BUFFER_LIST)).Context as u64 }
}

const CONTEXT: u64 = size_of::<NET_BUFFER_LIST_CONTEXT>() as u64;

const CASES: [Case; 8] = [
    Case {
        name: "NET_BUFFER_LIST with its NET_BUFFER",
        kind: Kind::NetBufferList,
        allocate: |adapter| {
            let nbl = list(adapter, 0);
            (nbl, first(nbl) + size_of::<NET_BUFFER>() as u64)
        },
        free: |nbl| _ = ndis!(NdisFreeNetBufferList(nbl)),
    },
    Case {
        name: "NET_BUFFER_LIST with context",
        kind: Kind::NetBufferList,
        allocate: |adapter| {
            let nbl = list(adapter, 32);
            (nbl, context(nbl) + CONTEXT + 32)
        },
        free: |nbl| _ = ndis!(NdisFreeNetBufferList(nbl)),
    },
    Case {
        name: "context that was added",
        kind: Kind::NetBufferList,
        allocate: |adapter| {
            let nbl = list(adapter, 0);
            ndis!(NdisAllocateNetBufferListContext(nbl, 48, 0, TAG));
            let added = context(nbl);
            // Where the context is said to be in the list: freed by way of it.
            KEPT.set(nbl);
            (added, added + CONTEXT + 48)
        },
        free: |_| _ = ndis!(NdisFreeNetBufferListContext(KEPT.get(), 48)),
    },
    Case {
        name: "NET_BUFFER",
        kind: Kind::NetBuffer,
        allocate: |adapter| {
            let nb = net_buffer(adapter, 0);
            (nb, nb + size_of::<NET_BUFFER>() as u64)
        },
        free: |nb| _ = ndis!(NdisFreeNetBuffer(nb)),
    },
    Case {
        name: "data of a NET_BUFFER pool",
        kind: Kind::Pool,
        allocate: |adapter| {
            let nb = net_buffer(adapter, 64);
            KEPT.set(nb);
            // SAFETY: the NET_BUFFER has an MDL.
            let data = unsafe { (*(*(nb as *const NET_BUFFER)).MdlChain).MappedSystemVa as u64 };
            (data, data + 64)
        },
        free: |_| _ = ndis!(NdisFreeNetBuffer(KEPT.get())),
    },
    Case {
        name: "MDL of NdisAllocateMdl",
        kind: Kind::Mdl,
        allocate: |adapter| {
            let memory = ndis!(NdisAllocateMemoryWithTagPriority(adapter, 4096, TAG, 0));
            let mdl = ndis!(NdisAllocateMdl(adapter, memory, 4096));
            // Behind the structure is the number of its only page.
            (mdl, mdl + size_of::<MDL>() as u64 + 8)
        },
        free: |mdl| _ = ndis!(NdisFreeMdl(mdl)),
    },
    Case {
        name: "MDL of IoAllocateMdl",
        kind: Kind::Mdl,
        allocate: |adapter| {
            let memory = ndis!(NdisAllocateMemoryWithTagPriority(adapter, 4096, TAG, 0));
            let mdl = ndis!(IoAllocateMdl(memory, 4096, 0, 0, 0));
            (mdl, mdl + size_of::<MDL>() as u64 + 8)
        },
        free: |mdl| _ = ndis!(IoFreeMdl(mdl)),
    },
    Case {
        name: "memory",
        kind: Kind::Pool,
        allocate: |adapter| {
            let memory = ndis!(NdisAllocateMemoryWithTagPriority(adapter, 96, TAG, 0));
            (memory, memory + 96)
        },
        free: |memory| _ = ndis!(NdisFreeMemory(memory, 0, 0)),
    },
];

thread_local! {
    /// What an object is freed by, where that is not its own address.
    static KEPT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Error {
    None,
    ReadFreed,
    WriteFreed,
    ReadBehind,
    ReadBefore,
    WriteBehind,
}

extern "efiapi" fn err(case: u64, error: u64, adapter: u64) -> u64 {
    let case = &CASES[case as usize];
    let errors = [
        Error::None,
        Error::ReadFreed,
        Error::WriteFreed,
        Error::ReadBehind,
        Error::ReadBefore,
        Error::WriteBehind,
    ];
    let error = errors[error as usize];
    let (start, end) = (case.allocate)(adapter);
    look(start);
    look(end - 1);
    match error {
        Error::ReadBehind => _ = look(end),
        Error::ReadBefore => _ = look(start - 1),
        // SAFETY: none: the wild write is the point.
        Error::WriteBehind => unsafe { (end as *mut u8).write_volatile(1) },
        _ => {}
    }
    (case.free)(start);
    match error {
        Error::ReadFreed => _ = look(start + 8),
        // SAFETY: none, as above.
        Error::WriteFreed => unsafe { (start as *mut u8).write_volatile(1) },
        _ => {}
    }
    if error == Error::WriteFreed {
        // Enough for the quarantine to come round.
        let pool = make_pool(adapter);
        (0..3000).for_each(|_| {
            let nbl = ndis!(NdisAllocateNetBufferList(pool, 0, 0));
            ndis!(NdisFreeNetBufferList(nbl));
        });
    }
    0
}

fn run(machine: Arc<Machine>, case: usize, error: Error) -> Result<u64, BugCheck> {
    let rig = Rig::on(Plan::new((6, 30)), machine);
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let handle = rig.plan.handles.lock().unwrap()[0];
    let args = [case as u64, error as u64, handle];
    let result = rig.machine.run(Some(0), Irql::DISPATCH, move || {
        // SAFETY: a function of the x64 convention and its arguments.
        unsafe { gate::call("TestCallback", err as *const (), &args) }
    });
    // What the cases leave behind would be found when they end.
    std::mem::forget((adapter, driver));
    result
}

fn builder() -> ndis_sim::Builder {
    let builder = Machine::builder().canaries(false).stack_limit(None);
    builder.watchdog(Duration::from_secs(30))
}

#[track_caller]
fn caught(builder: ndis_sim::Builder, case: usize, error: Error, rule: Rule) -> BugCheck {
    let Case { name, kind, .. } = CASES[case];
    let Err(check) = run(builder.build(), case, error) else {
        panic!("{error:?} of a {name} was not seen");
    };
    assert_eq!(check.rule(), rule, "{name}\n{check}");
    let history = &check.histories()[0];
    assert_eq!(history.kind, kind, "{name}\n{check}");
    assert!(history.events[0].contains("allocated") || history.events[0].contains("data of"));
    check
}

#[test]
fn what_is_allocated_may_be_used_until_it_is_freed() {
    for builder in [
        builder(),
        builder().verify_start(),
        builder().special_pool(false),
    ] {
        for (case, Case { name, .. }) in CASES.iter().enumerate() {
            let result = run(builder.clone().build(), case, Error::None);
            result.unwrap_or_else(|check| panic!("{name}\n{check}"));
        }
    }
}

#[test]
fn what_is_freed_can_be_neither_read_nor_written() {
    for (case, Case { name, .. }) in CASES.iter().enumerate() {
        for (error, how) in [(Error::ReadFreed, "a read"), (Error::WriteFreed, "a write")] {
            let rule = machine_rules::POOL_USE_AFTER_FREE;
            let check = caught(builder(), case, error, rule);
            let message = check.message();
            assert!(
                message.starts_with(how) && message.ends_with("which is freed"),
                "{name}\n{check}"
            );
            if name.starts_with("NET_BUFFER") || name.starts_with("MDL") {
                let life = &check.histories()[0].events;
                assert!(life.last().unwrap().contains("freed"), "{check}");
            }
        }
    }
}

#[test]
fn one_byte_behind_what_is_allocated_cannot_be_read() {
    for case in 0..CASES.len() {
        let check = caught(
            builder(),
            case,
            Error::ReadBehind,
            machine_rules::POOL_OVERRUN,
        );
        assert!(check.message().contains(": byte 1 after"), "{check}");
    }
}

#[test]
fn one_byte_before_what_is_allocated_cannot_be_read_when_the_start_is_verified() {
    for case in 0..CASES.len() {
        let start = builder().verify_start();
        let check = caught(start, case, Error::ReadBefore, machine_rules::POOL_OVERRUN);
        assert!(check.message().contains(": byte 1 before"), "{check}");
    }
}

#[test]
fn without_special_pool_writes_are_seen_later() {
    for (case, Case { name, kind, .. }) in CASES.iter().enumerate() {
        // Memory is the driver's own pool block, the rest the system's.
        let overrun = match *name {
            "memory" => machine_rules::POOL_CORRUPTION,
            _ => rules::BUFFER_OVERRUN,
        };
        let plain = || builder().special_pool(false);
        caught(plain(), case, Error::WriteBehind, overrun);
        if *kind != Kind::Pool {
            caught(
                plain(),
                case,
                Error::WriteFreed,
                machine_rules::POOL_USE_AFTER_FREE,
            );
        }
    }
}
