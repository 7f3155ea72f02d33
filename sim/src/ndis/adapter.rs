//! Adapters: what NDIS knows of one, and how tests and transports see it.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ndis_sys::{
    NDIS_LINK_STATE, NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES,
    NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES,
};
use parking_lot::{Mutex, RwLock};

use super::{
    Error,
    calls::Calls,
    driver::DriverBlock,
    ipsec_offload_v2::Associations,
    link::Link,
    misc::ErrorLogEntry,
    offload::Offloads,
    oid_path::OidQueue,
    operation::Operation,
    protocol::{Open, OpenBlock, Protocol},
    status::StatusIndication,
};
use crate::{
    clock::TimerId,
    history::{Kind, Object},
    inf::Values,
    machine::Machine,
    report::BugCheck,
};

/// State of an adapter ("Miniport Adapter States and Operations").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterState {
    /// Not initialized, or halted.
    Halted,
    /// MiniportInitializeEx runs.
    Initializing,
    /// No data flows.
    Paused,
    /// MiniportRestart was called and is not complete.
    Restarting,
    /// Data flows.
    Running,
    /// MiniportPause was called and is not complete.
    Pausing,
}

impl AdapterState {
    /// Its name, as in "Miniport Adapter States and Operations".
    const fn name(self) -> &'static str {
        match self {
            Self::Halted => "Halted",
            Self::Initializing => "Initializing",
            Self::Paused => "Paused",
            Self::Restarting => "Restarting",
            Self::Running => "Running",
            Self::Pausing => "Pausing",
        }
    }
}

impl fmt::Display for AdapterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What MiniportInitializeEx set with NdisMSetMiniportAttributes.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) registration: Option<NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES>,
    pub(super) general: Option<NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES>,
    pub(super) offload: bool,
    pub(super) hardware_assist: bool,
    pub(super) oids: Vec<u32>,
    pub(super) power_managed: bool,
}

// SAFETY: the structures' pointers are not followed after they were checked.
unsafe impl Send for Attributes {}

/// One miniport adapter.
pub(super) struct AdapterBlock {
    pub(super) handle: u64,
    pub(super) machine: Weak<Machine>,
    pub(super) driver: Arc<DriverBlock>,
    /// The adapter's software key.
    pub(super) registry: Mutex<Values>,
    /// The interface index, from 1.
    pub(super) index: u32,
    /// Addresses of PDO, FDO and next device object.
    pub(super) devices: [u64; 3],
    /// Memory of the device objects.
    _device_memory: Vec<Vec<u128>>,
    pub(super) state: Mutex<AdapterState>,
    /// MiniportAdapterContext.
    pub(super) context: AtomicU64,
    pub(super) add_device_context: AtomicU64,
    pub(super) attributes: Mutex<Attributes>,
    pub(super) calls: Calls,
    /// Serializes what a test or transport starts.
    pub(super) control: Mutex<()>,
    pub(super) sends: AtomicUsize,
    pub(super) receives: AtomicUsize,
    /// Calls to NdisMIndicateReceiveNetBufferLists that have not returned.
    pub(super) indications: AtomicUsize,
    pub(super) pause: Operation,
    pub(super) restart: Operation,
    pub(super) reset: Operation,
    pub(super) removed: AtomicBool,
    /// The miniport has been told of its surprise removal.
    pub(super) told_of_removal: AtomicBool,
    pub(super) halted: AtomicBool,
    pub(super) low_power: AtomicBool,
    pub(super) opens: RwLock<Vec<Arc<OpenBlock>>>,
    pub(super) oids: OidQueue,
    pub(super) offloads: Mutex<Offloads>,
    pub(super) associations: Associations,
    /// OID_OFFLOAD_ENCAPSULATION is being set.
    pub(super) encapsulating: AtomicBool,
    /// The request that changed offloads and was not followed by an indication yet.
    pub(super) unreported: Mutex<Option<String>>,
    /// How many requests that may change offloads have begun, and how many have ended: odd while one is under
    /// way.
    pub(super) reconfigurations: AtomicU64,
    pub(super) link: Link,
    pub(super) filter: Mutex<Filter>,
    pub(super) error_log: Mutex<Vec<ErrorLogEntry>>,
    pub(super) statuses: Mutex<Vec<StatusIndication>>,
    pub(super) hang_timer: Mutex<Option<TimerId>>,
    pub(super) watch_armed: AtomicBool,
    /// When a send was completed last.
    pub(super) last_completion: Mutex<Duration>,
}

/// What NDIS has merged from all bindings and set in the miniport.
#[derive(Clone, Default)]
pub(super) struct Filter {
    pub(super) packet: u32,
    pub(super) multicast: Vec<[u8; 6]>,
    pub(super) lookahead: u32,
    pub(super) encapsulation: Option<Vec<u8>>,
}

impl AdapterBlock {
    pub(super) fn new(
        machine: &Machine,
        driver: Arc<DriverBlock>,
        registry: Values,
        index: u32,
    ) -> Arc<Self> {
        // DEVICE_OBJECT is 336 bytes, 16-aligned; opaque to a miniport.
        let device_memory: Vec<Vec<u128>> = (0..3).map(|_| vec![0; 21]).collect();
        let devices = std::array::from_fn(|i| device_memory[i].as_ptr() as u64);
        Arc::new(Self {
            handle: machine.ndis().handle(),
            machine: Arc::downgrade(&machine.arc()),
            driver,
            registry: Mutex::new(registry),
            index,
            devices,
            _device_memory: device_memory,
            state: Mutex::new(AdapterState::Halted),
            context: AtomicU64::new(0),
            add_device_context: AtomicU64::new(0),
            attributes: Mutex::default(),
            calls: Calls::default(),
            control: Mutex::default(),
            sends: AtomicUsize::new(0),
            receives: AtomicUsize::new(0),
            indications: AtomicUsize::new(0),
            pause: Operation::default(),
            restart: Operation::default(),
            reset: Operation::default(),
            removed: AtomicBool::new(false),
            told_of_removal: AtomicBool::new(false),
            halted: AtomicBool::new(true),
            low_power: AtomicBool::new(false),
            opens: RwLock::default(),
            oids: OidQueue::default(),
            offloads: Mutex::default(),
            associations: Associations::default(),
            encapsulating: AtomicBool::new(false),
            unreported: Mutex::default(),
            reconfigurations: AtomicU64::new(0),
            link: Link::default(),
            filter: Mutex::default(),
            error_log: Mutex::default(),
            statuses: Mutex::default(),
            hang_timer: Mutex::default(),
            watch_armed: AtomicBool::new(false),
            last_completion: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> AdapterState {
        *self.state.lock()
    }

    pub(super) fn set_state(&self, state: AdapterState) {
        *self.state.lock() = state;
        self.note(state.name(), 0);
    }

    /// Notes an event in its life.
    pub(super) fn note(&self, what: &'static str, value: u64) {
        if let Some(machine) = self.machine.upgrade() {
            machine.note(Kind::Adapter, self.handle, what, value);
        }
    }

    /// The adapter, for its history.
    pub(super) fn object(&self) -> Object {
        (Kind::Adapter, self.handle)
    }

    pub(super) fn context(&self) -> u64 {
        self.context.load(Ordering::Acquire)
    }

    /// The current station address.
    pub(super) fn mac(&self) -> [u8; 6] {
        let attributes = self.attributes.lock();
        let mut mac = [0; 6];
        if let Some(general) = &attributes.general {
            mac.copy_from_slice(&general.CurrentMacAddress[..6]);
        }
        mac
    }

    /// The largest frame without its Ethernet header.
    pub(super) fn mtu(&self) -> u32 {
        self.attributes
            .lock()
            .general
            .as_ref()
            .map_or(0, |g| g.MtuSize)
    }
}

impl fmt::Display for AdapterBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adapter {}", self.index)
    }
}

/// What an adapter is to be: a hardware id of the INF, and what an
/// administrator has changed on the Advanced page.
#[derive(Clone, Debug)]
pub struct AdapterConfig {
    pub(super) hardware_id: String,
    pub(super) keywords: Vec<(String, Option<crate::inf::RegValue>)>,
    pub(super) restart: bool,
}

impl AdapterConfig {
    /// An adapter with the INF's defaults.
    #[must_use]
    pub fn new(hardware_id: impl Into<String>) -> Self {
        Self {
            hardware_id: hardware_id.into(),
            keywords: Vec::new(),
            restart: true,
        }
    }

    /// Sets a keyword to a string, as the Advanced page does.
    #[must_use]
    pub fn keyword(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.value(name, crate::inf::RegValue::Sz(value.into()))
    }

    /// Sets a registry value of any type.
    #[must_use]
    pub fn value(mut self, name: impl Into<String>, value: crate::inf::RegValue) -> Self {
        self.keywords.push((name.into(), Some(value)));
        self
    }

    /// Takes a value out of the registry.
    #[must_use]
    pub fn without(mut self, name: impl Into<String>) -> Self {
        self.keywords.push((name.into(), None));
        self
    }

    /// Sets the station address: the keyword `NetworkAddress`.
    #[must_use]
    pub fn mac(self, mac: [u8; 6]) -> Self {
        let text: String = mac.iter().map(|b| format!("{b:02X}")).collect();
        self.keyword("NetworkAddress", text)
    }

    /// Leaves the adapter in the Paused state after initialization.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.restart = false;
        self
    }
}

/// A miniport adapter that was initialized. All methods work from any thread
/// of the host.
#[derive(Clone)]
pub struct Adapter {
    pub(super) block: Arc<AdapterBlock>,
    pub(super) machine: Arc<Machine>,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.block, self.block.state())
    }
}

impl Adapter {
    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The adapter's state.
    #[must_use]
    pub fn state(&self) -> AdapterState {
        self.block.state()
    }

    /// The current station address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.block.mac()
    }

    /// The largest frame without its Ethernet header, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.block.mtu()
    }

    /// The general attributes that the miniport set. Pointers in it are dead.
    #[must_use]
    pub fn general_attributes(&self) -> Option<NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES> {
        self.block.attributes.lock().general
    }

    /// The OIDs that the miniport says it supports.
    #[must_use]
    pub fn supported_oids(&self) -> Vec<u32> {
        self.block.attributes.lock().oids.clone()
    }

    /// The link, as reported or indicated last.
    #[must_use]
    pub fn link_state(&self) -> Option<NDIS_LINK_STATE> {
        self.block.link.state()
    }

    /// Every entry that the miniport wrote with NdisWriteErrorLogEntry.
    #[must_use]
    pub fn error_log(&self) -> Vec<ErrorLogEntry> {
        self.block.error_log.lock().clone()
    }

    /// Every status that the miniport indicated, in order.
    #[must_use]
    pub fn status_indications(&self) -> Vec<StatusIndication> {
        self.block.statuses.lock().clone()
    }

    /// The offload configuration, as NDIS tracks it.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.block.offloads.lock().clone()
    }

    /// Whether MiniportPause has returned NDIS_STATUS_PENDING and the pause is not complete: the miniport
    /// waits for something.
    #[must_use]
    pub fn pause_pends(&self) -> bool {
        self.block.pause.was_left_pending()
    }

    /// The same of MiniportResetEx.
    #[must_use]
    pub fn reset_pends(&self) -> bool {
        self.block.reset.was_left_pending()
    }

    /// NET_BUFFER_LISTs that the miniport has to complete.
    #[must_use]
    pub fn sends_outstanding(&self) -> usize {
        self.block.sends.load(Ordering::Acquire)
    }

    /// NET_BUFFER_LISTs that the miniport has indicated and not got back.
    #[must_use]
    pub fn receives_outstanding(&self) -> usize {
        self.block.receives.load(Ordering::Acquire)
    }

    /// A keyword as the registry has it now: NDIS keeps offload settings there.
    #[must_use]
    pub fn keyword(&self, name: &str) -> Option<String> {
        match crate::inf::lookup(&self.block.registry.lock(), name) {
            Some(crate::inf::RegValue::Sz(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Changes a keyword; it counts from the next initialization on.
    pub fn set_keyword(&self, name: &str, value: &str) {
        let value = crate::inf::RegValue::Sz(value.to_owned());
        crate::inf::set(&mut self.block.registry.lock(), name, value);
    }

    /// Takes a value out of the registry; that counts from the next initialization on.
    pub fn remove_keyword(&self, name: &str) {
        let mut registry = self.block.registry.lock();
        registry.retain(|key, _| !key.eq_ignore_ascii_case(name));
    }

    /// Binds a protocol to the adapter: ProtocolBindAdapterEx with
    /// NdisOpenAdapterEx.
    ///
    /// # Errors
    /// [`Error::State`] when the adapter is not initialized, or the bug check
    /// that stopped the machine.
    pub fn open(&self, protocol: Arc<dyn Protocol>) -> Result<Open, Error> {
        if let Some(check) = self.machine.bug_check() {
            return Err(check.into());
        }
        let state = self.state();
        if matches!(state, AdapterState::Halted | AdapterState::Initializing) {
            return Err(Error::State {
                adapter: state,
                wanted: "an initialized adapter",
            });
        }
        Ok(Open::new(self.clone(), protocol))
    }

    /// Runs `f` on a processor, from wherever the caller is.
    pub(super) fn run<R: Send + 'static>(
        &self,
        cpu: Option<usize>,
        irql: crate::Irql,
        f: impl FnOnce(&Machine, &Arc<AdapterBlock>) -> R + Send + 'static,
    ) -> Result<R, BugCheck> {
        let block = Arc::clone(&self.block);
        self.machine.run(cpu, irql, move || {
            let current = crate::processor::current();
            f(current.machine(), &block)
        })
    }
}
