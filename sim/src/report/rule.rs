//! A rule as Driver Verifier, Static Driver Verifier or a bug check names it.

use std::fmt;

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleSet {
    /// Driver Verifier's "NDIS/WIFI verification", at run time.
    DriverVerifier,
    /// Static Driver Verifier's rules for NDIS drivers, as far as they show at run time.
    StaticDriverVerifier,
    /// IPsec Task Offload Version 2, from its pages.
    IpsecOffloadV2,
    /// What the reference pages of NDIS ask for and no verifier has a name for.
    Reference,
    /// A bug check of Windows, or another option of Driver Verifier.
    BugCheck,
    /// The simulator's own: calls that do not end, and what it does not have.
    Simulator,
}

/// One documented rule of conduct. Rules are constants in tables, one table for each part of the
/// machine; they compare by the name of the constant.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Name of the constant.
    pub id: &'static str,
    /// Where the rule comes from.
    pub set: RuleSet,
    /// Stable name, as the documentation spells it.
    pub name: &'static str,
    /// Other public names of the same rule.
    pub also: &'static [&'static str],
    /// Bug check code and first parameter where Windows or Driver Verifier has
    /// one, for example `(0xC4, 0x91001)`.
    pub code: Option<(u32, u64)>,
    /// Documentation page: its path, see [`Rule::url`].
    pub page: &'static str,
    /// The rule in one sentence.
    pub text: &'static str,
}

impl Rule {
    /// A rule that has no bug check code of its own.
    #[must_use]
    pub const fn new(
        id: &'static str,
        set: RuleSet,
        name: &'static str,
        page: &'static str,
        text: &'static str,
    ) -> Self {
        Self {
            id,
            set,
            name,
            also: &[],
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

    /// A rule that has other public names.
    #[must_use]
    pub const fn also(mut self, names: &'static [&'static str]) -> Self {
        self.also = names;
        self
    }

    /// The address of the documentation page; `None` for a rule of the simulator's own.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        const SITE: &str = "https://learn.microsoft.com";
        match self.page.split_once('/')? {
            ("cpp", _) => Some(format!("{SITE}/{}", self.page)),
            _ => Some(format!("{SITE}/windows-hardware/drivers/{}", self.page)),
        }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.name) == (other.id, other.name)
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

/// A table of rules: constants, and `ALL` of them.
macro_rules! rules {
    ($($set:ident {
        $($id:ident = $name:literal $(($bug:expr, $parameter:expr))? $(also [$($also:literal),+])?,
            $page:literal, $text:literal;)*
    })*) => {
        $($(
            #[doc = $text]
            pub const $id: $crate::report::Rule = $crate::report::Rule::new(
                stringify!($id), $crate::report::RuleSet::$set, $name, $page, $text,
            )$(.with_code($bug, $parameter))?$(.also(&[$($also),+]))?;
        )*)*
        /// Every rule of this table.
        pub const ALL: &[$crate::report::Rule] = &[$($($id,)*)*];
    };
}
pub(crate) use rules;
