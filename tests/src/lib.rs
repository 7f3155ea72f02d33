//! What the suites share: where the driver and the data are, and how the reference tools are
//! called. The suites themselves are in `tests/`.

use std::{
    env, fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use ndis_sim::ndis::SendNbl;
use tcpip::{
    algorithm::{Encryption, Suite},
    lab::{LabOptions, NdisVersion},
    plan::Shape,
    policy::Keys,
    run::RunOptions,
    split::Split,
};

pub mod adapter;
pub mod associations;
pub mod bench;
pub mod flow;
pub mod framed;
pub mod hlk;
pub mod kinds;
pub mod lan;
pub mod large;
pub mod ledger;
pub mod link;
pub mod listener;
pub mod load;
pub mod matrix;
pub mod oob;
pub mod packets;
pub mod reference;
pub mod round_trip;
pub mod secrets;
pub mod stateless;
pub mod stress;
pub mod switch;

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is a folder of the workspace")
}

/// The driver under test: `IPSECOV2_SYS`, or what `cargo xtask build` makes.
///
/// # Panics
///
/// If it is not there: a test that cannot run the driver has failed.
pub fn driver() -> PathBuf {
    let path = env::var_os("IPSECOV2_SYS").map_or_else(
        || root().join("target/driver/x64/ipsecov2.sys"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is not there: run `cargo xtask test`, which builds it first",
        path.display()
    );
    path
}

/// The driver's INF, `IPSECOV2_INF` or the source in the repository.
pub fn inf() -> PathBuf {
    env::var_os("IPSECOV2_INF").map_or_else(|| root().join("inf/ipsecov2.inx"), PathBuf::from)
}

/// Writes a line that is seen also when the test passes: figures that belong to its result.
pub fn tell(line: impl fmt::Display) {
    // Not `eprintln`, which the test harness keeps to itself. If nobody listens, nothing is lost.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The MDLs of most lists share pages: of all there are too many for the host's mappings. In one of 16 by
/// their `number` every MDL lies against an inaccessible page.
pub fn mostly_compact(list: SendNbl, number: u64) -> SendNbl {
    if number.is_multiple_of(16) {
        list
    } else {
        list.compact()
    }
}

/// The recorded traffic.
pub fn traffic() -> PathBuf {
    root().join("tests/data/traffic.pcap")
}

/// The algorithms that are on without `LegacyAlgorithms`. `bad_input.rs` has it that the driver
/// takes these and no others.
///
/// # Panics
///
/// If their number has changed: whoever adds one looks at the tests.
pub fn suites() -> Vec<Suite> {
    let suites = Suite::all().into_iter().filter(|suite| !suite.is_legacy());
    let suites: Vec<_> = suites.collect();
    assert_eq!(suites.len(), 14);
    suites
}

/// A laboratory with the driver under test.
pub fn lab_options(ndis_version: NdisVersion) -> LabOptions {
    LabOptions {
        sys: driver(),
        inf: inf(),
        ndis_version,
        processors: 2,
        canaries: true,
        keywords: Vec::new(),
    }
}

/// A run of `input` to `out` as most tests want it.
pub fn run_options(ndis_version: NdisVersion, input: PathBuf, out: PathBuf) -> RunOptions {
    RunOptions {
        lab: lab_options(ndis_version),
        input,
        out,
        shape: Shape::default(),
        suite: Encryption::AesGcm256.into(),
        icv_length: 16,
        esn: false,
        keys: Keys::Seed(1),
        split: Split::Headers,
        burst: 32,
    }
}
