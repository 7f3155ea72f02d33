//! The engine: the table of SAs and what is asked of it.

use core::sync::atomic::{AtomicU64, Ordering};

use sa_table::Table;

use crate::counters::{Counters, SaCounters, Tally};
use crate::inbound::{self, InboundBurst};
use crate::outbound::{OutboundBurst, SendError, SendRequest};
use crate::sa::capabilities::Capabilities;
use crate::sa::params::{Direction, Endpoints, Operation, SaParams};
use crate::sa::{self, AddError, Sa, SaHandle, UpdateError};
use crate::verdict::Verdict;
use ipsec_crypto::Simd;
use zeroize::Zeroize;

/// How an engine is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many SAs there can be at once, of both directions together.
    pub sa_capacity: u32,
    /// DES, Triple DES and MD5 are done too. They are broken, and are there because the
    /// interface names them.
    pub legacy_algorithms: bool,
}

/// There was not enough memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// One SA, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaInfo {
    /// Its handle.
    pub handle: SaHandle,
    /// Its direction.
    pub direction: Direction,
    /// Its addresses.
    pub endpoints: Endpoints,
    /// Its protocol; of a bundle AH, which is outside.
    pub operation: Operation,
    /// The SPI of that.
    pub spi: u32,
    /// What it has done.
    pub counters: SaCounters,
}

/// The IPsec engine of one adapter.
#[derive(Debug)]
pub struct Engine {
    pub(crate) table: Table<Sa>,
    pub(crate) tally: Tally,
    legacy_algorithms: bool,
    /// How many SAs were asked for: each has its own number, so that a key that comes again
    /// does not bring the IVs of CBC again.
    uses: AtomicU64,
}

impl Engine {
    /// Takes the memory for the table of SAs. IRQL <= DISPATCH_LEVEL.
    ///
    /// # Errors
    /// [`OutOfMemory`], also for a capacity above 2^20.
    pub fn try_new(config: Config) -> Result<Self, OutOfMemory> {
        let capacity = usize::try_from(config.sa_capacity).map_err(|_| OutOfMemory)?;
        Ok(Self {
            table: Table::try_new(capacity).map_err(|_| OutOfMemory)?,
            tally: Tally::default(),
            legacy_algorithms: config.legacy_algorithms,
            uses: AtomicU64::new(0),
        })
    }

    /// What the engine does.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let capacity = u32::try_from(self.table.capacity()).unwrap_or(u32::MAX);
        Capabilities::of_engine(capacity, self.legacy_algorithms)
    }

    /// Offloads an SA: OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA. Its keys are copied, set up
    /// and wiped when the SA goes. Packets may use it as soon as this returns.
    ///
    /// # Errors
    /// [`AddError`] names the status to complete with.
    pub fn add_sa(&self, simd: &Simd, params: &SaParams<'_>) -> Result<SaHandle, AddError> {
        let added = self.set_up(simd, params);
        wipe_stack();
        added
    }

    #[inline(never)]
    fn set_up(&self, simd: &Simd, params: &SaParams<'_>) -> Result<SaHandle, AddError> {
        let use_number = self.uses.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        let sa = sa::build(simd, params, self.legacy_algorithms, use_number, now)?;
        if self.table.len() >= nearly_full(self.table.capacity()) {
            self.displace_idle(now);
        }
        self.table
            .insert(sa)
            .map(SaHandle)
            .map_err(|_| AddError::Resources)
    }

    /// Takes an SA back: OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA. Does not wait: a packet
    /// that is using the SA finishes first, and the keys are wiped by whoever is last.
    /// `false` if there is no such SA.
    pub fn delete_sa(&self, handle: SaHandle) -> bool {
        self.table.remove(handle.0)
    }

    /// Takes all SAs back that are there now.
    pub fn delete_all(&self) {
        self.table.remove_all();
    }

    /// Sets the high half of an SA's sequence number:
    /// OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA.
    ///
    /// # Errors
    /// [`UpdateError`]; the SA is as it was.
    pub fn update_sa(
        &self,
        handle: SaHandle,
        operation: Operation,
        spi: u32,
        sequence_number_high: u32,
    ) -> Result<(), UpdateError> {
        let sa = self.table.acquire(handle.0).ok_or(UpdateError::NotFound)?;
        let (_, sequence) = sa
            .association(operation)
            .filter(|(named, _)| *named == spi)
            .ok_or(UpdateError::Mismatch)?;
        if !sequence.extended() {
            return Err(UpdateError::NotExtended);
        }
        sequence
            .update(sequence_number_high, sa.direction == Direction::Inbound)
            .map_err(|_| UpdateError::Backwards)
    }

    /// Begins a burst of packets to send.
    #[must_use]
    pub fn outbound<'a>(&'a self, simd: &'a Simd) -> OutboundBurst<'a> {
        OutboundBurst::new(self, simd)
    }

    /// A look at a received packet that needs no [`Simd`]: `false` means that
    /// [`InboundBurst::open`] would leave it alone whatever its SA, so that a burst with
    /// no such packet needs no bracket.
    #[must_use]
    pub fn is_candidate(&self, packet: &[u8]) -> bool {
        !self.table.is_empty() && inbound::is_candidate(packet)
    }

    /// Begins a burst of received packets.
    #[must_use]
    pub fn inbound<'a>(&'a self, simd: &'a Simd) -> InboundBurst<'a> {
        InboundBurst::new(self, simd)
    }

    /// [`OutboundBurst::seal`] for a single packet.
    ///
    /// # Errors
    /// As there.
    pub fn seal(
        &self,
        simd: &Simd,
        request: &SendRequest,
        packet: &mut [u8],
    ) -> Result<(), SendError> {
        self.outbound(simd).seal(request, packet)
    }

    /// [`InboundBurst::open`] for a single packet.
    pub fn open(&self, simd: &Simd, packet: &mut [u8]) -> Verdict {
        self.inbound(simd).open(packet)
    }

    /// How many SAs there are.
    #[must_use]
    pub fn sa_count(&self) -> usize {
        self.table.len()
    }

    /// All SAs. One that is added or deleted meanwhile may be missed.
    pub fn sas(&self) -> impl Iterator<Item = SaInfo> + '_ {
        self.table.iter().map(|sa| SaInfo {
            handle: SaHandle(sa.handle()),
            direction: sa.direction,
            endpoints: sa.endpoints,
            operation: sa.operation(),
            spi: sa.spi(),
            counters: sa.counters(),
        })
    }

    /// What was done so far. A burst is counted when it ends.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tally.read()
    }

    /// The time by which idle SAs are told from busy ones: packets opened by the bursts that have
    /// ended. The engine has no clock, and only an order is needed.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.tally.opened()
    }

    /// Marks the inbound SA that was used least recently, so that its next packet asks for its
    /// deletion (`SaDeleteReq`). One that was added or used since any other's packet is not idle.
    fn displace_idle(&self, now: u64) {
        let inbound = self.table.iter().filter(|sa| {
            sa.direction == Direction::Inbound && !sa.is_displaced() && sa.last_used() < now
        });
        if let Some(sa) = inbound.min_by_key(|sa| sa.last_used()) {
            sa.displace();
        }
    }
}

/// Clears the stack below the caller as far as setting keys up has used it. A key schedule is
/// moved several times before it is where it stays, and moving leaves a copy behind.
#[inline(never)]
fn wipe_stack() {
    let mut used = [0_u64; STACK_OF_SET_UP / size_of::<u64>()];
    used.zeroize();
}

/// As much as [`Engine::set_up`] uses. The key set-up of Triple DES goes deepest, and leaves copies
/// 7.4 KiB below.
const STACK_OF_SET_UP: usize = 8 << 10;

/// From seven eighths of the capacity on, idle SAs are asked to go.
fn nearly_full(capacity: usize) -> usize {
    capacity.saturating_sub(capacity >> 3)
}
