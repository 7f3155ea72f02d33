//! What NDIS knows on one machine: the objects that it handed out.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{
    adapter::AdapterBlock,
    configuration::Configuration,
    driver::DriverBlock,
    generic_object::GenericObject,
    memory::{Mdl, Memory},
    nbl_context::NblContext,
    nbl_pool::{NbRecord, NblRecord},
    pool::Pool,
    rules,
    timer::Timer,
    work_item::{WorkItem, Workers},
};
use crate::{
    history::{Kind, Object},
    inf::Install,
    machine::Machine,
    processor,
    report::{Rule, violation, violation_about},
};

/// Leaked objects of which a report shows the history.
const REPORTED: usize = 4;

/// Which part of the driver an object belongs to, and so when it must be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The driver: until NdisMDeregisterMiniportDriver.
    Driver(u64),
    /// An adapter: until MiniportHaltEx ends.
    Adapter(u64),
}

/// Objects by handle or address, in shards so that processors seldom meet.
pub(super) struct Table<T>([RwLock<Shard<T>>; SHARDS]);

type Shard<T> = HashMap<u64, Arc<T>, BuildHasherDefault<AddressHasher>>;

/// Handles and addresses are not chosen by an adversary: one multiplication
/// spreads them well enough, at a fraction of SipHash's cost.
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

const SHARDS: usize = 32;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl<T> Table<T> {
    fn shard(&self, key: u64) -> &RwLock<Shard<T>> {
        // Handles and addresses are multiples of 16 at least; mix in higher bits.
        let index = (key >> 4) ^ (key >> 9) ^ (key >> 15);
        &self.0[(index % SHARDS as u64) as usize]
    }

    pub(super) fn get(&self, key: u64) -> Option<Arc<T>> {
        self.shard(key).read().get(&key).cloned()
    }

    pub(super) fn insert(&self, key: u64, value: Arc<T>) {
        self.shard(key).write().insert(key, value);
    }

    pub(super) fn remove(&self, key: u64) -> Option<Arc<T>> {
        self.shard(key).write().remove(&key)
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.0
            .iter()
            .flat_map(|s| s.read().values().cloned().collect::<Vec<_>>())
            .collect()
    }
}

/// State of NDIS on one machine.
#[derive(Default)]
pub struct State {
    serial: AtomicU64,
    data_unwatched: AtomicBool,
    /// What Setup wrote, by service name.
    pub(super) installs: Mutex<BTreeMap<String, Arc<Install>>>,
    pub(super) drivers: Table<DriverBlock>,
    pub(super) adapters: Table<AdapterBlock>,
    pub(super) configurations: Table<Configuration>,
    pub(super) pools: Table<Pool>,
    pub(super) nbls: Table<NblRecord>,
    pub(super) nbs: Table<NbRecord>,
    pub(super) nbl_contexts: Table<NblContext>,
    pub(super) sends: Table<super::send::SendRecord>,
    pub(super) mdls: Table<Mdl>,
    pub(super) memory: Table<Memory>,
    pub(super) timers: Table<Timer>,
    pub(super) work_items: Table<WorkItem>,
    pub(super) workers: Workers,
    pub(super) generic_objects: Table<GenericObject>,
}

/// Handles look like kernel addresses, so that a driver that dereferences one
/// faults.
const FIRST_HANDLE: u64 = 0xFFFF_9D15_0000_0000;

impl State {
    /// Whether the bytes of send requests and of indicated lists are compared
    /// with what they were. Default on; off only for runs that measure speed
    /// (structures and counts are checked all the same).
    pub fn watch_data(&self, on: bool) {
        self.data_unwatched.store(!on, Ordering::Release);
    }

    pub(super) fn watches_data(&self) -> bool {
        !self.data_unwatched.load(Ordering::Acquire)
    }

    /// A number that was never given out before.
    pub(super) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A new handle.
    pub(super) fn handle(&self) -> u64 {
        FIRST_HANDLE + self.serial() * 0x40
    }

    /// Whose handle this is, for the functions that take that of a driver or
    /// of an adapter; stops the machine if it is neither.
    pub(super) fn owner(&self, handle: u64) -> Owner {
        if self.adapters.get(handle).is_some() {
            return Owner::Adapter(handle);
        }
        if self.drivers.get(handle).is_some() {
            return Owner::Driver(handle);
        }
        if let Some(object) = self.generic_objects.get(handle) {
            return object.owner;
        }
        violation(
            rules::HANDLE,
            format!(
                "{} got {handle:#x}, which is no handle of a driver or of an adapter",
                what()
            ),
        )
    }

    /// The driver that calls: the one with that DRIVER_OBJECT if it says so, or whose image the call comes
    /// from. One that has not registered yet has no handle; the pool knows what is its.
    pub(super) fn caller(&self, machine: &Machine, object: u64) -> Owner {
        let drivers = self.drivers.all();
        let named = drivers.iter().find(|d| d.object == object);
        let from = processor::current().thread().import_caller();
        let image = |address| {
            machine
                .images()
                .with_image(address, crate::driver::Image::base)
        };
        let calling = || {
            drivers.iter().find(|d| {
                let handler = super::driver::handler!(d, InitializeHandlerEx);
                image(handler as usize) == image(from)
            })
        };
        let driver = named.or_else(calling);
        Owner::Driver(driver.map_or(0, |d| d.handle))
    }

    /// The driver that an owner belongs to.
    pub(super) fn driver_of(&self, owner: Owner) -> Option<Arc<DriverBlock>> {
        match owner {
            Owner::Driver(handle) => self.drivers.get(handle),
            Owner::Adapter(handle) => Some(Arc::clone(&self.adapters.get(handle)?.driver)),
        }
    }

    /// The adapter with this handle; stops the machine if there is none.
    pub(super) fn adapter(&self, handle: u64) -> Arc<AdapterBlock> {
        self.adapters.get(handle).unwrap_or_else(|| {
            violation(
                rules::HANDLE,
                format!(
                    "{} got {handle:#x}, which is no handle of an adapter",
                    what()
                ),
            )
        })
    }

    /// Everything that `owner` has not given back, with the rule that asks for it.
    pub(super) fn leaks(&self, owner: Owner) -> Vec<Leak> {
        let mut leaks = Vec::new();
        let mut note = |rule, text, object| leaks.push(Leak { rule, text, object });
        for c in self
            .configurations
            .all()
            .iter()
            .filter(|c| c.owner == owner)
        {
            note(
                rules::OPEN_CONFIGURATION,
                format!("configuration handle {:#x} is open", c.handle),
                Some((Kind::Configuration, c.handle)),
            );
        }
        for p in self.pools.all().iter().filter(|p| p.owner == owner) {
            note(
                rules::ALLOCATE_NET_BUFFER,
                format!("{p} with {} structures allocated is not freed", p.live()),
                Some((Kind::NetBufferPool, p.handle)),
            );
        }
        for m in self.mdls.all().iter().filter(|m| m.owner == owner) {
            let object = Some((Kind::Mdl, m.mdl as u64));
            note(rules::ALLOCATE_MDL, format!("{m} is not freed"), object);
        }
        for m in self.memory.all().iter().filter(|m| m.owner == owner) {
            let object = Some((Kind::Pool, m.address));
            note(rules::ALLOCATE_MEMORY, format!("{m} is not freed"), object);
        }
        for t in self.timers.all().iter().filter(|t| t.owner == owner) {
            note(
                rules::CANCEL_TIMER,
                format!("timer object {:#x} is not freed", t.handle),
                Some((Kind::Timer, t.handle)),
            );
        }
        for w in self.work_items.all().iter().filter(|w| w.owner == owner) {
            note(
                rules::IO_WORK_ITEM,
                format!("work item {:#x} is not freed", w.handle),
                Some((Kind::WorkItem, w.handle)),
            );
        }
        leaks.extend(self.generic_objects_of(owner));
        leaks
    }

    /// The generic objects that an owner has not freed.
    pub(super) fn generic_objects_of(&self, owner: Owner) -> Vec<Leak> {
        let mut all = self.generic_objects.all();
        all.retain(|o| o.owner == owner);
        let leak = |address| Leak {
            rule: rules::ALLOCATE_GENERIC_OBJECT,
            text: format!("generic object {address:#x} is not freed"),
            object: Some((Kind::GenericObject, address)),
        };
        all.iter().map(|o| leak(o.address)).collect()
    }
}

/// Something that was not given back.
pub(super) struct Leak {
    /// The rule that asks for it.
    pub(super) rule: Rule,
    pub(super) text: String,
    pub(super) object: Option<Object>,
}

/// Stops the machine for what was not given back, if anything was not.
pub(super) fn stop_for_leaks(leaks: &[Leak], after: &str) {
    let Some(first) = leaks.first() else {
        return;
    };
    let texts: Vec<&str> = leaks.iter().map(|leak| leak.text.as_str()).collect();
    let objects: Vec<Object> = leaks
        .iter()
        .filter_map(|leak| leak.object)
        .take(REPORTED)
        .collect();
    violation_about(
        first.rule,
        format!("{after}: {}", texts.join("; ")),
        &objects,
    );
}

/// Runs `f` with the machine whose processor this is. For exports.
pub(super) fn here<R>(f: impl FnOnce(&Machine, &State) -> R) -> R {
    let current = processor::current();
    let machine = current.machine();
    f(machine, machine.ndis())
}

/// The name of the export that is being served.
pub(super) fn what() -> &'static str {
    processor::current().what()
}

/// Stops the machine if a required pointer is NULL.
pub(super) fn required<T>(pointer: *const T, parameter: &str) {
    if pointer.is_null() {
        violation(rules::POINTER, format!("{}: {parameter} is NULL", what()));
    }
}
