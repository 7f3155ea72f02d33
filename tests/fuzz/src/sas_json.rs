//! `sas.json`: the file, and the requests that are made of it.

use ipsec::AddError;
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_NOT_SUPPORTED};
use oid_buffers::{AddSa, AddSaEx};
use tcpip::offload::{self, Way};
use tcpip::sas::SaFile;

use crate::sa_buffer::Buffer;
use crate::{engine, simd};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(file) = SaFile::parse(text) else {
        return;
    };
    // What is written is what was read.
    let written = file.to_json().expect("a file that was read");
    assert_eq!(SaFile::parse(&written).expect("the same file"), file);

    let engine = engine();
    for sa in file.sas.iter().take(4) {
        for way in [Way::Outbound, Way::Inbound] {
            let Ok(bytes) = offload::add_sa_ex(sa, way) else {
                continue;
            };
            let mut buffer = Buffer::zeroed(bytes.len());
            buffer.put(0, &bytes);
            // The buffer is whole, and the driver's engine has an opinion about each of them.
            let request = AddSaEx::new(buffer.as_mut()).expect("a whole buffer");
            let _ = request.offload(|add: &AddSa<'_>| {
                let added = add.with_params(|params| engine.add_sa(&simd(), params));
                added.map_err(|error: AddError| -> NDIS_STATUS {
                    assert_ne!(error, AddError::Resources);
                    NDIS_STATUS_NOT_SUPPORTED
                })
            });
        }
    }
}
