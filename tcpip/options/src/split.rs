//! How a frame lies in memory: the lengths of the MDLs under a NET_BUFFER.

use std::{fmt, str::FromStr};

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
