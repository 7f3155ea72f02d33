//! Deadlock detection: the order in which spin locks are acquired while others are held. Two
//! orders that contradict each other can deadlock, whether or not they did.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{
    gate::HeldLock,
    processor::Current,
    report::{CallStack, rules, violation},
};

/// The locks of a machine by address, and which were acquired while they were held.
#[derive(Default)]
pub(crate) struct LockOrder(Mutex<Graph>);

type Graph = BTreeMap<usize, BTreeMap<usize, CallStack>>;

impl LockOrder {
    /// Notes that `lock` is about to be acquired by a thread that has `held`; stops the machine
    /// when some thread has ever acquired them the other way round.
    pub(crate) fn acquire(&self, cpu: &Current, held: &[HeldLock], lock: usize) {
        for before in held {
            let mut graph = self.0.lock();
            if graph
                .get(&before.address)
                .is_some_and(|n| n.contains_key(&lock))
            {
                continue;
            }
            let cycle = path(&graph, lock, before.address);
            let Some(cycle) = cycle else {
                let stack = cpu.call_stack();
                graph.entry(before.address).or_default().insert(lock, stack);
                graph.entry(lock).or_default();
                continue;
            };
            let text = describe(cpu, &graph, before, lock, &cycle);
            drop(graph);
            violation(rules::DEADLOCK, text);
        }
    }

    /// Forgets the locks in memory that is given back, or that is initialized anew.
    pub(crate) fn forget(&self, start: usize, len: usize) {
        let mut graph = self.0.lock();
        if graph.is_empty() {
            return;
        }
        let end = start.saturating_add(len);
        let gone: Vec<usize> = graph.range(start..end).map(|(lock, _)| *lock).collect();
        for lock in gone {
            graph.remove(&lock);
            for after in graph.values_mut() {
                after.remove(&lock);
            }
        }
    }
}

/// The locks on a way from one to another, both included.
fn path(graph: &Graph, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut ways = vec![vec![from]];
    let mut seen = vec![from];
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        for next in graph.get(&last).into_iter().flat_map(BTreeMap::keys) {
            if !seen.contains(next) {
                seen.push(*next);
                let mut longer = way.clone();
                longer.push(*next);
                ways.push(longer);
            }
        }
    }
    None
}

fn describe(cpu: &Current, graph: &Graph, held: &HeldLock, lock: usize, cycle: &[usize]) -> String {
    let HeldLock { address, by, .. } = held;
    let mut text = format!(
        "spin lock 0x{lock:x} is acquired while 0x{address:x} is held (acquired by {by}); the other order came before:"
    );
    for pair in cycle.windows(2) {
        let (first, then) = (pair[0], pair[1]);
        text.push_str(&format!("\n      0x{first:x}, then 0x{then:x}:"));
        let stack = graph.get(&first).and_then(|after| after.get(&then));
        for line in stack
            .into_iter()
            .flat_map(|s| s.resolve(cpu.machine().images()))
        {
            text.push_str(&format!("\n        {line}"));
        }
    }
    text
}
