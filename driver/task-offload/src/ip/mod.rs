//! IP headers up to the upper-layer header, and the addresses of the pseudo-header that the checksum
//! of that is over. Every byte is read with a check; every walk is bounded.

mod ipv4;
mod ipv6;

use core::ops::Range;

use crate::Sum;

/// The IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The headers cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotIp;

/// What an IPsec header carries: found by whoever knows the SA, for ESP hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The protocol: of a transport, of an IPv6 extension header, or 4 or 41 of a tunnelled packet.
    pub protocol: u8,
    /// Where it is in the received packet, or in that to send, without padding, trailer and ICV.
    pub payload: Range<usize>,
}

/// Where the parts of an IP packet are, by offsets from its start.
#[derive(Clone, Debug)]
pub struct Ip {
    /// The version.
    pub version: IpVersion,
    /// The bytes of the IPv4 header, or of the IPv6 header without extensions.
    pub header: usize,
    /// The protocol at `payload`: the first that is not an IPv6 extension header.
    pub protocol: u8,
    /// What is behind the headers, up to where the IP header says that the packet ends.
    pub payload: Range<usize>,
    /// A piece of a packet.
    pub fragment: bool,
    addresses: Addresses,
}

/// Source and destination of the pseudo-header, as their sum.
///
/// They are not always those of the IP header: RFC 8200 section 8.1 and RFC 793 section 3.1 mean the
/// ends of the path.
#[derive(Clone, Copy, Debug)]
enum Addresses {
    Known(Sum),
    /// A routing header of a kind that this module does not know has yet to be followed.
    Unknown,
}

/// The IP headers alone, without the length in them.
struct Walk {
    version: IpVersion,
    header: usize,
    protocol: u8,
    offset: usize,
    fragment: bool,
    addresses: Addresses,
}

impl Walk {
    fn start(head: &[u8]) -> Result<Self, NotIp> {
        match head.first().map(|first| first >> 4) {
            Some(4) => ipv4::walk(head),
            Some(6) => ipv6::walk(head),
            _ => Err(NotIp),
        }
    }

    fn ip(self, end: usize) -> Result<Ip, NotIp> {
        if end < self.offset {
            return Err(NotIp);
        }
        Ok(Ip {
            version: self.version,
            header: self.header,
            protocol: self.protocol,
            payload: self.offset..end,
            fragment: self.fragment,
            addresses: self.addresses,
        })
    }
}

impl Ip {
    /// Reads the headers of the IP packet at the start of `packet`; Ethernet padding may follow it.
    ///
    /// # Errors
    /// [`NotIp`], also for a packet that is longer than `packet`, and for a jumbogram (RFC 2675).
    pub fn parse(packet: &[u8]) -> Result<Self, NotIp> {
        let end = total_length(packet)?;
        let whole = packet.get(..end).ok_or(NotIp)?;
        Walk::start(whole)?.ip(end)
    }

    /// Reads the headers of a packet of `len` bytes of which `head` is the beginning. The length in
    /// the IP header is not looked at.
    ///
    /// # Errors
    /// [`NotIp`], also when the headers do not end within `head`.
    pub(crate) fn parse_head(head: &[u8], len: usize) -> Result<Self, NotIp> {
        Walk::start(head)?.ip(len)
    }

    /// The same packet seen from behind an IPsec header: goes on over IPv6 extension headers in
    /// `carried`, which counts from the start of `packet`.
    ///
    /// # Errors
    /// [`NotIp`].
    pub(crate) fn behind(mut self, packet: &[u8], carried: &Carried) -> Result<Self, NotIp> {
        self.protocol = carried.protocol;
        self.payload = carried.payload.clone();
        if self.version == IpVersion::V6 {
            let bytes = packet.get(self.payload.clone()).ok_or(NotIp)?;
            let passed = ipv6::skip_extensions(bytes, self.protocol)?;
            self.protocol = passed.protocol;
            self.payload.start = self.payload.start.saturating_add(passed.offset);
            self.fragment |= passed.fragment;
        }
        Ok(self)
    }

    /// The sum over the pseudo-header for `len` bytes of `protocol` (RFC 9293 section 3.1, RFC 768,
    /// RFC 8200 section 8.1). None when the final destination cannot be told.
    #[must_use]
    pub fn pseudo_header(&self, protocol: u8, len: u32) -> Option<Sum> {
        match self.addresses {
            Addresses::Known(sum) => Some(sum.long(len).number(u16::from(protocol))),
            Addresses::Unknown => None,
        }
    }
}

/// What the IP header says, in bytes.
pub(crate) fn total_length(packet: &[u8]) -> Result<usize, NotIp> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => Ok(usize::from(u16_at(packet, ipv4::TOTAL_LENGTH)?)),
        Some(6) => {
            let payload = u16_at(packet, ipv6::PAYLOAD_LENGTH)?;
            Ok(ipv6::FIXED.saturating_add(usize::from(payload)))
        }
        _ => Err(NotIp),
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, NotIp> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().map(u16::from_be_bytes).ok_or(NotIp)
}

pub(crate) use ipv4::{
    CHECKSUM as IPV4_CHECKSUM, IDENTIFICATION as IPV4_IDENTIFICATION,
    TOTAL_LENGTH as IPV4_TOTAL_LENGTH,
};
pub(crate) use ipv6::{FIXED as IPV6_FIXED, PAYLOAD_LENGTH as IPV6_PAYLOAD_LENGTH};
