//! How a frame lies in memory: the lengths of the MDLs under a NET_BUFFER.

use std::{fmt, str::FromStr};

use ndis_sim::ndis::SendNb;

/// A way to scatter frames over MDLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// One MDL.
    Whole,
    /// Headers, payload, and the ESP trailer each in their own: what TCP/IP hands down.
    Headers,
    /// MDLs of so many bytes.
    Every(usize),
    /// Any lengths from 0 to 99, with unused bytes in front and room behind; another for each frame.
    Random(u64),
}

impl Split {
    /// A NET_BUFFER with the frame. `headers` and `trailer` are the bytes of link, IP and ESP
    /// headers in front and of the ESP trailer behind; `number` makes frames differ.
    pub fn net_buffer(self, frame: Vec<u8>, headers: usize, trailer: usize, number: u64) -> SendNb {
        let len = frame.len();
        let nb = SendNb::new(frame);
        match self {
            Self::Whole => nb,
            Self::Headers => {
                let headers = headers.min(len);
                nb.split(&[headers, len.saturating_sub(headers + trailer)])
            }
            Self::Every(bytes) => nb.split_every(bytes),
            Self::Random(seed) => {
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

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Headers => f.write_str("headers"),
            Self::Every(bytes) => write!(f, "{bytes}"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse().ok();
        match text {
            "whole" => Some(Self::Whole),
            "headers" => Some(Self::Headers),
            "random" => Some(Self::Random(1)),
            _ => match text.strip_prefix("random:") {
                Some(seed) => number(seed).map(Self::Random),
                None => text.parse().ok().filter(|&n| n > 0).map(Self::Every),
            },
        }
        .ok_or_else(|| {
            format!("{text:?} is not whole, headers, random, random:SEED or a number of bytes")
        })
    }
}
