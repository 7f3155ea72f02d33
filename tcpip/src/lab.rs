//! A simulated machine with the driver in it, and TCP/IP's side of an adapter: packet filter,
//! offload activation, SAs, sends.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use ndis_sim::{
    Irql, Machine,
    inf::{Inf, RegValue},
    ndis::{
        Adapter, AdapterConfig, Miniport, Offload, OidRequest, OidResult, Open, Package, Protocol,
        SendNbl,
    },
};
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo, NDIS_STATUS_SUCCESS, OID_GEN_CURRENT_PACKET_FILTER,
    OID_OFFLOAD_ENCAPSULATION, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
};

pub use lab_options::NdisVersion;

use crate::{
    offload::{self, ADD_SA_EX_HANDLE, ADD_SA_HANDLE, Handle, Way},
    outbound::Outgoing,
    packet::ETHERNET_HEADER,
    policy::Offers,
    sas::Sa,
    split::{self, Split},
};

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

/// An SA that the driver did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Name of the SA.
    pub name: String,
    /// The status of the request.
    pub status: i32,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, status_name(self.status))
    }
}

/// TCP/IP's binding to one adapter.
pub struct Port {
    /// The adapter.
    pub adapter: Adapter,
    /// The binding.
    pub open: Open,
    version: NdisVersion,
}

impl Port {
    /// What the adapter reports now.
    pub fn reported(&self) -> Result<Offload> {
        let offloads = self.adapter.offloads();
        let current = offloads.current();
        current
            .cloned()
            .context("the adapter reported no NDIS_OFFLOAD")
    }

    /// What the adapter offers now.
    pub fn offers(&self) -> Result<Offers> {
        Ok(offload::offers(&self.reported()?.ipsec_v2()))
    }

    /// Waits until the adapter has said all that there is to say of its link, and fails when it has none:
    /// nothing is sent then (keyword `LinkState`).
    pub fn expect_link(&self) -> Result<()> {
        let machine = self.adapter.machine();
        machine.settle().map_err(|check| anyhow!("{check}"))?;
        let link = self.adapter.link_state();
        ensure!(
            link.is_some_and(|link| link.MediaConnectState == ndis_sys::MediaConnectStateConnected),
            "the adapter has no link: with LinkState=1 it has one while another adapter is there"
        );
        Ok(())
    }

    /// Sets the packet filter (`NDIS_PACKET_TYPE_*`).
    pub fn set_packet_filter(&self, filter: u32) -> Result<()> {
        let request = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter.to_ne_bytes());
        expect_success(&self.open.oid(request)?, "OID_GEN_CURRENT_PACKET_FILTER")
    }

    /// Activates task offload, which starts IPsec processing of received packets.
    pub fn activate_offload(&self) -> Result<()> {
        let bytes = offload::encapsulation(ndis_sys::NDIS_OFFLOAD_SET_ON);
        let request = OidRequest::set(OID_OFFLOAD_ENCAPSULATION, bytes);
        expect_success(&self.open.oid(request)?, "OID_OFFLOAD_ENCAPSULATION")
    }

    /// Offloads SAs, by the request that the driver's NDIS version has: a handle each, or the
    /// status with which the driver refused.
    pub fn add_sas(&self, sas: &[&Sa], way: Way) -> Result<Vec<Result<Handle, Refused>>> {
        if self.version == NdisVersion::V6_30 {
            return sas.iter().map(|sa| self.add_sa_ex(sa, way)).collect();
        }
        if sas.is_empty() {
            return Ok(Vec::new());
        }
        let handles = match self.add_list(sas, way)? {
            Ok(handles) => handles,
            Err(status) if sas.len() == 1 => {
                let name = sas[0].name.clone();
                return Ok(vec![Err(Refused { name, status })]);
            }
            Err(_) => vec![0; sas.len()],
        };
        // A list tells only that an element failed; its own request tells how.
        let mut results = Vec::new();
        for (sa, handle) in sas.iter().zip(handles) {
            if handle != 0 {
                results.push(Ok(handle));
            } else {
                results.append(&mut self.add_sas(&[sa], way)?);
            }
        }
        Ok(results)
    }

    fn add_list(&self, sas: &[&Sa], way: Way) -> Result<Result<Vec<Handle>, i32>> {
        let list = offload::add_sa(sas, way)?;
        let offsets = list.offsets().to_vec();
        let request = OidRequest::set_with(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
            list.len(),
            move |base, bytes| bytes.copy_from_slice(&list.at(base as usize)),
        );
        let result = self.open.direct_oid(request, Irql::DISPATCH)?;
        if result.status != NDIS_STATUS_SUCCESS {
            return Ok(Err(result.status));
        }
        let handle = |offset| offload::handle_at(&result.buffer, offset + ADD_SA_HANDLE);
        let handles: Option<Vec<_>> = offsets.into_iter().map(handle).collect();
        let handles = handles.context("ADD_SA came back shorter")?;
        ensure!(
            handles.iter().any(|&handle| handle != 0),
            "ADD_SA succeeded without offloading any SA"
        );
        Ok(Ok(handles))
    }

    fn add_sa_ex(&self, sa: &Sa, way: Way) -> Result<Result<Handle, Refused>> {
        let buffer = offload::add_sa_ex(sa, way)?;
        let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, buffer);
        let result = self.open.direct_oid(request, Irql::DISPATCH)?;
        if result.status != NDIS_STATUS_SUCCESS {
            return Ok(Err(Refused {
                name: sa.name.clone(),
                status: result.status,
            }));
        }
        match offload::handle_at(&result.buffer, ADD_SA_EX_HANDLE) {
            Some(handle) if handle != 0 => Ok(Ok(handle)),
            _ => bail!("ADD_SA_EX succeeded without a handle for {}", sa.name),
        }
    }

    /// Offloads the SAs of this side, or says which the driver refused. The result has a handle
    /// for each SA of the file, zero for those of the other side only.
    pub fn offload(&self, sas: &[Sa], way: Way) -> Result<Vec<Handle>> {
        let is_mine = |sa: &Sa| match way {
            Way::Outbound => sa.direction.is_outbound(),
            Way::Inbound => sa.direction.is_inbound(),
        };
        let mine: Vec<&Sa> = sas.iter().filter(|sa| is_mine(sa)).collect();
        let (mut added, mut refused) = (Vec::new(), Vec::new());
        for result in self.add_sas(&mine, way)? {
            match result {
                Ok(handle) => added.push(handle),
                Err(reason) => refused.push(reason.to_string()),
            }
        }
        if !refused.is_empty() {
            self.delete_sas(&added)?;
            refused.extend(self.lacking(&mine)?);
            bail!("the driver refused SAs:\n  {}", refused.join("\n  "));
        }
        let mut added = added.into_iter();
        let handle = |sa: &Sa| is_mine(sa).then(|| added.next()).flatten().unwrap_or(0);
        Ok(sas.iter().map(handle).collect())
    }

    /// Why the adapter may take none of these SAs, as far as it reports that.
    fn lacking(&self, sas: &[&Sa]) -> Result<Vec<String>> {
        let offers = self.reported()?.ipsec_v2();
        let keyword = self.adapter.keyword("*IPsecOffloadV2").unwrap_or_default();
        let with = |lacks: bool, what: &str| {
            lacks.then(|| {
                format!("the adapter offers no {what}: its keyword *IPsecOffloadV2 is {keyword:?}")
            })
        };
        let (esp, ah) = (offers.Esp == 0, offers.Ah == 0);
        Ok(match (esp, ah) {
            (true, true) => with(true, "IPsec offload").into_iter().collect(),
            _ => [
                with(esp && sas.iter().any(|sa| sa.esp.is_some()), "ESP"),
                with(ah && sas.iter().any(|sa| sa.ah.is_some()), "AH"),
            ]
            .into_iter()
            .flatten()
            .collect(),
        })
    }

    /// Takes SAs down; handles of zero are none.
    pub fn delete_sas(&self, handles: &[Handle]) -> Result<()> {
        let handles: Vec<_> = handles.iter().copied().filter(|&h| h != 0).collect();
        if handles.is_empty() {
            return Ok(());
        }
        let list = offload::delete_sa(&handles);
        let request = OidRequest::set_with(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
            list.len(),
            move |base, bytes| bytes.copy_from_slice(&list.at(base as usize)),
        );
        let result = self.open.direct_oid(request, Irql::DISPATCH)?;
        expect_success(&result, "OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA")
    }

    /// Sends one chain at DISPATCH_LEVEL.
    pub fn send(&self, nbls: Vec<SendNbl>) -> Result<()> {
        self.open.send_at(Irql::DISPATCH, nbls)?;
        Ok(())
    }
}

/// The NET_BUFFER_LIST of a packet, with its out-of-band words.
pub fn net_buffer_list(outgoing: &Outgoing, handles: &[Handle], split: Split) -> Result<SendNbl> {
    net_buffer_list_of(outgoing, handles, split, true)
}

/// The same; pages that are not `mapped` are locked, and the driver's to map.
pub fn net_buffer_list_of(
    outgoing: &Outgoing,
    handles: &[Handle],
    split: Split,
    mapped: bool,
) -> Result<SendNbl> {
    let (headers, trailer) = match &outgoing.protection {
        Ok(protection) => (protection.header_len(), protection.trailer_len()),
        Err(_) => (ETHERNET_HEADER + 20, 0),
    };
    let number = outgoing.number as u64;
    let nb = split::net_buffer(split, outgoing.frame.clone(), headers, trailer, number);
    let nb = if mapped { nb } else { nb.unmapped() };
    let nbl = SendNbl::with_net_buffers(vec![nb]).cookie(number);
    let Ok(protection) = &outgoing.protection else {
        return Ok(nbl);
    };
    // The only SA, of whichever mode, or that of the transport-mode portion.
    let nbl = nbl
        .info(
            IPsecOffloadV2NetBufferListInfo as usize,
            handles[protection.sa()],
        )
        .info(
            IPsecOffloadV2HeaderNetBufferListInfo as usize,
            offload::transmit_header(protection)?,
        );
    Ok(match protection.inner {
        None => nbl,
        Some(_) => nbl.info(
            IPsecOffloadV2TunnelNetBufferListInfo as usize,
            handles[protection.outer.sa],
        ),
    })
}

fn expect_success(result: &OidResult, what: &str) -> Result<()> {
    ensure!(
        result.status == NDIS_STATUS_SUCCESS,
        "{what}: {}",
        status_name(result.status)
    );
    Ok(())
}

/// The documented name of an NDIS_STATUS.
pub fn status_name(status: i32) -> String {
    let constants = ndis_sys::tables::CONSTANTS.iter().copied().flatten();
    constants
        .filter(|constant| constant.name.starts_with("NDIS_STATUS_"))
        .find(|constant| constant.value as i32 == status)
        .map_or_else(
            || format!("NDIS_STATUS {:#010x}", status as u32),
            |constant| constant.name.to_owned(),
        )
}
