//! `loopback.sys`: an Ethernet adapter that receives what it sends. Nothing of the project is in it
//! but the raw bindings: it shows what a miniport of one's own needs, and that the simulator runs it.
//!
//! Each frame is copied into memory, an MDL and a NET_BUFFER_LIST of its own, which are freed when
//! they come back. `out` counts them, and one for the running adapter itself, so that a pause is over
//! when it falls to zero.

#![no_std]

use core::{
    ptr::null_mut,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use ndis_sys::*;

/// What the adapter registers as.
const VERSION: NdisVersion = NdisVersion::V6_30;
const MTU: u32 = 1500;
const ETHERNET_HEADER: u32 = 14;
/// Locally administered; the last byte is the number of the interface.
const ADDRESS: [u8; 6] = [0x02, b'l', b'o', b'o', b'p', 0];
/// NormalPoolPriority of EX_POOL_PRIORITY.
const PRIORITY: EX_POOL_PRIORITY = 16;
const TAG: u32 = u32::from_le_bytes(*b"pooL");
const FILTERS: u32 = NDIS_PACKET_TYPE_DIRECTED
    | NDIS_PACKET_TYPE_MULTICAST
    | NDIS_PACKET_TYPE_ALL_MULTICAST
    | NDIS_PACKET_TYPE_BROADCAST
    | NDIS_PACKET_TYPE_PROMISCUOUS;

static OIDS: [u32; 9] = [
    OID_GEN_CURRENT_PACKET_FILTER,
    OID_GEN_CURRENT_LOOKAHEAD,
    OID_GEN_MAXIMUM_TOTAL_SIZE,
    OID_GEN_VENDOR_DESCRIPTION,
    OID_GEN_XMIT_OK,
    OID_GEN_RCV_OK,
    OID_802_3_PERMANENT_ADDRESS,
    OID_802_3_CURRENT_ADDRESS,
    OID_802_3_MULTICAST_LIST,
];

static CHARACTERISTICS: NDIS_MINIPORT_DRIVER_CHARACTERISTICS = {
    let mut of = NDIS_MINIPORT_DRIVER_CHARACTERISTICS::ZERO;
    of.Header = header(ObjectKind::MiniportDriverCharacteristics);
    (of.MajorNdisVersion, of.MinorNdisVersion) = (VERSION.major(), VERSION.minor());
    of.InitializeHandlerEx = Some(initialize);
    of.HaltHandlerEx = Some(halt);
    of.UnloadHandler = Some(unload);
    of.PauseHandler = Some(pause);
    of.RestartHandler = Some(restart);
    of.OidRequestHandler = Some(oid_request);
    of.SendNetBufferListsHandler = Some(send);
    of.ReturnNetBufferListsHandler = Some(returned);
    of.CancelSendHandler = Some(cancel_send);
    of.DevicePnPEventNotifyHandler = Some(pnp_event);
    of.ShutdownHandlerEx = Some(shutdown);
    of.CancelOidRequestHandler = Some(cancel_oid_request);
    of
};

static DRIVER: AtomicUsize = AtomicUsize::new(0);

/// MiniportAdapterContext, in memory of NdisAllocateMemoryWithTagPriority.
struct Adapter {
    handle: NDIS_HANDLE,
    pool: NDIS_HANDLE,
    address: [u8; 6],
    /// Lists that are out, plus one while the adapter runs.
    out: AtomicUsize,
    frames: AtomicU64,
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: stops the system. MANUALLY_INITIATED_CRASH.
    unsafe { KeBugCheckEx(0xE2, 0, 0, 0, 0) }
}

/// # Safety
/// The kernel calls it once, at PASSIVE_LEVEL.
#[unsafe(no_mangle)]
pub unsafe extern "efiapi" fn DriverEntry(
    driver: *mut DRIVER_OBJECT,
    path: *mut UNICODE_STRING,
) -> NDIS_STATUS {
    let mut handle: NDIS_HANDLE = null_mut();
    // SAFETY: DriverEntry's parameters; the characteristics are complete, and NDIS copies them.
    let status = unsafe {
        let characteristics = (&raw const CHARACTERISTICS).cast_mut();
        NdisMRegisterMiniportDriver(driver, path, null_mut(), characteristics, &raw mut handle)
    };
    DRIVER.store(handle as usize, Ordering::Release);
    status
}

unsafe extern "efiapi" fn unload(_: *mut DRIVER_OBJECT) {
    // SAFETY: registered by DriverEntry, deregistered once.
    unsafe { NdisMDeregisterMiniportDriver(DRIVER.load(Ordering::Acquire) as NDIS_HANDLE) }
}

const fn header(kind: ObjectKind) -> NDIS_OBJECT_HEADER {
    match kind.header(VERSION) {
        Some(header) => header,
        None => NDIS_OBJECT_HEADER::ZERO,
    }
}

unsafe extern "efiapi" fn initialize(
    handle: NDIS_HANDLE,
    _: NDIS_HANDLE,
    parameters: *mut NDIS_MINIPORT_INIT_PARAMETERS,
) -> NDIS_STATUS {
    let size = size_of::<Adapter>() as u32;
    let mut pool = NET_BUFFER_LIST_POOL_PARAMETERS::ZERO;
    pool.Header = header(ObjectKind::NetBufferListPoolParameters);
    pool.ProtocolId = NDIS_PROTOCOL_ID_DEFAULT;
    pool.fAllocateNetBuffer = 1;
    pool.PoolTag = TAG;
    // SAFETY: MiniportInitializeEx's handle and parameters; the memory is written before it is read,
    // and what was made is freed again when something fails.
    unsafe {
        let memory = NdisAllocateMemoryWithTagPriority(handle, size, TAG, PRIORITY);
        let adapter = memory.cast::<Adapter>();
        if adapter.is_null() {
            return NDIS_STATUS_RESOURCES;
        }
        let mut address = ADDRESS;
        address[5] = (*parameters).IfIndex as u8;
        adapter.write(Adapter {
            handle,
            pool: NdisAllocateNetBufferListPool(handle, &raw const pool),
            address,
            out: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
        });
        let status = if (*adapter).pool.is_null() {
            NDIS_STATUS_RESOURCES
        } else {
            set_attributes(&*adapter)
        };
        if status != NDIS_STATUS_SUCCESS {
            release(adapter);
        }
        status
    }
}

/// Registration attributes first, general ones next.
fn set_attributes(adapter: &Adapter) -> NDIS_STATUS {
    let mut registration = NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES::ZERO;
    registration.Header = header(ObjectKind::MiniportAdapterRegistrationAttributes);
    registration.MiniportAdapterContext = (&raw const *adapter).cast_mut().cast();
    registration.AttributeFlags =
        NDIS_MINIPORT_ATTRIBUTES_SURPRISE_REMOVE_OK | NDIS_MINIPORT_ATTRIBUTES_NDIS_WDM;
    registration.InterfaceType = NdisInterfaceInternal;

    let mut power = NDIS_PM_CAPABILITIES::ZERO;
    power.Header = header(ObjectKind::PmCapabilities);
    power.MinMagicPacketWakeUp = NdisDeviceStateUnspecified;
    power.MinPatternWakeUp = NdisDeviceStateUnspecified;
    power.MinLinkChangeWakeUp = NdisDeviceStateUnspecified;

    let mut of = NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES::ZERO;
    of.Header = header(ObjectKind::MiniportAdapterGeneralAttributes);
    of.MediaType = NdisMedium802_3;
    of.PhysicalMediumType = NdisPhysicalMedium802_3;
    (of.MtuSize, of.LookaheadSize) = (MTU, MTU);
    (of.MaxXmitLinkSpeed, of.MaxRcvLinkSpeed) = (1_000_000_000, 1_000_000_000);
    (of.XmitLinkSpeed, of.RcvLinkSpeed) = (1_000_000_000, 1_000_000_000);
    of.MediaConnectState = MediaConnectStateConnected;
    of.MediaDuplexState = MediaDuplexStateFull;
    of.MacOptions = NDIS_MAC_OPTION_COPY_LOOKAHEAD_DATA | NDIS_MAC_OPTION_TRANSFERS_NOT_PEND;
    of.SupportedPacketFilters = FILTERS;
    of.MaxMulticastListSize = 32;
    of.MacAddressLength = 6;
    for (at, byte) in adapter.address.into_iter().enumerate() {
        (of.PermanentMacAddress[at], of.CurrentMacAddress[at]) = (byte, byte);
    }
    of.AccessType = NET_IF_ACCESS_BROADCAST;
    of.DirectionType = NET_IF_DIRECTION_SENDRECEIVE;
    of.ConnectionType = NET_IF_CONNECTION_DEDICATED;
    of.IfType = IF_TYPE_ETHERNET_CSMACD;
    of.SupportedPauseFunctions = NdisPauseFunctionsUnsupported as u32;
    of.SupportedOidList = OIDS.as_ptr().cast_mut();
    of.SupportedOidListLength = size_of_val(&OIDS) as u32;
    of.PowerManagementCapabilitiesEx = &raw mut power;
    // SAFETY: MiniportInitializeEx's handle; the structures are complete, and NDIS copies them.
    unsafe {
        match NdisMSetMiniportAttributes(adapter.handle, (&raw mut registration).cast()) {
            NDIS_STATUS_SUCCESS => NdisMSetMiniportAttributes(adapter.handle, (&raw mut of).cast()),
            failed => failed,
        }
    }
}

/// # Safety
/// Made by `initialize`, and not used any more.
unsafe fn release(adapter: *mut Adapter) {
    // SAFETY: by the caller's promise; a pool is freed when all of its lists are.
    unsafe {
        if !(*adapter).pool.is_null() {
            NdisFreeNetBufferListPool((*adapter).pool);
        }
        NdisFreeMemory(adapter.cast(), 0, 0);
    }
}

/// The adapter of a handler's context.
///
/// # Safety
/// `context` is what NDIS passes to a handler: it is valid until MiniportHaltEx ends.
unsafe fn adapter<'a>(context: NDIS_HANDLE) -> &'a Adapter {
    // SAFETY: by the caller's promise.
    unsafe { &*context.cast::<Adapter>() }
}

unsafe extern "efiapi" fn halt(context: NDIS_HANDLE, _: NDIS_HALT_ACTION) {
    // SAFETY: NDIS halts a paused adapter, once.
    unsafe { release(context.cast()) }
}

unsafe extern "efiapi" fn restart(
    context: NDIS_HANDLE,
    _: *mut NDIS_MINIPORT_RESTART_PARAMETERS,
) -> NDIS_STATUS {
    // SAFETY: a handler's context.
    unsafe { adapter(context) }.out.store(1, Ordering::Release);
    NDIS_STATUS_SUCCESS
}

unsafe extern "efiapi" fn pause(
    context: NDIS_HANDLE,
    _: *mut NDIS_MINIPORT_PAUSE_PARAMETERS,
) -> NDIS_STATUS {
    // SAFETY: a handler's context.
    match unsafe { adapter(context) }
        .out
        .fetch_sub(1, Ordering::AcqRel)
    {
        1 => NDIS_STATUS_SUCCESS,
        _ => NDIS_STATUS_PENDING,
    }
}

unsafe extern "efiapi" fn send(
    context: NDIS_HANDLE,
    first: *mut NET_BUFFER_LIST,
    _: NDIS_PORT_NUMBER,
    flags: ULONG,
) {
    // SAFETY: a handler's context.
    let adapter = unsafe { adapter(context) };
    let dispatch = flags & NDIS_SEND_FLAGS_DISPATCH_LEVEL != 0;
    let mut nbl = first;
    while !nbl.is_null() {
        // SAFETY: NDIS's lists, until they are completed below.
        unsafe {
            let mut status = NDIS_STATUS_PAUSED;
            let mut nb = (*nbl).FirstNetBuffer;
            while !nb.is_null() && adapter.begin() {
                status = NDIS_STATUS_SUCCESS;
                if !loop_back(adapter, nb, dispatch) {
                    adapter.end();
                }
                nb = (*nb).Next;
            }
            (*nbl).Status = status;
            nbl = (*nbl).Next;
        }
    }
    let complete = u32::from(dispatch) * NDIS_SEND_COMPLETE_FLAGS_DISPATCH_LEVEL;
    // SAFETY: the chain as it came, each with its status.
    unsafe { NdisMSendNetBufferListsComplete(adapter.handle, first, complete) }
}

impl Adapter {
    /// Counts a list that goes out, unless the adapter is paused.
    fn begin(&self) -> bool {
        let more = |out: usize| (out != 0).then(|| out.wrapping_add(1));
        self.out
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    /// A list is back; the last one ends a pause. The adapter may be gone afterwards.
    fn end(&self) {
        let handle = self.handle;
        if self.out.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: MiniportPause took its one off and returned NDIS_STATUS_PENDING.
            unsafe { NdisMPauseComplete(handle) }
        }
    }
}

/// Indicates a copy of the frame; false when there is no memory for it: a frame is lost.
///
/// # Safety
/// `nb` is of a send request that is not completed.
unsafe fn loop_back(adapter: &Adapter, nb: *mut NET_BUFFER, dispatch: bool) -> bool {
    // SAFETY: NDIS's NET_BUFFER; what is allocated here is given to the list, which `free` takes apart.
    unsafe {
        let len = (*nb).DataLength;
        let copy = NdisAllocateMemoryWithTagPriority(adapter.handle, len.max(1), TAG, PRIORITY);
        if copy.is_null() {
            return false;
        }
        let data = NdisGetDataBuffer(nb, len, copy, 1, 0);
        let mdl = NdisAllocateMdl(adapter.handle, copy, len.max(1));
        if data.is_null() || mdl.is_null() {
            if !mdl.is_null() {
                NdisFreeMdl(mdl);
            }
            NdisFreeMemory(copy, 0, 0);
            return false;
        }
        if data != copy {
            data.cast::<u8>()
                .copy_to_nonoverlapping(copy.cast(), len as usize);
        }
        let size = len as usize;
        let up = NdisAllocateNetBufferAndNetBufferList(adapter.pool, 0, 0, mdl, 0, size);
        if up.is_null() {
            NdisFreeMdl(mdl);
            NdisFreeMemory(copy, 0, 0);
            return false;
        }
        (*up).SourceHandle = adapter.handle;
        adapter.frames.fetch_add(1, Ordering::Relaxed);
        let flags = u32::from(dispatch) * NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL;
        NdisMIndicateReceiveNetBufferLists(adapter.handle, up, 0, 1, flags);
        true
    }
}

unsafe extern "efiapi" fn returned(context: NDIS_HANDLE, first: *mut NET_BUFFER_LIST, _: ULONG) {
    // SAFETY: a handler's context.
    let adapter = unsafe { adapter(context) };
    let mut nbl = first;
    while !nbl.is_null() {
        // SAFETY: a list of `loop_back`'s, back from NDIS; its memory goes last.
        unsafe {
            let next = (*nbl).Next;
            let mdl = (*(*nbl).FirstNetBuffer).MdlChain;
            let memory = (*mdl).MappedSystemVa;
            NdisFreeNetBufferList(nbl);
            NdisFreeMdl(mdl);
            NdisFreeMemory(memory, 0, 0);
            nbl = next;
        }
        adapter.end();
    }
}

unsafe extern "efiapi" fn oid_request(
    context: NDIS_HANDLE,
    request: *mut NDIS_OID_REQUEST,
) -> NDIS_STATUS {
    // SAFETY: a handler's context, and NDIS's request; the union's members begin alike.
    unsafe {
        let adapter = adapter(context);
        let frames = adapter.frames.load(Ordering::Relaxed).to_ne_bytes();
        let largest = (MTU + ETHERNET_HEADER).to_ne_bytes();
        let is_set = (*request).RequestType == NdisRequestSetInformation;
        match (is_set, (*request).DATA.QUERY_INFORMATION.Oid) {
            (false, OID_GEN_MAXIMUM_TOTAL_SIZE) => answer(request, &largest),
            (false, OID_GEN_XMIT_OK | OID_GEN_RCV_OK) => answer(request, &frames),
            (false, OID_GEN_VENDOR_DESCRIPTION) => answer(request, b"Loopback\0"),
            (false, OID_802_3_PERMANENT_ADDRESS | OID_802_3_CURRENT_ADDRESS) => {
                answer(request, &adapter.address)
            }
            // NDIS filters for its protocols; an adapter without hardware has nothing to set.
            (true, OID_GEN_CURRENT_PACKET_FILTER)
            | (true, OID_GEN_CURRENT_LOOKAHEAD | OID_802_3_MULTICAST_LIST)
            | (true, OID_PNP_SET_POWER) => {
                let set = &raw mut (*request).DATA.SET_INFORMATION;
                (*set).BytesRead = (*set).InformationBufferLength;
                NDIS_STATUS_SUCCESS
            }
            _ => NDIS_STATUS_NOT_SUPPORTED,
        }
    }
}

/// # Safety
/// `request` is a query.
unsafe fn answer(request: *mut NDIS_OID_REQUEST, value: &[u8]) -> NDIS_STATUS {
    // SAFETY: by the caller's promise; the buffer has the length that the request says.
    unsafe {
        let query = &raw mut (*request).DATA.QUERY_INFORMATION;
        if ((*query).InformationBufferLength as usize) < value.len() {
            (*query).BytesNeeded = value.len() as u32;
            return NDIS_STATUS_BUFFER_TOO_SHORT;
        }
        value
            .as_ptr()
            .copy_to_nonoverlapping((*query).InformationBuffer.cast(), value.len());
        (*query).BytesWritten = value.len() as u32;
    }
    NDIS_STATUS_SUCCESS
}

// Sends and requests are complete when their handlers return, and there is no hardware to put away.
unsafe extern "efiapi" fn cancel_send(_: NDIS_HANDLE, _: PVOID) {}
unsafe extern "efiapi" fn cancel_oid_request(_: NDIS_HANDLE, _: PVOID) {}
unsafe extern "efiapi" fn pnp_event(_: NDIS_HANDLE, _: *mut NET_DEVICE_PNP_EVENT) {}
unsafe extern "efiapi" fn shutdown(_: NDIS_HANDLE, _: NDIS_SHUTDOWN_ACTION) {}
