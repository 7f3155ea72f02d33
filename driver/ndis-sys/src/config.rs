//! The driver's and the adapter's configuration in the registry.

use crate::basic::*;
use crate::object_header::NDIS_OBJECT_HEADER;
use crate::table::{constants, layouts};

layouts! {
    /// What NdisOpenConfigurationEx is to open.
    struct NDIS_CONFIGURATION_OBJECT [24, 8] {
        Header @ 0: NDIS_OBJECT_HEADER,
        _Padding0 @ 4: [u8; 4],
        NdisHandle @ 8: NDIS_HANDLE,
        Flags @ 16: ULONG,
        _Padding1 @ 20: [u8; 4],
    }

    /// A binary value.
    struct BINARY_DATA [16, 8] {
        Length @ 0: USHORT,
        _Padding @ 2: [u8; 6],
        Buffer @ 8: PVOID,
    }

    /// A value, by type.
    union NDIS_CONFIGURATION_PARAMETER_DATA [16, 8] at ("NDIS_CONFIGURATION_PARAMETER.ParameterData", 0) {
        IntegerData @ 0: ULONG,
        StringData @ 0: NDIS_STRING,
        BinaryData @ 0: BINARY_DATA,
    }

    /// A value and its type.
    struct NDIS_CONFIGURATION_PARAMETER [24, 8] {
        ParameterType @ 0: NDIS_PARAMETER_TYPE,
        _Padding @ 4: [u8; 4],
        ParameterData @ 8: NDIS_CONFIGURATION_PARAMETER_DATA,
    }
}

constants! {
    /// The type of a configuration value.
    enumeration NDIS_PARAMETER_TYPE {
        NdisParameterInteger = 0,
        NdisParameterHexInteger = 1,
        NdisParameterString = 2,
        NdisParameterMultiString = 3,
        NdisParameterBinary = 4,
    }
    values UCHAR {
        NDIS_CONFIGURATION_OBJECT_REVISION_1 = 1,
    }
    values SIZE_T {
        NDIS_SIZEOF_CONFIGURATION_OBJECT_REVISION_1 = 20,
    }
    values ULONG {
        NDIS_CONFIG_FLAG_FILTER_INSTANCE_CONFIGURATION = 0x0001,
    }
}
