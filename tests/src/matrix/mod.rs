//! The matrix: every algorithm in every mode, packet size and memory layout, both ways through the
//! real driver, against software that shares nothing with it.
//!
//! | module | concern |
//! |---|---|
//! | [`row`] | what a row of the matrix is |
//! | [`rows`] | all rows, from what the adapter advertises |
//! | [`keys`] | SAs with keys for a row |
//! | [`framing`] | plain packets, and how TCP/IP frames them for a row's SAs |
//! | [`oracle`] | the software that seals and opens, in another process |
//! | [`bench`] | the machine with three adapters |
//! | [`sizes`] | packet sizes and MDL splits |
//! | [`check`] | going through a row |
//! | `case` | one packet: plain, framed, and as it must come up |
//! | `receive`, `send`, `forge` | what must be true of packets each way, and of forged ones |
//! | [`report`] | the table |
//!
//! The framing is not that of `tcpip`: it is a third opinion.

pub mod bench;
mod case;
pub mod check;
mod forge;
pub mod framing;
pub mod keys;
pub mod oracle;
mod receive;
pub mod report;
pub mod row;
pub mod rows;
mod send;
pub mod sizes;
