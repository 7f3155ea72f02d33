//! Packets that went in the clear, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{packet::Layout, policy::Clear, sas::Sa, words::count};

/// So many pairs of addresses are named.
const NAMED: usize = 3;

/// Packets in the clear, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InClear {
    /// How many for each reason.
    pub reasons: BTreeMap<Clear, usize>,
    /// Of the packets that no SA takes, the addresses.
    pub without_sa: BTreeSet<(IpAddr, IpAddr)>,
}

impl InClear {
    /// Counts a packet.
    pub fn note(&mut self, reason: Clear, frame: &[u8]) {
        *self.reasons.entry(reason).or_default() += 1;
        if let (Clear::NoSa, Ok(layout)) = (reason, Layout::of(frame)) {
            self.without_sa.insert((layout.source, layout.destination));
        }
    }

    /// How many there are.
    pub fn packets(&self) -> usize {
        self.reasons.values().sum()
    }

    /// A line for each reason; `sas` are those that there were.
    pub fn lines(&self, sas: &[Sa]) -> Vec<String> {
        let line = |(reason, number): (&Clear, &usize)| match reason {
            Clear::NoSa => format!("{number:6}  {}", self.no_sa(sas)),
            reason => format!("{number:6}  {reason}"),
        };
        self.reasons.iter().map(line).collect()
    }

    fn no_sa(&self, sas: &[Sa]) -> String {
        if !sas.iter().any(|sa| sa.direction.is_outbound()) {
            return match sas {
                [] => "there are no SAs".to_owned(),
                _ => "no SA is for sending: the direction of each is inbound".to_owned(),
            };
        }
        let named = self.without_sa.iter().take(NAMED);
        let named: Vec<_> = named.map(|(from, to)| format!("{from} > {to}")).collect();
        let more = match self.without_sa.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {}", count(more, "other pair")),
        };
        format!("no SA takes them: {}{more}", named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sas::SaFile, synthetic};

    /// UDP over IPv4, from another host each time.
    fn from_host(last: u8) -> Vec<u8> {
        let mut frame = synthetic::udp_v4(100).unwrap();
        frame[29] = last;
        frame
    }

    fn sas(direction: &str) -> Vec<Sa> {
        let text = format!(
            r#"{{ "version": 1, "sas": [ {{ "name": "a", "direction": "{direction}", "source": "192.0.2.99",
                 "ah": {{ "spi": 256, "authentication": {{ "algorithm": "hmac-sha-1-96", "key": "00" }} }} }} ] }}"#
        );
        SaFile::parse(&text).unwrap().sas
    }

    #[test]
    fn every_reason_is_counted_and_addresses_without_an_sa_are_named() {
        let mut clear = InClear::default();
        assert_eq!(clear.lines(&[]), [""; 0]);
        clear.note(Clear::Multicast, &from_host(1));
        for host in [1, 1, 2, 3] {
            clear.note(Clear::NoSa, &from_host(host));
        }
        assert_eq!(clear.packets(), 5);
        let lines = clear.lines(&sas("both"));
        let [multicast, without] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(multicast, "     1  multicast");
        let named = "     4  no SA takes them: 192.0.2.1 > 192.0.2.2, 192.0.2.2 > 192.0.2.2, 192.0.2.3 > 192.0.2.2";
        assert_eq!(without, named);
        clear.note(Clear::NoSa, &from_host(4));
        let lines = clear.lines(&sas("outbound"));
        assert_eq!(lines[1], named.replace('4', "5") + " and 1 other pair");
        clear.note(Clear::NoSa, &from_host(5));
        assert!(clear.lines(&sas("both"))[1].ends_with(" and 2 other pairs"));

        assert_eq!(clear.lines(&[])[1], "     6  there are no SAs");
        assert_eq!(
            clear.lines(&sas("inbound"))[1],
            "     6  no SA is for sending: the direction of each is inbound"
        );
    }
}
