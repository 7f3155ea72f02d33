//! The SAs that `run` makes for a capture: the same kind for all of its packets.

use std::{collections::HashSet, net::IpAddr};

use anyhow::{Context, Result};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

pub use lab_options::shape::{PlanMode, Protocol, Shape, UdpPlace, Version};

use crate::{
    algorithm::{Authentication, Suite},
    policy::{Clear, Keys, Offers, eligible, spis},
    sas::{
        Ah, AuthenticationKey, Direction, EncryptionKey, Esp, Mode, Sa, SaFile, Selector, Spi,
        UdpEsp, max_overhead,
    },
};

/// What SAs to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Headers and modes.
    pub shape: Shape,
    /// Algorithms of ESP.
    pub suite: Suite,
    /// Bytes of ICV, if ESP is AES-GCM.
    pub icv_length: usize,
    /// Extended sequence numbers, from 2^32 + 1.
    pub esn: bool,
    /// Where the keys come from.
    pub keys: Keys,
}

/// The ends of the tunnels (addresses for documentation: RFC 5737, RFC 3849).
const GATEWAYS_V4: [[u8; 4]; 2] = [[203, 0, 113, 1], [203, 0, 113, 2]];
const GATEWAYS_V6: [u16; 8] = [0x2001, 0xDB8, 0xFFFF, 0, 0, 0, 0, 0];

impl Plan {
    /// Makes the SAs for the packets that can be protected, in order of appearance and at most as
    /// many as the adapter takes.
    ///
    /// # Errors
    ///
    /// When the members contradict each other, or the system has no random numbers.
    pub fn make<'a>(
        &self,
        frames: impl Iterator<Item = &'a [u8]>,
        offers: &Offers,
    ) -> Result<SaFile> {
        self.shape.check(self.suite)?;
        let mut pairs: Vec<(IpAddr, IpAddr)> = Vec::new();
        let mut foreign = HashSet::new();
        let tunnels = match self.shape.mode {
            PlanMode::Transport => 0,
            _ => 2,
        };
        for frame in frames {
            match eligible(frame, offers) {
                Ok(layout) => {
                    let pair = (layout.source, layout.destination);
                    if !pairs.contains(&pair) && pairs.len() + tunnels < offers.capacity {
                        pairs.push(pair);
                    }
                }
                Err(Clear::AlreadyIpsec) => foreign.extend(spis(frame)),
                Err(_) => {}
            }
        }

        let mut seed = [0; 32];
        let comment = match self.keys {
            Keys::Seed(number) => {
                seed[..8].copy_from_slice(&number.to_le_bytes());
                format!("keys made from the seed {number}: known to everybody, for tests only")
            }
            Keys::Random => {
                getrandom::fill(&mut seed).context("the system has no random numbers")?;
                "random keys".to_owned()
            }
        };
        let mut maker = Maker {
            plan: self,
            rng: ChaCha20Rng::from_seed(seed),
            foreign,
            next_spi: 0x1000_0001,
        };
        let mut sas = Vec::new();
        if self.shape.mode != PlanMode::Tunnel {
            for &pair in &pairs {
                sas.push(maker.transport(pair, &pairs));
            }
        }
        if self.shape.mode != PlanMode::Transport {
            for six in [false, true] {
                if pairs.iter().any(|(source, _)| source.is_ipv6() == six) {
                    sas.push(maker.tunnel(six));
                }
            }
        }
        let mut file = SaFile::new(sas, comment);
        if self.esn {
            file.extend_sequence_numbers();
        }
        Ok(file)
    }

    /// The most bytes that an SA of this plan adds to a packet.
    ///
    /// # Errors
    ///
    /// As [`Plan::make`].
    pub fn max_overhead(&self) -> Result<usize> {
        let address = |six: bool, last: u8| -> IpAddr {
            if six {
                [0, 0, 0, 0, 0, 0, 0, u16::from(last)].into()
            } else {
                [0, 0, 0, last].into()
            }
        };
        self.shape.check(self.suite)?;
        let mut maker = Maker {
            plan: self,
            rng: ChaCha20Rng::from_seed([0; 32]),
            foreign: HashSet::new(),
            next_spi: 0x100,
        };
        let mut sas = Vec::new();
        for six in [false, true] {
            if self.shape.mode != PlanMode::Tunnel {
                sas.push(maker.transport((address(six, 1), address(six, 2)), &[]));
            }
            if self.shape.mode != PlanMode::Transport {
                sas.push(maker.tunnel(six));
            }
        }
        Ok(max_overhead(&sas))
    }

    fn udp_esp(&self) -> UdpEsp {
        match (self.shape.udp_esp, self.shape.mode) {
            (None, _) => UdpEsp::None,
            (Some(_), PlanMode::Transport) => UdpEsp::Transport,
            (Some(_), PlanMode::Tunnel) => UdpEsp::Tunnel,
            (Some(UdpPlace::Outer), PlanMode::TransportOverTunnel) => {
                UdpEsp::TransportOverUdpTunnel
            }
            (Some(UdpPlace::Inner), PlanMode::TransportOverTunnel) => {
                UdpEsp::UdpTransportOverTunnel
            }
        }
    }
}

struct Maker<'a> {
    plan: &'a Plan,
    rng: ChaCha20Rng,
    /// SPIs that the capture already uses.
    foreign: HashSet<u32>,
    next_spi: u32,
}

fn name_of((source, destination): (IpAddr, IpAddr)) -> String {
    format!("{source} > {destination}")
}

fn tunnel_name(six: bool) -> String {
    format!("tunnel of IPv{}", if six { 6 } else { 4 })
}

impl Maker<'_> {
    fn transport(&mut self, pair: (IpAddr, IpAddr), pairs: &[(IpAddr, IpAddr)]) -> Sa {
        let (source, destination) = pair;
        let back = (destination, source);
        let in_tunnel = self.plan.shape.mode == PlanMode::TransportOverTunnel;
        Sa {
            source: Some(source),
            destination: Some(destination),
            tunnel: in_tunnel.then(|| tunnel_name(source.is_ipv6())),
            pair: pairs.contains(&back).then(|| name_of(back)),
            ..self.sa(name_of(pair), Mode::Transport)
        }
    }

    fn tunnel(&mut self, six: bool) -> Sa {
        let outer_six = match self.plan.shape.outer {
            None => six,
            Some(version) => version == Version::V6,
        };
        let end = |index: usize| -> IpAddr {
            if outer_six {
                let mut address = GATEWAYS_V6;
                address[7] = index as u16 + 1;
                address.into()
            } else {
                GATEWAYS_V4[index].into()
            }
        };
        let all = |six| {
            let text = if six { "::/0" } else { "0.0.0.0/0" };
            text.parse().expect("the prefix is right")
        };
        let selector = Selector {
            source: all(six),
            destination: all(six),
        };
        Sa {
            source: Some(end(0)),
            destination: Some(end(1)),
            // Those that carry SAs of their own take no other packets.
            selector: (self.plan.shape.mode == PlanMode::Tunnel).then_some(selector),
            ..self.sa(tunnel_name(six), Mode::Tunnel)
        }
    }

    /// An SA of the plan, without addresses.
    fn sa(&mut self, name: String, mode: Mode) -> Sa {
        let Shape { protocol, ah, .. } = self.plan.shape;
        Sa {
            name,
            direction: Direction::Both,
            mode,
            source: None,
            destination: None,
            ip_version: None,
            esp: (protocol != Protocol::Ah).then(|| self.esp()),
            ah: (protocol != Protocol::Esp).then(|| self.ah(ah)),
            udp_esp: self.plan.udp_esp(),
            udp_ports: None,
            selector: None,
            tunnel: None,
            pair: None,
        }
    }

    fn esp(&mut self) -> Esp {
        let Suite {
            encryption,
            authentication,
        } = self.plan.suite;
        Esp {
            spi: self.spi(),
            encryption: EncryptionKey {
                algorithm: encryption,
                key: self.bytes(encryption.key_len()),
                salt: self.bytes(encryption.salt_len()),
                icv_length: encryption.is_gcm().then_some(self.plan.icv_length),
            },
            authentication: authentication.map(|algorithm| self.authentication(algorithm)),
            esn: false,
            sequence: 1,
            sequence_high: 0,
        }
    }

    fn ah(&mut self, algorithm: Authentication) -> Ah {
        Ah {
            spi: self.spi(),
            authentication: self.authentication(algorithm),
            esn: false,
            sequence: 1,
            sequence_high: 0,
        }
    }

    fn authentication(&mut self, algorithm: Authentication) -> AuthenticationKey {
        AuthenticationKey {
            algorithm,
            key: self.bytes(algorithm.key_len()),
            salt: self.bytes(algorithm.salt_len()),
        }
    }

    /// Not 1 to 255 (RFC 4303 section 2.1), and none that the capture already uses.
    fn spi(&mut self) -> Spi {
        while self.foreign.contains(&self.next_spi) {
            self.next_spi += 1;
        }
        self.next_spi += 1;
        Spi(self.next_spi - 1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
