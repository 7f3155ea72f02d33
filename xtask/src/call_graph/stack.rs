//! How much of the kernel's stack each entry point can use, at most.
//!
//! A kernel stack has 24 KiB on x64, for all drivers in a call together.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::{Graph, image::Rva, names::short};

/// The most that the driver's part of a call may have, in bytes. The rest is for who called and who is called.
pub const LIMIT: usize = 10 * 1024;

/// Bytes of a return address.
const RETURN: usize = 8;

/// The deepest way down from a function.
#[derive(Clone, Debug, Default)]
struct Depth {
    bytes: usize,
    next: Option<Rva>,
}

pub fn print(graph: &Graph) -> Result<()> {
    println!(" bytes  entry point, and below it the deepest way down: the frame of each function");
    for (bytes, way) in graph.entries()? {
        let mut way = way.iter();
        println!(
            "{bytes:6}  {}",
            short(graph.name(*way.next().context("a way has a start")?))
        );
        for function in way.filter(|_| bytes > LIMIT / 4) {
            println!(
                "        {:6}  {}",
                graph.frame(*function),
                short(graph.name(*function))
            );
        }
    }
    Ok(())
}

/// Says how deep the deepest way is.
pub fn check(graph: &Graph) -> Result<String> {
    let entries = graph.entries()?;
    let (deepest, way) = entries.first().context("the image has no functions")?;
    if *deepest > LIMIT {
        let entry = way.first().map_or("?", |entry| graph.name(*entry));
        bail!("{entry} may use {deepest} bytes of stack of {LIMIT}: see cargo xtask stack");
    }
    Ok(format!(
        "at most {deepest} bytes of stack in {} entry points",
        entries.len()
    ))
}

/// Setting keys up leaves copies of them on the stack, which are wiped as far down as it may have come.
pub fn check_wiping(graph: &Graph) -> Result<()> {
    let (used, wiped) = (
        "ipsec::engine::Engine::set_up()",
        "ipsec::engine::wipe_stack()",
    );
    let depth = graph.depth(graph.named(used)?, &mut BTreeMap::new(), &mut Vec::new())?;
    let frame = graph.frame(graph.named(wiped)?);
    if depth.bytes > frame {
        bail!(
            "{used} may use {} bytes of stack, and {wiped} clears {frame}",
            depth.bytes
        );
    }
    Ok(())
}

impl Graph {
    /// The entry points, which nothing in the image calls, with their deepest ways; deepest first.
    pub(super) fn entries(&self) -> Result<Vec<(usize, Vec<Rva>)>> {
        let called: BTreeSet<Rva> = self.edges.values().flatten().copied().collect();
        let mut depths = BTreeMap::new();
        let mut entries = Vec::new();
        for function in self.edges.keys() {
            let depth = self.depth(*function, &mut depths, &mut Vec::new())?;
            if called.contains(function) || !self.image.functions.contains_key(function) {
                continue;
            }
            let mut way = vec![*function];
            let mut next = depth.next;
            while let Some(function) = next {
                way.push(function);
                next = depths.get(&function).and_then(|depth: &Depth| depth.next);
            }
            entries.push((depth.bytes, way));
        }
        entries.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        Ok(entries)
    }

    fn depth(
        &self,
        function: Rva,
        known: &mut BTreeMap<Rva, Depth>,
        way: &mut Vec<Rva>,
    ) -> Result<Depth> {
        if let Some(depth) = known.get(&function) {
            return Ok(depth.clone());
        }
        if let Some(start) = way.iter().position(|it| *it == function) {
            let circle: Vec<&str> = way[start..].iter().map(|it| self.name(*it)).collect();
            bail!(
                "functions that call each other have no greatest depth: {}",
                circle.join(", ")
            );
        }
        way.push(function);
        let mut deepest = Depth::default();
        for target in self.edges.get(&function).into_iter().flatten() {
            let bytes = self.depth(*target, known, way)?.bytes;
            if bytes > deepest.bytes {
                deepest = Depth {
                    bytes,
                    next: Some(*target),
                };
            }
        }
        way.pop();
        deepest.bytes += self.frame(function) + RETURN;
        known.insert(function, deepest.clone());
        Ok(deepest)
    }
}
