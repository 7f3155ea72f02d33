//! What happened to an object: a bounded ring of events for each, which a report shows when the
//! object is part of what went wrong. Objects that are gone stay in it until newer ones need the
//! room, so that a second free can be told from a stray address.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{driver::Images, irql::Irql, machine::Machine, processor};

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A NET_BUFFER_LIST, of a driver's pool or a send request.
    NetBufferList,
    /// A NET_BUFFER of NdisAllocateNetBuffer.
    NetBuffer,
    /// A pool of NET_BUFFER_LISTs or of NET_BUFFERs.
    NetBufferPool,
    /// A miniport adapter: its states, and what was asked of it.
    Adapter,
    /// An NDIS_OID_REQUEST.
    OidRequest,
    /// An NDIS timer object.
    Timer,
    /// An NDIS I/O work item.
    WorkItem,
    /// A block of pool memory.
    Pool,
    /// An MDL of NdisAllocateMdl.
    Mdl,
    /// A generic object.
    GenericObject,
    /// A configuration handle.
    Configuration,
    /// An IPsec offload handle: a security association.
    SecurityAssociation,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::NetBufferList,
        Self::NetBuffer,
        Self::NetBufferPool,
        Self::Adapter,
        Self::OidRequest,
        Self::Timer,
        Self::WorkItem,
        Self::Pool,
        Self::Mdl,
        Self::GenericObject,
        Self::Configuration,
        Self::SecurityAssociation,
    ];

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NetBufferList => "NET_BUFFER_LIST",
            Self::NetBuffer => "NET_BUFFER",
            Self::NetBufferPool => "NET_BUFFER_LIST or NET_BUFFER pool",
            Self::Adapter => "adapter",
            Self::OidRequest => "NDIS_OID_REQUEST",
            Self::Timer => "timer object",
            Self::WorkItem => "I/O work item",
            Self::Pool => "pool block",
            Self::Mdl => "MDL",
            Self::GenericObject => "generic object",
            Self::Configuration => "configuration handle",
            Self::SecurityAssociation => "security association",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object: its kind and its address or handle.
pub(crate) type Object = (Kind, u64);

/// One event in an object's life.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: Duration,
    place: Option<(u32, Irql)>,
    what: &'static str,
    value: u64,
    /// The callback in progress, and where the driver made the call.
    callback: &'static str,
    caller: Option<usize>,
}

/// Events that are kept of each object.
const EVENTS: usize = 16;
/// Objects that are kept in each shard.
const OBJECTS: usize = 2048;
const SHARDS: usize = 32;

#[derive(Default)]
struct Shard {
    rings: HashMap<Object, VecDeque<Event>>,
    /// By age.
    order: VecDeque<Object>,
}

/// The histories of a machine's objects.
pub(crate) struct Histories {
    on: bool,
    shards: [Mutex<Shard>; SHARDS],
}

impl Histories {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    fn shard(&self, object: Object) -> &Mutex<Shard> {
        let id = object.1;
        &self.shards[(((id >> 4) ^ (id >> 11)) % SHARDS as u64) as usize]
    }

    /// Notes an event; `value` is shown with it unless it is zero.
    pub(crate) fn note(&self, machine: &Machine, object: Object, what: &'static str, value: u64) {
        if !self.on {
            return;
        }
        let cpu = processor::try_current();
        let event = Event {
            at: machine.clock().now(),
            place: cpu.map(|c| (c.number(), c.irql())),
            what,
            value,
            callback: cpu.map_or("", |c| c.thread().callback()),
            caller: cpu.and_then(|c| c.thread().import_in_progress()),
        };
        let mut shard = self.shard(object).lock();
        if let Some(ring) = shard.rings.get_mut(&object) {
            if ring.len() == EVENTS {
                ring.pop_front();
            }
            ring.push_back(event);
            return;
        }
        if shard.order.len() == OBJECTS
            && let Some(oldest) = shard.order.pop_front()
        {
            shard.rings.remove(&oldest);
        }
        shard.rings.insert(object, VecDeque::from([event]));
        shard.order.push_back(object);
    }

    /// The object with that address or handle; of several the one that something happened to last.
    pub(crate) fn named(&self, id: u64) -> Option<Object> {
        let shard = self.shard((Kind::Pool, id)).lock();
        let last = |object: &Object| shard.rings.get(object)?.back().map(|e| (e.at, *object));
        let known = Kind::ALL.iter().filter_map(|kind| last(&(*kind, id)));
        known.max_by_key(|(at, _)| *at).map(|(_, object)| object)
    }

    /// The history of an object, for people to read: one line for each event, oldest first.
    pub(crate) fn of(&self, images: &Images, object: Object) -> Option<ObjectHistory> {
        let events: Vec<Event> = {
            let shard = self.shard(object).lock();
            shard.rings.get(&object)?.iter().copied().collect()
        };
        let (kind, id) = object;
        Some(ObjectHistory {
            kind,
            id,
            events: events.iter().map(|e| e.describe(images)).collect(),
        })
    }
}

impl Event {
    fn describe(&self, images: &Images) -> String {
        let seconds = self.at.as_secs_f64();
        let mut text = format!("{seconds:.6} s: {}", self.what);
        if self.value != 0 {
            text.push_str(&format!(" 0x{:x}", self.value));
        }
        if let Some((number, irql)) = self.place {
            text.push_str(&format!(", processor {number}, {irql}"));
        }
        if !self.callback.is_empty() {
            text.push_str(&format!(", in {}", self.callback));
        }
        if let Some(caller) = self.caller {
            // The call, not what comes after it.
            let names = images.symbols(caller.wrapping_sub(1));
            text.push_str(&format!(", called by {}", names.join(" ")));
        }
        text
    }
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHistory {
    /// Its kind.
    pub kind: Kind,
    /// Its address or handle.
    pub id: u64,
    /// One line for each event, oldest first.
    pub events: Vec<String>,
}

impl fmt::Display for ObjectHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "History of {} 0x{:x}, oldest first:", self.kind, self.id)?;
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "      {event}"))
    }
}

impl Machine {
    /// Notes an event in the life of an object.
    pub(crate) fn note(&self, kind: Kind, id: u64, what: &'static str, value: u64) {
        self.histories().note(self, (kind, id), what, value);
    }
}
