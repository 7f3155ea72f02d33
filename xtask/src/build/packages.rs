//! What the workspace has, to judge arguments before anything is built.

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand, TargetKind};
use lab_options::words;

use crate::paths;

/// Checks that a package of the workspace is a driver, before anything is built for it.
///
/// # Errors
/// When it is not one; the message has those that are.
pub fn check_driver(package: &str) -> Result<()> {
    one_of("driver", package, &drivers(&metadata()?))
}

/// Checks that the packages and tests that arguments of `cargo test` name are there.
///
/// # Errors
/// The first that is not; the message has those that are.
pub fn check_tests(arguments: &[String]) -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata.workspace_packages();
    let names: Vec<_> = packages.iter().map(|it| it.name.as_str()).collect();
    let targets = packages.iter().flat_map(|package| &package.targets);
    let tests = targets.filter(|target| target.kind.contains(&TargetKind::Test));
    let mut tests: Vec<_> = tests.map(|target| target.name.as_str()).collect();
    tests.sort_unstable();
    tests.dedup();

    // Behind "--" they are the tests' own.
    let mut arguments = arguments.iter().take_while(|it| *it != "--");
    while let Some(argument) = arguments.next() {
        let (option, joined) = match argument.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (argument.as_str(), None),
        };
        let (kind, known) = match option {
            "-p" | "--package" => ("package", &names),
            "--test" => ("test", &tests),
            _ => continue,
        };
        // cargo takes patterns too, and says itself when a value is missing.
        let value = joined.or_else(|| arguments.next().map(String::as_str));
        if let Some(value) = value.filter(|it| !it.contains(['*', '?', '[', '@'])) {
            one_of(kind, value, known)?;
        }
    }
    Ok(())
}

fn one_of(kind: &str, name: &str, known: &[&str]) -> Result<()> {
    if known.contains(&name) {
        return Ok(());
    }
    let nearest = words::nearest(name, known.iter().copied());
    let meant = nearest.map_or_else(String::new, |nearest| format!(" (is {nearest} meant?)"));
    bail!(
        "there is no {kind} {name}{meant}; there are {}",
        known.join(", ")
    );
}

fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .cargo_path(paths::cargo())
        .current_dir(paths::root())
        .no_deps()
        .exec()
        .context("cannot read the workspace's manifests")
}

/// A driver is a dynamic library.
fn drivers(metadata: &Metadata) -> Vec<&str> {
    let packages = metadata.workspace_packages().into_iter();
    let drivers = packages.filter(|package| {
        let mut targets = package.targets.iter();
        targets.any(|target| target.kind.contains(&TargetKind::CDyLib))
    });
    drivers.map(|package| package.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::PRODUCT;

    #[test]
    fn only_drivers_of_the_workspace_are_taken() {
        for driver in [PRODUCT, "loopback"] {
            check_driver(driver).unwrap();
        }
        for (wrong, part) in [
            ("ipsecov3", "is ipsecov2 meant?"),
            ("xtask", "ipsecov2, loopback"),
            ("no such package", "ipsecov2, loopback"),
        ] {
            let error = check_driver(wrong).unwrap_err().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn packages_and_tests_that_are_not_there_are_named() {
        let check = |arguments: &str| {
            let arguments: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            check_tests(&arguments)
        };
        for arguments in [
            "",
            "some_filter",
            "-p tcpip --test sas_json -- --exact --test nosuch",
            "--package=ipsec* --lib",
            "--test",
        ] {
            check(arguments).unwrap();
        }
        for (wrong, part) in [
            ("-p tcpipp", "is tcpip meant?"),
            ("--package=nosuch", "there is no package nosuch"),
            ("-p tcpip --test sasjson", "is sas_json meant?"),
            ("--test=nosuch --lib", "there is no test nosuch"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
