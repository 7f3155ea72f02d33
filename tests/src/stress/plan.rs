//! What a seed decides before anything runs.

use tcpip::algorithm::Encryption;

use crate::{
    flow::{Flow, Flows},
    suites,
    switch::VERSIONS,
};

/// The choices of a schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Processors of the machine.
    pub processors: usize,
    /// The NDIS version that the driver registers with, as its registry value.
    pub version: u32,
    /// Adapters.
    pub stations: usize,
    /// The last adapter is promiscuous, and has no SAs.
    pub tap: bool,
    /// Threads that send, for each adapter.
    pub senders: usize,
    /// Calls of each of them.
    pub chains: usize,
    /// Administrators, and what each of them does.
    pub administrators: usize,
    /// Operations of each administrator.
    pub operations: usize,
    /// IPsec offload is switched off and on meanwhile.
    pub switches: bool,
    /// Live SAs are deleted and added again.
    pub renews: bool,
    /// Transports that keep some received lists for a while.
    pub holds: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let stations = random.usize(2..=4);
        Self {
            seed,
            // Seldom more than a processor group has.
            processors: match random.u8(..) {
                0 => 66,
                _ => random.usize(1..=5),
            },
            version: VERSIONS[random.usize(..VERSIONS.len())],
            stations,
            tap: stations > 2 && random.bool(),
            senders: random.usize(1..=2),
            chains: random.usize(4..=24),
            administrators: random.usize(0..=2),
            operations: random.usize(1..=8),
            switches: random.u8(..4) == 0,
            renews: random.bool(),
            holds: random.bool(),
        }
    }

    /// The address of a station.
    pub fn mac(station: usize) -> [u8; 6] {
        [2, 0, 0, 0, 1, station as u8]
    }

    /// Whether a station only listens.
    pub fn is_tap(&self, station: usize) -> bool {
        self.tap && station + 1 == self.stations
    }

    /// Where a flow goes from and to: every ordered pair of stations has three.
    pub fn route(&self, flow: usize) -> (usize, usize) {
        let pair = flow / 3;
        let (from, to) = (pair / (self.stations - 1), pair % (self.stations - 1));
        (from, if to < from { to } else { to + 1 })
    }

    /// Of each ordered pair of stations, one flow without an SA, one with, and one whose extended
    /// sequence numbers wrap soon.
    pub fn flows(&self) -> Flows {
        let mut random = fastrand::Rng::with_seed(self.seed ^ 0xf10e);
        let suites = suites();
        let count = self.stations * (self.stations - 1) * 3;
        let flow = |index: usize| {
            let (from, to) = self.route(index);
            let longest = [0, 64, 600, 1300][random.usize(..4)];
            let clear = Flow::clear(
                index as u32 + 1,
                Self::mac(from),
                Self::mac(to),
                random.bool(),
                longest,
            );
            match index % 3 {
                0 => clear,
                1 => clear.protected(suites[random.usize(..suites.len())], 16),
                _ => {
                    let wraps = (random.u64(1..=3) << 32) - random.u64(1..200);
                    clear.protected(Encryption::AesGcm128, 16).extended(wraps)
                }
            }
        };
        Flows((0..count).map(flow).collect())
    }
}
