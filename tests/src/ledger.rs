//! What became of every packet that was sent.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ndis_sys::NDIS_STATUS_SUCCESS;

/// Every packet is entered once when it is sent, and once when it is completed.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: AtomicU64,
    completed: Mutex<HashMap<u64, i32>>,
}

/// The number that a packet bears while it is out.
pub fn cookie(flow: usize, number: u64) -> u64 {
    (flow as u64) << 40 | number
}

/// The flow in the number that a packet bears.
pub fn flow_of(cookie: u64) -> usize {
    (cookie >> 40) as usize
}

impl Ledger {
    /// Packets go out.
    pub fn sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// A packet came back.
    ///
    /// # Panics
    /// If it has before.
    pub fn completed(&self, cookie: u64, status: i32) {
        let mut completed = self
            .completed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = completed.insert(cookie, status);
        assert_eq!(before, None, "completed twice: {cookie:#x}");
    }

    /// The status with which a packet was completed, if it was.
    pub fn status(&self, flow: usize, number: u64) -> Option<i32> {
        let completed = self
            .completed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        completed.get(&cookie(flow, number)).copied()
    }

    /// Whether a packet was sent successfully.
    pub fn went_out(&self, flow: usize, number: u64) -> bool {
        self.status(flow, number) == Some(NDIS_STATUS_SUCCESS)
    }

    /// How many were sent, and the flow and status of each that was completed.
    pub fn close(&self) -> (u64, Vec<(usize, i32)>) {
        let completed = self
            .completed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = completed
            .iter()
            .map(|(cookie, status)| (flow_of(*cookie), *status))
            .collect();
        (self.sent.load(Ordering::Relaxed), all)
    }
}
