//! A native KMDF driver: what the entry stub does, and a DriverEntry and a DriverUnload to vary.

#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "each test file uses a part"
)]

use std::sync::OnceLock;

use ndis_sim::{
    Machine,
    driver::{DriverObject, UnicodeString},
    exports::WDFLDR,
};

use crate::machine_support::*;

/// WDF_BIND_INFO2 as the entry stub has it.
#[repr(C)]
pub struct BindInfo {
    pub size: u32,
    pub component: *const u16,
    pub version: [u32; 3],
    pub functions: u32,
    pub table: *mut *const F5,
    pub module: u64,
    pub minimum: *const u32,
    pub newer: *mut u8,
    pub function_count: *mut u32,
    pub structure_count: *mut u32,
    pub structures: *mut u64,
}

/// What the entry stub keeps in its variables; one per test driver.
pub struct Stub {
    pub bind: F5,
    pub unbind: F5,
    pub table: u64,
    pub globals: u64,
    pub info: u64,
    pub path: u64,
    pub driver: u64,
}

/// WDF_OBJECT_ATTRIBUTES with these members, leaked.
pub fn attributes(parent: u64, context: u64) -> u64 {
    let words = [56, 0, 0, 1 | 1 << 32, parent, 0, context];
    Box::leak(Box::new(words)).as_ptr() as u64
}

pub fn out() -> u64 {
    Box::leak(Box::new(0u64)) as *mut u64 as u64
}

pub fn read(p: u64) -> u64 {
    // SAFETY: a word of the test's own.
    unsafe { (p as *const u64).read_volatile() }
}

impl Stub {
    pub fn new(m: &Machine) -> Self {
        let name: Vec<u16> = "KmdfLibrary\0".encode_utf16().collect();
        let table = out();
        let newer = out();
        let info = Box::new(BindInfo {
            size: 88,
            component: name.leak().as_ptr(),
            version: [1, 33, 0],
            functions: 458,
            table: table as *mut _,
            module: 0,
            minimum: Box::leak(Box::new(33)),
            newer: newer as *mut u8,
            function_count: out() as *mut u32,
            structure_count: out() as *mut u32,
            structures: out() as *mut u64,
        });
        let f = |name| {
            let address = m.resolve(WDFLDR, name).unwrap();
            // SAFETY: a function of at most five words; surplus ones are ignored.
            unsafe { std::mem::transmute::<*const (), F5>(address) }
        };
        Self {
            bind: f("WdfVersionBind"),
            unbind: f("WdfVersionUnbind"),
            table,
            globals: out(),
            info: Box::into_raw(info) as u64,
            path: 0,
            driver: out(),
        }
    }

    pub fn call(&self, index: usize, a: u64, b: u64, c: u64, d: u64) -> u64 {
        // SAFETY: the framework's table has 458 entries.
        let f = unsafe { *(read(self.table) as *const F5).add(index) };
        f(read(self.globals), a, b, c, d)
    }

    pub fn start(&self, object: u64, path: u64, flags: u32) -> i32 {
        let status = (self.bind)(object, path, self.info, self.globals, 0) as i32;
        if status < 0 {
            return status;
        }
        let config = [32u64, 0, 0, u64::from(flags) | 0x3154_7354 << 32];
        // WdfDriverCreate has six arguments.
        // SAFETY: entry 116 of the table, with its documented arguments.
        let create: extern "efiapi" fn(u64, u64, u64, u64, u64, u64) -> u64 =
            unsafe { std::mem::transmute(*(read(self.table) as *const F5).add(116)) };
        create(
            read(self.globals),
            object,
            path,
            0,
            config.as_ptr() as u64,
            self.driver,
        ) as i32
    }

    pub fn handle(&self) -> u64 {
        read(self.driver)
    }
}

pub const NO_DISPATCH_OVERRIDE: u32 = 2;

/// Defines a driver whose DriverEntry and DriverUnload are given as functions
/// of its stub.
macro_rules! driver {
    ($machine:expr, $entry:expr, $unload:expr) => {{
        static STUB: OnceLock<StubCell> = OnceLock::new();
        extern "efiapi" fn entry(object: *mut DriverObject, path: *const UnicodeString) -> i32 {
            let stub = &STUB.get().unwrap().0;
            // SAFETY: the object is the driver's to fill in.
            unsafe { (*object).driver_unload = unload as *const () };
            let status = stub.start(object as u64, path as u64, NO_DISPATCH_OVERRIDE);
            if status < 0 {
                return status;
            }
            let body: fn(&Stub) -> i32 = $entry;
            body(stub)
        }
        extern "efiapi" fn unload(_object: u64) {
            let body: fn(&Stub) = $unload;
            body(&STUB.get().unwrap().0);
        }
        STUB.get_or_init(|| StubCell(Stub::new(&$machine)));
        $machine.load_native("native", entry)
    }};
}

pub struct StubCell(pub Stub);
// SAFETY: the stub's words are used by one test's processors at a time.
unsafe impl Send for StubCell {}
// SAFETY: as above.
unsafe impl Sync for StubCell {}

pub fn unbind(stub: &Stub) {
    (stub.unbind)(stub.path, stub.info, read(stub.globals), 0, 0);
}

/// Runs a DriverEntry that must be stopped.
macro_rules! stopped_by {
    ($rule:expr, $text:expr, $entry:expr) => {{
        let m = machine();
        let error = driver!(m, $entry, |_| ()).unwrap_err();
        let LoadError::BugCheck(check) = error else {
            panic!("{error}")
        };
        assert_eq!(check.rule(), $rule, "{check}");
        assert!(check.message().contains($text), "{check}");
    }};
}

pub(crate) use {driver, stopped_by};
