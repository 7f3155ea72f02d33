//! The header of a structure that this driver writes, for the version that it registered with.

use ndis_sys::{NDIS_OBJECT_HEADER, NdisVersion, ObjectKind, Zero as _};

/// Type, revision and size for `version`. A structure that is later than `version` has no header:
/// it gets zeroes, which NDIS refuses.
#[must_use]
pub const fn header(kind: ObjectKind, version: NdisVersion) -> NDIS_OBJECT_HEADER {
    match kind.header(version) {
        Some(header) => header,
        None => NDIS_OBJECT_HEADER::ZERO,
    }
}
