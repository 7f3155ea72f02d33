//! Type, revision and size by registered NDIS version.

use std::collections::BTreeMap;

use ndis_sys::{NdisVersion, ObjectKind};
use serde_json::Value;

use crate::{facts, layouts};

fn version_name(version: NdisVersion) -> String {
    format!("{}.{}", version.major(), version.minor())
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
