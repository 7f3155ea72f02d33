//! The NDIS half of the machine: what the documentation says NDIS does for a
//! miniport driver, on the types of `ndis-sys`, as a current Windows does it for
//! drivers that register with NDIS 6.0 to 6.85.
//!
//! A test or a transport loads a driver as a [`Miniport`], adds an [`Adapter`]
//! and binds a [`Protocol`] to it, which gives an [`Open`] to send, to make OID
//! requests and to return received packets. The driver's conduct is checked at
//! every call in either direction against [`rules`].

mod adapter;
mod attributes;
mod block;
mod calls;
mod configuration;
mod control;
mod driver;
mod generic_object;
pub mod header;
mod ipsec_offload_v2;
mod ipsec_request;
mod ipsec_words;
mod lifecycle;
mod link;
mod memory;
mod miniport;
mod misc;
mod nbl;
mod nbl_context;
mod nbl_pool;
mod net_buffer;
mod offload;
mod offload_config;
mod offload_keywords;
mod oid;
mod oid_answers;
mod oid_block;
mod oid_checks;
mod oid_path;
mod operation;
mod pool;
mod prepared;
mod protocol;
mod receive;
mod received;
mod reset;
pub mod rules;
mod send;
mod send_buffer;
mod state;
mod status;
mod sync;
mod timer;
mod watch;
mod work_item;

use thiserror::Error as ThisError;

pub use adapter::{Adapter, AdapterConfig, AdapterState};
pub use control::PowerState;
pub use header::Version;
pub use miniport::{LeakReport, Miniport, Package};
pub use misc::ErrorLogEntry;
pub use offload::{Offload, Offloads};
pub use oid::{OidKind, OidRequest, OidResult, PendingOid};
pub use prepared::{PreparedNbl, SentNbl};
pub use protocol::{BindParameters, Collector, NdisLinkState, Open, Protocol, SendOptions};
pub use received::{Frame, ReceivedNbl};
pub use send_buffer::{SendNb, SendNbl};
pub use state::State;
pub use status::StatusIndication;
pub use work_item::BusyWorkers;

use crate::{driver::LoadError, exports::Export, inf::InfError, report::BugCheck};

/// Why an operation of NDIS failed.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The machine was stopped by a violation.
    #[error("{0}")]
    BugCheck(#[from] BugCheck),
    /// The miniport failed the operation with this NDIS_STATUS.
    #[error("the miniport failed with status {0:#010x}")]
    Status(i32),
    /// The operation does not apply to the adapter's state.
    #[error("the adapter is {adapter}, the operation needs {wanted}")]
    State {
        /// The adapter's state.
        adapter: AdapterState,
        /// What the operation is for.
        wanted: &'static str,
    },
    /// The INF is wrong.
    #[error("{0}")]
    Inf(#[from] InfError),
    /// The driver could not be loaded.
    #[error("{0}")]
    Load(LoadError),
    /// DriverEntry succeeded without NdisMRegisterMiniportDriver.
    #[error("the driver did not register as a miniport driver")]
    NotMiniport,
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::BugCheck(check) => Self::BugCheck(check),
            other => Self::Load(other),
        }
    }
}

impl Error {
    /// The bug check, if that is what it is.
    #[must_use]
    pub fn bug_check(&self) -> Option<&BugCheck> {
        match self {
            Self::BugCheck(check) => Some(check),
            _ => None,
        }
    }
}

/// What `NDIS.SYS` exports.
#[must_use]
pub fn exports() -> Vec<Export> {
    [
        driver::exports(),
        generic_object::exports(),
        sync::exports(),
        attributes::exports(),
        configuration::exports(),
        lifecycle::exports(),
        memory::exports(),
        misc::exports(),
        nbl_context::exports(),
        nbl_pool::exports(),
        net_buffer::exports(),
        oid_path::exports(),
        pool::exports(),
        receive::exports(),
        reset::exports(),
        send::exports(),
        status::exports(),
        timer::exports(),
        work_item::exports(),
    ]
    .concat()
}
