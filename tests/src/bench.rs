//! Two adapters on a wire, and a tap that sees what is on it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ndis_sim::ndis::{AdapterConfig, SendNbl};
use ndis_sys::NDIS_PACKET_TYPE_PROMISCUOUS;
use tcpip::{
    iv::IvWatch,
    lab::{HARDWARE_ID, Lab, LabOptions, NdisVersion, PATIENCE, Port, status_name},
    offload::{Handle, Way},
    recorder::{Indicated, Recorder},
    sas::Sa,
};

/// A sends, B receives.
pub struct Bench {
    /// The machine and the driver.
    pub lab: Lab,
    /// The sender.
    pub a: Port,
    /// The receiver.
    pub b: Port,
    /// An adapter without SAs.
    pub tap: Port,
    a_side: Arc<Recorder>,
    b_side: Arc<Recorder>,
    tap_side: Arc<Recorder>,
    ivs: Mutex<IvWatch>,
}

/// An adapter as the INF installs it, with `LegacyAlgorithms` on or off.
pub fn config(legacy: bool) -> AdapterConfig {
    AdapterConfig::new(HARDWARE_ID).keyword("LegacyAlgorithms", if legacy { "1" } else { "0" })
}

impl Bench {
    /// Starts them, with offload activated.
    ///
    /// # Panics
    ///
    /// If they do not start.
    #[must_use]
    pub fn start(version: NdisVersion, config: impl Fn() -> AdapterConfig) -> Self {
        let this = Self::start_idle(&crate::lab_options(version), config);
        this.a.activate_offload().expect("offload is activated");
        this.b.activate_offload().expect("offload is activated");
        this
    }

    /// Starts them without OID_OFFLOAD_ENCAPSULATION.
    ///
    /// # Panics
    ///
    /// If they do not start.
    #[must_use]
    pub fn start_idle(options: &LabOptions, config: impl Fn() -> AdapterConfig) -> Self {
        let lab = Lab::start(options).expect("the machine starts");
        let sides = [(); 3].map(|()| Recorder::on(lab.machine()));
        let [a, b, tap] = [0, 1, 2].map(|index: usize| {
            let mut config = config();
            if index == 2 {
                // Tags stay in the frames.
                config = config.keyword("*PriorityVLANTag", "0");
            }
            let port = lab.port_with(config, sides[index].clone());
            let port = port.expect("the adapter starts");
            port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
                .expect("the filter is set");
            port
        });
        let [a_side, b_side, tap_side] = sides;
        Self {
            lab,
            a,
            b,
            tap,
            a_side,
            b_side,
            tap_side,
            ivs: Mutex::default(),
        }
    }

    /// Offloads an SA at both ends: the handle at A, and the one at B.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn add(&self, sa: &Sa) -> (Handle, Handle) {
        (
            Self::add_at(&self.a, sa, Way::Outbound),
            Self::add_at(&self.b, sa, Way::Inbound),
        )
    }

    /// Offloads an SA at one end.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn add_at(port: &Port, sa: &Sa, way: Way) -> Handle {
        port.offload(std::slice::from_ref(sa), way)
            .unwrap_or_else(|error| panic!("{error:#}"))[0]
    }

    /// Takes an SA down at both ends.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn delete(&self, (a, b): (Handle, Handle)) {
        self.a.delete_sas(&[a]).expect("DELETE_SA succeeds");
        self.b.delete_sas(&[b]).expect("DELETE_SA succeeds");
    }

    /// Sends one list from A: the name of its status.
    ///
    /// # Panics
    ///
    /// If the machine stops.
    pub fn send(&self, list: SendNbl) -> String {
        if let Err(error) = self.a.send(vec![list]) {
            panic!("{error:#}");
        }
        let completed = self.a_side.take_completed(1, PATIENCE);
        status_name(completed.first().expect("the send completes").status)
    }

    /// Sends one list from A: what it was on the wire, and as what B indicated it. That its IVs
    /// were not on the wire before is checked.
    ///
    /// # Panics
    ///
    /// If it does not go through, or repeats an IV.
    pub fn pass(&self, list: SendNbl, sas: &[Sa]) -> (Vec<u8>, Indicated) {
        let (wire, seen) = self.pass_unwatched(list);
        if let Err(error) = self.ivs.lock().expect("no panic before").note(&wire, sas) {
            panic!("{error}");
        }
        (wire, seen)
    }

    /// As [`Bench::pass`], for a list without SA or one that repeats what was on the wire.
    ///
    /// # Panics
    ///
    /// If it does not go through.
    pub fn pass_unwatched(&self, list: SendNbl) -> (Vec<u8>, Indicated) {
        assert_eq!(self.send(list), "NDIS_STATUS_SUCCESS");
        let mut on_wire = self.tap_side.take_received(1, PATIENCE);
        let mut came_up = self.b_side.take_received(1, PATIENCE);
        let on_wire = on_wire.pop().expect("the frame is on the wire");
        let came_up = came_up.pop().expect("the frame comes up");
        (on_wire.frame, came_up)
    }

    /// Puts a frame on the wire as it is: as what B indicates it.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn put(&self, frame: &[u8]) -> Indicated {
        let (wire, seen) = self.pass_unwatched(SendNbl::new(frame.to_vec()));
        assert_eq!(wire[..frame.len()], *frame, "the wire changes a frame");
        seen
    }

    /// How many different IVs were on the wire.
    ///
    /// # Panics
    ///
    /// After a panic.
    pub fn ivs(&self) -> usize {
        self.ivs.lock().expect("no panic before").len()
    }

    /// Halts the adapters, and leaves the driver loaded.
    ///
    /// # Panics
    ///
    /// If a frame is left that nobody asked for.
    #[must_use]
    pub fn halt(self) -> Lab {
        self.lab.machine().settle().expect("the machine runs");
        for side in [&self.a_side, &self.b_side, &self.tap_side] {
            assert_eq!(side.take_received(1, Duration::ZERO), []);
        }
        let Self { lab, a, b, tap, .. } = self;
        for port in [a, b, tap] {
            let Port { adapter, open, .. } = port;
            drop(open);
            if let Err(error) = adapter.halt() {
                panic!("{error}");
            }
        }
        lab
    }

    /// Ends everything; nothing may be left.
    ///
    /// # Panics
    ///
    /// If something is.
    pub fn finish(self) {
        if let Err(error) = self.halt().finish() {
            panic!("{error:#}");
        }
    }
}
