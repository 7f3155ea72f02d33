//! MiniportInitializeEx. What is allocated belongs to the [`Adapter`] from the start, so that a
//! failure at any step undoes all steps before it by dropping it.

use alloc::boxed::Box;
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32},
};

use ipsec::Engine;
use ndis::{
    ExtendedFeatures, FramePool, MiniportHandle, NblPool, OutOfMemory, Passive, RaisedIrql,
    at_dispatch, try_box,
};
use ndis_sys::{
    ALL_PROCESSOR_GROUPS, KeQueryMaximumProcessorCountEx, NDIS_ERROR_CODE_OUT_OF_RESOURCES,
    NDIS_HANDLE, NDIS_MINIPORT_INIT_PARAMETERS, NDIS_STATUS, NDIS_STATUS_RESOURCES, NET_LUID_INFO,
    NdisWriteErrorLogEntry, PVOID,
};

use super::{
    Adapter,
    gates::Gates,
    link::{self, Link},
    state::{Reason, State},
};
use crate::{
    POOL_TAG, attributes,
    config::Config,
    entry,
    ethernet::{MIN_FRAME, Mac, TAG},
    offload::Offload,
    receive::{self, Receiver},
    send::{self, Sender},
    stats::Stats,
    trace::trace,
    version,
    wdf::Device,
    wire,
};

/// Makes an adapter, in the Paused state, and returns what NDIS is to know it by.
///
/// # Errors
/// The status that MiniportInitializeEx returns; nothing stays allocated.
pub fn initialize(
    handle: MiniportHandle,
    parameters: &NDIS_MINIPORT_INIT_PARAMETERS,
    at: Passive<'_>,
) -> Result<(), NDIS_STATUS> {
    let adapter = build(handle, parameters, at).inspect_err(|&status| {
        trace!("initialize failed: {status:#010x}");
        if status == NDIS_STATUS_RESOURCES {
            // SAFETY: MiniportInitializeEx's handle; no values follow.
            unsafe { NdisWriteErrorLogEntry(handle.raw(), NDIS_ERROR_CODE_OUT_OF_RESOURCES, 0) };
        }
    })?;
    // The adapter is NDIS' from here on: MiniportHaltEx takes it back. The other adapters have a link to it.
    let adapter: &Adapter = Box::leak(adapter);
    at_dispatch(false, |at| adapter.update_port(at));
    Ok(())
}

fn build(
    handle: MiniportHandle,
    parameters: &NDIS_MINIPORT_INIT_PARAMETERS,
    at: Passive<'_>,
) -> Result<Box<Adapter>, NDIS_STATUS> {
    let version = version::registered();
    let config = Config::read(handle, version, at)?;
    // SAFETY: the driver object lives until the unload; the handle is MiniportInitializeEx's.
    let device = unsafe { Device::create(entry::wdf_driver(), handle, at) }?;
    let permanent_address = permanent_address(parameters);
    let mut adapter = allocate(handle, config, permanent_address, device, at)
        .map_err(|OutOfMemory| NDIS_STATUS_RESOURCES)?;

    let context: PVOID = (&raw mut *adapter).cast();
    // SAFETY: the adapter is boxed and does not move any more; nobody uses these before the end of
    // this function. All routines are sound with an adapter until they are retired, which dropping the
    // adapter does first (`halt`).
    unsafe {
        adapter.gates.initialize();
        adapter.receiver.deferred.initialize(receive_dpc, context);
        adapter.sender.deferred.initialize(send_dpc, context);
        adapter.link.initialize(context);
    }
    let wanted = config.network_address.unwrap_or(permanent_address);
    let raised = RaisedIrql::raise();
    // SAFETY: the adapter stays valid until its plug is dropped, which dropping it does first.
    let attached = unsafe {
        wire::attach(
            NonNull::from(&mut *adapter),
            wanted,
            config.network_address.is_none(),
            raised.dispatch(),
        )
    };
    drop(raised);
    let (plug, address) = attached.ok_or(NDIS_STATUS_RESOURCES)?;
    adapter.plug = Some(plug);
    adapter.address = address;
    if config.network_address.is_none() {
        adapter.permanent_address = address;
    }
    let up = at_dispatch(false, |at| link::is_up(&adapter, at));
    if !up {
        adapter.state.set(Reason::NoLink);
    }
    attributes::set(&adapter, context, up, at)?;
    at_dispatch(false, |at| adapter.link.begin(up, at));
    let [a, b, c, d, e, f] = address.0;
    trace!("initialized {a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}");
    Ok(adapter)
}

/// Everything that costs memory.
fn allocate(
    handle: MiniportHandle,
    config: Config,
    permanent_address: Mac,
    device: Device,
    at: Passive<'_>,
) -> Result<Box<Adapter>, OutOfMemory> {
    let version = version::registered();
    let engine = Engine::try_new(ipsec::Config {
        sa_capacity: config.sa_capacity,
        legacy_algorithms: config.legacy_algorithms,
    })
    .map_err(|_| OutOfMemory)?;
    // A tag in the frame, and one from out-of-band data.
    let capacity = config
        .max_frame
        .saturating_add(TAG)
        .saturating_add(TAG)
        .max(MIN_FRAME.saturating_add(TAG));
    let lists = NblPool::new(handle, version, POOL_TAG, at)?;
    let frames = FramePool::new(handle, version, lists, config.receive_buffers, capacity, at)?;
    // SAFETY: callable at any IRQL.
    let processors = unsafe { KeQueryMaximumProcessorCountEx(ALL_PROCESSOR_GROUPS) };
    let sender = Sender::new(
        handle,
        (processors as usize).clamp(1, send::MAX_INLINE_PROCESSORS),
        capacity,
        send_work_item,
        at,
    )?;
    try_box(Adapter {
        handle,
        version,
        config,
        permanent_address,
        address: permanent_address,
        state: State::paused(),
        gates: Gates::closed(),
        offload: Offload::new(config.offload),
        features: ExtendedFeatures::enabled(at),
        engine,
        stats: Stats::new(),
        frames,
        receiver: Receiver::new(handle, receive_work_item, at)?,
        sender,
        link: Link::new(config.link_follows, handle, link_work_item, at)?,
        vlan_id: AtomicU16::new(config.vlan_id),
        lookahead: AtomicU32::new(u32::try_from(config.mtu()).unwrap_or(u32::MAX)),
        plug: None,
        _device: device,
    })
}

/// A locally administered address (IEEE 802, 8.2) that lasts as long as the interface: from the
/// index that NDIS keeps in its NET_LUID.
fn permanent_address(parameters: &NDIS_MINIPORT_INIT_PARAMETERS) -> Mac {
    // SAFETY: a NET_LUID is an integer and its fields.
    let luid: NET_LUID_INFO = unsafe { parameters.NetLuid.Info };
    let [a, b, c, ..] = luid.get(NET_LUID_INFO::NetLuidIndex).to_le_bytes();
    Mac([0x02, b'I', b'P', c, b, a])
}

/// The receive DPC.
unsafe extern "efiapi" fn receive_dpc(
    _dpc: *mut ndis_sys::KDPC,
    context: PVOID,
    _argument1: PVOID,
    _argument2: PVOID,
) {
    // SAFETY: initialised with the adapter, which outlives the DPC; DPCs run at DISPATCH_LEVEL.
    let (adapter, at) = unsafe { (&*context.cast::<Adapter>(), ndis::Dispatch::assume()) };
    receive::run_dpc(adapter, at);
}

/// The send DPC.
unsafe extern "efiapi" fn send_dpc(
    _dpc: *mut ndis_sys::KDPC,
    context: PVOID,
    _argument1: PVOID,
    _argument2: PVOID,
) {
    // SAFETY: as in `receive_dpc`.
    let (adapter, at) = unsafe { (&*context.cast::<Adapter>(), ndis::Dispatch::assume()) };
    send::run_dpc(adapter, at);
}

/// The work item that stands in for the receive DPC.
unsafe extern "efiapi" fn receive_work_item(context: PVOID, _work_item: NDIS_HANDLE) {
    // SAFETY: initialised with the adapter, which is used only until the work item is done.
    let adapter = unsafe { &*context.cast::<Adapter>() };
    at_dispatch(false, |at| receive::run_work_item(adapter, at));
}

/// The work item that stands in for the send DPC.
unsafe extern "efiapi" fn send_work_item(context: PVOID, _work_item: NDIS_HANDLE) {
    // SAFETY: as in `receive_work_item`.
    let adapter = unsafe { &*context.cast::<Adapter>() };
    at_dispatch(false, |at| send::run_work_item(adapter, at));
}

/// The work item that looks after the link.
unsafe extern "efiapi" fn link_work_item(context: PVOID, _work_item: NDIS_HANDLE) {
    // SAFETY: as in `receive_work_item`.
    link::run_work_item(unsafe { &*context.cast::<Adapter>() });
}

impl Drop for Adapter {
    /// Takes the adapter out of the world before its memory goes: the wire first, so that nobody
    /// queues a DPC any more, then the DPCs and their work items, then the frames that were left in the
    /// queue.
    fn drop(&mut self) {
        // SAFETY: an adapter is dropped by a failing MiniportInitializeEx or by MiniportHaltEx, at
        // PASSIVE_LEVEL.
        let at = unsafe { Passive::assume() };
        if self.plug.take().is_none() {
            // Never attached: they may not even be initialised.
            return;
        }
        self.link.retire(at);
        let deferred = [&self.receiver.deferred, &self.sender.deferred];
        ndis::deferred::retire(deferred.into_iter(), at);
        at_dispatch(false, |at| self.receiver.purge(self, at));
    }
}
