//! What happened in schedules, counted.

use std::{
    fmt,
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

/// What is done to adapters beside sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Direct requests that add SAs.
    AddSa,
    /// Direct requests that update an SA.
    UpdateSa,
    /// Direct requests that delete SAs.
    DeleteSa,
    /// Regular requests.
    Oid,
    /// MiniportPause and MiniportRestart.
    Pause,
    /// MiniportResetEx.
    Reset,
    /// To D3 and back.
    Sleep,
    /// Surprise removals.
    SurpriseRemoval,
    /// Orderly removals.
    Removal,
    /// Adapters that start.
    Start,
    /// Sends cancelled.
    Cancel,
    /// IPsec offload switched off and on.
    Switch,
    /// NDIS_STATUS_LINK_STATE of adapters that were there in the end.
    LinkChange,
}

impl Action {
    /// Each, and what many of it are called.
    const ALL: [(Self, &'static str); 13] = [
        (Self::AddSa, "SA adds"),
        (Self::UpdateSa, "updates"),
        (Self::DeleteSa, "deletes"),
        (Self::Oid, "OIDs"),
        (Self::Pause, "pauses"),
        (Self::Reset, "resets"),
        (Self::Sleep, "sleeps"),
        (Self::SurpriseRemoval, "surprise removals"),
        (Self::Removal, "removals"),
        (Self::Start, "starts"),
        (Self::Cancel, "cancellations"),
        (Self::Switch, "offload switches"),
        (Self::LinkChange, "link changes"),
    ];
}

/// Counts while a schedule runs.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Action::ALL.len()]);

impl Counts {
    /// One more.
    pub fn add(&self, action: Action) {
        self.add_many(action, 1);
    }

    /// So many more.
    pub fn add_many(&self, action: Action, count: u64) {
        self.0[action as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// What happened in one schedule, or in many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Schedules.
    pub schedules: u64,
    /// Packets given to the driver or to NDIS.
    pub sent: u64,
    /// Those that were completed with success.
    pub completed: u64,
    /// Frames that came up and were judged.
    pub received: u64,
    /// Of these, decrypted by the driver.
    pub verified: u64,
    /// Calls that were made to fail.
    pub failures: u64,
    actions: [u64; Action::ALL.len()],
}

impl Figures {
    /// A schedule in which that was done.
    #[must_use]
    pub fn of(counts: &Counts) -> Self {
        Self {
            schedules: 1,
            actions: counts.0.each_ref().map(|c| c.load(Ordering::Relaxed)),
            ..Self::default()
        }
    }

    /// How often that was done.
    #[must_use]
    pub fn count(&self, action: Action) -> u64 {
        self.actions[action as usize]
    }

    /// What was never done.
    #[must_use]
    pub fn never_done(&self) -> Vec<Action> {
        let all = Action::ALL.map(|(action, _)| action);
        let never = all.into_iter().filter(|action| self.count(*action) == 0);
        never.collect()
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.sent += other.sent;
        self.completed += other.completed;
        self.received += other.received;
        self.verified += other.verified;
        self.failures += other.failures;
        for (sum, count) in self.actions.iter_mut().zip(other.actions) {
            *sum += count;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            schedules,
            sent,
            completed,
            received,
            verified,
            failures,
            ..
        } = self;
        write!(
            f,
            "{schedules} schedules, {sent} packets sent ({completed} with success), {received} received and \
             judged ({verified} decrypted), {failures} calls made to fail"
        )?;
        for (action, name) in Action::ALL {
            write!(f, ", {} {name}", self.count(action))?;
        }
        Ok(())
    }
}
