//! A run in which one thing may fail.

use std::{fmt, sync::Arc};

use ndis_sim::{LoadError, Machine, inject::Place, ndis::Error};
use tcpip::lab::status_name;

/// One run from DriverEntry to unload.
pub struct Run {
    pub machine: Arc<Machine>,
}

impl Run {
    pub fn found(&self) -> Option<Place> {
        self.machine.faults().found()
    }

    /// What fails now, if it is this that failed.
    pub fn failed_since(&self, before: bool) -> Option<Place> {
        self.machine
            .settle()
            .unwrap_or_else(|check| panic!("after {:?}: {check}", self.found()));
        self.found().filter(|_| !before)
    }

    /// Does something that may fail with one of these statuses when the fault falls into it, and goes
    /// well when it is done again.
    pub fn step<T>(
        &self,
        what: &str,
        statuses: &[i32],
        mut attempt: impl FnMut() -> Result<T, i32>,
    ) -> T {
        let before = self.found().is_some();
        let result = attempt();
        let place = self.failed_since(before);
        match (result, place) {
            (Ok(value), _) => value,
            (Err(status), None) => panic!("{what}: {} for no reason", status_name(status)),
            (Err(status), Some(place)) => {
                let name = status_name(status);
                assert!(statuses.contains(&status), "{what}: {name} after {place}");
                attempt().unwrap_or_else(|status| {
                    panic!("{what} again: {} after {place}", status_name(status))
                })
            }
        }
    }

    /// Something in which nothing can fail.
    pub fn sure<T, E: fmt::Display>(
        &self,
        what: &str,
        attempt: impl FnOnce() -> Result<T, E>,
    ) -> T {
        let before = self.found().is_some();
        let result = attempt();
        let value =
            result.unwrap_or_else(|error| panic!("{what} after {:?}: {error:#}", self.found()));
        assert_eq!(self.failed_since(before), None, "something fails in {what}");
        value
    }
}

/// The status in an error; anything else ends the test.
pub fn status_of(run: &Run, error: &anyhow::Error) -> i32 {
    match error.downcast_ref::<Error>() {
        Some(Error::Status(status)) => *status,
        Some(Error::Load(LoadError::Entry { status, findings })) => {
            assert_eq!(*findings, [], "left behind after {:?}", run.found());
            *status as i32
        }
        _ => panic!("after {:?}: {error:#}", run.found()),
    }
}
