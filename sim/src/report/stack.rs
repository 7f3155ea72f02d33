//! Call stacks, and the names of what is on them.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::driver::Images;

/// One entry of a call stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An import that the driver called.
    Import(&'static str),
    /// An address of the driver's: of the instruction, or within the call that has not returned.
    Code(usize),
    /// A callback, by its documented name.
    Callback(&'static str),
}

/// The calls in progress on a processor, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStack(Vec<Frame>);

impl CallStack {
    pub(crate) fn new(frames: Vec<Frame>) -> Self {
        Self(frames)
    }

    /// The entries, innermost first.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.0
    }

    /// A number that is the same for the same calls, as long as the image stays where it is.
    #[must_use]
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for frame in &self.0 {
            match frame {
                Frame::Import(name) => (0, name).hash(&mut hasher),
                Frame::Code(address) => (1, address).hash(&mut hasher),
                Frame::Callback(name) => (2, name).hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// The entries as text, one for each function, inlined ones included.
    pub(crate) fn resolve(&self, images: &Images) -> Vec<StackLine> {
        let mut lines = Vec::new();
        for frame in &self.0 {
            match frame {
                Frame::Import(name) => lines.push(StackLine(format!("{name} (import)"))),
                Frame::Code(address) => {
                    lines.extend(images.symbols(*address).into_iter().map(StackLine));
                }
                Frame::Callback(name) => lines.push(StackLine(format!("{name} (callback)"))),
            }
        }
        lines
    }
}

/// One function on a call stack, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackLine(pub(crate) String);

impl fmt::Display for StackLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
