//! NET_BUFFER_LIST pools.

use core::ptr::NonNull;

use ndis_sys::{
    NDIS_HANDLE, NDIS_PROTOCOL_ID_DEFAULT, NET_BUFFER_LIST_POOL_PARAMETERS,
    NdisAllocateNetBufferListPool, NdisFreeNetBufferListPool, Zero as _,
};

use crate::{
    ObjectKind, Version, header, irql::Passive, memory::OutOfMemory, miniport::MiniportHandle,
};

/// A pool of NET_BUFFER_LISTs that come with a NET_BUFFER each. Freed when dropped, at PASSIVE_LEVEL.
pub struct NblPool(NonNull<core::ffi::c_void>);

// SAFETY: NDIS takes the handle on any processor.
unsafe impl Send for NblPool {}
// SAFETY: as above.
unsafe impl Sync for NblPool {}

impl NblPool {
    /// Makes a pool.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        adapter: MiniportHandle,
        version: Version,
        tag: u32,
        _at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        let mut parameters = NET_BUFFER_LIST_POOL_PARAMETERS::ZERO;
        parameters.Header = header(ObjectKind::NetBufferListPoolParameters, version);
        parameters.ProtocolId = NDIS_PROTOCOL_ID_DEFAULT;
        parameters.fAllocateNetBuffer = 1;
        parameters.PoolTag = tag;
        // SAFETY: `adapter` is a live handle and the parameters are complete.
        let pool = unsafe { NdisAllocateNetBufferListPool(adapter.raw(), &raw mut parameters) };
        NonNull::new(pool).map(Self).ok_or(OutOfMemory)
    }

    pub(crate) const fn raw(&self) -> NDIS_HANDLE {
        self.0.as_ptr()
    }
}

impl Drop for NblPool {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once; whoever owns the pool has freed its lists.
        unsafe { NdisFreeNetBufferListPool(self.0.as_ptr()) }
    }
}
