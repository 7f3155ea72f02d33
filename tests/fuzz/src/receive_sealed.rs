//! Packets that were sealed, through the whole engine and back; and what happens to them when anything
//! is changed on the way.

use arbitrary::{Arbitrary, Result, Unstructured};
use ipsec::{CryptoStatus, Direction, SendError, Verdict};

use crate::frame::{Choices, Frame, assert_same_outside};
use crate::headers::Headers;
use crate::receive;
use crate::sa::Sa;
use crate::{engine, simd};

/// A change on the way.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Change {
    Flip {
        at: u16,
        bits: u8,
    },
    Cut {
        to: u16,
    },
    Grow {
        by: u8,
    },
    /// Swap a piece with the one behind it.
    Swap {
        at: u16,
        length: u8,
    },
}

#[derive(Debug)]
struct Case<'a> {
    sa: Sa,
    headers: Headers,
    choices: Choices,
    /// Transport over tunnel: what is in the tunnel of `sa`.
    inner: Option<(Sa, Headers, Choices)>,
    /// Ethernet padding.
    after: u8,
    changes: Vec<Change>,
    payload: &'a [u8],
}

impl<'a> Case<'a> {
    fn new(mut u: Unstructured<'a>) -> Result<Self> {
        let sa: Sa = u.arbitrary()?;
        // ESP in UDP is framed for `second_opinion`.
        let plain =
            |(sa, headers, choices): (Sa, Headers, Choices)| (sa.without_udp(), headers, choices);
        Ok(Self {
            sa: sa.without_udp(),
            headers: u.arbitrary()?,
            choices: u.arbitrary()?,
            inner: u.arbitrary::<Option<(Sa, Headers, Choices)>>()?.map(plain),
            after: u.arbitrary::<u8>()? % 32,
            changes: match u.arbitrary::<u8>()? % 4 {
                0 => Vec::new(),
                1 => vec![u.arbitrary()?],
                _ => vec![u.arbitrary()?, u.arbitrary()?],
            },
            payload: u.take_rest(),
        })
    }
}

const UDP: u8 = 17;

/// One input.
pub fn run(data: &[u8]) {
    let Ok(mut case) = Case::new(Unstructured::new(data)) else {
        return;
    };
    case.payload = &case.payload[..case.payload.len().min(2048)];
    if let Some((inner, ..)) = &mut case.inner
        && (inner.ah_spi() == case.sa.ah_spi() || inner.esp_spi() == case.sa.esp_spi())
    {
        *inner = inner.other();
    }
    let inner = case
        .inner
        .as_ref()
        .map(|(sa, headers, choices)| Frame::new(sa, headers, choices, case.payload, UDP));
    let frame = match &inner {
        None => Frame::new(&case.sa, &case.headers, &case.choices, case.payload, UDP),
        Some(inner) => {
            let v6 = case
                .inner
                .as_ref()
                .is_some_and(|(_, headers, _)| headers.v6);
            let next_header = if v6 { 41 } else { 4 };
            Frame::new(
                &case.sa,
                &case.headers,
                &case.choices,
                &inner.bytes,
                next_header,
            )
        }
    };
    if let Some(sealed) = seal(&case, &frame, inner.as_ref()) {
        receive_it(&case, &frame, inner.as_ref(), &sealed);
    }
}

/// Sends the frame. `None` if it was refused for a reason that is one.
fn seal(case: &Case<'_>, frame: &Frame, inner: Option<&Frame>) -> Option<Vec<u8>> {
    let sender = engine();
    let outer = case.sa.add(&sender, Direction::Outbound, case.headers.v6);
    let inside = case
        .inner
        .as_ref()
        .map(|(sa, headers, _)| sa.add(&sender, Direction::Outbound, headers.v6));
    let request = match inside {
        None => frame.request(Some(outer), None)?,
        Some(inside) => frame.request(Some(inside), Some(outer))?,
    };
    let mut before = frame.bytes.clone();
    before.resize(before.len() + usize::from(case.after), 0xAA);
    let mut packet = before.clone();
    if let Err(error) = sender.seal(&simd(), &request, &mut packet) {
        assert_eq!(before, packet);
        let reasons = [
            (SendError::SequenceExhausted, exhausted(case)),
            (SendError::Malformed, odd_options(case)),
        ];
        let reason = reasons
            .iter()
            .any(|(named, there)| error == *named && *there);
        assert!(reason, "{error:?}");
        return None;
    }
    assert_same_outside(&before, &packet, &writable(frame, inner, Frame::sealed));
    Some(packet)
}

/// The ranges of the packet, and those of the packet in it.
fn writable(
    frame: &Frame,
    inner: Option<&Frame>,
    of: impl Fn(&Frame) -> Vec<std::ops::Range<usize>>,
) -> Vec<std::ops::Range<usize>> {
    let shift = frame.payload.start;
    let mut ranges = of(frame);
    ranges.extend(
        inner
            .into_iter()
            .flat_map(of)
            .map(|range| range.start + shift..range.end + shift),
    );
    ranges
}

/// Sequence numbers from the upper half on may be the last ones.
fn exhausted(case: &Case<'_>) -> bool {
    let exhausted = |sa: &Sa, choices: &Choices| {
        let last = |low: u32| match sa.high {
            None => low == 0 || low > u32::MAX / 2,
            Some(high) => high == u32::MAX,
        };
        sa.esp().is_some() && last(choices.esp_number)
            || sa.ah().is_some() && last(choices.ah_number)
    };
    exhausted(&case.sa, &case.choices)
        || case
            .inner
            .as_ref()
            .is_some_and(|(sa, _, choices)| exhausted(sa, choices))
}

/// AH knows no ICV over headers that it cannot follow.
fn odd_options(case: &Case<'_>) -> bool {
    let odd = |sa: &Sa, headers: &Headers| sa.ah().is_some() && !headers.is_plain();
    odd(&case.sa, &case.headers)
        || case
            .inner
            .as_ref()
            .is_some_and(|(sa, headers, _)| odd(sa, headers))
}

fn receive_it(case: &Case<'_>, frame: &Frame, inner: Option<&Frame>, sealed: &[u8]) {
    let receiver = engine();
    case.sa.add(&receiver, Direction::Inbound, case.headers.v6);
    if let Some((sa, headers, _)) = &case.inner {
        sa.add(&receiver, Direction::Inbound, headers.v6);
    }
    let mut arrived = sealed.to_vec();
    case.changes
        .iter()
        .for_each(|change| change.make(&mut arrived));
    let mut packet = arrived.clone();
    let verdict = receiver.open(&simd(), &mut packet);
    receive::check(&receiver, &arrived, &packet, &verdict);
    if arrived == sealed {
        check_intact(frame, inner, sealed, &packet, &verdict);
    } else if let Verdict::Processed(outcome) = verdict {
        let opened = outcome.status == CryptoStatus::Success || outcome.next_crypto_done;
        let authentic = &sealed[frame.ipsec.clone()];
        let intact = arrived
            .windows(authentic.len())
            .any(|piece| piece == authentic);
        assert!(intact || !opened, "a forged packet was accepted");
        assert!(intact || arrived == packet, "a forged packet was changed");
    }
}

/// Nothing was changed on the way: the plain text comes back.
fn check_intact(
    frame: &Frame,
    inner: Option<&Frame>,
    sealed: &[u8],
    opened: &[u8],
    verdict: &Verdict,
) {
    let Verdict::Processed(outcome) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(outcome.status, CryptoStatus::Success);
    assert_eq!(outcome.next_crypto_done, inner.is_some());
    match (&outcome.trailer, &frame.esp) {
        (Some(trailer), Some(esp)) => {
            assert_eq!(
                (trailer.pad_length, trailer.next_header),
                (esp.pad_length, esp.next_header)
            );
        }
        (None, esp) => assert!(esp.is_none() || inner.is_some()),
        (Some(_), None) => panic!("a trailer without ESP"),
    }
    // What is not IV or ICV is as it was framed; and those are as on the wire, but for the ones of the
    // packet in a tunnel, which were encrypted there.
    let framed = frame.bytes.len();
    assert_same_outside(
        &frame.bytes,
        &opened[..framed],
        &writable(frame, inner, Frame::added),
    );
    assert_same_outside(sealed, opened, &writable(frame, inner, Frame::opened));
}

impl Change {
    fn make(self, packet: &mut Vec<u8>) {
        let length = packet.len();
        match self {
            Self::Flip { at, bits } => packet[usize::from(at) % length] ^= bits,
            Self::Cut { to } => packet.truncate(1 + usize::from(to) % length),
            Self::Grow { by } => packet.resize(length + usize::from(by), 0x55),
            Self::Swap { at, length: piece } => {
                let at = usize::from(at) % length;
                let piece = usize::from(piece).min((length - at) / 2);
                let (first, second) = packet[at..at + 2 * piece].split_at_mut(piece);
                first.swap_with_slice(second);
            }
        }
    }
}
