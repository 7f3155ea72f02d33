//! Nothing is declared outside of the tables, and no table is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use ndis_sys::tables::{CALLBACKS, CONSTANTS, LAYOUTS};

use crate::{WITHOUT_LAYOUT, layouts};

#[test]
fn every_structure_in_the_source_is_in_the_tables() {
    let compared: BTreeSet<_> = layouts().map(|layout| layout.name).collect();
    let mut found = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("sources") {
        let path = file.expect("source").path();
        for line in std::fs::read_to_string(&path).expect("source").lines() {
            let mut words = line.split_whitespace().skip_while(|word| *word == "pub");
            if !matches!(words.next(), Some("struct" | "union")) {
                continue;
            }
            let name: String = words
                .next()
                .unwrap_or("")
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            // `$name` of a macro, or the form that a macro's documentation shows.
            if name.is_empty() || name == "NAME" {
                continue;
            }
            found += 1;
            assert!(
                compared.contains(name.as_str()) || WITHOUT_LAYOUT.contains(&name.as_str()),
                "{name} in {} has no layout table: declare it with layouts!, and list the table in lib.rs",
                path.display()
            );
        }
    }
    assert!(
        found > 100,
        "only {found} structures found: the scan is broken"
    );
}

#[test]
fn every_table_is_listed() {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("sources") {
        for line in std::fs::read_to_string(file.expect("source").path())
            .expect("source")
            .lines()
        {
            if let Some(name) = line
                .strip_suffix('{')
                .and_then(|line| line.trim_end().strip_suffix('!'))
            {
                *found.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(found["layouts"] + found["bit_fields"], LAYOUTS.len());
    assert_eq!(found["constants"], CONSTANTS.len());
    assert_eq!(found["callbacks"], CALLBACKS.len());
}
