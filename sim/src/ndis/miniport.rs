//! Drivers as tests and transports see them: from the INF and the file to the
//! leak report.

use std::{
    fmt,
    path::Path,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
};

use super::{
    Error,
    adapter::{Adapter, AdapterBlock, AdapterConfig},
    driver::DriverBlock,
    header::Version,
    lifecycle,
};
use crate::{
    Irql,
    driver::{Driver, DriverEntry, LoadError, LoadOptions},
    inf::{self, Inf, Install, RegValue},
    machine::Machine,
    report::{BugCheck, Finding},
};

/// How a driver is installed: its INF, with what an administrator has changed
/// in the service's Parameters key.
#[derive(Clone, Debug)]
pub struct Package {
    inf: Inf,
    hardware_id: String,
    parameters: Vec<(String, RegValue)>,
}

impl Package {
    /// A driver package with this INF, installed for a device of that hardware id.
    #[must_use]
    pub fn new(inf: Inf, hardware_id: impl Into<String>) -> Self {
        Self {
            inf,
            hardware_id: hardware_id.into(),
            parameters: Vec::new(),
        }
    }

    /// Sets a value of the service's Parameters key.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: RegValue) -> Self {
        self.parameters.push((name.into(), value));
        self
    }

    fn install(&self) -> Result<Install, inf::InfError> {
        let mut install = self.inf.install(&self.hardware_id)?;
        for (name, value) in &self.parameters {
            inf::set(&mut install.parameters, name, value.clone());
        }
        Ok(install)
    }
}

/// What a driver had not given back when it was unloaded.
#[derive(Clone, Debug, Default)]
pub struct LeakReport {
    /// One entry for each object, or group of objects.
    pub findings: Vec<Finding>,
}

impl LeakReport {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return writeln!(f, "nothing was left behind");
        }
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

/// A loaded miniport driver.
pub struct Miniport {
    machine: Arc<Machine>,
    driver: Driver,
    block: Arc<DriverBlock>,
    package: Package,
    index: AtomicU32,
}

impl fmt::Debug for Miniport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.registered_version();
        write!(f, "{:?}, NDIS {major}.{minor}", self.driver)
    }
}

impl Miniport {
    /// Installs and loads the driver in a `.sys` file: DriverEntry, which must
    /// register it as a miniport driver.
    ///
    /// # Errors
    /// An error in the INF, one of loading, [`Error::NotMiniport`], or the bug
    /// check that stopped the machine.
    pub fn load(machine: &Arc<Machine>, sys: &Path, package: Package) -> Result<Self, Error> {
        Self::start(machine, package, |machine, options| {
            machine.load_file(sys, options)
        })
    }

    /// Like [`Miniport::load`], for an image in memory.
    ///
    /// # Errors
    /// As for [`Miniport::load`].
    pub fn load_image(
        machine: &Arc<Machine>,
        name: &str,
        image: &[u8],
        package: Package,
    ) -> Result<Self, Error> {
        Self::start(machine, package, |machine, options| {
            machine.load_image(name, image, options)
        })
    }

    /// Like [`Miniport::load`], for a driver that consists of functions of this
    /// process.
    ///
    /// # Errors
    /// As for [`Miniport::load`].
    pub fn load_native(
        machine: &Arc<Machine>,
        entry: DriverEntry,
        package: Package,
    ) -> Result<Self, Error> {
        Self::start(machine, package, |machine, options| {
            machine.load_native(&options.service, entry)
        })
    }

    fn start(
        machine: &Arc<Machine>,
        package: Package,
        load: impl FnOnce(&Machine, LoadOptions) -> Result<Driver, LoadError>,
    ) -> Result<Self, Error> {
        let install = package.install()?;
        let mut options = LoadOptions::service(&install.service);
        options.parameters = install.parameters.clone();
        let service = install.service.to_ascii_lowercase();
        machine
            .ndis()
            .installs
            .lock()
            .insert(service, Arc::new(install));
        let driver = load(machine, options)?;
        let object = driver.object() as u64;
        let block = machine
            .ndis()
            .drivers
            .all()
            .into_iter()
            .find(|d| d.object == object);
        let Some(block) = block else {
            // It may have a DriverUnload all the same.
            driver.unload()?;
            return Err(Error::NotMiniport);
        };
        Ok(Self {
            machine: Arc::clone(machine),
            driver,
            block,
            package,
            index: AtomicU32::new(0),
        })
    }

    /// The NDIS version that the driver registered with.
    #[must_use]
    pub fn registered_version(&self) -> Version {
        self.block.version
    }

    /// The driver, as the kernel sees it.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Adds a device: MiniportAddDevice, MiniportInitializeEx and, unless the
    /// configuration says otherwise, MiniportRestart.
    ///
    /// # Errors
    /// An error in the INF, [`Error::Status`] when the miniport fails, or the
    /// bug check that stopped the machine.
    pub fn add_adapter(&self, config: AdapterConfig) -> Result<Adapter, Error> {
        let install = self.package.inf.install(&config.hardware_id)?;
        let mut registry = install.adapter;
        for (name, value) in &config.keywords {
            match value {
                Some(value) => inf::set(&mut registry, name, value.clone()),
                None => registry.retain(|key, _| !key.eq_ignore_ascii_case(name)),
            }
        }
        let index = self.index.fetch_add(1, Ordering::Relaxed) + 1;
        let block = AdapterBlock::new(&self.machine, Arc::clone(&self.block), registry, index);
        let adapter = Adapter {
            block,
            machine: Arc::clone(&self.machine),
        };
        let status = adapter.run(None, Irql::PASSIVE, move |machine, adapter| {
            let status = lifecycle::add_device(machine, adapter);
            if status != 0 {
                return status;
            }
            let status = lifecycle::initialize(machine, adapter);
            if status != 0 {
                lifecycle::remove_device(machine, adapter);
                return status;
            }
            0
        })?;
        if status != 0 {
            return Err(Error::Status(status));
        }
        if config.restart {
            adapter.restart()?;
        }
        Ok(adapter)
    }

    /// The adapters that are not halted.
    #[must_use]
    pub fn adapters(&self) -> Vec<Adapter> {
        let all = self.machine.ndis().adapters.all();
        let mut mine: Vec<Adapter> = all
            .into_iter()
            .filter(|a| a.driver.handle == self.block.handle)
            .map(|block| Adapter {
                block,
                machine: Arc::clone(&self.machine),
            })
            .collect();
        mine.sort_by_key(|a| a.block.index);
        mine
    }

    /// Halts the adapters that are left and unloads the driver.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn unload(self) -> Result<LeakReport, BugCheck> {
        for adapter in self.adapters() {
            // One that somebody else has halted meanwhile is as good.
            if let Err(Error::BugCheck(check)) = adapter.halt() {
                return Err(check);
            }
        }
        let findings = self.driver.unload()?;
        Ok(LeakReport { findings })
    }
}
