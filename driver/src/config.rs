//! The keywords of an adapter. A keyword that is absent or out of range means its default: a
//! mistake in the registry must not keep an adapter from starting ("Enumeration Keywords",
//! "Standardized INF Keywords for Network Devices").

use ndis::{Configuration, Keyword, MiniportHandle, Passive, Version, keyword};
use ndis_sys::NDIS_STATUS;

use crate::{
    ethernet::{HEADER, Mac},
    offload::{ChecksumSetting, IpsecSetting, Settings},
};

/// What an adapter is configured to do; fixed when it initializes.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// *JumboPacket: the largest frame, Ethernet header included, FCS and 802.1Q tag not.
    pub max_frame: usize,
    /// *ReceiveBuffers.
    pub receive_buffers: usize,
    /// *PriorityVLANTag, bit 0: 802.1p priority.
    pub priority: bool,
    /// *PriorityVLANTag, bit 1: 802.1Q VLAN.
    pub vlan: bool,
    /// VlanID: the adapter's VLAN, 0 for none.
    pub vlan_id: u16,
    /// *IPsecOffloadV2, and the keywords of checksums and large sends.
    pub offload: Settings,
    /// LinkState: whether the link is up only while another adapter is there.
    pub link_follows: bool,
    /// LegacyAlgorithms: whether DES-CBC, 3DES-CBC and HMAC-MD5, which are broken, are offered.
    pub legacy_algorithms: bool,
    /// SaOffloadCapacity.
    pub sa_capacity: u32,
    /// NetworkAddress, if it is a valid station address.
    pub network_address: Option<Mac>,
}

impl Config {
    const DEFAULT: Self = Self {
        max_frame: 1514,
        receive_buffers: 512,
        priority: true,
        vlan: true,
        vlan_id: 0,
        offload: Settings::ALL,
        link_follows: false,
        legacy_algorithms: false,
        sa_capacity: 1024,
        network_address: None,
    };

    /// Reads the keywords.
    ///
    /// # Errors
    /// What NdisOpenConfigurationEx says: the registry cannot be read at all.
    pub fn read(
        adapter: MiniportHandle,
        version: Version,
        at: Passive<'_>,
    ) -> Result<Self, NDIS_STATUS> {
        let registry = Configuration::open(adapter, version, at)?;
        let number = |keyword: Keyword, min: u32, max: u32| {
            registry
                .read_u32(keyword, at)
                .filter(|value| (min..=max).contains(value))
        };
        let mut config = Self::DEFAULT;
        if let Some(value) = number(keyword!("*JumboPacket"), 1514, 9014) {
            config.max_frame = value as usize;
        }
        if let Some(value) = number(keyword!("*ReceiveBuffers"), 32, 4096) {
            config.receive_buffers = value as usize;
        }
        if let Some(value) = number(keyword!("*PriorityVLANTag"), 0, 3) {
            config.priority = value & 1 != 0;
            config.vlan = value & 2 != 0;
        }
        if let Some(value) = number(keyword!("VlanID"), 0, 4094) {
            config.vlan_id = value as u16;
        }
        // *IPsecOffloadV2IPv4 is for adapters without IPv6: "If the miniport driver supports IPv6,
        // the IPsecV2 member specifies the IPv4 setting and this member is not used"
        // (NDIS_OFFLOAD_PARAMETERS). It is read all the same, as every standardized keyword is.
        let _ = number(keyword!("*IPsecOffloadV2IPv4"), 0, 3);
        if let Some(value) = number(keyword!("*IPsecOffloadV2"), 0, 3) {
            config.offload.ipsec = IpsecSetting::from_keyword(value);
        }
        // A granular keyword counts for more than the one that groups it with others: the
        // documentation does not say, and it is the more exact wish.
        let checksum = &mut config.offload.checksum;
        let grouped_v4 = number(keyword!("*TCPUDPChecksumOffloadIPv4"), 0, 3);
        let grouped_v6 = number(keyword!("*TCPUDPChecksumOffloadIPv6"), 0, 3);
        for (setting, granular, grouped) in [
            (
                &mut checksum.ip_v4,
                keyword!("*IPChecksumOffloadIPv4"),
                grouped_v4,
            ),
            (
                &mut checksum.tcp_v4,
                keyword!("*TCPChecksumOffloadIPv4"),
                grouped_v4,
            ),
            (
                &mut checksum.udp_v4,
                keyword!("*UDPChecksumOffloadIPv4"),
                grouped_v4,
            ),
            (
                &mut checksum.tcp_v6,
                keyword!("*TCPChecksumOffloadIPv6"),
                grouped_v6,
            ),
            (
                &mut checksum.udp_v6,
                keyword!("*UDPChecksumOffloadIPv6"),
                grouped_v6,
            ),
        ] {
            if let Some(value) = number(granular, 0, 3).or(grouped) {
                *setting = ChecksumSetting::from_keyword(value);
            }
        }
        let large_send = &mut config.offload.large_send;
        for (setting, keyword) in [
            (&mut large_send.v1_ipv4, keyword!("*LsoV1IPv4")),
            (&mut large_send.v2_ipv4, keyword!("*LsoV2IPv4")),
            (&mut large_send.v2_ipv6, keyword!("*LsoV2IPv6")),
        ] {
            if let Some(value) = number(keyword, 0, 1) {
                *setting = value != 0;
            }
        }
        if let Some(value) = number(keyword!("LinkState"), 0, 1) {
            config.link_follows = value != 0;
        }
        if let Some(value) = number(keyword!("LegacyAlgorithms"), 0, 1) {
            config.legacy_algorithms = value != 0;
        }
        if let Some(value) = number(keyword!("SaOffloadCapacity"), 1, 65_536) {
            config.sa_capacity = value;
        }
        config.network_address = registry
            .network_address(at)
            .map(Mac)
            .filter(|address| address.is_station());
        Ok(config)
    }

    /// The largest packet without the Ethernet header.
    pub const fn mtu(&self) -> usize {
        self.max_frame.saturating_sub(HEADER)
    }
}
