//! The integer, pointer and string types that everything else is spelled with (ntdef.h, wdm.h).

use crate::table::layouts;
use core::ffi::c_void;

/// `void *`.
pub type PVOID = *mut c_void;
/// 8 bits, unsigned.
pub type UCHAR = u8;
/// 8 bits, signed, as plain `char` is for MSVC.
pub type CCHAR = i8;
/// 16 bits, signed.
pub type CSHORT = i16;
/// 16 bits, unsigned.
pub type USHORT = u16;
/// 32 bits, unsigned, also on 64-bit Windows.
pub type ULONG = u32;
/// 32 bits, unsigned.
pub type UINT = u32;
/// 32 bits, signed, also on 64-bit Windows.
pub type LONG = i32;
/// 64 bits, unsigned.
pub type ULONG64 = u64;
/// 64 bits, unsigned.
pub type ULONGLONG = u64;
/// 64 bits, signed.
pub type LONGLONG = i64;
/// Pointer-sized, unsigned.
pub type ULONG_PTR = usize;
/// Pointer-sized, unsigned.
pub type SIZE_T = usize;
/// A byte that is [`FALSE`] or, for every other value, true.
pub type BOOLEAN = u8;
/// A UTF-16 code unit.
pub type WCHAR = u16;
/// Status of the NT kernel; negative values are errors.
pub type NTSTATUS = i32;
/// Interrupt request level.
pub type KIRQL = u8;
/// A spin lock: zero when free. Must be in non-paged memory.
pub type KSPIN_LOCK = usize;
/// A reader-writer spin lock: zero when free. Must be in non-paged memory.
pub type EX_SPIN_LOCK = i32;
/// A bit for each processor of a group.
pub type KAFFINITY = usize;
/// [`KernelMode`](crate::KernelMode) or [`UserMode`](crate::UserMode).
pub type KPROCESSOR_MODE = i8;
/// A thread's priority, or an increment of it.
pub type KPRIORITY = i32;

/// True.
pub const TRUE: BOOLEAN = 1;
/// False.
pub const FALSE: BOOLEAN = 0;

/// An opaque handle of NDIS or of a driver.
pub type NDIS_HANDLE = *mut c_void;
/// Status of NDIS; negative values are errors.
pub type NDIS_STATUS = i32;
/// An object identifier.
pub type NDIS_OID = u32;
/// A port of a miniport adapter; 0 is the default port.
pub type NDIS_PORT_NUMBER = u32;
/// A counted UTF-16 string.
pub type NDIS_STRING = UNICODE_STRING;
/// A bus address.
pub type NDIS_PHYSICAL_ADDRESS = LARGE_INTEGER;
/// A bus address.
pub type PHYSICAL_ADDRESS = LARGE_INTEGER;
/// A network interface index.
pub type NET_IFINDEX = u32;
/// An interface type of IANA, see [`IF_TYPE_ETHERNET_CSMACD`](crate::IF_TYPE_ETHERNET_CSMACD).
pub type NET_IFTYPE = u16;
/// An IPv4 address, in network byte order.
pub type IPAddr = u32;

layouts! {
    /// A counted UTF-16 string; lengths in bytes, no terminator needed.
    struct UNICODE_STRING [16, 8] {
        Length @ 0: USHORT,
        MaximumLength @ 2: USHORT,
        _Padding @ 4: [u8; 4],
        Buffer @ 8: *mut WCHAR,
    }

    /// The halves of a [`LARGE_INTEGER`].
    struct LARGE_INTEGER_PARTS [8, 4] at ("LARGE_INTEGER.u", 0) {
        LowPart @ 0: ULONG,
        HighPart @ 4: LONG,
    }

    /// 64 bits, whole or in halves.
    union LARGE_INTEGER [8, 8] {
        u @ 0: LARGE_INTEGER_PARTS,
        QuadPart @ 0: LONGLONG,
    }

    /// A doubly linked list's link or head.
    struct LIST_ENTRY [16, 8] {
        Flink @ 0: *mut LIST_ENTRY,
        Blink @ 8: *mut LIST_ENTRY,
    }

    /// A singly linked list's link or head.
    struct SINGLE_LIST_ENTRY [8, 8] {
        Next @ 0: *mut SINGLE_LIST_ENTRY,
    }

    /// A globally unique identifier.
    struct GUID [16, 4] {
        Data1 @ 0: u32,
        Data2 @ 4: u16,
        Data3 @ 6: u16,
        Data4 @ 8: [u8; 8],
    }

    /// A processor: its group and its number within the group.
    struct PROCESSOR_NUMBER [4, 2] {
        Group @ 0: USHORT,
        Number @ 2: UCHAR,
        Reserved @ 3: UCHAR,
    }

    /// Processors of one group.
    struct GROUP_AFFINITY [16, 8] {
        Mask @ 0: KAFFINITY,
        Group @ 8: USHORT,
        Reserved @ 10: [USHORT; 3],
    }
}
