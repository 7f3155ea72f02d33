//! Adapters of the driver on one wire, at the level of frames: no IPsec, no transport.

use std::{sync::Arc, time::Duration};

use ndis_sim::{
    Machine,
    inf::{Inf, RegValue},
    ndis::{
        Adapter, AdapterConfig, Collector, Error, Frame, Miniport, OidRequest, OidResult, Open,
        Package, SendNbl,
    },
};
use ndis_sys::{NDIS_STATUS_SUCCESS, OID_GEN_CURRENT_PACKET_FILTER};
use tcpip::lab::HARDWARE_ID;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The values of `NdisVersion` that the driver knows.
pub const VERSIONS: [u32; 3] = [610, 620, 630];

/// A machine with the driver loaded.
pub struct Switch {
    /// The machine.
    pub machine: Arc<Machine>,
    /// The driver.
    pub driver: Miniport,
}

impl Switch {
    /// Loads the driver; it registers with the version that the registry value names.
    ///
    /// # Panics
    /// If it does not load.
    pub fn new(version: u32) -> Self {
        Self::on(Machine::builder().processors(2).build(), version)
    }

    /// The same on a machine of one's own.
    ///
    /// # Panics
    /// If it does not load.
    pub fn on(machine: Arc<Machine>, version: u32) -> Self {
        let inf = Inf::load(&crate::inf()).expect("the INF is sound");
        let package =
            Package::new(inf, HARDWARE_ID).parameter("NdisVersion", RegValue::Dword(version));
        let driver = Miniport::load(&machine, &crate::driver(), package)
            .unwrap_or_else(|error| panic!("{error}"));
        Self { machine, driver }
    }

    /// An adapter as the INF installs it, with a protocol on top.
    pub fn port(&self) -> SwitchPort {
        self.port_with(config())
    }

    /// An adapter with this configuration.
    ///
    /// # Panics
    /// If it does not start.
    pub fn port_with(&self, config: AdapterConfig) -> SwitchPort {
        self.port_on(config, Collector::new())
    }

    /// An adapter with this configuration and protocol.
    ///
    /// # Panics
    /// If it does not start.
    pub fn port_on(&self, config: AdapterConfig, protocol: Arc<Collector>) -> SwitchPort {
        let adapter = check(self.driver.add_adapter(config));
        let open = check(adapter.open(protocol.clone()));
        SwitchPort {
            adapter,
            open,
            protocol,
        }
    }

    /// Unloads the driver: nothing may be left, and nothing may have been found.
    ///
    /// # Panics
    /// If something is.
    pub fn finish(self) {
        let leaks = self
            .driver
            .unload()
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(leaks.is_clean(), "left behind:\n{leaks}");
        let report = self.machine.report();
        assert!(report.is_clean(), "{report}");
    }
}

/// An adapter as the INF installs it.
pub fn config() -> AdapterConfig {
    AdapterConfig::new(HARDWARE_ID)
}

/// The value, or the machine's last words.
///
/// # Panics
/// On an error.
pub fn check<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// One adapter and the protocol that is bound to it.
pub struct SwitchPort {
    /// The adapter.
    pub adapter: Adapter,
    /// The binding.
    pub open: Open,
    /// The protocol.
    pub protocol: Arc<Collector>,
}

impl SwitchPort {
    /// Makes a set request.
    pub fn set(&self, oid: u32, data: &[u8]) -> OidResult {
        check(self.open.oid(OidRequest::set(oid, data)))
    }

    /// Makes a query with a buffer of `room` bytes.
    pub fn query(&self, oid: u32, room: usize) -> OidResult {
        check(self.open.oid(OidRequest::query(oid, room)))
    }

    /// The value of a 64-bit counter.
    ///
    /// # Panics
    /// If there is none.
    pub fn counter(&self, oid: u32) -> u64 {
        self.query(oid, 8)
            .u64()
            .unwrap_or_else(|| panic!("no counter {oid:#x}"))
    }

    /// Sets the packet filter.
    ///
    /// # Panics
    /// If it is refused.
    pub fn filter(&self, filter: u32) {
        let result = self.set(OID_GEN_CURRENT_PACKET_FILTER, &filter.to_le_bytes());
        assert_eq!(result.status, NDIS_STATUS_SUCCESS);
    }

    /// Sends lists in one call and returns their statuses, in the order of sending.
    ///
    /// # Panics
    /// If one is not completed.
    pub fn send(&self, lists: Vec<SendNbl>) -> Vec<i32> {
        let count = lists.len();
        let numbered = lists
            .into_iter()
            .zip(0..)
            .map(|(list, number)| list.cookie(number));
        check(self.open.send(numbered.collect()));
        let machine = self.open.machine().clone();
        let mut sent = check(self.protocol.wait_sent(&machine, count, PATIENCE));
        assert_eq!(sent.len(), count, "sends are not completed");
        sent.sort_by_key(|list| list.cookie);
        sent.into_iter().map(|list| list.status).collect()
    }

    /// Sends one frame, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn send_frame(&self, frame: &[u8]) {
        assert_eq!(self.send(vec![SendNbl::new(frame)]), [NDIS_STATUS_SUCCESS]);
    }

    /// The frames that came up since the last call, once the machine has nothing to do any more.
    pub fn received(&self) -> Vec<Frame> {
        let machine = self.open.machine();
        machine.settle().unwrap_or_else(|check| panic!("{check}"));
        self.protocol
            .take_received()
            .iter()
            .map(|list| list.frame())
            .collect()
    }

    /// The bytes of the frames that came up.
    pub fn received_bytes(&self) -> Vec<Vec<u8>> {
        self.received()
            .into_iter()
            .map(|frame| frame.data.concat())
            .collect()
    }
}

/// A frame of a local experimental EtherType (IEEE 802, 9.2.4), `len` bytes long.
pub fn frame(destination: [u8; 6], source: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = [destination.as_slice(), &source, &[0x88, 0xb5]].concat();
    frame.extend((frame.len()..len).map(|i| i as u8));
    frame.truncate(len);
    frame
}
