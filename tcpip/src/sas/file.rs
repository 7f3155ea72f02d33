//! The file as a whole: reading, checking, writing.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Sa, text};
use crate::{capture, tasks::Tasks};

/// The only version of the format so far.
pub const VERSION: u32 = 1;

/// A whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with version and sas")]
pub struct SaFile {
    /// [`VERSION`].
    #[serde(deserialize_with = "text::number::<_, _, 0, 0xFFFF_FFFF>")]
    pub version: u32,
    /// Where the keys came from, in words. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What else the adapter has to do for packets that are sent.
    #[serde(default, skip_serializing_if = "Tasks::is_empty")]
    pub tasks: Tasks,
    /// The SAs. A packet to be sent uses the first that takes it.
    pub sas: Vec<Sa>,
}

impl SaFile {
    /// A file of these SAs.
    pub fn new(sas: Vec<Sa>, comment: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            comment: Some(comment.into()),
            tasks: Tasks::default(),
            sas,
        }
    }

    /// Switches extended sequence numbers on, from 2^32 on: a high half that is forgotten is
    /// noticed.
    pub fn extend_sequence_numbers(&mut self) {
        for sa in &mut self.sas {
            if let Some(esp) = &mut sa.esp {
                (esp.esn, esp.sequence_high) = (true, 1);
            }
            if let Some(ah) = &mut sa.ah {
                (ah.esn, ah.sequence_high) = (true, 1);
            }
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not what `docs/sas-json.md` says: the file, the place in it, what is
    /// expected there and what was found.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)
            .with_context(|| format!("cannot read the SAs from {}", path.display()))?;
        let parsed = || match str::from_utf8(&bytes) {
            _ if capture::is_capture(&bytes) => {
                bail!("expected JSON, found a capture: that is what --input takes")
            }
            Err(error) => bail!(
                "expected JSON, found a binary file (byte {} is not UTF-8)",
                error.valid_up_to()
            ),
            Ok(text) => Self::parse(text),
        };
        parsed().with_context(|| format!("{} is not a valid sas.json", path.display()))
    }

    /// Parses and checks the text of a file.
    ///
    /// # Errors
    /// As [`SaFile::read`], without the file.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(
            !text.trim().is_empty(),
            "expected an object with version and sas, found an empty file"
        );
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed: Result<Self, _> = serde_path_to_error::deserialize(&mut json);
        let file = parsed.map_err(|error| anyhow!(text::located(error)))?;
        json.end()?;
        ensure!(
            file.version == VERSION,
            "version: expected {VERSION}, found {}",
            file.version
        );
        for (index, sa) in file.sas.iter().enumerate() {
            file.check(index, sa)
                .with_context(|| format!("sas[{index}]"))?;
        }
        Ok(file)
    }

    /// Checks one SA among the others.
    fn check(&self, index: usize, sa: &Sa) -> Result<()> {
        sa.validate()?;
        let others = &self.sas[..index];
        if let Some(other) = others.iter().position(|other| other.name == sa.name) {
            bail!(
                "SA {}: expected a name of its own, found that of sas[{other}]",
                sa.name
            );
        }
        for (member, reference) in [("tunnel", &sa.tunnel), ("pair", &sa.pair)] {
            let Some(reference) = reference else { continue };
            ensure!(
                self.sas.iter().any(|other| other.name == *reference),
                "SA {}: {member}: expected the name of an SA, found {reference:?}, which none has",
                sa.name
            );
        }
        sa.validate_tunnel(&self.sas)
    }

    /// The text of the file.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.to_json()?).with_context(|| format!("cannot write {}", path.display()))
    }
}
