//! OID_PNP_*: power states.

use ndis::{Answered, OidRequest, Passive, bytes_of};
use ndis_sys::{
    NDIS_PNP_CAPABILITIES, NDIS_STATUS_NOT_ACCEPTED, NdisDeviceStateD0, NdisDeviceStateD1,
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
