//! Information buffers of ADD_SA, ADD_SA_EX, DELETE_SA and UPDATE_SA as a transport makes them, by the
//! offsets of the public headers.

use std::mem::offset_of;

use ipsec::{
    Algorithm, AuthenticationAlgorithm as Authentication, Direction,
    EncryptionAlgorithm as Encryption, Endpoints, Operation, SaParams, SecurityAssociation,
};
use ndis_sys::*;

/// Bytes of an information buffer, aligned as a pool allocation is.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub fn zeroed(length: usize) -> Self {
        let bytes = vec![0; length + 16];
        let start = bytes.as_ptr().align_offset(16);
        Self { bytes, start }
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - 16
    }

    pub fn address(&self) -> usize {
        self.as_slice().as_ptr().addr()
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len()]
    }

    pub fn as_mut(&mut self) -> &mut [u8] {
        let end = self.start + self.len();
        &mut self.bytes[self.start..end]
    }

    /// Keeps the front of it.
    pub fn cut(&mut self, to: usize) {
        let to = to.min(self.len());
        self.bytes.truncate(to + 16);
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.as_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn header(&mut self, at: usize, revision: u8, size: usize) {
        let size = size as u16;
        self.put(at, &[NDIS_OBJECT_TYPE_DEFAULT, revision]);
        self.put(at + 2, &size.to_le_bytes());
    }
}

/// Where the members are that ADD_SA and ADD_SA_EX have both.
struct Layout {
    revision: u8,
    size: usize,
    num_ext_hdrs: usize,
    flags: usize,
    endpoints: usize,
    sec_assoc: usize,
    key_length: usize,
    keys: usize,
}

/// Bytes that an SA takes with its keys, in a list as well as alone.
pub const ADD_SA_ROOM: usize = 336;

/// Writes an element of ADD_SA at `at`; `Next` is null.
pub fn add_sa(buffer: &mut Buffer, at: usize, params: &SaParams<'_>) {
    let layout = Layout {
        revision: NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
        size: NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
        num_ext_hdrs: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, NumExtHdrs),
        flags: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Flags),
        endpoints: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Endpoints),
        sec_assoc: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, SecAssoc),
        key_length: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyLength),
        keys: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData),
    };
    write(buffer, at, params, &layout);
}

/// Writes ADD_SA_EX at the front.
pub fn add_sa_ex(buffer: &mut Buffer, params: &SaParams<'_>) {
    let layout = Layout {
        revision: NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1,
        size: NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1,
        num_ext_hdrs: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, NumExtHdrs),
        flags: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, Flags),
        endpoints: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, Endpoints),
        sec_assoc: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, SecAssoc),
        key_length: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, KeyLength),
        keys: size_of::<IPSEC_OFFLOAD_V2_ADD_SA_EX>(),
    };
    let offset = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, KeyOffset);
    buffer.put_u32(offset, layout.keys as u32);
    write(buffer, 0, params, &layout);
}

fn write(buffer: &mut Buffer, at: usize, params: &SaParams<'_>, layout: &Layout) {
    buffer.header(at, layout.revision, layout.size);
    buffer.put_u32(at + layout.num_ext_hdrs, params.associations.len() as u32);
    let mut flags = 0;
    if params.direction == Direction::Inbound {
        flags |= IPSEC_OFFLOAD_V2_INBOUND;
    }
    match params.endpoints {
        Endpoints::V4 {
            source,
            destination,
        } => {
            buffer.put(at + layout.endpoints, &[source, destination].concat());
        }
        Endpoints::V6 {
            source,
            destination,
        } => {
            flags |= IPSEC_OFFLOAD_V2_IPv6;
            buffer.put(at + layout.endpoints, &[source, destination].concat());
        }
    }
    buffer.put_u32(at + layout.flags, flags);
    let mut keys = Vec::new();
    for (index, association) in params.associations.iter().enumerate() {
        let size = size_of::<IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION>();
        write_association(
            buffer,
            at + layout.sec_assoc + index * size,
            association,
            &mut keys,
        );
    }
    buffer.put_u32(at + layout.key_length, keys.len() as u32);
    buffer.put(at + layout.keys, &keys);
}

fn write_association(
    buffer: &mut Buffer,
    at: usize,
    association: &SecurityAssociation<'_>,
    keys: &mut Vec<u8>,
) {
    type Association = IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION;

    let operation = match association.operation {
        Operation::Ah => IPsecOffloadV2Ah,
        Operation::Esp => IPsecOffloadV2Esp,
    };
    if association.extended_sequence_numbers {
        buffer.put_u32(at + offset_of!(Association, Flags), IPSEC_OFFLOAD_V2_ESN_SA);
    }
    buffer.put(
        at + offset_of!(Association, Operation),
        &operation.to_le_bytes(),
    );
    buffer.put_u32(at + offset_of!(Association, Spi), association.spi);
    let high = association.sequence_number_high;
    buffer.put_u32(at + offset_of!(Association, SequenceNumberHighOrder), high);
    let mut put = |at, identifier, key: &[u8], additional_info| {
        type Info = IPSEC_OFFLOAD_V2_ALGORITHM_INFO;
        buffer.put_u32(at + offset_of!(Info, Identifier), identifier);
        buffer.put_u32(at + offset_of!(Info, KeyLength), key.len() as u32);
        buffer.put_u32(at + offset_of!(Info, KeyOffsetBytes), keys.len() as u32);
        buffer.put_u32(at + offset_of!(Info, AdditionalInfo), additional_info);
        keys.extend(key);
    };
    if let Some(Algorithm {
        identifier,
        key,
        additional_info,
    }) = association.encryption
    {
        let at = at + offset_of!(Association, EncryptionAlgorithm);
        put(at, encryption(identifier), key, additional_info);
    }
    if let Some(Algorithm {
        identifier,
        key,
        additional_info,
    }) = association.authentication
    {
        let at = at + offset_of!(Association, AuthenticationAlgorithm);
        put(at, authentication(identifier), key, additional_info);
    }
}

fn encryption(algorithm: Encryption) -> u32 {
    match algorithm {
        Encryption::Null => IPSEC_OFFLOAD_V2_ENCRYPTION_NONE,
        Encryption::DesCbc => IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC,
        Encryption::TripleDesCbc => IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC,
        Encryption::AesGcm128 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128,
        Encryption::AesGcm192 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192,
        Encryption::AesGcm256 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256,
        Encryption::AesCbc128 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128,
        Encryption::AesCbc192 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192,
        Encryption::AesCbc256 => IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256,
    }
}

fn authentication(algorithm: Authentication) -> u32 {
    match algorithm {
        Authentication::Md5 => IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5,
        Authentication::Sha1 => IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1,
        Authentication::Sha256 => IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256,
        Authentication::AesGmac128 => IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128,
        Authentication::AesGmac192 => IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192,
        Authentication::AesGmac256 => IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256,
    }
}

/// Writes an element of DELETE_SA; `Next` is null.
pub fn delete_sa(buffer: &mut Buffer, at: usize, handle: u64) {
    let revision = NDIS_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1;
    buffer.header(
        at,
        revision,
        NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1,
    );
    let handle_at = at + offset_of!(IPSEC_OFFLOAD_V2_DELETE_SA, OffloadHandle);
    buffer.put(handle_at, &handle.to_le_bytes());
}

/// UPDATE_SA.
pub fn update_sa(handle: u64, operation: Operation, spi: u32, high: u32) -> Buffer {
    type Update = IPSEC_OFFLOAD_V2_UPDATE_SA;

    let mut buffer = Buffer::zeroed(size_of::<Update>());
    let revision = NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1;
    buffer.header(
        0,
        revision,
        NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1,
    );
    buffer.put(offset_of!(Update, OffloadHandle), &handle.to_le_bytes());
    let operation = match operation {
        Operation::Ah => IPsecOffloadV2Ah,
        Operation::Esp => IPsecOffloadV2Esp,
    };
    buffer.put(offset_of!(Update, Operation), &operation.to_le_bytes());
    buffer.put_u32(offset_of!(Update, Spi), spi);
    buffer.put_u32(offset_of!(Update, SequenceNumberHighOrder), high);
    buffer
}
