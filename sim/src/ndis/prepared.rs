//! Send requests in memory that is fenced off on every side, and what may not
//! change in them.

use std::{fmt, sync::Arc};

use ndis_sys::{
    MDL, MDL_PAGES_LOCKED, NET_BUFFER, NET_BUFFER_LIST, PVOID, TcpLargeSendNetBufferListInfo,
};

use super::{
    memory::{mdl_for, mdl_size},
    nbl::{INFO_SLOTS, net_buffers},
    nbl_pool::NBL_SIZE,
    rules,
    send_buffer::{SendNb, SendNbl},
};
use crate::{fence::Content, guarded::GuardedBuf, history::Kind, machine::Machine};

/// The memory of a NET_BUFFER's MDLs.
enum Memory {
    /// Each MDL's bytes against an inaccessible page, at the one end or at the other.
    Each(Vec<GuardedBuf>),
    /// All of them in one, with guard bytes between.
    Arena(GuardedBuf, Vec<usize>),
}

/// More MDLs than this share one mapping: the host has a limit on them.
const MANY: usize = 64;
const GAP: usize = 16;
const GAP_BYTE: u8 = 0xFD;

struct Segment {
    mdl: *mut MDL,
    va: *mut u8,
    len: usize,
}

struct Planned {
    nb: *mut NET_BUFFER,
    segments: Vec<Segment>,
    memory: Memory,
    offset: usize,
    data: Vec<u8>,
    current: (usize, usize),
    unmapped: bool,
}

/// A send request in memory: it can be sent again each time it comes back.
pub struct PreparedNbl {
    pub(super) nbl: *mut NET_BUFFER_LIST,
    _structures: GuardedBuf,
    planned: Vec<Planned>,
    info: [usize; INFO_SLOTS],
    flags: u32,
    pub(super) cookie: u64,
}

// SAFETY: the memory belongs to the object; the driver writes only what it may
// while the object is sent, and then nobody has it.
unsafe impl Send for PreparedNbl {}

impl fmt::Debug for PreparedNbl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NET_BUFFER_LIST {:p} of {} NET_BUFFERs",
            self.nbl,
            self.planned.len()
        )
    }
}

impl PreparedNbl {
    pub(super) fn build(request: &SendNbl, machine: &Machine) -> Self {
        let lengths: Vec<Vec<usize>> = request
            .net_buffers
            .iter()
            .map(SendNb::mdl_lengths)
            .collect();
        let many = if request.compact { 0 } else { MANY };
        let mut buffers: Vec<(Memory, Vec<*mut u8>)> = lengths
            .iter()
            .map(|l| allocate(&machine.arc(), l, many))
            .collect();
        let mdl_room: usize = lengths
            .iter()
            .zip(&buffers)
            .flat_map(|(lengths, (_, addresses))| lengths.iter().zip(addresses))
            .map(|(len, va)| mdl_size(*va as u64, *len as u32).next_multiple_of(16))
            .sum();
        let room = NBL_SIZE + size_of::<NET_BUFFER>() * lengths.len() + mdl_room;
        let mut structures = GuardedBuf::with(machine.arc(), room, 16, machine.next_fence());
        let object = Some((Kind::NetBufferList, structures.as_ptr() as u64));
        let content = |what| Content {
            what,
            object,
            outside: rules::BUFFER_OVERRUN,
        };
        structures.describe(content("NET_BUFFER_LIST with its NET_BUFFERs and MDLs"));
        for (memory, _) in &mut buffers {
            match memory {
                Memory::Each(each) => {
                    for buffer in each {
                        buffer.describe(content("data of an MDL of a send"));
                    }
                }
                Memory::Arena(arena, _) => arena.describe(content("data of all MDLs of a send")),
            }
        }
        let nbl = structures.as_ptr().cast::<NET_BUFFER_LIST>();
        // SAFETY: the room was counted for exactly what is laid out here.
        let mut next_mdl = unsafe {
            structures
                .as_ptr()
                .add(NBL_SIZE + size_of::<NET_BUFFER>() * lengths.len())
        };
        let mut planned = Vec::new();
        for (index, ((request, lengths), (memory, addresses))) in request
            .net_buffers
            .iter()
            .zip(&lengths)
            .zip(buffers)
            .enumerate()
        {
            // SAFETY: as above.
            let nb = unsafe {
                structures
                    .as_ptr()
                    .add(NBL_SIZE)
                    .cast::<NET_BUFFER>()
                    .add(index)
            };
            let segments: Vec<Segment> = lengths
                .iter()
                .zip(addresses)
                .map(|(len, va)| {
                    let mdl = next_mdl.cast::<MDL>();
                    let size = mdl_size(va as u64, *len as u32).next_multiple_of(16);
                    // SAFETY: as above.
                    next_mdl = unsafe { next_mdl.add(size) };
                    Segment { mdl, va, len: *len }
                })
                .collect();
            let current = locate(lengths, request.offset);
            let data = request.data.clone();
            planned.push(Planned {
                nb,
                segments,
                memory,
                offset: request.offset,
                data,
                current,
                unmapped: request.unmapped,
            });
        }
        let mut info = [0; INFO_SLOTS];
        for (index, value) in &request.info {
            info[*index] = *value;
        }
        let cookie = request.cookie;
        let nbl = Self {
            nbl,
            _structures: structures,
            planned,
            info,
            flags: request.flags,
            cookie,
        };
        for index in 0..nbl.planned.len() {
            nbl.store(index);
        }
        nbl
    }

    /// Copies the data into the buffers.
    fn store(&self, index: usize) {
        let planned = &self.planned[index];
        let mut at = planned.offset;
        let mut data = planned.data.as_slice();
        for segment in &planned.segments {
            let skip = at.min(segment.len);
            let take = (segment.len - skip).min(data.len());
            // SAFETY: within the segment; the object owns the memory.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), segment.va.add(skip), take) };
            at -= skip;
            data = &data[take..];
        }
    }

    /// The words of NetBufferListInfo with which it is sent.
    pub(super) fn info(&self) -> &[usize; INFO_SLOTS] {
        &self.info
    }

    /// Puts every structure into the state in which it is sent.
    pub(super) fn arm(&mut self, source: u64) {
        // SAFETY: the structures belong to the object, which is not sent now.
        unsafe {
            std::ptr::write_bytes(self.nbl.cast::<u8>(), 0, NBL_SIZE);
            (*self.nbl).SourceHandle = source as PVOID;
            (*self.nbl).NblFlags = self.flags;
            for (index, value) in self.info.iter().enumerate() {
                (&raw mut (*self.nbl).NetBufferListInfo)
                    .cast::<usize>()
                    .add(index)
                    .write(*value);
            }
            let mut next: *mut NET_BUFFER = std::ptr::null_mut();
            for planned in self.planned.iter().rev() {
                let nb = planned.nb;
                nb.write(std::mem::zeroed());
                (*nb).Next = next;
                (*nb).DataLength = planned.data.len() as u32;
                (*nb).DataOffset = planned.offset as u32;
                let mut next_mdl: *mut MDL = std::ptr::null_mut();
                for segment in planned.segments.iter().rev() {
                    let mut mdl = mdl_for(segment.va as u64, segment.len as u32);
                    if planned.unmapped {
                        mdl.MdlFlags = MDL_PAGES_LOCKED;
                        mdl.MappedSystemVa = std::ptr::null_mut();
                    }
                    segment.mdl.write(mdl);
                    (*segment.mdl).Next = next_mdl;
                    next_mdl = segment.mdl;
                }
                (*nb).MdlChain = next_mdl;
                if let Some(current) = planned.segments.get(planned.current.0) {
                    (*nb).CurrentMdl = current.mdl;
                    (*nb).CurrentMdlOffset = planned.current.1 as u32;
                }
                next = nb;
            }
            (*self.nbl).FirstNetBuffer = next;
        }
    }

    /// What the miniport changed that it may not, if anything.
    pub(super) fn damage(&self, with_data: bool) -> Option<String> {
        // SAFETY: the structures belong to the object. The chains are compared
        // link by link with what they were, and so not followed astray.
        unsafe {
            let nbl = self.nbl;
            for (slot, value) in self.info.iter().enumerate() {
                let now = (&raw const (*nbl).NetBufferListInfo)
                    .cast::<usize>()
                    .add(slot)
                    .read();
                // LSO writes its result there on completion.
                if now != *value && slot != TcpLargeSendNetBufferListInfo as usize {
                    return Some(format!(
                        "NetBufferListInfo[{slot}] is {now:#x}, was {value:#x}"
                    ));
                }
            }
            let mut link = (*nbl).FirstNetBuffer;
            for (index, planned) in self.planned.iter().enumerate() {
                let nb = planned.nb;
                if link != nb {
                    return Some(format!("NET_BUFFER {index} is {link:p}, was {nb:p}"));
                }
                link = (*nb).Next;
                let first = planned
                    .segments
                    .first()
                    .map_or(std::ptr::null_mut(), |s| s.mdl);
                let (current, within) =
                    (planned.segments.get(planned.current.0), planned.current.1);
                let current = current.map_or(std::ptr::null_mut(), |s| s.mdl);
                let within = if current.is_null() { 0 } else { within as u32 };
                for (name, now, was) in [
                    ("MdlChain", (*nb).MdlChain as u64, first as u64),
                    ("CurrentMdl", (*nb).CurrentMdl as u64, current as u64),
                    (
                        "CurrentMdlOffset",
                        (*nb).CurrentMdlOffset.into(),
                        within.into(),
                    ),
                    ("DataOffset", (*nb).DataOffset.into(), planned.offset as u64),
                    (
                        "DataLength",
                        (*nb).DataLength.into(),
                        planned.data.len() as u64,
                    ),
                ] {
                    if now != was {
                        return Some(format!(
                            "{name} of NET_BUFFER {index} is {now:#x}, was {was:#x}"
                        ));
                    }
                }
                for (position, segment) in planned.segments.iter().enumerate() {
                    let next = planned
                        .segments
                        .get(position + 1)
                        .map_or(std::ptr::null_mut(), |s| s.mdl);
                    let (mdl, va) = (segment.mdl, segment.va as u64);
                    let mapped = (*mdl).MappedSystemVa as u64;
                    let unmapped = planned.unmapped && mapped == 0;
                    for (name, now, was) in [
                        ("Next", (*mdl).Next as u64, next as u64),
                        ("ByteCount", (*mdl).ByteCount.into(), segment.len as u64),
                        ("MappedSystemVa", if unmapped { va } else { mapped }, va),
                    ] {
                        if now != was {
                            return Some(format!(
                                "{name} of MDL {position} of NET_BUFFER {index} is {now:#x}, was {was:#x}"
                            ));
                        }
                    }
                }
                if with_data && let Some(at) = planned.changed() {
                    return Some(format!(
                        "byte {at} of the data of NET_BUFFER {index} was changed"
                    ));
                }
            }
            (!link.is_null()).then(|| format!("there is one more NET_BUFFER, {link:p}"))
        }
    }

    /// Whether every NET_BUFFER is an Ethernet frame such as an adapter with this MTU takes.
    pub(super) fn is_of_usual_length(&self, mtu: u32) -> bool {
        let lengths = 14..=mtu as usize + 14;
        self.info[TcpLargeSendNetBufferListInfo as usize] == 0
            && self.planned.iter().all(|p| lengths.contains(&p.data.len()))
    }

    /// What is wrong about the word that a completed large send leaves, if anything is.
    pub(super) fn large_send_damage(&self) -> Option<String> {
        const TYPE: u32 = 1 << 30;
        const PAYLOAD: u32 = TYPE - 1;
        let asked = self.info[TcpLargeSendNetBufferListInfo as usize] as u32;
        let told = self.info_now(TcpLargeSendNetBufferListInfo as usize) as u32;
        if asked == 0 {
            return (told != 0).then(|| format!("{told:#x} on a list that is no large send"));
        }
        let longest = self.planned.iter().map(|nb| nb.data.len()).max();
        let right = if asked & TYPE == 0 {
            told & !PAYLOAD == 0 && told as usize <= longest.unwrap_or(0)
        } else {
            told == TYPE
        };
        (!right).then(|| format!("{told:#x} after {asked:#x} was asked for"))
    }

    /// A word of NetBufferListInfo as it is now.
    pub(super) fn info_now(&self, slot: usize) -> usize {
        assert!(slot < INFO_SLOTS, "no NetBufferListInfo[{slot}]");
        // SAFETY: the list belongs to the object, and has as many slots.
        unsafe {
            (&raw const (*self.nbl).NetBufferListInfo)
                .cast::<usize>()
                .add(slot)
                .read()
        }
    }

    /// What was written outside of the buffers, if anything was.
    pub(super) fn overrun(&self) -> Option<String> {
        self.planned
            .iter()
            .enumerate()
            .find_map(|(index, planned)| {
                let damage = match &planned.memory {
                    Memory::Each(buffers) => buffers.iter().find_map(GuardedBuf::damage),
                    Memory::Arena(arena, gaps) => arena.damage().or_else(|| {
                        let bytes = arena.to_vec();
                        gaps.iter()
                            .find(|at| bytes[**at..**at + GAP].iter().any(|b| *b != GAP_BYTE))
                            .map(|at| format!("bytes around {at} between two MDLs were written"))
                    }),
                };
                damage.map(|d| format!("NET_BUFFER {index}: {d}"))
            })
    }

    /// Number of NET_BUFFERs.
    #[must_use]
    pub fn net_buffer_count(&self) -> usize {
        self.planned.len()
    }

    /// The bytes of a NET_BUFFER.
    ///
    /// # Panics
    /// When there is none of that index.
    #[must_use]
    pub fn data(&self, index: usize) -> &[u8] {
        &self.planned[index].data
    }

    /// Puts other bytes of the same length into a NET_BUFFER.
    ///
    /// # Panics
    /// When there is none of that index, or the length differs.
    pub fn rewrite(&mut self, index: usize, data: &[u8]) {
        self.planned[index].data.copy_from_slice(data);
        self.store(index);
    }

    /// Sets a word of NetBufferListInfo for the next send.
    ///
    /// # Panics
    /// When an NDIS 6.30 driver has no such slot.
    pub fn set_info(&mut self, index: usize, value: usize) {
        self.info[index] = value;
    }

    /// Sets the sender's own number.
    pub fn set_cookie(&mut self, cookie: u64) {
        self.cookie = cookie;
    }
}

impl Planned {
    /// The first byte of the data that is not what it was.
    fn changed(&self) -> Option<usize> {
        let mut at = self.offset;
        let mut seen = 0;
        for segment in &self.segments {
            let skip = at.min(segment.len);
            let take = (segment.len - skip).min(self.data.len() - seen);
            // SAFETY: within the segment, which the object owns.
            let now = unsafe { std::slice::from_raw_parts(segment.va.add(skip), take) };
            let was = &self.data[seen..seen + take];
            if now != was {
                return now
                    .iter()
                    .zip(was)
                    .position(|(a, b)| a != b)
                    .map(|i| seen + i);
            }
            at -= skip;
            seen += take;
        }
        None
    }
}

/// The MDL in which the data starts, and where in it.
fn locate(lengths: &[usize], offset: usize) -> (usize, usize) {
    let mut left = offset;
    let mut index = 0;
    while left != 0 && left >= lengths[index] && index + 1 < lengths.len() {
        left -= lengths[index];
        index += 1;
    }
    (index, left)
}

fn allocate(machine: &Arc<Machine>, lengths: &[usize], many: usize) -> (Memory, Vec<*mut u8>) {
    if lengths.len() <= many {
        let buffers: Vec<GuardedBuf> = lengths
            .iter()
            .map(|len| GuardedBuf::with(Arc::clone(machine), *len, 1, machine.next_fence()))
            .collect();
        let addresses = buffers.iter().map(GuardedBuf::as_ptr).collect();
        return (Memory::Each(buffers), addresses);
    }
    let total = lengths.iter().sum::<usize>() + GAP * lengths.len();
    let arena = GuardedBuf::with(Arc::clone(machine), total, 1, machine.next_fence());
    let (mut addresses, mut gaps, mut at) = (Vec::new(), Vec::new(), 0);
    for len in lengths {
        arena.write(at, &[GAP_BYTE; GAP]);
        gaps.push(at);
        at += GAP;
        // SAFETY: the arena has room for every segment.
        addresses.push(unsafe { arena.as_ptr().add(at) });
        at += len;
    }
    (Memory::Arena(arena, gaps), addresses)
}

/// A send request that was completed.
#[derive(Debug)]
pub struct SentNbl {
    /// The status that the miniport (or NDIS, for an adapter that does not run) gave it.
    pub status: i32,
    /// The sender's own number.
    pub cookie: u64,
    /// The request, to look at or to send again.
    pub nbl: PreparedNbl,
}

impl SentNbl {
    /// Number of NET_BUFFERs that the list still has.
    #[must_use]
    pub fn net_buffer_count(&self) -> usize {
        // SAFETY: the structures belong to the object, and were found unchanged.
        unsafe { net_buffers(self.nbl.nbl).count() }
    }

    /// A word of NetBufferListInfo as the miniport has left it.
    ///
    /// # Panics
    /// When an NDIS 6.30 driver has no such slot.
    #[must_use]
    pub fn info(&self, slot: usize) -> usize {
        self.nbl.info_now(slot)
    }

    /// The request itself, to be sent again.
    #[must_use]
    pub fn into_prepared(self) -> PreparedNbl {
        self.nbl
    }
}
