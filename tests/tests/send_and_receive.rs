//! The two halves of a run on their own, with files in between, and the program's exit codes.

use std::{env, fs, path::Path, process::Command};

use indicatif::ProgressBar;
use ipsecov2_tests::{lab_options, run_options, traffic};
use tcpip::{
    capture::Capture,
    lab::NdisVersion,
    policy::Clear,
    receive::{Line, ReceiveOptions, receive},
    run::{Outcome, run},
    sas::{Direction, SaFile},
    send::{SendOptions, Sent, send},
    split::Split,
};

fn send_traffic(version: NdisVersion, sas: &Path, out: &Path) -> anyhow::Result<Sent> {
    let options = SendOptions {
        lab: lab_options(version),
        sas: sas.to_owned(),
        input: traffic(),
        out: out.to_owned(),
        split: Split::Random(5),
        burst: 10,
    };
    send(&options, &ProgressBar::hidden())
}

fn receive_wire(
    version: NdisVersion,
    sas: &Path,
    wire: &Path,
    out: &Path,
) -> anyhow::Result<Vec<Line>> {
    let options = ReceiveOptions {
        lab: lab_options(version),
        sas: sas.to_owned(),
        input: wire.to_owned(),
        out: out.to_owned(),
        split: Split::Random(8),
        burst: 10,
    };
    receive(&options, &ProgressBar::hidden())
}

#[test]
fn the_halves_make_the_whole() {
    for version in NdisVersion::ALL {
        let directory = tempfile::tempdir().unwrap();
        let [whole, half] = ["whole", "half"].map(|name| directory.path().join(name));
        let options = run_options(version, traffic(), whole.clone());
        let outcome = run(&options, &ProgressBar::hidden())
            .and_then(Outcome::passed)
            .unwrap();

        let sas = whole.join("sas.json");
        let sent = send_traffic(version, &sas, &half).unwrap();
        assert_eq!(sent.packets, outcome.packets);
        assert_eq!(sent.protected, outcome.encrypted);
        let wire = half.join("wire.pcap");
        assert_eq!(
            fs::read(&wire).unwrap(),
            fs::read(whole.join("wire.pcap")).unwrap(),
            "the same SAs make the same wire"
        );
        assert_eq!(
            fs::read(half.join("wireshark/esp_sa")).unwrap(),
            fs::read(whole.join("wireshark/esp_sa")).unwrap()
        );

        let lines = receive_wire(version, &sas, &wire, &half).unwrap();
        assert_eq!(lines.len(), outcome.packets);
        let verified = lines.iter().filter(|line| {
            line.crypto_done && line.crypto_status == "CRYPTO_SUCCESS" && !line.next_crypto_done
        });
        assert_eq!(verified.count(), outcome.verified);
        // What is written is what was returned, and the capture has the same packets.
        let written: Vec<Line> = fs::read_to_string(half.join("received.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(written, lines);
        let indicated = Capture::read(&half.join("indicated.pcap")).unwrap();
        for (line, packet) in lines.iter().zip(&indicated.packets) {
            assert_eq!(line.length, packet.frame.len());
        }
    }
}

#[test]
fn each_side_offloads_only_its_own_sas() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    let options = run_options(NdisVersion::V6_1, traffic(), out.to_owned());
    let outcome = run(&options, &ProgressBar::hidden())
        .and_then(Outcome::passed)
        .unwrap();
    let wire = out.join("wire.pcap");
    let mut file = SaFile::read(&out.join("sas.json")).unwrap();
    let sas = out.join("one-sided.json");

    for sa in &mut file.sas {
        sa.direction = Direction::Outbound;
    }
    file.write(&sas).unwrap();
    let lines = receive_wire(NdisVersion::V6_1, &sas, &wire, out).unwrap();
    assert!(lines.iter().all(|line| !line.crypto_done && line.unchanged));
    let sent = send_traffic(NdisVersion::V6_1, &sas, out).unwrap();
    assert_eq!(sent.protected, outcome.encrypted);

    for sa in &mut file.sas {
        sa.direction = Direction::Inbound;
    }
    file.write(&sas).unwrap();
    let sent = send_traffic(NdisVersion::V6_1, &sas, out).unwrap();
    assert_eq!(sent.protected, 0);
    // Each packet in the clear has a reason: what the run had, and that no SA is for sending.
    let mut expected = outcome.clear.clone();
    expected.insert(Clear::NoSa, outcome.encrypted);
    assert_eq!(sent.clear.reasons, expected);
    assert_eq!(sent.clear.packets(), sent.packets);
    let reason = format!(
        "{:6}  no SA is for sending: the direction of each is inbound",
        outcome.encrypted
    );
    assert!(sent.reasons.contains(&reason), "{:?}", sent.reasons);
}

#[test]
fn an_adapter_whose_offload_is_off_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    let text = r#"{ "version": 1, "sas": [
        { "name": "first", "source": "192.0.2.1", "destination": "192.0.2.2",
          "ESP": { "spi": 256, "authentication": { "algorithm": "hmac-sha-1-96",
                   "key": "000102030405060708090a0b0c0d0e0f10111213" } } } ] }"#;
    let esp = text.replace("ESP", "esp").replace(
        "\"authentication\"",
        "\"encryption\": { \"algorithm\": \"null\" }, \"authentication\"",
    );
    for (value, sas, lacks) in [
        ("0", text.replace("ESP", "ah"), "no IPsec offload"),
        ("0", esp.clone(), "no IPsec offload"),
        ("1", esp, "no ESP"),
        ("2", text.replace("ESP", "ah"), "no AH"),
    ] {
        let path = out.join("sas.json");
        fs::write(&path, sas).unwrap();
        let mut lab = lab_options(NdisVersion::V6_30);
        lab.keywords = vec![("*IPsecOffloadV2".into(), value.into())];
        let options = SendOptions {
            lab,
            sas: path,
            input: traffic(),
            out: out.to_owned(),
            split: Split::Whole,
            burst: 10,
        };
        let error = send(&options, &ProgressBar::hidden()).unwrap_err();
        let error = format!("{error:#}");
        let hint = format!("the adapter offers {lacks}: its keyword *IPsecOffloadV2 is {value:?}");
        assert!(error.contains("first: NDIS_STATUS_"), "{error}");
        assert!(error.contains(&hint), "{hint}: {error}");
    }

    let mut options = run_options(NdisVersion::V6_1, traffic(), out.to_owned());
    options.lab.keywords = vec![("*IPsecOffloadV2".into(), "0".into())];
    let outcome = run(&options, &ProgressBar::hidden()).unwrap();
    assert_eq!(outcome.encrypted, 0);
    assert!(outcome.clear[&Clear::Off] > 100, "{:?}", outcome.clear);
    assert!(!outcome.clear.contains_key(&Clear::NoSa));
}

#[test]
fn a_refused_sa_is_named_with_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let sas = directory.path().join("sas.json");
    let text = r#"{ "version": 1, "sas": [
        { "name": "good", "source": "192.0.2.1", "destination": "192.0.2.2",
          "esp": { "spi": 256, "encryption": { "algorithm": "aes-gcm-128",
                   "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304" } } },
        { "name": "short key", "source": "192.0.2.1", "destination": "192.0.2.2",
          "esp": { "spi": 257, "encryption": { "algorithm": "aes-gcm-256",
                   "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304" } } } ] }"#;
    fs::write(&sas, text).unwrap();
    for version in NdisVersion::ALL {
        let error = send_traffic(version, &sas, directory.path()).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("short key: NDIS_STATUS_INVALID_PARAMETER") && !text.contains("good"),
            "{text}"
        );
        let error = receive_wire(version, &sas, &traffic(), directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("short key"));
    }
}

/// The program itself: success is zero and all files, a wrong input is one and a reason.
/// `IPSECOV2_LAB` names it if it is built already.
#[test]
fn the_program() {
    let program = |arguments: &[&str]| {
        let mut command = match env::var_os("IPSECOV2_LAB") {
            Some(path) => Command::new(path),
            None => {
                let mut cargo = Command::new(env!("CARGO"));
                cargo.args([
                    "run",
                    "--quiet",
                    "--profile",
                    "host",
                    "--package",
                    "tcpip",
                    "--",
                ]);
                cargo
            }
        };
        command
            .current_dir(ipsecov2_tests::root())
            .arg("--sys")
            .arg(ipsecov2_tests::driver())
            .arg("--inf")
            .arg(ipsecov2_tests::inf())
            .args(arguments)
            .output()
            .unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();

    let ran = program(&["run", "--out", out, "--measure", "0.01"]);
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{ran:?}");
    for row in [
        "packets",
        "bytes",
        "encrypted",
        "verified",
        "failed",
        "Gbit/s",
    ] {
        assert!(
            stdout.lines().any(|line| line.starts_with(row)),
            "{row}: {stdout}"
        );
    }
    for file in [
        "wire.pcap",
        "received.pcap",
        "sas.json",
        "summary.json",
        "wireshark/preferences",
        "wireshark/esp_sa",
    ] {
        assert!(directory.path().join(file).is_file(), "{file}");
    }
    let summary = fs::read_to_string(directory.path().join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["packets"], 284);
    assert_eq!(summary["encrypted"], summary["verified"]);
    assert_eq!(summary["failed"], 0);
    assert!(summary["throughput"]["gbit_per_second"].as_f64().unwrap() > 0.0);

    for (wrong, reason) in [
        (["--input", "no-such-file.pcap"], "no-such-file.pcap"),
        (
            ["--keyword", "LegacyAlgoritms=1"],
            "is LegacyAlgorithms meant?",
        ),
        (["--outer", "6"], "without a tunnel"),
    ] {
        let ran = program(&[&["run", "--out", out], &wrong[..]].concat());
        assert_eq!(ran.status.code(), Some(1), "{wrong:?}");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(stderr.contains(reason), "{wrong:?}: {stderr}");
    }

    let sas = directory.path().join("sas.json");
    let sas = sas.to_str().unwrap();
    let half = directory.path().join("a half");
    let half = half.to_str().unwrap();
    let input = traffic();
    let input = input.to_str().unwrap();
    let forced = ["--force-keyword", "LegacyAlgoritms=1"];
    let ran = program(
        &[
            &["send", "--sas", sas, "--input", input, "--out", half],
            &forced[..],
        ]
        .concat(),
    );
    assert!(ran.status.success(), "{ran:?}");
    let stdout = String::from_utf8_lossy(&ran.stdout);
    let clear = 284 - summary["encrypted"].as_u64().unwrap();
    assert!(
        stdout.contains(&format!("{clear} packets in the clear:\n")),
        "{stdout}"
    );
    assert!(stdout.contains("  multicast\n"), "{stdout}");
    let quoted = format!("WIRESHARK_CONFIG_DIR='{half}/wireshark' tshark -r '{half}/wire.pcap'");
    assert!(stdout.contains(&quoted), "{stdout}");
}
