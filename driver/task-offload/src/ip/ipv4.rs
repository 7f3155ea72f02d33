//! The IPv4 header, RFC 791.

use super::{Addresses, IpVersion, NotIp, Walk, u16_at};
use crate::Sum;

pub(crate) const TOTAL_LENGTH: usize = 2;
pub(crate) const IDENTIFICATION: usize = 4;
const FRAGMENT: usize = 6;
const PROTOCOL: usize = 9;
pub(crate) const CHECKSUM: usize = 10;
const ADDRESSES: usize = 12;
const MINIMUM: usize = 20;

/// More fragments, and the fragment offset.
const FRAGMENT_BITS: u16 = 0x3fff;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

pub(super) fn walk(head: &[u8]) -> Result<Walk, NotIp> {
    let first = head.first().ok_or(NotIp)?;
    let header = usize::from(first & 0x0f).saturating_mul(4);
    if header < MINIMUM {
        return Err(NotIp);
    }
    let bytes = head.get(..header).ok_or(NotIp)?;
    let (source, rest) = bytes
        .get(ADDRESSES..)
        .and_then(|rest| rest.split_first_chunk::<4>())
        .ok_or(NotIp)?;
    let (destination, options) = rest.split_first_chunk::<4>().ok_or(NotIp)?;
    let destination = source_routed(options).unwrap_or(*destination);
    Ok(Walk {
        version: IpVersion::V4,
        header,
        protocol: *bytes.get(PROTOCOL).ok_or(NotIp)?,
        offset: header,
        fragment: u16_at(bytes, FRAGMENT)? & FRAGMENT_BITS != 0,
        addresses: Addresses::Known(Sum::ZERO.bytes(source).bytes(&destination)),
    })
}

/// The last address of a source route that has yet to be followed. RFC 1122 section 4.1.3.4 (UDP)
/// and 4.2.3.8 (TCP) have the pseudo-header over the final destination.
fn source_routed(mut options: &[u8]) -> Option<[u8; 4]> {
    // Each round takes a byte at least.
    loop {
        let (&kind, rest) = options.split_first()?;
        match kind {
            END_OF_OPTIONS => return None,
            NO_OPERATION => {
                options = rest;
                continue;
            }
            _ => {}
        }
        let length = usize::from(*rest.first()?);
        let option = options.get(..length)?;
        if let LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE = kind {
            // The pointer counts from 1; behind the end the route is done.
            let [_, _, pointer, route @ ..] = option else {
                return None;
            };
            return (usize::from(*pointer) <= length)
                .then(|| route.as_chunks::<4>().0.last().copied())
                .flatten();
        }
        if length < 2 {
            return None;
        }
        options = options.get(length..)?;
    }
}
