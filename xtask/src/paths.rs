//! Where things are: the repository, and what the commands leave under `target/`.

use std::{
    env,
    path::{Path, PathBuf},
    sync::LazyLock,
};

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    // cargo sets the variable for `cargo xtask`; the value from the build serves a binary run by hand.
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
});

/// The root of the repository.
pub fn root() -> &'static Path {
    &ROOT
}

/// `target/` of the repository. Always inside it, whatever `CARGO_TARGET_DIR` says: wdk-build looks for
/// `Cargo.lock` in the folders above its output.
pub fn target() -> PathBuf {
    root().join("target")
}

/// What the cross-build needs and keeps: toolchain, stand-in kit, patched crates, build output.
pub fn cross() -> PathBuf {
    target().join("cross")
}

/// The sources of the stand-in kit: headers, export lists, entry stub.
pub fn kit_sources() -> PathBuf {
    root().join("xtask").join("kit")
}

/// The finished drivers: `target/driver/<arch>/<package>.sys`.
pub fn driver_out() -> PathBuf {
    target().join("driver")
}

/// The Python environment of the tests.
pub fn venv() -> PathBuf {
    target().join("venv")
}

/// The INF template, from which the simulator takes the registry's values.
pub fn inf() -> PathBuf {
    root().join("inf").join("ipsecov2.inx")
}

/// The capture that `run` sends when it is given no other.
pub fn traffic() -> PathBuf {
    root().join("tests").join("data").join("traffic.pcap")
}

/// The list of the HLK's jobs.
pub fn hlk_jobs() -> PathBuf {
    root().join("tests").join("hlk").join("jobs.json")
}

/// The report of the HLK's jobs, which the suite itself writes: `report.txt` and `report.xml`.
pub fn hlk_report() -> PathBuf {
    target().join("hlk")
}

/// The cargo that runs this command.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
