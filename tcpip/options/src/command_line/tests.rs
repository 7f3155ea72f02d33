//! Which arguments are taken, and what is said of the others.

use clap::{CommandFactory, error::ErrorKind};

use super::*;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["lab"], arguments].concat())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let folder = env!("CARGO_MANIFEST_DIR");
    let run = |more: &[&'static str]| [&["run", "--input", here], more].concat();
    for (arguments, part) in [
        (
            run(&["--algorithm", "aes-gcm-512"]),
            "\"aes-gcm-512\" is no encryption algorithm; there are null, ",
        ),
        (
            run(&["--algorithm", "aes-cbc-128+sha1"]),
            "\"sha1\" is no authentication algorithm; there are hmac-md5-96, ",
        ),
        (
            run(&["--algorithm", "aes-gcm-128+hmac-sha-1-96"]),
            "AES-GCM needs no other",
        ),
        (
            run(&["--algorithm", "aes-cbc-128"]),
            "authentication algorithm is missing",
        ),
        (
            run(&["--algorithm", "aes-cbc-128+none"]),
            "authentication algorithm is missing",
        ),
        (run(&["--ah-algorithm", "sha1"]), "hmac-sha-1-96"),
        (run(&["--mode", "tunel"]), "tunnel"),
        (run(&["--udp-esp", "--protocol", "ah"]), "UDP encapsulation"),
        (run(&["--udp-esp=inner"]), "inner ESP header"),
        (run(&["--outer", "6"]), "without a tunnel"),
        (
            run(&["--icv-length", "8", "--algorithm", "null+hmac-sha-1-96"]),
            "only one length",
        ),
        (run(&["--ndis-version", "6.4"]), "6.1, 6.20 or 6.30"),
        (run(&["--split", "0"]), "number of bytes"),
        (run(&["--burst", "257"]), "1 to 256"),
        (run(&["--processors", "0"]), "1 to 64"),
        (run(&["--measure", "-1"]), "0 to 3600"),
        (run(&["--keyword", "LegacyAlgorithms"]), "NAME=VALUE"),
        (run(&["--keyword", "=1"]), "NAME=VALUE"),
        (
            run(&["--keyword", "LegacyAlgoritms=1"]),
            "is LegacyAlgorithms meant?",
        ),
        (run(&["--no-such-option"]), "--no-such-option"),
        (
            vec!["run", "--input", "no-such-file.pcap"],
            "--input no-such-file.pcap",
        ),
        (vec!["run", "--input", folder], "directory"),
        (vec!["send", "--input", here], "--sas <SAS>"),
        (vec!["send", "--sas", here], "--input <INPUT>"),
        (
            vec!["receive", "--sas", "no-such.json", "--input", here],
            "--sas no-such.json",
        ),
        (
            vec!["receive", "--sas", here, "--input", "no-such.pcap"],
            "--input no-such.pcap",
        ),
        (vec!["throughput", "--sizes", "big"], "big"),
        (vec!["throughput", "--udp-esp=inner"], "inner ESP header"),
    ] {
        let error = match parse(&arguments) {
            Err(error) => error.to_string(),
            Ok(cli) => match cli.check(&["LegacyAlgorithms"]) {
                Err(error) => error.to_string(),
                Ok(()) => panic!("{arguments:?} is taken"),
            },
        };
        assert!(
            error.contains(part),
            "{arguments:?}: no {part:?} in: {error}"
        );
    }
}

#[test]
fn what_can_be_is_taken() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for arguments in [
        vec!["run", "--input", here],
        vec![
            "run",
            "--input",
            here,
            "--algorithm",
            "aes-cbc-128+none",
            "--protocol",
            "ah-esp",
        ],
        vec!["run", "--input", here, "--keyword", "legacyalgorithms=1"],
        vec![
            "run",
            "--input",
            here,
            "--force-keyword",
            "LegacyAlgoritms=1",
        ],
        vec![
            "send",
            "--sas",
            here,
            "--input",
            here,
            "--keyword",
            "*RSS=0",
        ],
        vec![
            "throughput",
            "--mode",
            "transport-over-tunnel",
            "--udp-esp=inner",
        ],
    ] {
        let cli = parse(&arguments).unwrap_or_else(|error| panic!("{error}"));
        cli.check(&["LegacyAlgorithms"])
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    }
    let cli = parse(&["throughput", "--keyword", "A=1", "--force-keyword", "B=x=y"]);
    let keywords = cli
        .unwrap_or_else(|error| panic!("{error}"))
        .machine
        .all_keywords();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(keywords, [pair("A", "1"), pair("B", "x=y")]);
}

#[test]
fn help_is_no_mistake() {
    for arguments in [&["--help"][..], &["run", "--help"], &["send", "-h"]] {
        let kind = parse(arguments).err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::DisplayHelp));
    }
}
