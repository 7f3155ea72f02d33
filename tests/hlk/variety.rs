//! SAs of all kinds in turn, for jobs that have many at once.

use tcpip::{
    algorithm::Authentication::{self, AesGmac128, AesGmac192, AesGmac256, HmacSha1, HmacSha256},
    plan::{Plan, PlanMode},
    policy::Keys,
    sas::{Sa, Spi},
};

use crate::{
    ipsec::{ah, ah_esp, esp, sas},
    packets::Hosts,
};

/// AH, ESP, and AH over ESP.
enum Kind {
    Ah(Authentication),
    Esp(&'static str),
    Both(Authentication, &'static str),
}

const KINDS: [Kind; 17] = [
    Kind::Ah(HmacSha1),
    Kind::Esp("aes-gcm-128"),
    Kind::Ah(AesGmac128),
    Kind::Esp("aes-gcm-192"),
    Kind::Both(AesGmac128, "aes-gcm-128"),
    Kind::Ah(AesGmac192),
    Kind::Esp("aes-gcm-256"),
    Kind::Ah(AesGmac256),
    Kind::Esp("null+hmac-sha-1-96"),
    Kind::Both(HmacSha1, "aes-cbc-128+hmac-sha-1-96"),
    Kind::Ah(HmacSha256),
    Kind::Esp("null+aes-gmac-128"),
    Kind::Esp("null+aes-gmac-192"),
    Kind::Both(HmacSha256, "null+none"),
    Kind::Esp("null+aes-gmac-256"),
    Kind::Esp("aes-cbc-256+hmac-sha-256-128"),
    Kind::Both(AesGmac256, "aes-gcm-256"),
];

/// The SA number `turn` between two hosts, in transport mode: keys and SPIs are no other number's.
pub fn sa(turn: u32, hosts: Hosts) -> Sa {
    let plan = match KINDS[turn as usize % KINDS.len()] {
        Kind::Ah(authentication) => ah(PlanMode::Transport, authentication),
        Kind::Esp(suite) => esp(PlanMode::Transport, suite),
        Kind::Both(authentication, suite) => ah_esp(PlanMode::Transport, authentication, suite),
    };
    let plan = Plan {
        keys: Keys::Seed(turn.into()),
        ..plan
    };
    let mut sa = sas(&plan, hosts).remove(0);
    if let Some(esp) = &mut sa.esp {
        esp.spi = Spi(0x2000_0000 + turn);
    }
    if let Some(ah) = &mut sa.ah {
        ah.spi = Spi(0x4000_0000 + turn);
    }
    sa
}
