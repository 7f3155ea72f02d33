//! Large sends against a segmentation that is written the slow way.

mod common;

use common::{IpHeader, ip, ipv4, ipv6, slow_sum, slow_transport, tcp_header};
use proptest::{collection::vec, prelude::*};
use task_offload::{
    IpVersion, LargeSend, LargeSendError, LargeSendRequest,
    large_send::{LargeSendVersion, MAX_HEAD, MAX_PAYLOAD_V1, MAX_PAYLOAD_V2},
};

/// A large packet.
#[derive(Clone, Debug)]
struct Large {
    link: Vec<u8>,
    ip: IpHeader,
    /// IPsec headers.
    envelope: Vec<u8>,
    tcp: Vec<u8>,
    payload: Vec<u8>,
    mss: usize,
    version: LargeSendVersion,
}

impl Large {
    fn head(&self) -> Vec<u8> {
        let behind = self.envelope.len() + self.tcp.len() + self.payload.len();
        let ip = match self.version {
            LargeSendVersion::V1 => self.ip.sized(behind),
            LargeSendVersion::V2 => {
                let mut ip = self.ip.bytes.clone();
                let at = if self.ip.is_v4() { 2 } else { 4 };
                ip[at..at + 2].fill(0);
                ip
            }
        };
        [&self.link[..], &ip, &self.envelope, &self.tcp].concat()
    }

    fn request(&self) -> LargeSendRequest {
        LargeSendRequest {
            version: self.version,
            ip_version: if self.ip.is_v4() {
                IpVersion::V4
            } else {
                IpVersion::V6
            },
            mss: self.mss,
            tcp_header_offset: self.link.len() + self.ip.bytes.len() + self.envelope.len(),
            discard: 0,
            enveloped: !self.envelope.is_empty(),
        }
    }

    fn plan(&self) -> Result<LargeSend, LargeSendError> {
        self.plan_of(&self.request())
    }

    fn plan_of(&self, request: &LargeSendRequest) -> Result<LargeSend, LargeSendError> {
        let head = self.head();
        let len = head.len() + self.payload.len();
        LargeSend::new(&head, self.link.len(), len, request)
    }

    /// The frames, with `tail` bytes behind each.
    fn cut(&self, tail: usize) -> Vec<Vec<u8>> {
        let plan = self.plan().expect("a good packet");
        let head = self.head();
        assert_eq!(plan.head_len(), head.len());
        assert_eq!(plan.payload_len(), self.payload.len());
        let mut frames = vec![];
        while let Some(segment) = plan.segment(frames.len()) {
            assert_eq!(segment.index, frames.len());
            let payload = &self.payload[segment.payload.clone()];
            assert!(head.len() + payload.len() <= plan.longest_frame());
            let mut frame = [&head[..], payload, &vec![0xee; tail]].concat();
            plan.finish(&segment, &mut frame, tail).expect("it fits");
            frames.push(frame);
        }
        assert_eq!(frames.len(), plan.segments());
        frames
    }

    /// The same, as a TCP sender would have built each segment.
    fn slow(&self, tail: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = self.payload.chunks(self.mss).collect();
        let mut frames = vec![];
        for (i, chunk) in chunks.iter().enumerate() {
            let mut tcp = self.tcp.clone();
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            let sequence = sequence.wrapping_add((i * self.mss) as u32);
            tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
            if i + 1 != chunks.len() {
                tcp[13] &= !0b1001; // PSH, FIN
            }
            if i != 0 {
                tcp[13] &= !0b1000_0000; // CWR
            }
            tcp[16..18].fill(0);
            let segment = [&tcp[..], chunk].concat();
            let checksum = slow_transport(&self.ip.source, &self.ip.destination, 6, &segment);
            tcp[16..18].copy_from_slice(&checksum.to_be_bytes());

            let mut ip = self.ip.clone();
            if ip.is_v4() {
                let id = u16::from_be_bytes([ip.bytes[4], ip.bytes[5]]) as usize + i;
                ip.bytes[4..6].copy_from_slice(&((id % 0x8000) as u16).to_be_bytes());
            }
            let ip = ip.sized(self.envelope.len() + tcp.len() + chunk.len() + tail);
            frames.push(
                [
                    &self.link[..],
                    &ip,
                    &self.envelope,
                    &tcp,
                    chunk,
                    &vec![0xee; tail],
                ]
                .concat(),
            );
        }
        frames
    }
}

fn large(ip: impl Strategy<Value = IpHeader>, enveloped: bool) -> impl Strategy<Value = Large> {
    let link = prop_oneof![Just(14_usize), Just(18)];
    let envelope = if enveloped { 8..60_usize } else { 0..1 };
    (
        link,
        ip,
        envelope,
        tcp_header(),
        vec(any::<u8>(), 2..5000),
        1_usize..2000,
        any::<bool>(),
    )
        .prop_map(|(link, ip, envelope, tcp, payload, mss, first)| Large {
            version: if first && ip.is_v4() {
                LargeSendVersion::V1
            } else {
                LargeSendVersion::V2
            },
            link: vec![0xaa; link],
            envelope: vec![0xbb; envelope],
            tcp,
            mss: mss
                .min(payload.len() - 1)
                .max(payload.len() / 40 + 1)
                .min(payload.len() - 1),
            payload,
            ip,
        })
}

proptest! {
    #[test]
    fn segments_are_what_a_sender_would_have_built(large in large(ip(6), false)) {
        prop_assert_eq!(large.cut(0), large.slow(0));
    }

    #[test]
    fn with_ipsec_headers_and_a_tail_too(large in large(ip(50), true), tail in 0_usize..300) {
        prop_assert_eq!(large.cut(tail), large.slow(tail));
    }

    #[test]
    fn etherparse_finds_every_segment_right(large in large(ipv4(6), false)) {
        check_with_etherparse(&large)?;
    }

    #[test]
    fn etherparse_finds_every_segment_right_over_ipv6(large in large(plain_ipv6(), false)) {
        check_with_etherparse(&large)?;
    }

    #[test]
    fn anything_at_all_is_cut_or_refused(
        head in vec(any::<u8>(), 0..300),
        start in prop_oneof![Just(0x45_u8), Just(0x46), Just(0x4f), Just(0x60), any::<u8>()],
        ip_offset in 0_usize..20,
        len in 0_usize..70_000,
        mss in 0_usize..3000,
        tcp_header_offset in 0_usize..120,
        discard in 0_usize..300,
        v1: bool,
        v6: bool,
        enveloped: bool,
    ) {
        let mut head = head;
        if let Some(first) = head.get_mut(ip_offset) {
            *first = start;
        }
        let request = LargeSendRequest {
            version: if v1 { LargeSendVersion::V1 } else { LargeSendVersion::V2 },
            ip_version: if v6 { IpVersion::V6 } else { IpVersion::V4 },
            mss,
            tcp_header_offset,
            discard,
            enveloped,
        };
        if let Ok(plan) = LargeSend::new(&head, ip_offset, len, &request) {
            prop_assert!(plan.head_len() <= head.len());
            let segment = plan.segment(plan.segments() - 1).expect("the last");
            prop_assert!(segment.last && !segment.payload.is_empty());
            prop_assert!(plan.head_len() + segment.payload.end + discard <= len);
            prop_assert_eq!(plan.segment(plan.segments()), None);
            let mut frame = head[..plan.head_len()].to_vec();
            frame.resize(plan.head_len() + segment.payload.len(), 0);
            let _ = plan.finish(&segment, &mut frame, 0);
        }
    }
}

/// Without routing headers: etherparse takes the addresses of the IP header.
fn plain_ipv6() -> impl Strategy<Value = IpHeader> {
    ipv6(6).prop_filter("plain", |ip| {
        ip.source == ip.bytes[8..24] && ip.destination == ip.bytes[24..40]
    })
}

fn check_with_etherparse(large: &Large) -> Result<(), TestCaseError> {
    prop_assume!(!large.ip.is_v4() || large.ip.destination == large.ip.bytes[16..20]);
    let mut payload = vec![];
    for frame in large.cut(0) {
        let sliced =
            etherparse::SlicedPacket::from_ip(&frame[large.link.len()..]).expect("it parses");
        let Some(etherparse::TransportSlice::Tcp(tcp)) = &sliced.transport else {
            panic!("not TCP: {:?}", sliced.transport);
        };
        let checksum = match sliced.net.as_ref().expect("IP") {
            etherparse::NetSlice::Ipv4(v4) => {
                let header = v4.header();
                prop_assert_eq!(
                    header.header_checksum(),
                    header.to_header().calc_header_checksum()
                );
                tcp.calc_checksum_ipv4(header.source(), header.destination())
            }
            etherparse::NetSlice::Ipv6(v6) => {
                let header = v6.header().to_header();
                tcp.calc_checksum_ipv6(header.source, header.destination)
            }
            etherparse::NetSlice::Arp(_) => panic!("ARP"),
        };
        prop_assert_eq!(Ok(tcp.checksum()), checksum);
        payload.extend_from_slice(tcp.payload());
    }
    prop_assert_eq!(&payload, &large.payload);
    Ok(())
}

fn example(v4: bool, payload: usize, mss: usize) -> Large {
    let mut ip = vec![0; if v4 { 20 } else { 40 }];
    ip[0] = if v4 { 0x45 } else { 0x60 };
    ip[if v4 { 9 } else { 6 }] = 6;
    let (source, destination) = if v4 {
        (12..16, 16..20)
    } else {
        (8..24, 24..40)
    };
    ip[source.clone()].fill(0x0a);
    ip[destination.clone()].fill(0x0b);
    let mut tcp = vec![0; 20];
    tcp[12] = 0x50;
    tcp[13] = 0x10;
    Large {
        link: vec![0; 14],
        ip: IpHeader {
            source: ip[source].to_vec(),
            destination: ip[destination].to_vec(),
            bytes: ip,
        },
        envelope: vec![],
        tcp,
        payload: (0..payload).map(|i| i as u8).collect(),
        mss,
        version: LargeSendVersion::V2,
    }
}

#[test]
fn the_largest_packets_are_cut() {
    for (v4, version, payload) in [
        (true, LargeSendVersion::V1, MAX_PAYLOAD_V1),
        (true, LargeSendVersion::V2, MAX_PAYLOAD_V2),
        (false, LargeSendVersion::V2, MAX_PAYLOAD_V2),
    ] {
        let mut large = example(v4, payload, 1460);
        large.version = version;
        assert_eq!(large.cut(0), large.slow(0));
        large.payload.push(0);
        assert_eq!(large.plan().err(), Some(LargeSendError::TooLarge));
    }
}

#[test]
fn a_segment_for_each_byte() {
    let large = example(true, 70_000, 1);
    assert_eq!(large.cut(0), large.slow(0));
}

#[test]
fn the_last_segment_is_the_only_shorter_one() {
    for (payload, mss, lengths) in [
        (3000, 1500, vec![1500, 1500]),
        (3001, 1500, vec![1500, 1500, 1]),
        (2999, 1500, vec![1500, 1499]),
    ] {
        let large = example(false, payload, mss);
        let found: Vec<usize> = large.cut(0).iter().map(|frame| frame.len() - 74).collect();
        assert_eq!(found, lengths);
    }
}

#[test]
fn identifications_stay_below_0x8000() {
    // The example of "Offloading the Segmentation of Large TCP Packets".
    let mut large = example(true, 4000, 1000);
    large.ip.bytes[4..6].copy_from_slice(&[0x7f, 0xfe]);
    let found: Vec<[u8; 2]> = large
        .cut(0)
        .iter()
        .map(|frame| [frame[18], frame[19]])
        .collect();
    assert_eq!(found, [[0x7f, 0xfe], [0x7f, 0xff], [0, 0], [0, 1]]);
}

#[test]
fn flags_go_where_they_belong() {
    // CWR, ECE, ACK, PSH, FIN; and all of them, with an urgent pointer: no transport sends SYN, RST and URG,
    // but the HLK's OffloadLSO does.
    for (flags, segments) in [
        (0b1101_1001, [0b1101_0000, 0b0101_0000, 0b0101_1001]),
        (0b1111_1111, [0b1111_0110, 0b0111_0110, 0b0111_1111]),
    ] {
        let mut large = example(true, 3000, 1000);
        large.tcp[13] = flags;
        large.tcp[18..20].copy_from_slice(&[0x12, 0x34]);
        let frames = large.cut(0);
        let found: Vec<u8> = frames.iter().map(|frame| frame[47]).collect();
        assert_eq!(found, segments);
        assert!(frames.iter().all(|frame| frame[52..54] == [0x12, 0x34]));
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut large = example(true, 2000, 1000);
    large.tcp[4..8].fill(0xff);
    let second = &large.cut(0)[1];
    assert_eq!(second[38..42], 999_u32.to_be_bytes());
}

#[test]
fn version_1_takes_the_length_from_the_header() {
    let mut large = example(true, 3000, 1000);
    large.version = LargeSendVersion::V1;
    let head = large.head();
    let request = large.request();
    let plan = |len| LargeSend::new(&head, 14, len, &request).map(|plan| plan.payload_len());
    assert_eq!(plan(head.len() + 3000), Ok(3000));
    assert_eq!(plan(head.len() + 3004), Ok(3000));
    assert_eq!(plan(head.len() + 2999), Err(LargeSendError::WrongLength));
}

#[test]
fn bytes_to_discard_are_not_cut() {
    let large = example(false, 3000, 1000);
    let request = LargeSendRequest {
        discard: 8,
        ..large.request()
    };
    let plan = large.plan_of(&request).expect("good");
    assert_eq!(plan.payload_len(), 2992);
    assert_eq!(plan.segment(2).map(|last| last.payload), Some(2000..2992));
}

#[test]
fn nonsense_is_refused() {
    use LargeSendError as Error;
    type Change = fn(&mut Large, &mut LargeSendRequest);
    let cases: &[(&str, Error, Change)] = &[
        ("no MSS", Error::NoMss, |_, r| r.mss = 0),
        ("no payload", Error::NoPayload, |l, _| l.payload.clear()),
        ("offset before", Error::WrongOffset, |_, r| {
            r.tcp_header_offset -= 1
        }),
        ("offset behind", Error::WrongOffset, |_, r| {
            r.tcp_header_offset += 4
        }),
        ("offset far behind", Error::WrongOffset, |_, r| {
            r.tcp_header_offset = 1023
        }),
        ("no room for IPsec", Error::WrongOffset, |_, r| {
            r.enveloped = true
        }),
        ("IPsec far behind", Error::Malformed, |_, r| {
            r.enveloped = true;
            r.tcp_header_offset = 1023;
        }),
        ("UDP", Error::NotTcp, |l, _| l.ip.bytes[9] = 17),
        ("ESP", Error::NotTcp, |l, _| l.ip.bytes[9] = 50),
        ("IPv6", Error::WrongIpVersion, |_, r| {
            r.ip_version = IpVersion::V6
        }),
        ("more fragments", Error::Fragment, |l, _| {
            l.ip.bytes[6] = 0x20
        }),
        ("fragment offset", Error::Fragment, |l, _| l.ip.bytes[7] = 1),
        ("short TCP header", Error::Malformed, |l, _| {
            l.tcp[12] = 0x40
        }),
        ("cut TCP header", Error::Malformed, |l, _| l.tcp[12] = 0xf0),
        ("short IP header", Error::Malformed, |l, _| {
            l.ip.bytes[0] = 0x44
        }),
        ("no IP", Error::Malformed, |l, _| l.ip.bytes[0] = 0x55),
        ("discards all", Error::WrongLength, |_, r| r.discard = 3001),
    ];
    for (name, error, change) in cases {
        let mut large = example(true, 3000, 1000);
        let mut request = large.request();
        change(&mut large, &mut request);
        assert_eq!(large.plan_of(&request).err(), Some(*error), "{name}");
    }
    let v6 = example(false, 3000, 1000);
    let request = LargeSendRequest {
        version: LargeSendVersion::V1,
        ..v6.request()
    };
    let mut head = v6.head();
    head[18..20].copy_from_slice(&3020_u16.to_be_bytes());
    assert_eq!(
        LargeSend::new(&head, 14, head.len() + 3000, &request).err(),
        Some(Error::WrongIpVersion)
    );
}

#[test]
fn heads_have_a_limit() {
    let with = |options: usize| {
        let mut large = example(false, 3000, 1000);
        large.ip.bytes[6] = 60;
        // Destination options of Pad1 alone.
        let mut extension = vec![0; options];
        extension[0] = 6;
        extension[1] = (options / 8 - 1) as u8;
        large.ip.bytes.extend(extension);
        large
    };
    // 14 + 40 + 20 of other headers.
    let most = (MAX_HEAD - 74) / 8 * 8;
    let large = with(most);
    assert_eq!(large.cut(0), large.slow(0));
    assert_eq!(with(most + 8).plan().err(), Some(LargeSendError::Malformed));
}

#[test]
fn an_unknown_route_is_refused() {
    let mut large = example(false, 3000, 1000);
    large.ip.bytes[6] = 43;
    large.ip.bytes.extend([6, 0, 3, 1, 0, 0, 0, 0]);
    assert_eq!(large.plan().err(), Some(LargeSendError::UnknownDestination));
    large.ip.bytes[43] = 0;
    assert_eq!(large.cut(0), large.slow(0));
}

#[test]
fn a_frame_of_another_length_is_refused() {
    let large = example(true, 3000, 1000);
    let plan = large.plan().expect("good");
    let segment = plan.segment(2).expect("three");
    for (len, tail) in [(1053, 0), (1055, 0), (1054, 1), (0, 0)] {
        let mut frame = vec![0; len];
        assert_eq!(
            plan.finish(&segment, &mut frame, tail),
            Err(LargeSendError::WrongLength)
        );
    }
    // Longer than IP can say.
    let mut frame = vec![0; 1054 + 65_000];
    assert_eq!(
        plan.finish(&segment, &mut frame, 65_000),
        Err(LargeSendError::WrongLength)
    );
    assert_eq!(slow_sum(&[]), 0);
}
