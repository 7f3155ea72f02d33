//! A rule as Driver Verifier, Static Driver Verifier or a bug check names it.

use std::fmt;

/// One documented rule of conduct. Rules are constants, so that any module can
/// add its own table; they compare by name
/// and code.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable name, as the documentation spells it.
    pub name: &'static str,
    /// Bug check code and first parameter where Windows or Driver Verifier has
    /// one, for example `(0xC4, 0x91001)`.
    pub code: Option<(u32, u64)>,
    /// Documentation page.
    pub page: &'static str,
    /// The rule in one sentence.
    pub text: &'static str,
}

impl Rule {
    /// A rule that has no bug check code of its own.
    #[must_use]
    pub const fn new(name: &'static str, page: &'static str, text: &'static str) -> Self {
        Self {
            name,
            code: None,
            page,
            text,
        }
    }

    /// A rule that Windows stops for with bug check `code`, first parameter
    /// `parameter`.
    #[must_use]
    pub const fn with_code(mut self, code: u32, parameter: u64) -> Self {
        self.code = Some((code, parameter));
        self
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.code == other.code
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.code {
            Some((code, 0)) => write!(f, " (0x{code:X})"),
            Some((code, parameter)) => write!(f, " (0x{code:X}, 0x{parameter:X})"),
            None => Ok(()),
        }
    }
}
