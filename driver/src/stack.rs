//! How much of the kernel stack must be left for what needs most of it.

use ndis::remaining_stack;

/// What the driver may use itself at most, which `cargo xtask stack` checks (10 KiB), and 2 KiB for what it
/// calls and for what that calls back.
const NEEDED: usize = 12 * 1024;

/// Whether there is room for sealing packets, and for setting up an SA. Asked where the frames of a
/// system call, of sockets, TCP/IP and filters may lie above; a DPC has a stack of its own, and a work
/// item one that is empty. Any IRQL.
pub fn has_room() -> bool {
    remaining_stack() >= NEEDED
}
