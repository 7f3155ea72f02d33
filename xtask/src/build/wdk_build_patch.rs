//! wdk-build on a host other than Windows.
//!
//! `wdk-build` assumes that it runs on Windows: it reads the registry, makes Windows symbolic links, and
//! refuses to compile elsewhere. A copy of its source in `target/` loses these few places and takes the
//! original's place for this build only, through cargo's `paths` setting; manifests, `Cargo.lock` and the
//! machine's own cargo home stay as they are. Each edit must find exactly the text that it replaces: a new
//! upstream version fails here, not later.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;

use super::{
    stamp::{self, Inputs},
    toolchain::Toolchain,
};
use crate::{fsutil, paths, progress::Progress, shell};

/// What cargo is to be told.
pub struct CargoConfig {
    /// A configuration file for `cargo --config`.
    pub file: PathBuf,
    /// Where cargo unpacks the sources of the crates.
    pub registry: PathBuf,
}

/// A text that stands exactly `times` times in a file, and its replacement.
struct Edit {
    file: &'static str,
    times: usize,
    from: &'static str,
    to: &'static str,
}

const WDK_BUILD: &str = "wdk-build";
const WINDOWS_FUTURE: &str = "windows-future";

const WDK_BUILD_EDITS: &[Edit] = &[
    Edit {
        file: "src/utils.rs",
        times: 1,
        from: "use std::{\n    env,\n    ffi::{CStr, OsStr},\n    io,\n    path::{Path, PathBuf},\n};\n\nuse windows::{",
        to: "#[cfg(windows)]\nuse std::ffi::CStr;\nuse std::{\n    env,\n    ffi::OsStr,\n    io,\n    path::{Path, PathBuf},\n};\n\n#[cfg(windows)]\nuse windows::{",
    },
    Edit {
        file: "src/utils.rs",
        times: 2,
        from: "    if let Some(path) = read_registry_key_string_value(\n",
        to: "    #[cfg(windows)]\n    if let Some(path) = read_registry_key_string_value(\n",
    },
    Edit {
        file: "src/utils.rs",
        times: 1,
        from: "fn read_registry_key_string_value(\n    key_handle: HKEY,\n",
        to: "#[cfg(windows)]\nfn read_registry_key_string_value(\n    key_handle: HKEY,\n",
    },
    Edit {
        file: "src/utils.rs",
        times: 1,
        from: "pub fn set_var<K, V>(_key: K, _value: V)\nwhere\n    K: AsRef<OsStr>,\n    V: AsRef<OsStr>,\n{\n    compile_error!(\n        \"windows-drivers-rs is designed to be run on a Windows host machine in a WDK environment. \\\n         Please build using a Windows target.\"\n    );\n}",
        to: "pub fn set_var<K, V>(key: K, value: V)\nwhere\n    K: AsRef<OsStr>,\n    V: AsRef<OsStr>,\n{\n    // SAFETY: build scripts call this, before they start threads.\n    unsafe { env::set_var(key, value) }\n}",
    },
    Edit {
        file: "src/utils.rs",
        times: 1,
        from: "pub fn remove_var<K>(_key: K)\nwhere\n    K: AsRef<OsStr>,\n{\n    compile_error!(\n        \"windows-drivers-rs is designed to be run on a Windows host machine in a WDK environment. \\\n         Please build using a Windows target.\"\n    );\n}",
        to: "pub fn remove_var<K>(key: K)\nwhere\n    K: AsRef<OsStr>,\n{\n    // SAFETY: build scripts call this, before they start threads.\n    unsafe { env::remove_var(key) }\n}",
    },
    Edit {
        file: "src/cargo_make.rs",
        times: 2,
        from: "std::os::windows::fs::symlink_file(",
        to: "std::os::unix::fs::symlink(",
    },
];

/// Of all the crates below `windows`, which wdk-build names, only this one does not compile elsewhere.
const WINDOWS_FUTURE_EDITS: &[Edit] = &[Edit {
    file: "src/lib.rs",
    times: 1,
    from: "#![expect(\n    missing_docs,\n",
    to: "#![cfg(windows)]\n#![allow(\n    missing_docs,\n",
}];

/// Makes the patched copies and the configuration that puts them to use.
pub fn prepare(ui: &Progress, toolchain: &Toolchain) -> Result<CargoConfig> {
    let dir = paths::cross().join("patched");
    let file = dir.join("config.toml");
    let record = dir.join("registry");
    let mut inputs = Inputs::default();
    inputs.add(fsutil::read(&paths::root().join("Cargo.lock"))?);
    for edit in WDK_BUILD_EDITS.iter().chain(WINDOWS_FUTURE_EDITS) {
        inputs.add((edit.file, edit.times, edit.from, edit.to));
    }
    let inputs = inputs.finish();
    if !stamp::is_fresh(&dir, &inputs) {
        let step = ui.step("wdk-build without its Windows host");
        let metadata = shell::capture(toolchain.cargo().current_dir(paths::root()).args([
            "metadata",
            "--locked",
            "--format-version=1",
        ]))?;
        let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
        let wdk_build = source(&metadata, WDK_BUILD)?;
        let windows_future = source(&metadata, WINDOWS_FUTURE)?;
        stamp::make(&dir, &inputs, |draft| {
            patched_copy(&wdk_build, &draft.join(WDK_BUILD), WDK_BUILD_EDITS)?;
            patched_copy(
                &windows_future,
                &draft.join(WINDOWS_FUTURE),
                WINDOWS_FUTURE_EDITS,
            )?;
            let overrides = [WDK_BUILD, WINDOWS_FUTURE].map(|name| dir.join(name));
            // Paths in TOML's literal strings, as they are.
            let list = overrides
                .map(|path| format!("'{}'", path.display()))
                .join(", ");
            fsutil::write(&draft.join("config.toml"), format!("paths = [{list}]\n"))?;
            let registry = wdk_build.parent().context("wdk-build has no folder")?;
            fsutil::write(&draft.join("registry"), registry.display().to_string())
        })?;
        step.done("");
    }
    let registry = fsutil::read_text(&record)?.into();
    Ok(CargoConfig { file, registry })
}

fn source(metadata: &Metadata, name: &str) -> Result<PathBuf> {
    let mut found = metadata
        .packages
        .iter()
        .filter(|package| package.name == name);
    let (Some(package), None) = (found.next(), found.next()) else {
        bail!("the build must depend on exactly one version of {name}");
    };
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest has no folder")?;
    Ok(folder.into())
}

fn patched_copy(from: &Path, to: &Path, edits: &[Edit]) -> Result<()> {
    fsutil::copy_tree(from, to, &fsutil::copy)?;
    for edit in edits {
        let path = to.join(edit.file);
        // The published sources have the line ends of Windows.
        let text = fsutil::read_text(&path)?.replace("\r\n", "\n");
        let text = apply(edit, &text).with_context(|| {
            format!(
                "{} is not the source that xtask/src/build/wdk_build_patch.rs was written for",
                from.display()
            )
        })?;
        fsutil::write(&path, text)?;
    }
    Ok(())
}

fn apply(edit: &Edit, text: &str) -> Result<String> {
    let times = text.matches(edit.from).count();
    if times != edit.times {
        bail!(
            "in {} this stands {times} times, not {}:\n{}",
            edit.file,
            edit.times,
            edit.from
        );
    }
    Ok(text.replace(edit.from, edit.to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDIT: Edit = Edit {
        file: "a",
        times: 2,
        from: "old",
        to: "new",
    };

    #[test]
    fn an_edit_replaces_every_occurrence() {
        assert_eq!(apply(&EDIT, "old, old").unwrap(), "new, new");
    }

    #[test]
    fn an_edit_refuses_a_source_that_changed() {
        for text in ["", "old", "old old old"] {
            assert!(apply(&EDIT, text).is_err(), "{text}");
        }
    }
}
