//! Power management: the capabilities that an adapter reports and the OIDs' parameters.

use crate::basic::*;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{constants, layouts};

layouts! {
    /// What may wake the machine, and from which state.
    struct NDIS_PM_WAKE_UP_CAPABILITIES [12, 4] {
        MinMagicPacketWakeUp @ 0: NDIS_DEVICE_POWER_STATE,
        MinPatternWakeUp @ 4: NDIS_DEVICE_POWER_STATE,
        MinLinkChangeWakeUp @ 8: NDIS_DEVICE_POWER_STATE,
    }

    /// Power management before NDIS 6.20 (OID_PNP_CAPABILITIES).
    struct NDIS_PNP_CAPABILITIES [16, 4] {
        Flags @ 0: ULONG,
        WakeUpCapabilities @ 4: NDIS_PM_WAKE_UP_CAPABILITIES,
    }

    /// Power management from NDIS 6.20 on; revision 1 ends before `SupportedWakeUpEvents`.
    struct NDIS_PM_CAPABILITIES [60, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        Flags @ 4: ULONG,
        SupportedWoLPacketPatterns @ 8: ULONG,
        NumTotalWoLPatterns @ 12: ULONG,
        MaxWoLPatternSize @ 16: ULONG,
        MaxWoLPatternOffset @ 20: ULONG,
        MaxWoLPacketSaveBuffer @ 24: ULONG,
        SupportedProtocolOffloads @ 28: ULONG,
        NumArpOffloadIPv4Addresses @ 32: ULONG,
        NumNSOffloadIPv6Addresses @ 36: ULONG,
        MinMagicPacketWakeUp @ 40: NDIS_DEVICE_POWER_STATE,
        MinPatternWakeUp @ 44: NDIS_DEVICE_POWER_STATE,
        MinLinkChangeWakeUp @ 48: NDIS_DEVICE_POWER_STATE,
        SupportedWakeUpEvents @ 52: ULONG,
        MediaSpecificWakeUpEvents @ 56: ULONG,
    }

    /// What is enabled of it (OID_PM_PARAMETERS); revision 1 ends before `MediaSpecificWakeUpEvents`.
    struct NDIS_PM_PARAMETERS [20, 4] {
        Header @ 0: NDIS_OBJECT_HEADER,
        EnabledWoLPacketPatterns @ 4: ULONG,
        EnabledProtocolOffloads @ 8: ULONG,
        WakeUpFlags @ 12: ULONG,
        MediaSpecificWakeUpEvents @ 16: ULONG,
    }
}

constants! {
    /// A power state; the operand of OID_PNP_SET_POWER.
    enumeration NDIS_DEVICE_POWER_STATE {
        NdisDeviceStateUnspecified = 0,
        NdisDeviceStateD0 = 1,
        NdisDeviceStateD1 = 2,
        NdisDeviceStateD2 = 3,
        NdisDeviceStateD3 = 4,
        NdisDeviceStateMaximum = 5,
    }
    values UCHAR {
        NDIS_PM_CAPABILITIES_REVISION_1 = 1,
        NDIS_PM_CAPABILITIES_REVISION_2 = 2,
        NDIS_PM_PARAMETERS_REVISION_1 = 1,
        NDIS_PM_PARAMETERS_REVISION_2 = 2,
    }
    values SIZE_T {
        NDIS_SIZEOF_NDIS_PM_CAPABILITIES_REVISION_1 = 52,
        NDIS_SIZEOF_NDIS_PM_CAPABILITIES_REVISION_2 = 60,
        NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1 = 16,
        NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_2 = 20,
    }
}
