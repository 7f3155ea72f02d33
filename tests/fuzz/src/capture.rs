//! Captures, and what the transport sees in their packets.

use tcpip::capture::Capture;
use tcpip::packet::Layout;
use tcpip::policy::{Offers, eligible};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(capture) = Capture::parse(data) else {
        return;
    };
    let bytes: usize = capture
        .packets
        .iter()
        .map(|packet| packet.frame.len())
        .sum();
    assert!(bytes <= data.len());
    // What is written is what was read.
    let mut written = Vec::new();
    capture.write_to(&mut written).expect("room in memory");
    let again = Capture::parse(&written).expect("the same capture");
    assert_eq!(again.packets, capture.packets);

    for packet in &capture.packets {
        let frame = &packet.frame;
        if let Ok(layout) = Layout::of(frame) {
            assert!(layout.ip < layout.payload && layout.payload <= layout.end);
            assert!(layout.end <= frame.len());
            assert!(layout.protocol_field < layout.payload);
        }
        if let Ok(layout) = eligible(frame, &Offers::EVERYTHING) {
            assert_eq!(layout.source.is_ipv4(), layout.destination.is_ipv4());
        }
    }
}
