//! One adapter that is asked things that no transport would ask.

use std::sync::Arc;

use ndis_sim::{
    Irql,
    ndis::{AdapterConfig, OidRequest, OidResult},
};
use ndis_sys::{
    NDIS_PACKET_TYPE_PROMISCUOUS, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
};
use tcpip::{
    lab::{HARDWARE_ID, Lab, NdisVersion, Port, status_name},
    offload::{self, ADD_SA_EX_HANDLE, ADD_SA_HANDLE, Handle, ListBuffer, Way},
    recorder::Recorder,
    sas::Sa,
};

/// An adapter of its own machine, with a recorder on top.
pub struct TestAdapter {
    /// The machine and the driver.
    pub lab: Lab,
    /// The adapter.
    pub port: Port,
    /// What comes up and what was sent.
    pub recorder: Arc<Recorder>,
    version: NdisVersion,
}

impl TestAdapter {
    /// Starts the adapter, promiscuous and with offload activated.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(version: NdisVersion) -> Self {
        Self::start_with(version, AdapterConfig::new(HARDWARE_ID))
    }

    /// The same with a configuration.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_with(version: NdisVersion, config: AdapterConfig) -> Self {
        let lab = Lab::start(&crate::lab_options(version)).expect("the machine starts");
        let recorder = Recorder::on(lab.machine());
        let port = lab
            .port_with(config, recorder.clone())
            .expect("the adapter starts");
        port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)
            .expect("the filter is set");
        port.activate_offload().expect("offload is activated");
        Self {
            lab,
            port,
            recorder,
            version,
        }
    }

    /// Whether the version adds SAs with ADD_SA_EX.
    pub fn is_ex(&self) -> bool {
        self.version == NdisVersion::V6_30
    }

    /// Makes a direct request at DISPATCH_LEVEL.
    ///
    /// # Panics
    ///
    /// If the machine stops.
    pub fn direct(&self, request: OidRequest) -> OidResult {
        match self.port.open.direct_oid(request, Irql::DISPATCH) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// The request of this version that adds SAs.
    pub fn add_sa_oid(&self) -> u32 {
        if self.is_ex() {
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX
        } else {
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
        }
    }

    /// The exact buffer of the request that adds one SA, with no byte to spare.
    ///
    /// # Panics
    ///
    /// If the SA cannot be written.
    pub fn add_sa_buffer(&self, sa: &Sa, way: Way) -> Vec<u8> {
        if self.is_ex() {
            return offload::add_sa_ex(sa, way).expect("a complete SA");
        }
        let mut bytes = offload::add_sa(&[sa], way).expect("a complete SA").at(0);
        let key_length = |sa: &Sa| {
            let esp = sa.esp.iter().map(|esp| {
                let authentication = esp.authentication.iter();
                esp.encryption.key.len()
                    + esp.encryption.salt.len()
                    + authentication
                        .map(|a| a.key.len() + a.salt.len())
                        .sum::<usize>()
            });
            let ah = sa.ah.iter().map(|ah| &ah.authentication);
            esp.sum::<usize>() + ah.map(|a| a.key.len() + a.salt.len()).sum::<usize>()
        };
        // The list rounds up for the next element; a single one does not need it.
        bytes.truncate((offload::ADD_SA_KEY_DATA + key_length(sa)).max(169));
        bytes
    }

    /// Adds SAs from a buffer.
    pub fn add(&self, bytes: Vec<u8>) -> OidResult {
        self.direct(OidRequest::set(self.add_sa_oid(), bytes))
    }

    /// The handle that a completed add of one SA has left in the buffer.
    ///
    /// # Panics
    ///
    /// If the buffer has none.
    pub fn handle(&self, result: &OidResult) -> Handle {
        let at = if self.is_ex() {
            ADD_SA_EX_HANDLE
        } else {
            ADD_SA_HANDLE
        };
        offload::handle_at(&result.buffer, at).expect("a whole buffer")
    }

    /// Adds one SA.
    ///
    /// # Panics
    ///
    /// If the driver refuses it.
    pub fn add_one(&self, sa: &Sa, way: Way) -> Handle {
        let result = self.add(self.add_sa_buffer(sa, way));
        assert_eq!(name(&result), "NDIS_STATUS_SUCCESS");
        let handle = self.handle(&result);
        assert_ne!(handle, 0);
        handle
    }

    /// Makes a request out of a list.
    pub fn list(&self, oid: u32, list: ListBuffer) -> OidResult {
        self.direct(OidRequest::set_with(oid, list.len(), move |base, bytes| {
            bytes.copy_from_slice(&list.at(base as usize));
        }))
    }

    /// Deletes SAs.
    pub fn delete(&self, handles: &[Handle]) -> OidResult {
        self.list(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
            offload::delete_sa(handles),
        )
    }

    /// Updates an SA from a buffer.
    pub fn update(&self, bytes: Vec<u8>) -> OidResult {
        self.direct(OidRequest::set(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
            bytes,
        ))
    }

    /// Unloads the driver and checks that nothing remains.
    ///
    /// # Panics
    ///
    /// If something does.
    pub fn finish(self) {
        let Self { lab, port, .. } = self;
        drop(port);
        if let Err(error) = lab.finish() {
            panic!("{error:#}");
        }
    }
}

/// The name of a result's status.
pub fn name(result: &OidResult) -> String {
    status_name(result.status)
}
