//! The IPv6 header and its extension headers, RFC 8200.

use super::{Addresses, IpVersion, NotIp, Walk};
use crate::Sum;

pub(crate) const FIXED: usize = 40;
pub(crate) const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
const ADDRESSES: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// More extension headers than this are not followed. RFC 8200 section 4.1 has four, and one of them
/// twice.
const MOST_EXTENSION_HEADERS: usize = 8;

/// RFC 5095 section 2.1, deprecated.
const ROUTING_SOURCE: u8 = 0;
/// RFC 6275 section 6.4.
const ROUTING_MOBILE: u8 = 2;
/// RFC 8754 section 2.
const ROUTING_SEGMENTS: u8 = 4;

const PAD_1: u8 = 0;
/// RFC 6275 section 6.3.
const HOME_ADDRESS: u8 = 201;

pub(super) fn walk(head: &[u8]) -> Result<Walk, NotIp> {
    let (header, rest) = head.split_first_chunk::<FIXED>().ok_or(NotIp)?;
    let (source, destination) = header
        .get(ADDRESSES..)
        .and_then(|addresses| addresses.split_first_chunk::<16>())
        .ok_or(NotIp)?;
    let destination = destination.first_chunk::<16>().ok_or(NotIp)?;
    let passed = skip_extensions(rest, *header.get(NEXT_HEADER).ok_or(NotIp)?)?;
    let addresses = match passed.destination {
        Final::Unknown => Addresses::Unknown,
        Final::InHeader => Addresses::Known(sum(passed.home.unwrap_or(source), destination)),
        Final::InRoute(last) => Addresses::Known(sum(passed.home.unwrap_or(source), last)),
    };
    Ok(Walk {
        version: IpVersion::V6,
        header: FIXED,
        protocol: passed.protocol,
        offset: FIXED.saturating_add(passed.offset),
        fragment: passed.fragment,
        addresses,
    })
}

fn sum(source: &[u8; 16], destination: &[u8; 16]) -> Sum {
    Sum::ZERO.bytes(source).bytes(destination)
}

/// Extension headers that were walked over.
pub(super) struct Passed<'a> {
    /// What comes behind them, at `offset`.
    pub protocol: u8,
    pub offset: usize,
    pub fragment: bool,
    destination: Final<'a>,
    /// The source as the upper layer sees it (RFC 6275 section 11.3.1).
    home: Option<&'a [u8; 16]>,
}

/// Where the final destination is.
enum Final<'a> {
    InHeader,
    InRoute(&'a [u8; 16]),
    Unknown,
}

/// Walks over extension headers, up to the first that is none or hides what comes.
pub(super) fn skip_extensions(bytes: &[u8], protocol: u8) -> Result<Passed<'_>, NotIp> {
    let mut passed = Passed {
        protocol,
        offset: 0,
        fragment: false,
        destination: Final::InHeader,
        home: None,
    };
    for _ in 0..MOST_EXTENSION_HEADERS {
        let (HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6) =
            passed.protocol
        else {
            return Ok(passed);
        };
        let rest = bytes.get(passed.offset..).ok_or(NotIp)?;
        let [next, length, ..] = rest else {
            return Err(NotIp);
        };
        if passed.protocol == FRAGMENT {
            passed.fragment = true;
            return Ok(passed);
        }
        let size = usize::from(*length).saturating_add(1).saturating_mul(8);
        let header = rest.get(..size).ok_or(NotIp)?;
        match passed.protocol {
            ROUTING => match route_end(header) {
                // Used up: another one beside it may still lead somewhere.
                Final::InHeader => {}
                end => passed.destination = end,
            },
            DESTINATION => passed.home = home_address(header).or(passed.home),
            _ => {}
        }
        passed.protocol = *next;
        passed.offset = passed.offset.saturating_add(size);
    }
    // Whatever comes now is not looked at.
    Ok(passed)
}

/// "At the originating node, that address will be in the last element of the Routing header; at the
/// recipient(s), that address will be in the Destination Address field" (RFC 8200 section 8.1).
fn route_end(header: &[u8]) -> Final<'_> {
    let [_, _, kind, segments_left, _, _, _, _, addresses @ ..] = header else {
        return Final::Unknown;
    };
    if *segments_left == 0 {
        return Final::InHeader;
    }
    let end = match *kind {
        ROUTING_SOURCE | ROUTING_MOBILE => addresses.as_chunks::<16>().0.last(),
        // The list is from the end of the path to its start; options may follow it.
        ROUTING_SEGMENTS => addresses.first_chunk::<16>(),
        _ => None,
    };
    end.map_or(Final::Unknown, Final::InRoute)
}

fn home_address(header: &[u8]) -> Option<&[u8; 16]> {
    let mut options = header.get(2..)?;
    // Each round takes a byte at least.
    loop {
        let (&kind, rest) = options.split_first()?;
        if kind == PAD_1 {
            options = rest;
            continue;
        }
        let (&length, rest) = rest.split_first()?;
        let data = rest.get(..usize::from(length))?;
        if kind == HOME_ADDRESS {
            return data.first_chunk().filter(|_| data.len() == 16);
        }
        options = rest.get(usize::from(length)..)?;
    }
}
