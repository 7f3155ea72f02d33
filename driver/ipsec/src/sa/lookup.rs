//! The SA of a received packet: by SPI and destination, source, protocol and encapsulation.

use sa_table::{Ref, Table};

use super::Sa;
use super::encapsulation::Place;
use super::params::{Endpoints, Operation};
use crate::packet::Address;

/// What a received packet shows of its SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub spi: u32,
    pub operation: Operation,
    pub destination: Address,
    pub source: Address,
    /// A UDP header is in front of ESP.
    pub udp: bool,
    pub place: Place,
}

impl Selector {
    /// The SA that fits best: one of which it shows protocol and SPI before one of which it shows
    /// the SPI of another protocol (that one is there to be reported as a mismatch), then one that names the destination,
    /// then one that names the source.
    pub(crate) fn find<'a>(&self, table: &'a Table<Sa>) -> Option<Ref<'a, Sa>> {
        let mut best: Option<(Fit, Ref<'a, Sa>)> = None;
        for sa in table.lookup(self.spi) {
            let Some(fit) = self.fit(&sa) else {
                continue;
            };
            if best.as_ref().is_none_or(|(so_far, _)| fit > *so_far) {
                best = Some((fit, sa));
            }
        }
        best.map(|(_, sa)| sa)
    }

    fn fit(&self, sa: &Sa) -> Option<Fit> {
        if !sa.encapsulation.allows(self.udp, self.place) {
            return None;
        }
        let (destination, source) = match (&sa.endpoints, &self.destination, &self.source) {
            (
                Endpoints::V4 {
                    source,
                    destination,
                },
                Address::V4(to),
                Address::V4(from),
            ) => (names(destination, to)?, names(source, from)?),
            (
                Endpoints::V6 {
                    source,
                    destination,
                },
                Address::V6(to),
                Address::V6(from),
            ) => (names(destination, to)?, names(source, from)?),
            _ => return None,
        };
        Some(Fit {
            outermost: sa.shows(self.operation, self.spi),
            destination,
            source,
        })
    }
}

/// How well an SA fits; the greatest is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    outermost: bool,
    destination: bool,
    source: bool,
}

/// `Some(true)` if the SA names this address, `Some(false)` if it takes any.
fn names<const N: usize>(named: &[u8; N], actual: &[u8; N]) -> Option<bool> {
    if named == actual {
        Some(true)
    } else if named == &[0; N] {
        Some(false)
    } else {
        None
    }
}
