//! The printf of DbgPrint.

use std::ffi::{CStr, c_char};

use crate::{
    driver::UnicodeString,
    irql::Irql,
    processor,
    report::{rules, violation},
};

/// The arguments of a variadic call in the x64 convention: words in memory.
pub(super) struct Arguments(*const u64);

impl Arguments {
    /// Starts after `fixed` of the words at `first`.
    pub(super) fn new(first: *const u64, fixed: usize) -> Self {
        Self(first.wrapping_add(fixed))
    }

    /// # Safety
    /// The caller passed one more argument.
    unsafe fn next(&mut self) -> u64 {
        // SAFETY: the caller's promise.
        let word = unsafe { self.0.read() };
        self.0 = self.0.wrapping_add(1);
        word
    }
}

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    size: Size,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Size {
    Byte,
    Short,
    #[default]
    Int,
    Long64,
    Wide,
}

impl Spec {
    fn pad(&self, sign: &str, body: &str, out: &mut String) {
        let len = sign.len() + body.chars().count();
        let fill = self.width.saturating_sub(len);
        if self.left {
            out.extend([sign, body]);
            out.extend(std::iter::repeat_n(' ', fill));
        } else if self.zero {
            out.push_str(sign);
            out.extend(std::iter::repeat_n('0', fill));
            out.push_str(body);
        } else {
            out.extend(std::iter::repeat_n(' ', fill));
            out.extend([sign, body]);
        }
    }

    fn number(&self, mut digits: String, sign: &str, out: &mut String) {
        if let Some(precision) = self.precision {
            let missing = precision.saturating_sub(digits.len());
            digits.insert_str(0, &"0".repeat(missing));
        }
        self.pad(sign, &digits, out);
    }

    fn unsigned(&self, v: u64) -> u64 {
        match self.size {
            Size::Byte => v & 0xFF,
            Size::Short => v & 0xFFFF,
            Size::Int | Size::Wide => v & 0xFFFF_FFFF,
            Size::Long64 => v,
        }
    }

    fn signed(&self, v: u64) -> i64 {
        match self.size {
            Size::Byte => i64::from(v as i8),
            Size::Short => i64::from(v as i16),
            Size::Int | Size::Wide => i64::from(v as i32),
            Size::Long64 => v as i64,
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let text: String = text
            .chars()
            .take(self.precision.unwrap_or(usize::MAX))
            .collect();
        self.pad("", &text, out);
    }
}

/// "DbgPrint and DbgPrintEx can be called at IRQL<=DIRQL. However, Unicode
/// format codes (%wc and %ws) can be used only at IRQL=PASSIVE_LEVEL."
fn unicode_allowed() {
    let irql = processor::current().irql();
    if irql > Irql::PASSIVE {
        violation(
            rules::IRQL,
            format!("a Unicode format code was printed at {irql}"),
        );
    }
}

unsafe fn narrow(p: u64, limit: Option<usize>) -> String {
    if p == 0 {
        return "(null)".into();
    }
    let p = p as *const u8;
    // SAFETY: the contract of %s: readable up to the terminator or the precision.
    let bytes: Vec<u8> = (0..limit.unwrap_or(usize::MAX))
        .map(|i| unsafe { p.wrapping_add(i).read() })
        .take_while(|b| *b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

unsafe fn wide(p: u64, limit: Option<usize>) -> String {
    if p == 0 {
        return "(null)".into();
    }
    let p = p as *const u16;
    // SAFETY: the contract of %ws, as above.
    let units: Vec<u16> = (0..limit.unwrap_or(usize::MAX))
        .map(|i| unsafe { p.wrapping_add(i).read_unaligned() })
        .take_while(|u| *u != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

/// Formats as DbgPrint does.
///
/// # Safety
/// `format` is terminated and the arguments match it.
pub(super) unsafe fn format(format: *const c_char, mut arguments: Arguments) -> String {
    // SAFETY: the caller's promise.
    let format = unsafe { CStr::from_ptr(format) }.to_bytes();
    let mut out = String::new();
    let mut rest = format;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            let end = rest.iter().position(|b| *b == b'%').unwrap_or(rest.len());
            let (text, next) = rest.split_at(end);
            let mut bytes = vec![first];
            bytes.extend_from_slice(text);
            out.push_str(&String::from_utf8_lossy(&bytes));
            rest = next;
            continue;
        }
        let mut spec = Spec::default();
        // SAFETY: the caller's promise about the arguments.
        rest = unsafe { parse(rest, &mut spec, &mut arguments) };
        let Some((&conversion, tail)) = rest.split_first() else {
            break;
        };
        rest = tail;
        // SAFETY: as above.
        unsafe { convert(conversion, &spec, &mut rest, &mut arguments, &mut out) };
    }
    out
}

unsafe fn parse<'a>(mut s: &'a [u8], spec: &mut Spec, arguments: &mut Arguments) -> &'a [u8] {
    while let Some((flag, tail)) = s.split_first() {
        match flag {
            b'-' => spec.left = true,
            b'0' => spec.zero = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'#' => spec.alternate = true,
            _ => break,
        }
        s = tail;
    }
    let mut number = |s: &mut &'a [u8]| {
        if let Some(tail) = s.strip_prefix(b"*") {
            *s = tail;
            // SAFETY: a star takes an argument.
            return unsafe { arguments.next() } as u32 as usize;
        }
        let mut n = 0usize;
        while let Some((d, tail)) = s.split_first().filter(|(d, _)| d.is_ascii_digit()) {
            n = n
                .saturating_mul(10)
                .saturating_add(usize::from(d - b'0'))
                .min(4096);
            *s = tail;
        }
        n
    };
    spec.width = number(&mut s).min(4096);
    if let Some(tail) = s.strip_prefix(b".") {
        s = tail;
        spec.precision = Some(number(&mut s));
    }
    for (prefix, size) in [
        (&b"I64"[..], Size::Long64),
        (b"I32", Size::Int),
        (b"I", Size::Long64),
        (b"ll", Size::Long64),
        (b"l", Size::Int),
        (b"hh", Size::Byte),
        (b"h", Size::Short),
        (b"z", Size::Long64),
        (b"w", Size::Wide),
    ] {
        if let Some(tail) = s.strip_prefix(prefix) {
            spec.size = size;
            // %ls is %ws; numbers with l are 32 bits wide on Windows.
            if prefix == b"l" && matches!(tail.first(), Some(b's' | b'c' | b'Z')) {
                spec.size = Size::Wide;
            }
            return tail;
        }
    }
    s
}

unsafe fn convert(
    c: u8,
    spec: &Spec,
    rest: &mut &[u8],
    arguments: &mut Arguments,
    out: &mut String,
) {
    // SAFETY: each conversion takes one argument, of the kind that it names.
    let mut next = || unsafe { arguments.next() };
    match c {
        b'%' => out.push('%'),
        b'd' | b'i' => {
            let v = spec.signed(next());
            let sign = match v {
                v if v < 0 => "-",
                _ if spec.plus => "+",
                _ if spec.space => " ",
                _ => "",
            };
            spec.number(v.unsigned_abs().to_string(), sign, out);
        }
        b'u' => spec.number(spec.unsigned(next()).to_string(), "", out),
        b'x' => spec.number(
            format!("{:x}", spec.unsigned(next())),
            if spec.alternate { "0x" } else { "" },
            out,
        ),
        b'X' => spec.number(
            format!("{:X}", spec.unsigned(next())),
            if spec.alternate { "0X" } else { "" },
            out,
        ),
        b'o' => spec.number(format!("{:o}", spec.unsigned(next())), "", out),
        b'p' => spec.number(format!("{:016X}", next()), "", out),
        b'c' | b'C' => {
            let unit = if spec.size == Size::Wide || c == b'C' {
                unicode_allowed();
                next() as u16
            } else {
                next() as u16 & 0xFF
            };
            spec.pad("", &String::from_utf16_lossy(&[unit]), out);
        }
        b's' | b'S' => {
            let p = next();
            // SAFETY: the argument is a string of that kind.
            let text = if (spec.size == Size::Wide) != (c == b'S') {
                unicode_allowed();
                // SAFETY: as above.
                unsafe { wide(p, spec.precision) }
            } else {
                // SAFETY: as above.
                unsafe { narrow(p, spec.precision) }
            };
            spec.text(&text, out);
        }
        b'Z' => {
            let p = next() as *const UnicodeString;
            if p.is_null() {
                return spec.text("(null)", out);
            }
            // SAFETY: a pointer to a UNICODE_STRING, or to an ANSI_STRING, which
            // has the same members over bytes.
            let text = unsafe {
                if spec.size == Size::Wide {
                    unicode_allowed();
                    (*p).to_string_lossy()
                } else {
                    narrow((*p).buffer as u64, Some(usize::from((*p).length)))
                }
            };
            spec.text(&text, out);
        }
        other => {
            out.push('%');
            out.push(char::from(other));
            let _ = rest;
        }
    }
}
