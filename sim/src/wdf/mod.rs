//! KMDF: the framework's loader, its table of functions and its objects.
//!
//! As much of the framework as a miniport driver may use: a driver object
//! without dispatch override, miniport devices, contexts, locks, timers, work
//! items and the driver's registry key. Every other function of the table stops
//! the machine and names itself.

mod attributes;
mod driver;
mod loader;
mod lock;
mod names;
mod object;
mod registry;
mod timer;
mod work_item;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;

pub use loader::DriverGlobals;

use crate::{
    exports::Export,
    machine::Machine,
    processor,
    report::{Finding, rules, violation},
};
use loader::Binding;
use object::Object;

/// Where the functions of the table are said to come from.
const KMDF: &str = "KMDF";

/// State of the framework on one machine.
#[derive(Default)]
pub struct State {
    table: OnceLock<Vec<usize>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    serial: u64,
    bindings: HashMap<u64, Binding>,
    objects: BTreeMap<u64, Arc<Object>>,
}

impl State {
    /// The framework's functions as this machine's drivers see them.
    fn table(&self, machine: &Machine) -> *const usize {
        let table = self.table.get_or_init(|| {
            let mut known: HashMap<_, _> = functions().into_iter().map(|e| (e.name, e)).collect();
            let mut address = |name: &'static str| {
                let missing = || Export::new(KMDF, name, loader::missing as *const (), 4);
                machine.thunk(&known.remove(name).unwrap_or_else(missing)) as usize
            };
            let table = names::NAMES.iter().map(|n| address(n)).collect();
            debug_assert!(known.is_empty(), "not in the table: {:?}", known.keys());
            table
        });
        table.as_ptr()
    }

    /// Framework objects that exist, by kind.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for object in self.inner.lock().objects.values() {
            *kinds.entry(object.kind).or_insert(0) += 1;
        }
        kinds
    }

    /// Forgets a driver that was unloaded, and reports what it left behind.
    pub(crate) fn retire(&self, driver: u64) -> Vec<Finding> {
        let mut inner = self.inner.lock();
        let Inner {
            bindings, objects, ..
        } = &mut *inner;
        let mut findings = Vec::new();
        bindings.retain(|globals, binding| {
            if binding.driver != driver {
                return true;
            }
            findings.append(&mut binding.findings);
            if !binding.unbound {
                let message = "the driver was unloaded without WdfVersionUnbind";
                findings.push(Finding::new(rules::WDF_LEAK, message));
            }
            objects.retain(|_, o| o.globals != *globals);
            false
        });
        findings
    }
}

/// The functions of the framework that the simulator has: drivers reach them through the table that
/// WdfVersionBind gives them, not by import.
#[must_use]
pub fn functions() -> Vec<Export> {
    [
        driver::functions(),
        lock::functions(),
        object::functions(),
        registry::functions(),
        timer::functions(),
        work_item::functions(),
    ]
    .concat()
}

/// What `WDFLDR.SYS` exports.
#[must_use]
pub fn exports() -> Vec<Export> {
    loader::exports()
}

/// The object behind a handle, which must be of that kind.
fn object(handle: u64, kind: &str) -> Arc<Object> {
    let cpu = processor::current();
    let found = cpu
        .machine()
        .wdf()
        .inner
        .lock()
        .objects
        .get(&handle)
        .cloned();
    match found {
        Some(object) if kind == "WDFOBJECT" || object.kind == kind => object,
        Some(object) => {
            let (what, is) = (cpu.what(), object.kind);
            violation(
                rules::WDF_VIOLATION,
                format!("{what}: handle 0x{handle:x} is a {is}, not a {kind}"),
            )
        }
        None => {
            let what = cpu.what();
            violation(
                rules::WDF_VIOLATION,
                format!("{what}: 0x{handle:x} is not a handle of a {kind}"),
            )
        }
    }
}
