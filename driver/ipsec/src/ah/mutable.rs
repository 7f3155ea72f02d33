//! The headers before AH as the ICV has them (RFC 4302 section 3.3.3.1 and appendix A).

use crate::packet::{HOP_BY_HOP, IPV6_DESTINATION, IPV6_FIXED, IPV6_ROUTING};

/// A header is malformed, or changes on its way in a manner that is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unpredictable;

/// The first one and the rest, or `None` at the end.
type Split<'p> = Result<Option<(&'p [u8], &'p [u8])>, Unpredictable>;

const ZEROS: [u8; 256] = [0; 256];

/// Feeds the headers: all of `packet`, which ends where AH begins.
pub(super) fn headers(packet: &[u8], feed: &mut dyn FnMut(&[u8])) -> Result<(), Unpredictable> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4(packet, feed),
        _ => ipv6(packet, feed),
    }
}

fn zeros(count: usize, feed: &mut dyn FnMut(&[u8])) -> Result<(), Unpredictable> {
    feed(ZEROS.get(..count).ok_or(Unpredictable)?);
    Ok(())
}

/// Mutable: TOS, flags and fragment offset, TTL, checksum, most options. Predictable: the
/// destination, which is the last one of a source route that is not used up.
fn ipv4(header: &[u8], feed: &mut dyn FnMut(&[u8])) -> Result<(), Unpredictable> {
    let (fixed, options) = header.split_first_chunk::<20>().ok_or(Unpredictable)?;
    let [
        version_length,
        _,
        total0,
        total1,
        id0,
        id1,
        _,
        _,
        _,
        protocol,
        _,
        _,
        addresses @ ..,
    ] = *fixed;
    let (source, destination) = addresses.split_first_chunk::<4>().ok_or(Unpredictable)?;
    feed(&[
        version_length,
        0,
        total0,
        total1,
        id0,
        id1,
        0,
        0,
        0,
        protocol,
        0,
        0,
    ]);
    feed(source);
    feed(
        route_end(options)?
            .as_ref()
            .map_or(destination, |last| last),
    );
    let mut rest = options;
    while let Some((option, later)) = split_option(rest)? {
        match option {
            // End, no operation, the three kinds of security, router alert, and directed
            // multi-destination delivery.
            [0 | 1 | 130 | 133 | 134 | 148 | 149, ..] => feed(option),
            _ => zeros(option.len(), feed)?,
        }
        rest = later;
    }
    Ok(())
}

/// The first option and what comes after it. After the end of the list there is one more:
/// the rest of the header.
fn split_option(options: &[u8]) -> Split<'_> {
    let length = match options {
        [] => return Ok(None),
        [0, ..] => options.len(),
        [1, ..] => 1,
        [_, length, ..] if *length >= 2 => usize::from(*length),
        _ => return Err(Unpredictable),
    };
    options
        .split_at_checked(length)
        .ok_or(Unpredictable)
        .map(Some)
}

/// Where a loose or strict source route that is not used up yet leads to (RFC 791 section
/// 3.1: it is used up when its pointer is behind its end). There is at most one.
fn route_end(options: &[u8]) -> Result<Option<[u8; 4]>, Unpredictable> {
    let mut end = None;
    let mut rest = options;
    while let Some((option, later)) = split_option(rest)? {
        if let [131 | 137, length, route @ ..] = option {
            let (pointer, addresses) = route.split_first().ok_or(Unpredictable)?;
            if pointer <= length {
                let last = addresses.last_chunk().ok_or(Unpredictable)?;
                if end.replace(*last).is_some() {
                    return Err(Unpredictable);
                }
            }
        }
        rest = later;
    }
    Ok(end)
}

/// Mutable: traffic class, flow label, hop limit, options that say so. Predictable: the
/// destination and the addresses of a routing header.
fn ipv6(packet: &[u8], feed: &mut dyn FnMut(&[u8])) -> Result<(), Unpredictable> {
    let (fixed, extensions) = packet
        .split_first_chunk::<IPV6_FIXED>()
        .ok_or(Unpredictable)?;
    let [_, _, _, _, length0, length1, first, _, addresses @ ..] = fixed;
    let (source, destination) = addresses.split_first_chunk::<16>().ok_or(Unpredictable)?;
    let route = route(*first, extensions)?;
    feed(&[0x60, 0, 0, 0, *length0, *length1, *first, 0]);
    feed(source);
    feed(match route {
        Some(Route { last, .. }) => last,
        None => destination,
    });
    let mut next = Some((*first, extensions));
    while let Some((kind, rest)) = next {
        let Some((header, later)) = split_extension(rest)? else {
            break;
        };
        match (kind, &route) {
            (HOP_BY_HOP | IPV6_DESTINATION, _) => options(header, feed)?,
            // One that is used up does not change any more.
            (IPV6_ROUTING, Some(route)) if header.get(3) != Some(&0) => {
                route.feed(destination, feed);
            }
            _ => feed(header),
        }
        next = header.first().map(|next| (*next, later));
    }
    Ok(())
}

/// The first extension header and what comes after it.
fn split_extension(rest: &[u8]) -> Split<'_> {
    let [_, length, ..] = rest else {
        return if rest.is_empty() {
            Ok(None)
        } else {
            Err(Unpredictable)
        };
    };
    let length = usize::from(*length).saturating_add(1).saturating_mul(8);
    rest.split_at_checked(length).ok_or(Unpredictable).map(Some)
}

/// The Home Address option: the receiver exchanges it with the source address.
const HOME_ADDRESS: u8 = 201;

/// Hop-by-hop or destination options: what may change on the way counts as zeros, its type
/// and length do not change (RFC 8200 section 4.2: the third bit of the type).
///
/// With a Home Address AH is over the packet as the receiver leaves it (RFC 6275 section
/// 11.3.2), and mobility is the transport's.
fn options(header: &[u8], feed: &mut dyn FnMut(&[u8])) -> Result<(), Unpredictable> {
    let (start, mut rest) = header.split_at_checked(2).ok_or(Unpredictable)?;
    feed(start);
    loop {
        let length = match rest {
            [] => return Ok(()),
            [0, ..] => 1,
            [_, length, ..] => usize::from(*length).saturating_add(2),
            _ => return Err(Unpredictable),
        };
        let (option, later) = rest.split_at_checked(length).ok_or(Unpredictable)?;
        match option {
            [HOME_ADDRESS, ..] => return Err(Unpredictable),
            [kind, length, ..] if kind & 0x20 != 0 => {
                feed(&[*kind, *length]);
                zeros((*length).into(), feed)?;
            }
            _ => feed(option),
        }
        rest = later;
    }
}

/// A routing header that still leads somewhere, of type 0 (RFC 2460 section 4.4) or 2 (RFC
/// 6275 section 6.4). Each hop swaps the destination with the next address, so that in the
/// end they have all moved by one.
struct Route<'p> {
    start: &'p [u8; 8],
    /// The addresses that were visited, and those to come without the last.
    visited: &'p [u8],
    coming: &'p [u8],
    last: &'p [u8; 16],
}

impl Route<'_> {
    fn feed(&self, destination: &[u8], feed: &mut dyn FnMut(&[u8])) {
        let [next, length, kind, _segments_left, reserved @ ..] = self.start;
        feed(&[*next, *length, *kind, 0]);
        feed(reserved);
        feed(self.visited);
        feed(destination);
        feed(self.coming);
    }
}

/// The routing header that is not used up yet, if there is one. Two of them cannot be: what
/// the second one does begins where the first one ends.
fn route(first: u8, extensions: &[u8]) -> Result<Option<Route<'_>>, Unpredictable> {
    let mut found = None;
    let mut next = Some((first, extensions));
    while let Some((kind, rest)) = next {
        let Some((header, later)) = split_extension(rest)? else {
            break;
        };
        let (start, addresses) = header.split_first_chunk::<8>().ok_or(Unpredictable)?;
        let [next_header, _, route_type, segments_left, ..] = *start;
        if kind == IPV6_ROUTING && segments_left != 0 {
            let coming = usize::from(segments_left).saturating_mul(16);
            let whole = addresses.len().is_multiple_of(16);
            if !matches!(route_type, 0 | 2) || !whole || found.is_some() {
                return Err(Unpredictable);
            }
            let visited = addresses.len().checked_sub(coming).ok_or(Unpredictable)?;
            let (visited, coming) = addresses.split_at_checked(visited).ok_or(Unpredictable)?;
            let (coming, last) = coming.split_last_chunk::<16>().ok_or(Unpredictable)?;
            found = Some(Route {
                start,
                visited,
                coming,
                last,
            });
        }
        next = Some((next_header, later));
    }
    Ok(found)
}
