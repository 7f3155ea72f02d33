//! The oracle: `tests/reference/matrix/oracle.py`, a process that seals and opens packets. It
//! lives as long as the test, and answers a line of JSON, with bytes behind it, with another.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
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

/// One ESP or AH header.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// `esp` or `ah`.
    pub protocol: &'static str,
    /// The member of that name in `sas.json`.
    pub parameters: serde_json::Value,
    /// The IP header of tunnel mode, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// The header of UDP encapsulation, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<String>,
}

/// What is done for one header of a packet.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// All 64 bits, or 32.
    pub sequence: u64,
    /// The IV.
    #[serde(serialize_with = "length")]
    pub iv: Vec<u8>,
    /// A byte of the packet after this step, and the bits to be changed in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<(usize, u8)>,
}

/// A packet to be sealed.
#[derive(Clone, Debug, Serialize)]
pub struct Seal {
    /// The plain packet.
    #[serde(serialize_with = "length")]
    pub packet: Vec<u8>,
    /// A step for each header.
    pub steps: Vec<Step>,
}

/// A packet to be opened.
#[derive(Clone, Debug, Serialize)]
pub struct Open {
    /// The packet as it was on the wire.
    #[serde(serialize_with = "length")]
    pub packet: Vec<u8>,
    /// High half of the sequence number of each header, from the inside.
    pub high: Vec<u32>,
}

/// The bytes themselves come behind the line.
#[expect(clippy::ptr_arg, reason = "the signature is serde's")]
fn length<S: Serializer>(bytes: &Vec<u8>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(bytes.len() as u64)
}

#[derive(Serialize)]
struct Request<'a> {
    by: By,
    headers: &'a [Header],
    seal: &'a [Seal],
    open: &'a [Open],
    bytes: usize,
}

#[derive(Deserialize)]
struct Answer {
    sealed: Vec<Vec<usize>>,
    opened: Vec<Option<usize>>,
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

    fn ask(&mut self, by: By, headers: &[Header], seal: &[Seal], open: &[Open]) -> Result<Answer> {
        const SAYS: &str = "the oracle has stopped; what it said is above";
        let input = self.input.as_mut().context("the oracle was stopped")?;
        let mut data = Vec::new();
        for Seal { packet, steps } in seal {
            data.extend_from_slice(packet);
            steps
                .iter()
                .for_each(|step| data.extend_from_slice(&step.iv));
        }
        open.iter()
            .for_each(|one| data.extend_from_slice(&one.packet));
        let bytes = data.len();
        let mut message = serde_json::to_vec(&Request {
            by,
            headers,
            seal,
            open,
            bytes,
        })?;
        message.push(b'\n');
        message.append(&mut data);
        input.write_all(&message).context(SAYS)?;
        input.flush().context(SAYS)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), SAYS);
        let answer: Answer = serde_json::from_str(&line)?;
        ensure!(answer.sealed.len() == seal.len(), "packets are missing");
        ensure!(answer.opened.len() == open.len(), "packets are missing");
        Ok(answer)
    }

    fn read(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.output.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Seals packets: each as it is after each header.
    ///
    /// # Errors
    /// When the oracle cannot do it.
    pub fn seal(&mut self, by: By, headers: &[Header], seal: &[Seal]) -> Result<Vec<Vec<Vec<u8>>>> {
        let answer = self.ask(by, headers, seal, &[])?;
        let mut read = |lengths: Vec<usize>| lengths.into_iter().map(|n| self.read(n)).collect();
        answer.sealed.into_iter().map(&mut read).collect()
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
        let answer = self.ask(by, headers, &[], open)?;
        let results = answer.opened.into_iter().zip(answer.why);
        results
            .map(|(opened, why)| match opened {
                Some(length) => self.read(length).map(Ok),
                None => Ok(Err(why.unwrap_or_default())),
            })
            .collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
