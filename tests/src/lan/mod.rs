//! Two adapters on one wire as the HLK has them: the one that is tested, and the one that supports the test.
//! Frames bear numbers, so that what comes up can be told from what went down.

pub mod pump;
pub mod statistics;

use ndis_sim::ndis::{AdapterConfig, Collector, SendNb, SendNbl};
use ndis_sys::{
    NDIS_OFFLOAD_SET_ON, NDIS_PACKET_TYPE_ALL_MULTICAST, NDIS_PACKET_TYPE_BROADCAST,
    NDIS_PACKET_TYPE_DIRECTED, NDIS_STATUS_SUCCESS, OID_OFFLOAD_ENCAPSULATION,
};

use crate::{
    mostly_compact,
    switch::{Switch, SwitchPort, config, frame},
};

/// What the adapters receive unless a test says otherwise.
pub const USUAL: u32 =
    NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST | NDIS_PACKET_TYPE_ALL_MULTICAST;

/// The shortest frame of the medium, without FCS.
pub const SHORTEST: usize = 60;
/// The longest, when *JumboPacket is not set.
pub const LONGEST: usize = 1514;
/// The shortest frame that can bear a number.
pub const NUMBERED: usize = 18;

/// The two adapters.
pub struct Lan {
    /// Machine and driver.
    pub switch: Switch,
    /// The adapter that is tested.
    pub test: SwitchPort,
    /// The other one.
    pub support: SwitchPort,
}

impl Lan {
    /// Two adapters as the INF installs them.
    #[must_use]
    pub fn start(version: u32) -> Self {
        Self::with(version, config(), config())
    }

    /// The same with configurations of one's own.
    #[must_use]
    pub fn with(version: u32, test: AdapterConfig, support: AdapterConfig) -> Self {
        Self::on(Switch::new(version), test, support)
    }

    /// The same on a machine of one's own.
    #[must_use]
    pub fn on(switch: Switch, test: AdapterConfig, support: AdapterConfig) -> Self {
        let [test, support] = [test, support].map(|config| {
            let port = switch.port_on(config, Collector::new());
            port.filter(USUAL);
            port
        });
        Self {
            switch,
            test,
            support,
        }
    }

    /// Sends lists of numbered frames from one adapter to the other: all of them must be completed with
    /// success, and come up as they are, in order.
    ///
    /// # Panics
    /// If that is not so.
    pub fn carry(&self, way: Way, batch: Batch, about: &str) {
        let (from, to) = self.ends(way);
        carry(from, to, batch, about);
    }

    /// Sender and receiver.
    #[must_use]
    pub fn ends(&self, way: Way) -> (&SwitchPort, &SwitchPort) {
        match way {
            Way::FromTest => (&self.test, &self.support),
            Way::ToTest => (&self.support, &self.test),
        }
    }

    /// A frame each way comes up as it was sent.
    ///
    /// # Panics
    /// If one does not.
    pub fn connected(&self, about: &str) {
        for way in Way::BOTH {
            let (from, to) = self.ends(way);
            let mut batch = Batch::default();
            let bytes = numbered(to.adapter.mac(), from.adapter.mac(), 1, 100);
            batch.push(vec![(SendNb::new(bytes.clone()), bytes)]);
            carry(from, to, batch, about);
        }
    }

    /// Unloads the driver: nothing may be left, and nothing may have been found.
    pub fn finish(self) {
        let Self {
            switch,
            test,
            support,
        } = self;
        drop((test, support));
        switch.finish();
    }
}

/// Which of the two adapters sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The tested one.
    FromTest,
    /// The supporting one.
    ToTest,
}

impl Way {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::FromTest, Self::ToTest];
}

/// Lists to be sent in one call, and the frames in them.
#[derive(Default)]
pub struct Batch {
    /// The lists.
    pub lists: Vec<SendNbl>,
    /// The frames, in order.
    pub frames: Vec<Vec<u8>>,
}

impl Batch {
    /// Adds a list of packets, each with the frame that it is.
    pub fn push(&mut self, packets: Vec<(SendNb, Vec<u8>)>) {
        let (packets, frames): (_, Vec<_>) = packets.into_iter().unzip();
        let list = SendNbl::with_net_buffers(packets);
        self.lists
            .push(mostly_compact(list, self.lists.len() as u64));
        self.frames.extend(frames);
    }
}

/// The shape of what is handed down in one call (1c_Mini6Send and its kin).
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// NET_BUFFER_LISTs.
    pub lists: usize,
    /// NET_BUFFERs in each.
    pub packets: usize,
    /// MDLs in each of these.
    pub mdls: usize,
    /// Bytes of each frame.
    pub size: usize,
}

impl Shape {
    /// Frames per call.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.lists * self.packets
    }

    /// The lists of one call, with frames from number `first` on.
    #[must_use]
    pub fn batch(&self, destination: [u8; 6], source: [u8; 6], first: u32) -> Batch {
        let mut batch = Batch::default();
        let mut number = first;
        for _ in 0..self.lists {
            let packets = (0..self.packets).map(|_| {
                let bytes = numbered(destination, source, number, self.size);
                number = number.wrapping_add(1);
                let nb = SendNb::new(bytes.clone());
                let nb = match self.mdls {
                    1 => nb,
                    mdls => nb.split_every(self.size.div_ceil(mdls)),
                };
                (nb, bytes)
            });
            batch.push(packets.collect());
        }
        batch
    }
}

/// An adapter with as many receive buffers as there can be.
#[must_use]
pub fn roomy() -> AdapterConfig {
    config().keyword("*ReceiveBuffers", "4096")
}

/// A frame that bears a number; its bytes depend on that.
///
/// # Panics
/// If it is too short for the number.
#[must_use]
pub fn numbered(destination: [u8; 6], source: [u8; 6], number: u32, len: usize) -> Vec<u8> {
    let mut bytes = frame(destination, source, len);
    for (at, byte) in bytes.iter_mut().enumerate().skip(NUMBERED) {
        *byte = (at as u32).wrapping_add(number).wrapping_mul(31) as u8;
    }
    bytes[14..NUMBERED].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The number of a frame.
///
/// # Panics
/// If it bears none.
#[must_use]
pub fn number_of(frame: &[u8]) -> u32 {
    let number = frame
        .get(14..NUMBERED)
        .and_then(|bytes| bytes.try_into().ok());
    number.map_or_else(
        || panic!("{} bytes bear no number", frame.len()),
        u32::from_be_bytes,
    )
}

/// As it is on the wire: padded with zeroes to the medium's minimum.
#[must_use]
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

/// Sends lists, all of which must be completed with success, and whose frames must come up, in order.
///
/// # Panics
/// If that is not so.
pub fn carry(from: &SwitchPort, to: &SwitchPort, batch: Batch, about: &str) {
    let Batch { lists, frames } = batch;
    assert_sent(&from.send(lists), about);
    assert_frames(&to.received_bytes(), &frames, about);
}

/// All lists were completed with success.
///
/// # Panics
/// If one was not.
pub fn assert_sent(statuses: &[i32], about: &str) {
    let failed = statuses
        .iter()
        .position(|&status| status != NDIS_STATUS_SUCCESS);
    if let Some(list) = failed {
        panic!("{about}: list {list} ended with {:#x}", statuses[list]);
    }
}

/// These frames came up and no others, in this order.
///
/// # Panics
/// If that is not so.
pub fn assert_frames(found: &[Vec<u8>], expected: &[Vec<u8>], about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}: frames that came up");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = padded(expected.clone());
        if *found != expected {
            let at = found.iter().zip(&expected).position(|(a, b)| a != b);
            panic!(
                "{about}: frame {index} has {} bytes instead of {}, and differs at {at:?}",
                found.len(),
                expected.len()
            );
        }
    }
}

/// NDIS_OFFLOAD_ENCAPSULATION as TCP/IP sets it: offloads begin.
///
/// # Panics
/// If it is refused.
pub fn activate_offloads(port: &SwitchPort) {
    let bytes = tcpip::offload::encapsulation(NDIS_OFFLOAD_SET_ON);
    let result = port.set(OID_OFFLOAD_ENCAPSULATION, &bytes);
    assert_eq!(result.status, NDIS_STATUS_SUCCESS);
}
