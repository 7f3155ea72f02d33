//! WDF_OBJECT_ATTRIBUTES, as every creation checks them. Pages:
//! WDF_OBJECT_ATTRIBUTES, "Framework Object Creation Errors".

use super::object;

const STATUS_INFO_LENGTH_MISMATCH: i32 = 0xC000_0004_u32 as i32;
pub(super) const STATUS_WDF_OBJECT_ATTRIBUTES_INVALID: i32 = 0xC020_0209_u32 as i32;
const STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED: i32 = 0xC020_020F_u32 as i32;
const STATUS_WDF_SYNCHRONIZATION_SCOPE_INVALID: i32 = 0xC020_0210_u32 as i32;
const STATUS_WDF_EXECUTION_LEVEL_INVALID: i32 = 0xC020_0211_u32 as i32;
const STATUS_WDF_PARENT_NOT_SPECIFIED: i32 = 0xC020_0212_u32 as i32;
pub(super) const EXECUTION_LEVEL_PASSIVE: u32 = 2;
const EXECUTION_LEVEL_LAST: u32 = 3;
const SYNCHRONIZATION_SCOPE_LAST: u32 = 4;

/// WDF_OBJECT_ATTRIBUTES.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RawAttributes {
    size: u32,
    cleanup: u64,
    destroy: u64,
    execution_level: u32,
    synchronization_scope: u32,
    parent: u64,
    context_size: usize,
    context_type: *const ContextType,
}

const _: () = assert!(size_of::<RawAttributes>() == 56);

/// WDF_OBJECT_CONTEXT_TYPE_INFO.
#[repr(C)]
pub(super) struct ContextType {
    size: u32,
    name: u64,
    context_size: usize,
    pub(super) unique: *const ContextType,
    get_unique: u64,
}

const _: () = assert!(size_of::<ContextType>() == 40);

/// Checked attributes.
#[derive(Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) cleanup: u64,
    pub(super) destroy: u64,
    pub(super) execution_level: u32,
    pub(super) parent: Option<u64>,
    /// Type and size.
    pub(super) context: Option<(u64, usize)>,
}

/// What an object's creation says about a parent.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Parent {
    Refused,
    Optional,
    Required,
}

/// Reads and checks attributes, as every creation does.
///
/// # Safety
/// `raw` is null or a WDF_OBJECT_ATTRIBUTES.
pub(super) unsafe fn attributes(
    raw: *const RawAttributes,
    parent: Parent,
) -> Result<Attributes, i32> {
    if raw.is_null() {
        return match parent {
            Parent::Required => Err(STATUS_WDF_PARENT_NOT_SPECIFIED),
            _ => Ok(Attributes::default()),
        };
    }
    // SAFETY: the caller's promise; the size comes first.
    let a = unsafe {
        if (*raw).size as usize != size_of::<RawAttributes>() {
            return Err(STATUS_INFO_LENGTH_MISMATCH);
        }
        raw.read_unaligned()
    };
    match parent {
        Parent::Refused if a.parent != 0 => return Err(STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED),
        Parent::Required if a.parent == 0 => return Err(STATUS_WDF_PARENT_NOT_SPECIFIED),
        _ => {}
    }
    if a.execution_level == 0 || a.execution_level > EXECUTION_LEVEL_LAST {
        return Err(STATUS_WDF_EXECUTION_LEVEL_INVALID);
    }
    if a.synchronization_scope == 0 || a.synchronization_scope > SYNCHRONIZATION_SCOPE_LAST {
        return Err(STATUS_WDF_SYNCHRONIZATION_SCOPE_INVALID);
    }
    // SAFETY: the attributes name a type or none.
    let context = unsafe { context_of(a.context_type, a.context_size)? };
    let parent = (a.parent != 0).then(|| object(a.parent, "WDFOBJECT").handle);
    Ok(Attributes {
        cleanup: a.cleanup,
        destroy: a.destroy,
        execution_level: a.execution_level,
        parent,
        context,
    })
}

/// Type and size of the context that attributes ask for.
unsafe fn context_of(
    kind: *const ContextType,
    size_override: usize,
) -> Result<Option<(u64, usize)>, i32> {
    if kind.is_null() {
        return if size_override == 0 {
            Ok(None)
        } else {
            Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID)
        };
    }
    // SAFETY: the caller's promise.
    let (size, named, declared, unique) = unsafe {
        (
            (*kind).size,
            (*kind).name != 0,
            (*kind).context_size,
            (*kind).unique,
        )
    };
    if size as usize != size_of::<ContextType>() {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    if !named || declared == 0 || (size_override != 0 && size_override < declared) {
        return Err(STATUS_WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    let unique = if unique.is_null() { kind } else { unique };
    Ok(Some((unique as u64, declared.max(size_override))))
}
