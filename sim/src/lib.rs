//! A user-mode Windows kernel for network drivers: maps a real kernel-mode
//! `.sys`, is its ntoskrnl, KMDF and NDIS, and checks its conduct at every call
//! in either direction.
//!
//! A [`Machine`] is one simulated computer. Its processors are host threads
//! with an emulated IRQL; [`Machine::run`] puts code on one of them. Code that
//! calls the driver goes through [`gate::call`]; the driver's imports come back
//! through thunks to the functions that [`exports`] lists. The first violation
//! of a documented rule stops the machine with a [`report::BugCheck`].

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

pub mod clock;
pub mod driver;
pub mod exports;
mod fence;
pub mod gate;
pub mod guarded;
pub mod history;
pub mod inf;
pub mod inject;
pub mod irql;
pub mod machine;
pub mod ndis;
pub mod ntos;
pub mod processor;
pub mod report;
mod schedule;
pub mod scope;
pub mod sync;
pub mod track;
mod turns;
pub mod wdf;

pub use driver::{Driver, LoadError};
pub use guarded::GuardedBuf;
pub use irql::Irql;
pub use machine::{Builder, Machine};
pub use report::{BugCheck, Finding, Report, Rule};
