//! The life of adapters, with a driver that behaves.

mod ndis_support;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ndis_sim::{
    Irql, Machine,
    inf::RegValue,
    ndis::{
        AdapterState, BusyWorkers, Collector, Error, OidRequest, PowerState, SendNb, SendNbl,
        SendOptions, header,
    },
};
use ndis_support::*;
use ndis_sys::*;

const VERSIONS: [(u8, u8); 3] = [(6, 1), (6, 20), (6, 30)];

#[test]
fn a_whole_life_is_clean_with_every_version() {
    for version in VERSIONS {
        let rig = Rig::new(Plan::new(version));
        whole_life(&rig).unwrap();
        assert!(rig.machine.report().is_clean(), "{}", rig.machine.report());
    }
}

#[test]
fn work_items_wait_while_the_workers_are_busy() {
    let rig = Rig::new(Plan::new((6, 20)));
    let driver = rig.load().unwrap();
    let ndis = rig.machine.ndis();
    let busy = BusyWorkers::on(&rig.machine);
    // Its restart queues one.
    driver.add_adapter(Rig::config()).unwrap();
    rig.machine.settle().unwrap();
    assert_eq!((ndis.work_items_waiting(), ndis.work_items_run()), (1, 0));
    drop(busy);
    rig.machine.settle().unwrap();
    assert_eq!((ndis.work_items_waiting(), ndis.work_items_run()), (0, 1));
    assert!(driver.unload().unwrap().is_clean());
}

/// NDIS does one after the other: who comes second waits, and lets the first one go on.
#[test]
fn operations_on_an_adapter_exclude_each_other_where_threads_take_turns_too() {
    for seed in 0..8 {
        let machine = Machine::builder()
            .canaries(false)
            .stack_limit(None)
            .in_turns(seed)
            .build();
        let rig = Rig::on(Plan::new((6, 30)), machine);
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        rig.machine.scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        adapter.reset().unwrap();
                    }
                });
            }
        });
        assert!(driver.unload().unwrap().is_clean());
        assert!(rig.machine.report().is_clean(), "{}", rig.machine.report());
    }
}

#[test]
fn the_version_that_was_registered_shows() {
    for version in VERSIONS {
        let rig = Rig::new(Plan::new(version));
        let driver = rig.load().unwrap();
        assert_eq!(driver.registered_version(), version);
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let default = adapter.offloads().default_config().unwrap().clone();
        let (revision, size) = header::OFFLOAD.for_version(version);
        assert_eq!(default.header().Revision, revision);
        assert_eq!(default.bytes().len(), usize::from(size));
        assert!(driver.unload().unwrap().is_clean());
    }
}

#[test]
fn an_unknown_version_is_refused_as_documented() {
    let rig = Rig::new(Plan::new((5, 1)));
    let error = rig.load().unwrap_err();
    assert!(error.to_string().contains("C0010004"), "{error}");
    assert!(rig.machine.bug_check().is_none());
}

#[test]
fn keywords_reach_the_driver() {
    let rig = Rig::new(Plan::new((6, 20)));
    let driver = rig.load().unwrap();
    for (value, mtu) in [("1514", 1500), ("9014", 9000)] {
        let config = Rig::config()
            .keyword("*jumbopacket", value)
            .mac([0x02, 0xAB, 3, 4, 5, 0xF6]);
        let adapter = driver.add_adapter(config).unwrap();
        assert_eq!(adapter.mtu(), mtu);
        assert_eq!(adapter.mac(), [0x02, 0xAB, 3, 4, 5, 0xF6]);
        adapter.halt().unwrap();
    }
    let config = Rig::config()
        .without("*JumboPacket")
        .without("NetworkAddress");
    let adapter = driver.add_adapter(config).unwrap();
    assert_eq!((adapter.mtu(), adapter.mac()), (1500, [2, 0, 0, 0, 0, 9]));
    let config = Rig::config().value("*JumboPacket", RegValue::Dword(4014));
    assert_eq!(driver.add_adapter(config).unwrap().mtu(), 4000);
    assert!(driver.unload().unwrap().is_clean());
}

#[test]
fn states_follow_the_documented_order() {
    let rig = Rig::new(Plan::new((6, 30)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config().paused()).unwrap();
    let collector = Collector::new();
    let open = adapter.open(collector.clone()).unwrap();
    assert_eq!(adapter.state(), AdapterState::Paused);
    assert!(matches!(adapter.pause(), Err(Error::State { .. })));
    adapter.restart().unwrap();
    assert_eq!(adapter.state(), AdapterState::Running);
    assert!(matches!(adapter.restart(), Err(Error::State { .. })));
    adapter.pause().unwrap();
    // NDIS does not pass sends on to a paused adapter.
    open.send(vec![SendNbl::new(frame(60))]).unwrap();
    let sent = collector.take_sent();
    assert_eq!(sent[0].status, NDIS_STATUS_PAUSED);
    // One that raced with the pause reaches the driver, which refuses it.
    let nbl = SendNbl::new(frame(60)).prepare(&rig.machine);
    let options = SendOptions {
        through: true,
        ..SendOptions::default()
    };
    open.send_with(vec![nbl], options).unwrap();
    assert_eq!(collector.take_sent()[0].status, NDIS_STATUS_PAUSED);
    assert_eq!(collector.transitions(), [true, false]);
    adapter.halt().unwrap();
    assert_eq!(adapter.state(), AdapterState::Halted);
    let status = open
        .oid(OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4))
        .unwrap()
        .status;
    assert_eq!(status, NDIS_STATUS_CLOSING);
    assert!(driver.unload().unwrap().is_clean());
}

#[test]
fn power_removal_and_shutdown() {
    for version in [(6, 1), (6, 30)] {
        let rig = Rig::new(Plan::new(version));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        adapter.set_power(PowerState::D3).unwrap();
        // The 6.1 adapter reports no power management: NDIS halts it.
        let halted = adapter.state() == AdapterState::Halted;
        assert_eq!(halted, version == (6, 1));
        adapter.set_power(PowerState::D0).unwrap();
        assert_eq!(adapter.state(), AdapterState::Running);
        adapter.shutdown().unwrap();
        adapter.shutdown_for_bug_check().unwrap();
        adapter.surprise_remove().unwrap();
        let notes = rig.plan.notes.lock().unwrap().join("; ");
        assert_eq!(
            notes,
            match version {
                // Set by NDIS before a power-managed adapter of 6.20 sleeps.
                (6, 30) =>
                    "power parameters; shutdown 0 at PASSIVE_LEVEL; shutdown 1 at HIGH_LEVEL; pnp 2",
                _ => "shutdown 0 at PASSIVE_LEVEL; shutdown 1 at HIGH_LEVEL; pnp 2",
            }
        );
        assert!(driver.unload().unwrap().is_clean());
    }
}

#[test]
fn sends_of_every_shape_arrive() {
    let rig = Rig::new(Plan::new((6, 30)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let collector = Collector::new();
    let open = adapter.open(collector.clone()).unwrap();
    receive_all(&open).unwrap();
    let shapes: Vec<SendNb> = vec![
        SendNb::new(frame(200)).split(&[0, 14, 0, 1, 100]),
        SendNb::new(frame(200))
            .data_offset(30)
            .slack(7)
            .split(&[10, 20, 14, 0]),
        SendNb::new(frame(200)).data_offset(30).split(&[30, 0]),
        SendNb::new(frame(200)).split_every(1),
        SendNb::new(frame(200)).data_offset(5).split_every(3),
        SendNb::new(frame(200)).split(&[50, 50]).unmapped(),
    ];
    for shape in shapes {
        let nbl = SendNbl::with_net_buffers(vec![shape.clone()]);
        let compact = nbl.clone().compact();
        open.send_at(Irql::DISPATCH, vec![compact]).unwrap();
        assert_eq!(collector.take_sent()[0].status, 0, "{shape:?}");
        assert_eq!(
            collector.take_received()[0].data(0),
            frame(200),
            "{shape:?}"
        );
        open.send_at(Irql::PASSIVE, vec![nbl]).unwrap();
        assert_eq!(collector.take_sent()[0].status, 0, "{shape:?}");
        assert_eq!(
            collector.take_received()[0].data(0),
            frame(200),
            "{shape:?}"
        );
    }
    // A request can be sent again, with other bytes.
    let mut again = SendNbl::new(frame(64)).cookie(7).prepare(&rig.machine);
    for byte in 0..3 {
        let mut bytes = frame(64);
        bytes[20] = byte;
        again.rewrite(0, &bytes);
        open.send_prepared(vec![again], Irql::DISPATCH).unwrap();
        let sent = collector.take_sent().remove(0);
        assert_eq!((sent.cookie, sent.net_buffer_count()), (7, 1));
        assert_eq!(collector.take_received()[0].data(0), bytes);
        again = sent.into_prepared();
    }
    drop(open);
    assert!(driver.unload().unwrap().is_clean());
}

#[test]
fn bindings_receive_what_their_filter_takes() {
    let rig = Rig::new(Plan::new((6, 30)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let bind = |filter: u32| {
        let collector = Collector::new();
        let open = adapter.open(collector.clone()).unwrap();
        let request = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter.to_le_bytes());
        assert_eq!(open.oid(request).unwrap().status, 0);
        (open, collector)
    };
    let bindings = [
        bind(NDIS_PACKET_TYPE_DIRECTED),
        bind(NDIS_PACKET_TYPE_BROADCAST),
        bind(NDIS_PACKET_TYPE_ALL_MULTICAST),
        bind(NDIS_PACKET_TYPE_PROMISCUOUS),
        bind(0),
    ];
    let to = |address: [u8; 6]| {
        let mut bytes = frame(60);
        bytes[..6].copy_from_slice(&address);
        bytes
    };
    for address in [
        [2, 0, 0, 0, 0, 1],
        [0xFF; 6],
        [1, 0, 0x5E, 0, 0, 1],
        [2, 0, 0, 0, 0, 77],
    ] {
        bindings[0].0.send(vec![SendNbl::new(to(address))]).unwrap();
    }
    let counts = bindings.each_ref().map(|(_, c)| c.take_received().len());
    assert_eq!(counts, [1, 1, 1, 4, 0]);
    // NDIS answers each binding with its own filter.
    let query = OidRequest::query(OID_GEN_CURRENT_PACKET_FILTER, 4);
    assert_eq!(
        bindings[1].0.oid(query).unwrap().u32(),
        Some(NDIS_PACKET_TYPE_BROADCAST)
    );
}

#[test]
fn ndis_answers_what_it_knows() {
    let rig = Rig::new(Plan::new((6, 20)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let open = adapter.open(Collector::new()).unwrap();
    let query = |oid, len| open.oid(OidRequest::query(oid, len)).unwrap();
    assert_eq!(query(OID_GEN_MAXIMUM_FRAME_SIZE, 4).u32(), Some(1500));
    assert_eq!(query(OID_GEN_LINK_SPEED, 4).u32(), Some(10_000_000));
    assert_eq!(query(OID_GEN_MEDIA_CONNECT_STATUS, 4).u32(), Some(0));
    assert_eq!(query(OID_GEN_SUPPORTED_LIST, 64).data().len(), 16);
    let config = query(OID_TCP_OFFLOAD_CURRENT_CONFIG, 256);
    assert_eq!(config.data(), adapter.offloads().current().unwrap().bytes());
    assert_eq!(config.data().len(), 144);
    let short = query(OID_TCP_OFFLOAD_CURRENT_CONFIG, 10);
    assert_eq!(
        (short.status, short.bytes_needed),
        (NDIS_STATUS_BUFFER_TOO_SHORT, 144)
    );
    // The miniport's own answers, and its refusals.
    let short = query(OID_GEN_MAXIMUM_TOTAL_SIZE, 3);
    assert_eq!(
        (short.status, short.bytes_needed),
        (NDIS_STATUS_BUFFER_TOO_SHORT, 4)
    );
    assert_eq!(query(0xFF00_0001, 4).status, NDIS_STATUS_NOT_SUPPORTED);
    let not_direct = OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4);
    let refused = open.direct_oid(not_direct, Irql::PASSIVE).unwrap();
    assert_eq!(refused.status, NDIS_STATUS_NOT_SUPPORTED);
}

#[test]
fn regular_requests_are_serialized_and_can_be_cancelled() {
    let rig = Rig::new(Plan::new((6, 30)).with(Misdeed::KeepOid));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let open = adapter.open(Collector::new()).unwrap();
    let first = open
        .submit_oid(OidRequest::query(OID_GEN_XMIT_OK, 8))
        .unwrap();
    let second = open
        .submit_oid(OidRequest::query(OID_GEN_XMIT_OK, 8))
        .unwrap();
    let third = open
        .submit_oid(OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4))
        .unwrap();
    assert_eq!(
        [&first, &second, &third].map(|r| r.result()),
        [None, None, None]
    );
    // Direct ones pass them.
    let delete = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, vec![0; 16]);
    assert_eq!(open.direct_oid(delete, Irql::PASSIVE).unwrap().status, 0);
    // NDIS takes back what the miniport has not got.
    second.cancel().unwrap();
    assert_eq!(second.result().unwrap().status, NDIS_STATUS_REQUEST_ABORTED);
    assert!(rig.plan.notes.lock().unwrap().is_empty());
    first.cancel().unwrap();
    let wait = |r: &ndis_sim::ndis::PendingOid| r.wait(Some(PATIENCE)).unwrap().unwrap();
    assert_eq!(wait(&first).status, NDIS_STATUS_REQUEST_ABORTED);
    assert_eq!(wait(&third).u32(), Some(1514));
    assert_eq!(*rig.plan.notes.lock().unwrap(), ["cancel oid"]);
    drop(open);
    assert!(driver.unload().unwrap().is_clean());
}

#[test]
fn received_lists_come_back_in_any_order_from_anywhere() {
    let rig = Rig::new(Plan::new((6, 30)));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let holder = Collector::holding();
    let open = adapter.open(holder.clone()).unwrap();
    receive_all(&open).unwrap();
    let sends = (0..6).map(|i| SendNbl::new(frame(60 + i))).collect();
    open.send(sends).unwrap();
    let mut held = holder.wait_received(&rig.machine, 6, PATIENCE).unwrap();
    assert_eq!(adapter.receives_outstanding(), 6);
    held.reverse();
    assert!(held.iter().all(|h| h.is_live()));
    assert_eq!(held[0].data(0), frame(65));
    let batch = held.split_off(3);
    open.return_nbls(batch, Irql::DISPATCH).unwrap();
    assert_eq!(adapter.receives_outstanding(), 3);
    let copy = held.pop().unwrap().detach();
    assert_eq!((copy.data(0), copy.is_live()), (frame(63), false));
    // From another thread, one by one.
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!(adapter.receives_outstanding(), 0);
    drop(open);
    assert!(driver.unload().unwrap().is_clean());
}

#[test]
fn faults_make_the_call_fail_as_documented() {
    let rig = Rig::new(Plan::new((6, 30)));
    rig.machine
        .faults()
        .fail_next("NdisMRegisterMiniportDriver");
    let error = rig.load().unwrap_err();
    assert!(matches!(error, Error::Load(_)), "{error}");
    let driver = rig.load().unwrap();
    rig.machine
        .faults()
        .fail_next("NdisAllocateNetBufferListPool");
    let error = driver.add_adapter(Rig::config()).unwrap_err();
    assert!(
        matches!(error, Error::Status(NDIS_STATUS_RESOURCES)),
        "{error}"
    );
    driver.add_adapter(Rig::config()).unwrap();
    assert!(driver.unload().unwrap().is_clean());
    assert!(rig.machine.report().is_clean());
}

#[test]
fn a_hung_adapter_is_reset_and_its_filters_are_set_again() {
    let rig = Rig::with(Plan::new((6, 20)).hanging(), true);
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let collector = Collector::new();
    let open = adapter.open(collector.clone()).unwrap();
    receive_all(&open).unwrap();
    let filters = || {
        rig.plan
            .notes
            .lock()
            .unwrap()
            .iter()
            .filter(|n| *n == "filter")
            .count()
    };
    assert_eq!(filters(), 1);
    rig.machine.clock().advance(Duration::from_secs(2));
    rig.machine.settle().unwrap();
    assert_eq!(filters(), 2);
    let codes: Vec<i32> = collector.statuses().iter().map(|s| s.code).collect();
    assert_eq!(codes, [NDIS_STATUS_RESET_START, NDIS_STATUS_RESET_END]);
    drop(open);
    assert!(driver.unload().unwrap().is_clean());
}

#[test]
fn pauses_resets_and_halts_under_load() {
    for round in 0..4 {
        let rig = Rig::new(Plan::new((6, 20)));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let collector = Collector::new();
        let open = adapter.open(collector.clone()).unwrap();
        receive_all(&open).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        open.send(vec![SendNbl::new(frame(60)), SendNbl::new(frame(99))])
                            .unwrap();
                        let statuses = [NDIS_STATUS_SUCCESS, NDIS_STATUS_PAUSED];
                        let sent = collector.take_sent();
                        assert!(sent.iter().all(|s| statuses.contains(&s.status)));
                        drop(collector.take_received());
                    }
                });
            }
            scope.spawn(|| {
                let oid = OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA;
                while !stop.load(Ordering::Relaxed) {
                    let delete = OidRequest::set(oid, vec![0; 16]);
                    let status = open.direct_oid(delete, Irql::DISPATCH).unwrap().status;
                    // The last two while it goes: removed by surprise, halted.
                    let statuses = [
                        NDIS_STATUS_SUCCESS,
                        NDIS_STATUS_NOT_ACCEPTED,
                        NDIS_STATUS_CLOSING,
                    ];
                    assert!(statuses.contains(&status));
                    let total = OidRequest::query(OID_GEN_XMIT_OK, 8);
                    open.oid(total).unwrap();
                }
            });
            for _ in 0..30 {
                adapter.pause().unwrap();
                adapter.restart().unwrap();
                adapter.reset().unwrap();
            }
            if round % 2 == 0 {
                adapter.halt().unwrap();
            } else {
                adapter.surprise_remove().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        drop(open);
        assert!(driver.unload().unwrap().is_clean());
        assert!(rig.machine.report().is_clean(), "{}", rig.machine.report());
    }
}
