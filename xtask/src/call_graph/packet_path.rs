//! What packets never come by: memory allocations, and the code that knows algorithms by name.
//!
//! All that a packet needs is there before it comes: frames and their NET_BUFFER_LISTs from pools that were
//! filled when the adapter was initialized, scratch memory per processor, SAs when they were added. So no
//! import that takes memory is allowed, and none is excepted; nor a call of the framework or through a variable, of
//! which the image does not say what it does. Freeing is: the last packet of an SA that was
//! deleted gives its memory back. MmMapLockedPagesSpecifyCache (behind NdisBufferVirtualAddress) maps the pages
//! of a transport that has not done so itself; it takes no pool.
//!
//! Which algorithm an SA has, only `sa::select` and `sa::params` know: an SA holds its transforms as trait
//! objects and no name of them. What a packet does cannot ask for what is not there.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{Graph, image::Rva};

/// Where packets enter the driver.
const ENTRIES: [&str; 6] = [
    "ipsecov2::handlers::send_net_buffer_lists()",
    "ipsecov2::handlers::return_net_buffer_lists()",
    "ipsecov2::adapter::init::send_dpc()",
    "ipsecov2::adapter::init::receive_dpc()",
    "ipsecov2::adapter::init::send_work_item()",
    "ipsecov2::adapter::init::receive_work_item()",
];

/// The beginnings of the names of imports that take memory: pool, MDLs, NET_BUFFERs and lists, and all that the
/// framework makes.
const ALLOCATIONS: [&str; 7] = [
    "ExAllocate",
    "IoAllocate",
    "MmAllocate",
    "NdisAllocate",
    "NdisMAllocate",
    "RtlAllocate",
    "WdfVersionBind",
];

/// Parts of the names of functions that are for adding an SA.
const BY_NAME: [&str; 2] = ["ipsec::sa::select", "ipsec::sa::params"];

/// Returns how many functions packets may come by.
pub fn check(graph: &Graph) -> Result<usize> {
    let entries: Vec<Rva> = ENTRIES
        .iter()
        .map(|name| graph.named(name))
        .collect::<Result<_>>()?;
    let reached = graph.reached(&entries);
    for function in &reached {
        let name = graph.name(*function);
        if let Some(part) = BY_NAME.iter().find(|part| name.contains(*part)) {
            bail!("packets come by {name}, which is of {part}");
        }
        if graph.foreign.contains(function) {
            bail!("packets come by {name}, which calls the framework or what a variable holds");
        }
        let mut imports = graph.imports.get(function).into_iter().flatten();
        let allocates = |name: &&String| ALLOCATIONS.iter().any(|start| name.starts_with(start));
        if let Some(import) = imports.find(allocates) {
            bail!("packets come by {name}, which calls {import}");
        }
    }
    Ok(reached.len())
}

impl Graph {
    /// All functions that can be reached.
    pub(super) fn reached(&self, from: &[Rva]) -> BTreeSet<Rva> {
        let mut left = from.to_vec();
        let mut reached = BTreeSet::new();
        while let Some(function) = left.pop() {
            if reached.insert(function) {
                left.extend(self.edges.get(&function).into_iter().flatten());
            }
        }
        reached
    }
}
