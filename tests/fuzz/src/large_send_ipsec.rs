//! Large TCP packets with an SA, made into segments as the driver makes them: each is, byte for byte, what
//! independent software makes of a packet that was cut first and then protected.

use std::num::NonZeroU32;

use arbitrary::{Result, Unstructured};
use task_offload::large_send::{LargeSendVersion, MAX_HEAD};
use task_offload::{IpVersion, LargeSend, LargeSendRequest};
use tcpip::large_send::{LargePacket, LsoVersion, OutgoingLarge};
use tcpip::outbound::{Sender, expected_on_wire};
use tcpip::policy::Offers;
use tcpip::sas::Sa;

use crate::headers::Headers;
use crate::transport::{Policy, frame, request};
use crate::{engine, simd};

const TCP: u8 = 6;
/// SYN, RST and URG, which no large packet has.
const ODD: u8 = 0x26;

/// One input.
pub fn run(data: &[u8]) {
    let _ = run_inner(Unstructured::new(data));
}

fn run_inner(mut u: Unstructured<'_>) -> Result<()> {
    let policy = u.arbitrary::<Policy>()?.in_transport_mode();
    let headers: Headers = u.arbitrary()?;
    // The other side does not know every address that TCP's checksum can be about.
    if headers.may_be_elsewhere() {
        return Ok(());
    }
    let words = 5 + usize::from(u.arbitrary::<u8>()?) % 11;
    let mut tcp = vec![0; words * 4];
    u.fill_buffer(&mut tcp)?;
    tcp[12] = (words as u8) << 4;
    tcp[13] &= !ODD;
    tcp[18..20].fill(0);
    let v1 = u.arbitrary::<bool>()? && !headers.v6;
    let mss = 1 + usize::from(u.arbitrary::<u16>()?) % 1500;
    let discard = u.arbitrary()?;
    let payload = u.take_rest();
    let head = frame(&headers, TCP, &tcp);
    let sas = policy.sas(&head);
    let mut large = LargePacket {
        head,
        payload: payload[..payload.len().min(2048)].to_vec(),
        mss,
        version: if v1 { LsoVersion::V1 } else { LsoVersion::V2 },
        discard,
    };
    if sas.iter().any(|sa| sa.esp.is_none()) {
        large.discard = 0;
    }
    // What is no TCP packet for the transport, or goes as it is.
    let prepared = Sender::new(&sas, Offers::EVERYTHING).prepare_large(1, &large);
    if let Ok(outgoing) = prepared {
        compare(&sas, &large, &outgoing, headers.is_plain());
    }
    Ok(())
}

fn compare(sas: &[Sa], large: &LargePacket, outgoing: &OutgoingLarge, plain: bool) {
    let Ok(protection) = outgoing.segments[0].protection else {
        return;
    };
    let engine = engine();
    let Some(mut request) = request(&engine, sas, &protection) else {
        return;
    };
    // "The NET_BUFFER might have padding that will be discarded."
    if protection.outer.esp.is_some() {
        request.pad_length = large.discard;
    }
    let (frame, ip) = (&outgoing.frame, protection.outer.ip);
    let start = &frame[..frame.len().min(MAX_HEAD)];
    let simd = simd();
    let mut burst = engine.outbound(&simd);
    let framing = match burst.large(&request, &start[ip..], outgoing.tcp_at() - ip) {
        Ok(framing) => framing,
        Err(error) => {
            assert!(!plain, "{error:?}");
            return;
        }
    };
    let asked = LargeSendRequest {
        version: match large.version {
            LsoVersion::V1 => LargeSendVersion::V1,
            LsoVersion::V2 => LargeSendVersion::V2,
        },
        ip_version: match frame[ip] >> 4 {
            4 => IpVersion::V4,
            _ => IpVersion::V6,
        },
        mss: large.mss,
        tcp_header_offset: outgoing.tcp_at(),
        discard: framing.discard(),
        enveloped: true,
    };
    let cut = match LargeSend::new(start, ip, frame.len(), &asked) {
        Ok(cut) => cut,
        Err(error) => {
            assert!(large.payload.is_empty() || !plain, "{error:?}");
            return;
        }
    };
    let head = cut.head_len();
    assert_eq!(head, framing.head_len() + ip);
    let count = cut.segments();
    assert_eq!(count, outgoing.segments.len());
    let reserved = NonZeroU32::new(count as u32).expect("some segments");
    let mut segments = burst
        .reserve(framing, reserved, 0)
        .expect("numbers that are not used up");
    for (index, made) in outgoing.segments.iter().enumerate() {
        let segment = cut.segment(index).expect("a segment below the count");
        let tail = segments.framing().tail(segment.payload.len());
        let mut wire = frame[..head].to_vec();
        wire.extend(&frame[head..][segment.payload.clone()]);
        wire.resize(wire.len() + tail, 0x5A);
        cut.finish(&segment, &mut wire, tail)
            .expect("a segment that is not too long");
        let sealed = burst.seal_segment(&mut segments, segment.payload.len(), &mut wire[ip..]);
        match (sealed, expected_on_wire(made, sas, &wire)) {
            (Ok(()), Ok(expected)) => assert_eq!(wire, expected),
            // An AH that cannot account for a header of the packet.
            (Err(_), Err(_)) => return,
            (sealed, expected) => panic!("{sealed:?}, and the second opinion {expected:?}"),
        }
    }
}
