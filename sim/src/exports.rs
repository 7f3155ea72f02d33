//! The functions that drivers may import: a table of (DLL, name) with the
//! function, its number of arguments and the IRQL that its page gives.

use std::{collections::HashMap, fmt};

use crate::{
    irql::{Irql, IrqlRange},
    report::{Rule, rules},
};

/// `ntoskrnl.exe`.
pub const NTOSKRNL: &str = "ntoskrnl.exe";
/// `HAL.dll`.
pub const HAL: &str = "HAL.dll";
/// `NDIS.SYS`.
pub const NDIS: &str = "NDIS.SYS";
/// `WDFLDR.SYS`.
pub const WDFLDR: &str = "WDFLDR.SYS";

/// One exported function.
///
/// `f` is an `extern "efiapi"` function that runs on the processor's thread,
/// on its host stack (the driver has a kernel stack of its own). By the time it
/// runs the IRQL was checked against `irql` and the extended state against the
/// canaries. It must not unwind.
#[derive(Clone, Copy)]
pub struct Export {
    /// Module, compared without regard to case.
    pub dll: &'static str,
    /// Exported name.
    pub name: &'static str,
    /// The `extern "efiapi"` function.
    pub f: *const (),
    /// Arguments, so many as are to be forwarded (at most [`MAX_ARITY`]); for a
    /// variadic function the number it may at most look at.
    pub arity: u8,
    /// IRQLs at which it may be called.
    pub irql: IrqlRange,
    /// Rule to name when it is called at another IRQL.
    pub irql_rule: Rule,
    /// Bound without a thunk: neither checked nor recorded. For the leaf
    /// functions that the compiler calls on its own (memcpy, `__chkstk`).
    pub direct: bool,
}

/// Most arguments that a thunk forwards.
pub const MAX_ARITY: u8 = 20;

// SAFETY: `f` is the address of code, which any thread may call.
unsafe impl Send for Export {}
// SAFETY: as above.
unsafe impl Sync for Export {}

impl Export {
    /// An export that may be called at any IRQL.
    ///
    /// `f` is an `extern "efiapi"` function of `arity` integer or pointer
    /// arguments.
    #[must_use]
    pub const fn new(dll: &'static str, name: &'static str, f: *const (), arity: u8) -> Self {
        assert!(arity <= MAX_ARITY);
        Self {
            dll,
            name,
            f,
            arity,
            irql: IrqlRange::ANY,
            irql_rule: rules::IRQL,
            direct: false,
        }
    }

    /// Callable at this level and below.
    #[must_use]
    pub const fn at_most(mut self, level: Irql) -> Self {
        self.irql.max = level;
        self
    }

    /// Callable at this level only.
    #[must_use]
    pub const fn exactly(mut self, level: Irql) -> Self {
        self.irql = IrqlRange::exactly(level);
        self
    }

    /// Callable at this level and above.
    #[must_use]
    pub const fn at_least(mut self, level: Irql) -> Self {
        self.irql.min = level;
        self
    }

    /// Names `rule` when the IRQL is wrong (default: bug check 0xA).
    #[must_use]
    pub const fn irql_rule(mut self, rule: Rule) -> Self {
        self.irql_rule = rule;
        self
    }

    /// Bound without a thunk.
    #[must_use]
    pub const fn direct(mut self) -> Self {
        self.direct = true;
        self
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.dll, self.name)
    }
}

/// Every function that the simulator exports.
pub struct Registry(HashMap<String, HashMap<&'static str, Export>>);

impl Registry {
    /// Collects the tables of the kernel, KMDF's loader and NDIS.
    #[must_use]
    pub fn new() -> Self {
        let mut map: HashMap<String, HashMap<&'static str, Export>> = HashMap::new();
        let tables = [
            crate::ntos::exports(),
            crate::wdf::exports(),
            crate::ndis::exports(),
        ];
        for export in tables.into_iter().flatten() {
            map.entry(export.dll.to_ascii_lowercase())
                .or_default()
                .insert(export.name, export);
        }
        Self(map)
    }

    /// The export of that module and name.
    #[must_use]
    pub fn get(&self, dll: &str, name: &str) -> Option<&Export> {
        self.0.get(&dll.to_ascii_lowercase())?.get(name)
    }

    /// All exports, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Export> {
        self.0.values().flat_map(HashMap::values)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
