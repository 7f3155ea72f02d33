//! The DRIVER_OBJECT and registry path that a driver is started with.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Image, LoadOptions};
use crate::inf::Values;

/// UNICODE_STRING.
#[repr(C)]
#[derive(Debug)]
pub struct UnicodeString {
    /// Bytes in use.
    pub length: u16,
    /// Bytes that there are.
    pub maximum_length: u16,
    /// UTF-16, not terminated.
    pub buffer: *mut u16,
}

impl UnicodeString {
    /// The text.
    ///
    /// # Safety
    /// `buffer` is readable for `length` bytes.
    #[must_use]
    pub unsafe fn to_string_lossy(&self) -> String {
        if self.buffer.is_null() {
            return String::new();
        }
        // SAFETY: the caller's promise.
        let units: Vec<u16> = (0..usize::from(self.length / 2))
            .map(|i| unsafe { self.buffer.add(i).read_unaligned() })
            .collect();
        String::from_utf16_lossy(&units)
    }
}

/// DRIVER_OBJECT of x64; the layout is public in wdm.h.
#[repr(C)]
#[derive(Debug)]
pub struct DriverObject {
    /// IO_TYPE_DRIVER.
    pub r#type: i16,
    /// Size of this structure.
    pub size: i16,
    /// First device of the driver.
    pub device_object: *mut c_void,
    /// DRVO_ flags.
    pub flags: u32,
    /// Base of the image.
    pub driver_start: *mut c_void,
    /// Size of the image.
    pub driver_size: u32,
    /// The system's.
    pub driver_section: *mut c_void,
    /// AddDevice is in it.
    pub driver_extension: *mut DriverExtension,
    /// `\Driver\service`.
    pub driver_name: UnicodeString,
    /// `\Registry\Machine\Hardware\...`.
    pub hardware_database: *mut UnicodeString,
    /// Fast I/O table.
    pub fast_io_dispatch: *mut c_void,
    /// The entry point.
    pub driver_init: *mut c_void,
    /// Queue of the StartIo kind.
    pub driver_start_io: *mut c_void,
    /// DriverUnload.
    pub driver_unload: *const (),
    /// IRP_MJ_ handlers.
    pub major_function: [*mut c_void; 28],
}

const _: () = assert!(size_of::<DriverObject>() == 336);
const _: () = assert!(std::mem::offset_of!(DriverObject, driver_unload) == 104);

/// DRIVER_EXTENSION, the documented head of it.
#[repr(C)]
#[derive(Debug)]
pub struct DriverExtension {
    /// The driver object.
    pub driver_object: *mut DriverObject,
    /// AddDevice.
    pub add_device: *const (),
    /// Count of reinitialize calls.
    pub count: u32,
    /// Service key name.
    pub service_key_name: UnicodeString,
}

/// A driver that is on a machine.
pub(super) struct Loaded {
    pub(super) service: String,
    pub(super) parameters: Values,
    pub(super) image: Option<Image>,
    object: Box<UnsafeCell<DriverObject>>,
    _extension: Box<UnsafeCell<DriverExtension>>,
    registry_path: Box<UnsafeCell<UnicodeString>>,
    _text: [Box<[u16]>; 2],
    keep: AtomicBool,
}

// SAFETY: the object and its strings are only handed to the driver, which
// synchronizes its own use of them; the rest is immutable.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

fn unicode(text: &mut [u16]) -> UnicodeString {
    let bytes = u16::try_from(text.len() * 2).expect("a short path");
    UnicodeString {
        length: bytes,
        maximum_length: bytes,
        buffer: text.as_mut_ptr(),
    }
}

impl Loaded {
    pub(super) fn new(options: LoadOptions, image: Option<Image>) -> Self {
        let LoadOptions {
            service,
            parameters,
            discard_init: _,
        } = options;
        let encode = |s: String| s.encode_utf16().collect::<Box<[u16]>>();
        let mut path = encode(format!(
            r"\REGISTRY\MACHINE\SYSTEM\ControlSet001\Services\{service}"
        ));
        let mut name = encode(format!(r"\Driver\{service}"));
        let registry_path = Box::new(UnsafeCell::new(unicode(&mut path)));
        let extension = Box::new(UnsafeCell::new(DriverExtension {
            driver_object: ptr::null_mut(),
            add_device: ptr::null(),
            count: 0,
            service_key_name: unicode(&mut name[8..]),
        }));
        let object = Box::new(UnsafeCell::new(DriverObject {
            r#type: 4,
            size: 336,
            device_object: ptr::null_mut(),
            flags: 0,
            driver_start: image
                .as_ref()
                .map_or(ptr::null_mut(), |i| i.base() as *mut c_void),
            driver_size: image.as_ref().map_or(0, |i| i.size() as u32),
            driver_section: ptr::null_mut(),
            driver_extension: extension.get(),
            driver_name: unicode(&mut name),
            hardware_database: ptr::null_mut(),
            fast_io_dispatch: ptr::null_mut(),
            driver_init: image
                .as_ref()
                .map_or(ptr::null_mut(), |i| i.entry() as *mut c_void),
            driver_start_io: ptr::null_mut(),
            driver_unload: ptr::null(),
            major_function: [ptr::null_mut(); 28],
        }));
        // SAFETY: nobody else has the extension yet.
        unsafe { (*extension.get()).driver_object = object.get() };
        Self {
            service,
            parameters,
            image,
            object,
            _extension: extension,
            registry_path,
            _text: [path, name],
            keep: AtomicBool::new(false),
        }
    }

    pub(super) fn object(&self) -> *mut DriverObject {
        self.object.get()
    }

    pub(super) fn registry_path(&self) -> *mut UnicodeString {
        self.registry_path.get()
    }

    /// Leaves the image mapped for good: driver code may be parked in it.
    pub(super) fn keep_mapped(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Relaxed)
            && let Some(image) = self.image.take()
        {
            std::mem::forget(image);
        }
    }
}
