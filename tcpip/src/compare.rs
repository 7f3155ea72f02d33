//! Frames that should be equal, and what to say when they are not.

use std::fmt::Write;

use crate::packet::{ETHERNET_MINIMUM, Layout};

/// What a frame may look like after a link: as it is, or padded with zeros to Ethernet's minimum.
pub fn same_on_the_link(seen: &[u8], expected: &[u8]) -> bool {
    seen == expected
        || (seen.len() == ETHERNET_MINIMUM
            && seen.len() > expected.len()
            && seen.starts_with(expected)
            && seen[expected.len()..].iter().all(|&byte| byte == 0))
}

/// The first difference, in words.
pub fn difference(seen: &[u8], expected: &[u8]) -> String {
    let mut text = String::new();
    if seen.len() != expected.len() {
        let _ = write!(text, "{} bytes instead of {}; ", seen.len(), expected.len());
    }
    let common = seen.len().min(expected.len());
    let at = (0..common)
        .find(|&at| seen[at] != expected[at])
        .unwrap_or(common);
    let around = |bytes: &[u8]| {
        let start = at.saturating_sub(4).min(bytes.len());
        hex::encode(&bytes[start..(at + 8).min(bytes.len())])
    };
    let _ = write!(
        text,
        "from byte {at} on it differs: ..{}.. instead of ..{}..",
        around(seen),
        around(expected)
    );
    text
}

/// A packet, for people: addresses, protocol, length.
pub fn describe(frame: &[u8]) -> String {
    match Layout::of(frame) {
        Ok(layout) => format!(
            "{} > {}, protocol {}, {} bytes",
            layout.source,
            layout.destination,
            layout.protocol,
            frame.len()
        ),
        Err(reason) => format!("{reason}, {} bytes", frame.len()),
    }
}
