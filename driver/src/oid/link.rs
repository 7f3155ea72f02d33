//! OID_GEN_LINK_PARAMETERS and OID_GEN_INTERRUPT_MODERATION.

use ndis::{Answered, ObjectKind, OidRequest, bytes_of, header, read};
use ndis_sys::*;

use crate::adapter::{Adapter, link::SPEED};

const AUTO_SPEED: u32 = NDIS_LINK_STATE_XMIT_LINK_SPEED_AUTO_NEGOTIATED
    | NDIS_LINK_STATE_RCV_LINK_SPEED_AUTO_NEGOTIATED;

/// OID_GEN_LINK_PARAMETERS: the wire has one speed, both directions at once and no pause frames. A
/// request for just that, or for negotiation, changes nothing; any other cannot be met.
pub fn set_parameters(request: OidRequest<'_>) -> Answered {
    let Some(wanted) = read::<NDIS_LINK_PARAMETERS>(request.input()) else {
        return request.too_short(size_of::<NDIS_LINK_PARAMETERS>());
    };
    if wanted.Header.Type != NDIS_OBJECT_TYPE_DEFAULT
        || wanted.Header.Revision < NDIS_LINK_PARAMETERS_REVISION_1
        || usize::from(wanted.Header.Size) < NDIS_SIZEOF_LINK_PARAMETERS_REVISION_1
    {
        return request.refuse(NDIS_STATUS_INVALID_DATA);
    }
    let auto = |flag: u32| wanted.AutoNegotiationFlags & flag != 0;
    let speed = wanted.AutoNegotiationFlags & AUTO_SPEED == AUTO_SPEED
        || wanted.XmitLinkSpeed == SPEED && wanted.RcvLinkSpeed == SPEED;
    let duplex = auto(NDIS_LINK_STATE_DUPLEX_AUTO_NEGOTIATED)
        || wanted.MediaDuplexState == MediaDuplexStateFull;
    let pause = auto(NDIS_LINK_STATE_PAUSE_FUNCTIONS_AUTO_NEGOTIATED)
        || wanted.PauseFunctions == NdisPauseFunctionsUnsupported;
    if speed && duplex && pause {
        request.accept(size_of::<NDIS_LINK_PARAMETERS>())
    } else {
        request.refuse(NDIS_STATUS_NOT_SUPPORTED)
    }
}

/// OID_GEN_INTERRUPT_MODERATION: there are no interrupts.
pub fn query_interrupt_moderation(adapter: &Adapter, request: OidRequest<'_>) -> Answered {
    let mut parameters = NDIS_INTERRUPT_MODERATION_PARAMETERS::ZERO;
    parameters.Header = header(ObjectKind::InterruptModerationParameters, adapter.version);
    parameters.InterruptModeration = NdisInterruptModerationNotSupported;
    request.report(bytes_of(&parameters, usize::from(parameters.Header.Size)))
}

/// OID_GEN_INTERRUPT_MODERATION: "if the driver reported NdisInterruptModerationNotSupported, the
/// driver should return NDIS_STATUS_INVALID_DATA in response to the set request".
pub fn set_interrupt_moderation(request: OidRequest<'_>) -> Answered {
    request.refuse(NDIS_STATUS_INVALID_DATA)
}
