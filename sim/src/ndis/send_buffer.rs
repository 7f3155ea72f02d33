//! Send requests as a transport describes them: NET_BUFFER_LISTs over any MDL
//! split.

use ndis_sys::NetBufferListCancelId;

use super::{nbl::INFO_SLOTS, prepared::PreparedNbl};
use crate::machine::Machine;

/// One NET_BUFFER to send: its bytes and how they are scattered.
#[derive(Clone, Debug, Default)]
pub struct SendNb {
    pub(super) data: Vec<u8>,
    pub(super) split: Vec<usize>,
    pub(super) offset: usize,
    pub(super) slack: usize,
    pub(super) bare: bool,
    pub(super) unmapped: bool,
}

impl SendNb {
    /// A frame in one MDL.
    #[must_use]
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self {
            data: data.into(),
            ..Self::default()
        }
    }

    /// A NET_BUFFER with no MDL and no data.
    #[must_use]
    pub fn without_mdl() -> Self {
        Self {
            bare: true,
            ..Self::default()
        }
    }

    /// Lengths of the MDLs over the whole space (unused bytes in front, data,
    /// room behind). What they leave goes into one more MDL; zeros are allowed,
    /// and lengths beyond the end of the space give empty MDLs.
    #[must_use]
    pub fn split(mut self, lengths: &[usize]) -> Self {
        self.split = lengths.to_vec();
        self
    }

    /// MDLs of `length` bytes each.
    #[must_use]
    pub fn split_every(mut self, length: usize) -> Self {
        let total = self.offset + self.data.len() + self.slack;
        self.split = vec![length.max(1); total / length.max(1)];
        self
    }

    /// MDLs whose pages are locked and not mapped, so that
    /// MmGetSystemAddressForMdlSafe has to map them (and may fail).
    #[must_use]
    pub fn unmapped(mut self) -> Self {
        self.unmapped = true;
        self
    }

    /// Unused bytes before the data: DataOffset.
    #[must_use]
    pub fn data_offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// Room behind the data that the MDLs describe and DataLength does not.
    #[must_use]
    pub fn slack(mut self, bytes: usize) -> Self {
        self.slack = bytes;
        self
    }

    /// The lengths of the MDLs.
    pub(super) fn mdl_lengths(&self) -> Vec<usize> {
        if self.bare {
            return Vec::new();
        }
        let mut left = self.offset + self.data.len() + self.slack;
        let mut lengths: Vec<usize> = self
            .split
            .iter()
            .map(|len| {
                let len = (*len).min(left);
                left -= len;
                len
            })
            .collect();
        if left != 0 || lengths.is_empty() {
            lengths.push(left);
        }
        lengths
    }
}

/// One NET_BUFFER_LIST to send.
#[derive(Clone, Debug, Default)]
pub struct SendNbl {
    pub(super) net_buffers: Vec<SendNb>,
    pub(super) info: Vec<(usize, usize)>,
    pub(super) cookie: u64,
    pub(super) flags: u32,
    pub(super) compact: bool,
}

impl SendNbl {
    /// One frame in one MDL.
    #[must_use]
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self::with_net_buffers(vec![SendNb::new(data)])
    }

    /// Any number of frames that share their out-of-band information.
    #[must_use]
    pub fn with_net_buffers(net_buffers: Vec<SendNb>) -> Self {
        Self {
            net_buffers,
            ..Self::default()
        }
    }

    /// Sets a word of NetBufferListInfo.
    ///
    /// # Panics
    /// When an NDIS 6.30 driver has no such slot.
    #[must_use]
    pub fn info(mut self, index: usize, value: usize) -> Self {
        assert!(index < INFO_SLOTS, "no NetBufferListInfo[{index}]");
        self.info.push((index, value));
        self
    }

    /// Marks the list so that it can be cancelled.
    #[must_use]
    pub fn cancel_id(self, id: usize) -> Self {
        self.info(NetBufferListCancelId as usize, id)
    }

    /// A number for the sender's own use, given back on completion.
    #[must_use]
    pub fn cookie(mut self, cookie: u64) -> Self {
        self.cookie = cookie;
        self
    }

    /// Sets bits of NblFlags.
    #[must_use]
    pub fn nbl_flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// Puts the MDLs of a NET_BUFFER next to each other, with guard bytes between,
    /// instead of each against an inaccessible page: for many requests at a time,
    /// of whose mappings a host has a limited number.
    #[must_use]
    pub fn compact(mut self) -> Self {
        self.compact = true;
        self
    }

    /// Builds the structures and the buffers.
    #[must_use]
    pub fn prepare(&self, machine: &Machine) -> PreparedNbl {
        PreparedNbl::build(self, machine)
    }
}
