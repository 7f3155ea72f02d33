//! The list of the HLK's jobs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Job;

/// A job of the HLK that is about a network adapter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name there, to the letter.
    pub name: String,
    /// Why it does not apply to this device; none for those that are mirrored.
    pub not_applicable: Option<String>,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Catalogue(pub Vec<Entry>);

impl Catalogue {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map(Self)
            .context("the list of jobs")
    }

    /// The jobs that do not apply, and why.
    pub fn not_applicable(&self) -> impl Iterator<Item = (&str, &str)> {
        let each = self.0.iter();
        each.filter_map(|entry| Some((entry.name.as_str(), entry.not_applicable.as_deref()?)))
    }

    /// Every job of the list is mirrored or has a reason why it is not, and there are no others.
    ///
    /// # Errors
    /// The first job of which that is not so.
    pub fn check(&self, jobs: &[Job]) -> Result<()> {
        let mut listed = BTreeSet::new();
        for Entry {
            name,
            not_applicable,
        } in &self.0
        {
            ensure!(listed.insert(name.as_str()), "{name} is in the list twice");
            let mirrored = jobs.iter().any(|job| job.name == name);
            match not_applicable {
                None => ensure!(mirrored, "{name} is neither mirrored nor excused"),
                Some(_) => ensure!(!mirrored, "{name} is mirrored although it does not apply"),
            }
        }
        let mut mirrored = BTreeSet::new();
        for job in jobs {
            let name = job.name;
            ensure!(listed.contains(name), "the HLK has no job named {name}");
            ensure!(mirrored.insert(name), "{name} is mirrored twice");
            ensure!(!job.cases.is_empty(), "{name} has no cases");
            ensure!(!job.checks.is_empty(), "{name} does not say what it checks");
            let mut cases = BTreeSet::new();
            for case in &job.cases {
                ensure!(
                    cases.insert(case.name.as_str()),
                    "{name} has two cases named {}",
                    case.name
                );
                ensure!(
                    !case.checks.is_empty(),
                    "{name}: {} does not say what it checks",
                    case.name
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlk::Case;

    const LIST: &str = r#"[{"name": "A"}, {"name": "B", "not_applicable": "no B here"}]"#;

    fn job(name: &'static str, cases: &[&str]) -> Job {
        let case = |name: &&str| Case::new(*name, "what it checks", |_| {});
        Job {
            name,
            requirement: "",
            checks: "what it checks",
            cases: cases.iter().map(case).collect(),
        }
    }

    fn complaint(jobs: &[Job]) -> String {
        let list = Catalogue::parse(LIST).expect("a list");
        list.check(jobs)
            .expect_err("something is wrong")
            .to_string()
    }

    #[test]
    fn every_job_is_mirrored_or_excused_once() {
        let list = Catalogue::parse(LIST).expect("a list");
        list.check(&[job("A", &["1", "2"])])
            .expect("nothing is missing");
        let excused: Vec<_> = list.not_applicable().collect();
        assert_eq!(excused, [("B", "no B here")]);

        assert_eq!(complaint(&[]), "A is neither mirrored nor excused");
        let a = || job("A", &["1"]);
        assert!(complaint(&[a(), job("B", &["1"])]).contains("does not apply"));
        assert!(complaint(&[a(), job("C", &["1"])]).contains("no job named C"));
        assert!(complaint(&[a(), a()]).contains("mirrored twice"));
        assert!(complaint(&[job("A", &[])]).contains("no cases"));
        assert!(complaint(&[job("A", &["1", "1"])]).contains("two cases named 1"));
        let silent = Job { checks: "", ..a() };
        assert!(complaint(&[silent]).contains("A does not say what it checks"));
        let mut silent = a();
        silent.cases[0].checks.clear();
        assert!(complaint(&[silent]).contains("1 does not say what it checks"));
    }

    #[test]
    fn a_misspelt_member_is_noticed() {
        assert!(Catalogue::parse(r#"[{"name": "A", "not_aplicable": ""}]"#).is_err());
    }
}
