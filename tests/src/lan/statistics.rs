//! OID_GEN_STATISTICS of an adapter, and what it must say.

use std::{mem::offset_of, ops::AddAssign};

use ndis_sys::*;

use crate::switch::SwitchPort;

/// The members of NDIS_STATISTICS_INFO that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// ifHCInUcastPkts and its kin: directed, multicast, broadcast.
    pub in_frames: [u64; 3],
    /// ifHCInUcastOctets and its kin.
    pub in_bytes: [u64; 3],
    /// ifInDiscards.
    pub in_discards: u64,
    /// ifInErrors.
    pub in_errors: u64,
    /// ifHCOutUcastPkts and its kin.
    pub out_frames: [u64; 3],
    /// ifHCOutUcastOctets and its kin.
    pub out_bytes: [u64; 3],
    /// ifOutDiscards.
    pub out_discards: u64,
    /// ifOutErrors.
    pub out_errors: u64,
}

/// The flags of all statistics: "NDIS 6.0 and later drivers must support all statistics".
const ALL: u32 = NDIS_STATISTICS_FLAGS_VALID_DIRECTED_FRAMES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_FRAMES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_FRAMES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_RCV_DISCARDS
    | NDIS_STATISTICS_FLAGS_VALID_RCV_ERROR
    | NDIS_STATISTICS_FLAGS_VALID_DIRECTED_FRAMES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_FRAMES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_FRAMES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_BYTES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_XMIT_ERROR
    | NDIS_STATISTICS_FLAGS_VALID_XMIT_DISCARDS
    | NDIS_STATISTICS_FLAGS_VALID_DIRECTED_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_BYTES_RCV
    | NDIS_STATISTICS_FLAGS_VALID_DIRECTED_BYTES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_MULTICAST_BYTES_XMIT
    | NDIS_STATISTICS_FLAGS_VALID_BROADCAST_BYTES_XMIT;

/// Which of the three kinds of frames a destination makes.
#[must_use]
pub fn kind(destination: [u8; 6]) -> usize {
    match destination {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => 2,
        [first, ..] => usize::from(first & 1),
    }
}

impl Statistics {
    /// What the adapter says, after its header, the flags, the sums and the single counters have been
    /// found right.
    ///
    /// # Panics
    /// If one of them is not.
    #[must_use]
    pub fn of(port: &SwitchPort) -> Self {
        let size = NDIS_SIZEOF_STATISTICS_INFO_REVISION_1;
        let answer = port.query(OID_GEN_STATISTICS, size);
        assert_eq!(answer.status, NDIS_STATUS_SUCCESS);
        assert_eq!(answer.bytes_written as usize, size);
        let bytes = answer.data();
        let header = [NDIS_OBJECT_TYPE_DEFAULT, 1, size as u8, 0];
        assert_eq!(bytes[..4], header, "the header");
        assert_eq!(
            bytes[4..8],
            ALL.to_le_bytes(),
            "not all statistics are supported"
        );
        let word = |at: usize| {
            let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
            word.map_or(0, u64::from_le_bytes)
        };
        macro_rules! members {
            ($($name:ident),*) => { [$(word(offset_of!(NDIS_STATISTICS_INFO, $name))),*] };
        }
        let found = Self {
            in_frames: members!(ifHCInUcastPkts, ifHCInMulticastPkts, ifHCInBroadcastPkts),
            in_bytes: members!(
                ifHCInUcastOctets,
                ifHCInMulticastOctets,
                ifHCInBroadcastOctets
            ),
            in_discards: word(offset_of!(NDIS_STATISTICS_INFO, ifInDiscards)),
            in_errors: word(offset_of!(NDIS_STATISTICS_INFO, ifInErrors)),
            out_frames: members!(ifHCOutUcastPkts, ifHCOutMulticastPkts, ifHCOutBroadcastPkts),
            out_bytes: members!(
                ifHCOutUcastOctets,
                ifHCOutMulticastOctets,
                ifHCOutBroadcastOctets
            ),
            out_discards: word(offset_of!(NDIS_STATISTICS_INFO, ifOutDiscards)),
            out_errors: word(offset_of!(NDIS_STATISTICS_INFO, ifOutErrors)),
        };
        let sums = members!(ifHCInOctets, ifHCOutOctets);
        assert_eq!(sums[0], found.in_bytes.iter().sum::<u64>(), "ifHCInOctets");
        assert_eq!(
            sums[1],
            found.out_bytes.iter().sum::<u64>(),
            "ifHCOutOctets"
        );
        found.agrees(port);
        found
    }

    /// The single counters say the same.
    fn agrees(&self, port: &SwitchPort) {
        for (oid, value) in [
            (OID_GEN_RCV_OK, self.in_frames.iter().sum()),
            (OID_GEN_XMIT_OK, self.out_frames.iter().sum()),
            (OID_GEN_RCV_ERROR, self.in_errors),
            (OID_GEN_XMIT_ERROR, self.out_errors),
            (OID_GEN_RCV_DISCARDS, self.in_discards),
            (OID_GEN_XMIT_DISCARDS, self.out_discards),
            (OID_GEN_BYTES_RCV, self.in_bytes.iter().sum()),
            (OID_GEN_BYTES_XMIT, self.out_bytes.iter().sum()),
            (OID_GEN_DIRECTED_FRAMES_RCV, self.in_frames[0]),
            (OID_GEN_MULTICAST_FRAMES_RCV, self.in_frames[1]),
            (OID_GEN_BROADCAST_FRAMES_RCV, self.in_frames[2]),
            (OID_GEN_DIRECTED_BYTES_RCV, self.in_bytes[0]),
            (OID_GEN_MULTICAST_BYTES_RCV, self.in_bytes[1]),
            (OID_GEN_BROADCAST_BYTES_RCV, self.in_bytes[2]),
            (OID_GEN_DIRECTED_FRAMES_XMIT, self.out_frames[0]),
            (OID_GEN_MULTICAST_FRAMES_XMIT, self.out_frames[1]),
            (OID_GEN_BROADCAST_FRAMES_XMIT, self.out_frames[2]),
            (OID_GEN_DIRECTED_BYTES_XMIT, self.out_bytes[0]),
            (OID_GEN_MULTICAST_BYTES_XMIT, self.out_bytes[1]),
            (OID_GEN_BROADCAST_BYTES_XMIT, self.out_bytes[2]),
        ] {
            assert_eq!(port.counter(oid), value, "{oid:#x} and OID_GEN_STATISTICS");
        }
    }

    /// Counts a frame of `bytes` on the wire that was sent.
    pub fn sent(&mut self, destination: [u8; 6], bytes: usize) {
        self.out_frames[kind(destination)].add_assign(1);
        self.out_bytes[kind(destination)].add_assign(bytes as u64);
    }

    /// Counts a frame of `bytes` on the wire that was received.
    pub fn received(&mut self, destination: [u8; 6], bytes: usize) {
        self.in_frames[kind(destination)].add_assign(1);
        self.in_bytes[kind(destination)].add_assign(bytes as u64);
    }
}
