//! Checks that only an odd driver meets: calls before its adapter starts, handles that never were, structures
//! that contradict themselves.

mod ndis_support;

use ndis_sim::{
    Machine, Rule,
    guarded::Fence,
    ndis::{header, rules},
};
use ndis_support::{deeds::*, handlers::zeroed, initialize, *};
use ndis_sys::*;

#[test]
fn an_adapter_that_has_not_started() {
    for (misdeed, rule, words) in [
        (
            Misdeed::StatusUnstarted,
            rules::INDICATE_STATUS,
            "before MiniportInitializeEx or after MiniportHaltEx",
        ),
        (
            Misdeed::PropertyUnstarted,
            rules::ADAPTER_STATE,
            "NdisMGetDeviceProperty for a halted adapter",
        ),
    ] {
        caught(&Rig::new(Plan::new((6, 30)).with(misdeed)), rule, words);
    }
}

#[test]
fn handlers_that_need_another() {
    let rig = Rig::new(Plan::new((6, 30)).with(Misdeed::CancelDirectOnly));
    caught(
        &rig,
        rules::CHARACTERISTICS,
        "CancelDirectOidRequestHandler needs DirectOidRequestHandler",
    );
}

#[test]
fn attributes_are_set_in_order() {
    let rig = Rig::new(Plan::new((6, 30)).with(Misdeed::GeneralFirst));
    caught(
        &rig,
        rules::ATTRIBUTES,
        "general attributes before the registration attributes",
    );
    deed(
        At::General,
        |adapter, _| {
            let mut offload: NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES = zeroed();
            offload.Header = header::OFFLOAD_ATTRIBUTES.header(adapter.plan.version);
            initialize::set(adapter.handle, &raw const offload);
            None
        },
        rules::ATTRIBUTES,
        "offload attributes before the general attributes",
    );
}

#[test]
fn results_of_queries() {
    let rig = Rig::new(Plan::new((6, 30)).with(Misdeed::TooManyBytes));
    caught(&rig, rules::OID_RESULT, "BytesWritten is");
    deed(
        At::Oid,
        |_, with| {
            if oid_of(with) != OID_GEN_XMIT_OK {
                return None;
            }
            request(with).DATA.QUERY_INFORMATION.BytesNeeded = 8;
            Some(NDIS_STATUS_BUFFER_TOO_SHORT)
        },
        rules::OID_RESULT,
        "BytesNeeded is 8, the buffer has 8",
    );
}

#[test]
fn while_an_adapter_initializes() {
    let cases: [(Deed, Rule, &str); 5] = [
        (
            |adapter, _| {
                let again = initialize::registration(adapter.plan.version, adapter);
                initialize::set(adapter.handle, &raw const again);
                None
            },
            rules::ATTRIBUTES,
            "the registration attributes are set twice",
        ),
        (
            |_, _| {
                ndis!(NdisSetOptionalHandlers(0x1234, [0_u64; 8].as_ptr()));
                None
            },
            rules::HANDLE,
            "NdisSetOptionalHandlers got 0x1234, which is no driver's handle",
        ),
        (
            |adapter, _| {
                // An adapter's handle is none of a driver.
                ndis!(NdisSetOptionalHandlers(adapter.handle, [0_u64; 8].as_ptr()));
                None
            },
            rules::HANDLE,
            "which is no driver's handle",
        ),
        (
            |adapter, _| {
                let too_long = 60_000;
                ndis!(NdisAllocateNetBufferAndNetBufferList(
                    adapter.pool,
                    0,
                    0,
                    adapter.mdl,
                    0,
                    too_long
                ));
                None
            },
            rules::NET_BUFFER_LIST,
            "has 60000 bytes at offset 0, its MDLs have",
        ),
        (
            |adapter, _| {
                let own = own_list(adapter, adapter.pool);
                first_buffer(own).DataLength = 1 << 20;
                ndis!(NdisGetDataBuffer(list(own).FirstNetBuffer, 14, 0, 1, 0));
                None
            },
            rules::NET_BUFFER_LIST,
            "NdisGetDataBuffer: NET_BUFFER",
        ),
    ];
    for (what, rule, words) in cases {
        deed(At::Initialize, what, rule, words);
    }
}

#[test]
fn requests() {
    let cases: [(Deed, Rule, &str); 2] = [
        (
            |adapter, _| {
                ndis!(NdisMOidRequestComplete(adapter.handle, 0x1234, 0));
                None
            },
            rules::OID_DOUBLE_COMPLETE,
            "NdisMOidRequestComplete got 0x1234, which is no request",
        ),
        (
            |adapter, _| {
                ndis!(NdisMDirectOidRequestComplete(adapter.handle, 0x1234, 0));
                None
            },
            rules::OID_DOUBLE_COMPLETE,
            "NdisMDirectOidRequestComplete got 0x1234, which is no request",
        ),
    ];
    for (what, rule, words) in cases {
        deed(At::Oid, what, rule, words);
    }
}

/// The page without access lies before the structure here, so that guard bytes are all that lies behind it.
#[test]
fn the_structure_of_a_request_is_not_overrun() {
    let overrun: Deed = |_, request| {
        let end = request as usize + size_of::<NDIS_OID_REQUEST>();
        // SAFETY: within the guard bytes.
        unsafe { (end as *mut u8).write(1) };
        None
    };
    let machine = Machine::builder()
        .canaries(false)
        .stack_limit(None)
        .buffers(Fence::Start)
        .build();
    let rig = Rig::on(Plan::new((6, 30)).doing(At::Oid, overrun), machine);
    caught(&rig, rules::BUFFER_OVERRUN, "the structure of the");
}

#[test]
fn a_chain_of_mdls_that_does_not_end() {
    deed(
        At::Indicate,
        |_, nbl| {
            let mdl = first_buffer(nbl).MdlChain;
            // SAFETY: the list's own MDL.
            unsafe { (*mdl).Next = mdl };
            None
        },
        rules::NET_BUFFER_LIST,
        "the chain of MDLs does not end",
    );
}

#[test]
fn sends_that_are_none() {
    deed(
        At::Restart,
        |adapter, _| {
            let own = own_list(adapter, adapter.pool);
            ndis!(NdisMSendNetBufferListsComplete(adapter.handle, own, 0));
            None
        },
        rules::SEND_COMPLETE,
        "is no send request that the miniport has",
    );
}
