//! How the members of `sas.json` are read: with errors that say what is wanted and what is there.

use std::{
    fmt::{self, Display},
    marker::PhantomData,
    str::FromStr,
};

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, IntoDeserializer, Unexpected, Visitor, value::StrDeserializer},
};

/// Reads a whole number from `LEAST` to `MOST`.
pub fn number<'de, D, T, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let range = Range {
        least: LEAST,
        most: MOST,
    };
    let number = deserializer.deserialize_u64(range)?;
    T::try_from(number).map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &range))
}

/// The same for a member that may be absent.
pub fn optional_number<'de, D, T, const LEAST: u64, const MOST: u64>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    number::<D, T, LEAST, MOST>(deserializer).map(Some)
}

#[derive(Clone, Copy)]
struct Range {
    least: u64,
    most: u64,
}

impl Visitor<'_> for Range {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.least, self.most)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        if (self.least..=self.most).contains(&number) {
            return Ok(number);
        }
        Err(E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// Reads one of the names of `T`, an enumeration without content.
pub fn name<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    deserializer.deserialize_str(Name(PhantomData))
}

struct Name<T>(PhantomData<T>);

impl<T: DeserializeOwned> Visitor<'_> for Name<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        // No name is empty, so the answer lists all of them.
        let names = named::<T>("").err().unwrap_or_default();
        for (index, name) in names.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}\"{name}\"")?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        named(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The value of this name, or all names.
fn named<T: DeserializeOwned>(text: &str) -> Result<T, &'static [&'static str]> {
    let deserializer: StrDeserializer<'_, Names> = text.into_deserializer();
    T::deserialize(deserializer).map_err(|Names(names)| names)
}

/// The error of an unknown name, as far as it matters: which names there are.
#[derive(Debug)]
struct Names(&'static [&'static str]);

impl Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Names {}

impl Error for Names {
    fn custom<T: Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self(names)
    }
}

/// Something that is written as text: how a message describes it.
pub trait Written: FromStr<Err: Display> {
    /// What is expected, with an example.
    const EXPECTED: &str;
}

impl Written for std::net::IpAddr {
    const EXPECTED: &str = "an IPv4 or IPv6 address such as \"192.0.2.1\"";
}

impl Written for ipnet::IpNet {
    const EXPECTED: &str =
        "an address and a prefix length (IPv4: 0 to 32, IPv6: 0 to 128) such as \"10.0.0.0/8\"";
}

/// Reads what is written as text.
pub fn written<'de, D: Deserializer<'de>, T: Written>(deserializer: D) -> Result<T, D::Error> {
    struct Text<T>(PhantomData<T>);

    impl<T: Written> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse()
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}

/// The same for a member that may be absent.
pub fn optional_written<'de, D: Deserializer<'de>, T: Written>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    written(deserializer).map(Some)
}

/// Reads hexadecimal digits. The message does not repeat them: they are a key.
pub fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Digits;

    impl Visitor<'_> for Digits {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("hexadecimal digits, two for each byte")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
            hex::decode(text).map_err(|error| {
                let found = match error {
                    hex::FromHexError::InvalidHexCharacter { c, index } => {
                        format!("character {} is {c:?}", index + 1)
                    }
                    _ => format!("{} digits", text.chars().count()),
                };
                E::invalid_value(Unexpected::Other(&found), &self)
            })
        }
    }

    deserializer.deserialize_str(Digits)
}

/// Reads a number, or the same as text in decimal or behind `0x`.
pub fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct Either;

    impl Visitor<'_> for Either {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a whole number from 0 to 4294967295, or the same as text in decimal or behind 0x",
            )
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
            u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
            u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            };
            parsed.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Either)
}

/// An error of the parser with its place in front: line, column and member.
pub fn located(error: serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let error = error.into_inner();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let whole = error.to_string();
    let message = whole.strip_suffix(&place).unwrap_or(&whole);
    // The whole file is a dot, and what the parser cannot name a question mark.
    let member = match path.trim_end_matches(['.', '?']) {
        "" => String::new(),
        path => format!("{path}: "),
    };
    format!(
        "line {}, column {}: {member}{message}",
        error.line(),
        error.column()
    )
}
