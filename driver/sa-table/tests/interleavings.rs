//! Every interleaving of the races that matter, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p sa-table --release --test interleavings`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use sa_table::{Keyed, MAX_KEYS, Table};

struct Item {
    key: u32,
    drops: Arc<AtomicUsize>,
}

impl Keyed for Item {
    fn keys(&self) -> [Option<u32>; MAX_KEYS] {
        [Some(self.key), None]
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

fn table(capacity: usize) -> (Arc<Table<Item>>, Arc<AtomicUsize>) {
    (
        Arc::new(Table::try_new(capacity).unwrap()),
        Arc::new(AtomicUsize::new(0)),
    )
}

fn bounded(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

#[test]
fn remove_races_acquire() {
    bounded(|| {
        let (table, drops) = table(1);
        let item = |key| Item {
            key,
            drops: Arc::clone(&drops),
        };
        let handle = table.insert(item(1)).unwrap();
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                if let Some(found) = table.acquire(handle) {
                    assert_eq!(found.key, 1);
                    assert_eq!(found.drops.load(Ordering::SeqCst), 0);
                }
            })
        };
        assert!(table.remove(handle));
        reader.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn two_removes_one_wins() {
    bounded(|| {
        let (table, drops) = table(1);
        let handle = table
            .insert(Item {
                key: 1,
                drops: Arc::clone(&drops),
            })
            .unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(handle))
        };
        let here = table.remove(handle);
        assert!(here ^ other.join().unwrap());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn lookup_races_reuse_of_the_slot() {
    bounded(|| {
        let (table, drops) = table(1);
        let item = |key, drops: &Arc<AtomicUsize>| Item {
            key,
            drops: Arc::clone(drops),
        };
        let handle = table.insert(item(1, &drops)).unwrap();
        let writer = {
            let (table, drops) = (Arc::clone(&table), Arc::clone(&drops));
            thread::spawn(move || {
                assert!(table.remove(handle));
                // Full while the reader still holds the removed item.
                let _ = table.insert(Item { key: 2, drops });
            })
        };
        for found in table.lookup(1) {
            assert_eq!(found.key, 1);
        }
        writer.join().unwrap();
        assert!(table.lookup(1).next().is_none());
        let second = table.lookup(2).count();
        assert_eq!(drops.load(Ordering::SeqCst), 2 - second);
    });
}
