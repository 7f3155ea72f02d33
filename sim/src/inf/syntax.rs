//! Lines, comments, quotation marks and numbers of INF files.

use std::collections::BTreeMap;

use super::{InfError, error};

/// One entry of a section.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) key: Option<String>,
    pub(super) fields: Vec<String>,
}

/// Splits a file into sections, by name in lower case.
pub(super) fn sections(text: &str) -> Result<BTreeMap<String, Vec<Line>>, InfError> {
    let mut sections: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    let mut current: Option<String> = None;
    let mut pending = String::new();
    let mut start = 0;
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let stripped = strip_comment(raw);
        if pending.is_empty() {
            start = number;
        }
        if let Some(more) = stripped.strip_suffix('\\') {
            pending.push_str(more);
            continue;
        }
        pending.push_str(stripped);
        let line = std::mem::take(&mut pending);
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else {
                return error(start, "a section name without its closing bracket");
            };
            let name = name.trim().to_ascii_lowercase();
            if name.is_empty() {
                return error(start, "an empty section name");
            }
            sections.entry(name.clone()).or_default();
            current = Some(name);
            continue;
        }
        let Some(section) = &current else {
            return error(start, "an entry before the first section");
        };
        let line = parse_line(start, line)?;
        sections.get_mut(section).expect("entered above").push(line);
    }
    if !pending.is_empty() {
        return error(start, "the last line is continued");
    }
    Ok(sections)
}

/// Cuts a comment off: a semicolon outside quotation marks starts one.
fn strip_comment(line: &str) -> &str {
    let mut quoted = false;
    for (index, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => return line[..index].trim_end(),
            _ => {}
        }
    }
    line.trim_end()
}

/// Splits `key = a, b, "c"`. A quotation mark within quotes is doubled.
fn parse_line(number: usize, line: &str) -> Result<Line, InfError> {
    let mut key = None;
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            _ if quoted => field.push(c),
            ',' => fields.push(end_field(&mut field, &mut was_quoted)),
            '=' if key.is_none() && fields.is_empty() => {
                key = Some(end_field(&mut field, &mut was_quoted));
            }
            c if c.is_whitespace() && (field.is_empty() || was_quoted) => {}
            c => field.push(c),
        }
    }
    if quoted {
        return error(number, "a quotation mark without its partner");
    }
    fields.push(end_field(&mut field, &mut was_quoted));
    if key.as_deref() == Some("") {
        return error(number, "an entry without a name before `=`");
    }
    Ok(Line {
        number,
        key,
        fields,
    })
}

/// Blanks at the end count only within quotation marks.
fn end_field(field: &mut String, was_quoted: &mut bool) -> String {
    let field = std::mem::take(field);
    if std::mem::take(was_quoted) {
        field
    } else {
        field.trim_end().to_owned()
    }
}

/// A number as INF files write it: decimal, or hexadecimal after `0x`.
pub(super) fn number(line: usize, text: &str) -> Result<u32, InfError> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.or_else(|_| error(line, format!("{text:?} is not a number")))
}
