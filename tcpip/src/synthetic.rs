//! Packets made up for measurements.

use anyhow::{Context, Result};
use etherparse::PacketBuilder;

/// An Ethernet frame with a UDP packet over IPv4 of `size` bytes, IP header included.
pub fn udp_v4(size: usize) -> Result<Vec<u8>> {
    let payload = size
        .checked_sub(28)
        .context("an IPv4 packet with UDP has at least 28 bytes")?;
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(1024, 1024);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![0x5A; payload])?;
    Ok(frame)
}

/// An Ethernet frame with a UDP packet over IPv6 of `size` bytes, IP header included.
pub fn udp_v6(size: usize) -> Result<Vec<u8>> {
    let payload = size
        .checked_sub(48)
        .context("an IPv6 packet with UDP has at least 48 bytes")?;
    let address = |last| [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv6(address(1), address(2), 64)
        .udp(1024, 1024);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![0x5A; payload])?;
    Ok(frame)
}
