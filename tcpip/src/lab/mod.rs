//! A simulated machine with the driver in it, and TCP/IP's side of an adapter: packet filter,
//! offload activation, SAs, sends.

mod port;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, ensure};
use ndis_sim::{
    Machine,
    inf::{Inf, RegValue},
    ndis::{AdapterConfig, Miniport, Package, Protocol},
};

pub use lab_options::NdisVersion;
pub use port::{Port, Refused, net_buffer_list, net_buffer_list_of, status_name};

use crate::packet::ETHERNET_HEADER;

/// How long the driver may take for a burst of packets.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The largest `*JumboPacket` of the INF.
const JUMBO_MAX: usize = 9014;

/// The hardware id of the driver's INF.
pub const HARDWARE_ID: &str = "root\\ipsecov2";

/// Which driver, on what kind of machine.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The driver file.
    pub sys: PathBuf,
    /// Its INF.
    pub inf: PathBuf,
    /// The version to register with.
    pub ndis_version: NdisVersion,
    /// Processors of the machine.
    pub processors: usize,
    /// Whether the simulator watches what costs time: extended registers, histories, special pool. Off
    /// only to measure speed.
    pub canaries: bool,
    /// Keywords of the adapters, beside those that the INF sets.
    pub keywords: Vec<(String, String)>,
}

/// The keywords that the INF gives an adapter.
///
/// # Errors
/// When it cannot be read, or does not install the driver.
pub fn keywords(inf: &Path) -> Result<Vec<String>> {
    let install = || Inf::load(inf)?.install(HARDWARE_ID);
    let install = install().with_context(|| format!("cannot use {}", inf.display()))?;
    let params = install.params.into_iter().map(|param| param.name);
    Ok(install.adapter.into_keys().chain(params).collect())
}

/// A simulated machine with the driver loaded.
pub struct Lab {
    machine: Arc<Machine>,
    driver: Miniport,
    version: NdisVersion,
    keywords: Vec<(String, String)>,
}

impl Lab {
    /// Builds the machine and loads the driver.
    pub fn start(options: &LabOptions) -> Result<Self> {
        let machine = Machine::builder()
            .processors(options.processors)
            .canaries(options.canaries)
            .history(options.canaries)
            .special_pool(options.canaries)
            .build();
        Self::on(machine, options)
    }

    /// The same on a machine of one's own; of the options those of the driver count.
    pub fn on(machine: Arc<Machine>, options: &LabOptions) -> Result<Self> {
        let inf = Inf::load(&options.inf)
            .with_context(|| format!("cannot use {}", options.inf.display()))?;
        let version = RegValue::Dword(options.ndis_version.registry_value());
        let package = Package::new(inf, HARDWARE_ID).parameter("NdisVersion", version);
        let driver = Miniport::load(&machine, &options.sys, package)
            .with_context(|| format!("cannot load {}", options.sys.display()))?;
        Ok(Self {
            machine,
            driver,
            version: options.ndis_version,
            keywords: options.keywords.clone(),
        })
    }

    /// The machine.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The driver.
    pub fn driver(&self) -> &Miniport {
        &self.driver
    }

    /// Starts an adapter for frames of up to `largest` bytes, Ethernet header included, and binds
    /// `protocol` to it.
    pub fn port(&self, largest: usize, protocol: Arc<dyn Protocol>) -> Result<Port> {
        let jumbo = largest.clamp(1514, JUMBO_MAX).to_string();
        // Without priority and VLAN support 802.1Q tags stay in the frames, as captures have them.
        let mut config = AdapterConfig::new(HARDWARE_ID)
            .keyword("*JumboPacket", jumbo)
            .keyword("*PriorityVLANTag", "0");
        for (name, value) in &self.keywords {
            config = config.keyword(name, value.clone());
        }
        let port = self.port_with(config, protocol)?;
        let possible = port.adapter.mtu() as usize + ETHERNET_HEADER;
        match largest <= possible {
            true => Ok(port),
            false => Err(TooLong { largest, possible }.into()),
        }
    }

    /// Starts an adapter with this configuration, and binds `protocol` to it.
    pub fn port_with(&self, config: AdapterConfig, protocol: Arc<dyn Protocol>) -> Result<Port> {
        let adapter = self.driver.add_adapter(config)?;
        let open = adapter.open(protocol)?;
        Ok(Port {
            adapter,
            open,
            version: self.version,
        })
    }

    /// Halts what is left, unloads the driver, and checks that nothing remains.
    pub fn finish(self) -> Result<()> {
        let leaks = self.driver.unload()?;
        ensure!(
            leaks.is_clean(),
            "the driver left something behind:\n{leaks}"
        );
        let report = self.machine.report();
        ensure!(report.is_clean(), "the simulator found:\n{report}");
        Ok(())
    }
}

/// A frame that no adapter takes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("with what IPsec adds frames of {largest} bytes are needed, the adapter takes {possible}")]
pub struct TooLong {
    largest: usize,
    possible: usize,
}

impl TooLong {
    /// If the error is this one: which packet it is about, and what can be done.
    pub fn explain(error: Error, number: usize, longest: usize, advice: &str) -> Error {
        match error.downcast::<Self>() {
            Err(other) => other,
            Ok(it) => anyhow!(
                "packet {number} of {longest} bytes is too long: {it}. Was the capture made with segmentation \
                 offload on? Switch it off for the capture; or {advice} (docs/sas-json.md)"
            ),
        }
    }
}
