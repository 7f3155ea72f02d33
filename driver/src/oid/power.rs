//! OID_PNP_*: power states.

use ndis::{Answered, OidRequest, Passive, Version, bytes_of, read_prefix};
use ndis_sys::{
    NDIS_OBJECT_TYPE_DEFAULT, NDIS_PM_PARAMETERS, NDIS_PM_PARAMETERS_REVISION_1,
    NDIS_PNP_CAPABILITIES, NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1,
    NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_2, NDIS_STATUS_INVALID_PARAMETER,
    NDIS_STATUS_NOT_ACCEPTED, NDIS_STATUS_NOT_SUPPORTED, NdisDeviceStateD0, NdisDeviceStateD1,
    NdisDeviceStateD3, NdisDeviceStateUnspecified, Zero as _,
};

use crate::adapter::{Adapter, power};

/// OID_PNP_CAPABILITIES: no wake-up.
pub fn query_capabilities(request: OidRequest<'_>) -> Answered {
    let capabilities = NDIS_PNP_CAPABILITIES::ZERO;
    request.report(bytes_of(&capabilities, size_of::<NDIS_PNP_CAPABILITIES>()))
}

/// OID_PNP_QUERY_POWER: whether the state in the buffer can be entered. Every one can: "the miniport
/// driver must always return NDIS_STATUS_SUCCESS".
pub fn query_power(request: OidRequest<'_>) -> Answered {
    request.report(&[])
}

/// OID_PM_PARAMETERS, from NDIS 6.20 on: "before NDIS transitions the network adapter to the low power
/// state, NDIS sends a set request". Nothing wakes the machine here, and nothing is answered in its sleep:
/// NDIS_STATUS_INVALID_PARAMETER if "it tried to enable a capability that the underlying network adapter
/// does not support".
pub fn set_parameters(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    if adapter.version < Version::V6_20 {
        return request.refuse(NDIS_STATUS_NOT_SUPPORTED);
    }
    let input = request.input();
    let Some(wanted) =
        read_prefix::<NDIS_PM_PARAMETERS>(input, NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1)
    else {
        return request.too_short(NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1);
    };
    // Revision 2 (NDIS 6.30) goes on with the media's own events.
    let size = match wanted.Header.Revision {
        0 => return request.refuse(NDIS_STATUS_INVALID_PARAMETER),
        NDIS_PM_PARAMETERS_REVISION_1 => NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1,
        _ => NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_2,
    };
    if wanted.Header.Type != NDIS_OBJECT_TYPE_DEFAULT || usize::from(wanted.Header.Size) < size {
        return request.refuse(NDIS_STATUS_INVALID_PARAMETER);
    }
    let Some(wanted) = read_prefix::<NDIS_PM_PARAMETERS>(input, size) else {
        return request.too_short(size);
    };
    let enabled = [
        wanted.EnabledWoLPacketPatterns,
        wanted.EnabledProtocolOffloads,
        wanted.WakeUpFlags,
        wanted.MediaSpecificWakeUpEvents,
    ];
    if enabled.iter().any(|&flags| flags != 0) {
        return request.refuse(NDIS_STATUS_INVALID_PARAMETER);
    }
    request.accept(size)
}

/// OID_PNP_SET_POWER. It may end with SUCCESS or NOT_ACCEPTED only (page of the OID; Driver Verifier,
/// NdisOidComplete), so that is what a state that there is not gets.
pub fn set_power(adapter: &Adapter, request: OidRequest<'_>, at: Passive<'_>) -> Answered {
    let state = ndis::read::<i32>(request.input()).unwrap_or(NdisDeviceStateUnspecified);
    if state == NdisDeviceStateD0 {
        power::up(adapter, at);
    } else if (NdisDeviceStateD1..=NdisDeviceStateD3).contains(&state) {
        power::down(adapter, at);
    } else {
        return request.refuse(NDIS_STATUS_NOT_ACCEPTED);
    }
    request.accept(size_of::<u32>())
}
