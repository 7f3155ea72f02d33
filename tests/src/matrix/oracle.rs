//! The oracle: `tests/reference/matrix/oracle.py`, a process that seals and opens packets. It
//! lives as long as the test, and answers a line of JSON with another.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize, Serializer};

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// scapy's IPsec layer.
    Scapy,
    /// The RFCs with the primitives of OpenSSL.
    Rfc,
}

/// Bytes that are hexadecimal in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::deserialize(deserializer).map(Self)
    }
}

/// One ESP or AH header.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// `esp` or `ah`.
    pub protocol: &'static str,
    /// The member of that name in `sas.json`.
    pub parameters: serde_json::Value,
    /// The IP header of tunnel mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Hex>,
    /// The header of UDP encapsulation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<Hex>,
}

/// What is done for one header of a packet.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// All 64 bits, or 32.
    pub sequence: u64,
    /// The IV.
    pub iv: Hex,
    /// A byte of the packet after this step, and the bits to be changed in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<(usize, u8)>,
}

/// A packet to be sealed.
#[derive(Clone, Debug, Serialize)]
pub struct Seal {
    /// The plain packet.
    pub packet: Hex,
    /// A step for each header.
    pub steps: Vec<Step>,
}

/// A packet to be opened.
#[derive(Clone, Debug, Serialize)]
pub struct Open {
    /// The packet as it was on the wire.
    pub packet: Hex,
    /// High half of the sequence number of each header, from the inside.
    pub high: Vec<u32>,
}

#[derive(Serialize)]
struct Request<'a> {
    by: By,
    headers: &'a [Header],
    seal: &'a [Seal],
    open: &'a [Open],
}

#[derive(Deserialize)]
struct Answer {
    sealed: Vec<Vec<Hex>>,
    opened: Vec<Option<Hex>>,
    why: Vec<Option<String>>,
}

/// The process.
pub struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts it.
    ///
    /// # Errors
    /// When Python or the script is not there.
    pub fn start() -> Result<Self> {
        let python = env::var_os("IPSECOV2_PYTHON").unwrap_or_else(|| OsString::from("python3"));
        let mut child = Command::new(&python)
            .arg(crate::root().join("tests/reference/matrix/oracle.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}; use `cargo xtask test`", python.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Answer> {
        const SAYS: &str = "the oracle has stopped; what it said is above";
        let input = self.input.as_mut().context("the oracle was stopped")?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        input.write_all(&line).context(SAYS)?;
        input.flush().context(SAYS)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), SAYS);
        Ok(serde_json::from_str(&line)?)
    }

    /// Seals packets: each as it is after each header.
    ///
    /// # Errors
    /// When the oracle cannot do it.
    pub fn seal(&mut self, by: By, headers: &[Header], seal: &[Seal]) -> Result<Vec<Vec<Vec<u8>>>> {
        let open = &[];
        let answer = self.ask(&Request {
            by,
            headers,
            seal,
            open,
        })?;
        ensure!(answer.sealed.len() == seal.len(), "packets are missing");
        let bytes = |packets: Vec<Hex>| packets.into_iter().map(|hex| hex.0).collect();
        Ok(answer.sealed.into_iter().map(bytes).collect())
    }

    /// Opens packets: what was in each, or why it cannot be opened.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn open(
        &mut self,
        by: By,
        headers: &[Header],
        open: &[Open],
    ) -> Result<Vec<Result<Vec<u8>, String>>> {
        let seal = &[];
        let answer = self.ask(&Request {
            by,
            headers,
            seal,
            open,
        })?;
        ensure!(answer.opened.len() == open.len(), "packets are missing");
        let results = answer.opened.into_iter().zip(answer.why);
        let result = |(opened, why): (Option<Hex>, Option<String>)| match opened {
            Some(hex) => Ok(hex.0),
            None => Err(why.unwrap_or_default()),
        };
        Ok(results.map(result).collect())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
