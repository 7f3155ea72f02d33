//! Protocols: what a transport registers with NDIS, and its binding to an
//! adapter.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use ndis_sys::NDIS_LINK_STATE;
use parking_lot::Mutex;

use super::{
    Error,
    adapter::{Adapter, Filter},
    offload::Offloads,
    prepared::{PreparedNbl, SentNbl},
    received::ReceivedNbl,
    send_buffer::SendNbl,
    status::StatusIndication,
};
use crate::{
    Irql,
    machine::Machine,
    sync::{self, Signal},
};

/// The callbacks of a protocol driver. They run on a processor of the machine,
/// mostly at DISPATCH_LEVEL, inside of the miniport's call: they must not wait.
pub trait Protocol: Send + Sync {
    /// ProtocolReceiveNetBufferLists: frames that the binding's packet filter
    /// takes. `flags` are NDIS_RECEIVE_FLAGS. With NDIS_RECEIVE_FLAGS_RESOURCES
    /// the lists are copies.
    fn receive(&self, nbls: Vec<ReceivedNbl>, flags: u32);

    /// ProtocolSendNetBufferListsComplete, with NDIS_SEND_COMPLETE_FLAGS.
    fn send_complete(&self, sent: Vec<SentNbl>, flags: u32) {
        let _ = (sent, flags);
    }

    /// ProtocolStatusEx.
    fn status(&self, indication: &StatusIndication) {
        let _ = indication;
    }

    /// ProtocolNetPnPEvent: the data path is paused (false) or restarted (true).
    fn running(&self, running: bool) {
        let _ = running;
    }
}

/// A binding, as NDIS keeps it.
pub(super) struct OpenBlock {
    pub(super) handle: u64,
    pub(super) protocol: Arc<dyn Protocol>,
    pub(super) filter: Mutex<Filter>,
}

/// What a protocol is told when it is bound (NDIS_BIND_PARAMETERS).
#[derive(Clone, Debug)]
pub struct BindParameters {
    /// The current station address.
    pub mac: [u8; 6],
    /// The largest frame without its Ethernet header.
    pub mtu: u32,
    /// The link, if the miniport has reported it.
    pub link: Option<NdisLinkState>,
    /// The offload configuration.
    pub offloads: Offloads,
    /// MacOptions of the general attributes.
    pub mac_options: u32,
    /// SupportedPacketFilters of the general attributes.
    pub packet_filters: u32,
}

/// `NDIS_LINK_STATE`, for people to print.
#[derive(Clone, Copy)]
pub struct NdisLinkState(pub NDIS_LINK_STATE);

impl fmt::Debug for NdisLinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NDIS_LINK_STATE")
            .field("MediaConnectState", &self.0.MediaConnectState)
            .field("MediaDuplexState", &self.0.MediaDuplexState)
            .field("XmitLinkSpeed", &self.0.XmitLinkSpeed)
            .field("RcvLinkSpeed", &self.0.RcvLinkSpeed)
            .finish_non_exhaustive()
    }
}

/// A protocol's binding to an adapter. Unbound when the last copy is dropped.
#[derive(Clone)]
pub struct Open(Arc<Binding>);

struct Binding {
    adapter: Adapter,
    block: Arc<OpenBlock>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let handle = self.block.handle;
        self.adapter
            .block
            .opens
            .write()
            .retain(|o| o.handle != handle);
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Open({:?})", self.0.adapter)
    }
}

impl Open {
    pub(super) fn new(adapter: Adapter, protocol: Arc<dyn Protocol>) -> Self {
        let handle = adapter.machine.ndis().handle();
        let block = Arc::new(OpenBlock {
            handle,
            protocol,
            filter: Mutex::default(),
        });
        adapter.block.opens.write().push(Arc::clone(&block));
        Self(Arc::new(Binding { adapter, block }))
    }

    pub(super) fn block(&self) -> &Arc<OpenBlock> {
        &self.0.block
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.0.adapter
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.0.adapter.machine
    }

    /// What the protocol is told of the adapter.
    #[must_use]
    pub fn bind_parameters(&self) -> BindParameters {
        let adapter = self.adapter();
        let general = adapter.general_attributes();
        BindParameters {
            mac: adapter.mac(),
            mtu: adapter.mtu(),
            link: adapter.link_state().map(NdisLinkState),
            offloads: adapter.offloads(),
            mac_options: general.as_ref().map_or(0, |g| g.MacOptions),
            packet_filters: general.as_ref().map_or(0, |g| g.SupportedPacketFilters),
        }
    }

    /// Sends a chain, at DISPATCH_LEVEL, as TCP/IP mostly does.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn send(&self, nbls: Vec<SendNbl>) -> Result<(), Error> {
        self.send_at(Irql::DISPATCH, nbls)
    }

    /// Sends a chain at the given IRQL, at most DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn send_at(&self, irql: Irql, nbls: Vec<SendNbl>) -> Result<(), Error> {
        let prepared = nbls.iter().map(|n| n.prepare(self.machine())).collect();
        self.send_prepared(prepared, irql)
    }

    /// Sends a chain of requests that were built before.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn send_prepared(&self, nbls: Vec<PreparedNbl>, irql: Irql) -> Result<(), Error> {
        self.send_with(
            nbls,
            SendOptions {
                irql,
                ..SendOptions::default()
            },
        )
    }

    /// Sends a chain with every choice.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn send_with(&self, nbls: Vec<PreparedNbl>, options: SendOptions) -> Result<(), Error> {
        let open = Arc::clone(self.block());
        let SendOptions {
            irql,
            cpu,
            flags,
            through,
        } = options;
        Ok(self.adapter().run(cpu, irql, move |machine, adapter| {
            super::send::send(machine, adapter, &open, nbls, flags, through);
        })?)
    }

    /// NdisCancelSendNetBufferLists.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn cancel_sends(&self, cancel_id: usize) -> Result<(), Error> {
        Ok(self.adapter().run(None, Irql::PASSIVE, move |_, adapter| {
            super::send::cancel(adapter, cancel_id);
        })?)
    }

    /// Returns received lists as one chain, in this order, at the given IRQL.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn return_nbls(&self, nbls: Vec<ReceivedNbl>, irql: Irql) -> Result<(), Error> {
        Ok(self.adapter().run(None, irql, move |_, adapter| {
            super::received::return_all(adapter, nbls);
        })?)
    }
}

/// How a chain is sent.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// PASSIVE_LEVEL to DISPATCH_LEVEL.
    pub irql: Irql,
    /// The processor; `None` for any.
    pub cpu: Option<usize>,
    /// NDIS_SEND_FLAGS; the DISPATCH_LEVEL flag is set as the IRQL asks.
    pub flags: u32,
    /// Calls the miniport even when the adapter does not run, as a send that
    /// races with a pause does.
    pub through: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            irql: Irql::DISPATCH,
            cpu: None,
            flags: 0,
            through: false,
        }
    }
}

/// A protocol that keeps everything it is told, for tests.
#[derive(Default)]
pub struct Collector {
    keep_live: bool,
    state: Mutex<Collected>,
    changed: Signal,
}

#[derive(Default)]
struct Collected {
    received: VecDeque<ReceivedNbl>,
    flags: VecDeque<u32>,
    sent: VecDeque<SentNbl>,
    statuses: Vec<StatusIndication>,
    running: Vec<bool>,
}

impl Collector {
    /// A collector that returns every list at once and keeps a copy.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A collector that keeps the lists themselves until they are taken and dropped.
    #[must_use]
    pub fn holding() -> Arc<Self> {
        Arc::new(Self {
            keep_live: true,
            ..Self::default()
        })
    }

    /// Takes what was received so far.
    #[must_use]
    pub fn take_received(&self) -> Vec<ReceivedNbl> {
        self.state.lock().received.drain(..).collect()
    }

    /// Takes the flags of the indications so far.
    #[must_use]
    pub fn take_receive_flags(&self) -> Vec<u32> {
        self.state.lock().flags.drain(..).collect()
    }

    /// Takes the completed sends so far.
    #[must_use]
    pub fn take_sent(&self) -> Vec<SentNbl> {
        self.state.lock().sent.drain(..).collect()
    }

    /// The status indications so far.
    #[must_use]
    pub fn statuses(&self) -> Vec<StatusIndication> {
        self.state.lock().statuses.clone()
    }

    /// The pauses (false) and restarts (true) so far.
    #[must_use]
    pub fn transitions(&self) -> Vec<bool> {
        self.state.lock().running.clone()
    }

    /// Waits until `count` lists were received and takes those; fewer when the
    /// time is over. Not from a callback.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn wait_received(
        &self,
        machine: &Machine,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<ReceivedNbl>, Error> {
        self.wait(machine, "received frames", timeout, |state| {
            (state.received.len() >= count).then(|| state.received.drain(..count).collect())
        })
        .map(|got| got.unwrap_or_else(|| self.take_received()))
    }

    /// Waits until `count` sends were completed and takes those; fewer when the
    /// time is over. Not from a callback.
    ///
    /// # Errors
    /// The bug check that stopped the machine.
    pub fn wait_sent(
        &self,
        machine: &Machine,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<SentNbl>, Error> {
        self.wait(machine, "completed sends", timeout, |state| {
            (state.sent.len() >= count).then(|| state.sent.drain(..count).collect())
        })
        .map(|got| got.unwrap_or_else(|| self.take_sent()))
    }

    fn wait<R>(
        &self,
        machine: &Machine,
        what: &str,
        timeout: Duration,
        done: impl FnMut(&mut Collected) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        Ok(sync::wait(
            machine,
            what,
            &self.state,
            &self.changed,
            Some(timeout),
            done,
        )?)
    }
}

impl Protocol for Collector {
    fn receive(&self, nbls: Vec<ReceivedNbl>, flags: u32) {
        let nbls: Vec<ReceivedNbl> = if self.keep_live {
            nbls
        } else {
            nbls.into_iter().map(ReceivedNbl::detach).collect()
        };
        let mut state = self.state.lock();
        state.received.extend(nbls);
        state.flags.push_back(flags);
        drop(state);
        self.changed.notify_all();
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        self.state.lock().sent.extend(sent);
        self.changed.notify_all();
    }

    fn status(&self, indication: &StatusIndication) {
        self.state.lock().statuses.push(indication.clone());
        self.changed.notify_all();
    }

    fn running(&self, running: bool) {
        self.state.lock().running.push(running);
        self.changed.notify_all();
    }
}
