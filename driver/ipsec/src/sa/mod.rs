//! Security associations: what was offloaded, and how it is found.

pub(crate) mod cache;
pub(crate) mod capabilities;
pub(crate) mod encapsulation;
pub(crate) mod lookup;
pub(crate) mod params;
mod select;

use alloc::boxed::Box;
use core::fmt;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use sa_table::{Handle, Keyed, MAX_KEYS};

use crate::ah::transform::AhTransform;
use crate::counters::{SaCounters, SaTally};
use crate::esn::{Exhausted, SequenceTracker};
use crate::esp::transform::{EspTransform, Sequence};
use encapsulation::Encapsulation;
use params::{Direction, Endpoints, Operation};

pub(crate) use select::build;

/// Names an offloaded SA: the number that goes into `OffloadHandle`. It is an index and
/// a generation, never an address; a stale or forged one is only ever not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SaHandle(pub(crate) Handle);

impl SaHandle {
    /// Takes any number as a handle. `None` for zero, which means "no SA".
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        match Handle::from_raw(raw) {
            Some(handle) => Some(Self(handle)),
            None => None,
        }
    }

    /// The number for `OffloadHandle`; never zero.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        self.0.to_raw()
    }
}

/// Why an SA was not added. Nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The parameters contradict each other or the documentation: no or too many
    /// associations, two in another order than ESP and AH, an SPI of zero, a key of the
    /// wrong length, an ICV length that is none, ESP without any authentication, AH with UDP
    /// encapsulation.
    /// `NDIS_STATUS_INVALID_PARAMETER`.
    InvalidParameter,
    /// The engine does not do this: see [`Capabilities`](crate::Capabilities).
    /// `NDIS_STATUS_NOT_SUPPORTED`.
    NotSupported,
    /// The table is full, or memory is short. `NDIS_STATUS_RESOURCES`.
    Resources,
}

/// Why an SA was not updated; all of them are `NDIS_STATUS_INVALID_PARAMETER`
/// (OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// No SA has this handle.
    NotFound,
    /// The SA has not this operation and SPI.
    Mismatch,
    /// The SA has no extended sequence numbers.
    NotExtended,
    /// A sending SA would use sequence numbers, and with them IVs, again.
    Backwards,
}

/// There was no packet of the SA yet.
const UNKNOWN_MODE: u8 = 0;
const TRANSPORT: u8 = 1;
const TUNNEL: u8 = 2;

/// One offloaded SA: ESP, AH, or the bundle of both, ESP within AH.
pub(crate) struct Sa {
    pub direction: Direction,
    pub endpoints: Endpoints,
    pub encapsulation: Encapsulation,
    pub esp: Option<Association<dyn EspTransform>>,
    pub ah: Option<Association<dyn AhTransform>>,
    pub tally: SaTally,
    /// The mode of the last authentic packet. It is what is known of the mode of a packet whose
    /// trailer cannot be read: ADD_SA has no member for it, and the outermost header of both
    /// modes is the same.
    mode: AtomicU8,
    /// When a packet was received on it last, or when it was added: see [`Engine::now`].
    ///
    /// [`Engine::now`]: crate::Engine::now
    used: AtomicU64,
    /// The table is nearly full, and this SA was idle: its deletion is to be asked for.
    displaced: AtomicBool,
}

/// One protocol of an SA.
pub(crate) struct Association<T: ?Sized> {
    pub spi: u32,
    pub sequence: SequenceTracker,
    /// Chosen once, so that packets need not ask for the algorithm.
    pub transform: Box<T>,
}

impl<T: ?Sized> Association<T> {
    /// The number of the first of `count` packets to be sent.
    pub(crate) fn outbound(&self, low: u32, count: NonZeroU32) -> Result<Sequence, Exhausted> {
        Ok(Sequence {
            number: self.sequence.outbound(low, count)?,
            extended: self.sequence.extended(),
        })
    }

    /// The number that a received packet most likely has.
    pub(crate) fn inbound(&self, low: u32) -> Sequence {
        Sequence {
            number: self.sequence.inbound(low),
            extended: self.sequence.extended(),
        }
    }

    /// Whether only a sixteenth of the sequence numbers is left after this one.
    fn nearly_exhausted(&self, number: u64) -> bool {
        let left = if self.sequence.extended() {
            !number >> 32
        } else {
            u64::from(u32::MAX).saturating_sub(number)
        };
        left < SEQUENCE_RESERVE
    }
}

impl fmt::Debug for Sa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sa")
            .field("direction", &self.direction)
            .field("endpoints", &self.endpoints)
            .field("operation", &self.operation())
            .field("spi", &self.spi())
            .finish_non_exhaustive()
    }
}

/// Ask for the deletion of an SA of whose sequence numbers only a sixteenth is left: 2^28
/// of 2^32, or 2^28 wraps of the low half of 2^64.
const SEQUENCE_RESERVE: u64 = 1 << 28;

impl Sa {
    pub(crate) fn counters(&self) -> SaCounters {
        self.tally.read()
    }

    /// A packet was received on this SA.
    #[inline]
    pub(crate) fn touch(&self, now: u64) {
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// An authentic packet had this mode.
    #[inline]
    pub(crate) fn learn_mode(&self, tunnel: bool) {
        let mode = if tunnel { TUNNEL } else { TRANSPORT };
        if self.mode.load(Ordering::Relaxed) != mode {
            self.mode.store(mode, Ordering::Relaxed);
        }
    }

    /// Whether it is taken to be in tunnel mode: before there was a packet, the UDP-ESP subtype
    /// says so.
    pub(crate) fn is_tunnel(&self) -> bool {
        match self.mode.load(Ordering::Relaxed) {
            UNKNOWN_MODE => self.encapsulation.says_tunnel(),
            mode => mode == TUNNEL,
        }
    }

    /// Whether its packets were seen to be in tunnel mode.
    pub(crate) fn was_tunnel(&self) -> bool {
        self.mode.load(Ordering::Relaxed) == TUNNEL
    }

    /// When it was used last.
    pub(crate) fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn displace(&self) {
        self.displaced.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Whether the transport should replace this SA: its sequence numbers or the volume
    /// that its cipher may protect come to an end, or its place is needed.
    #[inline]
    pub(crate) fn wants_deletion(&self, esp: Option<u64>, ah: Option<u64>, bytes: u64) -> bool {
        let esp = self.esp.as_ref().zip(esp).is_some_and(|(esp, number)| {
            esp.nearly_exhausted(number) || bytes >= esp.transform.volume_limit()
        });
        let ah = self.ah.as_ref().zip(ah);
        esp || ah.is_some_and(|(ah, number)| ah.nearly_exhausted(number))
            || self.displaced.load(Ordering::Relaxed)
    }

    /// The outermost protocol: what a packet of the SA shows first.
    pub(crate) fn operation(&self) -> Operation {
        match self.ah {
            Some(_) => Operation::Ah,
            None => Operation::Esp,
        }
    }

    /// The SPI of the outermost protocol.
    pub(crate) fn spi(&self) -> u32 {
        let ah = self.ah.as_ref().map(|ah| ah.spi);
        let esp = self.esp.as_ref().map(|esp| esp.spi);
        ah.or(esp).unwrap_or(0)
    }

    /// Whether its packets begin with this: a bundle has two SPIs, and only that of AH is
    /// outermost (RFC 4301 section 4.1: an SPI may be of one protocol only).
    pub(crate) fn shows(&self, operation: Operation, spi: u32) -> bool {
        self.operation() == operation && self.spi() == spi
    }

    /// SPI and sequence numbers of one of its protocols.
    pub(crate) fn association(&self, operation: Operation) -> Option<(u32, &SequenceTracker)> {
        match operation {
            Operation::Esp => self.esp.as_ref().map(|esp| (esp.spi, &esp.sequence)),
            Operation::Ah => self.ah.as_ref().map(|ah| (ah.spi, &ah.sequence)),
        }
    }
}

impl Keyed for Sa {
    /// Received packets find their SA by SPI, that of a bundle by either, so that one of its
    /// protocols alone is reported as a mismatch; sent ones bring the handle.
    fn keys(&self) -> [Option<u32>; MAX_KEYS] {
        match self.direction {
            Direction::Inbound => {
                let ah = self.ah.as_ref().map(|ah| ah.spi);
                let esp = self.esp.as_ref().map(|esp| esp.spi);
                [ah, esp.filter(|esp| ah != Some(*esp))]
            }
            Direction::Outbound => [None, None],
        }
    }
}
