//! A report has the histories of the objects that it is about: of what NDIS lends to the driver, when the
//! driver runs off it or uses it too late; of adapters and pools; of whatever the driver names in a call.

mod ndis_support;

use std::time::Duration;

use ndis_sim::{
    BugCheck, Machine, Rule,
    guarded::Fence,
    history::Kind,
    ndis::{Error, rules},
    report::rules as machine_rules,
};
use ndis_support::*;

/// The bug check with which a whole life ends whose buffers are fenced at one end.
fn stopped(misdeed: Misdeed, fence: Fence) -> BugCheck {
    let machine = Machine::builder().canaries(false).stack_limit(None);
    let machine = machine.watchdog(Duration::from_secs(30)).buffers(fence);
    let rig = Rig::on(Plan::new((6, 30)).with(misdeed), machine.build());
    match whole_life(&rig) {
        Err(Error::BugCheck(check)) => check,
        Err(other) => panic!("{misdeed:?}: {other}"),
        Ok(()) => {
            let check = rig.machine.bug_check();
            check.unwrap_or_else(|| panic!("{misdeed:?} was not noticed"))
        }
    }
}

/// The events of the object of that kind.
#[track_caller]
fn life(check: &BugCheck, kind: Kind) -> Vec<String> {
    let found = check.histories().iter().find(|h| h.kind == kind);
    found
        .unwrap_or_else(|| panic!("no history of a {kind}\n{check}"))
        .events
        .clone()
}

#[track_caller]
fn tells(misdeed: Misdeed, fence: Fence, rule: Rule, place: &str, kind: Kind, event: &str) {
    let check = stopped(misdeed, fence);
    assert_eq!(check.rule(), rule, "{misdeed:?}\n{check}");
    assert!(check.message().contains(place), "{misdeed:?}\n{check}");
    let life = life(&check, kind);
    assert!(
        life.iter().any(|e| e.contains(event)),
        "{misdeed:?}\n{check}"
    );
}

#[test]
fn a_driver_that_runs_off_a_buffer_is_told_which_it_was() {
    use Fence::{End, Start};
    let rule = rules::BUFFER_OVERRUN;
    let (send, oid) = ("given to MiniportSendNetBufferLists", "MiniportOidRequest");
    let list = Kind::NetBufferList;
    let data = "the data of an MDL of a send";
    tells(
        Misdeed::ReadBehindSend,
        End,
        rule,
        &format!("byte 1 after {data}"),
        list,
        send,
    );
    tells(
        Misdeed::ReadBeforeSend,
        Start,
        rule,
        &format!("byte 1 before {data}"),
        list,
        send,
    );
    let structures = "after the NET_BUFFER_LIST with its";
    tells(Misdeed::ReadBehindList, End, rule, structures, list, send);
    let (request, buffer) = (Kind::OidRequest, "the InformationBuffer of 4 bytes");
    let place = format!("byte 5 after {buffer}");
    tells(Misdeed::ReadBehindBuffer, End, rule, &place, request, oid);
    let place = format!("byte 1 before {buffer}");
    tells(Misdeed::ReadBeforeBuffer, Start, rule, &place, request, oid);
    let place = "byte 1 after the NDIS_OID_REQUEST of";
    tells(Misdeed::ReadBehindRequest, End, rule, place, request, oid);
    let place = "after the NDIS_MINIPORT_PAUSE_PARAMETERS of";
    tells(
        Misdeed::ReadBehindParameters,
        End,
        rule,
        place,
        Kind::Adapter,
        "Pausing",
    );
}

#[test]
fn a_request_is_not_touched_once_it_is_complete() {
    let rule = machine_rules::POOL_USE_AFTER_FREE;
    for fence in [Fence::End, Fence::Start] {
        let place = "which is freed";
        let list = Kind::NetBufferList;
        let event = "completed with status";
        tells(Misdeed::ReadCompletedSend, fence, rule, place, list, event);
        let event = "NdisMOidRequestComplete";
        tells(
            Misdeed::ReadCompletedOid,
            fence,
            rule,
            place,
            Kind::OidRequest,
            event,
        );
    }
}

#[test]
fn a_breach_of_an_adapters_states_comes_with_them() {
    for (misdeed, rule, kind, event) in [
        (
            Misdeed::PauseUnasked,
            rules::ADAPTER_STATE,
            Kind::Adapter,
            "Restarting",
        ),
        (
            Misdeed::RestartOdd,
            rules::HANDLER_STATUS,
            Kind::Adapter,
            "Restarting",
        ),
        (
            Misdeed::InitializePends,
            rules::HANDLER_STATUS,
            Kind::Adapter,
            "Initializing",
        ),
        (
            Misdeed::NoGeneral,
            rules::ATTRIBUTES,
            Kind::Adapter,
            "Initializing",
        ),
        (
            Misdeed::PauseFails,
            rules::PAUSE_RETURN,
            Kind::Adapter,
            "Pausing",
        ),
        (
            Misdeed::PauseEarly,
            rules::PAUSE_COMPLETE,
            Kind::Adapter,
            "Pausing",
        ),
        (
            Misdeed::ResetUnasked,
            rules::RESET_COMPLETE,
            Kind::Adapter,
            "Restarting",
        ),
        (
            Misdeed::ResetOdd,
            rules::HANDLER_STATUS,
            Kind::Adapter,
            "MiniportResetEx",
        ),
        (
            Misdeed::IndicatePaused,
            rules::INDICATE_RECEIVE,
            Kind::Adapter,
            "MiniportHaltEx",
        ),
        (
            Misdeed::StatusAfterHalt,
            rules::INDICATE_STATUS,
            Kind::Adapter,
            "Halted",
        ),
        (
            Misdeed::StatusOtherSource,
            rules::STATUS_INDICATION,
            Kind::Adapter,
            "Restarting",
        ),
        (
            Misdeed::OldOffload,
            rules::OBJECT_HEADER,
            Kind::Adapter,
            "Initializing",
        ),
        (
            Misdeed::WrongCount,
            rules::INDICATE_RECEIVE,
            Kind::NetBufferList,
            "allocated",
        ),
        (
            Misdeed::PnpInOid,
            rules::PNP_EVENT_IN_OID,
            Kind::OidRequest,
            "MiniportOidRequest",
        ),
        (
            Misdeed::FreePoolEarly,
            rules::ALLOCATE_NET_BUFFER,
            Kind::NetBufferPool,
            "allocated",
        ),
        (
            Misdeed::LeakPool,
            rules::ALLOCATE_NET_BUFFER,
            Kind::NetBufferPool,
            "allocated",
        ),
    ] {
        tells(misdeed, Fence::End, rule, "", kind, event);
    }
}
