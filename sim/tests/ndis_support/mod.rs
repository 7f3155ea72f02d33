//! A loopback miniport in functions of the test itself, and the rig around it.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod data;
pub mod deeds;
pub mod driver;
pub mod handlers;
pub mod initialize;
pub mod life;
pub mod requests;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

pub use driver::{At, Deed, Misdeed, Plan};
use ndis_sim::{
    BugCheck, Machine, Rule,
    guarded::Fence,
    inf::Inf,
    ndis::{
        Adapter, AdapterConfig, AdapterState, Collector, Error, Miniport, OidRequest, Open,
        Package, PowerState, SendNbl,
    },
    processor,
};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The INF of the loopback driver.
pub const INF: &str = r#"
[Version]
Signature = "$Windows NT$"
Class = Net
[Manufacturer]
%Maker% = Models, NTamd64, NTarm64
[Models.NTamd64]
"Loopback" = Loop.ndi, root\loop
[Models.NTarm64]
[Loop.ndi]
Characteristics = 0x1
*IfType = 6
*MediaType = 0
*PhysicalMediaType = 14
AddReg = Loop.Reg
[Loop.Reg]
HKR, , Depth, 0x00010001, 0x20
HKR, Ndi\Params\*JumboPacket, ParamDesc, 0, "Jumbo Packet"
HKR, Ndi\Params\*JumboPacket, Type, 0, "int"
HKR, Ndi\Params\*JumboPacket, Default, 0, "1514"
HKR, Ndi\Params\*JumboPacket, Min, 0, "1514"
HKR, Ndi\Params\*JumboPacket, Max, 0, "9014"
[Loop.ndi.Services]
AddService = loop, 2, Loop.Service
[Loop.Service]
ServiceBinary = %13%\loop.sys
AddReg = Loop.Parameters
[Loop.Parameters]
HKR, Parameters, Greeting, 0, "hello"
[Strings]
Maker = "nobody"
"#;

static PLANS: LazyLock<Mutex<HashMap<usize, Arc<Plan>>>> = LazyLock::new(Mutex::default);

/// The plan of the machine that the caller runs on.
pub fn plan() -> Arc<Plan> {
    let machine = std::ptr::from_ref(processor::current().machine()) as usize;
    PLANS
        .lock()
        .unwrap()
        .get(&machine)
        .cloned()
        .expect("the rig has set a plan")
}

/// A machine with the loopback driver on it.
pub struct Rig {
    pub machine: Arc<Machine>,
    pub plan: Arc<Plan>,
}

impl Rig {
    pub fn new(plan: Plan) -> Self {
        Self::with(plan, false)
    }

    /// With a clock that stands still.
    pub fn with(plan: Plan, manual_clock: bool) -> Self {
        // On one processor a work item cannot run before its queuer is done.
        let alone = plan.one_processor || plan.does(Misdeed::QueueTwice);
        let processors = if alone { 1 } else { 2 };
        // The host's own memcpy uses vector registers, so no canaries here.
        let machine = Machine::builder()
            .processors(processors)
            .canaries(false)
            .stack_limit(None)
            .manual_clock(manual_clock)
            .watchdog(Duration::from_secs(30))
            .buffers(Fence::End)
            .build();
        Self::on(plan, machine)
    }

    /// On a machine of one's own.
    pub fn on(plan: Plan, machine: Arc<Machine>) -> Self {
        let plan = Arc::new(plan);
        let key = Arc::as_ptr(&machine) as usize;
        PLANS.lock().unwrap().insert(key, Arc::clone(&plan));
        Self { machine, plan }
    }

    pub fn load(&self) -> Result<Miniport, Error> {
        let inf = Inf::parse(INF).unwrap();
        Miniport::load_native(
            &self.machine,
            handlers::entry(),
            Package::new(inf, "root\\loop"),
        )
    }

    pub fn config() -> AdapterConfig {
        AdapterConfig::new("root\\loop").mac([2, 0, 0, 0, 0, 1])
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        PLANS
            .lock()
            .unwrap()
            .remove(&(Arc::as_ptr(&self.machine) as usize));
    }
}

/// A frame to the adapter itself.
pub fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend((14..len).map(|i| i as u8));
    frame
}

/// Everything that an adapter can be asked, once.
pub fn whole_life(rig: &Rig) -> Result<(), Error> {
    let driver = rig.load()?;
    let adapter = driver.add_adapter(Rig::config())?;
    let collector = Collector::new();
    let open = adapter.open(collector.clone())?;
    receive_all(&open)?;
    traffic(&open, &collector)?;
    requests(&open)?;
    adapter.reset()?;
    if rig.plan.version >= (6, 20) {
        adapter.set_power(PowerState::D3)?;
        adapter.set_power(PowerState::D0)?;
    }
    adapter.pnp_event(
        ndis_sys::NdisDevicePnPEventPowerProfileChanged,
        &1u32.to_le_bytes(),
    )?;
    hold_while_pausing(rig, &adapter)?;
    adapter.restart()?;
    traffic(&open, &collector)?;
    rig.machine.settle()?;
    drop(open);
    adapter.halt()?;
    let leaks = driver.unload()?;
    assert!(leaks.is_clean(), "{leaks}");
    Ok(())
}

/// Opens the binding's packet filter.
pub fn receive_all(open: &Open) -> Result<(), Error> {
    let filter = 0x2Bu32.to_le_bytes();
    let result = open.oid(OidRequest::set(
        ndis_sys::OID_GEN_CURRENT_PACKET_FILTER,
        filter,
    ))?;
    assert_eq!(result.status, 0);
    Ok(())
}

fn traffic(open: &Open, collector: &Collector) -> Result<(), Error> {
    let machine = open.machine();
    // What other bindings have sent comes here as well.
    drop(collector.take_received());
    for len in [14, 60, 1514] {
        open.send(vec![
            SendNbl::new(frame(len)).cookie(len as u64),
            SendNbl::new(frame(len)),
        ])?;
        let sent = collector.wait_sent(machine, 2, PATIENCE)?;
        assert_eq!(sent.iter().map(|s| s.status).collect::<Vec<_>>(), [0, 0]);
        let received = collector.wait_received(machine, 2, PATIENCE)?;
        assert_eq!(
            received.iter().map(|r| r.data(0)).collect::<Vec<_>>(),
            [frame(len), frame(len)]
        );
    }
    open.cancel_sends(0x100)
}

fn requests(open: &Open) -> Result<(), Error> {
    let total = open.oid(OidRequest::query(ndis_sys::OID_GEN_MAXIMUM_TOTAL_SIZE, 4))?;
    assert_eq!(total.u32(), Some(1514));
    let pended = open.oid(OidRequest::query(ndis_sys::OID_GEN_XMIT_OK, 8))?;
    assert!(pended.is_success() && pended.data().len() == 8);
    let delete = OidRequest::set(
        ndis_sys::OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
        vec![0; 16],
    );
    assert_eq!(open.direct_oid(delete, ndis_sim::Irql::DISPATCH)?.status, 0);
    Ok(())
}

/// Pauses while a received list is out: the pause must wait for it.
fn hold_while_pausing(rig: &Rig, adapter: &Adapter) -> Result<(), Error> {
    let holder = Collector::holding();
    let open = adapter.open(holder.clone())?;
    receive_all(&open)?;
    open.send(vec![SendNbl::new(frame(100))])?;
    let held = holder.wait_received(&rig.machine, 1, PATIENCE)?;
    assert_eq!(held.len(), 1);
    let pausing = adapter.clone();
    let pause = std::thread::spawn(move || pausing.pause());
    let patience = Instant::now() + PATIENCE;
    while adapter.state() == AdapterState::Running
        && rig.machine.bug_check().is_none()
        && Instant::now() < patience
    {
        std::thread::yield_now();
    }
    // Long enough for a pause that does not wait to be over.
    std::thread::sleep(Duration::from_millis(30));
    if rig.machine.bug_check().is_none() {
        assert_eq!(adapter.state(), AdapterState::Pausing);
    }
    drop(held);
    pause.join().unwrap()
}

/// The bug check with which a whole life ends under a plan.
pub fn stopped_by(misdeed: Misdeed, version: (u8, u8)) -> BugCheck {
    let rig = Rig::new(Plan::new(version).with(misdeed));
    match whole_life(&rig) {
        Err(Error::BugCheck(check)) => check,
        Err(other) => panic!("{misdeed:?}: {other}"),
        Ok(()) => rig
            .machine
            .bug_check()
            .unwrap_or_else(|| panic!("{misdeed:?} was not noticed\n{}", rig.machine.report())),
    }
}

/// Asserts that what is done there is reported under the rule's name, and in these words.
pub fn deed(at: At, deed: Deed, rule: Rule, words: &str) {
    let mut plan = Plan::new((6, 30)).doing(at, deed);
    plan.one_processor = true;
    caught(&Rig::new(plan), rule, words);
}

/// Asserts that a whole life ends with the rule, and in these words.
pub fn caught(rig: &Rig, rule: Rule, words: &str) {
    let check = match whole_life(rig) {
        Err(Error::BugCheck(check)) => check,
        Err(other) => panic!("{words}: {other}"),
        Ok(()) => rig
            .machine
            .bug_check()
            .unwrap_or_else(|| panic!("not noticed: {words}")),
    };
    assert_eq!(check.rule(), rule, "{words}\n{check}");
    assert!(check.message().contains(words), "{words}\n{check}");
}

/// Asserts that a misdeed is reported under the rule's name.
pub fn trips(misdeed: Misdeed, rule: Rule) {
    let check = stopped_by(misdeed, (6, 30));
    assert_eq!(check.rule(), rule, "{misdeed:?}\n{check}");
}
