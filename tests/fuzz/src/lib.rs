//! What the fuzz targets do, and what must hold for every input.
//!
//! Each module has a `run` that takes the fuzzer's bytes. It panics when a promise of the code under
//! test is broken; that it neither panics nor reads out of bounds itself is only the least of them.
//! An execution starts from nothing and ends with nothing, so that a finding is reproduced by its input
//! alone.

pub mod capture;
pub mod checksum;
pub mod frame;
pub mod headers;
pub mod inf;
pub mod large_send;
pub mod large_send_ipsec;
pub mod pe_image;
pub mod receive;
pub mod receive_sealed;
pub mod sa;
mod sa_buffer;
pub mod sa_requests;
pub mod sas_json;
pub mod second_opinion;
pub mod send;
mod sum;
mod transport;

use ipsec::{Config, Engine, Simd};

/// User mode: the operating system keeps the registers of each thread.
fn simd() -> Simd {
    // SAFETY: nothing has to be saved in user mode (see `Simd::assume_saved`).
    unsafe { Simd::assume_saved() }
}

/// An engine that takes every algorithm that the interface names.
fn engine() -> Engine {
    let config = Config {
        sa_capacity: 8,
        legacy_algorithms: true,
    };
    Engine::try_new(config).expect("memory for eight SAs")
}
