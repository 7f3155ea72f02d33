//! The loopback driver's imports, its state and the ways in which it errs.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use ndis_sim::processor;
use ndis_sys::{NDIS_HANDLE, NDIS_STATUS, NET_BUFFER_LIST};

/// What the driver does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    None,
    // Registration
    OldRevision,
    NoPauseHandler,
    HangWithoutReset,
    NoDeregister,
    DeregisterTwice,
    // Attributes
    GeneralFirst,
    NoGeneral,
    OtherMedium,
    OldGeneral,
    OldOffload,
    AttributesLate,
    InitializePends,
    // Objects
    LeakConfiguration,
    ReadClosed,
    NoTag,
    FreeTwice,
    LeakMemory,
    LeakMdl,
    FreeMdlTwice,
    LeakPool,
    FreePoolEarly,
    FreeListTwice,
    WriteBehindContext,
    LeakTimer,
    FreeSetTimer,
    PeriodicAtDispatch,
    LeakWorkItem,
    QueueTwice,
    FailAndLeak,
    BadHandle,
    NullPointer,
    // IRQL
    SleepAtDispatch,
    ConfigurationAtDispatch,
    CompleteAtDirql,
    StatusAtDirql,
    CompleteOidAtDirql,
    AllocateAtDirql,
    SetTimerAtDirql,
    // Life
    PauseFails,
    PauseEarly,
    PauseUnasked,
    RestartUnasked,
    RestartOdd,
    ResetUnasked,
    ResetOdd,
    IndicatePaused,
    StatusAfterHalt,
    // Sends
    CompleteTwice,
    OddStatus,
    DenyLink,
    ChangeData,
    ChangeLength,
    ChangeInfo,
    TellOfLargeSend,
    ChangeMdl,
    DispatchLie,
    KeepSend,
    KeepFirstSend,
    Overrun,
    ReadBehindSend,
    ReadBeforeSend,
    ReadBehindList,
    ReadCompletedSend,
    // Receives
    IndicateTwice,
    OtherSource,
    WrongCount,
    TouchIndicated,
    FreeIndicated,
    TooLong,
    BadOffset,
    IndicateSend,
    // OIDs
    ReturnOddPending,
    DeleteFails,
    CompleteOidTwice,
    CompleteReturned,
    DirectOnRegular,
    TooManyBytes,
    NeededTooSmall,
    WriteBeforeBuffer,
    ReadBehindBuffer,
    ReadBeforeBuffer,
    ReadBehindRequest,
    ReadCompletedOid,
    ReadBehindParameters,
    KeepOid,
    PnpInOid,
    // IPsec task offload version 2
    AddNoHandle,
    UpdateUnknown,
    UpdateUnknownOdd,
    UpdateForgets,
    AddFailedHandle,
    AddUnwritten,
    SendUnknownLength,
    ExcessChecksum,
    ExcessDefault,
    LeaveOn,
    SendUnknown,
    ReuseHandle,
    CryptoEarly,
    KeepConfiguration,
    ExcessConfiguration,
    StampReserved,
    StampStatus,
    NextAlone,
    OverCapacity,
    AddBeyondCapability,
    AnswerRemoved,
    // Locks, waiting, objects
    AskIrql,
    LeakObject,
    FreeObjectTwice,
    LeakNetBuffer,
    LockTwice,
    LockUnowned,
    LockKept,
    DprLockKept,
    DprLockLow,
    EventWaitHigh,
    StallLong,
    // Status
    StatusOtherSource,
    ShortOffload,
    OldStatus,
    LinkLostAsleep,
    LinkLostInHalt,
    StatusTooEarly,
    /// In MiniportAddDevice.
    StatusUnstarted,
    PropertyUnstarted,
    /// CancelDirectOidRequestHandler without DirectOidRequestHandler.
    CancelDirectOnly,
}

/// Where in the driver a [`Deed`] is done, and what it is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before NdisMSetMiniportAttributes: the general attributes.
    General,
    /// The offload attributes.
    Offload,
    /// At the end of MiniportInitializeEx.
    Initialize,
    /// MiniportRestart.
    Restart,
    /// MiniportPause: its parameters.
    Pause,
    /// MiniportHaltEx.
    Halt,
    /// MiniportSendNetBufferLists: a list.
    Send,
    /// A list that is about to be indicated.
    Indicate,
    /// A list that is out.
    Out,
    /// A list that came back.
    Returned,
    /// MiniportOidRequest: the request.
    Oid,
    /// MiniportDirectOidRequest: the request.
    DirectOid,
}

/// What is done there instead of what is right. `Some` is what the handler returns, at once.
pub type Deed = fn(&Loop, u64) -> Option<NDIS_STATUS>;

/// How the driver is to behave.
pub struct Plan {
    pub version: (u8, u8),
    pub misdeed: Misdeed,
    pub pend_oids: bool,
    /// MiniportCheckForHangEx says TRUE, once.
    pub hangs: AtomicBool,
    pub checks_hang: bool,
    /// Handles of the adapters, halted ones too.
    pub handles: Mutex<Vec<u64>>,
    pub driver: AtomicU64,
    pub notes: Mutex<Vec<String>>,
    /// UPDATE_SA waits, once it has found its SA, until that is deleted.
    pub slow_update: bool,
    /// OID_TCP_OFFLOAD_PARAMETERS takes until an SA is there.
    pub slow_change: bool,
    pub deed: Option<(At, Deed)>,
    /// What is queued does not run before its queuer is done.
    pub one_processor: bool,
    /// The pools of the adapters.
    pub pools: Mutex<Vec<u64>>,
}

impl Plan {
    pub fn new(version: (u8, u8)) -> Self {
        Self {
            version,
            misdeed: Misdeed::None,
            pend_oids: true,
            hangs: AtomicBool::new(false),
            checks_hang: false,
            handles: Mutex::default(),
            driver: AtomicU64::new(0),
            notes: Mutex::default(),
            slow_update: false,
            slow_change: false,
            deed: None,
            one_processor: false,
            pools: Mutex::default(),
        }
    }

    pub fn with(mut self, misdeed: Misdeed) -> Self {
        self.misdeed = misdeed;
        self
    }

    pub fn doing(mut self, at: At, deed: Deed) -> Self {
        self.deed = Some((at, deed));
        self
    }

    pub fn hanging(mut self) -> Self {
        self.checks_hang = true;
        self.hangs = AtomicBool::new(true);
        self
    }

    pub fn does(&self, misdeed: Misdeed) -> bool {
        self.misdeed == misdeed
    }

    pub fn note(&self, text: impl Into<String>) {
        self.notes.lock().unwrap().push(text.into());
    }
}

/// One adapter.
pub struct Loop {
    pub plan: Arc<Plan>,
    pub handle: u64,
    pub pool: u64,
    pub timer: u64,
    pub work_item: u64,
    pub mdl: u64,
    pub memory: u64,
    pub largest: u32,
    pub running: AtomicBool,
    pub pausing: AtomicBool,
    /// Lists that were indicated and are not back.
    pub out: AtomicUsize,
    /// Sends that are kept for good, and requests.
    pub kept: Mutex<VecDeque<u64>>,
    pub sent: AtomicU64,
    pub ticks: AtomicU64,
    /// The work item is queued.
    pub queued: AtomicBool,
    pub removed: AtomicBool,
    /// Handles of the SAs, and whether each has extended sequence numbers.
    pub sas: Mutex<Vec<(u64, bool)>>,
    pub next_sa: AtomicU64,
    /// OID_TCP_OFFLOAD_PARAMETERS has switched the checksum of IPv4 headers off.
    pub checksum_off: AtomicBool,
}

impl Loop {
    pub fn does(&self, misdeed: Misdeed) -> bool {
        self.plan.does(misdeed)
    }

    /// Does what is planned for there.
    pub fn deed(&self, here: At, with: u64) -> Option<NDIS_STATUS> {
        let (at, deed) = self.plan.deed?;
        (at == here).then(|| deed(self, with)).flatten()
    }

    pub fn handle(&self) -> NDIS_HANDLE {
        self.handle as NDIS_HANDLE
    }

    /// The adapter whose context that is.
    pub fn of(context: NDIS_HANDLE) -> &'static Self {
        // SAFETY: the context is a leaked box, see MiniportInitializeEx.
        unsafe { &*(context as *const Self) }
    }

    pub fn out(&self) -> usize {
        self.out.load(Ordering::Acquire)
    }
}

/// The address of an import.
pub fn import(name: &str) -> *const () {
    let dll = if name.starts_with("Ndis") {
        "NDIS.SYS"
    } else {
        "ntoskrnl.exe"
    };
    let address = processor::current().machine().resolve(dll, name);
    address.unwrap_or_else(|| panic!("{name} is not exported"))
}

/// Calls an import with integer and pointer arguments.
#[macro_export]
macro_rules! ndis {
    ($name:ident($($arg:expr),* $(,)?)) => {{
        let f = $crate::ndis_support::driver::import(stringify!($name));
        #[allow(unused_unsafe, reason = "used within and without unsafe blocks")]
        let f: extern "efiapi" fn($($crate::ndis!(@slot $arg)),*) -> u64 =
            // SAFETY: every export takes integers and pointers, in registers or 8-byte slots.
            unsafe { std::mem::transmute(f) };
        f($($arg as u64),*)
    }};
    (@slot $arg:expr) => { u64 };
}

/// Reads a byte that may or may not be there.
pub fn look(address: u64) {
    // SAFETY: none: that it must not be read is the point.
    let _ = unsafe { (address as *const u8).read_volatile() };
}

/// First list of a chain that is not NULL.
pub fn next(nbl: *mut NET_BUFFER_LIST) -> *mut NET_BUFFER_LIST {
    // SAFETY: the caller walks a chain that it was given.
    unsafe { (*nbl).Next }
}
