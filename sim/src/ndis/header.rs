//! NDIS object headers: which Type, Revision and Size each structure has for a
//! registered NDIS version ("Using NDIS Object Headers" and each structure's
//! page).

use ndis_sys::NDIS_OBJECT_HEADER;

use super::{
    rules,
    state::{required, what},
};
use crate::report::violation;

/// An NDIS version, major and minor: (6, 20).
pub type Version = (u8, u8);

/// The versions that a driver may register on the Windows that is simulated.
pub const SUPPORTED: [Version; 15] = [
    (6, 0),
    (6, 1),
    (6, 20),
    (6, 30),
    (6, 40),
    (6, 50),
    (6, 51),
    (6, 60),
    (6, 70),
    (6, 80),
    (6, 81),
    (6, 82),
    (6, 83),
    (6, 84),
    (6, 85),
];

/// What NdisGetVersion returns on the Windows that is simulated: NDIS 6.85.
pub const RUNTIME: u32 = 0x0006_0055;

/// One structure's header.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Name of the structure.
    pub name: &'static str,
    /// `Header.Type`.
    pub kind: u8,
    /// The first version with a revision, the revision, its size; oldest first.
    pub revisions: &'static [(Version, u8, u16)],
}

impl Rule {
    /// Revision and least size for a driver of that version.
    #[must_use]
    pub fn for_version(&self, version: Version) -> (u8, u16) {
        self.revisions
            .iter()
            .rev()
            .find(|(first, ..)| *first <= version)
            .map_or((0, 0), |&(_, revision, size)| (revision, size))
    }

    /// What is wrong with a header, if anything is.
    #[must_use]
    pub fn fault(&self, header: NDIS_OBJECT_HEADER, version: Version) -> Option<String> {
        let (revision, size) = self.for_version(version);
        let Self { name, kind, .. } = *self;
        let (major, minor) = version;
        if header.Type != kind {
            return Some(format!(
                "{name}: Header.Type is {:#x}, not {kind:#x}",
                header.Type
            ));
        }
        if header.Revision != revision {
            return Some(format!(
                "{name}: Header.Revision is {}, a driver of NDIS {major}.{minor} uses {revision}",
                header.Revision
            ));
        }
        (header.Size < size).then(|| {
            format!(
                "{name}: Header.Size is {}, revision {revision} has {size} bytes",
                header.Size
            )
        })
    }

    /// Stops the machine if the structure that a driver of `version` passed
    /// does not begin as it should.
    ///
    /// # Safety
    /// `structure` is NULL or points to readable memory of that structure.
    pub(super) unsafe fn check<T>(&self, structure: *const T, version: Version) {
        required(structure, self.name);
        // SAFETY: every structure of the table begins with the header.
        let header = unsafe { structure.cast::<NDIS_OBJECT_HEADER>().read_unaligned() };
        if let Some(fault) = self.fault(header, version) {
            violation(rules::OBJECT_HEADER, format!("{}: {fault}", what()));
        }
    }

    /// The header that NDIS puts on a structure for a driver of `version`.
    #[must_use]
    pub fn header(&self, version: Version) -> NDIS_OBJECT_HEADER {
        let (revision, size) = self.for_version(version);
        NDIS_OBJECT_HEADER {
            Type: self.kind,
            Revision: revision,
            Size: size,
        }
    }
}

macro_rules! headers {
    ($($id:ident = $name:literal, $kind:literal, [$($version:tt => $revision:literal, $size:literal);+];)*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub const $id: Rule =
                Rule { name: $name, kind: $kind, revisions: &[$(($version, $revision, $size)),+] };
        )*
        /// Every structure of the table.
        pub const ALL: &[Rule] = &[$($id),*];
    };
}

headers! {
    DRIVER_CHARACTERISTICS = "NDIS_MINIPORT_DRIVER_CHARACTERISTICS", 0x8A,
        [(6, 0) => 1, 136; (6, 1) => 2, 152; (6, 80) => 3, 160];
    PNP_CHARACTERISTICS = "NDIS_MINIPORT_PNP_CHARACTERISTICS", 0x92, [(6, 0) => 1, 44];
    INIT_PARAMETERS = "NDIS_MINIPORT_INIT_PARAMETERS", 0x81, [(6, 0) => 1, 64];
    ADD_DEVICE_ATTRIBUTES = "NDIS_MINIPORT_ADD_DEVICE_REGISTRATION_ATTRIBUTES", 0xA4,
        [(6, 0) => 1, 20];
    REGISTRATION_ATTRIBUTES = "NDIS_MINIPORT_ADAPTER_REGISTRATION_ATTRIBUTES", 0x9E,
        [(6, 0) => 1, 28; (6, 30) => 2, 28];
    GENERAL_ATTRIBUTES = "NDIS_MINIPORT_ADAPTER_GENERAL_ATTRIBUTES", 0x9F,
        [(6, 0) => 1, 216; (6, 20) => 2, 224];
    OFFLOAD_ATTRIBUTES = "NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES", 0xA0, [(6, 0) => 1, 40];
    HARDWARE_ASSIST_ATTRIBUTES = "NDIS_MINIPORT_ADAPTER_HARDWARE_ASSIST_ATTRIBUTES", 0xAF,
        [(6, 1) => 1, 16; (6, 20) => 2, 48; (6, 30) => 3, 80; (6, 50) => 4, 96];
    PAUSE_PARAMETERS = "NDIS_MINIPORT_PAUSE_PARAMETERS", 0x80, [(6, 0) => 1, 12];
    RESTART_PARAMETERS = "NDIS_MINIPORT_RESTART_PARAMETERS", 0x80, [(6, 0) => 1, 20];
    RESTART_GENERAL_ATTRIBUTES = "NDIS_RESTART_GENERAL_ATTRIBUTES", 0xA2,
        [(6, 0) => 1, 84; (6, 20) => 2, 88];
    OFFLOAD = "NDIS_OFFLOAD", 0xA7,
        [(6, 0) => 1, 112; (6, 1) => 2, 144; (6, 30) => 3, 156; (6, 50) => 4, 177; (6, 70) => 5, 188;
         (6, 83) => 6, 216; (6, 85) => 7, 216];
    TCP_CONNECTION_OFFLOAD = "NDIS_TCP_CONNECTION_OFFLOAD", 0x80, [(6, 0) => 1, 20; (6, 1) => 2, 20];
    OFFLOAD_PARAMETERS = "NDIS_OFFLOAD_PARAMETERS", 0x80,
        [(6, 0) => 1, 20; (6, 1) => 2, 22; (6, 30) => 3, 26; (6, 50) => 4, 32; (6, 83) => 5, 34];
    OFFLOAD_ENCAPSULATION = "NDIS_OFFLOAD_ENCAPSULATION", 0xA8, [(6, 0) => 1, 28];
    OID_REQUEST = "NDIS_OID_REQUEST", 0x96, [(6, 0) => 1, 236; (6, 50) => 2, 248];
    STATUS_INDICATION = "NDIS_STATUS_INDICATION", 0x98, [(6, 0) => 1, 112];
    LINK_STATE = "NDIS_LINK_STATE", 0x80, [(6, 0) => 1, 40];
    STATISTICS_INFO = "NDIS_STATISTICS_INFO", 0x80, [(6, 0) => 1, 152];
    DEVICE_PNP_EVENT = "NET_DEVICE_PNP_EVENT", 0x80, [(6, 0) => 1, 44];
    PNP_EVENT_NOTIFICATION = "NET_PNP_EVENT_NOTIFICATION", 0x80, [(6, 0) => 1, 160];
    PM_CAPABILITIES = "NDIS_PM_CAPABILITIES", 0x80, [(6, 20) => 1, 52; (6, 30) => 2, 60];
    PM_PARAMETERS = "NDIS_PM_PARAMETERS", 0x80, [(6, 20) => 1, 16; (6, 30) => 2, 20];
    NBL_POOL_PARAMETERS = "NET_BUFFER_LIST_POOL_PARAMETERS", 0x80, [(6, 0) => 1, 16];
    NB_POOL_PARAMETERS = "NET_BUFFER_POOL_PARAMETERS", 0x80, [(6, 0) => 1, 12];
    CONFIGURATION_OBJECT = "NDIS_CONFIGURATION_OBJECT", 0xA9, [(6, 0) => 1, 20];
    TIMER_CHARACTERISTICS = "NDIS_TIMER_CHARACTERISTICS", 0x97, [(6, 0) => 1, 24];
}
