//! Keys, and everything made of them, are gone when their SA is: shown by reading the driver's
//! memory, what it gave back of it, and the kernel stacks.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipsecov2_tests::{
    adapter::{TestAdapter, name},
    associations::{Kind, sa},
    bench::{Bench, config},
    framed::packet,
    secrets::{Secrets, blocks},
    switch::frame,
};
use ndis_sim::{Machine, ndis::SendNbl};
use tcpip::{
    lab::NdisVersion,
    offload::Way,
    sas::{Mode, Sa},
};

/// An SA of every kind.
fn sas() -> Vec<Sa> {
    let kinds = Kind::all().into_iter().zip(1..);
    kinds
        .map(|(kind, number)| sa(kind, Mode::Transport, number % 2 == 0, number))
        .collect()
}

/// The same kind of SA with other keys and SPIs.
fn other_keys(sa: &Sa) -> Sa {
    let kinds = Kind::all().into_iter().zip(1..);
    let mut of = kinds.map(|(kind, number)| {
        (
            self::sa(kind, Mode::Transport, number % 2 == 0, number).name,
            self::sa(kind, Mode::Transport, number % 2 == 0, number + 1000),
        )
    });
    of.find(|(name, _)| *name == sa.name).unwrap().1
}

/// What `add` does to the pool.
fn added_blocks<T>(machine: &Machine, add: impl FnOnce() -> T) -> (T, HashSet<usize>) {
    let before = blocks(machine);
    let result = add();
    let added = &blocks(machine) - &before;
    assert!(!added.is_empty());
    (result, added)
}

/// What is secret of SAs that follows from their keys.
fn known(sas: &[Sa]) -> Secrets {
    let mut all = Secrets::default();
    for sa in sas {
        all.extend(Secrets::of(sa));
    }
    all
}

/// An SA of each kind with a packet behind it, and what is secret of them.
struct Working {
    bench: Bench,
    sas: Vec<Sa>,
    handles: Vec<(usize, usize)>,
    secrets: Secrets,
}

impl Working {
    fn start(version: NdisVersion) -> Self {
        let bench = Bench::start(version, || config(true));
        let machine = bench.lab.machine().clone();
        machine.kernel().pool.keep_freed();
        let sas = sas();
        let mut secrets = Secrets::default();
        let mut handles = Vec::new();
        for sa in &sas {
            let (decoy, decoys) = added_blocks(&machine, || bench.add(&other_keys(sa)));
            let (pair, added) = added_blocks(&machine, || bench.add(sa));
            let count = secrets.len();
            secrets.add_blocks(&machine, &sa.name, &added, &decoys);
            assert!(secrets.len() > count, "{}", sa.name);
            handles.push(pair);
            bench.delete(decoy);
        }
        // The search finds what is there: the keys of each kind in a form that the standards give,
        // but for DES, whose round keys are nobody's but the implementation's.
        let standard = known(&sas);
        let seen = standard.owners_in_pool(&machine);
        for sa in &sas {
            let legacy = sa
                .esp
                .as_ref()
                .is_some_and(|esp| esp.encryption.algorithm.alignment() == 8);
            assert!(legacy || seen.contains(&sa.name), "{}", sa.name);
        }
        secrets.extend(standard);
        let this = Self {
            bench,
            sas,
            handles,
            secrets,
        };
        this.traffic();
        this
    }

    fn traffic(&self) {
        for (sa, &(outbound, _)) in self.sas.iter().zip(&self.handles) {
            let list = packet(sa, 100, 1).list(outbound, 0);
            let (_, seen) = self.bench.pass(list, std::slice::from_ref(sa));
            assert!(seen.stamp.crypto_done, "{}", sa.name);
            assert_eq!(seen.stamp.status_name(), "CRYPTO_SUCCESS", "{}", sa.name);
        }
        self.bench.lab.machine().settle().unwrap();
    }

    fn check_live(&self) {
        let owners = self.secrets.owners_in_pool(self.bench.lab.machine());
        let all: BTreeSet<_> = self.sas.iter().map(|sa| sa.name.clone()).collect();
        assert_eq!(owners, all);
    }
}

fn check_gone(secrets: &Secrets, machine: &Machine) {
    machine.settle().unwrap();
    assert_eq!(secrets.in_pool(machine), BTreeSet::new());
}

#[test]
fn an_sa_that_is_deleted() {
    for version in NdisVersion::ALL {
        let working = Working::start(version);
        working.check_live();
        let Working {
            bench,
            handles,
            secrets,
            ..
        } = working;
        for pair in handles {
            bench.delete(pair);
        }
        check_gone(&secrets, bench.lab.machine());
        bench.finish();
    }
}

#[test]
fn an_adapter_that_is_halted() {
    let working = Working::start(NdisVersion::V6_1);
    working.check_live();
    let Working { bench, secrets, .. } = working;
    let lab = bench.halt();
    check_gone(&secrets, lab.machine());
    lab.finish().unwrap();
}

#[test]
fn an_adapter_that_is_surprise_removed() {
    let working = Working::start(NdisVersion::V6_20);
    working.check_live();
    let Working { bench, secrets, .. } = working;
    for port in [&bench.a, &bench.b] {
        port.adapter.surprise_remove().unwrap();
    }
    check_gone(&secrets, bench.lab.machine());
    bench.lab.finish().unwrap();
}

#[test]
fn a_driver_that_is_unloaded() {
    let working = Working::start(NdisVersion::V6_30);
    working.check_live();
    let Working { bench, secrets, .. } = working;
    let machine = bench.lab.machine().clone();
    bench.finish();
    check_gone(&secrets, &machine);
}

/// Looks at every block in the moment when the driver frees it, so that the report says who does: there is
/// nothing in it any more. Returns how many there have been.
fn watch(machine: &Machine) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    machine.kernel().pool.check_freed(move |block| {
        seen.fetch_add(1, Ordering::Relaxed);
        let at = block.iter().position(|&byte| byte != 0)?;
        Some(format!("not clear at {at} of {} bytes", block.len()))
    });
    count
}

#[test]
fn a_block_that_is_freed() {
    let sas = sas();
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start_with(version, config(true));
        let freed = watch(adapter.lab.machine());
        let ways = [Way::Outbound, Way::Inbound];
        let handles: Vec<_> = sas
            .iter()
            .flat_map(|sa| ways.map(|way| adapter.add_one(sa, way)))
            .collect();
        // Half are deleted by request, the others go with the adapter.
        let (some, rest) = handles.split_at(handles.len() / 2);
        assert_eq!(name(&adapter.delete(some)), "NDIS_STATUS_SUCCESS");
        adapter.lab.machine().settle().unwrap();
        let by_request = freed.load(Ordering::Relaxed);
        assert!(by_request >= some.len());
        adapter.finish();
        assert!(freed.load(Ordering::Relaxed) >= by_request + rest.len());
    }
}

/// What an adapter has received is in its frames as long as it is there, where the search finds it.
#[test]
fn a_frame_of_an_adapter_that_is_halted() {
    let adapter = TestAdapter::start(NdisVersion::V6_30);
    let machine = adapter.lab.machine().clone();
    machine.kernel().pool.keep_freed();
    let freed = watch(&machine);
    let secret: Vec<u8> = (0..16).map(|byte| byte ^ 0xA7).collect();
    let mut secrets = Secrets::default();
    secrets.add("a frame", &secret);
    let other = adapter.lab.port(1514, adapter.recorder.clone()).unwrap();
    let mac = adapter.port.adapter.mac();
    let mut frame = frame(mac, other.adapter.mac(), 100);
    frame[40..][..secret.len()].copy_from_slice(&secret);
    other.open.send(vec![SendNbl::new(frame)]).unwrap();
    machine.settle().unwrap();
    assert_ne!(secrets.in_pool(&machine), BTreeSet::new());
    adapter.port.adapter.halt().unwrap();
    check_gone(&secrets, &machine);
    assert_ne!(freed.load(Ordering::Relaxed), 0);
    drop(other);
    adapter.lab.finish().unwrap();
}

/// ADD_SA fails after some keys were set up: another key of the SA is wrong, the table is full,
/// there is no memory.
#[test]
fn an_sa_that_is_not_added() {
    for version in NdisVersion::ALL {
        let config = config(true).keyword("SaOffloadCapacity", "1");
        let adapter = TestAdapter::start_with(version, config);
        let machine = adapter.lab.machine().clone();
        machine.kernel().pool.keep_freed();
        let sas = sas();
        let secrets = known(&sas);
        for sa in &sas {
            let mut wrong = sa.clone();
            let last = match (&mut wrong.ah, &mut wrong.esp) {
                (Some(ah), Some(_)) => &mut ah.authentication.key,
                (_, Some(esp)) => match &mut esp.authentication {
                    Some(authentication) => &mut authentication.key,
                    None => &mut esp.encryption.key,
                },
                (Some(ah), None) => &mut ah.authentication.key,
                (None, None) => unreachable!(),
            };
            last.pop();
            let result = adapter.add(adapter.add_sa_buffer(&wrong, Way::Inbound));
            assert_eq!(
                name(&result),
                "NDIS_STATUS_INVALID_PARAMETER",
                "{}",
                sa.name
            );
        }
        for sa in &sas {
            machine.faults().fail_next("ExAllocatePool2");
            let result = adapter.add(adapter.add_sa_buffer(sa, Way::Inbound));
            assert_eq!(name(&result), "NDIS_STATUS_RESOURCES", "{}", sa.name);
        }
        machine.faults().clear();
        let only = sa(Kind::all()[0], Mode::Transport, false, 999);
        let handle = adapter.add_one(&only, Way::Inbound);
        for sa in &sas {
            let result = adapter.add(adapter.add_sa_buffer(sa, Way::Inbound));
            assert_eq!(name(&result), "NDIS_STATUS_RESOURCES", "{}", sa.name);
        }
        check_gone(&secrets, &machine);
        assert_eq!(secrets.on_stacks(&machine), BTreeSet::new());
        assert_eq!(name(&adapter.delete(&[handle])), "NDIS_STATUS_SUCCESS");
        adapter.finish();
    }
}

/// Setting a key up leaves no copy of it on the stack.
#[test]
fn an_sa_that_is_added_leaves_its_keys_in_one_place() {
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start_with(version, config(true));
        let machine = adapter.lab.machine().clone();
        machine.kernel().pool.keep_freed();
        for sa in &sas() {
            for way in [Way::Outbound, Way::Inbound] {
                let decoy = || adapter.add_one(&other_keys(sa), way);
                let (decoy, decoys) = added_blocks(&machine, decoy);
                let (handle, added) = added_blocks(&machine, || adapter.add_one(sa, way));
                machine.settle().unwrap();
                let mut secrets = Secrets::of(sa);
                secrets.add_blocks(&machine, &sa.name, &added, &decoys);
                assert_eq!(name(&adapter.delete(&[decoy])), "NDIS_STATUS_SUCCESS");
                assert_eq!(secrets.on_stacks(&machine), BTreeSet::new(), "{}", sa.name);
                assert_eq!(name(&adapter.delete(&[handle])), "NDIS_STATUS_SUCCESS");
                machine.settle().unwrap();
                assert_eq!(secrets.on_stacks(&machine), BTreeSet::new(), "{}", sa.name);
                assert_eq!(secrets.in_pool(&machine), BTreeSet::new(), "{}", sa.name);
            }
        }
        adapter.finish();
    }
}
