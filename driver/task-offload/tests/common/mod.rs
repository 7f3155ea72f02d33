//! Packets with every kind of header, and a slow second opinion about their checksums that shares
//! no code with the crate.
#![allow(dead_code)] // Each test uses a part.

use proptest::{collection::vec, prelude::*};

/// RFC 1071, word by word.
pub fn slow_sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0_u64;
    for word in bytes.chunks(2) {
        sum += u64::from(word[0]) * 256 + word.get(1).map_or(0, |low| u64::from(*low));
    }
    while sum > 0xffff {
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    sum as u16
}

/// The checksum of a transport between two addresses (of 4 or 16 bytes); the field must be zero.
pub fn slow_transport(source: &[u8], destination: &[u8], protocol: u8, bytes: &[u8]) -> u16 {
    let length = (bytes.len() as u32).to_be_bytes();
    !slow_sum(&[source, destination, &length, &[0, protocol], bytes])
}

/// An IP header that leads to a transport, and the addresses that the transport's checksum is over.
#[derive(Clone, Debug)]
pub struct IpHeader {
    pub bytes: Vec<u8>,
    pub source: Vec<u8>,
    pub destination: Vec<u8>,
}

impl IpHeader {
    pub fn is_v4(&self) -> bool {
        self.bytes[0] >> 4 == 4
    }

    /// The header with the length for `payload` bytes behind it, and with its checksum.
    pub fn sized(&self, payload: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.is_v4() {
            let total = (bytes.len() + payload) as u16;
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
            bytes[10..12].fill(0);
            let checksum = !slow_sum(&[&bytes]);
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            let length = (bytes.len() - 40 + payload) as u16;
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
        }
        bytes
    }
}

/// Options of an IPv4 header, and the final destination if one of them routes.
fn ipv4_options() -> impl Strategy<Value = (Vec<u8>, Option<[u8; 4]>)> {
    prop_oneof![
        3 => Just((vec![], None)),
        1 => Just((vec![1; 4], None)),
        // Router alert, then a time stamp option.
        1 => Just((vec![148, 4, 0, 0, 68, 8, 5, 0, 0, 0, 0, 0], None)),
        // End of the list, and something that is no option behind it.
        1 => Just((vec![0, 131, 255, 1], None)),
        // A source route that has been followed to its end.
        1 => Just((vec![1, 131, 7, 8, 9, 9, 9, 9], None)),
        // Loose and strict ones that have not.
        2 => (any::<bool>(), 1_usize..=9, any::<[[u8; 4]; 9]>(), 0_u8..9).prop_map(
            |(strict, hops, addresses, done)| {
                let length = 3 + 4 * hops as u8;
                let pointer = 4 + 4 * (done % hops as u8);
                let mut option = vec![1, if strict { 137 } else { 131 }, length, pointer];
                option.extend(addresses[..hops].iter().flatten());
                (option, Some(addresses[hops - 1]))
            }
        ),
    ]
}

pub fn ipv4(protocol: u8) -> impl Strategy<Value = IpHeader> {
    (any::<[u8; 20]>(), ipv4_options()).prop_map(move |(mut fixed, (options, end))| {
        fixed[0] = 0x40 | (5 + options.len() / 4) as u8;
        fixed[6] &= 0x40;
        fixed[7] = 0;
        fixed[9] = protocol;
        IpHeader {
            source: fixed[12..16].to_vec(),
            destination: end.map_or(fixed[16..20].to_vec(), |end| end.to_vec()),
            bytes: [&fixed[..], &options].concat(),
        }
    })
}

/// One extension header without its first byte, its protocol, and what it makes of the addresses.
#[derive(Clone, Debug)]
struct Extension {
    protocol: u8,
    rest: Vec<u8>,
    destination: Option<[u8; 16]>,
    home: Option<[u8; 16]>,
}

fn extension() -> impl Strategy<Value = Extension> {
    let plain = |protocol, rest: Vec<u8>| Extension {
        protocol,
        rest,
        destination: None,
        home: None,
    };
    prop_oneof![
        // Hop-by-hop options with a router alert; destination options with padding alone.
        Just(plain(0, vec![0, 5, 2, 0, 0, 1, 0])),
        Just(plain(
            60,
            vec![1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        )),
        // A home address behind some padding.
        any::<[u8; 16]>().prop_map(|home| Extension {
            protocol: 60,
            rest: [&[2, 0, 1, 1, 0, 201, 16][..], &home].concat(),
            destination: None,
            home: Some(home),
        }),
        // Routing headers: followed to the end, of source routes, of segments, and of Mobile IPv6.
        any::<[u8; 16]>()
            .prop_map(move |hop| plain(43, [&[2, 77, 0, 0, 0, 0, 0][..], &hop].concat())),
        (
            1_usize..4,
            any::<[[u8; 16]; 3]>(),
            prop_oneof![Just(0_u8), Just(4)],
            0_u8..3
        )
            .prop_map(|(hops, addresses, kind, left)| {
                let left = left % hops as u8 + 1;
                let list = &addresses[..hops];
                let last = if kind == 4 { list[0] } else { list[hops - 1] };
                let head = [2 * hops as u8, kind, left, hops as u8 - 1, 0, 0, 0];
                Extension {
                    protocol: 43,
                    rest: [&head[..], &list.concat()].concat(),
                    destination: Some(last),
                    home: None,
                }
            }),
        any::<[u8; 16]>().prop_map(|home| Extension {
            protocol: 43,
            rest: [&[2, 2, 1, 0, 0, 0, 0][..], &home].concat(),
            destination: Some(home),
            home: None,
        }),
    ]
}

pub fn ipv6(protocol: u8) -> impl Strategy<Value = IpHeader> {
    let extensions = vec(extension(), 0..4).prop_map(|mut list| {
        // Hop-by-hop options come first; they, a route that is not used up and a home address come once.
        list.sort_by_key(|e| e.protocol != 0);
        list.dedup_by_key(|e| {
            if e.protocol == 0 {
                0
            } else {
                e.rest.as_ptr().addr()
            }
        });
        let (mut routes, mut homes) = (0, 0);
        list.retain(|e| {
            routes += usize::from(e.destination.is_some());
            homes += usize::from(e.home.is_some());
            (e.destination.is_none() || routes == 1) && (e.home.is_none() || homes == 1)
        });
        list
    });
    (any::<[u8; 40]>(), extensions).prop_map(move |(mut fixed, extensions)| {
        fixed[0] = 0x60 | fixed[0] & 0x0f;
        let mut next = protocol;
        let mut tail = vec![];
        for extension in extensions.iter().rev() {
            tail = [&[next][..], &extension.rest, &tail].concat();
            next = extension.protocol;
        }
        fixed[6] = next;
        let destination = extensions.iter().find_map(|e| e.destination);
        let home = extensions.iter().find_map(|e| e.home);
        IpHeader {
            source: home.map_or(fixed[8..24].to_vec(), |home| home.to_vec()),
            destination: destination.map_or(fixed[24..40].to_vec(), |end| end.to_vec()),
            bytes: [&fixed[..], &tail].concat(),
        }
    })
}

pub fn ip(protocol: u8) -> impl Strategy<Value = IpHeader> {
    prop_oneof![ipv4(protocol).boxed(), ipv6(protocol).boxed()]
}

/// A TCP header with up to 40 bytes of options, any flags and any urgent pointer.
pub fn tcp_header() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 20]>(), vec(any::<[u8; 4]>(), 0..=10)).prop_map(|(mut header, options)| {
        header[12] = ((5 + options.len()) as u8) << 4 | header[12] & 0x0f;
        [&header[..], &options.concat()].concat()
    })
}
