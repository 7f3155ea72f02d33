//! Drivers: a mapped `.sys` or functions of the test itself, from DriverEntry
//! to DriverUnload.

mod image;
mod object;
mod symbols;

use std::{collections::BTreeMap, ffi::c_void, fmt, fs, io, path::Path, sync::Arc};

use parking_lot::RwLock;
use thiserror::Error;

pub use image::Image;
pub use object::{DriverObject, UnicodeString};

use crate::{
    gate,
    inf::Values,
    irql::Irql,
    machine::Machine,
    processor,
    report::{BugCheck, Finding, rules},
};

/// `NTSTATUS DriverEntry(PDRIVER_OBJECT, PUNICODE_STRING)`, for a native driver.
pub type DriverEntry = unsafe extern "efiapi" fn(*mut DriverObject, *const UnicodeString) -> i32;

/// Why a driver could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not a kernel-mode image for this processor.
    #[error("not a loadable kernel-mode image: {0}")]
    Format(String),
    /// The image imports something that the simulator does not export.
    #[error("{image} imports {dll}!{name}, which the simulator does not export")]
    MissingImport {
        /// The image.
        image: String,
        /// Module as the image names it.
        dll: String,
        /// Function.
        name: String,
    },
    /// DriverEntry refused to load; everything it left behind is listed.
    #[error("DriverEntry returned status 0x{status:08X}{}", leaks(.findings))]
    Entry {
        /// The NTSTATUS.
        status: u32,
        /// What the driver had not given back.
        findings: Vec<Finding>,
    },
    /// The machine stopped.
    #[error("{0}")]
    BugCheck(#[from] BugCheck),
}

fn leaks(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("\n    {f}")).collect()
}

/// How a driver is installed.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Name of its service, the last part of its registry path.
    pub service: String,
    /// Values of the service's Parameters key.
    pub parameters: Values,
    /// Unmaps the discardable sections when DriverEntry has returned.
    pub discard_init: bool,
}

impl LoadOptions {
    /// A service without parameters.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self {
            service: name.to_owned(),
            parameters: BTreeMap::new(),
            discard_init: true,
        }
    }
}

/// A loaded driver.
pub struct Driver {
    machine: Arc<Machine>,
    object: Arc<object::Loaded>,
    unloaded: bool,
}

impl Driver {
    /// The DRIVER_OBJECT, whose address also identifies the driver.
    #[must_use]
    pub fn object(&self) -> *mut DriverObject {
        self.object.object()
    }

    /// The machine that it is loaded on.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The mapped image; `None` for a native driver.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        self.object.image.as_ref()
    }

    /// Calls DriverUnload, then looks for what the driver left behind, and
    /// unmaps the image.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn unload(mut self) -> Result<Vec<Finding>, BugCheck> {
        self.unloaded = true;
        let object = Arc::clone(&self.object);
        let had_unload = self.machine.run(None, Irql::PASSIVE, move || {
            // SAFETY: the object is ours; the driver filled the field in.
            let unload = unsafe { (*object.object()).driver_unload };
            if !unload.is_null() {
                // SAFETY: DriverUnload's convention and argument.
                unsafe { gate::call("DriverUnload", unload, &[object.object() as u64]) };
            }
            !unload.is_null()
        })?;
        let mut findings = Vec::new();
        if !had_unload {
            let message = "the driver has no DriverUnload and cannot be unloaded".to_owned();
            findings.push(Finding::new(rules::RESOURCE_LEAK, message));
        }
        findings.extend(retire(&self.machine, &self.object));
        if let Some(check) = self.machine.bug_check() {
            return Err(check);
        }
        Ok(findings)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A driver that was neither unloaded nor stopped by a bug check may
        // still have timers and threads in its code: its image stays mapped.
        if !self.unloaded {
            self.object.keep_mapped();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({})", self.object.service)
    }
}

/// Takes a driver off the machine and collects what it left.
fn retire(machine: &Arc<Machine>, object: &Arc<object::Loaded>) -> Vec<Finding> {
    let last = machine.images().remove(object);
    let mut findings = machine.wdf().retire(object.object() as u64);
    if last {
        let queued: usize = machine.processors().iter().map(|p| p.keyed_dpcs()).sum();
        if queued != 0 {
            let message = format!("{queued} DPCs were still queued");
            findings.push(Finding::new(rules::PENDING_AT_UNLOAD, message));
        }
        findings.extend(machine.kernel().leaks(machine));
        findings.extend(
            machine
                .tracker()
                .drain()
                .into_iter()
                .map(|(kind, id, what)| {
                    let what = if what.is_empty() {
                        what
                    } else {
                        format!(" ({what})")
                    };
                    Finding::new(
                        rules::RESOURCE_LEAK,
                        format!("{kind} 0x{id:x}{what} was not given back"),
                    )
                }),
        );
    }
    for finding in &findings {
        machine.add_finding(finding.clone());
    }
    if machine.is_stopped() {
        object.keep_mapped();
    }
    findings
}

impl Machine {
    /// Maps the image of a `.sys` file and calls its entry point at
    /// PASSIVE_LEVEL. A PDB beside it gives the names in call stacks.
    ///
    /// # Errors
    /// See [`LoadError`]. A DriverEntry that fails must have given everything
    /// back.
    pub fn load_file(&self, path: &Path, options: LoadOptions) -> Result<Driver, LoadError> {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let image = self.map(&name, &fs::read(path)?)?;
        image.symbols.look_in(&path.with_extension("pdb"));
        let entry = image.entry();
        self.start(options, Some(image), entry)
    }

    /// Like [`Machine::load_file`], from memory.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_image(
        &self,
        name: &str,
        file: &[u8],
        options: LoadOptions,
    ) -> Result<Driver, LoadError> {
        let image = self.map(name, file)?;
        let entry = image.entry();
        self.start(options, Some(image), entry)
    }

    fn map(&self, name: &str, file: &[u8]) -> Result<Image, LoadError> {
        Image::map(name, file, |dll, import| self.resolve(dll, import))
    }

    /// Loads a driver that consists of functions of this process. It reaches
    /// its imports through [`Machine::resolve`].
    ///
    /// # Errors
    /// [`LoadError::Entry`] and [`LoadError::BugCheck`].
    pub fn load_native(&self, service: &str, entry: DriverEntry) -> Result<Driver, LoadError> {
        self.start(LoadOptions::service(service), None, entry as *const ())
    }

    fn start(
        &self,
        options: LoadOptions,
        image: Option<Image>,
        entry: *const (),
    ) -> Result<Driver, LoadError> {
        let machine = self.arc();
        let discard = options.discard_init;
        let object = Arc::new(object::Loaded::new(options, image));
        machine.images().add(Arc::clone(&object));
        let entry = entry as usize;
        let running = Arc::clone(&object);
        let status = machine.run(None, Irql::PASSIVE, move || {
            let args = [running.object() as u64, running.registry_path() as u64];
            // SAFETY: DriverEntry's convention and arguments.
            unsafe { gate::call("DriverEntry", entry as *const (), &args) as i32 }
        });
        let status = status.inspect_err(|_| object.keep_mapped())?;
        if status < 0 {
            let findings = retire(&machine, &object);
            return Err(LoadError::Entry {
                status: status as u32,
                findings,
            });
        }
        if let Some(image) = object.image.as_ref().filter(|_| discard) {
            image.discard_init();
        }
        Ok(Driver {
            machine,
            object,
            unloaded: false,
        })
    }
}

/// The drivers of a machine, by address.
#[derive(Default)]
pub(crate) struct Images(RwLock<Vec<Arc<object::Loaded>>>);

impl Images {
    fn add(&self, object: Arc<object::Loaded>) {
        self.0.write().push(object);
    }

    /// Removes a driver; true if it was the last one.
    fn remove(&self, object: &Arc<object::Loaded>) -> bool {
        let mut all = self.0.write();
        all.retain(|o| !Arc::ptr_eq(o, object));
        all.is_empty()
    }

    /// "image+0xRVA" for an address within a mapped image.
    pub(crate) fn describe(&self, address: usize) -> Option<String> {
        self.0
            .read()
            .iter()
            .find_map(|o| o.image.as_ref()?.describe(address))
    }

    /// Calls `f` with the image that an address is in.
    pub(crate) fn with_image<R>(&self, address: usize, f: impl FnOnce(&Image) -> R) -> Option<R> {
        let all = self.0.read();
        let image = all
            .iter()
            .filter_map(|o| o.image.as_ref())
            .find(|image| image.rva(address).is_some())?;
        Some(f(image))
    }

    /// The name of the image that an address is in, and its RVA.
    pub(crate) fn locate(&self, address: usize) -> Option<(String, usize)> {
        self.with_image(address, |image| image.locate(address))?
    }

    /// The functions at an address of code, the innermost inlined one first.
    pub(crate) fn symbols(&self, address: usize) -> Vec<String> {
        let known = self.with_image(address, |image| {
            let place = image.describe(address).unwrap_or_default();
            let rva = image.rva(address).and_then(|rva| u32::try_from(rva).ok());
            let names = rva.map(|rva| image.symbols.at(rva)).unwrap_or_default();
            let (last, inlined) = names
                .split_last()
                .map_or((None, &[][..]), |(l, i)| (Some(l), i));
            let mut lines: Vec<String> =
                inlined.iter().map(|n| format!("{n}, inlined in")).collect();
            lines.push(last.map_or_else(|| place.clone(), |name| format!("{place} {name}")));
            lines
        });
        known.unwrap_or_else(|| host_symbols(address))
    }

    /// The nearest return address into an image on a stack.
    pub(crate) fn describe_caller(&self, rsp: usize, top: usize) -> Option<String> {
        (rsp.next_multiple_of(8)..top)
            .step_by(8)
            .take(512)
            .find_map(|at| {
                // SAFETY: between the stack pointer and the top of a mapped stack.
                self.describe(unsafe { (at as *const usize).read_volatile() })
            })
    }

    /// Two bytes of code at an address within an image.
    pub(crate) fn bytes_at(&self, address: usize) -> Option<[u8; 2]> {
        self.describe(address)?;
        // SAFETY: the instruction there was just executed, so it is mapped.
        Some(unsafe { (address as *const [u8; 2]).read_unaligned() })
    }
}

/// The functions of this process at an address: a native driver's.
fn host_symbols(address: usize) -> Vec<String> {
    let mut lines = Vec::new();
    backtrace::resolve(address as *mut c_void, |symbol| {
        let Some(name) = symbol.name() else {
            return;
        };
        lines.push(match (symbol.filename(), symbol.lineno()) {
            (Some(file), Some(line)) => format!("{name:#} ({}:{line})", file.display()),
            _ => format!("{name:#}"),
        });
    });
    if lines.is_empty() {
        lines.push(format!("0x{address:x}"));
    }
    lines
}

/// A driver's registry, for the routines that open keys by its path.
#[must_use]
pub fn parameters_of(object: u64) -> Option<(String, Values)> {
    let cpu = processor::current();
    let all = cpu.machine().images().0.read();
    let found = all.iter().find(|o| o.object() as u64 == object)?;
    Some((found.service.clone(), found.parameters.clone()))
}

/// The image name and RVA of an address on the current machine, for reports.
#[must_use]
pub fn describe(address: *const c_void) -> String {
    let known =
        processor::try_current().and_then(|c| c.machine().images().describe(address as usize));
    known.unwrap_or_else(|| format!("{address:p}"))
}
