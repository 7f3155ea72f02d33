//! The capabilities that the adapter reports are what it does: for every member and bit of
//! NDIS_IPSEC_OFFLOAD_V2 packets are sent and received that need it. What is on has to be done, what
//! is off must not be, under every configuration, whether from the registry or at run time.
//!
//! Large send offload and checksums have suites of their own.

use std::fmt;

use ipsecov2_tests::{
    associations::{Kind, extend, sa},
    bench::{Bench, config},
    framed::{ETHERNET, Packet, packet, tunnelled},
    lab_options,
};
use ndis_sim::ndis::{AdapterConfig, OidRequest};
use ndis_sys::{
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL, Ieee8021QNetBufferListInfo,
    NDIS_ENCAPSULATION_IEEE_802_3, NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q,
    NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB, NDIS_IPSEC_OFFLOAD_V2, NDIS_OBJECT_TYPE_DEFAULT,
    NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED,
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED, NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED,
    NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED, NDIS_OFFLOAD_SET_NO_CHANGE, NDIS_OFFLOAD_SET_OFF,
    NDIS_OFFLOAD_SET_ON, NDIS_STATUS_SUCCESS, OID_OFFLOAD_ENCAPSULATION,
    OID_TCP_OFFLOAD_PARAMETERS,
};
use tcpip::{
    algorithm::{Authentication, Encryption},
    lab::{HARDWARE_ID, NdisVersion, Port, status_name},
    offload::{self, Handle, ReceiveStamp, Way},
    sas::{Mode, Sa, UdpEsp},
};

/// Members of NDIS_IPSEC_OFFLOAD_V2, and bits of those that are masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bit {
    Ipv6,
    Ipv4Options,
    Ipv6Extensions,
    Ah,
    Esp,
    AhEspCombined,
    Transport,
    Tunnel,
    TransportTunnelCombined,
    ExtendedSequenceNumbers,
    Udp(u32),
    Authentication(Authentication),
    Encryption(Encryption),
}

impl Bit {
    fn is_on(self, of: &NDIS_IPSEC_OFFLOAD_V2) -> bool {
        match self {
            Self::Ipv6 => of.IPv6Supported != 0,
            Self::Ipv4Options => of.IPv4Options != 0,
            Self::Ipv6Extensions => of.IPv6NonIPsecExtensionHeaders != 0,
            Self::Ah => of.Ah != 0,
            Self::Esp => of.Esp != 0,
            Self::AhEspCombined => of.AhEspCombined != 0,
            Self::Transport => of.Transport != 0,
            Self::Tunnel => of.Tunnel != 0,
            Self::TransportTunnelCombined => of.TransportTunnelCombined != 0,
            Self::ExtendedSequenceNumbers => of.ExtendedSequenceNumbers != 0,
            Self::Udp(kind) => of.UdpEsp & kind != 0,
            Self::Authentication(algorithm) => {
                of.AuthenticationAlgorithms & offload::authentication_identifier(algorithm) != 0
            }
            Self::Encryption(algorithm) => {
                of.EncryptionAlgorithms & offload::encryption_identifier(algorithm) != 0
            }
        }
    }
}

/// A packet, and what has to be reported for the adapter to take it.
struct Probe {
    what: String,
    needs: Vec<Bit>,
    /// The transport SA, then the tunnel's, if there are both.
    sas: Vec<Sa>,
    packet: Box<dyn Fn(u32) -> Packet>,
    /// As an adapter that does everything has sealed it; none if that does not do it.
    wire: Option<Vec<u8>>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which needs {:?}", self.what, self.needs)
    }
}

fn needs(sa: &Sa) -> Vec<Bit> {
    let mut bits = vec![match sa.mode {
        Mode::Transport => Bit::Transport,
        Mode::Tunnel => Bit::Tunnel,
    }];
    if sa.is_ipv6().unwrap() {
        bits.push(Bit::Ipv6);
    }
    if let Some(esp) = &sa.esp {
        bits.extend([Bit::Esp, Bit::Encryption(esp.encryption.algorithm)]);
        let authentication = esp.authentication.as_ref();
        bits.extend(authentication.map(|key| Bit::Authentication(key.algorithm)));
    }
    if let Some(ah) = &sa.ah {
        bits.extend([Bit::Ah, Bit::Authentication(ah.authentication.algorithm)]);
    }
    if sa.ah.is_some() && sa.esp.is_some() {
        bits.push(Bit::AhEspCombined);
    }
    bits
}

impl Probe {
    fn of(sa: Sa, also: &[Bit], change: impl Fn(Packet) -> Packet + 'static) -> Self {
        let of = sa.clone();
        Self {
            what: format!("{} {:?} {also:?}", sa.name, sa.mode),
            needs: [&needs(&sa), also].concat(),
            sas: vec![sa],
            packet: Box::new(move |sequence| change(packet(&of, 100, sequence))),
            wire: None,
        }
    }

    fn combined(transport: Sa, tunnel: Sa) -> Self {
        let (inner, outer) = (transport.clone(), tunnel.clone());
        let also = [Bit::TransportTunnelCombined];
        Self {
            what: format!("{} in a tunnel", transport.name),
            needs: [&needs(&transport)[..], &needs(&tunnel), &also].concat(),
            sas: vec![transport, tunnel],
            packet: Box::new(move |sequence| tunnelled(&outer, &inner, 100, sequence)),
            wire: None,
        }
    }

    fn is_on(&self, of: &NDIS_IPSEC_OFFLOAD_V2) -> bool {
        self.needs.iter().all(|bit| bit.is_on(of))
    }

    fn family(&self) -> usize {
        usize::from(self.sas.last().unwrap().is_ipv6().unwrap())
    }

    /// Its SAs at this end; `None` if one is refused, as what is not supported.
    fn offload(&self, port: &Port, way: Way) -> Option<Vec<Handle>> {
        let mut handles = Vec::new();
        for sa in &self.sas {
            match port.add_sas(&[sa], way).unwrap().remove(0) {
                Ok(handle) => handles.push(handle),
                Err(refused) => {
                    let status = status_name(refused.status);
                    assert_eq!(status, "NDIS_STATUS_NOT_SUPPORTED", "{self:?}");
                    port.delete_sas(&handles).unwrap();
                    return None;
                }
            }
        }
        Some(handles)
    }

    /// Whether A seals it: its frame on the wire is not what was handed down.
    fn send(&self, bench: &Bench) -> Option<Vec<u8>> {
        let handles = self.offload(&bench.a, Way::Outbound)?;
        let packet = (self.packet)(1);
        let tunnel = handles.get(1).copied().unwrap_or(0);
        let list = packet.list(handles[0], tunnel);
        let (wire, _) = bench.pass_unwatched(list);
        bench.a.delete_sas(&handles).unwrap();
        let wire = wire[..packet.frame.len()].to_vec();
        (wire != packet.frame).then_some(wire)
    }

    /// Whether B opens it.
    fn receive(&self, bench: &Bench, wire: &[u8]) -> bool {
        let handles = self.offload(&bench.b, Way::Inbound);
        let seen = bench.put(wire);
        bench.b.delete_sas(&handles.unwrap_or_default()).unwrap();
        if seen.stamp == ReceiveStamp::NONE {
            assert_eq!(seen.frame[..wire.len()], *wire, "{self:?}");
            return false;
        }
        assert_eq!(seen.stamp.status_name(), "CRYPTO_SUCCESS", "{self:?}");
        assert_eq!(seen.stamp.next_crypto_done, self.sas.len() == 2);
        let plain = (self.packet)(1);
        let payload = plain.payload;
        assert_eq!(seen.frame[payload.clone()], plain.frame[payload]);
        true
    }
}

/// A probe for every bit, sealed by an adapter that does everything.
fn probes() -> Vec<Probe> {
    let gcm = Kind::Esp("aes-gcm-256".parse().unwrap());
    let mut numbers = 1..;
    let mut make = |kind, mode, six| sa(kind, mode, six, numbers.next().unwrap());
    let mut probes: Vec<_> = Kind::all()
        .into_iter()
        .map(|kind| Probe::of(make(kind, Mode::Transport, false), &[], |packet| packet))
        .collect();
    for kind in [gcm, Kind::Ah(Authentication::HmacSha1)] {
        for six in [false, true] {
            probes.push(Probe::of(make(kind, Mode::Tunnel, six), &[], |packet| {
                packet
            }));
            let inner = make(kind, Mode::Transport, six);
            let outer = make(gcm, Mode::Tunnel, six);
            probes.push(Probe::combined(inner, outer));
            let mut extended = make(kind, Mode::Transport, six);
            extend(&mut extended, 3);
            let esn = [Bit::ExtendedSequenceNumbers];
            probes.push(Probe::of(extended, &esn, |packet| packet));
        }
        probes.push(Probe::of(
            make(kind, Mode::Transport, true),
            &[],
            |packet| packet,
        ));
        // Router alert; destination options.
        let options = make(kind, Mode::Transport, false);
        probes.push(Probe::of(options, &[Bit::Ipv4Options], |packet| {
            packet.behind(0, &[148, 4, 0, 0])
        }));
        let extensions = make(kind, Mode::Transport, true);
        probes.push(Probe::of(extensions, &[Bit::Ipv6Extensions], |packet| {
            packet.behind(60, &[0, 0, 1, 4, 0, 0, 0, 0])
        }));
    }
    for (udp_esp, mode, bit) in [
        (
            UdpEsp::Transport,
            Mode::Transport,
            IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
        ),
        (
            UdpEsp::Tunnel,
            Mode::Tunnel,
            IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
        ),
    ] {
        let mut sa = make(gcm, mode, false);
        sa.udp_esp = udp_esp;
        probes.push(Probe::of(sa, &[Bit::Udp(bit)], |packet| packet));
    }
    let bench = Bench::start(NdisVersion::V6_1, || config(true));
    for probe in &mut probes {
        probe.wire = probe.send(&bench);
        let on = probe.is_on(&reported(&bench.a));
        assert_eq!(probe.wire.is_some(), on, "{probe:?}");
    }
    bench.finish();
    probes
}

fn reported(port: &Port) -> NDIS_IPSEC_OFFLOAD_V2 {
    port.adapter.offloads().current().unwrap().ipsec_v2()
}

/// Puts every probe to both ends. `receiving` says for which families OID_OFFLOAD_ENCAPSULATION
/// has started receive offload.
fn check(bench: &Bench, probes: &[Probe], receiving: [bool; 2], what: &str) -> (usize, usize) {
    let reports = [reported(&bench.a), reported(&bench.b)];
    let (mut done, mut not_done) = (0, 0);
    for probe in probes {
        let sent = probe.send(bench).is_some();
        assert_eq!(sent, probe.is_on(&reports[0]), "{what}: sending {probe:?}");
        let Some(wire) = &probe.wire else {
            not_done += 1;
            continue;
        };
        let received = probe.receive(bench, wire);
        let expected = probe.is_on(&reports[1]) && receiving[probe.family()];
        assert_eq!(received, expected, "{what}: receiving {probe:?}");
        if sent {
            done += 1;
        } else {
            not_done += 1;
        }
    }
    (done, not_done)
}

/// `*IPsecOffloadV2` and `LegacyAlgorithms`, in every version: what is reported when the adapter
/// starts is done, and nothing else.
#[test]
fn what_the_keywords_leave() {
    let probes = probes();
    let mut counts = Vec::new();
    for version in NdisVersion::ALL {
        for setting in ["0", "1", "2", "3"] {
            for legacy in [false, true] {
                let bench = Bench::start(version, || {
                    config(legacy).keyword("*IPsecOffloadV2", setting)
                });
                let offloads = bench.a.adapter.offloads();
                let current = offloads.current().unwrap();
                assert_eq!(offloads.default_config(), Some(current));
                let what = format!("{version}, *IPsecOffloadV2 {setting}, legacy {legacy}");
                counts.push(check(&bench, &probes, [true; 2], &what));
                bench.finish();
            }
        }
    }
    // The versions do the same.
    assert_eq!(counts[..8], counts[8..16]);
    assert_eq!(counts[..8], counts[16..]);
    let done: Vec<_> = counts[..8].iter().map(|(done, _)| *done).collect();
    assert_eq!(done[..2], [0, 0], "switched off");
    assert!(done[2] > 5 && done[4] > 15, "{done:?}");
    assert!(done[6] > done[2] + done[4], "bundles are on top: {done:?}");
    for pair in done[2..].chunks(2) {
        assert!(pair[0] < pair[1], "legacy algorithms are more: {done:?}");
    }
    let all = probes.iter().filter(|probe| probe.wire.is_some()).count();
    assert_eq!(done[7], all);
}

fn set(port: &Port, oid: u32, data: Vec<u8>) {
    let result = port.open.oid(OidRequest::set(oid, data)).unwrap();
    assert_eq!(result.status, NDIS_STATUS_SUCCESS);
}

fn parameters(ipsec_v2: u8) -> Vec<u8> {
    let mut bytes = vec![0; 22];
    bytes[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 2, 22, 0]);
    bytes[20] = ipsec_v2;
    bytes
}

fn encapsulation(families: [u32; 2]) -> Vec<u8> {
    let mut bytes = vec![NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, 28, 0];
    for enabled in families {
        for word in [enabled, NDIS_ENCAPSULATION_IEEE_802_3, 14] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

/// OID_TCP_OFFLOAD_PARAMETERS and OID_OFFLOAD_ENCAPSULATION: after each of them what is indicated is
/// done.
#[test]
fn what_requests_leave() {
    const ON: u32 = NDIS_OFFLOAD_SET_ON;
    const OFF: u32 = NDIS_OFFLOAD_SET_OFF;
    const SAME: u32 = NDIS_OFFLOAD_SET_NO_CHANGE;
    let probes = probes();
    for version in NdisVersion::ALL {
        let bench = Bench::start_idle(&lab_options(version), || config(true));
        let both = |oid, data: Vec<u8>| {
            set(&bench.a, oid, data.clone());
            set(&bench.b, oid, data);
        };
        // Before OID_OFFLOAD_ENCAPSULATION packets are sealed and none is opened.
        let (all, _) = check(&bench, &probes, [false; 2], "before activation");
        assert!(all > 40, "only {all}");

        for (families, receiving) in [
            ([ON, SAME], [true, false]),
            ([SAME, ON], [true, true]),
            ([SAME, OFF], [true, false]),
            // The structure cannot say "IPv6 without IPv4".
            ([OFF, ON], [false, false]),
            ([ON, ON], [true, true]),
        ] {
            both(OID_OFFLOAD_ENCAPSULATION, encapsulation(families));
            check(&bench, &probes, receiving, &format!("{families:?}"));
        }

        let mut counts = Vec::new();
        for setting in [
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED,
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED,
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED,
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED,
        ] {
            both(OID_TCP_OFFLOAD_PARAMETERS, parameters(setting));
            let what = format!("IPsecV2 {setting}");
            counts.push(check(&bench, &probes, [true; 2], &what).0);
        }
        assert_eq!((counts[0], counts[3]), (0, all));
        assert!(counts[1] > 5 && counts[2] > 20, "{counts:?}");
        bench.finish();
    }
}

/// An SA that was offloaded while its protocol was on stays the adapter's until DELETE_SA ("the NIC
/// must not remove either of these SAs before"), and its packets are not sent in clear. Only when
/// IPsec offload is off altogether they go as they are.
#[test]
fn sas_from_before_a_change() {
    let bench = Bench::start(NdisVersion::V6_1, || config(false));
    for (number, (kind, others, own)) in (1..).zip([
        (
            Kind::Esp("aes-gcm-128".parse().unwrap()),
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED,
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED,
        ),
        (
            Kind::Ah(Authentication::HmacSha256),
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED,
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED,
        ),
    ]) {
        let sa = sa(kind, Mode::Transport, false, number);
        let handles = bench.add(&sa);
        let mut sequence = 0;
        let mut passes = |setting: u8| {
            for port in [&bench.a, &bench.b] {
                set(port, OID_TCP_OFFLOAD_PARAMETERS, parameters(setting));
            }
            sequence += 1;
            let sent = packet(&sa, 50, sequence);
            let (wire, seen) = bench.pass_unwatched(sent.list(handles.0, 0));
            let sealed = wire[..sent.frame.len()] != sent.frame;
            assert_eq!(seen.stamp.crypto_done, sealed);
            assert_eq!(seen.stamp.status_name(), "CRYPTO_SUCCESS");
            sealed
        };
        assert!(passes(own));
        assert!(passes(others));
        assert!(!passes(NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED));
        assert!(passes(others));
        assert!(passes(NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED));
        bench.delete(handles);
    }
    bench.finish();
}

/// As many SAs as are reported work; one more is refused, and its packets are left alone.
#[test]
fn the_capacity() {
    for version in NdisVersion::ALL {
        for capacity in [1, 2, 9, 64] {
            let text = capacity.to_string();
            let bench = Bench::start(version, || {
                AdapterConfig::new(HARDWARE_ID).keyword("SaOffloadCapacity", &text)
            });
            let report = reported(&bench.b);
            assert_eq!(report.SaOffloadCapacity, capacity);
            let kind = Kind::Esp("aes-gcm-128".parse().unwrap());
            let make = |number| sa(kind, Mode::Transport, false, number);
            let handles: Vec<_> = (0..capacity)
                .map(|number| Bench::add_at(&bench.b, &make(number), Way::Inbound))
                .collect();
            let refused = bench.b.add_sas(&[&make(capacity)], Way::Inbound).unwrap();
            let status = refused[0].as_ref().map_err(|refused| refused.status);
            let status = status.map_err(status_name).unwrap_err();
            assert_eq!(status, "NDIS_STATUS_RESOURCES");
            for number in 0..=capacity {
                let sa = make(number);
                let outbound = Bench::add_at(&bench.a, &sa, Way::Outbound);
                let list = packet(&sa, 40, 1).list(outbound, 0);
                let (_, seen) = bench.pass(list, std::slice::from_ref(&sa));
                assert_eq!(seen.stamp.crypto_done, number < capacity);
                bench.a.delete_sas(&[outbound]).unwrap();
            }
            bench.b.delete_sas(&handles).unwrap();
            bench.finish();
        }
    }
}

/// Encapsulations: Ethernet, Ethernet with an 802.1Q tag in the frame, and with the tag in
/// out-of-band data.
#[test]
fn the_encapsulations() {
    const TCI: u16 = 5 << 13 | 77;
    for version in NdisVersion::ALL {
        for setting in ["0", "1", "2", "3"] {
            let bench = Bench::start(version, || {
                AdapterConfig::new(HARDWARE_ID).keyword("*PriorityVLANTag", setting)
            });
            let report = reported(&bench.a).Encapsulation;
            let what = format!("*PriorityVLANTag {setting}");
            let known = NDIS_ENCAPSULATION_IEEE_802_3
                | NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q
                | NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB;
            assert_eq!(report & !known, 0, "{what}");
            let kind = Kind::Esp("aes-gcm-128".parse().unwrap());
            let sa = sa(kind, Mode::Transport, false, 1);
            let handles = bench.add(&sa);

            let sent = packet(&sa, 80, 1);
            let list = sent.list(handles.0, 0);
            let (plain, seen) = bench.pass(list, std::slice::from_ref(&sa));
            let done = seen.stamp.crypto_done && plain[..sent.frame.len()] != sent.frame;
            assert_eq!(done, report & NDIS_ENCAPSULATION_IEEE_802_3 != 0, "{what}");

            // The tag in the frame, both ways.
            let mut tagged = packet(&sa, 80, 2);
            let tag = [[0x81, 0], TCI.to_be_bytes()].concat();
            // EspHeaderOffset counts from the IP header: it stays.
            tagged.frame.splice(12..12, tag.iter().copied());
            let list = tagged.list(handles.0, 0);
            let (wire, seen) = bench.pass_unwatched(list);
            assert_eq!(wire[..16], tagged.frame[..16], "{what}");
            let sealed = wire[..tagged.frame.len()] != tagged.frame;
            let done = sealed && seen.stamp.crypto_done;
            let on = report & NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q != 0;
            assert_eq!(done, on, "{what}");

            // The tag in out-of-band data.
            let sent = packet(&sa, 80, 3);
            let info = usize::from(TCI >> 13) | usize::from(TCI & 0x0FFF) << 4;
            let list = sent
                .list(handles.0, 0)
                .info(Ieee8021QNetBufferListInfo as usize, info);
            let (wire, seen) = bench.pass_unwatched(list);
            // Priority and VLAN are switched each by itself.
            let vlan = wire[12..14] == tag[..2] && wire[15] == tag[3];
            let done = vlan && seen.stamp.crypto_done;
            let on = report & NDIS_ENCAPSULATION_IEEE_802_3_P_AND_Q_IN_OOB != 0;
            assert_eq!(done, on, "{what}");
            assert!(seen.stamp.crypto_done, "{what}");
            let at = ETHERNET + if wire[12..14] == [0x81, 0] { 4 } else { 0 };
            assert_ne!(wire[at..at + 80], sent.frame[ETHERNET..ETHERNET + 80]);
            bench.delete(handles);
        }
    }
}
