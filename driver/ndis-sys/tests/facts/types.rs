//! Types of C and of Rust in one spelling.

use crate::{WITHOUT_LAYOUT, layouts};

/// The types of a C header and of this crate in one spelling: the base type and how many pointers lead to it.
pub fn canonical(ty: &str) -> (String, usize) {
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
pub fn untyped(ours: &(String, usize)) -> bool {
    ours.0 == "void" && ours.1 > 0
}
