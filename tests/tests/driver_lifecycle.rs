//! The life of an adapter: initialize, pause, restart, power, reset, removal, halt, unload. What the
//! pages of the handlers demand, step by step; every test ends with the unload and its leak report.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ipsecov2_tests::switch::{PATIENCE, Switch, SwitchPort, VERSIONS, check, config, frame};
use ndis_sim::{
    Irql, Machine,
    ndis::{AdapterState, Collector, Error, OidRequest, PowerState, SendNbl, SendOptions},
};
use ndis_sys::*;

const UP: u32 = NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST;

/// Two adapters that receive what is for them.
fn pair(switch: &Switch) -> (SwitchPort, SwitchPort) {
    let (a, b) = (switch.port(), switch.port());
    a.filter(UP);
    b.filter(UP);
    (a, b)
}

fn carries(a: &SwitchPort, b: &SwitchPort) {
    let bytes = frame(b.adapter.mac(), a.adapter.mac(), 100);
    a.send_frame(&bytes);
    assert_eq!(b.received_bytes(), [bytes]);
}

#[test]
fn registers_with_the_version_of_the_registry() {
    for (value, version) in [
        (610, (6, 1)),
        (620, (6, 20)),
        (630, (6, 30)),
        (0, (6, 1)),
        (700, (6, 1)),
    ] {
        let switch = Switch::new(value);
        assert_eq!(
            switch.driver.registered_version(),
            version,
            "NdisVersion {value}"
        );
        let (a, b) = pair(&switch);
        carries(&a, &b);
        switch.finish();
    }
}

#[test]
fn reports_what_it_is() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port_with(config().keyword("*JumboPacket", "4088"));
        let general = port.adapter.general_attributes().unwrap();
        assert_eq!(general.MtuSize, 4088 - 14);
        assert_eq!(general.MaxMulticastListSize, 32);
        assert_eq!(general.MediaConnectState, MediaConnectStateConnected);
        assert_eq!(
            general.MacOptions & (NDIS_MAC_OPTION_8021P_PRIORITY | NDIS_MAC_OPTION_8021Q_VLAN),
            NDIS_MAC_OPTION_8021P_PRIORITY | NDIS_MAC_OPTION_8021Q_VLAN
        );
        assert_ne!(general.MacOptions & NDIS_MAC_OPTION_NO_LOOPBACK, 0);
        switch.finish();
    }
}

#[test]
fn absurd_keywords_mean_their_defaults() {
    // Text where a number should be reads as 0, which some keywords know.
    let switch = Switch::new(610);
    for (keyword, values) in [
        (
            "*JumboPacket",
            ["0", "1513", "9015", "4294967295", "-1", "many"],
        ),
        (
            "*ReceiveBuffers",
            ["0", "31", "4097", "4294967295", "-1", ""],
        ),
        (
            "*PriorityVLANTag",
            ["4", "100", "4294967295", "-1", "both", ""],
        ),
        ("VlanID", ["4095", "4096", "4294967295", "-1", "none", ""]),
        (
            "*IPsecOffloadV2",
            ["4", "5", "4294967295", "-1", "33", "99"],
        ),
        (
            "*IPsecOffloadV2IPv4",
            ["4", "5", "4294967295", "-1", "33", "99"],
        ),
        (
            "LegacyAlgorithms",
            ["2", "3", "4294967295", "-1", "33", "99"],
        ),
        (
            "SaOffloadCapacity",
            ["0", "65537", "4294967295", "-1", "all", ""],
        ),
        (
            "NetworkAddress",
            [
                "",
                "01005E000001",
                "FFFFFFFFFFFF",
                "000000000000",
                "12",
                "XYZ",
            ],
        ),
    ] {
        for value in values {
            let port = switch.port_with(config().keyword(keyword, value));
            let general = port.adapter.general_attributes().unwrap();
            assert_eq!(general.MtuSize, 1500, "{keyword} = {value}");
            assert_eq!(
                port.adapter.mac()[..3],
                [0x02, b'I', b'P'],
                "{keyword} = {value}"
            );
            let offload = port.adapter.offloads().current().unwrap().ipsec_v2();
            assert_eq!(
                (offload.Esp, offload.SaOffloadCapacity),
                (1, 1024),
                "{keyword} = {value}"
            );
            check(port.adapter.halt());
        }
        // Not even there.
        let port = switch.port_with(config().without(keyword));
        assert_eq!(port.adapter.general_attributes().unwrap().MtuSize, 1500);
        check(port.adapter.halt());
    }
    switch.finish();
}

#[test]
fn the_station_address_is_the_administrators_or_one_of_our_own() {
    let switch = Switch::new(610);
    let set = switch.port_with(config().mac([0x02, 1, 2, 3, 4, 5]));
    assert_eq!(set.adapter.mac(), [0x02, 1, 2, 3, 4, 5]);
    let permanent = set.query(OID_802_3_PERMANENT_ADDRESS, 6);
    assert_eq!(permanent.data()[..3], [0x02, b'I', b'P']);
    let others: Vec<_> = (0..4).map(|_| switch.port().adapter.mac()).collect();
    for (i, mac) in others.iter().enumerate() {
        assert_eq!(mac[0] & 3, 2, "not a locally administered station");
        assert!(!others[..i].contains(mac), "twice: {mac:02x?}");
    }
    switch.finish();
}

/// Every call of initialize that can fail is made to fail once: the adapter does not start, nothing
/// stays, and the next one starts.
#[test]
fn a_failure_at_any_step_of_initialize_undoes_all_steps() {
    let switch = Switch::new(630);
    let mut failed = 0;
    for step in 0.. {
        let hit = Arc::new(AtomicBool::new(false));
        let calls = AtomicUsize::new(0);
        let fired = hit.clone();
        switch.machine.faults().fail_if(move |_, _| {
            let fire = calls.fetch_add(1, Ordering::Relaxed) == step;
            fired.fetch_or(fire, Ordering::Relaxed);
            fire
        });
        let started = switch
            .driver
            .add_adapter(config().keyword("*ReceiveBuffers", "32"));
        switch.machine.faults().clear();
        match started {
            Ok(adapter) => check(adapter.halt()),
            Err(Error::Status(status)) => {
                assert!(status < 0, "{status:#x}");
                failed += 1;
            }
            Err(error) => panic!("step {step}: {error}"),
        }
        if !hit.load(Ordering::Relaxed) {
            break;
        }
    }
    // 32 receive frames cost three allocations each.
    assert!(failed > 96, "only {failed} steps could fail");
    let (a, b) = pair(&switch);
    carries(&a, &b);
    switch.finish();
}

#[test]
fn a_driver_that_cannot_register_leaves_nothing() {
    let machine = Machine::builder().processors(1).build();
    machine.faults().fail_next("NdisMRegisterMiniportDriver");
    let inf = ndis_sim::inf::Inf::load(&ipsecov2_tests::inf()).unwrap();
    let package = ndis_sim::ndis::Package::new(inf, tcpip::lab::HARDWARE_ID);
    let loaded = ndis_sim::ndis::Miniport::load(&machine, &ipsecov2_tests::driver(), package);
    let error = loaded.expect_err("the registration failed").to_string();
    assert!(error.contains("DriverEntry returned status"), "{error}");
    assert!(!error.contains("leak"), "{error}");
    assert!(machine.report().is_clean(), "{}", machine.report());
}

#[test]
fn nothing_passes_a_paused_adapter() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let (a, b) = pair(&switch);
        check(b.adapter.pause());
        // A frame to a paused adapter is lost, as in a cable that is pulled.
        let bytes = frame(b.adapter.mac(), a.adapter.mac(), 64);
        a.send_frame(&bytes);
        assert!(b.received().is_empty());
        // A send that raced with the pause gets NDIS_STATUS_PAUSED.
        let list = SendNbl::new(frame(a.adapter.mac(), b.adapter.mac(), 64));
        let options = SendOptions {
            through: true,
            ..SendOptions::default()
        };
        check(
            b.open
                .send_with(vec![list.prepare(&switch.machine)], options),
        );
        let sent = check(b.protocol.wait_sent(&switch.machine, 1, PATIENCE));
        assert_eq!(sent[0].status, NDIS_STATUS_PAUSED);
        check(b.adapter.restart());
        carries(&a, &b);
        carries(&b, &a);
        switch.finish();
    }
}

#[test]
fn a_pause_waits_for_the_frames_that_are_out() {
    let switch = Switch::new(610);
    let a = switch.port();
    let b = switch.port_on(config(), Collector::holding());
    b.filter(UP);
    let bytes = frame(b.adapter.mac(), a.adapter.mac(), 200);
    a.send_frame(&bytes);
    let held = check(b.protocol.wait_received(&switch.machine, 1, PATIENCE));
    let pausing = b.adapter.clone();
    let pause = std::thread::spawn(move || pausing.pause());
    while !pause.is_finished() && !b.adapter.pause_pends() {
        std::thread::yield_now();
    }
    assert_eq!(b.adapter.state(), AdapterState::Pausing, "did not wait");
    assert_eq!(held[0].data(0), bytes, "a frame that is out was touched");
    check(b.open.return_nbls(held, Irql::PASSIVE));
    check(pause.join().unwrap());
    assert_eq!(b.adapter.state(), AdapterState::Paused);
    check(b.adapter.restart());
    carries(&a, &b);
    drop(b.protocol.take_received());
    switch.finish();
}

#[test]
fn queued_sends_are_given_back_by_a_pause() {
    let switch = Switch::on(Machine::builder().processors(1).build(), 610);
    let (a, b) = pair(&switch);
    let lists: Vec<_> = (0..500)
        .map(|_| SendNbl::new(frame(b.adapter.mac(), a.adapter.mac(), 60)))
        .collect();
    // Sent at DISPATCH_LEVEL of the only processor: the send DPC cannot run before the pause.
    let (open, adapter) = (a.open.clone(), a.adapter.clone());
    let sending = switch
        .machine
        .run(Some(0), Irql::DISPATCH, move || open.send(lists));
    check(sending.unwrap());
    check(adapter.pause());
    let sent = check(a.protocol.wait_sent(&switch.machine, 500, PATIENCE));
    assert_eq!(sent.len(), 500);
    assert!(
        sent.iter()
            .all(|list| [NDIS_STATUS_SUCCESS, NDIS_STATUS_PAUSED].contains(&list.status))
    );
    check(adapter.restart());
    drop(b.received());
    carries(&a, &b);
    switch.finish();
}

#[test]
fn sleeps_and_wakes() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let (a, b) = pair(&switch);
        // No such state.
        let result = b.set(OID_PNP_SET_POWER, &77_i32.to_le_bytes());
        assert_eq!(result.status, NDIS_STATUS_NOT_ACCEPTED);
        for _ in 0..3 {
            check(b.adapter.set_power(PowerState::D3));
            let bytes = frame(b.adapter.mac(), a.adapter.mac(), 64);
            a.send_frame(&bytes);
            assert!(b.received().is_empty());
            check(b.adapter.set_power(PowerState::D0));
            carries(&a, &b);
            carries(&b, &a);
        }
        switch.finish();
    }
}

#[test]
fn a_reset_keeps_filters_and_addresses() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    for _ in 0..5 {
        check(b.adapter.reset());
        carries(&a, &b);
        carries(&b, &a);
    }
    switch.finish();
}

#[test]
fn after_surprise_removal_nothing_is_accepted() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let (a, b) = pair(&switch);
        check(b.adapter.notify_surprise_removal());
        assert_eq!(b.query(OID_GEN_XMIT_OK, 8).status, NDIS_STATUS_NOT_ACCEPTED);
        let filter = b.set(OID_GEN_CURRENT_PACKET_FILTER, &UP.to_le_bytes());
        assert_eq!(filter.status, NDIS_STATUS_NOT_ACCEPTED);
        for oid in [
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
        ] {
            let request = OidRequest::set(oid, vec![0; 64]);
            let result = check(b.open.direct_oid(request, Irql::DISPATCH));
            assert_eq!(result.status, NDIS_STATUS_NOT_ACCEPTED, "{oid:#x}");
        }
        a.send_frame(&frame(b.adapter.mac(), a.adapter.mac(), 64));
        assert!(b.received().is_empty());
        switch.finish();
    }
}

#[test]
fn shuts_down_without_freeing_anything() {
    let switch = Switch::new(610);
    let (a, b) = pair(&switch);
    check(a.adapter.shutdown_for_bug_check());
    check(b.adapter.shutdown());
}

#[test]
fn many_adapters_share_the_wire() {
    let switch = Switch::new(610);
    let ports: Vec<_> = (0..20)
        .map(|_| switch.port_with(config().keyword("*ReceiveBuffers", "32")))
        .collect();
    for port in &ports {
        port.filter(UP);
    }
    let first = &ports[0];
    let bytes = frame([0xff; 6], first.adapter.mac(), 80);
    first.send_frame(&bytes);
    assert!(first.received().is_empty(), "a sender hears itself");
    for port in &ports[1..] {
        assert_eq!(port.received_bytes(), std::slice::from_ref(&bytes));
    }
    // A port that goes takes nothing with it.
    check(ports[7].adapter.halt());
    carries(first, &ports[8]);
    switch.finish();
}

#[test]
fn the_switch_has_64_ports_and_says_so() {
    let switch = Switch::new(610);
    let small = || config().keyword("*ReceiveBuffers", "32");
    for _ in 0..64 {
        check(switch.driver.add_adapter(small()));
    }
    let Err(Error::Status(status)) = switch.driver.add_adapter(small()) else {
        panic!("a 65th adapter");
    };
    assert_eq!(status, NDIS_STATUS_RESOURCES);
    switch.finish();
}
