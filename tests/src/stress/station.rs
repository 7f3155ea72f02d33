//! An adapter's place on the wire: adapters come and go there.

use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ndis_sim::{
    Irql,
    ndis::{Adapter, AdapterConfig, Error, OidRequest, OidResult, Open},
};
use ndis_sys::*;
use tcpip::{
    lab::{HARDWARE_ID, status_name},
    offload::{self, ADD_SA_EX_HANDLE, ADD_SA_HANDLE, Handle, ListBuffer, Way},
    sas::Sa,
};

use super::{Action, World, plan::Plan};
use crate::listener::Listener;

/// How often an adapter is tried to be started while calls fail.
const ATTEMPTS: usize = 3;

/// A place on the wire.
pub struct Station {
    pub index: usize,
    current: RwLock<Option<Arc<Instance>>>,
    /// Held by the one who does something to the adapter.
    pub control: Mutex<()>,
    /// Something was done to it that loses frames.
    pub interrupted: AtomicBool,
}

/// An adapter, from its start to its end, with the transport that is bound to it.
pub struct Instance {
    pub adapter: Adapter,
    pub open: Open,
    pub listener: Arc<Listener>,
    /// Of each flow, the handles of the SAs that the transport has offloaded here; zero for none.
    pub handles: Vec<[AtomicUsize; 2]>,
}

impl Station {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            current: RwLock::default(),
            control: Mutex::default(),
            interrupted: AtomicBool::new(false),
        }
    }

    /// The adapter that is here now.
    pub fn current(&self) -> Option<Arc<Instance>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Takes the adapter from those who use it; they end what they are at.
    pub fn take(&self) -> Option<Arc<Instance>> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.take()
    }

    /// Starts an adapter, binds a transport, and offloads the SAs of the flows from and to here.
    /// With calls failing it may be that none starts.
    pub fn start(&self, world: &World, random: &mut fastrand::Rng) {
        let plan = &world.plan;
        let seed = plan.seed;
        let buffers = ["32", "64", "512"][random.usize(..3)];
        // As NDIS binds: nothing flows before the transport has said what it wants.
        let config = AdapterConfig::new(HARDWARE_ID)
            .paused()
            .mac(Plan::mac(self.index))
            .keyword("*ReceiveBuffers", buffers)
            .keyword("LinkState", if plan.follows { "1" } else { "0" })
            .keyword("SaOffloadCapacity", ["96", "1024"][random.usize(..2)]);
        let attempts = if plan.failures.is_some() { ATTEMPTS } else { 1 };
        let started = (0..attempts).find_map(|_| start_adapter(world, config.clone()));
        let Some(adapter) = started else {
            return;
        };
        let listener = Listener::new(
            world.ledger.clone(),
            world.flows.clone(),
            plan.holds,
            random.fork(),
        );
        let open = adapter.open(listener.clone());
        let open = open.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        world
            .bindings
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((listener.clone(), open.clone()));
        let instance = Instance {
            adapter,
            open,
            listener,
            handles: world.flows.0.iter().map(|_| Default::default()).collect(),
        };
        let filter = if plan.is_tap(self.index) {
            NDIS_PACKET_TYPE_PROMISCUOUS
        } else {
            NDIS_PACKET_TYPE_DIRECTED
        };
        instance.expect(
            world,
            OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter.to_le_bytes()),
        );
        instance.expect(
            world,
            OidRequest::set(
                OID_OFFLOAD_ENCAPSULATION,
                offload::encapsulation(NDIS_OFFLOAD_SET_ON),
            ),
        );
        if !plan.is_tap(self.index) {
            for flow in 0..world.flows.0.len() {
                instance.offload(world, self.index, flow, random);
            }
        }
        let running = instance.adapter.restart();
        running.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(instance));
    }
}

/// Starts an adapter. None when that fails because something in it was made to fail.
pub fn start_adapter(world: &World, config: AdapterConfig) -> Option<Adapter> {
    let started = match world.driver.add_adapter(config) {
        Ok(adapter) => adapter,
        Err(Error::Status(NDIS_STATUS_RESOURCES | NDIS_STATUS_FAILURE))
            if world.plan.failures.is_some() =>
        {
            return None;
        }
        Err(error) => panic!("seed {}: {error}", world.plan.seed),
    };
    world.counts.add(Action::Start);
    Some(started)
}

impl Instance {
    /// Makes a regular request.
    pub fn oid(&self, world: &World, request: OidRequest) -> OidResult {
        world.counts.add(Action::Oid);
        let result = self.open.oid(request);
        result.unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed))
    }

    /// Makes a regular request that must succeed.
    pub fn expect(&self, world: &World, request: OidRequest) {
        let text = format!("{request:?}");
        let result = self.oid(world, request);
        assert_eq!(
            result.status,
            NDIS_STATUS_SUCCESS,
            "seed {}: {text}: {}",
            world.plan.seed,
            status_name(result.status)
        );
    }

    /// Makes a direct request, on any processor, at any level that it may be made at.
    pub fn direct(
        &self,
        world: &World,
        action: Action,
        request: OidRequest,
        random: &mut fastrand::Rng,
    ) -> OidResult {
        world.counts.add(action);
        let irql = [Irql::PASSIVE, Irql::DISPATCH][random.usize(..2)];
        let cpu = world.plan.request_processor(random);
        let pending = self.open.submit_direct_oid_on(cpu, request, irql);
        pending
            .and_then(|pending| pending.wait(None))
            .unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed))
            .unwrap_or_default()
    }

    /// Makes a direct request out of a list.
    pub fn direct_list(
        &self,
        world: &World,
        action: Action,
        oid: u32,
        list: ListBuffer,
        random: &mut fastrand::Rng,
    ) -> OidResult {
        let request = OidRequest::set_with(oid, list.len(), move |base, bytes| {
            bytes.copy_from_slice(&list.at(base as usize));
        });
        self.direct(world, action, request, random)
    }

    /// Offloads SAs; a handle for each, zero for those that were refused, and the last status.
    pub fn add_sas(
        &self,
        world: &World,
        sas: &[&Sa],
        way: Way,
        random: &mut fastrand::Rng,
    ) -> (i32, Vec<Handle>) {
        if world.plan.version >= 630 {
            let mut status = NDIS_STATUS_SUCCESS;
            let handle = |sa: &&Sa| {
                let bytes = offload::add_sa_ex(sa, way).expect("a complete SA");
                let oid = OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX;
                let request = OidRequest::set(oid, bytes);
                let result = self.direct(world, Action::AddSa, request, random);
                status = result.status;
                offload::handle_at(&result.buffer, ADD_SA_EX_HANDLE)
                    .filter(|_| result.is_success())
                    .unwrap_or(0)
            };
            let handles = sas.iter().map(handle).collect();
            return (status, handles);
        }
        let list = offload::add_sa(sas, way).expect("complete SAs");
        let offsets = list.offsets().to_vec();
        let oid = OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA;
        let result = self.direct_list(world, Action::AddSa, oid, list, random);
        let handle = |offset: usize| {
            offload::handle_at(&result.buffer, offset + ADD_SA_HANDLE)
                .filter(|_| result.is_success())
                .unwrap_or(0)
        };
        (result.status, offsets.into_iter().map(handle).collect())
    }

    /// The handles that a packet of a flow goes out with: none for one without SAs, `None` when the
    /// transport has not offloaded them.
    pub fn handles_of(&self, world: &World, flow: usize) -> Option<Vec<Handle>> {
        let handles = self.handles[flow].iter();
        let handles = handles.take(world.flows.0[flow].sas().len());
        handles
            .map(|handle| Some(handle.load(Ordering::Acquire)).filter(|handle| *handle != 0))
            .collect()
    }

    /// Offloads the SAs of a flow that comes from or goes to this station.
    fn offload(&self, world: &World, station: usize, flow: usize, random: &mut fastrand::Rng) {
        let (from, to) = world.plan.route(flow);
        if world.flows.0[flow].is_extended() && world.next[flow].load(Ordering::Acquire) != 0 {
            // An SA that is in use goes on with the high half that it has reached; on which side of the
            // wrap that is, is not for the transport here to find out.
            return;
        }
        let way = if from == station {
            Way::Outbound
        } else if to == station {
            Way::Inbound
        } else {
            return;
        };
        for (sa, place) in world.flows.0[flow].sas().iter().zip(&self.handles[flow]) {
            let (status, handles) = self.add_sas(world, &[sa], way, random);
            if status == NDIS_STATUS_RESOURCES && world.plan.failures.is_some() {
                // No packets of it are sent; those that come are left to software.
                world.disturbed[flow].store(true, Ordering::Release);
                continue;
            }
            assert_eq!(
                status,
                NDIS_STATUS_SUCCESS,
                "seed {}: {}",
                world.plan.seed,
                status_name(status)
            );
            place.store(handles[0], Ordering::Release);
        }
    }
}
