//! Each check, tripped by a driver that errs in that one way, is reported under
//! the rule's public name.

mod ndis_support;

use std::time::Duration;

use ndis_sim::{
    Rule,
    ndis::{AdapterState, Collector, Error, OidRequest, SendNb, SendNbl, rules},
    report::rules as machine_rules,
};
use ndis_support::*;
use ndis_sys::*;

fn all(cases: &[(Misdeed, Rule)]) {
    for (misdeed, rule) in cases {
        trips(*misdeed, *rule);
    }
}

#[test]
fn registration() {
    all(&[
        (Misdeed::OldRevision, rules::OBJECT_HEADER),
        (Misdeed::NoPauseHandler, rules::CHARACTERISTICS),
        (Misdeed::HangWithoutReset, rules::CHARACTERISTICS),
        (Misdeed::NoDeregister, rules::DEREGISTER),
        (Misdeed::DeregisterTwice, rules::DEREGISTER),
    ]);
}

#[test]
fn attributes() {
    all(&[
        (Misdeed::GeneralFirst, rules::ATTRIBUTES),
        (Misdeed::NoGeneral, rules::ATTRIBUTES),
        (Misdeed::OtherMedium, rules::ATTRIBUTES),
        (Misdeed::OldGeneral, rules::OBJECT_HEADER),
        (Misdeed::OldOffload, rules::OBJECT_HEADER),
        (Misdeed::AttributesLate, rules::ATTRIBUTES),
        (Misdeed::InitializePends, rules::HANDLER_STATUS),
    ]);
}

#[test]
fn objects() {
    all(&[
        (Misdeed::LeakConfiguration, rules::OPEN_CONFIGURATION),
        (Misdeed::ReadClosed, rules::OPEN_CONFIGURATION),
        (Misdeed::NoTag, rules::ALLOCATE_MEMORY),
        (Misdeed::FreeTwice, rules::ALLOCATE_MEMORY),
        (Misdeed::LeakMemory, rules::ALLOCATE_MEMORY),
        (Misdeed::LeakMdl, rules::ALLOCATE_MDL),
        (Misdeed::FreeMdlTwice, rules::ALLOCATE_MDL),
        (Misdeed::LeakPool, rules::ALLOCATE_NET_BUFFER),
        (Misdeed::FreePoolEarly, rules::ALLOCATE_NET_BUFFER),
        (Misdeed::FreeListTwice, rules::ALLOCATE_NET_BUFFER),
        (Misdeed::WriteBehindContext, machine_rules::POOL_OVERRUN),
        (Misdeed::LeakTimer, rules::CANCEL_TIMER),
        (Misdeed::FreeSetTimer, rules::CANCEL_TIMER),
        (Misdeed::PeriodicAtDispatch, rules::PERIODIC_TIMER),
        (Misdeed::LeakWorkItem, rules::IO_WORK_ITEM),
        (Misdeed::QueueTwice, rules::IO_WORK_ITEM),
        (Misdeed::FailAndLeak, rules::ALLOCATE_NET_BUFFER),
        (Misdeed::BadHandle, rules::HANDLE),
        (Misdeed::NullPointer, rules::POINTER),
        (Misdeed::LeakObject, rules::ALLOCATE_GENERIC_OBJECT),
        (Misdeed::FreeObjectTwice, rules::ALLOCATE_GENERIC_OBJECT),
        (Misdeed::LeakNetBuffer, rules::ALLOCATE_NET_BUFFER),
    ]);
}

#[test]
fn irql() {
    all(&[
        (Misdeed::SleepAtDispatch, rules::IRQL_MINIPORT),
        (Misdeed::ConfigurationAtDispatch, rules::IRQL_MISCELLANEOUS),
        (Misdeed::CompleteAtDirql, rules::IRQL_SEND_RECEIVE),
        (Misdeed::StatusAtDirql, rules::IRQL_STATUS),
        (Misdeed::CompleteOidAtDirql, rules::IRQL_OID),
        (Misdeed::AllocateAtDirql, rules::IRQL_NET_BUFFER),
        (Misdeed::SetTimerAtDirql, rules::IRQL_TIMER),
        (Misdeed::DispatchLie, rules::FLAGS_IRQL),
        (Misdeed::AskIrql, machine_rules::FLAGS_IRQL),
        (Misdeed::DprLockLow, rules::IRQL_SYNCHRONIZATION),
        (Misdeed::EventWaitHigh, rules::IRQL_SYNCHRONIZATION),
        (Misdeed::StallLong, machine_rules::STALL_EXECUTION),
    ]);
}

#[test]
fn spin_locks() {
    all(&[
        (Misdeed::LockTwice, machine_rules::SPIN_LOCK_OWNED),
        (Misdeed::LockUnowned, machine_rules::SPIN_LOCK_NOT_OWNED),
        (Misdeed::LockKept, machine_rules::SPIN_LOCK_HELD),
        (Misdeed::DprLockKept, machine_rules::SPIN_LOCK_HELD),
    ]);
}

#[test]
fn life() {
    all(&[
        (Misdeed::PauseFails, rules::PAUSE_RETURN),
        (Misdeed::PauseEarly, rules::PAUSE_COMPLETE),
        (Misdeed::PauseUnasked, rules::ADAPTER_STATE),
        (Misdeed::RestartUnasked, rules::ADAPTER_STATE),
        (Misdeed::RestartOdd, rules::HANDLER_STATUS),
        (Misdeed::ResetUnasked, rules::RESET_COMPLETE),
        (Misdeed::ResetOdd, rules::HANDLER_STATUS),
        (Misdeed::IndicatePaused, rules::INDICATE_RECEIVE),
        (Misdeed::StatusAfterHalt, rules::INDICATE_STATUS),
    ]);
}

#[test]
fn sends() {
    all(&[
        (Misdeed::CompleteTwice, rules::SEND_COMPLETE),
        (Misdeed::OddStatus, rules::SEND_COMPLETE),
        (Misdeed::DenyLink, rules::SEND_COMPLETE),
        (Misdeed::ChangeData, rules::SEND_GEOMETRY),
        (Misdeed::ChangeLength, rules::SEND_GEOMETRY),
        (Misdeed::ChangeInfo, rules::SEND_GEOMETRY),
        (Misdeed::TellOfLargeSend, rules::SEND_COMPLETE),
        (Misdeed::ChangeMdl, rules::SEND_GEOMETRY),
        (Misdeed::Overrun, rules::BUFFER_OVERRUN),
    ]);
}

/// NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO: of version 1 the payload that was sent is told, of
/// version 2 nothing but the type. A driver that leaves the request in the word is caught.
#[test]
fn a_large_send_is_told_of() {
    const V2: usize = 1 << 30;
    for asked in [1000, V2 | 1000] {
        let (_rig, _driver, open) = running(Misdeed::None, false);
        let list = SendNbl::new(frame(60)).info(TcpLargeSendNetBufferListInfo as usize, asked);
        let error = open.send(vec![list]).unwrap_err();
        assert_eq!(rule_of(&error), rules::SEND_COMPLETE.name, "{asked:#x}");
    }
}

#[test]
fn receives() {
    all(&[
        (Misdeed::IndicateTwice, rules::RECEIVE_OWNERSHIP),
        (Misdeed::TouchIndicated, rules::RECEIVE_OWNERSHIP),
        (Misdeed::FreeIndicated, rules::RECEIVE_OWNERSHIP),
        (Misdeed::OtherSource, rules::INDICATE_RECEIVE),
        (Misdeed::WrongCount, rules::INDICATE_RECEIVE),
        (Misdeed::TooLong, rules::INDICATE_RECEIVE),
        (Misdeed::IndicateSend, rules::INDICATE_RECEIVE),
        (Misdeed::BadOffset, rules::NET_BUFFER_LIST),
    ]);
}

#[test]
fn requests() {
    all(&[
        (Misdeed::ReturnOddPending, rules::OID_COMPLETE),
        (Misdeed::DeleteFails, rules::OID_COMPLETE),
        (Misdeed::CompleteOidTwice, rules::OID_DOUBLE_COMPLETE),
        (Misdeed::CompleteReturned, rules::OID_DOUBLE_COMPLETE),
        (Misdeed::DirectOnRegular, rules::OID_DOUBLE_REQUEST),
        (Misdeed::TooManyBytes, rules::OID_RESULT),
        (Misdeed::WriteBeforeBuffer, rules::BUFFER_OVERRUN),
        (Misdeed::PnpInOid, rules::PNP_EVENT_IN_OID),
    ]);
}

#[test]
fn status_indications() {
    all(&[
        (Misdeed::StatusOtherSource, rules::STATUS_INDICATION),
        (Misdeed::ShortOffload, rules::STATUS_INDICATION),
        (Misdeed::OldStatus, rules::OBJECT_HEADER),
        (Misdeed::LinkLostAsleep, rules::CONNECTION_STATUS),
        (Misdeed::LinkLostInHalt, rules::CONNECTION_STATUS),
        (Misdeed::StatusTooEarly, rules::ATTRIBUTES),
    ]);
}

/// A rig whose adapter runs, and a binding.
fn running(
    misdeed: Misdeed,
    manual: bool,
) -> (Rig, ndis_sim::ndis::Miniport, ndis_sim::ndis::Open) {
    let rig = Rig::with(Plan::new((6, 30)).with(misdeed), manual);
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let open = adapter.open(Collector::new()).unwrap();
    receive_all(&open).unwrap();
    (rig, driver, open)
}

fn rule_of(error: &Error) -> &'static str {
    error
        .bug_check()
        .unwrap_or_else(|| panic!("{error}"))
        .rule()
        .name
}

#[test]
fn a_short_answer_says_how_much_is_needed() {
    let (_rig, _driver, open) = running(Misdeed::NeededTooSmall, false);
    let error = open
        .oid(OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, 2))
        .unwrap_err();
    assert_eq!(rule_of(&error), "NdisOidRequestResult");
}

#[test]
fn requests_and_sends_have_their_time() {
    let (rig, _driver, open) = running(Misdeed::KeepOid, true);
    let pending = open
        .submit_oid(OidRequest::query(OID_GEN_XMIT_OK, 8))
        .unwrap();
    rig.machine.clock().advance(Duration::from_millis(11_900));
    assert!(rig.machine.bug_check().is_none());
    rig.machine.clock().advance(Duration::from_millis(200));
    assert_eq!(
        rule_of(&pending.wait(None).unwrap_err()),
        "NdisTimedOidComplete"
    );

    let (rig, _driver, open) = running(Misdeed::KeepSend, true);
    open.send(vec![SendNbl::new(frame(60))]).unwrap();
    rig.machine.clock().advance(Duration::from_secs(21));
    assert!(rig.machine.bug_check().is_none());
    rig.machine.clock().advance(Duration::from_secs(3));
    let check = rig.machine.bug_check().unwrap();
    assert_eq!(check.rule(), rules::TIMED_DATA_HANG, "{check}");

    // One that is forgotten while others are completed.
    let (rig, _driver, open) = running(Misdeed::KeepFirstSend, true);
    for _ in 0..29 {
        open.send(vec![SendNbl::new(frame(60))]).unwrap();
        rig.machine.clock().advance(Duration::from_secs(1));
    }
    assert!(rig.machine.bug_check().is_none());
    rig.machine.clock().advance(Duration::from_secs(3));
    let check = rig.machine.bug_check().unwrap();
    assert_eq!(check.rule(), rules::TIMED_DATA_SEND, "{check}");
}

#[test]
fn a_halt_waits_for_requests_and_no_longer_than_they_may_take() {
    let pend = || {
        let (rig, driver, open) = running(Misdeed::KeepOid, true);
        let pending = open
            .submit_oid(OidRequest::query(OID_GEN_XMIT_OK, 8))
            .unwrap();
        let adapter = open.adapter().clone();
        let halt = std::thread::spawn(move || adapter.halt());
        while open.adapter().state() != AdapterState::Paused {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(open.adapter().state(), AdapterState::Paused);
        (rig, driver, pending, halt)
    };
    let (_rig, driver, pending, halt) = pend();
    pending.cancel().unwrap();
    halt.join().unwrap().unwrap();
    assert!(driver.unload().unwrap().is_clean());

    let (rig, _driver, _pending, halt) = pend();
    rig.machine.clock().advance(Duration::from_secs(13));
    let error = halt.join().unwrap().unwrap_err();
    assert_eq!(rule_of(&error), "NdisTimedOidComplete");
}

#[test]
fn a_pause_waits_for_sends() {
    let (_rig, driver, open) = running(Misdeed::KeepSend, false);
    open.send(vec![SendNbl::new(frame(60))]).unwrap();
    let check = driver.unload().unwrap_err();
    assert_eq!(check.rule(), rules::PAUSE_COMPLETE, "{check}");
}

#[test]
fn every_rule_has_a_page_and_a_name_of_its_own() {
    let mut names: Vec<&str> = rules::ALL.iter().map(|r| r.name).collect();
    assert!(
        rules::ALL
            .iter()
            .all(|r| !r.page.is_empty() && !r.text.is_empty())
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rules::ALL.len());
    let complete = rules::OID_COMPLETE;
    assert_eq!(complete.to_string(), "NdisOidComplete (0xC4, 0x91001)");
}

#[test]
fn a_write_between_the_mdls_of_a_shattered_frame_is_seen() {
    let (_rig, _driver, open) = running(Misdeed::Overrun, false);
    let shattered = SendNb::new(frame(200)).split_every(1);
    let error = open
        .send(vec![SendNbl::with_net_buffers(vec![shattered])])
        .unwrap_err();
    assert_eq!(rule_of(&error), rules::BUFFER_OVERRUN.name);
}

#[test]
fn without_watching_data_structures_are_watched_all_the_same() {
    for (misdeed, noticed) in [(Misdeed::ChangeData, false), (Misdeed::ChangeMdl, true)] {
        let (rig, _driver, open) = running(misdeed, false);
        rig.machine.ndis().watch_data(false);
        let sent = open.send(vec![SendNbl::new(frame(60))]);
        assert_eq!(sent.is_err(), noticed, "{misdeed:?}");
    }
}
