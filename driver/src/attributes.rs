//! What NDIS is told of an adapter: registration, general and offload attributes, in that order.

use ndis::{ObjectKind, Passive, Version, header};
use ndis_sys::*;

use crate::{
    adapter::{Adapter, link},
    ethernet::Mac,
    offload::report,
    oid,
    wire::{MAX_MULTICAST, SUPPORTED_FILTERS},
};

/// Every counter that OID_GEN_STATISTICS has, and those beside it.
const SUPPORTED_STATISTICS: u32 = NDIS_STATISTICS_XMIT_OK_SUPPORTED
    | NDIS_STATISTICS_RCV_OK_SUPPORTED
    | NDIS_STATISTICS_XMIT_ERROR_SUPPORTED
    | NDIS_STATISTICS_RCV_ERROR_SUPPORTED
    | NDIS_STATISTICS_RCV_NO_BUFFER_SUPPORTED
    | NDIS_STATISTICS_DIRECTED_BYTES_XMIT_SUPPORTED
    | NDIS_STATISTICS_DIRECTED_FRAMES_XMIT_SUPPORTED
    | NDIS_STATISTICS_MULTICAST_BYTES_XMIT_SUPPORTED
    | NDIS_STATISTICS_MULTICAST_FRAMES_XMIT_SUPPORTED
    | NDIS_STATISTICS_BROADCAST_BYTES_XMIT_SUPPORTED
    | NDIS_STATISTICS_BROADCAST_FRAMES_XMIT_SUPPORTED
    | NDIS_STATISTICS_DIRECTED_BYTES_RCV_SUPPORTED
    | NDIS_STATISTICS_DIRECTED_FRAMES_RCV_SUPPORTED
    | NDIS_STATISTICS_MULTICAST_BYTES_RCV_SUPPORTED
    | NDIS_STATISTICS_MULTICAST_FRAMES_RCV_SUPPORTED
    | NDIS_STATISTICS_BROADCAST_BYTES_RCV_SUPPORTED
    | NDIS_STATISTICS_BROADCAST_FRAMES_RCV_SUPPORTED
    | NDIS_STATISTICS_BYTES_RCV_SUPPORTED
    | NDIS_STATISTICS_BYTES_XMIT_SUPPORTED
    | NDIS_STATISTICS_RCV_DISCARDS_SUPPORTED
    | NDIS_STATISTICS_XMIT_DISCARDS_SUPPORTED
    | NDIS_STATISTICS_GEN_STATISTICS_SUPPORTED;

/// Sets the attributes of an adapter that is complete but for them. `context` is what NDIS is to
/// pass to the handlers; `link_up` is whether there is a link.
///
/// # Errors
/// The status of NdisMSetMiniportAttributes.
pub fn set(
    adapter: &Adapter,
    context: NDIS_HANDLE,
    link_up: bool,
    at: Passive<'_>,
) -> Result<(), NDIS_STATUS> {
    registration(adapter, context, at)?;
    general(adapter, link_up, at)?;
    offloads(adapter, at)
}

fn submit(
    adapter: &Adapter,
    attributes: *mut NDIS_MINIPORT_ADAPTER_ATTRIBUTES,
    _at: Passive<'_>,
) -> Result<(), NDIS_STATUS> {
    // SAFETY: MiniportInitializeEx's handle; the attributes are complete for the size in their
    // header, and live through the call with all that they point to. NDIS copies them.
    let status = unsafe { NdisMSetMiniportAttributes(adapter.handle.raw(), attributes) };
    if status == NDIS_STATUS_SUCCESS {
        Ok(())
    } else {
        Err(status)
    }
}

/// No hardware, so no interrupt, no DMA, and nothing that surprise removal could break.
fn registration(
    adapter: &Adapter,
    context: NDIS_HANDLE,
    at: Passive<'_>,
) -> Result<(), NDIS_STATUS> {
    let mut of = NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES::ZERO;
    of.Header = header(
        ObjectKind::MiniportAdapterRegistrationAttributes,
        adapter.version,
    );
    of.MiniportAdapterContext = context;
    of.AttributeFlags =
        NDIS_MINIPORT_ATTRIBUTES_SURPRISE_REMOVE_OK | NDIS_MINIPORT_ATTRIBUTES_NDIS_WDM;
    of.CheckForHangTimeInSeconds = 0;
    of.InterfaceType = NdisInterfaceInternal;
    submit(adapter, (&raw mut of).cast(), at)
}

fn general(adapter: &Adapter, link_up: bool, at: Passive<'_>) -> Result<(), NDIS_STATUS> {
    let config = &adapter.config;
    let mtu = u32::try_from(config.mtu()).unwrap_or(u32::MAX);
    let mut of = NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES::ZERO;
    of.Header = header(
        ObjectKind::MiniportAdapterGeneralAttributes,
        adapter.version,
    );
    of.MediaType = NdisMedium802_3;
    of.PhysicalMediumType = NdisPhysicalMedium802_3;
    of.MtuSize = mtu;
    of.MaxXmitLinkSpeed = link::SPEED;
    of.XmitLinkSpeed = link::speed(link_up);
    of.MaxRcvLinkSpeed = link::SPEED;
    of.RcvLinkSpeed = link::speed(link_up);
    (of.MediaConnectState, of.MediaDuplexState) = link::media(link_up);
    of.LookaheadSize = mtu;
    of.MacOptions = NDIS_MAC_OPTION_COPY_LOOKAHEAD_DATA
        | NDIS_MAC_OPTION_TRANSFERS_NOT_PEND
        | NDIS_MAC_OPTION_NO_LOOPBACK;
    if config.priority {
        of.MacOptions |= NDIS_MAC_OPTION_8021P_PRIORITY;
    }
    if config.vlan {
        of.MacOptions |= NDIS_MAC_OPTION_8021Q_VLAN;
    }
    of.SupportedPacketFilters = SUPPORTED_FILTERS;
    of.MaxMulticastListSize = MAX_MULTICAST as u32;
    of.MacAddressLength = 6;
    of.PermanentMacAddress = padded(adapter.permanent_address);
    of.CurrentMacAddress = padded(adapter.address);
    of.AccessType = NET_IF_ACCESS_BROADCAST;
    of.DirectionType = NET_IF_DIRECTION_SENDRECEIVE;
    of.ConnectionType = NET_IF_CONNECTION_DEDICATED;
    of.IfType = IF_TYPE_ETHERNET_CSMACD;
    // "Set this value to TRUE if there is a physical adapter."
    of.IfConnectorPresent = 0;
    of.SupportedStatistics = SUPPORTED_STATISTICS;
    of.SupportedPauseFunctions = NdisPauseFunctionsUnsupported as u32;
    let oids = oid::supported(adapter.version);
    of.SupportedOidList = oids.as_ptr().cast_mut();
    of.SupportedOidListLength = size_of_val(oids) as u32;

    // No wake-up, but aware of power states: NDIS sends OID_PNP_SET_POWER instead of halting.
    let mut before_6_20 = NDIS_PNP_CAPABILITIES::ZERO;
    let mut since_6_20 = NDIS_PM_CAPABILITIES::ZERO;
    if adapter.version < Version::V6_20 {
        before_6_20.WakeUpCapabilities.MinMagicPacketWakeUp = NdisDeviceStateUnspecified;
        before_6_20.WakeUpCapabilities.MinPatternWakeUp = NdisDeviceStateUnspecified;
        before_6_20.WakeUpCapabilities.MinLinkChangeWakeUp = NdisDeviceStateUnspecified;
        of.PowerManagementCapabilities = &raw mut before_6_20;
    } else {
        since_6_20.Header = header(ObjectKind::PmCapabilities, adapter.version);
        since_6_20.MinMagicPacketWakeUp = NdisDeviceStateUnspecified;
        since_6_20.MinPatternWakeUp = NdisDeviceStateUnspecified;
        since_6_20.MinLinkChangeWakeUp = NdisDeviceStateUnspecified;
        of.PowerManagementCapabilitiesEx = &raw mut since_6_20;
    }
    submit(adapter, (&raw mut of).cast(), at)
}

fn padded(address: Mac) -> [u8; NDIS_MAX_PHYS_ADDRESS_LENGTH as usize] {
    let mut bytes = [0; NDIS_MAX_PHYS_ADDRESS_LENGTH as usize];
    if let Some(front) = bytes.first_chunk_mut() {
        *front = address.0;
    }
    bytes
}

/// The default configuration, keywords applied, and all that the adapter could do.
fn offloads(adapter: &Adapter, at: Passive<'_>) -> Result<(), NDIS_STATUS> {
    let engine = adapter.engine.capabilities();
    let vlan = adapter.config.vlan;
    let mut current = report::report(&engine, adapter.offload.current(), vlan, adapter.version);
    let mut hardware = report::hardware(&engine, vlan, adapter.version);
    let mut of = NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES::ZERO;
    of.Header = header(
        ObjectKind::MiniportAdapterOffloadAttributes,
        adapter.version,
    );
    of.DefaultOffloadConfiguration = &raw mut current;
    of.HardwareOffloadCapabilities = &raw mut hardware;
    submit(adapter, (&raw mut of).cast(), at)
}
