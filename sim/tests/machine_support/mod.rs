//! Misbehaving drivers in miniature: functions of the test that are called
//! through the gate as driver code, with the imports they need as arguments.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod pe;

use std::{sync::Arc, time::Duration};

use ndis_sim::{BugCheck, Irql, Machine, Rule, exports::NTOSKRNL, gate};

/// A machine with a short watchdog.
pub fn machine() -> Arc<Machine> {
    Machine::builder().watchdog(Duration::from_secs(5)).build()
}

/// Address of a kernel import.
pub fn import(machine: &Machine, name: &str) -> u64 {
    machine
        .resolve(NTOSKRNL, name)
        .unwrap_or_else(|| panic!("{name} is not exported")) as u64
}

/// Addresses of kernel imports.
pub fn imports<const N: usize>(machine: &Machine, names: [&str; N]) -> [u64; N] {
    names.map(|n| import(machine, n))
}

/// Calls `f` as driver code on processor 0.
pub fn drive(machine: &Machine, irql: Irql, f: *const (), args: &[u64]) -> Result<u64, BugCheck> {
    let (f, args) = (f as usize, args.to_vec());
    machine.run(Some(0), irql, move || {
        // SAFETY: the test passes a function of the x64 convention and its arguments.
        unsafe { gate::call("TestCallback", f as *const (), &args) }
    })
}

/// Expects that `f` is stopped by `rule`; returns the bug check.
#[track_caller]
pub fn stopped(machine: &Machine, irql: Irql, f: *const (), args: &[u64], rule: Rule) -> BugCheck {
    match drive(machine, irql, f, args) {
        Ok(value) => panic!("{rule} was not seen; the callback returned {value}"),
        Err(check) => {
            assert_eq!(check.rule(), rule, "{check}");
            check
        }
    }
}

pub type F0 = extern "efiapi" fn() -> u64;
pub type F1 = extern "efiapi" fn(u64) -> u64;
pub type F2 = extern "efiapi" fn(u64, u64) -> u64;
pub type F3 = extern "efiapi" fn(u64, u64, u64) -> u64;
pub type F5 = extern "efiapi" fn(u64, u64, u64, u64, u64) -> u64;

/// Calls an import as the driver would, with the given arguments.
pub extern "efiapi" fn forward(f: F5, a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    f(a, b, c, d, e)
}

pub fn call(m: &Machine, irql: Irql, name: &str, args: &[u64]) -> Result<u64, BugCheck> {
    let args: Vec<u64> = [import(m, name)]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    drive(m, irql, forward as *const (), &args)
}

#[track_caller]
pub fn call_stopped(irql: Irql, name: &str, args: &[u64], rule: Rule) -> BugCheck {
    let m = machine();
    let args: Vec<u64> = [import(&m, name)]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    stopped(&m, irql, forward as *const (), &args, rule)
}

/// A variable that outlives the test: driver code may be parked on it.
pub fn leaked(value: u64) -> u64 {
    Box::leak(Box::new(value)) as *mut u64 as u64
}
