//! What follows the NDIS version that a driver registers with: the type, revision and size in the
//! header of each structure, the highest slot of out-of-band information, the version numbers.

use crate::*;

/// An NDIS version to register with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NdisVersion {
    /// NDIS 6.1: Windows Vista SP1, Windows Server 2008.
    V6_1,
    /// NDIS 6.20: Windows 7, Windows Server 2008 R2.
    V6_20,
    /// NDIS 6.30: Windows 8, Windows Server 2012.
    V6_30,
}

impl NdisVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_20, Self::V6_30];

    /// `MajorNdisVersion`.
    pub const fn major(self) -> UCHAR {
        6
    }

    /// `MinorNdisVersion`.
    pub const fn minor(self) -> UCHAR {
        match self {
            Self::V6_1 => 1,
            Self::V6_20 => 20,
            Self::V6_30 => 30,
        }
    }

    /// The version with these numbers, if it is one of those that the crate knows.
    pub const fn from_numbers(major: UCHAR, minor: UCHAR) -> Option<Self> {
        match (major, minor) {
            (6, 1) => Some(Self::V6_1),
            (6, 20) => Some(Self::V6_20),
            (6, 30) => Some(Self::V6_30),
            _ => None,
        }
    }

    /// `MaxNetBufferListInfo`: the number of slots of `NetBufferListInfo` that a driver of this
    /// version may touch.
    pub const fn max_net_buffer_list_info(self) -> usize {
        match self {
            Self::V6_1 => 13,
            Self::V6_20 => 18,
            Self::V6_30 => MaxNetBufferListInfo,
        }
    }
}

/// One revision of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The value of `Revision`.
    pub revision: UCHAR,
    /// The first NDIS version that uses it; [`NdisVersion::V6_1`] for older ones too.
    pub since: NdisVersion,
    /// The value of `Size`: up to the last member, not `sizeof`.
    pub size: USHORT,
    /// The least `Size` that any header generation gives it; what a receiver must accept.
    pub least_size: USHORT,
}

macro_rules! objects {
    ($($(#[$meta:meta])* $kind:ident $name:literal : $type:ident
       { $($revision:ident since $since:ident = $size:ident $(at least $least:literal)?,)+ })*) => {
        /// A structure with an [`NDIS_OBJECT_HEADER`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ObjectKind {
            $($(#[$meta])* #[doc = concat!("[`", $name, "`].")] $kind,)*
        }

        impl ObjectKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name of the structure in the headers.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The value of `Type`.
            pub const fn object_type(self) -> UCHAR {
                match self {
                    $(Self::$kind => $type,)*
                }
            }

            /// Its revisions up to NDIS 6.30, oldest first.
            pub const fn revisions(self) -> &'static [Revision] {
                match self {
                    $(Self::$kind => &[$(Revision {
                        revision: $revision,
                        since: NdisVersion::$since,
                        size: $size as USHORT,
                        least_size: objects!(@least $size $($least)?) as USHORT,
                    }),+],)*
                }
            }
        }
    };
    (@least $size:ident) => { $size };
    (@least $size:ident $least:literal) => { $least };
}

objects! {
    MiniportDriverCharacteristics "NDIS_MINIPORT_DRIVER_CHARACTERISTICS": NDIS_OBJECT_TYPE_MINIPORT_DRIVER_CHARACTERISTICS {
        NDIS_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_1,
        NDIS_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_2 since V6_1 = NDIS_SIZEOF_MINIPORT_DRIVER_CHARACTERISTICS_REVISION_2,
    }
    MiniportInitParameters "NDIS_MINIPORT_INIT_PARAMETERS": NDIS_OBJECT_TYPE_MINIPORT_INIT_PARAMETERS {
        NDIS_MINIPORT_INIT_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_INIT_PARAMETER_REVISION_1,
    }
    MiniportAddDeviceRegistrationAttributes "NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES": NDIS_OBJECT_TYPE_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES {
        NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES_REVISION_1,
    }
    MiniportAdapterRegistrationAttributes "NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES": NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES {
        NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_1,
        NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_2 since V6_30 = NDIS_SIZEOF_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES_REVISION_2,
    }
    MiniportAdapterGeneralAttributes "NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES": NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES {
        NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_1,
        NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_2 since V6_20 = NDIS_SIZEOF_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES_REVISION_2,
    }
    MiniportAdapterOffloadAttributes "NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES": NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES {
        NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES_REVISION_1,
    }
    MiniportAdapterHardwareAssistAttributes "NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES": NDIS_OBJECT_TYPE_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES {
        NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_1,
        NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_2 since V6_20 = NDIS_SIZEOF_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_2,
        NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_3 since V6_30 = NDIS_SIZEOF_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES_REVISION_3,
    }
    MiniportPauseParameters "NDIS_MINIPORT_PAUSE_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_MINIPORT_PAUSE_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_PAUSE_PARAMETERS_REVISION_1 at least 8,
    }
    MiniportRestartParameters "NDIS_MINIPORT_RESTART_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_MINIPORT_RESTART_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_MINIPORT_RESTART_PARAMETERS_REVISION_1,
    }
    RestartGeneralAttributes "NDIS_RESTART_GENERAL_ATTRIBUTES": NDIS_OBJECT_TYPE_RESTART_GENERAL_ATTRIBUTES {
        NDIS_RESTART_GENERAL_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_RESTART_GENERAL_ATTRIBUTES_REVISION_1,
        NDIS_RESTART_GENERAL_ATTRIBUTES_REVISION_2 since V6_20 = NDIS_SIZEOF_RESTART_GENERAL_ATTRIBUTES_REVISION_2,
    }
    Offload "NDIS_OFFLOAD": NDIS_OBJECT_TYPE_OFFLOAD {
        NDIS_OFFLOAD_REVISION_1 since V6_1 = NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_1,
        NDIS_OFFLOAD_REVISION_2 since V6_1 = NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_2,
        NDIS_OFFLOAD_REVISION_3 since V6_30 = NDIS_SIZEOF_NDIS_OFFLOAD_REVISION_3,
    }
    OffloadParameters "NDIS_OFFLOAD_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_OFFLOAD_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1,
        NDIS_OFFLOAD_PARAMETERS_REVISION_2 since V6_1 = NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_2,
        NDIS_OFFLOAD_PARAMETERS_REVISION_3 since V6_30 = NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_3,
    }
    OffloadEncapsulation "NDIS_OFFLOAD_ENCAPSULATION": NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION {
        NDIS_OFFLOAD_ENCAPSULATION_REVISION_1 since V6_1 = NDIS_SIZEOF_OFFLOAD_ENCAPSULATION_REVISION_1,
    }
    TcpConnectionOffload "NDIS_TCP_CONNECTION_OFFLOAD": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_TCP_CONNECTION_OFFLOAD_REVISION_1 since V6_1 = NDIS_SIZEOF_TCP_CONNECTION_OFFLOAD_REVISION_1,
        NDIS_TCP_CONNECTION_OFFLOAD_REVISION_2 since V6_1 = NDIS_SIZEOF_TCP_CONNECTION_OFFLOAD_REVISION_2,
    }
    OidRequest "NDIS_OID_REQUEST": NDIS_OBJECT_TYPE_OID_REQUEST {
        NDIS_OID_REQUEST_REVISION_1 since V6_1 = NDIS_SIZEOF_OID_REQUEST_REVISION_1 at least 233,
    }
    StatusIndication "NDIS_STATUS_INDICATION": NDIS_OBJECT_TYPE_STATUS_INDICATION {
        NDIS_STATUS_INDICATION_REVISION_1 since V6_1 = NDIS_SIZEOF_STATUS_INDICATION_REVISION_1,
    }
    LinkState "NDIS_LINK_STATE": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_LINK_STATE_REVISION_1 since V6_1 = NDIS_SIZEOF_LINK_STATE_REVISION_1,
    }
    LinkParameters "NDIS_LINK_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_LINK_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_LINK_PARAMETERS_REVISION_1,
    }
    StatisticsInfo "NDIS_STATISTICS_INFO": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_STATISTICS_INFO_REVISION_1 since V6_1 = NDIS_SIZEOF_STATISTICS_INFO_REVISION_1,
    }
    InterruptModerationParameters "NDIS_INTERRUPT_MODERATION_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_INTERRUPT_MODERATION_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_INTERRUPT_MODERATION_PARAMETERS_REVISION_1,
    }
    NetBufferListPoolParameters "NET_BUFFER_LIST_POOL_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_NET_BUFFER_LIST_POOL_PARAMETERS_REVISION_1,
    }
    NetBufferPoolParameters "NET_BUFFER_POOL_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NET_BUFFER_POOL_PARAMETERS_REVISION_1 since V6_1 = NDIS_SIZEOF_NET_BUFFER_POOL_PARAMETERS_REVISION_1,
    }
    ConfigurationObject "NDIS_CONFIGURATION_OBJECT": NDIS_OBJECT_TYPE_CONFIGURATION_OBJECT {
        NDIS_CONFIGURATION_OBJECT_REVISION_1 since V6_1 = NDIS_SIZEOF_CONFIGURATION_OBJECT_REVISION_1,
    }
    TimerCharacteristics "NDIS_TIMER_CHARACTERISTICS": NDIS_OBJECT_TYPE_TIMER_CHARACTERISTICS {
        NDIS_TIMER_CHARACTERISTICS_REVISION_1 since V6_1 = NDIS_SIZEOF_TIMER_CHARACTERISTICS_REVISION_1,
    }
    DeviceObjectAttributes "NDIS_DEVICE_OBJECT_ATTRIBUTES": NDIS_OBJECT_TYPE_DEVICE_OBJECT_ATTRIBUTES {
        NDIS_DEVICE_OBJECT_ATTRIBUTES_REVISION_1 since V6_1 = NDIS_SIZEOF_DEVICE_OBJECT_ATTRIBUTES_REVISION_1,
    }
    PmCapabilities "NDIS_PM_CAPABILITIES": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_PM_CAPABILITIES_REVISION_1 since V6_20 = NDIS_SIZEOF_NDIS_PM_CAPABILITIES_REVISION_1,
        NDIS_PM_CAPABILITIES_REVISION_2 since V6_30 = NDIS_SIZEOF_NDIS_PM_CAPABILITIES_REVISION_2,
    }
    PmParameters "NDIS_PM_PARAMETERS": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_PM_PARAMETERS_REVISION_1 since V6_20 = NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1,
        NDIS_PM_PARAMETERS_REVISION_2 since V6_30 = NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_2,
    }
    ReceiveScaleCapabilities "NDIS_RECEIVE_SCALE_CAPABILITIES": NDIS_OBJECT_TYPE_RSS_CAPABILITIES {
        NDIS_RECEIVE_SCALE_CAPABILITIES_REVISION_1 since V6_1 = NDIS_SIZEOF_RECEIVE_SCALE_CAPABILITIES_REVISION_1,
        NDIS_RECEIVE_SCALE_CAPABILITIES_REVISION_2 since V6_30 = NDIS_SIZEOF_RECEIVE_SCALE_CAPABILITIES_REVISION_2,
    }
    NetDevicePnpEvent "NET_DEVICE_PNP_EVENT": NDIS_OBJECT_TYPE_DEFAULT {
        NET_DEVICE_PNP_EVENT_REVISION_1 since V6_1 = NDIS_SIZEOF_NET_DEVICE_PNP_EVENT_REVISION_1,
    }
    IpsecOffloadV2AddSa "IPSEC_OFFLOAD_V2_ADD_SA": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1 since V6_1 = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
    }
    IpsecOffloadV2AddSaEx "IPSEC_OFFLOAD_V2_ADD_SA_EX": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1 since V6_30 = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1,
    }
    IpsecOffloadV2UpdateSa "IPSEC_OFFLOAD_V2_UPDATE_SA": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1 since V6_1 = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1,
    }
    IpsecOffloadV2DeleteSa "IPSEC_OFFLOAD_V2_DELETE_SA": NDIS_OBJECT_TYPE_DEFAULT {
        NDIS_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1 since V6_1 = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1,
    }
}

impl ObjectKind {
    /// The revision that a driver registered with `version` uses: the newest of that version.
    /// `None` if the structure came later.
    pub const fn revision(self, version: NdisVersion) -> Option<Revision> {
        let mut revisions = self.revisions();
        while let [older @ .., newest] = revisions {
            if newest.since as u8 <= version as u8 {
                return Some(*newest);
            }
            revisions = older;
        }
        None
    }

    /// The header that a driver registered with `version` writes, or NDIS writes for it. `None` if
    /// the structure came later.
    pub const fn header(self, version: NdisVersion) -> Option<NDIS_OBJECT_HEADER> {
        match self.revision(version) {
            Some(revision) => Some(NDIS_OBJECT_HEADER {
                Type: self.object_type(),
                Revision: revision.revision,
                Size: revision.size,
            }),
            None => None,
        }
    }

    /// Whether `header`, received from the other side, promises at least what `revision` has: the
    /// type, the revision or a later one, and the least size that any header generation gives it.
    /// Sizes changed without a new revision, so they are never compared for equality.
    pub const fn accepts(self, revision: Revision, header: NDIS_OBJECT_HEADER) -> bool {
        header.Type == self.object_type()
            && header.Revision >= revision.revision
            && header.Size >= revision.least_size
    }
}
