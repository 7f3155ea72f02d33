//! Ethernet frames: addresses, header, 802.1Q tag. Bytes and offsets; no NDIS type.

/// Destination, source, EtherType.
pub const HEADER: usize = 14;
/// Two addresses: where an 802.1Q tag goes.
pub const ADDRESSES: usize = 12;
/// An 802.1Q tag: EtherType 0x8100 and the tag control information.
pub const TAG: usize = 4;
/// The shortest frame without FCS (IEEE 802.3, 3.2.8); shorter ones are padded with zeroes.
pub const MIN_FRAME: usize = 60;

const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All ones.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address of a group: multicast or broadcast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// An address that a station can have.
    pub fn is_station(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }
}

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// One station.
    Directed,
    /// A group.
    Multicast,
    /// All.
    Broadcast,
}

/// The destination of the frame that begins with `frame`; None when it is too short for a header.
pub fn destination(frame: &[u8]) -> Option<Mac> {
    if frame.len() < HEADER {
        return None;
    }
    frame.first_chunk::<6>().map(|mac| Mac(*mac))
}

/// Whom `destination` names.
pub fn cast(destination: Mac) -> Cast {
    if destination == Mac::BROADCAST {
        Cast::Broadcast
    } else if destination.is_group() {
        Cast::Multicast
    } else {
        Cast::Directed
    }
}

/// The IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

fn u16_at(frame: &[u8], at: usize) -> Option<u16> {
    frame
        .get(at..)?
        .first_chunk::<2>()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

/// The IP version of a frame and where its IP header begins, behind one 802.1Q tag at most.
pub fn ip(frame: &[u8]) -> Option<(Family, usize)> {
    let (mut kind, mut at) = (u16_at(frame, ADDRESSES)?, HEADER);
    if kind == ETHERTYPE_VLAN {
        kind = u16_at(frame, ADDRESSES.saturating_add(TAG))?;
        at = HEADER.saturating_add(TAG);
    }
    // What the type says must be what is there: each IP version has its own switches.
    match (kind, frame.get(at)? >> 4) {
        (ETHERTYPE_IPV4, 4) => Some((Family::V4, at)),
        (ETHERTYPE_IPV6, 6) => Some((Family::V6, at)),
        _ => None,
    }
}

/// The tag control information of a tagged frame: priority in bits 13 to 15, VLAN in bits 0 to 11
/// (IEEE 802.1Q, 9.6).
pub fn tag(frame: &[u8]) -> Option<u16> {
    if u16_at(frame, ADDRESSES)? != ETHERTYPE_VLAN {
        return None;
    }
    u16_at(frame, HEADER)
}

/// Writes the tag into a frame that was gathered [`TAG`] bytes behind the front of `buffer`: moves
/// the addresses to the front and puts the tag behind them.
pub fn insert_tag(buffer: &mut [u8], tci: u16) {
    let end = TAG.saturating_add(ADDRESSES);
    if buffer.len() < end.max(HEADER.saturating_add(TAG)) {
        return;
    }
    buffer.copy_within(TAG..end, 0);
    if let Some(place) = buffer
        .get_mut(ADDRESSES..)
        .and_then(|rest| rest.first_chunk_mut::<4>())
    {
        let [a, b] = ETHERTYPE_VLAN.to_be_bytes();
        let [c, d] = tci.to_be_bytes();
        *place = [a, b, c, d];
    }
}

/// Takes the tag out of a tagged frame by moving the addresses [`TAG`] bytes back: the frame then
/// begins there.
pub fn remove_tag(frame: &mut [u8]) {
    if frame.len() >= HEADER.saturating_add(TAG) {
        frame.copy_within(0..ADDRESSES, TAG);
    }
}

/// Whether the frame that begins with `head` carries a tag.
pub fn tagged(head: &[u8]) -> bool {
    u16_at(head, ADDRESSES) == Some(ETHERTYPE_VLAN)
}
