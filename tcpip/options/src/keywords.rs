//! Keywords of adapters: which ones there are, so that a misspelt one does not silently mean nothing.

use std::{error::Error, fmt};

use crate::words::nearest;

/// The standardized keywords that Microsoft documents ("Standardized INF Keywords for Network Devices" and the
/// pages below it), beside those of the driver's INF: a driver that does not have one of them ignores it.
const STANDARDIZED: &[&str] = &[
    "*AccessType",
    "*ConnectionType",
    "*DeviceSleepOnDisconnect",
    "*DirectionType",
    "*EEE",
    "*EncapsulatedPacketTaskOffload",
    "*EncapsulatedPacketTaskOffloadNvgre",
    "*EncapsulatedPacketTaskOffloadVxlan",
    "*FlowControl",
    "*HardwareLoopback",
    "*HeaderDataSplit",
    "*IPChecksumOffloadIPv4",
    "*IPsecOffloadV1IPv4",
    "*IPsecOffloadV2",
    "*IPsecOffloadV2IPv4",
    "*IdleRestriction",
    "*IfConnectorPresent",
    "*IfType",
    "*InterruptModeration",
    "*JumboPacket",
    "*LsoV1IPv4",
    "*LsoV2IPv4",
    "*LsoV2IPv6",
    "*MaxRssProcessors",
    "*MediaType",
    "*ModernStandbyWoLMagicPacket",
    "*NdisDeviceType",
    "*NetworkDirect",
    "*NetworkDirectRoCEFrameSize",
    "*NetworkDirectTechnology",
    "*NumRSSQueues",
    "*NumVFs",
    "*NumaNodeId",
    "*PMARPOffload",
    "*PMNSOffload",
    "*PMWiFiRekeyOffload",
    "*PacketCoalescing",
    "*PhysicalMediaType",
    "*Port1DeviceNumber",
    "*Port1FunctionNumber",
    "*PriorityVLANTag",
    "*PtpHardwareTimestamp",
    "*QOS",
    "*RSS",
    "*RSSProfile",
    "*ReceiveBuffers",
    "*RscIPv4",
    "*RscIPv6",
    "*RssBaseProcGroup",
    "*RssBaseProcNumber",
    "*RssMaxProcGroup",
    "*RssMaxProcNumber",
    "*RssOnHostVPorts",
    "*RssOrVmqPreference",
    "*SRIOV",
    "*SSIdleTimeout",
    "*SSIdleTimeoutScreenOff",
    "*SelectiveSuspend",
    "*SoftwareTimestamp",
    "*SpeedDuplex",
    "*SriovPreferred",
    "*TCPChecksumOffloadIPv4",
    "*TCPChecksumOffloadIPv6",
    "*TCPConnectionOffloadIPv4",
    "*TCPConnectionOffloadIPv6",
    "*TCPUDPChecksumOffloadIPv4",
    "*TCPUDPChecksumOffloadIPv6",
    "*TransmitBuffers",
    "*UDPChecksumOffloadIPv4",
    "*UDPChecksumOffloadIPv6",
    "*UdpRsc",
    "*UsoIPv4",
    "*UsoIPv6",
    "*VMQ",
    "*VMQLookaheadSplit",
    "*VMQVlanFiltering",
    "*VxlanUDPPortNumber",
    "*WakeOnMagicPacket",
    "*WakeOnPattern",
    "NetworkAddress",
    "VlanID",
];

/// A keyword that there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    name: String,
    nearest: Option<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nearest } = self;
        write!(
            f,
            "--keyword {name}: neither standardized nor in the driver's INF"
        )?;
        if let Some(nearest) = nearest {
            write!(f, "; is {nearest} meant?")?;
        }
        write!(f, " (--force-keyword sets it all the same)")
    }
}

impl Error for Unknown {}

/// The keywords that an INF gives an adapter: `Ndi\Params\<keyword>`, and values of the adapter's own key.
///
/// Sections do not matter here, so this is no reader of INF files; the simulator has one.
pub fn of_inf(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(',').map(str::trim);
        if !fields.next()?.eq_ignore_ascii_case("HKR") {
            return None;
        }
        let (key, value) = (fields.next()?, fields.next()?);
        let parameter = key
            .get(..11)
            .filter(|start| start.eq_ignore_ascii_case(r"Ndi\Params\"))
            .map(|start| &key[start.len()..]);
        match parameter {
            Some(name) => name.split('\\').next(),
            None => Some(value).filter(|value| key.is_empty() && !value.is_empty()),
        }
    })
}

/// Checks that each keyword is standardized or one of `own`, those of the INF. As in the registry case does not
/// matter.
///
/// # Errors
/// The first that is neither.
pub fn check<'a>(names: impl IntoIterator<Item = &'a str>, own: &[&str]) -> Result<(), Unknown> {
    let known = || own.iter().chain(STANDARDIZED).copied();
    for name in names {
        if !known().any(|it| it.eq_ignore_ascii_case(name)) {
            return Err(Unknown {
                name: name.to_owned(),
                nearest: nearest(name, known()).map(str::to_owned),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_standardized_or_of_the_inf() {
        let inf: Vec<_> = of_inf(include_str!("../../../inf/ipsecov2.inx")).collect();
        for name in [
            "*JumboPacket",
            "*jumbopacket",
            "*IPsecOffloadV2",
            "LegacyAlgorithms",
            "SaOffloadCapacity",
            "NetworkAddress",
            "VlanID",
            "*RSS",
        ] {
            assert_eq!(check([name], &inf), Ok(()), "{name}");
        }
        for (name, nearest) in [
            ("LegacyAlgoritms", Some("LegacyAlgorithms")),
            ("JumboPacket", Some("*JumboPacket")),
            ("*IPSecOffload", Some("*IPsecOffloadV2")),
            ("SaCapacity", Some("SaOffloadCapacity")),
            ("Zebra", None),
        ] {
            let error = check(["*JumboPacket", name], &inf).unwrap_err();
            assert_eq!(error.nearest.as_deref(), nearest, "{name}");
            let text = error.to_string();
            assert!(
                text.contains(name) && text.contains("--force-keyword"),
                "{text}"
            );
            assert_eq!(text.contains("meant?"), nearest.is_some(), "{text}");
        }
    }

    /// A keyword of another driver's INF.
    #[test]
    fn the_inf_is_the_one_that_is_given() {
        let inf = "[A]\nHKR, ndi\\params\\Wings\\enum, \"0\", 0, \"x\"\nhkr,,Beak,0,\"1\"\nHKR, Ndi, Service, 0, \"x\"\n";
        let own: Vec<_> = of_inf(inf).collect();
        assert_eq!(own, ["Wings", "Beak"]);
        assert_eq!(check(["wings", "beak"], &own), Ok(()));
        assert!(check(["LegacyAlgorithms"], &own).is_err());
    }

    #[test]
    fn the_list_is_sorted_and_without_doubles() {
        assert!(STANDARDIZED.is_sorted_by(|one, other| one < other));
    }
}
