//! docs/rules.md lists every rule, where it is checked and which test has seen it fire. The page is
//! made from the rules, the sources and the tests, and this test fails when it is not what they give.
//! `NDIS_SIM_WRITE_DOCS=1 cargo test -p ndis-sim --test rules_page` writes it anew.

mod rules_page_support;

use std::{collections::BTreeMap, env, fs, path::Path};

use ndis_sim::{
    Rule, ndis,
    report::{self, RuleSet},
};
use rules_page_support::{ELSEWHERE, NOT_APPLICABLE, PUBLIC_NAMES};

/// Which table a rule is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Kernel,
    Ndis,
}

fn rules() -> Vec<(Half, Rule)> {
    let kernel = report::rules::ALL.iter().map(|r| (Half::Kernel, *r));
    let ndis = ndis::rules::ALL.iter().map(|r| (Half::Ndis, *r));
    ndis.chain(kernel).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder, by their path from it, with their text.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(dir) = folders.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root().join(folder)).unwrap();
                let text = fs::read_to_string(&path).unwrap();
                found.insert(name.to_string_lossy().into_owned(), text);
            }
        }
    }
    found
}

/// Whether `text` has the word, not as part of another.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next())
    })
}

fn checked_in(half: Half, rule: &Rule, files: &BTreeMap<String, String>) -> Vec<String> {
    let twin = |of: &[Rule]| of.iter().any(|r| r.id == rule.id);
    files
        .iter()
        .filter(|(name, _)| !name.ends_with("rules.rs"))
        .filter(|(name, text)| {
            let of_ndis = name.starts_with("ndis/");
            let mine = match half {
                Half::Ndis => of_ndis || !twin(report::rules::ALL),
                Half::Kernel => !of_ndis || !twin(ndis::rules::ALL),
            };
            mine && has_word(text, rule.id)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// The tests of a file: name and body.
fn tests_of(text: &str) -> Vec<(String, String)> {
    let mut tests = Vec::new();
    for part in text.split("#[test]\n").skip(1) {
        let name = part
            .split("fn ")
            .nth(1)
            .and_then(|rest| rest.split('(').next());
        let body = part.split("\n}\n").next().unwrap_or(part);
        tests.push((name.unwrap_or_default().to_owned(), body.to_owned()));
    }
    tests
}

/// What in the tests says that a rule is broken: each takes the rule.
const ASSERTING: [&str; 9] = [
    "trips",
    "trips_sas",
    "all",
    "deed",
    "caught",
    "stopped",
    "call_stopped",
    "stopped_by",
    "one",
];

/// The calls and macros around a place, the innermost first: names and where their arguments begin. A
/// tuple has no name.
fn calls_around(text: &str, place: usize) -> Vec<(&str, usize)> {
    let mut calls = Vec::new();
    let mut closed = 0;
    for (at, byte) in text[..place].bytes().enumerate().rev() {
        match byte {
            b')' | b']' | b'}' => closed += 1,
            b'(' | b'[' | b'{' if closed > 0 => closed -= 1,
            b'(' => {
                let name = text[..at].trim_end_matches('!');
                let part = |c: char| c.is_alphanumeric() || c == '_';
                let start = name.trim_end_matches(part).len();
                calls.push((&name[start..], at + 1));
            }
            _ => {}
        }
    }
    calls
}

/// Whether what stands there is given to one of [`ASSERTING`], or compared with the rule of a report.
fn is_asserted_at(body: &str, place: usize) -> bool {
    if body[..place].trim_end().ends_with(".rule ==") {
        return true;
    }
    calls_around(body, place).into_iter().any(|(name, from)| {
        let end = body[place..].find(';').map_or(body.len(), |n| place + n);
        let arguments = &body[from..end];
        let of_report = arguments.contains(".rule") || arguments.contains("rule_of(");
        ASSERTING.contains(&name) || (name.starts_with("assert") && of_report)
    })
}

fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            !part(text[..*at].chars().next_back()) && !part(text[at + word.len()..].chars().next())
        })
}

/// Whether a test asserts that a rule is broken: the rule is asserted itself, or is given a name that is,
/// or is in a table whose `rule` is.
fn asserts(body: &str, rule: &str) -> bool {
    places(body, rule).any(|place| {
        let before = body[..place].trim_end();
        let bound = before.strip_suffix('=').and_then(|text| {
            let (_, name) = text.trim_end().rsplit_once("let ")?;
            (!name.contains(char::is_whitespace)).then_some(name)
        });
        let in_table = calls_around(body, place)
            .first()
            .is_some_and(|(name, _)| name.is_empty());
        let by_name = |name: &str| places(body, name).any(|at| is_asserted_at(body, at));
        is_asserted_at(body, place)
            || bound.is_some_and(by_name)
            || ((in_table || before.ends_with("=>")) && by_name("rule"))
    })
}

/// Tests that assert that the rule is broken: `rules::X` is of the half that the file is about.
fn seen_in(half: Half, rule: &Rule, files: &BTreeMap<String, String>) -> Vec<String> {
    let mut seen = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| !file.contains('/')) {
        let of_ndis = file.starts_with("ndis_");
        let prefix = match (half, of_ndis) {
            (Half::Ndis, true) | (Half::Kernel, false) => "rules",
            (Half::Ndis, false) => "ndis_rules",
            (Half::Kernel, true) => "machine_rules",
        };
        let path = format!("{prefix}::{}", rule.id);
        let quoted = format!("\"{}\"", rule.name);
        for (name, body) in tests_of(text) {
            if asserts(&body, &path) || asserts(&body, &quoted) {
                seen.push(format!("{}::{name}", file.trim_end_matches(".rs")));
            }
        }
    }
    seen
}

#[test]
fn a_test_counts_that_asserts_on_the_rule() {
    let counts = [
        "trips(Misdeed::X, rules::A);",
        "all(&[\n(Misdeed::X, rules::B),\n(Misdeed::Y, rules::A),\n]);",
        "deed(At::X, |a, b| {\nf(a);\nNone\n}, rules::A, \"words\");",
        "let rule = rules::A;\nassert_eq!(check.rule(), rule);",
        "for (what, rule) in [(x, rules::A)] {\nassert_eq!(check.rule(), rule);\n}",
        "assert_eq!(rule_of(&error), rules::A.name);",
        "let found = all.iter().filter(|f| f.rule == rules::A);",
    ];
    for body in counts {
        assert!(asserts(body, "rules::A"), "{body}");
    }
    let does_not = [
        "let complete = rules::A;\nassert_eq!(complete.to_string(), \"A\");",
        "assert!(!rules::A.page.is_empty());",
        "println!(\"{}\", rules::A);\ntrips(Misdeed::X, rules::B);",
        "trips(Misdeed::X, rules::A_B);",
    ];
    for body in does_not {
        assert!(!asserts(body, "rules::A"), "{body}");
    }
}

fn public_name_is_known(name: &str) -> bool {
    let of_rule = |rule: &Rule| rule.name == name || rule.also.contains(&name);
    rules().iter().any(|(_, rule)| of_rule(rule))
        || NOT_APPLICABLE.iter().any(|(known, _, _)| *known == name)
        || ELSEWHERE.iter().any(|(known, _)| *known == name)
}

#[test]
fn every_public_rule_is_checked_or_has_a_reason() {
    let numbers = (1..=19).map(|n| format!("IPsecOV2 I{n}"));
    let missing: Vec<String> = PUBLIC_NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(numbers)
        .filter(|name| !public_name_is_known(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_rule_is_checked_somewhere_and_has_been_seen_to_fire() {
    let (sources, tests) = (sources("src"), sources("tests"));
    let mut wrong = Vec::new();
    for (half, rule) in rules() {
        if checked_in(half, &rule, &sources).is_empty() {
            wrong.push(format!("{} is checked nowhere", rule.id));
        }
        if seen_in(half, &rule, &tests).is_empty() {
            wrong.push(format!("{} is tripped by no test", rule.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_and_pages_are_whole() {
    let mut ids: Vec<(bool, &str)> = Vec::new();
    for (half, rule) in rules() {
        assert!(!rule.text.is_empty() && rule.text.ends_with('.'), "{rule}");
        let own = rule.set == RuleSet::Simulator;
        assert_eq!(rule.url().is_none(), own, "{rule}");
        ids.push((half == Half::Ndis, rule.id));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

fn title(set: RuleSet) -> &'static str {
    match set {
        RuleSet::DriverVerifier => "Driver Verifier: NDIS/WIFI verification",
        RuleSet::StaticDriverVerifier => "Static Driver Verifier: rules for NDIS drivers",
        RuleSet::IpsecOffloadV2 => "IPsec Task Offload Version 2",
        RuleSet::Reference => "The reference pages",
        RuleSet::BugCheck => "Bug checks of Windows and other options of Driver Verifier",
        RuleSet::Simulator => "The simulator's own",
    }
}

const HEAD: &str = "# Rules that the simulator checks

Made from the rules, the sources and the tests of `sim/` by `sim/tests/rules_page.rs`, which fails when this page is out of
date. A violation stops the machine with the name below; `Also` are other public names of the same rule. The last column
names the tests in which a driver that errs in that one way is caught.

The IRQL of each function is checked against its page: [`sim/data/irql.tsv`](../sim/data/irql.tsv) has a row for every one.
";

fn page() -> String {
    let (sources, tests) = (sources("src"), sources("tests"));
    let mut sets: Vec<RuleSet> = rules().iter().map(|(_, rule)| rule.set).collect();
    sets.sort_unstable();
    sets.dedup();
    let mut page = HEAD.to_owned();
    for set in sets {
        page.push_str(&format!("\n## {}\n\n", title(set)));
        page.push_str("| rule | what holds | checked in `sim/src` | seen to fire in `sim/tests` |\n|---|---|---|---|\n");
        let mut mine: Vec<_> = rules().into_iter().filter(|(_, r)| r.set == set).collect();
        mine.sort_by_key(|(_, rule)| (rule.name, rule.id));
        for (half, rule) in mine {
            let name = match rule.url() {
                Some(url) => format!("[{rule}]({url})"),
                None => rule.to_string(),
            };
            let also = match rule.also {
                [] => String::new(),
                names => format!("<br>Also {}", names.join(", ")),
            };
            let checked = checked_in(half, &rule, &sources).join(", ");
            let seen = seen_in(half, &rule, &tests).join(", ");
            let text = rule.text;
            page.push_str(&format!("| {name}{also} | {text} | {checked} | {seen} |\n"));
        }
    }
    page.push_str("\n## Held elsewhere\n\n| rule | how |\n|---|---|\n");
    for (name, how) in ELSEWHERE {
        page.push_str(&format!("| {name} | {how} |\n"));
    }
    page.push_str("\n## Rules that cannot apply\n\n| rule | why |\n|---|---|\n");
    for (name, link, why) in NOT_APPLICABLE {
        let url = "https://learn.microsoft.com/windows-hardware/drivers/devtest";
        page.push_str(&format!("| [{name}]({url}/{link}) | {why} |\n"));
    }
    page
}

/// Whether a line of the page is what the made one says. A row may name fewer places than there are
/// by now, as long as those that it names are there: a new test elsewhere does not make it wrong.
fn holds(there: &str, made: &str) -> bool {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let (there, made) = (cells(there), cells(made));
    let within = |column: usize| {
        let named = |cells: &[String]| -> Vec<String> {
            cells[column].split(", ").map(str::to_owned).collect()
        };
        let known = named(&made);
        named(&there)
            .iter()
            .all(|place| !place.is_empty() && known.contains(place))
    };
    there == made
        || (there.len() == 4
            && made.len() == 4
            && there[..2] == made[..2]
            && within(2)
            && within(3))
}

#[test]
fn the_page_is_what_rules_sources_and_tests_say() {
    let path = root().join("../docs/rules.md");
    let made = page();
    if env::var_os("NDIS_SIM_WRITE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let same = there.lines().count() == made.lines().count();
    let wrong: Vec<&str> = made
        .lines()
        .zip(there.lines())
        .filter(|(made, there)| !holds(there, made))
        .map(|(made, _)| made)
        .collect();
    assert!(
        same && wrong.is_empty(),
        "docs/rules.md is out of date: run NDIS_SIM_WRITE_DOCS=1 cargo test -p ndis-sim --test rules_page\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_row_holds_while_what_it_names_is_there() {
    let made = "| [X](y) | It holds. | a.rs, b.rs | t::one, t::two |";
    for (there, right) in [
        (made, true),
        ("| [X](y) | It holds. | a.rs | t::two |", true),
        ("| [X](y) | It holds. | a.rs, gone.rs | t::two |", false),
        ("| [X](y) | It holds. | a.rs |  |", false),
        ("| [X](y) | Other words. | a.rs | t::two |", false),
    ] {
        assert_eq!(holds(there, made), right, "{there}");
    }
}
