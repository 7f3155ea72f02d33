//! The example driver, a real `.sys`, from DriverEntry to the leak report: what a test of one's own
//! driver looks like. See docs/bring-your-own-driver.md.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use ndis_sim::{
    Irql, Machine,
    guarded::Fence,
    history::Kind,
    inf::Inf,
    ndis::{
        Adapter, AdapterConfig, AdapterState, Collector, Miniport, OidRequest, Open, Package,
        PowerState, SendNb, SendNbl, rules as ndis_rules,
    },
};
use ndis_sys::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn sys() -> PathBuf {
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/driver/x64/loopback.sys"
    );
    let path = env::var_os("LOOPBACK_SYS").map_or_else(|| built.into(), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo xtask test`, which builds it first",
        path.display()
    );
    path
}

struct Rig {
    machine: Arc<Machine>,
    driver: Miniport,
}

impl Rig {
    fn load() -> Self {
        let machine = Machine::builder().processors(4).buffers(Fence::End).build();
        let inf = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/loopback/loopback.inf"
        );
        let package = Package::new(Inf::load(inf.as_ref()).unwrap(), r"root\loopback");
        let driver = Miniport::load(&machine, &sys(), package).unwrap();
        Self { machine, driver }
    }

    fn adapter(&self) -> (Adapter, Open, Arc<Collector>) {
        let config = AdapterConfig::new(r"root\loopback");
        let adapter = self.driver.add_adapter(config).unwrap();
        let collector = Collector::new();
        let open = adapter.open(collector.clone()).unwrap();
        let filter = NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST;
        let set = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter.to_le_bytes());
        assert_eq!(open.oid(set).unwrap().status, NDIS_STATUS_SUCCESS);
        (adapter, open, collector)
    }

    /// Unloads the driver: nothing may be left, and no rule broken.
    fn finish(self) {
        let leaks = self.driver.unload().unwrap();
        assert!(leaks.is_clean(), "{leaks}");
        let report = self.machine.report();
        assert!(report.is_clean(), "{report}");
    }
}

fn frame(to: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0xB5]);
    frame.extend((14..len).map(|i| i as u8));
    frame
}

#[test]
fn what_is_sent_comes_back_in_every_shape() {
    let rig = Rig::load();
    let (adapter, open, collector) = rig.adapter();
    for irql in [Irql::PASSIVE, Irql::DISPATCH] {
        for len in [14, 60, 1514] {
            let bytes = frame(adapter.mac(), len);
            let shapes = [
                SendNb::new(bytes.clone()),
                SendNb::new(bytes.clone()).split(&[14, 0]),
                SendNb::new(bytes.clone()).data_offset(7).split_every(5),
            ];
            // Two lists, the second of two NET_BUFFERs.
            let [one, two, three] = shapes;
            let lists = vec![
                SendNbl::with_net_buffers(vec![one]),
                SendNbl::with_net_buffers(vec![two, three]),
            ];
            open.send_at(irql, lists).unwrap();
            let sent = collector.wait_sent(&rig.machine, 2, PATIENCE).unwrap();
            assert!(sent.iter().all(|s| s.status == NDIS_STATUS_SUCCESS));
            let received = collector.wait_received(&rig.machine, 3, PATIENCE).unwrap();
            assert!(received.iter().all(|r| r.data(0) == bytes));
        }
    }
    let count = open.oid(OidRequest::query(OID_GEN_RCV_OK, 8)).unwrap();
    assert_eq!(count.u64(), Some(18));
    drop(open);
    rig.finish();
}

#[test]
fn requests_are_answered() {
    let rig = Rig::load();
    let (adapter, open, _) = rig.adapter();
    let query = |oid, len| open.oid(OidRequest::query(oid, len)).unwrap();
    assert_eq!(query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4).u32(), Some(1514));
    assert_eq!(query(OID_GEN_VENDOR_DESCRIPTION, 32).data(), b"Loopback\0");
    let address = query(OID_802_3_CURRENT_ADDRESS, 6);
    assert_eq!(address.data(), adapter.mac());
    let short = query(OID_GEN_MAXIMUM_TOTAL_SIZE, 3);
    assert_eq!(
        (short.status, short.bytes_needed),
        (NDIS_STATUS_BUFFER_TOO_SHORT, 4)
    );
    assert_eq!(query(0xFF01_0203, 4).status, NDIS_STATUS_NOT_SUPPORTED);
    drop(open);
    rig.finish();
}

#[test]
fn a_pause_waits_for_what_the_protocol_holds() {
    let rig = Rig::load();
    let (adapter, open, _) = rig.adapter();
    let holder = Collector::holding();
    let holding = adapter.open(holder.clone()).unwrap();
    let set = OidRequest::set(
        OID_GEN_CURRENT_PACKET_FILTER,
        NDIS_PACKET_TYPE_DIRECTED.to_le_bytes(),
    );
    assert_eq!(holding.oid(set).unwrap().status, NDIS_STATUS_SUCCESS);
    open.send(vec![SendNbl::new(frame(adapter.mac(), 60))])
        .unwrap();
    let held = holder.wait_received(&rig.machine, 1, PATIENCE).unwrap();
    let pausing = adapter.clone();
    let pause = std::thread::spawn(move || pausing.pause());
    while adapter.state() == AdapterState::Running {
        std::thread::yield_now();
    }
    assert_eq!(adapter.state(), AdapterState::Pausing);
    drop(held);
    pause.join().unwrap().unwrap();
    assert_eq!(adapter.state(), AdapterState::Paused);
    adapter.restart().unwrap();
    drop((open, holding));
    rig.finish();
}

#[test]
fn adapters_come_and_go() {
    let rig = Rig::load();
    let (first, one, _) = rig.adapter();
    let (second, two, collector) = rig.adapter();
    assert_ne!(first.mac(), second.mac());
    second.set_power(PowerState::D3).unwrap();
    second.set_power(PowerState::D0).unwrap();
    first.surprise_remove().unwrap();
    let bytes = frame(second.mac(), 100);
    two.send(vec![SendNbl::new(bytes.clone())]).unwrap();
    let received = collector.wait_received(&rig.machine, 1, PATIENCE).unwrap();
    assert_eq!(received[0].data(0), bytes);
    drop((one, two, received));
    rig.finish();
}

#[test]
fn memory_may_run_out() {
    let rig = Rig::load();
    let config = || AdapterConfig::new(r"root\loopback");
    for call in [
        "NdisAllocateMemoryWithTagPriority",
        "NdisAllocateNetBufferListPool",
    ] {
        rig.machine.faults().fail_next(call);
        rig.driver.add_adapter(config()).unwrap_err();
    }
    let (adapter, open, collector) = rig.adapter();
    for call in [
        "NdisAllocateMemoryWithTagPriority",
        "NdisAllocateMdl",
        "NdisAllocateNetBufferAndNetBufferList",
    ] {
        rig.machine.faults().fail_next(call);
        open.send(vec![SendNbl::new(frame(adapter.mac(), 60))])
            .unwrap();
        collector.wait_sent(&rig.machine, 1, PATIENCE).unwrap();
        assert!(collector.take_received().is_empty(), "{call}");
    }
    drop(open);
    rig.finish();
}

#[test]
fn a_broken_rule_is_reported_with_the_names_of_the_drivers_functions() {
    let rig = Rig::load();
    let (_adapter, open, _) = rig.adapter();
    // A lie that NDIS would not tell: the driver writes where it was told that it may.
    let lie = OidRequest::query(OID_GEN_VENDOR_DESCRIPTION, 4).declared_length(64);
    let error = open.oid(lie).unwrap_err();
    let check = error.bug_check().unwrap();
    assert_eq!(check.rule(), ndis_rules::BUFFER_OVERRUN, "{check}");
    let life = &check.histories()[0];
    assert_eq!(life.kind, Kind::OidRequest);
    assert!(life.events[0].contains("MiniportOidRequest"), "{check}");
    let stack: Vec<String> = check.call_stack().iter().map(ToString::to_string).collect();
    let has = |text: &str| stack.iter().any(|line| line.contains(text));
    assert!(has("loopback.sys+0x"), "{check}");
    assert!(has("oid_request"), "{check}");
    assert!(has("lib.rs:"), "{check}");
    assert_eq!(stack.last().unwrap(), "MiniportOidRequest (callback)");
}
