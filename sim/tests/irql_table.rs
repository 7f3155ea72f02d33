//! Every function that a driver can reach is checked against the IRQL of its page: the table in
//! `data/irql.tsv` has a row for each, and the simulator applies what the row says.

use std::collections::BTreeMap;

use ndis_sim::{
    Machine,
    irql::{Irql, IrqlRange},
    wdf,
};

const TABLE: &str = include_str!("../data/irql.tsv");

struct Row {
    range: IrqlRange,
    page: &'static str,
}

fn level(text: &str) -> Irql {
    match text {
        "PASSIVE_LEVEL" => Irql::PASSIVE,
        "APC_LEVEL" => Irql::APC,
        "DISPATCH_LEVEL" => Irql::DISPATCH,
        // A device's, and so any but the highest.
        "DIRQL" => Irql(Irql::HIGH.0 - 1),
        _ => panic!("{text} is no level"),
    }
}

fn range(text: &str) -> IrqlRange {
    match text.split_once(' ') {
        None if text == "any" => IrqlRange::ANY,
        None => IrqlRange::exactly(level(text)),
        Some(("<=", max)) => IrqlRange::at_most(level(max)),
        Some((">=", min)) => IrqlRange::at_least(level(min)),
        Some(_) => panic!("{text} is no range"),
    }
}

fn rows() -> BTreeMap<&'static str, Row> {
    TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next().unwrap();
            let range = range(fields.next().expect(name));
            let page = fields.next().expect(name);
            (name, Row { range, page })
        })
        .collect()
}

#[test]
fn every_export_has_a_row_and_applies_it() {
    let machine = Machine::builder().build();
    let rows = rows();
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    let framework = wdf::functions();
    for export in machine.registry().iter().chain(&framework) {
        let Some(row) = rows.get(export.name) else {
            wrong.push(format!("{} has no row", export.name));
            continue;
        };
        seen.push(export.name);
        if row.range != export.irql {
            let (name, page, is) = (export.name, row.range, export.irql);
            wrong.push(format!("{name}: the page says {page}, the simulator {is}"));
        }
    }
    for name in rows.keys().filter(|name| !seen.contains(name)) {
        wrong.push(format!("{name} has a row and is not exported"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_names_its_page() {
    for (name, row) in rows() {
        let page = row.page.rsplit('-').next().unwrap_or_default();
        assert!(
            row.page == "-" || page == name.to_lowercase(),
            "{name}: {}",
            row.page
        );
    }
}
