//! NDISTest 6.0 - [1 Machine] - 1c_KernelCalls. Which kernel functions the HLK holds to be legal is not published:
//! here it is those that Microsoft documents for drivers.

use std::{collections::BTreeSet, fs};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    root,
    switch::Switch,
};

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.0 - [1 Machine] - 1c_KernelCalls",
        requirement: "Device.Network.LAN.Base.NDISCalls",
        checks: "the driver imports what it may: NDIS, WDF, and documented kernel functions for which NDIS has none",
        cases: vec![
            Case::new(
                "images",
                "nothing is imported but from ndis.sys, the WDF loader and ntoskrnl.exe",
                images,
            ),
            Case::new(
                "functions",
                "every import is in the list of those that may be used, with the page that documents it",
                |_| functions(),
            ),
        ],
    }
}

fn imports() -> Vec<(String, String)> {
    let switch = Switch::new(610);
    let image = switch.driver.driver().image().expect("a PE image");
    let imports = image.imports().iter();
    let imports = imports.map(|(dll, name)| (dll.to_ascii_lowercase(), name.to_owned()));
    let imports: Vec<_> = imports.collect();
    switch.finish();
    assert!(imports.len() > 20, "{imports:?}");
    imports
}

fn images(figures: &mut Figures) {
    let imports = imports();
    let dlls: BTreeSet<_> = imports.iter().map(|(dll, _)| dll.as_str()).collect();
    let allowed = ["ndis.sys", "ntoskrnl.exe", "wdfldr.sys"];
    assert_eq!(dlls, allowed.into());
    for dll in allowed {
        let count = imports.iter().filter(|(of, _)| of == dll).count();
        figures.note(dll, count);
    }
}

/// The functions of `docs/imports.md`, of which those without a page are the compiler's and the framework's.
fn documented() -> BTreeSet<String> {
    const WITHOUT_PAGE: [&str; 8] = [
        "WdfVersionBind",
        "WdfVersionUnbind",
        "__chkstk",
        "memcmp",
        "memcpy",
        "memmove",
        "memset",
        "strlen",
    ];
    let text = fs::read_to_string(root().join("docs/imports.md")).expect("the list is there");
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let Some(cell) = line.strip_prefix("| ").and_then(|l| l.split(" | ").next()) else {
            continue;
        };
        if let Some((name, page)) = cell.strip_prefix('[').and_then(|c| c.split_once("](")) {
            assert!(
                page.starts_with("https://learn.microsoft.com/"),
                "{name} is not documented by Microsoft: {page}"
            );
            names.insert(name.to_owned());
        } else if WITHOUT_PAGE.contains(&cell) {
            names.insert(cell.to_owned());
        }
    }
    names
}

fn functions() {
    let documented = documented();
    assert!(documented.len() > 40, "the list cannot be read");
    for (dll, name) in imports() {
        assert!(
            documented.contains(&name),
            "{dll}!{name} is not in the list"
        );
    }
}
