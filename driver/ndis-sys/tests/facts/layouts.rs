//! Sizes, alignments, offsets, bits and member types.

use std::collections::{BTreeMap, BTreeSet};

use ndis_sys::tables::Layout;
use serde_json::Value;

use crate::types::{canonical, untyped};
use crate::{facts, layouts};

/// Members of the headers that have no name here: overlays that a miniport driver has no use for.
const OVERLAYS: &[(&str, &[&str])] = &[
    (
        "NET_BUFFER",
        &[
            "Link",
            "NetBufferHeader",
            "stDataLength",
            "ScatterGatherList",
        ],
    ),
    (
        "NET_BUFFER_LIST",
        &["Link", "NetBufferListHeader", "NdisReserved2"],
    ),
    (
        "NDIS_MINIPORT_ADAPTER_ATTRIBUTES",
        &["Native_802_11_Attributes", "NDKAttributes"],
    ),
    ("NDIS_NET_BUFFER_LIST_8021Q_INFO", &["WLanTagHeader"]),
    ("LARGE_INTEGER", &["LowPart", "HighPart"]),
    ("KDPC", &["TargetInfoAsUlong"]),
];

/// DISPATCHER_HEADER is opaque to drivers and overlays eight kinds of object: only an event's view is declared.
const EVENT_ONLY: &str = "DISPATCHER_HEADER";

/// Members that grow with the NDIS version; declared as for 6.30.
const GROWING: &[(&str, &str)] = &[
    ("NET_BUFFER_LIST", "NetBufferListInfo"),
    ("NDIS_MINIPORT_ADAPTER_ATTRIBUTES", "GeneralAttributes"),
    (
        "NDIS_MINIPORT_ADAPTER_ATTRIBUTES",
        "HardwareAssistAttributes",
    ),
];

/// A member as the facts have it, with its offset from the start of its parent.
#[derive(Debug)]
struct Member<'a> {
    name: &'a str,
    offset: usize,
    size: usize,
    ty: &'a str,
    bits: Option<(u32, u32)>,
}

/// The direct members of `place` (a structure, or a member of one) and its size.
fn members<'a>(structure: &'a Value, path: &str) -> (usize, Vec<Member<'a>>) {
    let rows = structure["fields"].as_array().expect("fields");
    let number =
        |row: &Value, i: usize| usize::try_from(row[i].as_u64().expect("number")).expect("small");
    let (base, size, prefix) = if path.is_empty() {
        (
            0,
            structure["size"].as_u64().expect("size") as usize,
            String::new(),
        )
    } else {
        let parent = rows
            .iter()
            .find(|row| row[0] == path)
            .unwrap_or_else(|| panic!("no member {path} in the facts"));
        (number(parent, 1), number(parent, 2), format!("{path}."))
    };
    let members = rows
        .iter()
        .filter_map(|row| {
            let name = row[0].as_str()?.strip_prefix(&prefix)?;
            (!name.contains('.')).then(|| Member {
                name,
                offset: number(row, 1) - base,
                size: number(row, 2),
                ty: row[3].as_str().expect("type"),
                bits: row
                    .get(4)
                    .map(|_| (number(row, 4) as u32, number(row, 5) as u32)),
            })
        })
        .collect();
    (size, members)
}

#[test]
fn every_layout_matches_every_version() {
    let facts = facts();
    let overlays: BTreeMap<_, _> = OVERLAYS.iter().copied().collect();
    let mut compared = BTreeSet::new();

    // What is declared about each place: a structure, or one of its members.
    let mut places = BTreeMap::<&str, Vec<(&Layout, usize)>>::new();
    for layout in layouts() {
        for &(place, base) in layout.places {
            places.entry(place).or_default().push((layout, base));
        }
    }

    for (place, views) in &places {
        let (name, path) = place.split_once('.').unwrap_or((place, ""));
        let versions = facts["structs"][name]
            .as_object()
            .unwrap_or_else(|| panic!("{name} is not in the facts"));
        for (version, structure) in versions {
            let newest = version == "6.30";
            let (size, members) = members(structure, path);
            for member in &members {
                let declared = views.iter().any(|&(layout, base)| match member.bits {
                    Some((shift, width)) => {
                        base == member.offset && layout.bits.contains(&(member.name, shift, width))
                    }
                    None => layout.fields.iter().any(|&(field, offset, size, ty)| {
                        let grows = GROWING.contains(&(*place, member.name)) && size > member.size && !newest;
                        if field != member.name || base + offset != member.offset || !(size == member.size || grows) {
                            return false;
                        }
                        let (ours, theirs) = (canonical(ty), canonical(member.ty));
                        let inline = member.ty.contains("{inline}") || member.ty.starts_with("union _");
                        let nested = inline || places.contains_key(format!("{place}.{field}").as_str());
                        assert!(
                            nested || untyped(&ours) || ours == theirs,
                            "{place}.{field} is {ty} here ({ours:?}), {} in the headers ({theirs:?})",
                            member.ty
                        );
                        true
                    }),
                });
                let overlay = overlays
                    .get(place)
                    .is_some_and(|names| names.contains(&member.name));
                assert!(
                    declared || overlay || *place == EVENT_ONLY,
                    "{place} for NDIS {version}: {member:?} is not declared like that"
                );
            }
            for &(layout, base) in views {
                let whole = base == 0 && !layout.fields.is_empty();
                if newest && whole {
                    assert_eq!(
                        layout.size, size,
                        "size of {} for NDIS {version}",
                        layout.name
                    );
                    if path.is_empty() {
                        assert_eq!(
                            layout.align as u64,
                            structure["align"].as_u64().unwrap(),
                            "align of {}",
                            layout.name
                        );
                    }
                } else if whole {
                    assert!(
                        layout.size >= size,
                        "size of {} for NDIS {version}",
                        layout.name
                    );
                }
                if !newest {
                    continue;
                }
                // Nothing is declared that the headers do not have.
                for &(field, offset, ..) in layout
                    .fields
                    .iter()
                    .filter(|field| !field.0.starts_with('_'))
                {
                    let named = members
                        .iter()
                        .any(|m| m.bits.is_none() && m.name == field && m.offset == base + offset);
                    let unnamed = views.iter().any(|&(_, base)| base != 0 && base == offset)
                        || (views.len() > 1
                            && members
                                .iter()
                                .any(|m| m.bits.is_some() && m.offset == offset));
                    assert!(named || unnamed, "{place} has no {field} at {offset}");
                }
                for &(field, shift, width) in layout.bits {
                    let named = members.iter().any(|m| {
                        m.name == field && m.bits == Some((shift, width)) && m.offset == base
                    });
                    assert!(
                        named,
                        "{place} has no bit-field {field} at {shift}, {width} bits"
                    );
                    assert!(
                        members
                            .iter()
                            .filter(|m| m.name == field)
                            .all(|m| m.size == layout.size)
                    );
                }
            }
            compared.insert(*place);
        }
    }

    for layout in layouts() {
        for (place, _) in layout.places {
            assert!(compared.contains(place), "{} was not compared", layout.name);
        }
    }
    // The lists above must not outlive their reason.
    for (name, overlaid) in OVERLAYS {
        for member in *overlaid {
            let known = members(&facts["structs"][name]["6.30"], "").1;
            assert!(
                known.iter().any(|m| m.name == *member),
                "{name}.{member} is not in the facts"
            );
        }
    }
}
