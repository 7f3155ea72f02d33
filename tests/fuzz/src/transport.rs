//! The transport's side, for comparison: SAs of every kind as it makes them, and their out-of-band data.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use ipsec::{Engine, SaHandle, SendRequest};
use oid_buffers::{AddSa, AddSaEx};
use tcpip::algorithm::{Authentication, Suite};
use tcpip::offload::{self, Way};
use tcpip::outbound::Protection;
use tcpip::plan::{Plan, PlanMode, Protocol, Shape, UdpPlace, Version};
use tcpip::policy::{Keys, Offers};
use tcpip::sas::Sa;

use crate::headers::Headers;
use crate::sa_buffer::Buffer;
use crate::simd;

/// Longer packets show nothing new.
const LONGEST: usize = 2048;

static ALONE: LazyLock<Vec<Suite>> = LazyLock::new(Suite::all);
static WITHIN_AH: LazyLock<Vec<Suite>> = LazyLock::new(Suite::all_within_ah);

/// SAs of one kind, and where their sequence numbers start.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    plan: Plan,
    low: u32,
    high: u32,
}

impl<'a> Arbitrary<'a> for Policy {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mode = *u.choose(&[
            PlanMode::Transport,
            PlanMode::Tunnel,
            PlanMode::TransportOverTunnel,
        ])?;
        let protocol = *u.choose(&[Protocol::Esp, Protocol::Ah, Protocol::AhEsp])?;
        let udp = *u.choose(&[None, Some(UdpPlace::Outer), Some(UdpPlace::Inner)])?;
        let outer = *u.choose(&[None, Some(Version::V4), Some(Version::V6)])?;
        let suites = match protocol {
            Protocol::AhEsp => &WITHIN_AH,
            _ => &ALONE,
        };
        let plan = Plan {
            shape: Shape {
                mode,
                protocol,
                ah: *u.choose(&Authentication::ALL)?,
                udp_esp: udp.filter(|place| {
                    protocol == Protocol::Esp
                        && (*place == UdpPlace::Outer || mode == PlanMode::TransportOverTunnel)
                }),
                outer: outer.filter(|_| mode != PlanMode::Transport),
            },
            suite: *u.choose(suites)?,
            icv_length: *u.choose(&[8, 12, 16])?,
            esn: u.arbitrary()?,
            keys: Keys::Seed(7),
        };
        // The last numbers of an SA are another target's.
        let low = u.arbitrary::<u32>()?.clamp(1, i32::MAX as u32);
        let high = u.arbitrary::<u32>()? & 0x7FFF_FFFF;
        Ok(Self {
            plan,
            low,
            high: if plan.esn { high } else { 0 },
        })
    }
}

impl Policy {
    /// The same without tunnels.
    pub fn in_transport_mode(mut self) -> Self {
        let shape = &mut self.plan.shape;
        (shape.mode, shape.outer) = (PlanMode::Transport, None);
        shape.udp_esp = shape.udp_esp.map(|_| UdpPlace::Outer);
        self
    }

    /// The SAs for one packet.
    pub fn sas(&self, frame: &[u8]) -> Vec<Sa> {
        let made = self.plan.make([frame].into_iter(), &Offers::EVERYTHING);
        let mut sas = made.expect("a plan that agrees with itself").sas;
        for sa in &mut sas {
            if let Some(esp) = &mut sa.esp {
                (esp.sequence, esp.sequence_high) = (self.low, self.high);
            }
            if let Some(ah) = &mut sa.ah {
                (ah.sequence, ah.sequence_high) = (self.low, self.high);
            }
        }
        sas
    }
}

/// An Ethernet frame: `payload` of this protocol behind any headers.
pub fn frame(headers: &Headers, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(LONGEST)];
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(if headers.v6 { [0x86, 0xDD] } else { [8, 0] });
    frame.extend(headers.before(protocol, payload.len()));
    frame.extend(payload);
    frame
}

/// The out-of-band data, with SAs that were added for them. None where a header is further away than they
/// can say.
pub fn request(engine: &Engine, sas: &[Sa], protection: &Protection) -> Option<SendRequest> {
    let words = |at: usize| u8::try_from((at - protection.outer.ip) / 4).ok();
    let outbound = |sa: usize| add(engine, &sas[sa], Way::Outbound);
    let (ah, esp) = (protection.outer.ah, protection.outer.esp);
    Some(SendRequest {
        ah_header_offset: ah.map_or(Some(0), |ah| words(ah.at))?,
        esp_header_offset: esp.map_or(Some(0), |esp| words(esp.at))?,
        next_header: esp.map_or(0, |esp| esp.next_header),
        pad_length: esp.map_or(0, |esp| esp.pad_len),
        transport: Some(outbound(protection.sa())),
        tunnel: protection.inner.map(|_| outbound(protection.outer.sa)),
    })
}

/// Adds an SA by the way of the driver: through the buffer of the request.
pub fn add(engine: &Engine, sa: &Sa, way: Way) -> SaHandle {
    let bytes = offload::add_sa_ex(sa, way).expect("the buffer of a request");
    let mut buffer = Buffer::zeroed(bytes.len());
    buffer.put(0, &bytes);
    let mut handle = None;
    let request = AddSaEx::new(buffer.as_mut()).expect("a whole buffer");
    let added = request.offload(|add: &AddSa<'_>| {
        let added = add.with_params(|params| engine.add_sa(&simd(), params));
        handle = added.ok();
        Ok(added.expect("an SA that the engine takes"))
    });
    added.expect("an SA that was added");
    handle.expect("its handle")
}
