//! The configuration of an adapter in the registry (its keywords).

use core::ptr::null_mut;

use ndis_sys::{
    NDIS_CONFIGURATION_OBJECT, NDIS_HANDLE, NDIS_STATUS, NDIS_STATUS_SUCCESS, NDIS_STRING,
    NdisCloseConfiguration, NdisOpenConfigurationEx, NdisParameterInteger, NdisReadConfiguration,
    NdisReadNetworkAddress, Zero as _,
};

use crate::{ObjectKind, Version, header, irql::Passive, miniport::MiniportHandle};

/// A keyword, as UTF-16. Made by [`keyword!`](crate::keyword).
#[derive(Clone, Copy)]
pub struct Keyword(&'static [u16]);

impl Keyword {
    /// The name `units`, with its terminator.
    #[must_use]
    pub const fn new(units: &'static [u16]) -> Self {
        assert!(units.len() < 0x4000, "longer than a registry name");
        assert!(matches!(units.last(), Some(0)), "not terminated");
        Self(units)
    }

    /// As a counted string, which does not count the terminator.
    #[must_use]
    pub const fn as_string(self) -> NDIS_STRING {
        let mut string = NDIS_STRING::ZERO;
        // `new` has checked that this fits.
        string.MaximumLength = (self.0.len() as u16).saturating_mul(2);
        string.Length = string.MaximumLength.saturating_sub(2);
        string.Buffer = self.0.as_ptr().cast_mut();
        string
    }
}

/// A [`Keyword`] from an ASCII literal.
#[macro_export]
macro_rules! keyword {
    ($name:literal) => {{
        const UNITS: [u16; $name.len() + 1] = {
            let mut units = [0; $name.len() + 1];
            let mut i = 0;
            while i < $name.len() {
                assert!($name.as_bytes()[i].is_ascii());
                units[i] = $name.as_bytes()[i] as u16;
                i += 1;
            }
            units
        };
        $crate::config::Keyword::new(&UNITS)
    }};
}

/// The adapter's configuration, open. Closed when dropped.
pub struct Configuration {
    handle: NDIS_HANDLE,
}

impl Configuration {
    /// Opens it.
    ///
    /// # Errors
    /// What NdisOpenConfigurationEx says, NDIS_STATUS_RESOURCES for example.
    pub fn open(
        adapter: MiniportHandle,
        version: Version,
        _at: Passive<'_>,
    ) -> Result<Self, NDIS_STATUS> {
        let mut object = NDIS_CONFIGURATION_OBJECT::ZERO;
        object.Header = header(ObjectKind::ConfigurationObject, version);
        object.NdisHandle = adapter.raw();
        let mut handle: NDIS_HANDLE = null_mut();
        // SAFETY: PASSIVE_LEVEL by the token; the object is complete.
        let status = unsafe { NdisOpenConfigurationEx(&raw mut object, &raw mut handle) };
        if status == NDIS_STATUS_SUCCESS {
            Ok(Self { handle })
        } else {
            Err(status)
        }
    }

    /// The number under `keyword`; None when it is absent or no number.
    #[must_use]
    pub fn read_u32(&self, keyword: Keyword, _at: Passive<'_>) -> Option<u32> {
        let mut status: NDIS_STATUS = NDIS_STATUS_SUCCESS;
        let mut value = null_mut();
        let mut name = keyword.as_string();
        // SAFETY: PASSIVE_LEVEL by the token; the handle is open, the name is counted and lives on.
        unsafe {
            NdisReadConfiguration(
                &raw mut status,
                &raw mut value,
                self.handle,
                &raw mut name,
                NdisParameterInteger,
            );
        }
        if status != NDIS_STATUS_SUCCESS || value.is_null() {
            return None;
        }
        // SAFETY: on success NDIS hands out a parameter that lives until the configuration is
        // closed.
        unsafe {
            if (*value).ParameterType != NdisParameterInteger {
                return None;
            }
            Some((*value).ParameterData.IntegerData)
        }
    }

    /// The MAC address that the administrator set (NetworkAddress); None when there is none, or
    /// it is not six bytes.
    #[must_use]
    pub fn network_address(&self, _at: Passive<'_>) -> Option<[u8; 6]> {
        let mut status: NDIS_STATUS = NDIS_STATUS_SUCCESS;
        let mut address = null_mut();
        let mut len = 0;
        // SAFETY: PASSIVE_LEVEL by the token; the handle is open.
        unsafe {
            NdisReadNetworkAddress(&raw mut status, &raw mut address, &raw mut len, self.handle);
        }
        if status != NDIS_STATUS_SUCCESS || address.is_null() || len != 6 {
            return None;
        }
        // SAFETY: on success NDIS hands out `len` bytes that live until the configuration is closed.
        Some(unsafe { address.cast::<[u8; 6]>().read_unaligned() })
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once; its users run at PASSIVE_LEVEL, where it was opened.
        unsafe { NdisCloseConfiguration(self.handle) }
    }
}
