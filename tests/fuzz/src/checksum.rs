//! Checksums of packets to send and of received ones, also behind IPsec headers and in tunnels.

use arbitrary::{Arbitrary, Result, Unstructured};
use task_offload::Carried;
use task_offload::checksum::{
    Enabled, EnabledTransports, Tasks, Transport, Validated, compute, validate,
};

use crate::headers::Headers;
use crate::sum;

const TCP: u8 = 6;
const UDP: u8 = 17;

const ALL: Enabled = {
    let both = EnabledTransports {
        tcp: true,
        udp: true,
    };
    Enabled {
        ip_header: true,
        v4: both,
        v6: both,
    }
};

/// A packet that somebody made, or any bytes.
#[derive(Arbitrary)]
enum Kind {
    Made {
        headers: Headers,
        tcp: bool,
        udp_short_by: u8,
        padding: u8,
        flip: u16,
    },
    Raw,
}

#[derive(Arbitrary)]
struct Wanted {
    ip_header: bool,
    /// None, TCP at an offset, or UDP.
    transport: Option<Option<u16>>,
    carried: Vec<(u8, u16, u16)>,
}

/// One input.
pub fn run(data: &[u8]) {
    let _ = run_inner(Unstructured::new(data));
}

fn run_inner(mut u: Unstructured<'_>) -> Result<()> {
    match u.arbitrary()? {
        Kind::Raw => {
            let wanted: Wanted = u.arbitrary()?;
            raw(&wanted, u.take_rest());
        }
        Kind::Made {
            headers,
            tcp,
            udp_short_by,
            padding,
            flip,
        } => {
            made(&headers, tcp, udp_short_by, padding, flip, u.take_rest());
        }
    }
    Ok(())
}

fn raw(wanted: &Wanted, before: &[u8]) {
    let carried = || {
        wanted
            .carried
            .iter()
            .take(3)
            .map(|(protocol, start, end)| Carried {
                protocol: *protocol,
                payload: usize::from(*start)..usize::from(*end),
            })
    };
    let tasks = Tasks {
        ip_header: wanted.ip_header,
        transport: wanted.transport.map(|tcp| match tcp {
            Some(header_offset) => Transport::Tcp {
                header_offset: header_offset.into(),
            },
            None => Transport::Udp,
        }),
    };
    let off = validate(before, carried(), Enabled::default());
    assert_eq!(off, Validated::default());
    let _ = validate(before, carried(), ALL);

    let mut packet = before.to_vec();
    if compute(&mut packet, carried(), tasks).is_err() {
        return;
    }
    // Two bytes for each checksum: of two IP headers at most, and one transport.
    let changed = before
        .iter()
        .zip(&packet)
        .filter(|(before, after)| before != after)
        .count();
    let fields = if tasks.ip_header { 2 } else { 0 } + usize::from(tasks.transport.is_some());
    assert!(changed <= 2 * fields);
    // Whoever computes a checksum agrees with it. Where the tasks have overwritten another header, they
    // do not: what is carried was said to lie there.
    if wanted.carried.is_empty() {
        let found = validate(&packet, carried(), ALL);
        assert!(!tasks.ip_header || found.ip_header != Some(false));
        match tasks.transport {
            Some(Transport::Tcp { .. }) => assert_eq!(found.tcp, Some(true)),
            Some(Transport::Udp) => assert_eq!(found.udp, Some(true)),
            None => {}
        }
        // Doing it again changes nothing.
        let once = packet.clone();
        assert_eq!(compute(&mut packet, carried(), tasks), Ok(()));
        assert_eq!(once, packet);
    }
}

fn made(headers: &Headers, tcp: bool, udp_short_by: u8, padding: u8, flip: u16, payload: &[u8]) {
    let mut transport = vec![0xA5; if tcp { 20 } else { 8 }];
    transport.extend(payload);
    let mut covered = transport.len();
    if tcp {
        transport[12] = 0x50;
    } else {
        // A datagram may end before the packet does.
        covered = 8.max(covered.saturating_sub(udp_short_by.into()));
        transport[4..6].copy_from_slice(&(covered as u16).to_be_bytes());
    }
    let protocol = if tcp { TCP } else { UDP };
    let mut packet = headers.before(protocol, transport.len());
    let start = packet.len();
    packet.extend(&transport);
    let end = packet.len();
    packet.resize(end + usize::from(padding), 0x77);

    let tasks = Tasks {
        ip_header: true,
        transport: Some(if tcp {
            Transport::Tcp {
                header_offset: start,
            }
        } else {
            Transport::Udp
        }),
    };
    let before = packet.clone();
    if compute(&mut packet, [], tasks).is_err() {
        // A source route or a routing header that cannot be followed.
        assert!(!headers.is_plain());
        return;
    }
    let field = start + if tcp { 16 } else { 6 };
    let ip_checksum = (!headers.v6).then_some(10..12);
    let written: Vec<_> = std::iter::once(field..field + 2)
        .chain(ip_checksum)
        .collect();
    crate::frame::assert_same_outside(&before, &packet, &written);
    let right = Validated {
        ip_header: (!headers.v6).then_some(true),
        tcp: tcp.then_some(true),
        udp: (!tcp).then_some(true),
    };
    assert_eq!(validate(&packet, [], ALL), right);
    if headers.is_plain() {
        let transport = &packet[start..start + covered];
        assert_eq!(sum::of_transport(&packet, protocol, transport), 0xFFFF);
        assert!(tcp || packet[field..field + 2] != [0, 0]);
    }

    // One bit of the payload that is covered.
    let payload = start + transport.len() - payload.len()..start + covered;
    if !payload.is_empty() {
        let bit = usize::from(flip) % (payload.len() * 8);
        packet[payload.start + bit / 8] ^= 1 << (bit % 8);
        let found = validate(&packet, [], ALL);
        assert_eq!(
            (found.tcp, found.udp),
            (tcp.then_some(false), (!tcp).then_some(false))
        );
        assert_eq!(found.ip_header, right.ip_header);
    }
}
