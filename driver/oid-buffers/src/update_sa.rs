//! OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA.

use ipsec::{Operation, SaHandle};
use ndis_sys::{
    IPSEC_OFFLOAD_V2_UPDATE_SA, NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1,
    NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1, read_prefix,
};

use crate::{INVALID, Refusal, is_structure, operation};

/// A new high half of an SA's sequence number. The page speaks of a list, but the structure has no Next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateSa {
    /// `OffloadHandle`.
    pub handle: SaHandle,
    /// `Operation`.
    pub operation: Operation,
    /// `Spi`.
    pub spi: u32,
    /// `SequenceNumberHighOrder`.
    pub sequence_number_high: u32,
}

impl UpdateSa {
    /// The bytes that the request reads.
    pub const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1;

    /// Reads the buffer.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse(buffer: &[u8]) -> Result<Self, Refusal> {
        const REVISION: u8 = NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1;

        let sa = read_prefix::<IPSEC_OFFLOAD_V2_UPDATE_SA>(buffer, Self::SIZE)
            .ok_or(Refusal::TooShort(Self::SIZE))?;
        let handle = SaHandle::from_raw(sa.OffloadHandle.addr() as u64)
            .filter(|_| is_structure(&sa.Header, REVISION, Self::SIZE))
            .ok_or(Refusal::Status(INVALID))?;
        Ok(Self {
            handle,
            operation: operation(sa.Operation).map_err(Refusal::Status)?,
            spi: sa.Spi,
            sequence_number_high: sa.SequenceNumberHighOrder,
        })
    }
}
