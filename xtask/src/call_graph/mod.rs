//! The driver's call graph, from its machine code: what each entry point can reach.
//!
//! Whom a function calls is in its code, and what it takes off the stack in its unwind information. So what is
//! true of every way through the driver can be shown without running any of them: how deep the stack gets
//! ([`stack`]), and what packets never come by ([`packet_path`]).
//!
//! Calls through pointers are resolved to what can be behind them:
//! - an import is the kernel's, and ends the way;
//! - a method of a trait object is every method that is at this place in any table of methods;
//! - a pointer that is kept in a variable is the framework's or the kernel's: the driver has no variables for
//!   functions of its own;
//! - what else is called through a pointer is named in [`POINTERS`], and a call that is not is an error.

mod calls;
mod image;
mod names;
mod packet_path;
mod stack;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, bail};
use pdb_addr2line::{ContextPdbData, pdb::PDB};

use crate::{fsutil, progress::Progress};
use calls::Calls;
use image::{Image, Rva};

/// What a pointer that is called can lead to.
#[derive(Clone, Copy)]
enum Behind {
    /// The drop glue of some trait object.
    Drop,
    /// Functions with one of these in their names.
    Named(&'static [&'static str]),
}

/// By a part of the caller's name: where its calls lead through pointers of which the code does not show it.
const POINTERS: &[(&str, Behind)] = &[
    // Boxed transforms of SAs, and others.
    ("core::ptr::drop_in_place", Behind::Drop),
    ("sa_table::table::Table::remove", Behind::Drop),
    ("ipsec::engine::Engine::add_sa", Behind::Drop),
    // The pieces of a packet are fed to a closure.
    (
        "ipsec::ah::Place::authenticated",
        Behind::Named(&["::tag::closure$"]),
    ),
    // Transforms, whose table is read once for several calls.
    ("ipsec::", TRANSFORMS),
    // Arguments.
    ("core::fmt::", Behind::Named(&["::fmt()"])),
];

const TRANSFORMS: Behind = Behind::Named(&[
    "ipsec::esp::transform::impl$",
    "ipsec::ah::transform::impl$",
]);

/// The driver's call graph.
struct Graph {
    image: Image,
    names: BTreeMap<Rva, String>,
    edges: BTreeMap<Rva, BTreeSet<Rva>>,
    /// By caller.
    imports: BTreeMap<Rva, BTreeSet<String>>,
    /// Who calls the framework, or others through a variable.
    foreign: BTreeSet<Rva>,
}

/// `cargo xtask stack`: prints the deepest way of each entry point, then [`check`]s.
///
/// # Errors
/// As [`check`].
pub fn run(ui: &Progress, image: &Path) -> Result<()> {
    let graph = Graph::load(image)?;
    stack::print(&graph)?;
    check_graph(ui, &graph)
}

/// The part of `cargo xtask test`.
///
/// # Errors
/// When an entry point may use too much stack, or a packet may come by what it must not.
pub fn check(ui: &Progress, image: &Path) -> Result<()> {
    check_graph(ui, &Graph::load(image)?)
}

fn check_graph(ui: &Progress, graph: &Graph) -> Result<()> {
    let step = ui.step("stack use and packet path of the driver");
    let stack = stack::check(graph)?;
    stack::check_wiping(graph)?;
    let functions = packet_path::check(graph)?;
    step.done(format!(
        "{stack}; {functions} functions on the way of packets"
    ));
    Ok(())
}

impl Graph {
    fn load(path: &Path) -> Result<Self> {
        let pdb = path.with_extension("pdb");
        let opened =
            std::fs::File::open(&pdb).with_context(|| format!("cannot open {}", pdb.display()))?;
        let data = ContextPdbData::try_from_pdb(PDB::open(opened)?)?;
        let context = data.make_context()?;
        let name = |rva| {
            let function = context.find_function(rva).ok().flatten();
            function.and_then(|function| function.name)
        };
        Self::new(Image::parse(&fsutil::read(path)?)?, &name)
            .with_context(|| format!("the call graph of {}", path.display()))
    }

    fn new(image: Image, name: &dyn Fn(Rva) -> Option<String>) -> Result<Self> {
        let mut names = BTreeMap::new();
        let mut all: BTreeMap<Rva, Calls> = BTreeMap::new();
        let mut left: Vec<Rva> = image.functions.keys().copied().collect();
        left.extend(image.methods.values().flatten());
        while let Some(function) = left.pop() {
            if all.contains_key(&function) {
                continue;
            }
            names.insert(
                function,
                name(function).unwrap_or_else(|| format!("{function:#x}")),
            );
            let calls = calls::of(&image, function);
            left.extend(&calls.functions);
            all.insert(function, calls);
        }
        let mut graph = Self {
            image,
            names,
            edges: BTreeMap::new(),
            imports: BTreeMap::new(),
            foreign: BTreeSet::new(),
        };
        for (function, mut calls) in all {
            graph
                .imports
                .insert(function, std::mem::take(&mut calls.imports));
            let framework = calls.methods.iter().any(|place| graph.is_framework(*place));
            if framework || !calls.variables.is_empty() {
                graph.foreign.insert(function);
            }
            let targets = graph.resolve(function, calls)?;
            graph.edges.insert(function, targets);
        }
        Ok(graph)
    }

    fn name(&self, function: Rva) -> &str {
        self.names.get(&function).map_or("?", String::as_str)
    }

    fn frame(&self, function: Rva) -> usize {
        self.image.functions.get(&function).map_or(0, |it| it.frame)
    }

    /// All functions that a function may call.
    fn resolve(&self, function: Rva, calls: Calls) -> Result<BTreeSet<Rva>> {
        let name = self.name(function);
        let mut targets = calls.functions;
        let mut unknown = calls.unknown;
        for place in calls.methods {
            match self.image.methods.get(&place) {
                Some(methods) => targets.extend(methods),
                // No table of the driver has so many methods: it is the table of KMDF's functions.
                None if self.is_framework(place) => {}
                None => unknown.extend([function]),
            }
        }
        if unknown.is_empty() {
            return Ok(targets);
        }
        let rule = POINTERS.iter().find(|(caller, _)| name.contains(caller));
        let Some((_, may_be)) = rule else {
            bail!(
                "{name} calls through a pointer at {unknown:x?}, and nothing says where that leads"
            );
        };
        match may_be {
            Behind::Drop => targets.extend(self.image.methods.get(&0).into_iter().flatten()),
            Behind::Named(parts) => {
                let named = |name: &str| parts.iter().any(|part| name.contains(part));
                let found: Vec<Rva> = self
                    .names
                    .iter()
                    .filter_map(|(function, name)| named(name).then_some(*function))
                    .collect();
                if found.is_empty() {
                    bail!(
                        "{name} is said to call {}, which is not there",
                        parts.join(" or ")
                    );
                }
                targets.extend(found);
            }
        }
        targets.remove(&function);
        Ok(targets)
    }

    fn is_framework(&self, place: usize) -> bool {
        self.image
            .methods
            .keys()
            .last()
            .is_some_and(|last| place > *last)
    }

    /// A function with this name.
    fn named(&self, name: &str) -> Result<Rva> {
        let found = self.names.iter().find(|(_, it)| *it == name);
        found
            .map(|(rva, _)| *rva)
            .with_context(|| format!("there is no function {name}"))
    }
}

#[cfg(test)]
mod tests;
