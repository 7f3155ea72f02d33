//! `core` and `alloc` for the Windows targets without rustup's servers.
//!
//! Debian packages the library sources of many compiler versions (`rust-src`). Those of exactly the
//! machine's compiler are fetched from the machine's own Debian mirror and built into a copy of the
//! toolchain made of hard links, so that a plain `cargo build --target` works with it and the toolchain
//! that rustup manages stays as it was.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::Toolchain;
use crate::{
    build::Arch,
    fsutil, paths,
    progress::{Progress, Step},
    setup, shell,
};

/// Debian releases that get new compilers, the calmest first.
const SUITES: [&str; 2] = ["trixie-backports", "sid"];

/// Fills `overlay` with the toolchain `own` and the libraries for all [`Arch`]s.
pub fn overlay(ui: &Progress, own: &Toolchain, overlay: &Path) -> Result<()> {
    let work = paths::cross().join("rust-src");
    fsutil::remove(&work)?;
    fsutil::create_dir(&work)?;

    let step = ui.step(format!(
        "sources of the Rust {} libraries from Debian",
        own.release
    ));
    let library = fetch_sources(&work, &own.release, &step)?;
    step.done("");

    let step = ui.step("a second view of the toolchain (hard links)");
    for part in ["bin", "lib", "libexec"] {
        let from = own.sysroot.join(part);
        if from.is_dir() {
            fsutil::copy_tree(&from, &overlay.join(part), &fsutil::hard_link)?;
        }
    }
    step.done("");

    for arch in Arch::ALL {
        let step = ui.step(format!("building core and alloc for {}", arch.triple()));
        build_libraries(own, arch, &work, &library, overlay, &step)?;
        step.done("");
    }
    fsutil::remove(&work)
}

fn build_libraries(
    own: &Toolchain,
    arch: Arch,
    work: &Path,
    library: &Path,
    overlay: &Path,
    step: &Step,
) -> Result<()> {
    let output = work.join("build");
    // The paths in panic messages and debug information become those of an official build.
    let flags = format!(
        "-Zforce-unstable-if-unmarked --remap-path-prefix={}=/rustc/{}",
        work.display(),
        own.commit
    );
    shell::run(
        own.cargo()
            .current_dir(library)
            .args([
                "build",
                "--locked",
                "--package",
                "alloc",
                "--profile",
                "dist",
            ])
            .args(["--target", arch.triple(), "--target-dir"])
            .arg(&output)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags),
        step,
    )?;
    let libraries = overlay.join("lib/rustlib").join(arch.triple()).join("lib");
    fsutil::create_dir(&libraries)?;
    for file in fsutil::entries(&output.join(arch.triple()).join("dist/deps"))? {
        if file
            .extension()
            .is_some_and(|extension| extension == "rlib")
        {
            let name = file.file_name().unwrap_or_default();
            fsutil::copy(&file, &libraries.join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    Ok(())
}

/// Downloads and unpacks `rust-src` of `release`; returns its `library` folder. The machine's own package
/// lists are not touched, so this needs no root.
fn fetch_sources(work: &Path, release: &str, step: &Step) -> Result<PathBuf> {
    let mirrors = mirrors(Path::new("/etc/apt"))?;
    let apt = work.join("apt");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fsutil::create_dir(&apt.join(folder))?;
    }
    let list = apt.join("mirror.list");
    let get = |tool: &str| -> Result<Command> {
        let mut command = Command::new(tool);
        let mut option = |name: &str, value: &Path| {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        };
        option("Dir::Etc::sourcelist", &list);
        option("Dir::Etc::sourceparts", Path::new("-"));
        option("Dir::State::lists", &apt.join("lists"));
        option("Dir::Cache", &apt.join("cache"));
        if setup::is_root()? {
            // apt would give up root for downloads, and then not reach a private folder.
            option("APT::Sandbox::User", Path::new("root"));
        }
        Ok(command)
    };

    let mut refusals = Vec::new();
    for suite in SUITES {
        for mirror in &mirrors {
            fsutil::write(&list, format!("{mirror} {suite} main\n"))?;
            if let Err(error) = shell::run(get("apt-get")?.args(["-q", "update"]), step) {
                refusals.push(format!("{suite}: {error:#}"));
                continue;
            }
            let offers = shell::capture(get("apt-cache")?.args(["madison", "rust-src"]))?;
            let Some(version) = pick_version(&offers, release) else {
                refusals.push(format!("{suite} has no rust-src {release}"));
                continue;
            };
            shell::run(
                get("apt-get")?.current_dir(work).args([
                    "-q",
                    "download",
                    &format!("rust-src={version}"),
                ]),
                step,
            )?;
            return unpack(work, step);
        }
    }
    bail!("no rust-src {release} from Debian: {}", refusals.join("; "))
}

fn unpack(work: &Path, step: &Step) -> Result<PathBuf> {
    let package = fsutil::entries(work)?
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let files = work.join("files");
    shell::run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&package)
            .arg(&files),
        step,
    )?;
    let library = fsutil::entries(&files.join("usr/src"))?
        .into_iter()
        .map(|source| source.join("library"))
        .find(|library| library.join("alloc/Cargo.toml").exists())
        .context("rust-src has no library/alloc")?;
    // Short, and the same for every version: it stands in the remapped paths.
    let place = work.join("library");
    fs::rename(&library, &place).with_context(|| format!("cannot create {}", place.display()))?;
    Ok(place)
}

/// The version among apt-cache's `madison` lines that packages exactly `release`.
fn pick_version(madison: &str, release: &str) -> Option<String> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| {
            version
                .strip_prefix(release)
                .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
        })
        .map(str::to_owned)
}

/// The `deb [options] address` beginnings of the machine's package sources that may have whole Debian
/// releases: not those for security updates, not foreign ones with a folder of their own.
fn mirrors(etc_apt: &Path) -> Result<Vec<String>> {
    let mut files = vec![etc_apt.join("sources.list")];
    files.extend(fsutil::entries(&etc_apt.join("sources.list.d")).unwrap_or_default());
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(one_line_mirror)),
            Some("sources") => found.extend(deb822_mirrors(&text)),
            _ => {}
        }
    }
    found.dedup();
    if found.is_empty() {
        bail!("{} names no Debian mirror", etc_apt.display());
    }
    Ok(found)
}

fn one_line_mirror(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (options, rest) = rest.split_once(']')?;
            (format!("[{}] ", options.trim()), rest)
        }
        None => (String::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let (address, suite) = (words.next()?, words.next()?);
    is_release(suite, words).then(|| format!("deb {options}{address}"))
}

fn deb822_mirrors(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            stanza.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let binary =
            field("Types").is_some_and(|types| types.split_whitespace().any(|t| t == "deb"));
        let disabled = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        let suites = field("Suites").unwrap_or_default().split_whitespace();
        let components = field("Components").unwrap_or_default();
        let whole = suites
            .into_iter()
            .any(|suite| is_release(suite, components.split_whitespace()));
        if !binary || disabled || !whole {
            continue;
        }
        let options = match field("Signed-By") {
            Some(key) if key.starts_with('/') => format!("[signed-by={key}] "),
            _ => String::new(),
        };
        let addresses = field("URIs").unwrap_or_default().split_whitespace();
        found.extend(addresses.map(|address| format!("deb {options}{address}")));
    }
    found
}

fn is_release<'a>(suite: &str, mut components: impl Iterator<Item = &'a str>) -> bool {
    !suite.contains('/') && !suite.ends_with("-security") && components.any(|c| c == "main")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_from_either_form_of_source_list() {
        let stanzas = "# a comment\nTypes: deb deb-src\nURIs: http://mirror.invalid/debian\n\
            Suites: trixie trixie-updates\nComponents: main\nSigned-By: /usr/share/keyrings/k.gpg\n\n\
            Types: deb\nURIs: http://mirror.invalid/debian-security\nSuites: trixie-security\n\
            Components: main\n\nTypes: deb-src\nURIs: http://other.invalid/debian\nSuites: trixie\n\
            Components: main\n\nEnabled: no\nTypes: deb\nURIs: http://off.invalid/debian\n\
            Suites: trixie\nComponents: main\n";
        assert_eq!(
            deb822_mirrors(stanzas),
            ["deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.invalid/debian"]
        );
        assert_eq!(
            one_line_mirror(
                "deb [ arch=amd64 ] http://mirror.invalid/debian bookworm main contrib"
            ),
            Some("deb [arch=amd64] http://mirror.invalid/debian".into())
        );
        for other in [
            "# deb http://mirror.invalid/debian bookworm main",
            "deb-src http://mirror.invalid/debian bookworm main",
            "deb http://mirror.invalid/debian-security bookworm-security main",
            "deb http://mirror.invalid/node nodistro extra",
            "deb http://mirror.invalid/flat ./",
        ] {
            assert_eq!(one_line_mirror(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_compilers_own_version_is_taken() {
        let offers = " rust-src | 1.96.1+dfsg1-2~bpo13+1 | a | b\n rust-src | 1.95.0+dfsg1-2 | a | b\n\
            rust-src | 1.9.0+dfsg1-1 | a | b\n";
        assert_eq!(
            pick_version(offers, "1.95.0").as_deref(),
            Some("1.95.0+dfsg1-2")
        );
        assert_eq!(
            pick_version(offers, "1.9.0").as_deref(),
            Some("1.9.0+dfsg1-1")
        );
        assert_eq!(pick_version(offers, "1.95"), None);
        assert_eq!(pick_version(offers, "1.97.0"), None);
    }
}
