//! Names for addresses of an image: from the PDB beside it, else from its exports.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use object::read::pe::PeFile64;
use parking_lot::Mutex;
use pdb_addr2line::{ContextPdbData, pdb::PDB};

type Pdb = ContextPdbData<'static, 'static, Cursor<Vec<u8>>>;

/// What is known of an image's functions.
pub(super) struct Symbols {
    /// RVA and name, ascending.
    exports: Vec<(u32, String)>,
    /// GUID (as the image has it) of the PDB that was written with the image.
    guid: Option<[u8; 16]>,
    pdb: Mutex<Source>,
}

enum Source {
    None,
    File(PathBuf),
    Read(Box<Pdb>),
}

impl Symbols {
    pub(super) fn of(parsed: &PeFile64<'_>) -> Self {
        use object::Object as _;
        let mut exports: Vec<(u32, String)> = parsed
            .export_table()
            .ok()
            .flatten()
            .and_then(|table| table.exports().ok())
            .into_iter()
            .flatten()
            .filter_map(|export| {
                let object::read::pe::ExportTarget::Address(rva) = export.target else {
                    return None;
                };
                Some((rva, String::from_utf8_lossy(export.name?).into_owned()))
            })
            .collect();
        exports.sort_unstable();
        let guid = parsed.pdb_info().ok().flatten().map(|pdb| pdb.guid());
        Self {
            exports,
            guid,
            pdb: Mutex::new(Source::None),
        }
    }

    /// Says where the PDB may be; it is read when a name is wanted.
    pub(super) fn look_in(&self, pdb: &Path) {
        *self.pdb.lock() = Source::File(pdb.to_owned());
    }

    /// The functions at an address, the innermost inlined one first, with file and line.
    pub(super) fn at(&self, rva: u32) -> Vec<String> {
        let mut source = self.pdb.lock();
        if let Source::File(path) = &*source {
            *source = match read(path, self.guid) {
                Some(pdb) => Source::Read(Box::new(pdb)),
                None => Source::None,
            };
        }
        let found = match &*source {
            Source::Read(pdb) => functions(pdb, rva),
            _ => None,
        };
        found.unwrap_or_else(|| self.export(rva).into_iter().collect())
    }

    fn export(&self, rva: u32) -> Option<String> {
        let after = self.exports.partition_point(|(start, _)| *start <= rva);
        let (start, name) = self.exports.get(after.checked_sub(1)?)?;
        Some(format!("{name}+0x{:x}", rva - start))
    }
}

/// The PDB, if it is the one that was written with the image.
fn read(path: &Path, guid: Option<[u8; 16]>) -> Option<Pdb> {
    let mut pdb = PDB::open(Cursor::new(fs::read(path).ok()?)).ok()?;
    let information = pdb.pdb_information().ok()?;
    // The image has the first three fields in the order of little-endian memory.
    if information.guid.to_bytes_le() != guid? {
        return None;
    }
    ContextPdbData::try_from_pdb(pdb).ok()
}

fn functions(pdb: &Pdb, rva: u32) -> Option<Vec<String>> {
    let context = pdb.make_context().ok()?;
    let found = context.find_frames(rva).ok()??;
    let lines = found.frames.into_iter().map(|frame| {
        let name = frame.function.unwrap_or_else(|| "?".to_owned());
        match (frame.file, frame.line) {
            (Some(file), Some(line)) => format!("{name} ({file}:{line})"),
            _ => name,
        }
    });
    Some(lines.collect())
}
