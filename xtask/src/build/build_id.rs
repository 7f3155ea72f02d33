//! An identity for the image that depends on nothing but the image.
//!
//! Image and PDB find each other by a GUID. rust-lld makes it, and with `/Brepro` the time stamps, from the
//! content of the PDB, which names the folders of the build and rustc's temporary ones. Here both are made
//! anew from the content of the image alone, so that the same sources give the same image everywhere. The
//! PDB takes the GUID over; it still names local folders and is not meant to be compared.

use anyhow::{Context, Result, bail};
use object::{
    pe::{IMAGE_DEBUG_TYPE_CODEVIEW, IMAGE_DIRECTORY_ENTRY_DEBUG},
    read::pe::PeFile64,
};
use sha2::{Digest, Sha256};

use super::pe_check;

const GUID: usize = 16;
/// Size of IMAGE_DEBUG_DIRECTORY.
const DEBUG_ENTRY: usize = 28;

/// Where an image keeps what identifies the build.
struct Places {
    /// 32-bit time stamps.
    times: Vec<usize>,
    /// The GUID of the PDB.
    guid: usize,
    /// The checksum of the header.
    checksum: usize,
}

/// Gives image and PDB their new identity, and the image its checksum.
///
/// # Errors
/// When the image has no reference to a PDB, or the PDB is not the image's.
pub fn renew(image: &mut [u8], pdb: &mut [u8]) -> Result<()> {
    let places = find(image)?;
    let old = range(image, places.guid, GUID)?.to_vec();
    for place in &places.times {
        range(image, *place, 4)?.fill(0);
    }
    range(image, places.guid, GUID)?.fill(0);
    range(image, places.checksum, 4)?.fill(0);

    let digest = Sha256::digest(&*image);
    let (guid, rest) = digest.split_at(GUID);
    range(image, places.guid, GUID)?.copy_from_slice(guid);
    for place in &places.times {
        range(image, *place, 4)?.copy_from_slice(&rest[..4]);
    }
    let checksum = pe_check::checksum(image, places.checksum);
    range(image, places.checksum, 4)?.copy_from_slice(&checksum.to_le_bytes());

    let mut found: Vec<usize> = pdb
        .windows(GUID)
        .enumerate()
        .filter(|(_, bytes)| *bytes == old)
        .map(|(at, _)| at)
        .collect();
    let (Some(at), None) = (found.pop(), found.pop()) else {
        bail!("the PDB does not have the GUID of the image exactly once");
    };
    range(pdb, at, GUID)?.copy_from_slice(guid);
    Ok(())
}

fn find(image: &[u8]) -> Result<Places> {
    let file = PeFile64::parse(image).context("it is no PE32+ image")?;
    let headers = file.dos_header().nt_headers_offset() as usize;
    let (start, length) = file
        .data_directory(IMAGE_DIRECTORY_ENTRY_DEBUG)
        .context("it has no debug directory")?
        .file_range(&file.section_table())?;
    let start = start as usize;

    // Signature, machine and section count come before the time stamp of the file.
    let mut times = vec![headers + 8];
    let mut guid = None;
    for at in (start..start + length as usize).step_by(DEBUG_ENTRY) {
        times.push(at + 4);
        let word = |offset: usize| -> Result<u32> {
            let bytes = image.get(at + offset..at + offset + 4);
            let bytes = bytes.context("its debug directory is cut")?;
            Ok(u32::from_le_bytes(bytes.try_into()?))
        };
        if word(12)? == IMAGE_DEBUG_TYPE_CODEVIEW.0 {
            let record = word(24)? as usize;
            if image.get(record..record + 4) != Some(b"RSDS") {
                bail!("its debug record is not of the known kind");
            }
            guid = Some(record + 4);
        }
    }
    Ok(Places {
        times,
        guid: guid.context("it names no PDB")?,
        checksum: pe_check::checksum_place(&file),
    })
}

fn range(bytes: &mut [u8], at: usize, length: usize) -> Result<&mut [u8]> {
    bytes
        .get_mut(at..at + length)
        .context("a place outside the file")
}

#[cfg(test)]
mod tests {
    use super::{super::test_image, *};

    const CHECKSUM: std::ops::Range<usize> = test_image::CHECKSUM..test_image::CHECKSUM + 4;

    /// An image whose PDB has `id`, and the PDB.
    fn linked(id: u8) -> (Vec<u8>, Vec<u8>) {
        let mut image = test_image::good();
        let guid = [id; GUID];
        image
            .u32(test_image::COFF + 4, u32::from(id))
            .debug_directory(u32::from(id), guid);
        let mut pdb = b"a folder of this build\0".repeat(usize::from(id));
        pdb.extend(guid);
        pdb.extend(b"more");
        (image.with_checksum(), pdb)
    }

    #[test]
    fn equal_images_become_identical_whatever_their_pdbs() {
        let ((mut one, mut pdb_one), (mut two, mut pdb_two)) = (linked(3), linked(7));
        assert_ne!(one, two);
        renew(&mut one, &mut pdb_one).unwrap();
        renew(&mut two, &mut pdb_two).unwrap();
        assert_eq!(one, two);

        let guid = &one[test_image::GUID..test_image::GUID + GUID];
        for pdb in [pdb_one, pdb_two] {
            let end = pdb.len() - 4;
            assert_eq!(&pdb[end - GUID..end], guid);
        }
        let stored = u32::from_le_bytes(one[CHECKSUM].try_into().unwrap());
        assert_eq!(stored, pe_check::checksum(&one, test_image::CHECKSUM));
    }

    #[test]
    fn other_content_gives_another_identity_and_doing_it_twice_the_same() {
        let (mut one, mut pdb) = linked(3);
        let (mut two, mut pdb_two) = linked(3);
        two[test_image::TEXT.0] ^= 1;
        renew(&mut one, &mut pdb).unwrap();
        renew(&mut two, &mut pdb_two).unwrap();
        let guid = test_image::GUID..test_image::GUID + GUID;
        assert_ne!(one[guid.clone()], two[guid]);

        let (before, pdb_before) = (one.clone(), pdb.clone());
        renew(&mut one, &mut pdb).unwrap();
        assert_eq!((one, pdb), (before, pdb_before));
    }

    #[test]
    fn a_pdb_of_another_build_is_refused() {
        let (mut one, _) = linked(3);
        let (_, mut pdb) = linked(7);
        assert!(renew(&mut one, &mut pdb).is_err());
        let mut without = test_image::good().with_checksum();
        assert!(renew(&mut without, &mut pdb).is_err());
    }
}
