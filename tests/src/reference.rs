//! The reference implementations: tshark (of the system) and scapy (of a Python environment that
//! `IPSECOV2_PYTHON` names). `cargo xtask test` sets both up.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What `scapy_ipsec.py` reports.
#[derive(Debug, Deserialize)]
pub struct ScapyReport {
    /// Packets in the input.
    pub packets: usize,
    /// Packets decrypted or encrypted.
    pub processed: usize,
    /// Numbers (from 1) of packets whose ICV was wrong.
    pub failed: Vec<usize>,
}

/// Runs `scapy_ipsec.py decrypt` or `encrypt`.
pub fn scapy(command: &str, sas: &Path, input: &Path, output: &Path) -> Result<ScapyReport> {
    let python = env::var_os("IPSECOV2_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let ran = Command::new(&python)
        .arg(crate::root().join("tests/reference/scapy_ipsec.py"))
        .arg(command)
        .args([sas, input, output])
        .output()
        .with_context(|| format!("cannot run {}; use `cargo xtask test`", python.display()))?;
    let stdout = stdout_of(ran, "scapy (`cargo xtask test` sets it up)")?;
    let last = stdout.lines().last().context("scapy said nothing")?;
    Ok(serde_json::from_str(last)?)
}

/// A packet as tshark dissected it: field name to first value.
pub type Fields = BTreeMap<String, String>;

/// Dissects a capture with a configuration directory, and returns the wanted fields per packet.
pub fn tshark(configuration: &Path, capture: &Path, fields: &[&str]) -> Result<Vec<Fields>> {
    let mut command = Command::new("tshark");
    command
        .env("WIRESHARK_CONFIG_DIR", configuration)
        .args([
            "-n",
            "-T",
            "fields",
            "-E",
            "separator=/t",
            "-E",
            "occurrence=f",
        ])
        .arg("-r")
        .arg(capture);
    for field in fields {
        command.args(["-e", field]);
    }
    let ran = command
        .output()
        .context("cannot run tshark; `cargo xtask test` installs it")?;
    let stdout = stdout_of(ran, "tshark")?;
    let packet = |line: &str| {
        let values = line.split('\t').map(str::to_owned);
        fields.iter().map(|f| (*f).to_owned()).zip(values).collect()
    };
    Ok(stdout.lines().map(packet).collect())
}

fn stdout_of(ran: Output, what: &str) -> Result<String> {
    ensure!(
        ran.status.success(),
        "{what}: {}\n{}",
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(String::from_utf8(ran.stdout)?)
}
