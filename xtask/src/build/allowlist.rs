//! The functions that the driver may import: the `.def` files of the stand-in kit, which say for each what
//! it is used for.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};

use crate::fsutil;

/// One `.def` file.
#[derive(Debug)]
pub struct Library {
    /// The module that exports the functions, e.g. `NDIS.SYS`.
    pub module: String,
    /// By name, sorted.
    pub exports: BTreeMap<String, Export>,
}

/// One exported function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The header that declares it, and the name of its page if that is another than its own.
    pub header: String,
    page: Option<String>,
    /// What the driver uses it for.
    pub purpose: String,
}

impl Export {
    /// False for what an import library holds only because it must hold something.
    pub fn is_allowed(&self) -> bool {
        self.header != "-"
    }

    /// Its page in Microsoft's documentation.
    pub fn documentation(&self, name: &str) -> Option<String> {
        if matches!(self.header.as_str(), "-" | "crt" | "kmdf") {
            return None;
        }
        let header = &self.header;
        let page = self.page.as_deref().unwrap_or(name).to_lowercase();
        Some(format!(
            "https://learn.microsoft.com/windows-hardware/drivers/ddi/{header}/nf-{header}-{page}"
        ))
    }
}

/// All `.def` files of a folder, sorted by name.
pub fn load(dir: &Path) -> Result<Vec<Library>> {
    fsutil::entries(dir)?
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "def"))
        .map(|file| {
            parse(&fsutil::read_text(file)?).with_context(|| format!("in {}", file.display()))
        })
        .collect()
}

fn parse(text: &str) -> Result<Library> {
    let mut module = None;
    let mut exports = BTreeMap::new();
    for line in text.lines() {
        let (code, comment) = line.split_once(';').unwrap_or((line, ""));
        let words: Vec<&str> = code.split_whitespace().collect();
        match words[..] {
            [] | ["EXPORTS"] => {}
            ["LIBRARY", name] => module = Some(name.to_owned()),
            [name] => {
                let (place, purpose) = comment
                    .split_once(": ")
                    .with_context(|| format!("`{line}` does not say what {name} is for"))?;
                let (header, page) = match place.trim().split_once('/') {
                    Some((header, page)) => (header, Some(page.to_owned())),
                    None => (place.trim(), None),
                };
                let export = Export {
                    header: header.to_owned(),
                    page,
                    purpose: purpose.trim().to_owned(),
                };
                if exports.insert(name.to_owned(), export).is_some() {
                    bail!("{name} is listed twice");
                }
            }
            _ => bail!("`{line}` is not understood"),
        }
    }
    Ok(Library {
        module: module.context("there is no LIBRARY line")?,
        exports,
    })
}

/// Why the driver may not import `function` from `module`; `None` if it may.
pub fn objection(libraries: &[Library], module: &str, function: &str) -> Option<String> {
    let library = libraries
        .iter()
        .find(|library| library.module.eq_ignore_ascii_case(module));
    match library.map(|library| library.exports.get(function)) {
        Some(Some(export)) if export.is_allowed() => None,
        Some(_) => Some(format!(
            "it imports {function} from {module}, which is not on the list xtask/kit/def"
        )),
        None => Some(format!(
            "it imports {function} from {module}, which has no list in xtask/kit/def"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_reason_or_a_second_one_is_refused() {
        assert!(parse("LIBRARY a.sys\nEXPORTS\nOne ; wdm: because\n").is_ok());
        for bad in [
            "LIBRARY a.sys\nEXPORTS\nOne\n",
            "LIBRARY a.sys\nEXPORTS\nOne ; wdm: a\nOne ; wdm: a\n",
            "LIBRARY a.sys\nEXPORTS\nOne @ 1 ; wdm: a\n",
            "EXPORTS\nOne ; wdm: a\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_listed_for_the_module_may_be_imported() {
        let libraries = [
            parse("LIBRARY NDIS.SYS\nEXPORTS\nNdisMSleep ; ndis: waiting\n").unwrap(),
            parse("LIBRARY HAL.dll\nEXPORTS\nHalMakeBeep ; -: none\n").unwrap(),
        ];
        assert_eq!(objection(&libraries, "ndis.sys", "NdisMSleep"), None);
        for (module, function) in [
            ("NDIS.SYS", "NdisMSleepy"),
            ("ntoskrnl.exe", "NdisMSleep"),
            ("HAL.dll", "HalMakeBeep"),
        ] {
            assert!(
                objection(&libraries, module, function).is_some(),
                "{function}"
            );
        }
    }

    #[test]
    fn documentation_pages_are_those_of_the_header() {
        let library = parse(
            "LIBRARY k\nEXPORTS\nKeSetEvent ; wdm: a\nKfRaiseIrql ; wdm/keraiseirql: b\nmemcpy ; crt: c\n",
        )
        .unwrap();
        let page = |name: &str| library.exports[name].documentation(name);
        let base = "https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-";
        assert_eq!(page("KeSetEvent"), Some(format!("{base}kesetevent")));
        assert_eq!(page("KfRaiseIrql"), Some(format!("{base}keraiseirql")));
        assert_eq!(page("memcpy"), None);
    }
}
