//! How a frame lies in memory: the lengths of the MDLs under a NET_BUFFER.

use ndis_sim::ndis::SendNb;

pub use lab_options::Split;

/// A NET_BUFFER with the frame. `headers` and `trailer` are the bytes of link, IP and ESP
/// headers in front and of the ESP trailer behind; `number` makes frames differ.
pub fn net_buffer(
    split: Split,
    frame: Vec<u8>,
    headers: usize,
    trailer: usize,
    number: u64,
) -> SendNb {
    let len = frame.len();
    let nb = SendNb::new(frame);
    match split {
        Split::Whole => nb,
        Split::Headers => {
            let headers = headers.min(len);
            nb.split(&[headers, len.saturating_sub(headers + trailer)])
        }
        Split::Every(bytes) => nb.split_every(bytes),
        Split::Random(seed) => {
            let mut state = SplitMix(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let offset = (state.next() % 40) as usize;
            let slack = (state.next() % 40) as usize;
            let total = offset + len + slack;
            let mut lengths = Vec::new();
            while lengths.iter().sum::<usize>() < total {
                lengths.push((state.next() % 100) as usize);
            }
            nb.data_offset(offset).slack(slack).split(&lengths)
        }
    }
}

/// The generator SplitMix64: enough to vary lengths.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
