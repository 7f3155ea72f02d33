//! All rows, from what the adapter advertises in NDIS_IPSEC_OFFLOAD_V2.

use ndis_sys::NDIS_IPSEC_OFFLOAD_V2;
use tcpip::{
    algorithm::{Authentication, Encryption},
    offload::{authentication_identifier, encryption_identifier},
    sas::UdpEsp,
};

use super::row::{Esn, EspSuite, Family, Portion, Protection, Row};

/// Rows that are gone through in one way.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name in the table.
    pub name: &'static str,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// What an adapter advertises.
pub struct Advertised {
    caps: NDIS_IPSEC_OFFLOAD_V2,
}

impl Advertised {
    /// From the report.
    pub fn new(caps: NDIS_IPSEC_OFFLOAD_V2) -> Self {
        Self { caps }
    }

    /// Whether packets may have IPv4 options and IPv6 extension headers.
    pub fn has_options(&self) -> bool {
        self.caps.IPv4Options != 0 && self.caps.IPv6NonIPsecExtensionHeaders != 0
    }

    fn families(&self) -> Vec<Family> {
        let six = self.caps.IPv6Supported != 0;
        let each = Family::ALL.into_iter();
        each.filter(|family| six || *family == Family::V4).collect()
    }

    fn esn(&self) -> Vec<bool> {
        match self.caps.ExtendedSequenceNumbers {
            0 => vec![false],
            _ => vec![false, true],
        }
    }

    fn authentications(&self) -> Vec<Authentication> {
        let offered = self.caps.AuthenticationAlgorithms;
        let each = Authentication::ALL.into_iter();
        each.filter(|one| offered & authentication_identifier(*one) != 0)
            .collect()
    }

    fn encryptions(&self) -> Vec<Encryption> {
        let offered = self.caps.EncryptionAlgorithms;
        let each = Encryption::ALL.into_iter();
        each.filter(|one| offered & encryption_identifier(*one) != 0)
            .collect()
    }

    /// What ESP can be of: with its own authentication, or (to go within AH) without any.
    fn suites(&self, within_ah: bool) -> Vec<EspSuite> {
        if self.caps.Esp == 0 {
            return Vec::new();
        }
        let mut suites = Vec::new();
        for encryption in self.encryptions() {
            let suite = |gcm_icv_len, authentication| EspSuite {
                encryption,
                gcm_icv_len,
                authentication,
            };
            if encryption.is_gcm() {
                suites.extend([8, 12, 16].map(|icv_len| suite(icv_len, None)));
                continue;
            }
            for authentication in self.authentications() {
                // RFC 4543 section 3: AES-GMAC stands alone.
                if !authentication.is_gmac() || encryption == Encryption::Null {
                    suites.push(suite(0, Some(authentication)));
                }
            }
            if within_ah {
                suites.push(suite(0, None));
            }
        }
        suites
    }

    fn esp(&self) -> Vec<Protection> {
        self.suites(false)
            .into_iter()
            .map(Protection::esp)
            .collect()
    }

    fn ah(&self) -> Vec<Protection> {
        if self.caps.Ah == 0 {
            return Vec::new();
        }
        self.authentications()
            .into_iter()
            .map(Protection::ah)
            .collect()
    }

    fn bundles(&self) -> Vec<Protection> {
        if self.caps.AhEspCombined == 0 || self.caps.Ah == 0 {
            return Vec::new();
        }
        let mut all = Vec::new();
        for esp in self.suites(true) {
            for ah in self.authentications() {
                all.push(Protection {
                    esp: Some(esp),
                    ah: Some(ah),
                });
            }
        }
        all
    }

    /// Each AH algorithm with one ESP suite, for what nests in each other.
    fn some_bundles(&self) -> Vec<Protection> {
        let (ah, suites) = (self.authentications(), self.suites(true));
        let all = self.bundles();
        let pick = |(at, ah): (usize, Authentication)| {
            let esp = suites.get((at * 7 + 3) % suites.len().max(1))?;
            let wanted = Protection {
                esp: Some(*esp),
                ah: Some(ah),
            };
            all.contains(&wanted).then_some(wanted)
        };
        ah.into_iter().enumerate().filter_map(pick).collect()
    }

    fn has_udp(&self, kind: UdpEsp) -> bool {
        let bit = match kind {
            UdpEsp::None => return true,
            UdpEsp::Transport => ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
            UdpEsp::Tunnel => ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
            UdpEsp::TransportOverUdpTunnel => {
                ndis_sys::IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL
            }
            UdpEsp::UdpTransportOverTunnel => {
                ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL
            }
        };
        self.caps.UdpEsp & bit != 0
    }

    /// Single SAs: every family (and outer family), every ESN.
    fn single(&self, protections: &[Protection], tunnel: bool, udp_esp: UdpEsp) -> Vec<Row> {
        let there = match tunnel {
            true => self.caps.Tunnel != 0,
            false => self.caps.Transport != 0,
        };
        if !there || !self.has_udp(udp_esp) {
            return Vec::new();
        }
        let outer = match tunnel {
            true => self.families().into_iter().map(Some).collect(),
            false => vec![None],
        };
        let mut rows = Vec::new();
        for protection in protections {
            for esn in self.esns(*protection) {
                for family in self.families() {
                    for tunnel in &outer {
                        rows.push(Row {
                            family,
                            portions: vec![Portion {
                                protection: *protection,
                                tunnel: *tunnel,
                                udp_esp,
                                esn,
                            }],
                        });
                    }
                }
            }
        }
        rows
    }

    /// Of a bundle each header by itself.
    fn esns(&self, protection: Protection) -> Vec<Esn> {
        if protection.esp.is_none() || protection.ah.is_none() {
            return self.esn().into_iter().map(Esn::both).collect();
        }
        let pairs = self.esn().into_iter().flat_map(|esp| {
            let each = self.esn().into_iter();
            each.map(move |ah| Esn { esp, ah })
        });
        pairs.collect()
    }

    /// Transport over tunnel: every pair, every family, and ESN.
    fn nested(&self, inner: &[Protection], outer: &[Protection], udp_esp: UdpEsp) -> Vec<Row> {
        if self.caps.TransportTunnelCombined == 0 || !self.has_udp(udp_esp) {
            return Vec::new();
        }
        let mut rows = Vec::new();
        for within in inner {
            for around in outer {
                for family in self.families() {
                    for tunnel in self.families() {
                        for esn in self.esn() {
                            let portion = |protection: Protection, tunnel, esn| Portion {
                                protection,
                                tunnel,
                                udp_esp: subtype(protection, *within, udp_esp),
                                esn: Esn::both(esn),
                            };
                            // The two SAs have ESN or not in all four ways: the inner one changes
                            // with the outer family too.
                            let inner_esn = esn ^ (tunnel == Family::V6 && self.esn().len() == 2);
                            rows.push(Row {
                                family,
                                portions: vec![
                                    portion(*within, None, inner_esn),
                                    portion(*around, Some(tunnel), esn),
                                ],
                            });
                        }
                    }
                }
            }
        }
        rows
    }

    /// All groups. With `legacy` the rows that have an algorithm which `LegacyAlgorithms` turns
    /// on, otherwise those that have none. Legacy SAs are put into each other only.
    pub fn groups(&self, legacy: bool) -> Vec<Group> {
        let of_kind = |mut protections: Vec<Protection>| {
            protections.retain(|protection| protection.is_legacy() == legacy);
            protections
        };
        let [esp, ah, bundles] = [self.esp(), self.ah(), self.bundles()].map(of_kind);
        let any = [esp.clone(), ah.clone(), of_kind(self.some_bundles())].concat();
        let single = |protections, tunnel, udp_esp| self.single(protections, tunnel, udp_esp);
        let none = UdpEsp::None;
        let (over_udp, udp_over) = (
            UdpEsp::TransportOverUdpTunnel,
            UdpEsp::UdpTransportOverTunnel,
        );
        [
            ("esp_transport", single(&esp, false, none)),
            ("esp_tunnel", single(&esp, true, none)),
            ("udp_esp_transport", single(&esp, false, UdpEsp::Transport)),
            ("udp_esp_tunnel", single(&esp, true, UdpEsp::Tunnel)),
            ("ah_transport", single(&ah, false, none)),
            ("ah_tunnel", single(&ah, true, none)),
            ("ah_over_esp_transport", single(&bundles, false, none)),
            ("ah_over_esp_tunnel", single(&bundles, true, none)),
            ("transport_over_tunnel", self.nested(&any, &any, none)),
            (
                "transport_over_udp_esp_tunnel",
                self.nested(&any, &esp, over_udp),
            ),
            (
                "udp_esp_transport_over_tunnel",
                self.nested(&esp, &any, udp_over),
            ),
        ]
        .map(|(name, rows)| Group { name, rows })
        .into()
    }
}

/// What an SA of a packet of this subtype is told. An SA with AH has no UDP-ESP (NumExtHdrs of
/// IPSEC_OFFLOAD_V2_ADD_SA), and around a packet without ESP the tunnel is of the subtype for that.
fn subtype(of: Protection, within: Protection, packet: UdpEsp) -> UdpEsp {
    match packet {
        _ if of.ah.is_some() => UdpEsp::None,
        UdpEsp::TransportOverUdpTunnel if within.esp.is_none() => UdpEsp::Tunnel,
        subtype => subtype,
    }
}
