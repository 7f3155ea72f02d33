//! Direct OIDs: sequences of requests whose buffers are those of a transport, or have been spoilt.

use std::collections::BTreeMap;
use std::mem::offset_of;

use arbitrary::{Arbitrary, Result, Unstructured};
use ipsec::{AddError, Direction, Engine, Operation, SaHandle, UpdateError};
use ndis_sys::*;
use oid_buffers::{AddSa, AddSaEx, AddSaList, Refusal, UpdateSa, delete_sa};

use crate::sa::Sa;
use crate::sa_buffer::{self, ADD_SA_ROOM, Buffer};
use crate::{engine, simd};

const CAPACITY: usize = 8;
const NEXT: usize = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next);

#[derive(Arbitrary, Debug)]
struct NewSa {
    sa: Sa,
    inbound: bool,
    v6: bool,
}

impl NewSa {
    fn direction(&self) -> Direction {
        if self.inbound {
            Direction::Inbound
        } else {
            Direction::Outbound
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Handle {
    Nth(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Request {
    Add(Vec<NewSa>),
    AddEx(NewSa),
    Delete(Vec<Handle>),
    Update {
        handle: Handle,
        ah: bool,
        spi: Option<u32>,
        high: u32,
    },
}

/// What is wrong with a buffer.
#[derive(Arbitrary, Debug, Default)]
struct Spoilt {
    bytes: Vec<(u16, u8)>,
    longs: Vec<(u16, u32)>,
    /// Links of a list that lead to this offset in the buffer.
    links: Vec<(u8, i16)>,
    cut: Option<u16>,
}

impl Spoilt {
    fn is_nothing(&self) -> bool {
        self.bytes.is_empty()
            && self.longs.is_empty()
            && self.links.is_empty()
            && self.cut.is_none()
    }

    fn apply(&self, buffer: &mut Buffer, stride: usize, size: usize) {
        let size = size as isize;
        let length = buffer.len();
        let address = buffer.address();
        for (element, target) in self.links.iter().take(4) {
            let at = usize::from(*element) * stride + NEXT;
            if at + 8 <= length {
                // Odd ones lead to where an element just ends within the buffer, or just does not.
                let target = match target & 1 {
                    0 => address.wrapping_add_signed((*target).into()),
                    _ => (address + length)
                        .wrapping_add_signed(isize::from(*target >> 1) % 32 - size),
                };
                buffer.put(at, &target.to_le_bytes());
            }
        }
        for (at, byte) in self.bytes.iter().take(8) {
            if length != 0 {
                buffer.as_mut()[usize::from(*at) % length] = *byte;
            }
        }
        for (at, long) in self.longs.iter().take(4) {
            if length >= 4 {
                buffer.put(usize::from(*at) % (length - 3), &long.to_le_bytes());
            }
        }
        if let Some(cut) = self.cut {
            buffer.cut(cut.into());
        }
    }
}

/// What the engine should hold: by handle, the direction and for each operation the SPI; and the high half
/// of sequence numbers, where it is known what it can be.
struct Model {
    engine: Engine,
    sas: BTreeMap<u64, Known>,
}

#[derive(Clone, Copy)]
struct Known {
    esp: Option<u32>,
    ah: Option<u32>,
    extended: bool,
    inbound: bool,
}

/// One input.
pub fn run(data: &[u8]) {
    let _ = run_inner(Unstructured::new(data));
}

fn run_inner(mut u: Unstructured<'_>) -> Result<()> {
    let mut model = Model {
        engine: engine(),
        sas: BTreeMap::new(),
    };
    for _ in 0..8 {
        if u.is_empty() {
            break;
        }
        let request = u.arbitrary()?;
        let spoilt = match u.arbitrary::<u8>()? % 3 {
            0 => Spoilt::default(),
            _ => u.arbitrary()?,
        };
        model.request(&request, &spoilt);
        assert_eq!(model.engine.sa_count(), model.sas.len());
    }
    Ok(())
}

impl Model {
    fn request(&mut self, request: &Request, spoilt: &Spoilt) {
        match request {
            Request::Add(sas) => self.add_list(&sas[..sas.len().min(4)], spoilt),
            Request::AddEx(sa) => self.add_extended(sa, spoilt),
            Request::Delete(handles) => self.delete(&handles[..handles.len().min(4)], spoilt),
            Request::Update {
                handle,
                ah,
                spi,
                high,
            } => self.update(*handle, *ah, *spi, *high, spoilt),
        }
    }

    fn handle(&self, handle: Handle) -> u64 {
        match handle {
            Handle::Nth(n) if !self.sas.is_empty() => {
                let nth = usize::from(n) % self.sas.len();
                self.sas.keys().nth(nth).copied().unwrap_or(0)
            }
            Handle::Nth(n) => n.into(),
            Handle::Any(raw) => raw,
        }
    }

    fn add_list(&mut self, sas: &[NewSa], spoilt: &Spoilt) {
        let mut buffer = Buffer::zeroed(sas.len() * ADD_SA_ROOM);
        let address = buffer.address();
        for (index, sa) in sas.iter().enumerate() {
            let at = index * ADD_SA_ROOM;
            sa.sa.with_params(sa.direction(), sa.v6, |params| {
                sa_buffer::add_sa(&mut buffer, at, params);
            });
            if index + 1 < sas.len() {
                buffer.put(at + NEXT, &(address + at + ADD_SA_ROOM).to_le_bytes());
            }
        }
        spoilt.apply(
            &mut buffer,
            ADD_SA_ROOM,
            NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
        );
        let before = buffer.as_slice().to_vec();
        let elements = walk(
            &before,
            address,
            NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
        );
        let room = CAPACITY - self.sas.len();
        let mut statuses = Vec::new();
        let result = AddSaList::new(buffer.as_mut())
            .map(|list| list.offload(|add| self.offload(add, &before, address, &mut statuses)));
        let added = statuses.iter().filter(|status| status.is_ok()).count();
        assert!(
            result.is_err() || elements.is_some(),
            "a list that leaves the buffer is taken"
        );
        match result {
            Err(refusal) => {
                assert!(statuses.is_empty());
                assert_eq!(before, buffer.as_slice());
                check_refusal(refusal, before.len());
                assert!(!spoilt.is_nothing() || sas.is_empty());
            }
            Ok(Ok(read)) => {
                assert!(added != 0);
                assert_eq!(read, before.len());
            }
            Ok(Err(status)) => {
                assert_eq!(added, 0);
                assert_ne!(status, NDIS_STATUS_SUCCESS);
            }
        }
        if spoilt.is_nothing() {
            assert_eq!(added, sas.len().min(room));
        }
        let Some(elements) = elements.filter(|_| result.is_ok()) else {
            return;
        };
        let mut handles: Vec<_> = elements
            .iter()
            .map(|at| at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle))
            .map(|at| at..at + 8)
            .collect();
        crate::frame::assert_same_outside(&before, buffer.as_slice(), &handles);
        // Where no element lies over another, the handles are to be found where they belong.
        let after = buffer.as_slice();
        handles.sort_by_key(|handle| handle.start);
        if handles
            .windows(2)
            .all(|pair| pair[0].start + ADD_SA_ROOM <= pair[1].start)
        {
            let written = handles
                .iter()
                .filter(|handle| after[(*handle).clone()] != [0; 8]);
            assert_eq!(written.count(), added);
        }
    }

    fn add_extended(&mut self, sa: &NewSa, spoilt: &Spoilt) {
        let mut buffer = Buffer::zeroed(ADD_SA_ROOM);
        sa.sa.with_params(sa.direction(), sa.v6, |params| {
            sa_buffer::add_sa_ex(&mut buffer, params)
        });
        spoilt.apply(&mut buffer, ADD_SA_ROOM, ADD_SA_ROOM);
        let address = buffer.address();
        let before = buffer.as_slice().to_vec();
        let room = CAPACITY - self.sas.len();
        let mut statuses = Vec::new();
        let result = AddSaEx::new(buffer.as_mut())
            .map(|one| one.offload(|add| self.offload(add, &before, address, &mut statuses)));
        let at = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, OffloadHandle);
        let handle = result.is_ok().then(|| at..at + 8);
        crate::frame::assert_same_outside(&before, buffer.as_slice(), handle.as_slice());
        match result {
            Err(refusal) => {
                assert!(statuses.is_empty() && !spoilt.is_nothing());
                check_refusal(refusal, before.len());
            }
            Ok(result) => {
                let written = u64::from_le_bytes(buffer.as_slice()[at..at + 8].try_into().unwrap());
                assert_eq!(result.is_ok(), written != 0);
                assert_eq!(result.is_ok(), statuses.contains(&Ok(written)));
                assert!(!spoilt.is_nothing() || result.is_ok() == (room != 0));
            }
        }
    }

    /// What the driver does with an SA of a buffer that was at `address`.
    fn offload(
        &mut self,
        add: &AddSa<'_>,
        buffer: &[u8],
        address: usize,
        statuses: &mut Vec<std::result::Result<u64, AddError>>,
    ) -> std::result::Result<SaHandle, NDIS_STATUS> {
        add.with_params(|params| {
            let mut known = Known {
                esp: None,
                ah: None,
                extended: false,
                inbound: params.direction == Direction::Inbound,
            };
            let buffer = address..address + buffer.len();
            for association in params.associations {
                let encryption = association.encryption.map(|algorithm| algorithm.key);
                let authentication = association.authentication.map(|algorithm| algorithm.key);
                for key in encryption
                    .into_iter()
                    .chain(authentication)
                    .filter(|key| !key.is_empty())
                {
                    let key = key.as_ptr_range();
                    assert!(buffer.start <= key.start.addr() && key.end.addr() <= buffer.end);
                }
                match association.operation {
                    Operation::Esp => known.esp = Some(association.spi),
                    Operation::Ah => known.ah = Some(association.spi),
                }
                known.extended |= association.extended_sequence_numbers;
            }
            let added = self.engine.add_sa(&simd(), params);
            statuses.push(added.map(SaHandle::to_raw));
            let handle = added.map_err(|_| NDIS_STATUS_NOT_SUPPORTED)?;
            assert!(
                self.sas.insert(handle.to_raw(), known).is_none(),
                "a handle is given twice"
            );
            Ok(handle)
        })
    }

    fn delete(&mut self, handles: &[Handle], spoilt: &Spoilt) {
        const SIZE: usize = size_of::<IPSEC_OFFLOAD_V2_DELETE_SA>();

        let mut buffer = Buffer::zeroed(handles.len() * SIZE);
        let address = buffer.address();
        for (index, handle) in handles.iter().enumerate() {
            sa_buffer::delete_sa(&mut buffer, index * SIZE, self.handle(*handle));
            if index + 1 < handles.len() {
                let next = address + (index + 1) * SIZE;
                buffer.put(index * SIZE + NEXT, &next.to_le_bytes());
            }
        }
        spoilt.apply(&mut buffer, SIZE, SIZE);
        let mut deleted = 0;
        let result = delete_sa(buffer.as_slice(), |handle| {
            deleted += 1;
            let known = self.sas.remove(&handle.to_raw()).is_some();
            assert_eq!(self.engine.delete_sa(handle), known);
        });
        // A list that is as long as the buffer is at most a circle then.
        assert!(deleted <= buffer.len() / SIZE + 1);
        let whole = walk(buffer.as_slice(), address, SIZE).is_some();
        match result {
            Ok(read) => assert!(whole && read == buffer.len()),
            Err(status) => assert!(!whole && status == NDIS_STATUS_REQUEST_ABORTED),
        }
    }

    fn update(&mut self, handle: Handle, ah: bool, spi: Option<u32>, high: u32, spoilt: &Spoilt) {
        let handle = self.handle(handle);
        let known = self.sas.get(&handle).copied();
        let operation = if ah { Operation::Ah } else { Operation::Esp };
        let right = known.and_then(|known| if ah { known.ah } else { known.esp });
        let spi = spi.or(right).unwrap_or(1);
        let mut buffer = sa_buffer::update_sa(handle, operation, spi, high);
        spoilt.apply(&mut buffer, 0, 0);
        let update = match UpdateSa::parse(buffer.as_slice()) {
            Ok(update) => update,
            Err(refusal) => {
                assert!(!spoilt.is_nothing() || handle == 0);
                check_refusal(refusal, buffer.len());
                return;
            }
        };
        if spoilt.is_nothing() {
            assert_eq!(
                (update.handle.to_raw(), update.operation),
                (handle, operation)
            );
            assert_eq!((update.spi, update.sequence_number_high), (spi, high));
        }
        let known = self.sas.get(&update.handle.to_raw());
        let expected = match known {
            None => Some(UpdateError::NotFound),
            Some(known) => {
                let named = match update.operation {
                    Operation::Ah => known.ah,
                    Operation::Esp => known.esp,
                };
                match named {
                    Some(named) if named == update.spi => None,
                    _ => Some(UpdateError::Mismatch),
                }
            }
        };
        let result = self.engine.update_sa(
            update.handle,
            update.operation,
            update.spi,
            update.sequence_number_high,
        );
        match (expected, known, result) {
            (Some(expected), _, result) => assert_eq!(result, Err(expected)),
            (None, Some(known), Err(error)) => match error {
                // Of a bundle one association may have them, and the other not.
                UpdateError::NotExtended => assert!(!known.extended || known.ah.is_some()),
                UpdateError::Backwards => assert!(known.extended && !known.inbound),
                _ => panic!("{error:?}"),
            },
            (None, known, Ok(())) => assert!(known.is_some_and(|known| known.extended)),
            (None, None, Err(error)) => panic!("{error:?}"),
        }
    }
}

/// The offsets of a list's elements, by the rules for where they may be. None if there are none.
fn walk(buffer: &[u8], address: usize, size: usize) -> Option<Vec<usize>> {
    let mut offsets = Vec::new();
    let mut next = address;
    while next != 0 {
        let offset = next.checked_sub(address)?;
        if !next.is_multiple_of(8)
            || offset.checked_add(size)? > buffer.len()
            || offsets.len() > buffer.len() / size
        {
            return None;
        }
        offsets.push(offset);
        next = usize::from_le_bytes(buffer[offset + NEXT..offset + NEXT + 8].try_into().ok()?);
    }
    Some(offsets)
}

/// More bytes are only asked for where they would help.
fn check_refusal(refusal: Refusal, length: usize) {
    match refusal {
        Refusal::TooShort(needed) => assert!(needed > length),
        Refusal::Status(status) => assert_eq!(status, NDIS_STATUS_INVALID_PARAMETER),
    }
}
