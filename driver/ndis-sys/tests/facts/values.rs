//! Constants and enumerators.

use std::collections::{BTreeMap, BTreeSet};

use ndis_sys::tables::CONSTANTS;

use crate::facts;

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
