//! MiniportInitializeEx of the loopback driver.

use std::{
    collections::VecDeque,
    ptr::{null, null_mut},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
};

use ndis_sim::{Irql, ndis::header, processor};
use ndis_sys::*;

use super::{
    driver::{At, Loop, Misdeed},
    handlers::{TAG, zeroed},
    life::{indicate_link, tick, work},
    plan,
};
use crate::ndis;

pub fn set(handle: u64, attributes: *const impl Sized) -> NDIS_STATUS {
    ndis!(NdisMSetMiniportAttributes(handle, attributes)) as NDIS_STATUS
}

pub fn registration(
    version: (u8, u8),
    context: *const Loop,
) -> NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES {
    let mut r: NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES = zeroed();
    r.Header = header::REGISTRATION_ATTRIBUTES.header(version);
    r.MiniportAdapterContext = context as NDIS_HANDLE;
    r
}

static OIDS: [u32; 4] = [
    OID_GEN_CURRENT_PACKET_FILTER,
    OID_GEN_MAXIMUM_TOTAL_SIZE,
    OID_GEN_XMIT_OK,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
];

pub fn general(
    version: (u8, u8),
    mac: [u8; 6],
    largest: u32,
) -> NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES {
    let mut g: NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES = zeroed();
    g.Header = header::GENERAL_ATTRIBUTES.header(version);
    g.MediaType = NdisMedium802_3;
    g.PhysicalMediumType = NdisPhysicalMedium802_3;
    g.MtuSize = largest - 14;
    g.MaxXmitLinkSpeed = 1_000_000_000;
    (g.XmitLinkSpeed, g.RcvLinkSpeed) = (1_000_000_000, 1_000_000_000);
    g.MediaConnectState = MediaConnectStateConnected;
    g.LookaheadSize = g.MtuSize;
    g.SupportedPacketFilters = 0x2F;
    g.MaxMulticastListSize = 32;
    g.MacAddressLength = 6;
    g.CurrentMacAddress[..6].copy_from_slice(&mac);
    g.PermanentMacAddress[..6].copy_from_slice(&mac);
    g.IfType = IF_TYPE_ETHERNET_CSMACD;
    g.SupportedOidList = OIDS.as_ptr().cast_mut();
    g.SupportedOidListLength = size_of_val(&OIDS) as u32;
    g
}

/// What the driver says that it takes.
pub const SA_CAPACITY: u32 = 2;

pub fn offload(version: (u8, u8)) -> NDIS_OFFLOAD {
    let mut o: NDIS_OFFLOAD = zeroed();
    o.Header = header::OFFLOAD.header(version);
    o.Checksum.IPv4Transmit.Encapsulation = NDIS_ENCAPSULATION_IEEE_802_3;
    o.Checksum.IPv4Transmit.Fields = NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS::default().with(
        NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV4_FIELDS::IpChecksum,
        NDIS_OFFLOAD_SUPPORTED,
    );
    o.IPsecV2.Encapsulation = NDIS_ENCAPSULATION_IEEE_802_3;
    (o.IPsecV2.Esp, o.IPsecV2.Transport, o.IPsecV2.Tunnel) = (1, 1, 1);
    o.IPsecV2.ExtendedSequenceNumbers = 1;
    o.IPsecV2.AuthenticationAlgorithms = IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128;
    o.IPsecV2.EncryptionAlgorithms = IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128;
    o.IPsecV2.SaOffloadCapacity = SA_CAPACITY;
    o
}

/// What it does not say.
pub fn offload_ipv6_checksum() -> NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6 {
    NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6 {
        Encapsulation: NDIS_ENCAPSULATION_IEEE_802_3,
        Fields: NDIS_TCP_IP_CHECKSUM_OFFLOAD_IPV6_FIELDS::default(),
    }
}

/// Reads the keywords: the largest frame and the station address.
pub fn configure(handle: u64) -> (u32, [u8; 6]) {
    let plan = plan();
    let mut object: NDIS_CONFIGURATION_OBJECT = zeroed();
    object.Header = header::CONFIGURATION_OBJECT.header(plan.version);
    object.NdisHandle = handle as NDIS_HANDLE;
    let mut configuration: NDIS_HANDLE = null_mut();
    let opened = ndis!(NdisOpenConfigurationEx(
        &raw const object,
        &raw mut configuration
    )) as i32;
    assert_eq!(opened, NDIS_STATUS_SUCCESS);
    let mut keyword: Vec<u16> = "*JumboPacket".encode_utf16().collect();
    let mut name: NDIS_STRING = zeroed();
    name.Length = (keyword.len() * 2) as u16;
    name.MaximumLength = name.Length;
    name.Buffer = keyword.as_mut_ptr();
    let mut status = 0i32;
    let mut value: *mut NDIS_CONFIGURATION_PARAMETER = null_mut();
    if plan.does(Misdeed::ReadClosed) {
        ndis!(NdisCloseConfiguration(configuration));
    }
    ndis!(NdisReadConfiguration(
        &raw mut status,
        &raw mut value,
        configuration,
        &raw const name,
        NdisParameterInteger
    ));
    let mut largest = 1514;
    if status == 0 {
        // SAFETY: valid, as the status says.
        largest = unsafe { (*value).ParameterData.IntegerData };
    }
    let mut address: *mut u8 = null_mut();
    let mut len = 0u32;
    ndis!(NdisReadNetworkAddress(
        &raw mut status,
        &raw mut address,
        &raw mut len,
        configuration
    ));
    let mut mac = [2, 0, 0, 0, 0, 9];
    if status == 0 && len == 6 {
        // SAFETY: six bytes, as NDIS said.
        mac.copy_from_slice(unsafe { std::slice::from_raw_parts(address, 6) });
    }
    if !plan.does(Misdeed::LeakConfiguration) {
        ndis!(NdisCloseConfiguration(configuration));
    }
    (largest, mac)
}

pub fn make_pool(handle: u64) -> u64 {
    let mut p: NET_BUFFER_LIST_POOL_PARAMETERS = zeroed();
    p.Header = header::NBL_POOL_PARAMETERS.header((6, 1));
    p.fAllocateNetBuffer = 1;
    p.PoolTag = TAG;
    ndis!(NdisAllocateNetBufferListPool(handle, &raw const p))
}

pub fn make_timer(handle: u64) -> u64 {
    let mut c: NDIS_TIMER_CHARACTERISTICS = zeroed();
    c.Header = header::TIMER_CHARACTERISTICS.header((6, 1));
    c.AllocationTag = TAG;
    c.TimerFunction = Some(tick);
    let mut timer: NDIS_HANDLE = null_mut();
    ndis!(NdisAllocateTimerObject(
        handle,
        &raw const c,
        &raw mut timer
    ));
    timer as u64
}

pub unsafe extern "efiapi" fn initialize(
    handle: NDIS_HANDLE,
    _: NDIS_HANDLE,
    parameters: *mut NDIS_MINIPORT_INIT_PARAMETERS,
) -> NDIS_STATUS {
    let plan = plan();
    let version = plan.version;
    let handle = handle as u64;
    // SAFETY: NDIS's structure.
    let kind = unsafe { (*parameters).Header }.Type;
    assert_eq!(kind, NDIS_OBJECT_TYPE_MINIPORT_INIT_PARAMETERS);
    if plan.does(Misdeed::InitializePends) {
        return NDIS_STATUS_PENDING;
    }
    let (largest, mac) = configure(handle);
    let mut g = general(version, mac, largest);
    let mut power: NDIS_PM_CAPABILITIES = zeroed();
    power.Header = header::PM_CAPABILITIES.header(version);
    if version >= (6, 20) {
        g.PowerManagementCapabilitiesEx = &raw mut power;
    }
    if plan.does(Misdeed::OtherMedium) {
        g.PhysicalMediumType = NdisPhysicalMediumUnspecified;
    }
    if plan.does(Misdeed::OldGeneral) {
        g.Header.Revision = 1;
    }
    if plan.does(Misdeed::GeneralFirst) {
        set(handle, &raw const g);
    }
    plan.handles.lock().unwrap().push(handle);
    let pool = make_pool(handle);
    if pool == 0 {
        return NDIS_STATUS_RESOURCES;
    }
    if plan.does(Misdeed::FailAndLeak) {
        return NDIS_STATUS_RESOURCES;
    }
    let memory = ndis!(NdisAllocateMemoryWithTagPriority(
        handle,
        4096,
        if plan.does(Misdeed::NoTag) { 0 } else { TAG },
        0
    ));
    let mdl = ndis!(NdisAllocateMdl(handle, memory, 4096));
    let adapter = Box::leak(Box::new(Loop {
        plan: Arc::clone(&plan),
        handle,
        pool,
        timer: make_timer(handle),
        work_item: ndis!(NdisAllocateIoWorkItem(handle)),
        mdl,
        memory,
        largest,
        running: AtomicBool::new(false),
        pausing: AtomicBool::new(false),
        out: AtomicUsize::new(0),
        kept: Mutex::new(VecDeque::new()),
        sent: AtomicU64::new(0),
        ticks: AtomicU64::new(0),
        queued: AtomicBool::new(false),
        removed: AtomicBool::new(false),
        sas: Mutex::default(),
        checksum_off: AtomicBool::new(false),
        next_sa: AtomicU64::new(0x100),
    }));
    if plan.does(Misdeed::StatusTooEarly) {
        indicate_link(handle);
    }
    let registered = registration(version, adapter);
    assert_eq!(set(handle, &raw const registered), 0);
    if !plan.does(Misdeed::NoGeneral) {
        adapter.deed(At::General, &raw mut g as u64);
        assert_eq!(set(handle, &raw const g), 0);
        let mut o = offload(version);
        if plan.does(Misdeed::OldOffload) {
            o.Header.Revision = 1;
        }
        let mut a: NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES = zeroed();
        a.Header = header::OFFLOAD_ATTRIBUTES.header(version);
        a.DefaultOffloadConfiguration = &raw mut o;
        let mut hardware = o;
        if plan.does(Misdeed::ExcessDefault) {
            hardware.Checksum = zeroed();
        }
        a.HardwareOffloadCapabilities = &raw mut hardware;
        adapter.deed(At::Offload, &raw mut a as u64);
        assert_eq!(set(handle, &raw const a), 0);
    }
    plan.pools.lock().unwrap().push(pool);
    if let Some(status) = adapter.deed(At::Initialize, 0) {
        return status;
    }
    match plan.misdeed {
        Misdeed::FreeTwice => {
            let other = ndis!(NdisAllocateMemoryWithTagPriority(handle, 64, TAG, 0));
            ndis!(NdisFreeMemory(other, 0, 0));
            ndis!(NdisFreeMemory(other, 0, 0));
        }
        Misdeed::BadHandle => {
            ndis!(NdisAllocateIoWorkItem(0x1234_5678u64));
        }
        Misdeed::NullPointer => {
            ndis!(NdisAllocateNetBufferListPool(handle, null::<u8>()));
        }
        Misdeed::QueueTwice => {
            let _held = processor::current().raise(Irql::DISPATCH);
            let adapter = &raw const *adapter;
            let item = Loop::of(adapter as NDIS_HANDLE).work_item;
            ndis!(NdisQueueIoWorkItem(item, work as *const (), adapter));
            ndis!(NdisQueueIoWorkItem(item, work as *const (), adapter));
        }
        Misdeed::FreeListTwice => {
            let nbl = ndis!(NdisAllocateNetBufferList(pool, 0, 0));
            ndis!(NdisFreeNetBufferList(nbl));
            ndis!(NdisFreeNetBufferList(nbl));
        }
        Misdeed::WriteBehindContext => {
            let nbl = ndis!(NdisAllocateNetBufferList(pool, 16, 0)) as *mut NET_BUFFER_LIST;
            // SAFETY: none: the write of one byte too far is the point.
            unsafe {
                let context = (*nbl).Context;
                context.add(1).cast::<u8>().add(16).write(0);
            }
            ndis!(NdisFreeNetBufferList(nbl));
        }
        Misdeed::AllocateAtDirql => {
            let _raised = processor::current().raise(Irql::DIRQL);
            ndis!(NdisAllocateNetBufferList(pool, 0, 0));
        }
        Misdeed::SetTimerAtDirql => {
            let _raised = processor::current().raise(Irql::DIRQL);
            ndis!(NdisCancelTimerObject(adapter.timer));
        }
        Misdeed::LeakObject => {
            ndis!(NdisAllocateGenericObject(
                plan.driver.load(std::sync::atomic::Ordering::SeqCst),
                TAG,
                8
            ));
        }
        Misdeed::FreeObjectTwice => {
            let object = ndis!(NdisAllocateGenericObject(0, TAG, 8));
            ndis!(NdisFreeGenericObject(object));
            ndis!(NdisFreeGenericObject(object));
        }
        Misdeed::LeakNetBuffer => {
            let mut p: NET_BUFFER_POOL_PARAMETERS = zeroed();
            p.Header = header::NB_POOL_PARAMETERS.header((6, 1));
            p.PoolTag = TAG;
            let pool = ndis!(NdisAllocateNetBufferPool(handle, &raw const p));
            ndis!(NdisAllocateNetBuffer(pool, 0, 0, 0));
        }
        Misdeed::FreePoolEarly => {
            let other = make_pool(handle);
            ndis!(NdisAllocateNetBufferList(other, 16, 16));
            ndis!(NdisFreeNetBufferListPool(other));
        }
        _ => {}
    }
    NDIS_STATUS_SUCCESS
}
