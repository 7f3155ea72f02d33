//! NdisMSetMiniportAttributes: what a miniport says of its adapter, and the
//! order in which it must say it.

use std::{
    ptr,
    sync::{Arc, atomic::Ordering},
};

use ndis_sys::{
    IF_TYPE_ETHERNET_CSMACD, NDIS_HANDLE, NDIS_LINK_STATE, NDIS_MAX_PHYS_ADDRESS_LENGTH,
    NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES, NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES,
    NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES,
    NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES, NDIS_OBJECT_HEADER, NDIS_STATUS,
    NDIS_STATUS_BAD_VERSION, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, NdisMedium802_3, PVOID,
};

use super::{
    adapter::{AdapterBlock, AdapterState},
    header::{self, Version},
    rules,
    state::{here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    inf::{self, RegValue},
    irql::Irql,
    report::violation,
};

pub(super) fn exports() -> Vec<Export> {
    let passive = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .exactly(Irql::PASSIVE)
            .irql_rule(rules::IRQL_MINIPORT)
    };
    vec![
        passive("NdisMSetMiniportAttributes", set as *const (), 2),
        passive("NdisMGetDeviceProperty", device_property as *const (), 6),
    ]
}

extern "efiapi" fn set(handle: NDIS_HANDLE, attributes: *const NDIS_OBJECT_HEADER) -> NDIS_STATUS {
    required(attributes, "MiniportAttributes");
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        let version = adapter.driver.version;
        // SAFETY: checked for NULL; each structure begins with the header.
        let kind = unsafe { attributes.read() }.Type;
        let adding = kind == header::ADD_DEVICE_ATTRIBUTES.kind;
        let expected = if adding {
            AdapterState::Halted
        } else {
            AdapterState::Initializing
        };
        if adapter.state() != expected {
            violation(
                rules::ATTRIBUTES,
                format!(
                    "called in the {} state, not from MiniportInitializeEx",
                    adapter.state()
                ),
            );
        }
        if machine.faults().hit("NdisMSetMiniportAttributes") {
            return NDIS_STATUS_RESOURCES;
        }
        // SAFETY: the type says which structure it is; `check` sees to its size.
        unsafe {
            match kind {
                k if k == header::ADD_DEVICE_ATTRIBUTES.kind => {
                    header::ADD_DEVICE_ATTRIBUTES.check(attributes, version);
                    let a = attributes.cast::<NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES>();
                    let context = (*a).MiniportAddDeviceContext as u64;
                    adapter.add_device_context.store(context, Ordering::Release);
                }
                k if k == header::REGISTRATION_ATTRIBUTES.kind => {
                    header::REGISTRATION_ATTRIBUTES.check(attributes, version);
                    set_registration(&adapter, attributes.cast());
                }
                k if k == header::GENERAL_ATTRIBUTES.kind => {
                    header::GENERAL_ATTRIBUTES.check(attributes, version);
                    set_general(&adapter, attributes, version);
                }
                k if k == header::OFFLOAD_ATTRIBUTES.kind => {
                    header::OFFLOAD_ATTRIBUTES.check(attributes, version);
                    in_order(&adapter, "offload");
                    set_offload(&adapter, attributes.cast(), version);
                }
                k if k == header::HARDWARE_ASSIST_ATTRIBUTES.kind => {
                    header::HARDWARE_ASSIST_ATTRIBUTES.check(attributes, version);
                    in_order(&adapter, "hardware assist");
                    adapter.attributes.lock().hardware_assist = true;
                }
                // "NDIS does not support the version": types that came later.
                _ => return NDIS_STATUS_BAD_VERSION,
            }
        }
        NDIS_STATUS_SUCCESS
    })
}

fn refuse(text: impl Into<String>) -> ! {
    violation(rules::ATTRIBUTES, text)
}

/// Registration first, general next, the others after.
fn in_order(adapter: &AdapterBlock, which: &str) {
    let attributes = adapter.attributes.lock();
    let (registered, general) = (
        attributes.registration.is_some(),
        attributes.general.is_some(),
    );
    drop(attributes);
    if !registered {
        refuse(format!(
            "{which} attributes before the registration attributes"
        ));
    }
    if !general && which != "general" {
        refuse(format!("{which} attributes before the general attributes"));
    }
}

/// # Safety
/// `attributes` points to the structure.
unsafe fn set_registration(
    adapter: &AdapterBlock,
    attributes: *const NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES,
) {
    // SAFETY: as the caller says; NDIS_SIZEOF ends after InterfaceType, so the
    // padding behind it is not read.
    let (context, flags, hang, interface) = unsafe {
        let a = &raw const *attributes;
        (
            (*a).MiniportAdapterContext,
            (*a).AttributeFlags,
            (*a).CheckForHangTimeInSeconds,
            (*a).InterfaceType,
        )
    };
    let mut all = adapter.attributes.lock();
    let again = all.registration.is_some();
    // SAFETY: all-zero is a valid value.
    let mut copy: NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES = unsafe { std::mem::zeroed() };
    copy.MiniportAdapterContext = context;
    copy.AttributeFlags = flags;
    copy.CheckForHangTimeInSeconds = hang;
    copy.InterfaceType = interface;
    all.registration = Some(copy);
    drop(all);
    if again {
        refuse("the registration attributes are set twice");
    }
    adapter.context.store(context as u64, Ordering::Release);
}

/// # Safety
/// `attributes` points to the structure, of the revision of `version`.
unsafe fn set_general(
    adapter: &AdapterBlock,
    attributes: *const NDIS_OBJECT_HEADER,
    version: Version,
) {
    in_order(adapter, "general");
    let (_, size) = header::GENERAL_ATTRIBUTES.for_version(version);
    // SAFETY: all-zero is a valid value; the size of the revision is copied.
    let general = unsafe {
        let mut copy: NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES = std::mem::zeroed();
        let len = usize::from(size).min(size_of_val(&copy));
        ptr::copy_nonoverlapping(attributes.cast::<u8>(), (&raw mut copy).cast::<u8>(), len);
        copy
    };
    if adapter.attributes.lock().general.is_some() {
        refuse("the general attributes are set twice");
    }
    check_general(adapter, &general, version);
    let count = general.SupportedOidListLength as usize / 4;
    // SAFETY: the miniport says that its list has that many bytes.
    let oids = unsafe {
        (0..count)
            .map(|i| general.SupportedOidList.add(i).read_unaligned())
            .collect()
    };
    let power = !general.PowerManagementCapabilities.is_null()
        || !general.PowerManagementCapabilitiesEx.is_null();
    if !general.PowerManagementCapabilitiesEx.is_null() {
        // SAFETY: not NULL, and points to the structure by its page.
        unsafe { header::PM_CAPABILITIES.check(general.PowerManagementCapabilitiesEx, version) };
    }
    // SAFETY: all-zero is a valid value.
    let mut link: NDIS_LINK_STATE = unsafe { std::mem::zeroed() };
    link.Header = header::LINK_STATE.header(version);
    link.MediaConnectState = general.MediaConnectState;
    link.MediaDuplexState = general.MediaDuplexState;
    link.XmitLinkSpeed = general.XmitLinkSpeed;
    link.RcvLinkSpeed = general.RcvLinkSpeed;
    link.AutoNegotiationFlags = general.AutoNegotiationFlags;
    // It is awake: this is said in MiniportInitializeEx only.
    let _ = adapter.link.tell(link);
    let mut all = adapter.attributes.lock();
    all.general = Some(general);
    all.oids = oids;
    all.power_managed = power;
}

fn check_general(
    adapter: &AdapterBlock,
    g: &NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES,
    version: Version,
) {
    // The INF's keywords and the attributes describe one device.
    let registry = adapter.registry.lock().clone();
    let pairs = [
        ("*MediaType", g.MediaType as u32),
        ("*PhysicalMediaType", g.PhysicalMediumType as u32),
        ("*IfType", u32::from(g.IfType)),
    ];
    for (keyword, value) in pairs {
        if let Some(RegValue::Dword(of_inf)) = inf::lookup(&registry, keyword)
            && *of_inf != value
        {
            refuse(format!(
                "{keyword} is {of_inf} in the INF and {value} in the attributes"
            ));
        }
    }
    if g.MtuSize == 0 || g.LookaheadSize == 0 {
        refuse("MtuSize and LookaheadSize are not 0");
    }
    if u32::from(g.MacAddressLength) > NDIS_MAX_PHYS_ADDRESS_LENGTH {
        refuse(format!("MacAddressLength is {}", g.MacAddressLength));
    }
    let ethernet =
        g.MediaType == NdisMedium802_3 && u32::from(g.IfType) == IF_TYPE_ETHERNET_CSMACD as u32;
    if ethernet && g.MacAddressLength != 6 {
        refuse(format!(
            "an Ethernet address has 6 bytes, not {}",
            g.MacAddressLength
        ));
    }
    if ethernet && (g.CurrentMacAddress[0] & 1 != 0 || g.CurrentMacAddress[..6] == [0; 6]) {
        refuse(format!(
            "CurrentMacAddress {:02X?} is no unicast address",
            &g.CurrentMacAddress[..6]
        ));
    }
    if g.SupportedOidList.is_null()
        || g.SupportedOidListLength == 0
        || !g.SupportedOidListLength.is_multiple_of(4)
    {
        refuse(format!(
            "SupportedOidList of {} bytes",
            g.SupportedOidListLength
        ));
    }
    if g.SupportedPacketFilters == 0 {
        refuse("SupportedPacketFilters is 0");
    }
    // NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES: from 6.20 on the member is
    // superseded by PowerManagementCapabilitiesEx and must be NULL.
    if version >= (6, 20) && !g.PowerManagementCapabilities.is_null() {
        refuse("PowerManagementCapabilities is for NDIS 6.1 and older");
    }
    // "This member is mandatory for NDIS 6.20 and later drivers."
    if version >= (6, 20) && g.PowerManagementCapabilitiesEx.is_null() {
        refuse("PowerManagementCapabilitiesEx is mandatory from NDIS 6.20 on");
    }
}

/// # Safety
/// `attributes` points to the structure.
unsafe fn set_offload(
    adapter: &Arc<AdapterBlock>,
    attributes: *const NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES,
    version: Version,
) {
    // SAFETY: as the caller says.
    let attributes = unsafe { attributes.read_unaligned() };
    let mut all = adapter.attributes.lock();
    let again = std::mem::replace(&mut all.offload, true);
    drop(all);
    if again {
        refuse("the offload attributes are set twice");
    }
    let pair = [
        attributes.DefaultOffloadConfiguration,
        attributes.HardwareOffloadCapabilities,
    ];
    if pair[0].is_null() != pair[1].is_null() {
        refuse("DefaultOffloadConfiguration and HardwareOffloadCapabilities go together");
    }
    let connection = [
        attributes.DefaultTcpConnectionOffloadConfiguration,
        attributes.TcpConnectionOffloadHardwareCapabilities,
    ];
    for c in connection.into_iter().filter(|c| !c.is_null()) {
        // SAFETY: not NULL, and points to the structure by its page.
        unsafe { header::TCP_CONNECTION_OFFLOAD.check(c, version) };
    }
    if pair[0].is_null() {
        return;
    }
    // SAFETY: as above; the header is checked before the rest is read.
    let [default, hardware] = pair.map(|p| unsafe {
        header::OFFLOAD.check(p, version);
        super::offload::read(p, version)
    });
    super::status::check_excess(&hardware, &default);
    adapter.offloads.lock().set(default, hardware);
}

extern "efiapi" fn device_property(
    handle: NDIS_HANDLE,
    pdo: *mut PVOID,
    fdo: *mut PVOID,
    next: *mut PVOID,
    resources: *mut PVOID,
    translated: *mut PVOID,
) {
    here(|_, state| {
        let adapter = state.adapter(handle as u64);
        if adapter.halted.load(Ordering::Acquire) {
            violation(
                rules::ADAPTER_STATE,
                format!("{} for a halted adapter", what()),
            );
        }
        let [p, f, n] = adapter.devices;
        for (out, value) in [
            (pdo, p),
            (fdo, f),
            (next, n),
            (resources, 0),
            (translated, 0),
        ] {
            if !out.is_null() {
                // SAFETY: an optional out parameter, not NULL.
                unsafe { out.write(value as PVOID) };
            }
        }
    });
}
