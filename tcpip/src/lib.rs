//! The transport on top of the simulator: plays tcpip.sys for the driver under test.
//!
//! It offloads SAs by direct OIDs, frames packets as TCP/IP does for IPsecOV2, sends them in
//! bursts, checks what comes up on another adapter, and takes the SAs down. It shares no code
//! with the driver's engine: what both agree on was written twice, and against the RFCs.
//!
//! | module | concern |
//! |---|---|
//! | [`sas`], [`algorithm`] | `sas.json` |
//! | [`capture`], [`packet`] | pcap files; where things are in a frame |
//! | [`policy`] | which packets are protected, by which SA |
//! | [`plan`] | the SAs that `run` makes |
//! | [`framing`], [`unframe`] | AH, UDP and ESP headers, padding, trailers and tunnels, without keys |
//! | [`protection`], [`places`] | where the headers are: by who put them there, and by their bytes |
//! | [`outbound`] | SAs and sequence numbers for the packets of a capture |
//! | [`software`] | ESP and AH with keys, to check the driver |
//! | [`tasks`], [`large_send`], [`checksum`] | what else is left to the adapter, and whether it was done |
//! | [`offload`] | the buffers of the direct OIDs, out-of-band words |
//! | [`lab`], [`split`], [`recorder`] | machine, adapters, memory of frames, what comes back |
//! | [`verify`], [`compare`] | what must be true of a packet that went through |
//! | [`iv`] | no IV twice |
//! | [`run`], [`send`], [`receive`], [`throughput`] | the scenarios |
//! | [`wireshark`] | what Wireshark needs to decrypt the wire |

pub mod capture;
pub mod checksum;
pub mod clear;
pub mod compare;
pub mod framing;
pub mod iv;
pub mod lab;
pub mod large_send;
pub mod offload;
pub mod outbound;
pub mod packet;
pub mod places;
pub mod plan;
pub mod policy;
pub mod protection;
pub mod receive;
pub mod recorder;
pub mod run;
pub mod sas;
pub mod send;
pub mod software;
pub mod split;
pub mod synthetic;
pub mod tasks;
pub mod throughput;
pub mod unframe;
pub mod verify;
pub mod wireshark;

pub use lab_options::{algorithm, words};
