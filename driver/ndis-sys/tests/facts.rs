//! Compares everything that the crate declares with `ndis-facts.json`, which was measured from the
//! WDK's headers (see `extract-facts.py`). The tables compared are made by the macros that make the
//! declarations, so nothing can be declared and left out; what the facts do not know is listed here.

use std::collections::{BTreeMap, BTreeSet};

use ndis_sys::tables::{CALLBACKS, CONSTANTS, Function, LAYOUTS, Layout, NDIS, NTOSKRNL};
use ndis_sys::{NdisVersion, ObjectKind};
use serde_json::Value;

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

/// Values that the facts lack, from another source: the page of the documentation named.
const OUTSIDE_THE_FACTS: &[(&str, i128, &str)] = &[
    ("STATUS_TIMEOUT", 0x102, "[MS-ERREF] 2.3.1"),
    ("KernelMode", 0, "wdm KPROCESSOR_MODE"),
    ("UserMode", 1, "wdm KPROCESSOR_MODE"),
    ("POOL_FLAG_UNINITIALIZED", 0x2, "kernel POOL_FLAGS"),
    ("POOL_FLAG_CACHE_ALIGNED", 0x8, "kernel POOL_FLAGS"),
    ("POOL_FLAG_NON_PAGED", 0x40, "kernel POOL_FLAGS"),
    ("POOL_FLAG_PAGED", 0x100, "kernel POOL_FLAGS"),
    // The numbers of the components of XCR0: Intel SDM volume 1, section 13.1.
    ("XSTATE_MASK_LEGACY_FLOATING_POINT", 0x1, "XCR0"),
    ("XSTATE_MASK_LEGACY_SSE", 0x2, "XCR0"),
    ("XSTATE_MASK_LEGACY", 0x3, "XCR0"),
    ("XSTATE_MASK_GSSE", 0x4, "XCR0"),
    ("XSTATE_MASK_AVX", 0x4, "XCR0"),
    ("XSTATE_MASK_AVX512_KMASK", 0x20, "XCR0"),
    ("XSTATE_MASK_AVX512_ZMM_H", 0x40, "XCR0"),
    ("XSTATE_MASK_AVX512_ZMM", 0x80, "XCR0"),
    ("XSTATE_MASK_AVX512", 0xE0, "XCR0"),
    ("Executive", 0, "wdm KeWaitForSingleObject"),
    ("LowImportance", 0, "wdm KDPC_IMPORTANCE"),
    ("MediumImportance", 1, "wdm KDPC_IMPORTANCE"),
    ("HighImportance", 2, "wdm KDPC_IMPORTANCE"),
    ("MediumHighImportance", 3, "wdm KDPC_IMPORTANCE"),
];

/// Callbacks that the facts lack, and their number of parameters.
const CALLBACKS_OUTSIDE_THE_FACTS: &[(&str, usize)] = &[
    ("KDEFERRED_ROUTINE", 4),
    ("DRIVER_INITIALIZE", 2),
    ("DRIVER_UNLOAD", 1),
];

/// Structures that are declared without a layout: opaque, or not of the headers at all.
const WITHOUT_LAYOUT: &[&str] = &[
    "CM_PARTIAL_RESOURCE_LIST",
    "CM_RESOURCE_LIST",
    "DEVICE_OBJECT",
    "IRP",
    "NDIS_PCI_DEVICE_CUSTOM_PROPERTIES",
    "NDIS_RW_LOCK_EX",
    "NET_BUFFER_SHARED_MEMORY",
    "XSTATE_SAVE",
    "BitField",
    "Constant",
    "Function",
    "Layout",
    "Revision",
];

fn facts() -> Value {
    serde_json::from_str(include_str!("ndis-facts.json")).expect("the facts are JSON")
}

fn layouts() -> impl Iterator<Item = &'static Layout> {
    LAYOUTS.iter().copied().flatten()
}

fn version_name(version: NdisVersion) -> String {
    format!("{}.{}", version.major(), version.minor())
}

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

/// The types of a C header and of this crate in one spelling: the base type and how many pointers lead to it.
fn canonical(ty: &str) -> (String, usize) {
    let known = |name: &str| {
        layouts().any(|layout| layout.name == name)
            || WITHOUT_LAYOUT.contains(&name)
            || [
                "ULONG",
                "USHORT",
                "UCHAR",
                "BOOLEAN",
                "UINT",
                "WCHAR",
                "NDIS_STATUS",
                "NDIS_HANDLE",
                "NDIS_STRING",
                "NDIS_OID",
            ]
            .contains(&name)
    };
    let mut pointers = 0;
    let mut base = ty.trim();
    loop {
        let shorter = base
            .strip_prefix("*mut ")
            .or_else(|| base.strip_prefix("*const "));
        if let Some(inner) = shorter.or_else(|| base.strip_suffix('*')) {
            pointers += 1;
            base = inner.trim();
        } else if let Some(inner) = ["const ", "volatile ", "struct _", "struct ", "union _"]
            .iter()
            .find_map(|word| base.strip_prefix(word))
        {
            base = inner;
        } else if let Some(inner) = base
            .strip_prefix('[')
            .and_then(|inner| inner.split(';').next())
        {
            base = inner;
        } else if let Some((inner, _)) = base.split_once('[') {
            base = inner;
        } else if let Some(inner) = ["PC", "LPC", "P"]
            .iter()
            .filter_map(|prefix| base.strip_prefix(prefix))
            .find(|inner| known(inner) && !known(base))
        {
            pointers += 1;
            base = inner;
        } else {
            break;
        }
    }
    let name = match base {
        "PVOID" => {
            pointers += 1;
            "void"
        }
        "NDIS_HANDLE" => {
            pointers += 1;
            "void"
        }
        "PWCH" => {
            pointers += 1;
            "u16"
        }
        "ULONG"
        | "UINT"
        | "UINT32"
        | "NDIS_OID"
        | "NDIS_PORT_NUMBER"
        | "NET_IFINDEX"
        | "IPAddr"
        | "unsigned long"
        | "IPSEC_OFFLOAD_V2_SPI_TYPE"
        | "NDIS_SWITCH_PORT_ID"
        | "NDIS_RSS_CAPS_FLAGS" => "u32",
        "USHORT" | "WCHAR" | "unsigned short" | "NET_IFTYPE" => "u16",
        "UCHAR" | "BOOLEAN" | "KIRQL" | "unsigned char" => "u8",
        "ULONG64" | "ULONGLONG" => "u64",
        "LONG" | "NDIS_STATUS" | "NTSTATUS" => "i32",
        "NDIS_STRING" => "UNICODE_STRING",
        "NDIS_PHYSICAL_ADDRESS" | "PHYSICAL_ADDRESS" => "LARGE_INTEGER",
        "NDIS_RESOURCE_LIST" => "CM_PARTIAL_RESOURCE_LIST",
        "PNDIS_RESOURCE_LIST" => {
            pointers += 1;
            "CM_PARTIAL_RESOURCE_LIST"
        }
        // A C function type behind a pointer is the optional function pointer of Rust.
        "NET_BUFFER_FREE_MDL" => {
            pointers -= 1;
            "NET_BUFFER_FREE_MDL_HANDLER"
        }
        "NET_BUFFER_ALLOCATE_MDL" => {
            pointers -= 1;
            "NET_BUFFER_ALLOCATE_MDL_HANDLER"
        }
        "" => "void",
        other => other,
    };
    (name.to_owned(), pointers)
}

/// Pointers that the headers type and this crate leaves untyped, because nothing here follows them.
fn untyped(ours: &(String, usize)) -> bool {
    ours.0 == "void" && ours.1 > 0
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

#[test]
fn every_structure_in_the_source_is_in_the_tables() {
    let compared: BTreeSet<_> = layouts().map(|layout| layout.name).collect();
    let mut found = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("sources") {
        let path = file.expect("source").path();
        for line in std::fs::read_to_string(&path).expect("source").lines() {
            let mut words = line.split_whitespace().skip_while(|word| *word == "pub");
            if !matches!(words.next(), Some("struct" | "union")) {
                continue;
            }
            let name: String = words
                .next()
                .unwrap_or("")
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            // `$name` of a macro, or the form that a macro's documentation shows.
            if name.is_empty() || name == "NAME" {
                continue;
            }
            found += 1;
            assert!(
                compared.contains(name.as_str()) || WITHOUT_LAYOUT.contains(&name.as_str()),
                "{name} in {} has no layout table: declare it with layouts!, and list the table in lib.rs",
                path.display()
            );
        }
    }
    assert!(
        found > 100,
        "only {found} structures found: the scan is broken"
    );
}

#[test]
fn every_table_is_listed() {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("sources") {
        for line in std::fs::read_to_string(file.expect("source").path())
            .expect("source")
            .lines()
        {
            if let Some(name) = line
                .strip_suffix('{')
                .and_then(|line| line.trim_end().strip_suffix('!'))
            {
                *found.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(found["layouts"] + found["bit_fields"], LAYOUTS.len());
    assert_eq!(found["constants"], CONSTANTS.len());
    assert_eq!(found["callbacks"], CALLBACKS.len());
}

#[test]
fn every_constant_has_the_value_of_the_headers() {
    let facts = facts();
    let outside: BTreeMap<_, _> = OUTSIDE_THE_FACTS
        .iter()
        .map(|&(name, value, _)| (name, value))
        .collect();
    let mut names = BTreeSet::new();
    for constant in CONSTANTS.iter().copied().flatten() {
        assert!(
            names.insert(constant.name),
            "{} is declared twice",
            constant.name
        );
        let value = match constant.enumeration {
            "" => &facts["constants"][constant.name],
            enumeration => &facts["enums"][enumeration][constant.name],
        };
        let expected = match outside.get(constant.name) {
            Some(&expected) => {
                assert!(value.is_null(), "{} is in the facts", constant.name);
                expected
            }
            None => value
                .as_i64()
                .map(i128::from)
                .or(value.as_u64().map(i128::from))
                .unwrap_or_else(|| {
                    panic!("{} is not in the facts", constant.name);
                }),
        };
        // The facts give values unsigned.
        let mask = u64::MAX >> (64 - 8 * constant.size);
        assert_eq!(
            constant.value as u64 & mask,
            expected as u64 & mask,
            "{}",
            constant.name
        );
        assert!(
            expected as u64 <= mask,
            "{} does not fit its type",
            constant.name
        );
    }
    for name in outside.keys() {
        assert!(names.contains(name), "{name} is listed but not declared");
    }
    assert_eq!(
        ndis_sys::MaxNetBufferListInfo as u64,
        facts["max_net_buffer_list_info"]["6.30"]
    );
}

#[test]
fn header_rules_follow_the_registered_version() {
    let facts = facts();
    let rules = facts["object_header_rules"].as_object().expect("rules");
    let kinds: BTreeMap<_, _> = ObjectKind::ALL
        .iter()
        .map(|kind| (kind.name(), *kind))
        .collect();
    assert_eq!(kinds.len(), ObjectKind::ALL.len());

    for (name, rule) in rules {
        let kind = kinds
            .get(name.as_str())
            .unwrap_or_else(|| panic!("no header rule for {name}"));
        assert_eq!(rule["type"], kind.object_type(), "type of {name}");
        let minor = |version: &Value| -> u32 {
            version
                .as_str()
                .and_then(|v| v.strip_prefix("6."))
                .and_then(|v| v.parse().ok())
                .expect("6.x")
        };
        let known: Vec<_> = rule["revisions"]
            .as_array()
            .expect("revisions")
            .iter()
            .filter(|r| minor(&r[1]) <= 30)
            .collect();
        assert_eq!(known.len(), kind.revisions().len(), "revisions of {name}");
        for (theirs, ours) in known.iter().zip(kind.revisions()) {
            assert_eq!(theirs[0], ours.revision, "revision of {name}");
            assert_eq!(
                minor(&theirs[1]).max(1),
                u32::from(ours.since.minor()),
                "version of {name}"
            );
            assert_eq!(theirs[2], ours.size, "size of {name}");
            assert_eq!(theirs[3], ours.least_size, "least size of {name}");
        }
        for version in NdisVersion::ALL {
            let newest = known
                .iter()
                .rfind(|r| minor(&r[1]) <= u32::from(version.minor()));
            let header = kind.header(version).map(|h| (h.Type, h.Revision, h.Size));
            let expected = newest.map(|r| (rule["type"].clone(), r[0].clone(), r[2].clone()));
            match (header, expected) {
                (Some((ty, revision, size)), Some(expected)) => {
                    assert_eq!(
                        (expected.0, expected.1, expected.2),
                        (ty.into(), revision.into(), size.into()),
                        "{name}"
                    );
                }
                (None, None) => {}
                other => panic!("{name} for {version:?}: {other:?}"),
            }
        }
    }
    assert_eq!(rules.len(), kinds.len(), "a kind has no rule in the facts");

    // A revision ends within the declared structure, and every structure with a header has its rule.
    for layout in layouts() {
        let headed = layout
            .fields
            .first()
            .is_some_and(|f| f.0 == "Header" && f.3 == "NDIS_OBJECT_HEADER");
        let ruleless = [
            "NDIS_MINIPORT_ADAPTER_ATTRIBUTES",
            "NDIS_PORT_AUTHENTICATION_PARAMETERS",
        ];
        if headed && !ruleless.contains(&layout.name) {
            let kind = kinds
                .get(layout.name)
                .unwrap_or_else(|| panic!("{} has no header rule", layout.name));
            assert!(
                kind.revisions()
                    .iter()
                    .all(|r| usize::from(r.size) <= layout.size),
                "{}",
                layout.name
            );
        }
    }

    for version in NdisVersion::ALL {
        let name = version_name(version);
        assert_eq!(
            facts["max_net_buffer_list_info"][&name],
            version.max_net_buffer_list_info() as u64
        );
        assert_eq!(
            NdisVersion::from_numbers(version.major(), version.minor()),
            Some(version)
        );
    }
    assert_eq!(NdisVersion::from_numbers(6, 0), None);
}

fn check_signature(function: &Function, fact: &Value) {
    let name = function.name;
    let theirs: Vec<_> = fact["parameters"]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is not in the facts"))
        .iter()
        .collect();
    assert_eq!(
        function.parameters.len(),
        theirs.len(),
        "number of parameters of {name}"
    );
    let same = |ours: &str, theirs: &Value| {
        let theirs = theirs.as_str().expect("type");
        let theirs = if theirs == "void" { "" } else { theirs };
        assert_eq!(
            canonical(ours),
            canonical(theirs),
            "{name}: {ours} here, {theirs} in the headers"
        );
    };
    for (ours, theirs) in function.parameters.iter().zip(theirs) {
        same(ours, theirs);
    }
    same(function.result, &fact["result"]);
}

#[test]
fn every_import_and_callback_has_the_types_of_the_headers() {
    let facts = facts();
    for function in NDIS {
        check_signature(function, &facts["functions"][function.name]);
    }
    let mut outside: BTreeMap<_, _> = CALLBACKS_OUTSIDE_THE_FACTS.iter().copied().collect();
    for callback in CALLBACKS.iter().copied().flatten() {
        if let Some(parameters) = outside.remove(callback.name) {
            assert_eq!(callback.parameters.len(), parameters, "{}", callback.name);
        } else if let Some(parameters) = facts["kmdf"][callback.name]["parameters"].as_u64() {
            assert_eq!(
                callback.parameters.len() as u64,
                parameters,
                "{}",
                callback.name
            );
        } else {
            check_signature(callback, &facts["callbacks"][callback.name]);
        }
    }
    assert!(outside.is_empty(), "listed but not declared: {outside:?}");
    assert_eq!(
        ndis_sys::WdfDeviceMiniportCreateTableIndex as u64,
        facts["kmdf"]["WdfDeviceMiniportCreate"]["index"]
    );
    assert_eq!(
        ndis_sys::WdfDriverMiniportUnloadTableIndex as u64,
        facts["kmdf"]["WdfDriverMiniportUnload"]["index"]
    );
}

#[test]
fn imports_have_unique_names() {
    let mut names = BTreeSet::new();
    for function in NDIS.iter().chain(NTOSKRNL) {
        assert!(
            names.insert(function.name),
            "{} is declared twice",
            function.name
        );
    }
}
