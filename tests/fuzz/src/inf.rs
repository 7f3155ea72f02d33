//! INF files.

use ndis_sim::inf::{Inf, RegValue, lookup};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines = text.lines().count();
    let inf = match Inf::parse(text) {
        Ok(inf) => inf,
        Err(error) => {
            assert!(error.line <= lines, "{error}");
            return;
        }
    };
    let install = match inf.install(r"root\ipsecov2") {
        Ok(install) => install,
        Err(error) => {
            assert!(error.line <= lines, "{error}");
            return;
        }
    };
    // Without these NDIS would not start the adapter.
    for key in [
        "*IfType",
        "*MediaType",
        "*PhysicalMediaType",
        "Characteristics",
    ] {
        assert!(
            matches!(lookup(&install.adapter, key), Some(RegValue::Dword(_))),
            "{key}"
        );
    }
    for param in &install.params {
        let there = lookup(&install.adapter, &param.name).is_some();
        assert!(
            there || param.optional || param.default.is_none(),
            "{}",
            param.name
        );
    }
}
