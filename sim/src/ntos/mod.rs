//! `ntoskrnl.exe`: the kernel routines that drivers import.

pub mod debug;
pub(crate) mod dispatcher;
pub(crate) mod dpc;
pub mod dpc_watchdog;
mod extended_state;
mod format;
pub(crate) mod irql;
pub(crate) mod lock_order;
pub mod mdl;
mod memory;
pub mod pool;
pub(crate) mod spin_lock;
pub mod stack_limits;
mod time;

use std::sync::Arc;

use crate::{
    exports::Export,
    fence::Fences,
    machine::{Machine, Settings},
    report::Finding,
};

/// State of the kernel half of one machine.
pub struct State {
    /// The pool that drivers allocate from.
    pub pool: pool::Pool,
    /// What the system allocates for them: NET_BUFFER_LISTs, NET_BUFFERs, MDLs.
    pub(crate) objects: Arc<pool::Pool>,
    /// What they printed.
    pub log: debug::Log,
    /// Its watchdog over the DPCs.
    pub dpc_watchdog: dpc_watchdog::DpcWatchdog,
    /// What the callers of a driver leave of the stack.
    pub callers: stack_limits::Callers,
    pub(crate) dispatcher: dispatcher::Dispatcher,
    pub(crate) locks: lock_order::LockOrder,
}

impl State {
    pub(crate) fn new(settings: &Settings, fences: &Arc<Fences>) -> Self {
        let special = || settings.special_pool.map(|f| (f, Arc::clone(fences)));
        Self {
            pool: pool::Pool::new(special()),
            objects: Arc::new(pool::Pool::new(special())),
            log: debug::Log::new(settings.echo),
            dpc_watchdog: dpc_watchdog::DpcWatchdog::default(),
            callers: stack_limits::Callers::default(),
            dispatcher: dispatcher::Dispatcher::default(),
            locks: lock_order::LockOrder::default(),
        }
    }

    /// What the drivers had not given back when the last of them was unloaded.
    pub(crate) fn leaks(&self, machine: &Machine) -> Vec<Finding> {
        self.pool.leaks(machine)
    }
}

/// What `ntoskrnl.exe` and `HAL.dll` export.
#[must_use]
pub fn exports() -> Vec<Export> {
    [
        debug::exports(),
        dispatcher::exports(),
        dpc::exports(),
        dpc_watchdog::exports(),
        extended_state::exports(),
        irql::exports(),
        mdl::exports(),
        memory::exports(),
        pool::exports(),
        spin_lock::exports(),
        stack_limits::exports(),
        time::exports(),
    ]
    .concat()
}
