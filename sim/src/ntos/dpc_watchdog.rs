//! The watchdog over DPCs that follow each other on a processor. Windows counts clock ticks; here it is
//! the DPCs that are counted, so that a test comes out alike on every host. No driver can tell: the
//! figures are "dimensionless" (KDPC_WATCHDOG_INFORMATION).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ndis_sys::{KDPC_WATCHDOG_INFORMATION, NTSTATUS, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};

use crate::{
    exports::{Export, NTOSKRNL},
    irql::Irql,
    processor,
    report::{rules, violation},
};

/// What a single DPC may take: `dispatch_limit` of [`Builder`](crate::Builder) sees to that.
const DPC_TIME_LIMIT: u32 = 0x500;
/// As many as fill two minutes, what Windows allows, when each takes the 100 microseconds that it asks for.
const DEFAULT_LIMIT: u32 = 1_200_000;

/// The watchdog of a machine.
pub struct DpcWatchdog {
    limit: AtomicU32,
    /// What it says is left, at most.
    left_at_most: AtomicU32,
    longest: AtomicU32,
    queries: AtomicU64,
}

impl Default for DpcWatchdog {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(DEFAULT_LIMIT),
            left_at_most: AtomicU32::new(u32::MAX),
            longest: AtomicU32::new(0),
            queries: AtomicU64::new(0),
        }
    }
}

impl DpcWatchdog {
    /// Stops the machine for a series of more than `dpcs` DPCs; `None` switches the watchdog off, and
    /// drivers are told so.
    pub fn limit(&self, dpcs: Option<u32>) {
        self.limit.store(dpcs.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether drivers are told that no time is left, whatever was used. It is a lie: nothing stops.
    pub fn exhausted(&self, on: bool) {
        let most = if on { 0 } else { u32::MAX };
        self.left_at_most.store(most, Ordering::Relaxed);
    }

    /// The most DPCs that one processor has run without going below DISPATCH_LEVEL.
    pub fn longest_series(&self) -> u32 {
        self.longest.load(Ordering::Relaxed)
    }

    /// How often drivers have asked.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// The DPC of this number in its series is about to run.
    pub(crate) fn look(&self, series: u32) {
        self.longest.fetch_max(series, Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        if limit != 0 && series > limit {
            violation(
                rules::DPC_SERIES,
                format!(
                    "{limit} DPCs have run one after the other, and the IRQL was not below DISPATCH_LEVEL"
                ),
            );
        }
    }

    fn information(&self, series: u32, starved: bool) -> KDPC_WATCHDOG_INFORMATION {
        let limit = self.limit.load(Ordering::Relaxed);
        let most = if starved {
            0
        } else {
            self.left_at_most.load(Ordering::Relaxed)
        };
        KDPC_WATCHDOG_INFORMATION {
            DpcTimeLimit: DPC_TIME_LIMIT,
            DpcTimeCount: DPC_TIME_LIMIT,
            DpcWatchdogLimit: limit,
            DpcWatchdogCount: limit.saturating_sub(series).min(most),
            Reserved: 0,
        }
    }
}

unsafe extern "efiapi" fn ke_query_dpc_watchdog_information(
    information: *mut KDPC_WATCHDOG_INFORMATION,
) -> NTSTATUS {
    let cpu = processor::current();
    let watchdog = &cpu.machine().kernel().dpc_watchdog;
    watchdog.queries.fetch_add(1, Ordering::Relaxed);
    let series = cpu.processor().dpc_series();
    if series == 0 {
        return STATUS_UNSUCCESSFUL;
    }
    // SAFETY: the driver's KDPC_WATCHDOG_INFORMATION.
    unsafe { information.write(watchdog.information(series, cpu.thread().starves_dpcs())) };
    STATUS_SUCCESS
}

pub(super) fn exports() -> Vec<Export> {
    vec![
        Export::new(
            NTOSKRNL,
            "KeQueryDpcWatchdogInformation",
            ke_query_dpc_watchdog_information as *const (),
            1,
        )
        .exactly(Irql::DISPATCH),
    ]
}
