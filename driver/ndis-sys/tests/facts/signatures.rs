//! Parameters and results of imports and callbacks.

use std::collections::{BTreeMap, BTreeSet};

use ndis_sys::tables::{CALLBACKS, Function, NDIS, NTOSKRNL};
use serde_json::Value;

use crate::facts;
use crate::types::canonical;

/// Callbacks that the facts lack, and their number of parameters.
const CALLBACKS_OUTSIDE_THE_FACTS: &[(&str, usize)] = &[
    ("KDEFERRED_ROUTINE", 4),
    ("DRIVER_INITIALIZE", 2),
    ("DRIVER_UNLOAD", 1),
];

fn check_signature(function: &Function, fact: &Value) {
    let name = function.name;
    let theirs: Vec<_> = fact["parameters"]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is not in the facts"))
        .iter()
        .collect();
    assert_eq!(
        function.parameters.len(),
        theirs.len(),
        "number of parameters of {name}"
    );
    let same = |ours: &str, theirs: &Value| {
        let theirs = theirs.as_str().expect("type");
        let theirs = if theirs == "void" { "" } else { theirs };
        assert_eq!(
            canonical(ours),
            canonical(theirs),
            "{name}: {ours} here, {theirs} in the headers"
        );
    };
    for (ours, theirs) in function.parameters.iter().zip(theirs) {
        same(ours, theirs);
    }
    same(function.result, &fact["result"]);
}

#[test]
fn every_import_and_callback_has_the_types_of_the_headers() {
    let facts = facts();
    for function in NDIS {
        check_signature(function, &facts["functions"][function.name]);
    }
    let mut outside: BTreeMap<_, _> = CALLBACKS_OUTSIDE_THE_FACTS.iter().copied().collect();
    for callback in CALLBACKS.iter().copied().flatten() {
        if let Some(parameters) = outside.remove(callback.name) {
            assert_eq!(callback.parameters.len(), parameters, "{}", callback.name);
        } else if let Some(parameters) = facts["kmdf"][callback.name]["parameters"].as_u64() {
            assert_eq!(
                callback.parameters.len() as u64,
                parameters,
                "{}",
                callback.name
            );
        } else {
            check_signature(callback, &facts["callbacks"][callback.name]);
        }
    }
    assert!(outside.is_empty(), "listed but not declared: {outside:?}");
    assert_eq!(
        ndis_sys::WdfDeviceMiniportCreateTableIndex as u64,
        facts["kmdf"]["WdfDeviceMiniportCreate"]["index"]
    );
    assert_eq!(
        ndis_sys::WdfDriverMiniportUnloadTableIndex as u64,
        facts["kmdf"]["WdfDriverMiniportUnload"]["index"]
    );
}

#[test]
fn imports_have_unique_names() {
    let mut names = BTreeSet::new();
    for function in NDIS.iter().chain(NTOSKRNL) {
        assert!(
            names.insert(function.name),
            "{} is declared twice",
            function.name
        );
    }
}
