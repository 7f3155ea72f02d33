//! What the crate declares, as data, and the macros that keep declaration, compile-time check and
//! data in one place: a structure cannot be declared without its asserted layout, nor be asserted
//! without being in the table that `tests/facts` compares with the layout facts.

/// Where in the facts a layout belongs: a structure, or a member of one (`"NDIS_OID_REQUEST.DATA"`),
/// and the offset within it (not 0 for the unnamed unions and bit-field words that have a name here).
pub type Place = (&'static str, usize);

/// A field: name, offset, size in bytes, type as spelled in the Rust source.
pub type Field = (&'static str, usize, usize, &'static str);

/// A bit-field: name, first bit (from the least significant), number of bits.
pub type BitRange = (&'static str, u32, u32);

/// One declared structure, union or bit-field word.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The Rust name.
    pub name: &'static str,
    /// The places in the facts that it transcribes.
    pub places: &'static [Place],
    /// `size_of`, in bytes.
    pub size: usize,
    /// `align_of`, in bytes.
    pub align: usize,
    /// Its fields; empty for a bit-field word.
    pub fields: &'static [Field],
    /// Its bit-fields; empty for a structure or union.
    pub bits: &'static [BitRange],
}

/// One declared constant. `value` is sign-extended from `size` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// The name of the C enumeration, or `""` for a macro.
    pub enumeration: &'static str,
    /// The name, as in the headers.
    pub name: &'static str,
    /// The value, sign-extended.
    pub value: i128,
    /// Size of the type in bytes.
    pub size: usize,
}

/// One declared import or callback type. Types are spelled as in the Rust source.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// The name, as in the headers.
    pub name: &'static str,
    /// The types of the parameters.
    pub parameters: &'static [&'static str],
    /// The type returned, `""` for `void`.
    pub result: &'static str,
}

/// A type for which a value of zero bytes is valid: what C's `= {0}` does.
///
/// # Safety
/// The all-zero bit pattern must be a valid value of the type.
pub unsafe trait Zero: Copy {
    /// The all-zero value.
    // SAFETY: the implementor promises that zero bytes are a valid value.
    const ZERO: Self = unsafe { core::mem::zeroed() };
}

macro_rules! zero {
    ($($ty:ty)+) => { $(
        // SAFETY: zero is a value of every integer type.
        unsafe impl Zero for $ty {}
    )+ };
}
zero!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
// SAFETY: null is a valid raw pointer.
unsafe impl<T> Zero for *mut T {}
// SAFETY: null is a valid raw pointer.
unsafe impl<T> Zero for *const T {}
// SAFETY: an array of zeroes is an array of valid values; it has no padding of its own.
unsafe impl<T: Zero, const N: usize> Zero for [T; N] {}

macro_rules! zero_function {
    ($($parameter:ident)*) => {
        // SAFETY: `None` is the null pointer in an optional function pointer.
        unsafe impl<R, $($parameter),*> Zero for Option<unsafe extern "efiapi" fn($($parameter),*) -> R> {}
    };
}
zero_function!();
zero_function!(A);
zero_function!(A B);
zero_function!(A B C);
zero_function!(A B C D);

/// Declares structures and unions with the layout of the C headers:
///
/// ```text
/// /// Documentation.
/// struct NAME [size, align] at ("NAME", 0) { Field @ offset: Type, ... }
/// ```
///
/// `at` may be left out when it is the name itself. Padding is a field that starts with `_`.
macro_rules! layouts {
    ($($(#[$meta:meta])* $kind:ident $name:ident [$size:literal, $align:literal] $(at $(($place:literal, $base:literal)),+)?
       { $($field:ident @ $offset:literal : $ty:ty),* $(,)? })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub $kind $name {
                $(#[doc = concat!("At offset ", $offset, ".")] pub $field: $ty,)*
            }
            // SAFETY: the line below proves that every field is valid when zero.
            unsafe impl crate::table::Zero for $name {}
            const _: () = {
                const fn zero<T: crate::table::Zero>() {}
                $(zero::<$ty>();)*
                assert!(size_of::<$name>() == $size);
                assert!(align_of::<$name>() == $align);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
            };
        )*
        pub(crate) const LAYOUTS: &[crate::table::Layout] = &[$(crate::table::Layout {
            name: stringify!($name),
            places: layouts!(@places $name $($(($place, $base))+)?),
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: &[$((stringify!($field), core::mem::offset_of!($name, $field), size_of::<$ty>(), stringify!($ty))),*],
            bits: &[],
        }),*];
    };
    (@places $name:ident) => { &[(stringify!($name), 0)] };
    (@places $name:ident $(($place:literal, $base:literal))+) => { &[$(($place, $base)),+] };
}

/// Declares words of bit-fields: the storage, and each field as an associated [`BitField`](crate::BitField).
///
/// ```text
/// /// Documentation.
/// NAME: ULONG at ("STRUCT.Member", 0) { Field @ first bit, number of bits; ... }
/// ```
macro_rules! bit_fields {
    ($($(#[$meta:meta])* $name:ident : $storage:ty, at $(($place:literal, $base:literal)),+
       { $($field:ident @ $shift:literal, $width:literal;)* })*) => {
        $(
            $(#[$meta])*
            #[repr(transparent)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name {
                /// The word that holds the bit-fields.
                pub Bits: $storage,
            }
            // SAFETY: it is an integer.
            unsafe impl crate::table::Zero for $name {}
            impl $name {
                $(
                    #[doc = concat!($width, " bit(s) from bit ", $shift, ".")]
                    pub const $field: crate::BitField<Self> = crate::BitField::new($shift, $width);
                )*

                /// The value of `field`.
                pub const fn get(self, field: crate::BitField<Self>) -> $storage {
                    (self.Bits >> field.shift()) & (field.max() as $storage)
                }

                /// This word with `field` set to the low bits of `value`.
                #[must_use]
                pub const fn with(self, field: crate::BitField<Self>, value: $storage) -> Self {
                    let mask = field.max() as $storage;
                    Self {
                        Bits: self.Bits & !(mask << field.shift()) | (value & mask) << field.shift(),
                    }
                }

                /// The word in a slot of out-of-band information: the slot's low bits.
                pub fn from_info(info: crate::PVOID) -> Self {
                    Self { Bits: info.addr() as $storage }
                }

                /// A slot of out-of-band information that holds the word.
                pub const fn to_info(self) -> crate::PVOID {
                    core::ptr::without_provenance_mut(self.Bits as usize)
                }

                /// Sets `field` to the low bits of `value`.
                pub const fn set(&mut self, field: crate::BitField<Self>, value: $storage) {
                    *self = self.with(field, value);
                }
            }
            const _: () = { $(assert!(crate::bit_field::fits($shift, $width, <$storage>::BITS));)* };
        )*
        pub(crate) const BIT_FIELDS: &[crate::table::Layout] = &[$(crate::table::Layout {
            name: stringify!($name),
            places: &[$(($place, $base)),+],
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: &[],
            bits: &[$((stringify!($field), $shift, $width)),*],
        }),*];
    };
}

/// Declares constants: macros of the headers by type, and C enumerations (integers here, because a
/// value that the other side made up must not be undefined behaviour).
macro_rules! constants {
    ($($(#[$meta:meta])* $kind:ident $ty:ident { $($(#[$constant_meta:meta])* $name:ident = $value:expr,)* })*) => {
        $(
            constants!(@type $kind $ty $(#[$meta])*);
            $(
                #[doc = concat!("`", stringify!($value), "`.")]
                $(#[$constant_meta])*
                pub const $name: $ty = $value;
            )*
        )*
        pub(crate) const CONSTANTS: &[crate::table::Constant] = &[$($(crate::table::Constant {
            enumeration: constants!(@name $kind $ty),
            name: stringify!($name),
            value: $name as i128,
            size: size_of::<$ty>(),
        }),*),*];
    };
    (@type values $ty:ident $(#[$meta:meta])*) => {};
    (@type enumeration $ty:ident $(#[$meta:meta])*) => {
        $(#[$meta])*
        pub type $ty = i32;
    };
    (@name values $ty:ident) => { "" };
    (@name enumeration $ty:ident) => { stringify!($ty) };
}

/// Declares the imports of one system file.
macro_rules! imports {
    ($table:ident: $($(#[$meta:meta])* fn $name:ident($($parameter:ident: $ty:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        // No `#[link]`: the import library is the driver's business, and users who only want the
        // types (the simulator) have none.
        unsafe extern "efiapi" {
            $($(#[$meta])* pub fn $name($($parameter: $ty),*) $(-> $result)?;)*
        }
        pub(crate) const $table: &[crate::table::Function] = &[$(crate::table::Function {
            name: stringify!($name),
            parameters: &[$(stringify!($ty)),*],
            result: concat!($(stringify!($result))?),
        }),*];
    };
}

/// Declares callbacks: `NAME` is the function pointer, `NAME_HANDLER` (or what the headers call it)
/// the optional one that structures hold.
macro_rules! callbacks {
    ($($(#[$meta:meta])* $name:ident, $handler:ident: fn($($parameter:ident: $ty:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        $(
            $(#[$meta])*
            pub type $name = unsafe extern "efiapi" fn($($parameter: $ty),*) $(-> $result)?;
            #[doc = concat!("[`", stringify!($name), "`] or null.")]
            pub type $handler = Option<$name>;
        )*
        pub(crate) const CALLBACKS: &[crate::table::Function] = &[$(crate::table::Function {
            name: stringify!($name),
            parameters: &[$(stringify!($ty)),*],
            result: concat!($(stringify!($result))?),
        }),*];
    };
}

pub(crate) use {bit_fields, callbacks, constants, imports, layouts};
