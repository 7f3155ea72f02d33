//! The checks of requests, packets and operations one by one: a deed in one place of the driver, and the
//! words of the report that say which check it was.

mod ndis_support;

use ndis_sim::{
    Rule,
    ndis::{Collector, OidRequest, PowerState, SendNbl, header, rules},
    report::rules as machine_rules,
};
use ndis_support::{deeds::*, handlers::zeroed, life::status, *};
use ndis_sys::*;

/// "NdisMDirectOidRequestComplete ... to complete a direct OID request": not the other one.
#[test]
fn a_direct_request_is_completed_directly() {
    deed(
        At::DirectOid,
        |adapter, request| {
            ndis!(NdisMOidRequestComplete(adapter.handle, request, 0));
            Some(NDIS_STATUS_PENDING)
        },
        rules::OID_DOUBLE_REQUEST,
        "NdisMOidRequestComplete for the direct",
    );
}

/// Every OID that may not fail, and those statuses with which it may end all the same.
#[test]
fn requests_that_may_not_fail() {
    let fail: Deed = |_, _| Some(NDIS_STATUS_INVALID_PARAMETER);
    let abort: Deed = |_, _| Some(NDIS_STATUS_REQUEST_ABORTED);
    let refuse: Deed = |_, _| Some(NDIS_STATUS_NOT_ACCEPTED);
    let answer = |oid: u32, deed: Deed| {
        let rig = Rig::new(Plan::new((6, 30)).doing(At::Oid, deed));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let open = adapter.open(Collector::new()).unwrap();
        let outcome = open.oid(OidRequest::set(oid, vec![0; 6]));
        (outcome, rig)
    };
    // OID_802_3_DELETE_MULTICAST_ADDRESS comes to no miniport: NDIS makes OID_802_3_MULTICAST_LIST of it.
    // OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA is a direct one: `Misdeed::DeleteFails`.
    let cannot_fail = [
        ("OID_RECEIVE_FILTER_CLEAR_FILTER", 0x0001_0228),
        ("OID_RECEIVE_FILTER_FREE_QUEUE", 0x0001_0224),
        ("OID_NIC_SWITCH_FREE_VF", 0x0001_0246),
        ("OID_NIC_SWITCH_DELETE_SWITCH", 0x0001_0239),
        ("OID_TUNNEL_INTERFACE_RELEASE_OID", 0x0F01_0107),
        ("OID_PM_REMOVE_WOL_PATTERN", 0xFD01_010B),
        ("OID_PM_REMOVE_PROTOCOL_OFFLOAD", 0xFD01_010F),
    ];
    for (name, oid) in cannot_fail {
        let (outcome, _rig) = answer(oid, fail);
        let error = outcome.unwrap_err();
        let check = error
            .bug_check()
            .unwrap_or_else(|| panic!("{name}: {error}"));
        assert_eq!(check.rule(), rules::OID_COMPLETE, "{name}\n{check}");
        for deed in [abort, refuse] {
            let (outcome, _rig) = answer(oid, deed);
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
    }
    // Any other may.
    let (outcome, _rig) = answer(OID_GEN_CURRENT_LOOKAHEAD, fail);
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn the_power_state_may_be_refused_and_not_fail() {
    let set = |deed: Deed| {
        let rig = Rig::new(Plan::new((6, 30)).doing(At::Oid, deed));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let outcome = adapter.set_power(PowerState::D3);
        (outcome, rig)
    };
    let failures: [Deed; 2] = [
        |_, with| (oid_of(with) == OID_PNP_SET_POWER).then_some(NDIS_STATUS_FAILURE),
        |_, with| (oid_of(with) == OID_PNP_SET_POWER).then_some(NDIS_STATUS_REQUEST_ABORTED),
    ];
    for failure in failures {
        let (outcome, _rig) = set(failure);
        let error = outcome.unwrap_err();
        let check = error.bug_check().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(check.rule(), rules::OID_COMPLETE, "{check}");
    }
    let (_, rig) =
        set(|_, with| (oid_of(with) == OID_PNP_SET_POWER).then_some(NDIS_STATUS_NOT_ACCEPTED));
    assert!(rig.machine.bug_check().is_none());
}

/// From NDIS 6.30 on requests are completed before the reset is.
#[test]
fn a_reset_leaves_nothing_pending() {
    let reset = |version, misdeed| {
        let rig = Rig::new(Plan::new(version).with(misdeed));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let open = adapter.open(Collector::new()).unwrap();
        let mut pending = None;
        if misdeed == Misdeed::KeepSend {
            open.send(vec![SendNbl::new(frame(60))]).unwrap();
        } else {
            let query = OidRequest::query(OID_GEN_XMIT_OK, 8);
            pending = Some(open.submit_oid(query).unwrap());
        }
        let outcome = adapter.reset();
        (outcome, pending, rig)
    };
    for (misdeed, words) in [
        (Misdeed::KeepSend, "with 1 sends and 0 OID requests pending"),
        (Misdeed::KeepOid, "with 0 sends and 1 OID requests pending"),
    ] {
        let (outcome, _pending, _rig) = reset((6, 30), misdeed);
        let error = outcome.unwrap_err();
        let check = error.bug_check().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(check.rule(), rules::RESET_COMPLETE, "{check}");
        assert!(check.message().contains(words), "{check}");
        let (_, _pending, rig) = reset((6, 20), misdeed);
        assert!(rig.machine.bug_check().is_none(), "{misdeed:?}");
    }
}

/// A list that comes back has words that nobody may indicate: one that is used again has to be written.
#[test]
fn a_list_that_is_used_again_is_stamped_again() {
    deed(
        At::Returned,
        |adapter, nbl| {
            indicate(adapter, nbl, 0);
            None
        },
        rules::IPSEC_STAMP,
        "IPsecOffloadV2NetBufferListInfo is not written",
    );
    deed(
        At::Returned,
        |adapter, nbl| {
            stamp(nbl, IPsecOffloadV2NetBufferListInfo as u32, 0);
            indicate(adapter, nbl, 0);
            None
        },
        rules::IPSEC_STAMP,
        "IPsecOffloadV2HeaderNetBufferListInfo is not written",
    );
}

#[test]
fn words_that_contradict_each_other() {
    deed(
        At::Indicate,
        |_, nbl| {
            let failed = CRYPTO_TRANSPORT_ESP_AUTH_FAILED as usize;
            stamp(nbl, IPsecOffloadV2NetBufferListInfo as u32, failed << 16);
            None
        },
        rules::IPSEC_STAMP,
        "CryptoStatus without CryptoDone",
    );
    deed(
        At::Indicate,
        |_, nbl| {
            stamp(nbl, IPsecOffloadV2HeaderNetBufferListInfo as u32, 1 << 16);
            None
        },
        rules::IPSEC_STAMP,
        "HeaderInfoSet for a packet that was not processed",
    );
}

#[test]
fn results_of_requests() {
    deed(
        At::Oid,
        |_, with| {
            if oid_of(with) != OID_GEN_CURRENT_PACKET_FILTER {
                return None;
            }
            request(with).DATA.SET_INFORMATION.BytesRead = 5;
            Some(NDIS_STATUS_SUCCESS)
        },
        rules::OID_RESULT,
        "BytesRead is 5 of 4",
    );
}

#[test]
fn parameters_are_not_overrun() {
    deed(
        At::Pause,
        |_, parameters| {
            let end = parameters as usize + size_of::<NDIS_MINIPORT_PAUSE_PARAMETERS>();
            // SAFETY: within the guard bytes.
            unsafe { (end as *mut u8).write(1) };
            None
        },
        rules::BUFFER_OVERRUN,
        "the parameters of MiniportPause",
    );
}

#[test]
fn operations_complete_once() {
    deed(
        At::Pause,
        |adapter, _| {
            ndis!(NdisMPauseComplete(adapter.handle));
            Some(NDIS_STATUS_SUCCESS)
        },
        rules::ADAPTER_STATE,
        "the miniport completed it as well",
    );
    deed(
        At::Restart,
        |_, _| {
            ndis!(NdisMPauseComplete(0x1234));
            None
        },
        rules::HANDLE,
        "no handle of an adapter",
    );
}

#[test]
fn indications() {
    let cases: [(Deed, Rule, &str); 5] = [
        (
            |adapter, nbl| {
                indicate(adapter, nbl, 7);
                None
            },
            rules::INDICATE_RECEIVE,
            "port 7 was not allocated",
        ),
        (
            |adapter, nbl| {
                let other = own_list(adapter, adapter.pool);
                first_buffer(nbl).Next = list(other).FirstNetBuffer;
                None
            },
            rules::INDICATE_RECEIVE,
            "one NET_BUFFER, not 2",
        ),
        (
            |_, nbl| {
                list(nbl).Next = nbl as *mut NET_BUFFER_LIST;
                None
            },
            rules::NET_BUFFER_LIST,
            "the chain of NET_BUFFER_LISTs does not end",
        ),
        (
            |_, nbl| {
                first_buffer(nbl).Next = list(nbl).FirstNetBuffer;
                None
            },
            rules::NET_BUFFER_LIST,
            "the chain of NET_BUFFERs does not end",
        ),
        (
            |adapter, nbl| {
                let copy = Box::leak(Box::new(*list(nbl)));
                indicate(adapter, &raw mut *copy as u64, 0);
                None
            },
            rules::INDICATE_RECEIVE,
            "is not allocated from a pool",
        ),
    ];
    for (what, rule, words) in cases {
        deed(At::Indicate, what, rule, words);
    }
}

#[test]
fn lists_and_sends_are_of_their_adapter() {
    let two = |at, deed: Deed| {
        let rig = Rig::new(Plan::new((6, 30)).doing(at, deed));
        let driver = rig.load().unwrap();
        let [first, _second] = [1, 2].map(|last| {
            let config = Rig::config().mac([2, 0, 0, 0, 0, last]);
            driver.add_adapter(config).unwrap()
        });
        let open = first.open(Collector::new()).unwrap();
        receive_all(&open).unwrap();
        let error = open.send(vec![SendNbl::new(frame(60))]).unwrap_err();
        (
            error
                .bug_check()
                .cloned()
                .unwrap_or_else(|| panic!("{error}")),
            rig,
        )
    };
    let (check, _rig) = two(At::Send, |adapter, nbl| {
        let other = adapter.plan.handles.lock().unwrap()[1];
        list(nbl).Status = 0;
        ndis!(NdisMSendNetBufferListsComplete(other, nbl, 0));
        None
    });
    assert_eq!(check.rule(), rules::SEND_COMPLETE, "{check}");
    assert!(
        check.message().contains("was sent on another adapter"),
        "{check}"
    );
    let (check, _rig) = two(At::Indicate, |adapter, _| {
        let pool = adapter.plan.pools.lock().unwrap()[1];
        indicate(adapter, own_list(adapter, pool), 0);
        None
    });
    assert_eq!(check.rule(), rules::INDICATE_RECEIVE, "{check}");
    assert!(
        check.message().contains("is of a pool of another adapter"),
        "{check}"
    );
}

#[test]
fn status_indications() {
    deed(
        At::Restart,
        |adapter, _| {
            let (handle, code) = (adapter.handle, NDIS_STATUS_OPER_STATUS);
            status(handle, handle, code, &[0; 16]);
            None
        },
        rules::STATUS_INDICATION,
        "NDIS_STATUS_OPER_STATUS is NDIS's",
    );
    deed(
        At::Restart,
        |adapter, _| {
            let mut s: NDIS_STATUS_INDICATION = zeroed();
            s.Header = header::STATUS_INDICATION.header((6, 1));
            s.SourceHandle = adapter.handle();
            s.StatusBufferSize = 4;
            ndis!(NdisMIndicateStatusEx(adapter.handle, &raw const s));
            None
        },
        rules::STATUS_INDICATION,
        "StatusBufferSize without a StatusBuffer",
    );
}

/// Headers for C make a read of CR8 of KeGetCurrentIrql.
#[test]
fn flags_tell_the_irql_and_not_the_register() {
    fn irql() -> u64 {
        let level: u64;
        // SAFETY: the simulator emulates the instruction.
        unsafe { std::arch::asm!("mov {}, cr8", out(reg) level) };
        level
    }
    deed(
        At::Send,
        |_, _| {
            irql();
            None
        },
        machine_rules::FLAGS_IRQL,
        "CR8 is read in MiniportSendNetBufferLists",
    );
    // Elsewhere nothing else says what it is.
    let ask: Deed = |_, _| {
        assert_eq!(irql(), 0);
        None
    };
    let rig = Rig::new(Plan::new((6, 30)).doing(At::Initialize, ask));
    whole_life(&rig).unwrap();
}
