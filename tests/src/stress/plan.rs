//! What a seed decides before anything runs.

use crate::{flow::Flows, kinds::Kind, switch::VERSIONS};

/// Flows from one station to another.
pub const FLOWS: usize = 4;

/// What watches the memory that the driver allocates.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// Guard bytes, and what is freed is looked at later: the fastest.
    Guarded,
    /// Special pool.
    Special,
    /// Special pool that is fenced in front.
    VerifyStart,
}

/// The choices of a schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Threads take turns, in an order of the seed's; else they run as the host lets them.
    pub in_turns: bool,
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
    /// Links follow the other adapters: they go down when the last one goes.
    pub follows: bool,
    /// Direct requests are made on processors on which nobody sends.
    pub apart: bool,
    /// With what probability calls fail that may fail, once everything has begun.
    pub failures: Option<f64>,
    /// What watches over freed memory and the ends of blocks.
    pub pool: Pool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let stations = random.usize(2..=4);
        Self {
            seed,
            // Of the others the host decides: two processors at the same data at the same moment.
            in_turns: !seed.is_multiple_of(4),
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
            follows: random.u8(..3) == 0,
            apart: random.bool(),
            failures: match random.u8(..12) {
                0 => Some(0.05),
                1 => Some(0.01),
                2 => Some(0.002),
                _ => None,
            },
            pool: match random.u8(..8) {
                0..4 => Pool::Guarded,
                4..7 => Pool::Special,
                _ => Pool::VerifyStart,
            },
        }
    }

    /// A processor for what transports send, and so mostly for what they receive.
    pub fn data_processor(&self, random: &mut fastrand::Rng) -> usize {
        let count = if self.apart {
            self.processors.div_ceil(2)
        } else {
            self.processors
        };
        random.usize(..count)
    }

    /// A processor for direct requests.
    pub fn request_processor(&self, random: &mut fastrand::Rng) -> usize {
        let first = if self.apart { self.processors / 2 } else { 0 };
        random.usize(first..self.processors)
    }

    /// The address of a station.
    pub fn mac(station: usize) -> [u8; 6] {
        [2, 0, 0, 0, 1, station as u8]
    }

    /// Whether a station only listens.
    pub fn is_tap(&self, station: usize) -> bool {
        self.tap && station + 1 == self.stations
    }

    /// Where a flow goes from and to: every ordered pair of stations has [`FLOWS`].
    pub fn route(&self, flow: usize) -> (usize, usize) {
        let pair = flow / FLOWS;
        let (from, to) = (pair / (self.stations - 1), pair % (self.stations - 1));
        (from, if to < from { to } else { to + 1 })
    }

    /// Of each ordered pair of stations, one flow without an SA, one whose extended sequence numbers wrap
    /// soon, and others of any kind.
    pub fn flows(&self) -> Flows {
        let mut random = fastrand::Rng::with_seed(self.seed ^ 0xf10e);
        let mut kinds = Kind::usual();
        if self.switches {
            // What is not finished by the adapter cannot be told from what is wrong.
            kinds.retain(|kind| matches!(kind, Kind::Clear | Kind::Sealed(..)));
        }
        let mut sealed = kinds.clone();
        sealed.retain(|kind| matches!(kind, Kind::Sealed(..) | Kind::LargeSealed(..)));
        let count = self.stations * (self.stations - 1) * FLOWS;
        let flow = |index: usize| {
            let (from, to) = self.route(index);
            let longest = [0, 64, 600, 1200][random.usize(..4)];
            let kind = match index % FLOWS {
                0 => Kind::Clear,
                1 => sealed[random.usize(..sealed.len())],
                _ => kinds[random.usize(..kinds.len())],
            };
            let (from, to) = (Self::mac(from), Self::mac(to));
            let flow = kind.flow(index as u32 + 1, from, to, random.bool(), longest);
            if index % FLOWS == 1 {
                flow.extended((random.u64(1..=3) << 32) - random.u64(40..400))
            } else {
                flow
            }
        };
        Flows((0..count).map(flow).collect())
    }
}
