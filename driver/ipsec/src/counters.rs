//! Counters of the engine and of one SA.

use core::sync::atomic::{AtomicU64, Ordering};

/// What one SA has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounters {
    /// Packets sealed, or found authentic.
    pub packets: u64,
    /// Bytes of ESP payload in them, padding and trailer included.
    pub bytes: u64,
    /// Received packets with a wrong ICV.
    pub authentication_failures: u64,
    /// Received packets whose lengths or trailer do not fit.
    pub syntax_errors: u64,
}

/// What the engine has done with packets, over all SAs, past and present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sealed.
    pub sealed: u64,
    /// Bytes of ESP payload in them.
    pub sealed_bytes: u64,
    /// Packets that could not be sealed.
    pub seal_errors: u64,
    /// Packets opened: decrypted and authentic.
    pub opened: u64,
    /// Bytes of ESP payload in them.
    pub opened_bytes: u64,
    /// Packets with a wrong ICV.
    pub authentication_failures: u64,
    /// Packets that an SA matched, and whose lengths or trailer do not fit.
    pub syntax_errors: u64,
    /// Packets that only an SA for the other IPsec protocol matched.
    pub protocol_mismatches: u64,
    /// Packets with AH behind a header that the engine cannot account for.
    pub unsupported_headers: u64,
    /// Packets with an IPsec header that no SA matched.
    pub no_sa: u64,
    /// Fragments, of whatever protocol.
    pub fragments: u64,
}

/// The live counters behind [`SaCounters`].
#[derive(Debug, Default)]
pub(crate) struct SaTally {
    packets: AtomicU64,
    bytes: AtomicU64,
    authentication_failures: AtomicU64,
    syntax_errors: AtomicU64,
}

impl SaTally {
    /// Returns the bytes up to and with these.
    pub(crate) fn add(&self, counters: &SaCounters) -> u64 {
        self.packets.fetch_add(counters.packets, Ordering::Relaxed);
        if counters.authentication_failures != 0 {
            self.authentication_failures
                .fetch_add(counters.authentication_failures, Ordering::Relaxed);
        }
        if counters.syntax_errors != 0 {
            self.syntax_errors
                .fetch_add(counters.syntax_errors, Ordering::Relaxed);
        }
        self.bytes
            .fetch_add(counters.bytes, Ordering::Relaxed)
            .saturating_add(counters.bytes)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> SaCounters {
        SaCounters {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            authentication_failures: self.authentication_failures.load(Ordering::Relaxed),
            syntax_errors: self.syntax_errors.load(Ordering::Relaxed),
        }
    }
}

impl Tally {
    /// Packets opened so far.
    #[inline]
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

macro_rules! tally {
    ($($field:ident),* $(,)?) => {
        /// The live counters behind [`Counters`]. A burst counts for itself and adds up once.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $($field: AtomicU64,)*
        }

        impl Tally {
            pub(crate) fn add(&self, counters: &Counters) {
                $(if counters.$field != 0 {
                    self.$field.fetch_add(counters.$field, Ordering::Relaxed);
                })*
            }

            pub(crate) fn read(&self) -> Counters {
                Counters {
                    $($field: self.$field.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

tally!(
    sealed,
    sealed_bytes,
    seal_errors,
    opened,
    opened_bytes,
    authentication_failures,
    syntax_errors,
    protocol_mismatches,
    unsupported_headers,
    no_sa,
    fragments,
);
