//! NDISTest 6.5 - [1 Machine] - StandardizedKeywords.

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    inf,
    lan::{Lan, USUAL},
    stateless::{CHECKSUMS, Done, EVERYTHING, LARGE_SENDS, reported_with, tx_rx},
    switch::{Switch, SwitchPort, VERSIONS, check, config},
};
use ndis_sim::{
    inf::{Inf, Param, RegValue},
    ndis::AdapterConfig,
};
use ndis_sys::*;
use tcpip::lab::HARDWARE_ID;

/// Texts that are no value of any keyword, or a strange way to write one, and what NDIS makes of them
/// (NdisReadConfiguration, RtlUnicodeStringToInteger).
const STRANGE: [(&str, u32); 9] = [
    ("", 0),
    ("junk", 0),
    ("0x3", 0),
    ("-1", u32::MAX),
    ("4294967295", u32::MAX),
    ("4294967297", 1),
    ("2147483648", 1 << 31),
    ("99999", 99_999),
    ("3 and more", 3),
];

/// Standardized keywords of what this adapter does not have, or has another keyword for.
const OTHERS: [&str; 36] = [
    "*RSS",
    "*NumRssQueues",
    "*MaxRssProcessors",
    "*RssBaseProcNumber",
    "*RscIPv4",
    "*RscIPv6",
    "*SpeedDuplex",
    "*FlowControl",
    "*InterruptModeration",
    "*TransmitBuffers",
    "*HeaderDataSplit",
    "*TCPConnectionOffloadIPv4",
    "*TCPConnectionOffloadIPv6",
    "*TCPUDPChecksumOffloadIPv4",
    "*TCPUDPChecksumOffloadIPv6",
    "*IPsecOffloadV1IPv4",
    "*UsoIPv4",
    "*UsoIPv6",
    "*UdpRsc",
    "*EncapsulatedPacketTaskOffload",
    "*EncapsulatedPacketTaskOffloadNvgre",
    "*VMQ",
    "*VMQLookaheadSplit",
    "*VMQVlanFiltering",
    "*SRIOV",
    "*SriovPreferred",
    "*NumVFs",
    "*QOS",
    "*NetworkDirect",
    "*WakeOnMagicPacket",
    "*WakeOnPattern",
    "*ModernStandbyWoLMagicPacket",
    "*DeviceSleepOnDisconnect",
    "*PMARPOffload",
    "*PMNSOffload",
    "*EEE",
];

/// What NDIS and the OIDs tell of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reported {
    mtu: u32,
    priority: bool,
    vlan: bool,
    vlan_id: Option<u32>,
    receive_buffers: u32,
    ah: u8,
    esp: u8,
    legacy: bool,
    connected: bool,
    sa_capacity: u32,
    offloads: Done,
}

const DEFAULT: Reported = Reported {
    mtu: 1500,
    priority: true,
    vlan: true,
    vlan_id: Some(0),
    receive_buffers: 512,
    ah: 1,
    esp: 1,
    legacy: false,
    connected: true,
    sa_capacity: 1024,
    offloads: EVERYTHING,
};

impl Reported {
    fn of(port: &SwitchPort) -> Self {
        let general = port.adapter.general_attributes().expect("they are set");
        let offload = port.adapter.offloads().current().expect("a report").get();
        let space = port.query(OID_GEN_RECEIVE_BUFFER_SPACE, 4).u32();
        let largest = port.query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4).u32();
        assert_eq!(largest, Some(general.MtuSize + 14));
        let vlan = general.MacOptions & NDIS_MAC_OPTION_8021Q_VLAN != 0;
        let legacy = IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC | IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC;
        Self {
            mtu: general.MtuSize,
            priority: general.MacOptions & NDIS_MAC_OPTION_8021P_PRIORITY != 0,
            vlan,
            vlan_id: port.query(OID_GEN_VLAN_ID, 4).u32(),
            // A buffer has room for a frame, a tag in it and one more.
            receive_buffers: space.unwrap_or(0) / (general.MtuSize + 14 + 8),
            ah: offload.IPsecV2.Ah,
            esp: offload.IPsecV2.Esp,
            connected: general.MediaConnectState == MediaConnectStateConnected,
            legacy: offload.IPsecV2.EncryptionAlgorithms & legacy != 0,
            sa_capacity: offload.IPsecV2.SaOffloadCapacity,
            offloads: reported_with(&offload, vlan),
        }
    }

    /// What it is with a value of a keyword that knows the value.
    fn with(mut self, keyword: &str, value: u32) -> Self {
        let checksum = CHECKSUMS.iter().position(|(name, ..)| *name == keyword);
        let large = LARGE_SENDS.iter().position(|(name, ..)| *name == keyword);
        match (keyword, checksum, large) {
            (_, Some(index), _) => self.offloads.checksums[index] = tx_rx(value as u8),
            (_, _, Some(index)) => self.offloads.large[index] = value == 1,
            ("*IPsecOffloadV2", ..) => {
                (self.ah, self.esp) = (value as u8 & 1, value as u8 >> 1);
                let any = value != 0;
                self.sa_capacity = if any { self.sa_capacity } else { 0 };
            }
            // For adapters without IPv6.
            ("*IPsecOffloadV2IPv4", ..) => {}
            ("*JumboPacket", ..) => self.mtu = value - 14,
            ("*ReceiveBuffers", ..) => self.receive_buffers = value,
            ("*PriorityVLANTag", ..) => {
                (self.priority, self.vlan) = (value & 1 != 0, value & 2 != 0);
                self.vlan_id = self.vlan.then_some(0);
            }
            ("VlanID", ..) => self.vlan_id = Some(value),
            // It is the only adapter.
            ("LinkState", ..) => self.connected = value == 0,
            ("LegacyAlgorithms", ..) => self.legacy = value == 1,
            ("SaOffloadCapacity", ..) => self.sa_capacity = value,
            _ => panic!("{keyword} is not known here"),
        }
        self
    }
}

/// The advanced properties of the INF but NetworkAddress, which has a job of its own, and the keyword that has no
/// property page.
fn params() -> Vec<Param> {
    let inf = Inf::load(&inf()).expect("the INF is sound");
    let mut params = inf.install(HARDWARE_ID).expect("it is in it").params;
    params.retain(|param| param.name != "NetworkAddress");
    params.push(Param {
        name: "SaOffloadCapacity".to_owned(),
        kind: "int".to_owned(),
        min: Some(1),
        max: Some(65_536),
        ..Param::default()
    });
    params
}

/// Whether the INF has the value.
fn knows(param: &Param, value: u32) -> bool {
    if param.kind == "enum" {
        return param.choices.iter().any(|(of, _)| *of == value.to_string());
    }
    let range = param.min.unwrap_or(0)..=param.max.unwrap_or(0);
    range.contains(&u64::from(value))
}

/// The values to try: all of an enumeration, the ends and some between of a range.
fn values(param: &Param) -> Vec<u32> {
    if param.kind == "enum" {
        let choices = param.choices.iter();
        return choices
            .map(|(value, _)| value.parse().expect("a number"))
            .collect();
    }
    let (min, max) = (param.min.unwrap_or(0), param.max.unwrap_or(0));
    [min, min + 1, (min + max) / 2, max - 1, max]
        .map(|value| value as u32)
        .into()
}

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for param in params() {
        let name = param.name.clone();
        let of = param.clone();
        cases.push(Case::new(
            format!("{name}, every value"),
            "with each value of the INF, as text and as number, the adapter reports what the keyword says, and nothing else changes",
            move |figures| every_value(&of, figures),
        ));
        cases.push(Case::new(
            format!("{name}, absent or invalid"),
            "absent, absurd, or of another type of the registry the keyword means its default",
            move |figures| invalid(&param, figures),
        ));
    }
    cases.push(Case::new(
        "keywords that are not supported",
        "keywords of what the adapter does not have change nothing",
        others,
    ));
    cases.push(Case::new(
        "changed while frames flow",
        "an adapter is disabled and enabled with other keywords under traffic of its neighbours, who do not notice",
        |_| under_traffic(),
    ));
    Job {
        name: "NDISTest 6.5 - [1 Machine] - StandardizedKeywords",
        requirement: "Device.Network.LAN.Base.AdvProperties",
        checks: "what is reported agrees with each keyword, whatever its value; keywords that are not supported are harmless",
        cases,
    }
}

fn starts(switch: &Switch, config: AdapterConfig, expected: &Reported, about: &str) {
    let port = switch.port_with(config);
    assert_eq!(Reported::of(&port), *expected, "{about}");
    check(port.adapter.halt());
}

fn every_value(param: &Param, figures: &mut Figures) {
    let name = param.name.as_str();
    for version in VERSIONS {
        let switch = Switch::new(version);
        for value in values(param) {
            let expected = DEFAULT.with(name, value);
            let about = format!("{name} = {value}");
            let text = config().keyword(name, value.to_string());
            starts(&switch, text, &expected, &about);
            let number = config().value(name, RegValue::Dword(value));
            starts(&switch, number, &expected, &about);
        }
        switch.finish();
    }
    figures.note("values", values(param).len());
}

fn invalid(param: &Param, figures: &mut Figures) {
    let name = param.name.as_str();
    let meant = |value: u32| {
        if knows(param, value) {
            DEFAULT.with(name, value)
        } else {
            DEFAULT
        }
    };
    let switch = Switch::new(630);
    starts(&switch, config().without(name), &DEFAULT, "absent");
    for (text, value) in STRANGE {
        let about = format!("{name} = {text:?}");
        starts(&switch, config().keyword(name, text), &meant(value), &about);
    }
    let ends = [param.min.unwrap_or(0) as u32, param.max.unwrap_or(3) as u32];
    let numbers = [
        4,
        0x7fff_ffff,
        u32::MAX,
        ends[0].wrapping_sub(1),
        ends[1] + 1,
    ];
    for value in numbers {
        let number = config().value(name, RegValue::Dword(value));
        starts(
            &switch,
            number,
            &meant(value),
            &format!("{name} = {value:#x}"),
        );
    }
    for value in [
        RegValue::Binary(vec![1, 0, 0, 0]),
        RegValue::Binary(vec![]),
        RegValue::MultiSz(vec!["1".to_owned(), "2".to_owned()]),
    ] {
        let about = format!("{name} = {value:?}");
        starts(&switch, config().value(name, value), &DEFAULT, &about);
    }
    figures.note("values", 1 + STRANGE.len() + numbers.len() + 3);
    switch.finish();
}

fn others(figures: &mut Figures) {
    let switch = Switch::new(630);
    for keyword in OTHERS {
        for value in ["0", "1", "3", "4294967295", "junk"] {
            let about = format!("{keyword} = {value}");
            starts(&switch, config().keyword(keyword, value), &DEFAULT, &about);
        }
    }
    switch.finish();
    // All of them at once, and frames.
    let all = || {
        OTHERS
            .iter()
            .fold(config(), |of, name| of.keyword(*name, "1"))
    };
    let lan = Lan::with(630, all(), all());
    assert_eq!(Reported::of(&lan.test), DEFAULT);
    lan.connected("with every keyword");
    lan.finish();
    figures.note("keywords", OTHERS.len());
}

fn under_traffic() {
    let lan = Lan::start(630);
    let third = lan.switch.port();
    for (keyword, value) in [
        ("*JumboPacket", "9014"),
        ("*ReceiveBuffers", "32"),
        ("*PriorityVLANTag", "0"),
        ("*TCPChecksumOffloadIPv4", "0"),
        ("*LsoV2IPv6", "0"),
        ("*IPsecOffloadV2", "0"),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..50).for_each(|_| lan.connected("meanwhile")));
            for value in [value, "junk", value] {
                check(third.adapter.halt());
                third.adapter.set_keyword(keyword, value);
                check(third.adapter.enable());
                third.filter(USUAL);
            }
        });
        let number = value.parse().expect("a number");
        let found = Reported::of(&third);
        assert_eq!(found, DEFAULT.with(keyword, number), "{keyword}");
        check(third.adapter.halt());
        third.adapter.remove_keyword(keyword);
        check(third.adapter.enable());
        assert_eq!(Reported::of(&third), DEFAULT, "{keyword}");
    }
    drop(third);
    lan.finish();
}
