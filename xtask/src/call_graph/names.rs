//! Names of functions as people read them. In the debug information they are whole: every type that a generic
//! function was made for, with its path, and with numbers of the type level bit by bit.

use std::iter::Peekable;

/// How deep types within types are shown.
const DEPTH: usize = 2;

/// A name as the debug information has it, shortened: of types only their own names, of types within types only
/// the outer ones, of type-level numbers the number.
pub fn short(name: &str) -> String {
    let mut tokens = tokens(name).peekable();
    let mut text = String::new();
    // Brackets that close nothing (`operator>`) are text.
    while let Some(token) = tokens.next() {
        match token {
            "<" => text.push_str(&shown(&arguments(&mut tokens), 1)),
            other => text.push_str(other),
        }
    }
    text
}

/// A type with its arguments.
struct Type {
    /// The last part of its path.
    name: String,
    arguments: Vec<Type>,
}

/// What has a meaning here, and the text between.
fn tokens(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match first {
            '<' | '>' | ',' => 1,
            _ => rest.find(['<', '>', ',']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// The types up to the bracket that closes.
fn arguments<'a>(tokens: &mut Peekable<impl Iterator<Item = &'a str>>) -> Vec<Type> {
    let mut types = Vec::new();
    loop {
        let mut it = Type {
            name: String::new(),
            arguments: Vec::new(),
        };
        let end = loop {
            match tokens.next() {
                None => break ">",
                Some("<") => it.arguments = arguments(tokens),
                Some(end @ ("," | ">")) => break end,
                Some(text) => it.name.push_str(last_part(text.trim())),
            }
        };
        if !it.name.is_empty() || !it.arguments.is_empty() {
            types.push(it);
        }
        if end == ">" {
            return types;
        }
    }
}

/// Of a path the last part.
fn last_part(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

fn shown(types: &[Type], depth: usize) -> String {
    let texts: Vec<String> = types.iter().map(|it| it.shown(depth)).collect();
    format!("<{}>", texts.join(", "))
}

impl Type {
    fn shown(&self, depth: usize) -> String {
        if let Some(number) = self.number() {
            return number.to_string();
        }
        match (self.name.as_str(), self.arguments.as_slice()) {
            // How the format of the debug information writes an enumeration.
            ("enum2$", [only]) => only.shown(depth),
            (name, []) => name.to_owned(),
            (name, _) if depth >= DEPTH => format!("{name}<..>"),
            (name, arguments) => format!("{name}{}", shown(arguments, depth + 1)),
        }
    }

    /// The value of a number of the typenum crate: `UInt<UInt<UTerm, B1>, B0>` is 2.
    fn number(&self) -> Option<u64> {
        match (self.name.as_str(), self.arguments.as_slice()) {
            ("UTerm", []) => Some(0),
            ("UInt", [high, bit]) => {
                let bit = match bit.name.as_str() {
                    "B0" => 0,
                    "B1" => 1,
                    _ => return None,
                };
                high.number()?.checked_mul(2)?.checked_add(bit)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_still_tell_what_is_what() {
        for (name, text) in [
            ("", ""),
            ("__chkstk", "__chkstk"),
            ("ipsecov2::handlers::pause()", "ipsecov2::handlers::pause()"),
            (
                "ipsecov2::send::burst::impl$1::transmit_packets::closure$0()",
                "ipsecov2::send::burst::impl$1::transmit_packets::closure$0()",
            ),
            (
                "aes::backends::x86_vaes512::Aes::encrypt<15,ipsec_crypto::gcm::Seal>()",
                "aes::backends::x86_vaes512::Aes::encrypt<15, Seal>()",
            ),
            (
                "ipsec::ah::hmac::impl$0::tag::closure$0<enum2$<ipsec_crypto::hmac::Sha256> >()",
                "ipsec::ah::hmac::impl$0::tag::closure$0<Sha256>()",
            ),
            (
                "ipsec::esp::transform::impl$1::open<ipsec::esp::separate::Separate<ipsec_crypto::cbc::Cbc<aes::Aes256Enc>,\
                 enum2$<ipsec_crypto::hmac::Sha256> > >()",
                "ipsec::esp::transform::impl$1::open<Separate<Cbc<..>, Sha256>>()",
            ),
            (
                "a::f<b::C<typenum::uint::UInt<typenum::uint::UInt<typenum::uint::UTerm,typenum::bit::B1>,typenum::bit::B0>,\
                 d::E<typenum::uint::UTerm> > >()",
                "a::f<C<2, E<..>>>()",
            ),
            // Not numbers, or not whole: shown as they are.
            ("f<UInt<UTerm,B7> >", "f<UInt<0, B7>>"),
            ("f<g::H", "f<H>"),
            ("operator>", "operator>"),
            ("f<>", "f<>"),
        ] {
            assert_eq!(short(name), text, "{name}");
        }
    }
}
