//! Large TCP packets, cut into segments.

use arbitrary::{Result, Unstructured};
use task_offload::large_send::{LargeSendVersion, MAX_HEAD};
use task_offload::{IpVersion, LargeSend, LargeSendRequest, Segment};

use crate::headers::Headers;
use crate::sum;

const TCP: u8 = 6;
/// Ethernet, with and without a tag.
const LINK: [usize; 2] = [14, 18];

struct Case<'a> {
    frame: Vec<u8>,
    ip_offset: usize,
    request: LargeSendRequest,
    /// Bytes behind each segment's payload.
    tail: usize,
    /// Nothing that takes the packet elsewhere than its header says.
    plain: bool,
    payload: &'a [u8],
}

impl<'a> Case<'a> {
    fn new(mut u: Unstructured<'a>) -> Result<Self> {
        let headers: Headers = u.arbitrary()?;
        let v1 = u.arbitrary::<bool>()? && !headers.v6;
        let ip_offset = *u.choose(&LINK)?;
        let words = 5 + usize::from(u.arbitrary::<u8>()?) % 11;
        let mut tcp = vec![0; words * 4];
        u.fill_buffer(&mut tcp)?;
        tcp[12] = (words as u8) << 4 | tcp[12] & 15;
        // Most that are asked for are data and nothing else.
        let odd_flags: bool = u.arbitrary()?;
        if !odd_flags {
            tcp[13] &= 0xD9;
            tcp[18..20].fill(0);
        }
        let mss = usize::from(u.arbitrary::<u16>()?);
        let (discard, tail) = (
            usize::from(u.arbitrary::<u8>()?),
            usize::from(u.arbitrary::<u8>()?),
        );
        // What a caller may get wrong.
        let (skew, enveloped): (i8, bool) = (u.arbitrary()?, u.arbitrary()?);
        let skew = if skew % 4 == 0 { skew / 4 } else { 0 };
        let payload = u.take_rest();
        let mut frame = vec![0; ip_offset];
        frame.extend(headers.before(TCP, if v1 { tcp.len() + payload.len() } else { 0 }));
        if !v1 {
            let length = if headers.v6 {
                ip_offset + 4
            } else {
                ip_offset + 2
            };
            frame[length..length + 2].fill(0);
        }
        let tcp_header_offset = frame.len().saturating_add_signed(skew.into());
        frame.extend(&tcp);
        frame.extend(payload);
        let version = if v1 {
            LargeSendVersion::V1
        } else {
            LargeSendVersion::V2
        };
        Ok(Self {
            plain: headers.is_plain() && skew == 0 && !enveloped,
            request: LargeSendRequest {
                version,
                ip_version: if headers.v6 {
                    IpVersion::V6
                } else {
                    IpVersion::V4
                },
                mss,
                tcp_header_offset,
                discard,
                enveloped: enveloped && skew != 0,
            },
            frame,
            ip_offset,
            tail,
            payload,
        })
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::new(Unstructured::new(data)) else {
        return;
    };
    let Ok(large) = LargeSend::new(&case.frame, case.ip_offset, case.frame.len(), &case.request)
    else {
        return;
    };
    let (head, payload) = (large.head_len(), large.payload_len());
    assert!(head <= MAX_HEAD && head + payload + case.request.discard == case.frame.len());
    if case.plain {
        let kept = case.payload.len() - case.request.discard;
        assert_eq!(case.frame[head..head + payload], case.payload[..kept]);
    }

    let count = large.segments();
    assert!(count > 0);
    assert_eq!(large.segment(count), None);
    let mut reassembled = 0;
    for index in 0..count {
        let segment = large.segment(index).expect("a segment below the count");
        assert_eq!((segment.index, segment.last), (index, index == count - 1));
        assert_eq!(segment.payload.start, reassembled);
        let length = segment.payload.len();
        assert!(
            length == case.request.mss || segment.last && (1..case.request.mss).contains(&length)
        );
        assert!(head + length <= large.longest_frame());
        reassembled = segment.payload.end;
        // The middle ones are all alike.
        if index < 3 || segment.last {
            case.finish(&large, &segment);
        }
    }
    assert_eq!(reassembled, payload);
}

impl Case<'_> {
    fn finish(&self, large: &LargeSend, segment: &Segment) {
        let head = large.head_len();
        let mut before = self.frame[..head].to_vec();
        before.extend(&self.frame[head..][segment.payload.clone()]);
        before.resize(before.len() + self.tail, 0x5A);
        let mut after = before.clone();
        let packet = before.len() - self.ip_offset;
        let v4 = self.request.ip_version == IpVersion::V4;
        if let Err(error) = large.finish(segment, &mut after, self.tail) {
            let length = if v4 { packet } else { packet - 40 };
            assert!(length > 0xFFFF, "{error:?}");
            return;
        }
        // One byte more or less is another frame.
        assert!(
            large
                .finish(segment, &mut after.clone(), self.tail + 1)
                .is_err()
        );

        let (ip, tcp) = (self.ip_offset, self.request.tcp_header_offset);
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut written = vec![tcp + 4..tcp + 8, tcp + 13..tcp + 14, tcp + 16..tcp + 18];
        if v4 {
            written.extend([ip + 2..ip + 6, ip + 10..ip + 12]);
            assert_eq!(usize::from(word(&after, ip + 2)), packet);
            let number = word(&before, ip + 4).wrapping_add(segment.index as u16) & 0x7FFF;
            assert_eq!(word(&after, ip + 4), number);
            let header = usize::from(after[ip] & 15) * 4;
            assert_eq!(sum::of(&[&after[ip..ip + header]]), 0xFFFF);
        } else {
            written.push(ip + 4..ip + 6);
            assert_eq!(usize::from(word(&after, ip + 4)), packet - 40);
        }
        crate::frame::assert_same_outside(&before, &after, &written);

        let long = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let sequence = long(&before[tcp + 4..]).wrapping_add(segment.payload.start as u32);
        assert_eq!(long(&after[tcp + 4..]), sequence);
        let mut flags = before[tcp + 13];
        if !segment.last {
            flags &= !0x09;
        }
        if segment.index != 0 {
            flags &= !0x80;
        }
        assert_eq!(after[tcp + 13], flags);
        if self.plain {
            let segment = &after[tcp..after.len() - self.tail];
            assert_eq!(sum::of_transport(&after[ip..], TCP, segment), 0xFFFF);
        }
    }
}
