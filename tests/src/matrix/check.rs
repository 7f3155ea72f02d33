//! Going through a row.

use anyhow::{Context, Result};
use rand_chacha::ChaCha20Rng;
use tcpip::{lab::NdisVersion, offload::Way};

use super::{
    bench::Bench,
    keys::{Keyed, generator},
    oracle::{By, Open, Oracle, Seal},
    report::Tally,
    row::Row,
    send::Ivs,
    sizes::Sizes,
};

/// Packets that are on their way at once.
const CHUNK: usize = 128;

/// How thoroughly rows are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Payloads.
    pub sizes: Sizes,
    /// At most so many forgeries of one packet, others for the next row.
    pub forgeries: usize,
    /// Every so many packets scapy is asked too, where it can; zero: never.
    pub scapy: usize,
}

/// The machine and the oracle.
pub struct Checker {
    /// The machine.
    pub bench: Bench,
    oracle: Oracle,
    seed: u64,
}

impl Checker {
    /// Starts a machine and an oracle.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(version: NdisVersion, legacy: bool, seed: u64) -> Result<Self> {
        Ok(Self {
            bench: Bench::start(version, legacy)?,
            oracle: Oracle::start()?,
            seed,
        })
    }

    /// Goes through a row: `index` makes it differ from others in sizes, layouts and keys.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn row(&mut self, index: usize, row: &Row, plan: &Plan) -> Result<Tally> {
        let mut run = Run {
            row,
            index,
            plan,
            seed: self.seed,
            bench: &self.bench,
            oracle: &mut self.oracle,
            tally: Tally::default(),
        };
        run.all()
            .with_context(|| format!("row {index}, seed {}: {row}", self.seed))?;
        run.tally.rows = 1;
        Ok(run.tally)
    }
}

/// What random numbers are for. Keys of the two ways differ: IVs of one never meet the other's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    KeysIn,
    KeysOut,
    Receive,
    Forge,
    Send,
}

/// One row on its way.
pub(super) struct Run<'a> {
    pub row: &'a Row,
    pub index: usize,
    pub plan: &'a Plan,
    pub seed: u64,
    pub bench: &'a Bench,
    pub oracle: &'a mut Oracle,
    pub tally: Tally,
}

impl Run<'_> {
    fn all(&mut self) -> Result<()> {
        let keys = |packets, purpose| {
            let mut rng = self.generator(purpose, 0);
            Keyed::new(self.row, packets, &mut rng)
        };
        let sizes = self
            .plan
            .sizes
            .of(self.index, self.row, &keys(0, Purpose::KeysIn)?);
        let inbound = keys(sizes.len(), Purpose::KeysIn)?;
        let outbound = keys(sizes.len(), Purpose::KeysOut)?;
        let chunks = || (0..).step_by(CHUNK).zip(sizes.chunks(CHUNK));

        let handles = self.bench.offload(&inbound.sas, Way::Inbound)?;
        for (first, sizes) in chunks() {
            self.receive(&inbound, first, sizes)?;
        }
        self.forge(&inbound, sizes.len())?;
        self.bench.delete(&handles, Way::Inbound)?;

        let handles = self.bench.offload(&outbound.sas, Way::Outbound)?;
        let mut ivs = Ivs::new();
        for (first, sizes) in chunks() {
            self.send(&outbound, &handles, first, sizes, &mut ivs)
                .context("sent")?;
        }
        self.bench.delete(&handles, Way::Outbound)
    }

    pub fn generator(&self, purpose: Purpose, first: usize) -> ChaCha20Rng {
        generator(self.seed, self.index, purpose as u8, first)
    }

    /// The packets, from number `first` on, that scapy is asked about.
    pub fn for_scapy(&self, first: usize, count: usize) -> Vec<usize> {
        let Plan { scapy, .. } = *self.plan;
        let wanted = |at: &usize| scapy > 0 && (self.index + first + at).is_multiple_of(scapy);
        let there = if scapy_can(self.row) { count } else { 0 };
        (0..there).filter(wanted).collect()
    }

    pub fn seal(&mut self, by: By, keyed: &Keyed, seal: &[Seal]) -> Result<Vec<Vec<Vec<u8>>>> {
        if seal.is_empty() {
            return Ok(Vec::new());
        }
        self.oracle
            .seal(by, &keyed.oracle, seal)
            .with_context(|| format!("{by:?} seals"))
    }

    pub fn open(
        &mut self,
        by: By,
        keyed: &Keyed,
        open: &[Open],
    ) -> Result<Vec<Result<Vec<u8>, String>>> {
        if open.is_empty() {
            return Ok(Vec::new());
        }
        self.oracle
            .open(by, &keyed.oracle, open)
            .with_context(|| format!("{by:?} opens"))
    }
}

/// Whether scapy has the algorithms of a row.
pub fn scapy_can(row: &Row) -> bool {
    row.portions.iter().all(|portion| {
        let (esp, ah) = (portion.protection.esp, portion.protection.ah);
        esp.is_none_or(|esp| !esp.encryption.is_gcm() || esp.gcm_icv_len == 16)
            && ah.is_none_or(|ah| !ah.is_gmac())
    })
}
