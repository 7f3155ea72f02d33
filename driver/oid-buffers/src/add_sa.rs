//! OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA and ADD_SA_EX as requests.

use ipsec::SaHandle;
use ndis_sys::{IPSEC_OFFLOAD_V2_ADD_SA, IPSEC_OFFLOAD_V2_ADD_SA_EX, NDIS_STATUS};

use crate::association::{AddSa, Layout};
use crate::list::List;
use crate::{INVALID, Refusal};

/// The buffer of ADD_SA: a list that is well formed as a list.
#[derive(Debug)]
pub struct AddSaList<'b>(&'b mut [u8]);

impl<'b> AddSaList<'b> {
    /// Looks at the list: that its first SA is whole, and that every element lies in the buffer.
    ///
    /// # Errors
    /// [`Refusal::TooShort`] when the buffer is too short for its first SA or that one's keys.
    pub fn new(buffer: &'b mut [u8]) -> Result<Self, Refusal> {
        whole::<IPSEC_OFFLOAD_V2_ADD_SA>(buffer)?;
        let list = Self::list(buffer);
        if list.elements(buffer).any(|offset| offset.is_none()) {
            return Err(Refusal::Status(INVALID));
        }
        Ok(Self(buffer))
    }

    fn list(buffer: &[u8]) -> List {
        List::of::<IPSEC_OFFLOAD_V2_ADD_SA>(IPSEC_OFFLOAD_V2_ADD_SA::SIZE, buffer)
    }

    /// Has every SA of the list offloaded and writes its handle, null for one that was not. Succeeds with
    /// the bytes read if one of them was.
    ///
    /// # Errors
    /// The status of the first SA, when none was offloaded.
    pub fn offload(
        self,
        mut each: impl FnMut(&AddSa<'_>) -> Result<SaHandle, NDIS_STATUS>,
    ) -> Result<usize, NDIS_STATUS> {
        let buffer = self.0;
        let list = Self::list(buffer);
        let mut result = None;
        let mut next = Some(0);
        // Handles are written on the way: elements that lie over one another could have no end.
        for _ in 0..list.most(buffer) {
            let Some(offset) = next else {
                break;
            };
            let added = offload_one::<IPSEC_OFFLOAD_V2_ADD_SA>(buffer, offset, &mut each);
            result = match (result, added) {
                (None, added) => Some(added),
                (Some(Err(_)), Ok(())) => Some(Ok(())),
                (so_far, _) => so_far,
            };
            next = list.after(buffer, offset);
        }
        result.unwrap_or(Err(INVALID)).map(|()| buffer.len())
    }
}

/// The buffer of ADD_SA_EX: one SA.
#[derive(Debug)]
pub struct AddSaEx<'b>(&'b mut [u8]);

impl<'b> AddSaEx<'b> {
    /// Looks at the buffer: that the SA is whole.
    ///
    /// # Errors
    /// [`Refusal::TooShort`] when the buffer is too short for it or its keys.
    pub fn new(buffer: &'b mut [u8]) -> Result<Self, Refusal> {
        whole::<IPSEC_OFFLOAD_V2_ADD_SA_EX>(buffer)?;
        Ok(Self(buffer))
    }

    /// Has it offloaded and writes its handle, null if it was not. Returns the bytes read.
    ///
    /// # Errors
    /// Its status, when it was not.
    pub fn offload(
        self,
        mut one: impl FnMut(&AddSa<'_>) -> Result<SaHandle, NDIS_STATUS>,
    ) -> Result<usize, NDIS_STATUS> {
        offload_one::<IPSEC_OFFLOAD_V2_ADD_SA_EX>(self.0, 0, &mut one)?;
        Ok(self.0.len())
    }
}

/// Says how long a buffer would have to be that is too short for its first SA or that one's keys. Where no
/// buffer could be long enough it is not a matter of length.
fn whole<L: Layout>(buffer: &[u8]) -> Result<(), Refusal> {
    let needed = match L::read(buffer) {
        Some(structure) => structure.end(),
        None => Some(L::SIZE),
    };
    match needed {
        Some(needed) if needed > buffer.len() && u32::try_from(needed).is_ok() => {
            Err(Refusal::TooShort(needed))
        }
        _ => Ok(()),
    }
}

/// Offloads the SA at `offset` and writes its handle.
fn offload_one<L: Layout>(
    buffer: &mut [u8],
    offset: usize,
    one: &mut impl FnMut(&AddSa<'_>) -> Result<SaHandle, NDIS_STATUS>,
) -> Result<(), NDIS_STATUS> {
    let added = buffer
        .get(offset..)
        .and_then(|element| Some((L::read(element)?, element)))
        .ok_or(INVALID)
        .and_then(|(structure, element)| one(&structure.parse(element)?));
    let handle = added.map_or(0, SaHandle::to_raw);
    if let Some(place) = buffer
        .get_mut(offset.saturating_add(L::HANDLE)..)
        .and_then(|rest| rest.first_chunk_mut::<8>())
    {
        *place = handle.to_ne_bytes();
    }
    added.map(|_| ())
}
