//! The NDIS version that the driver registers with: 6.1, unless the value `NdisVersion` under the
//! service's Parameters key says 620 or 630. It is needed before any adapter exists, so it is a
//! property of the driver and not a keyword of an adapter.

use core::sync::atomic::{AtomicU8, Ordering};

use ndis::Version;

/// The default, and the oldest with the direct OID path that IPsecOV2 needs.
const DEFAULT: Version = Version::V6_1;

/// Minor version number, as registered.
static REGISTERED: AtomicU8 = AtomicU8::new(DEFAULT.minor());

/// What the registry value asks for. A value that is none gives the default.
pub fn from_registry(value: Option<u32>) -> Version {
    match value {
        Some(620) => Version::V6_20,
        Some(630) => Version::V6_30,
        _ => DEFAULT,
    }
}

/// Remembers the version before the driver registers.
pub fn set(version: Version) {
    REGISTERED.store(version.minor(), Ordering::Release);
}

/// The version that the driver registered with.
pub fn registered() -> Version {
    Version::from_numbers(6, REGISTERED.load(Ordering::Acquire)).unwrap_or(DEFAULT)
}
