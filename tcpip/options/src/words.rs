//! Words of messages.

/// A number of things: `1 packet`, `2 packets`.
pub fn count(number: usize, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}

/// The name of `names` that is most like a misspelt one, if any is like it. An asterisk and the case do not count.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |name: &str| name.trim_start_matches('*').to_lowercase();
    let wrong = bare(wrong);
    names
        .into_iter()
        .map(|name| {
            (
                strsim::normalized_damerau_levenshtein(&wrong, &bare(name)),
                name,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        for (number, text) in [(0, "0 SAs"), (1, "1 SA"), (2, "2 SAs"), (11, "11 SAs")] {
            assert_eq!(count(number, "SA"), text);
        }
    }

    #[test]
    fn the_nearest_name_is_found_if_there_is_one() {
        let names = [
            "*JumboPacket",
            "LegacyAlgorithms",
            "*LsoV2IPv4",
            "*LsoV2IPv6",
        ];
        for (wrong, nearest_one) in [
            ("JumboPacket", Some("*JumboPacket")),
            ("*jumbopackets", Some("*JumboPacket")),
            ("LegacyAlgoritms", Some("LegacyAlgorithms")),
            ("*LsoV2IPV6", Some("*LsoV2IPv6")),
            ("Zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), nearest_one, "{wrong}");
        }
    }
}
