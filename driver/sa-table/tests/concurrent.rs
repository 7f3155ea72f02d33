//! Many threads on one table: nothing is dropped early, twice or never.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sa_table::{Handle, Keyed, MAX_KEYS, Table};

struct Item<'a> {
    key: u32,
    alive: AtomicBool,
    drops: &'a AtomicUsize,
}

impl Keyed for Item<'_> {
    fn keys(&self) -> [Option<u32>; MAX_KEYS] {
        [Some(self.key), None]
    }
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        assert!(self.alive.swap(false, Ordering::SeqCst), "dropped twice");
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

fn item(key: u32, drops: &AtomicUsize) -> Item<'_> {
    Item {
        key,
        alive: AtomicBool::new(true),
        drops,
    }
}

#[test]
fn a_removed_item_lives_until_its_last_reference() {
    let drops = AtomicUsize::new(0);
    let table = Table::try_new(2).unwrap();
    let handle = table.insert(item(5, &drops)).unwrap();
    let first = table.acquire(handle).unwrap();
    let second = table.lookup(5).next().unwrap();
    assert!(table.remove(handle));
    assert!(!table.remove(handle));
    assert!(table.acquire(handle).is_none());
    assert!(table.lookup(5).next().is_none());
    assert_eq!(table.len(), 0);
    drop(first);
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    assert_eq!(second.key, 5);
    drop(second);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_used_slot_is_not_given_away() {
    let drops = AtomicUsize::new(0);
    let table = Table::try_new(1).unwrap();
    let handle = table.insert(item(1, &drops)).unwrap();
    let held = table.acquire(handle).unwrap();
    table.remove(handle);
    let back = table.insert(item(2, &drops)).unwrap_err().0;
    assert_eq!(back.key, 2);
    drop(held);
    let next = table.insert(back).unwrap();
    assert_ne!(next, handle);
    assert!(
        table.acquire(handle).is_none(),
        "a stale handle names nothing"
    );
    assert_eq!(table.acquire(next).unwrap().key, 2);
}

#[test]
fn forged_handles_are_not_found() {
    let drops = AtomicUsize::new(0);
    let table = Table::try_new(4).unwrap();
    let handle = table.insert(item(1, &drops)).unwrap().to_raw();
    for bit in 0..64 {
        if let Some(forged) = Handle::from_raw(handle ^ (1 << bit)) {
            assert!(table.acquire(forged).is_none(), "bit {bit}");
            assert!(!table.remove(forged), "bit {bit}");
        }
    }
    assert!(table.acquire(Handle::from_raw(u64::MAX).unwrap()).is_none());
    assert!(table.acquire(Handle::from_raw(handle).unwrap()).is_some());
}

#[test]
fn the_table_takes_its_items_along() {
    let drops = AtomicUsize::new(0);
    let table = Table::try_new(3).unwrap();
    for key in 0..3 {
        table.insert(item(key, &drops)).unwrap();
    }
    assert!(table.insert(item(9, &drops)).is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 1, "the one without room");
    assert_eq!(table.iter().count(), 3);
    drop(table);
    assert_eq!(drops.load(Ordering::SeqCst), 4);
}

#[test]
fn remove_all_empties_the_table() {
    let drops = AtomicUsize::new(0);
    let table = Table::try_new(8).unwrap();
    for key in 0..8 {
        table.insert(item(key / 2, &drops)).unwrap();
    }
    let held = table.lookup(0).next().unwrap();
    table.remove_all();
    assert_eq!(drops.load(Ordering::SeqCst), 7);
    assert!(table.is_empty() && table.iter().next().is_none());
    drop(held);
    assert_eq!(drops.load(Ordering::SeqCst), 8);
    for key in 0..8 {
        table.insert(item(key, &drops)).unwrap();
    }
}

#[test]
fn absurd_capacities_are_refused() {
    assert!(Table::<Item<'_>>::try_new(usize::MAX).is_err());
    assert!(Table::<Item<'_>>::try_new(sa_table::MAX_CAPACITY + 1).is_err());
    let drops = AtomicUsize::new(0);
    let empty = Table::<Item<'_>>::try_new(0).unwrap();
    assert!(empty.insert(item(0, &drops)).is_err());
}

/// Writers fill and empty slots under eight keys while readers look them up; whatever a
/// reader gets is alive and has the key that was asked for.
#[test]
fn readers_and_writers_at_once() {
    const ROUNDS: u32 = 20_000;
    let drops = AtomicUsize::new(0);
    let added = AtomicUsize::new(0);
    let table = Table::try_new(16).unwrap();
    let done = AtomicBool::new(false);
    // There whenever a reader looks, however late the scheduler starts it.
    let lasting = table.insert(item(0, &drops)).ok().unwrap();
    added.fetch_add(1, Ordering::SeqCst);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let (table, drops, added) = (&table, &drops, &added);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for round in 0..ROUNDS {
                        if let Ok(handle) = table.insert(item((round + seed) % 8, drops)) {
                            mine.push(handle);
                        }
                        added.fetch_add(1, Ordering::SeqCst);
                        if mine.len() > 4 {
                            let oldest = mine.remove(0);
                            assert!(table.remove(oldest));
                            assert!(table.acquire(oldest).is_none());
                        }
                    }
                    for handle in mine {
                        assert!(table.remove(handle));
                    }
                })
            })
            .collect();
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                loop {
                    let last_round = done.load(Ordering::SeqCst);
                    let mut seen = 0u64;
                    for key in 0..8 {
                        for found in table.lookup(key) {
                            assert_eq!(found.key, key);
                            assert!(found.alive.load(Ordering::SeqCst));
                            seen += 1;
                        }
                    }
                    assert!(seen > 0);
                    if last_round {
                        break;
                    }
                }
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        // The end of the scope would wait too, but not so that ThreadSanitizer sees it.
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert!(table.remove(lasting));
    assert!(table.is_empty());
    assert_eq!(
        drops.load(Ordering::SeqCst),
        added.load(Ordering::SeqCst),
        "every item was dropped once"
    );
    for key in 0..16 {
        table
            .insert(item(key, &drops))
            .expect("every slot came back");
    }
}
