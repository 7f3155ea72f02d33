//! Packet sizes and how frames lie in memory.

use ndis_sim::ndis::{SendNb, SendNbl};
use tcpip::packet::ETHERNET_HEADER;

use super::{framing::Framed, keys::Keyed, row::Row};
use crate::mostly_compact;

/// The IP packets of Ethernet.
pub const MTU: usize = 1500;

/// The IP packets of the largest `*JumboPacket`.
pub const JUMBO_MTU: usize = 9000;

/// Which payloads the packets of a row have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Every residue modulo the cipher's block, on a base that differs from row to row, and the
    /// boundaries: 0 and 1, the two sides of the MTU's edge, and the largest.
    Residues,
    /// So many residues; rows that follow each other go on where one stops. Now and then a boundary.
    Rotated(usize),
    /// All from 0 to the largest.
    Every,
}

impl Sizes {
    /// The payloads of row number `index`.
    pub fn of(self, index: usize, row: &Row, keyed: &Keyed) -> Vec<usize> {
        const BASES: [usize; 9] = [0, 3, 40, 115, 256, 555, 1008, 1390, 2047];
        let most = |mtu| keyed.most_payload(row.family, mtu);
        let base = BASES[index % BASES.len()];
        let largest = most(JUMBO_MTU);
        match self {
            Self::Residues => {
                let edge = most(MTU);
                let mut sizes: Vec<_> = (base..base + row.block()).collect();
                sizes.extend([0, 1, edge, edge + 1, largest - 1, largest]);
                sizes
            }
            Self::Rotated(count) => {
                let boundaries = [0, 1, most(MTU), most(MTU) + 1, largest];
                let mut sizes: Vec<_> = (0..count)
                    .map(|at| base / 16 * 16 + (index * count + at) % 16)
                    .collect();
                if index.is_multiple_of(3) {
                    sizes[0] = boundaries[index / 3 % boundaries.len()];
                }
                sizes
            }
            Self::Every => (0..=largest).collect(),
        }
    }
}

/// How a frame lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One MDL.
    Whole,
    /// One for each header, payload, trailer and ICV.
    Fields,
    /// Of seven bytes, in the middle of a larger space.
    Odd,
    /// Of one byte.
    Bytes,
    /// Two, cut anywhere.
    Two,
}

impl Layout {
    /// All.
    pub const ALL: [Self; 5] = [Self::Whole, Self::Fields, Self::Odd, Self::Bytes, Self::Two];

    /// That of packet `number` of row `row`.
    pub fn of(row: usize, number: usize) -> Self {
        Self::ALL[(row + number) % Self::ALL.len()]
    }

    /// That of a ready frame of `len` bytes, of which the receiver sees nothing: a long one is
    /// not cut into thousands of pieces.
    pub fn of_injected(row: usize, number: usize, len: usize) -> Self {
        match Self::of(row, number) {
            Self::Bytes if len > 1024 => Self::Odd,
            layout => layout,
        }
    }

    /// The list with a frame; `framed` tells its fields.
    pub fn list(self, frame: Vec<u8>, framed: &Framed, number: usize) -> SendNbl {
        let len = frame.len();
        let nb = SendNb::new(frame);
        match self {
            Self::Whole => SendNbl::with_net_buffers(vec![nb]),
            Self::Fields => {
                let list = SendNbl::with_net_buffers(vec![nb.split(&fields(framed))]);
                mostly_compact(list, number as u64)
            }
            Self::Odd => {
                let nb = nb.data_offset(number % 23).slack(number % 5).split_every(7);
                mostly_compact(SendNbl::with_net_buffers(vec![nb]), number as u64)
            }
            Self::Bytes => SendNbl::with_net_buffers(vec![nb.split_every(1)]).compact(),
            Self::Two => SendNbl::with_net_buffers(vec![nb.split(&[number * 7919 % len])]),
        }
    }
}

/// The lengths of the fields of a frame.
fn fields(framed: &Framed) -> Vec<usize> {
    let mut ends = vec![0, framed.packet.point];
    for place in &framed.places {
        ends.extend([place.start, place.iv.start, place.iv.end]);
        ends.extend([
            place.body.start,
            place.body.end,
            place.icv.start,
            place.icv.end,
        ]);
        ends.extend(place.inner);
    }
    ends.sort_unstable();
    ends.dedup();
    let lengths = ends.windows(2).map(|pair| pair[1] - pair[0]);
    [ETHERNET_HEADER].into_iter().chain(lengths).collect()
}
