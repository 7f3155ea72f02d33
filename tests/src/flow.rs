//! Flows of packets that can be judged each on its own: whatever comes up, in whatever order and whatever
//! was lost, its bytes tell which packet of which flow it is, and so what it must look like.

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use ndis_sim::ndis::SendNbl;
use ndis_sys::{
    CRYPTO_SUCCESS, CRYPTO_TRANSPORT_ESP_AUTH_FAILED, IPsecOffloadV2HeaderNetBufferListInfo,
    IPsecOffloadV2NetBufferListInfo,
};
use tcpip::{
    algorithm::Suite,
    compare::{difference, same_on_the_link},
    offload::{Handle, ReceiveStamp, transmit_header},
    outbound::{Outgoing, Sender, expected_on_wire},
    packet::{Layout, PROTOCOL_ESP},
    policy::{Keys, Offers, make_sas},
    recorder::Indicated,
    sas::{Esp, Sa},
    split::Split,
    verify::{check_received, check_untouched},
};

/// Where the first MDL of a frame split by headers ends.
const LINK_AND_IP: usize = 34;
const PORT: u16 = 7000;
/// Number and flow at the front of the UDP payload.
const MARK: usize = 12;
const FIRST_SPI: u32 = 0x2000_0000;

/// Packets from one station to another, protected by one SA or by none.
#[derive(Clone, Debug)]
pub struct Flow {
    id: u32,
    stations: [[u8; 6]; 2],
    ipv6: bool,
    longest: usize,
    /// None, or the one SA.
    sas: Vec<Sa>,
}

/// How a packet came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It has no SA, and no stamp.
    Clear,
    /// The driver has decrypted it, and found it authentic.
    Verified,
    /// As it was on the wire, and without a stamp: software's job.
    Untouched,
    /// As it was on the wire, sealed right, and the driver found it not to be authentic: only where the
    /// high half of its extended sequence number cannot be known.
    Unauthentic,
    /// Its SA was not applied: only where IPsec offload was switched off.
    Unsealed,
}

impl Flow {
    /// Packets that no SA protects, with up to `longest` bytes of UDP payload.
    #[must_use]
    pub fn clear(id: u32, from: [u8; 6], to: [u8; 6], ipv6: bool, longest: usize) -> Self {
        Self {
            id,
            stations: [from, to],
            ipv6,
            longest,
            sas: Vec::new(),
        }
    }

    /// The same under an ESP SA of this suite. Keys come from the number of the flow.
    ///
    /// # Panics
    /// If no such SA can be made.
    #[must_use]
    pub fn protected(mut self, suite: impl Into<Suite>, icv_length: usize) -> Self {
        let plain = self.plain(0);
        let file = make_sas(
            [plain.as_slice()].into_iter(),
            &Offers::EVERYTHING,
            suite,
            icv_length,
            Keys::Seed(self.id.into()),
        )
        .expect("an SA");
        self.sas = file.sas;
        self.esp().spi.0 = FIRST_SPI + self.id;
        self
    }

    /// With extended sequence numbers that start with `first`.
    ///
    /// # Panics
    /// Without an SA.
    #[must_use]
    pub fn extended(mut self, first: u64) -> Self {
        let esp = self.esp();
        esp.esn = true;
        (esp.sequence_high, esp.sequence) = ((first >> 32) as u32, first as u32);
        self
    }

    fn esp(&mut self) -> &mut Esp {
        self.sas[0].esp.as_mut().expect("an ESP SA")
    }

    /// Its SA.
    #[must_use]
    pub fn sa(&self) -> Option<&Sa> {
        self.sas.first()
    }

    fn first_sequence(&self) -> u64 {
        let esp = self.sas.first().and_then(|sa| sa.esp.as_ref());
        esp.map_or(0, |esp| {
            u64::from(esp.sequence_high) << 32 | u64::from(esp.sequence)
        })
    }

    /// Packet `number` as an Ethernet frame. Contents and length depend on flow and number only.
    ///
    /// # Panics
    /// If it does not fit into an IP packet.
    #[must_use]
    pub fn plain(&self, number: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(number << 20 ^ u64::from(self.id));
        let mut payload = vec![0; MARK + random.usize(..=self.longest.saturating_sub(MARK))];
        random.fill(&mut payload);
        payload[..8].copy_from_slice(&number.to_be_bytes());
        payload[8..MARK].copy_from_slice(&self.id.to_be_bytes());
        let [from, to] = self.stations;
        let link = PacketBuilder::ethernet2(from, to);
        let [_, a, b, c] = self.id.to_be_bytes();
        let builder = if self.ipv6 {
            let address = |last| [0x20, 1, 0xd, 0xb8, a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, last];
            link.ipv6(address(1), address(2), 64)
        } else {
            let address = |last| [10, b, c, last];
            link.ipv4(address(1), address(2), 64)
        };
        let mut frame = Vec::new();
        builder
            .udp(PORT, PORT)
            .write(&mut frame, &payload)
            .expect("it fits");
        frame
    }

    /// Packet `number` as TCP/IP hands it down.
    ///
    /// # Panics
    /// If the sequence numbers of the SA are used up.
    #[must_use]
    pub fn outgoing(&self, number: u64) -> Outgoing {
        let mut sas = self.sas.clone();
        if let Some(esp) = sas.first_mut().and_then(|sa| sa.esp.as_mut()) {
            let sequence = self.first_sequence() + number;
            (esp.sequence_high, esp.sequence) = ((sequence >> 32) as u32, sequence as u32);
        }
        Sender::new(&sas, Offers::EVERYTHING)
            .prepare(number as usize, &self.plain(number))
            .expect("a packet that can be framed")
    }

    /// The NET_BUFFER_LIST of packet `number`, with `cookie` as the sender's own number. Locked pages
    /// that are not `mapped` are the driver's to map.
    ///
    /// # Panics
    /// As [`Flow::outgoing`].
    #[must_use]
    pub fn nbl(
        &self,
        number: u64,
        handle: Handle,
        split: Split,
        mapped: bool,
        cookie: u64,
    ) -> SendNbl {
        let Outgoing {
            frame, protection, ..
        } = self.outgoing(number);
        let nb = split.net_buffer(frame, LINK_AND_IP, 0, number);
        let nb = if mapped { nb } else { nb.unmapped() };
        let nbl = SendNbl::with_net_buffers(vec![nb]).cookie(cookie).compact();
        match protection {
            Err(_) => nbl,
            Ok(protection) => nbl
                .info(IPsecOffloadV2NetBufferListInfo as usize, handle)
                .info(
                    IPsecOffloadV2HeaderNetBufferListInfo as usize,
                    transmit_header(&protection).expect("an offset that can be named"),
                ),
        }
    }

    /// Judges an indicated frame of this flow.
    fn judge(&self, number: u64, seen: &Indicated) -> Result<Came> {
        let outgoing = self.outgoing(number);
        let stamp = ReceiveStamp {
            sa_delete_req: false,
            ..seen.stamp
        };
        let verified = stamp.crypto_done && stamp.crypto_status == CRYPTO_SUCCESS;
        if self.sas.is_empty() || verified {
            check_received(&outgoing, seen, &self.sas, &outgoing.plain)?;
            return Ok(if verified {
                Came::Verified
            } else {
                Came::Clear
            });
        }
        let failed = ReceiveStamp {
            crypto_done: true,
            crypto_status: CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
            ..ReceiveStamp::NONE
        };
        if stamp != failed {
            check_untouched(seen)?;
        }
        if same_on_the_link(&seen.frame, &outgoing.frame) {
            return Ok(Came::Unsealed);
        }
        let expected = expected_on_wire(&outgoing, &self.sas, &seen.frame)?;
        ensure!(
            same_on_the_link(&seen.frame, &expected),
            difference(&seen.frame, &expected)
        );
        Ok(if stamp == failed {
            Came::Unauthentic
        } else {
            Came::Untouched
        })
    }
}

/// Flows with different numbers.
#[derive(Clone, Debug, Default)]
pub struct Flows(pub Vec<Flow>);

impl Flows {
    /// Which packet of which flow (its index) a frame is, and how it came up.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn judge(&self, seen: &Indicated) -> Result<(usize, u64, Came)> {
        let (index, number) = self.identify(&seen.frame)?;
        let came = self.0[index]
            .judge(number, seen)
            .with_context(|| format!("packet {number} of flow {}", self.0[index].id))?;
        Ok((index, number, came))
    }

    /// Which packet of which flow (its index) a frame says that it is.
    ///
    /// # Errors
    /// When it is of none.
    pub fn identify(&self, frame: &[u8]) -> Result<(usize, u64)> {
        let layout = Layout::of(frame)?;
        let payload = &frame[layout.payload..layout.end];
        Ok(if layout.protocol == PROTOCOL_ESP {
            let word = |at: usize| payload.get(at..at + 4)?.try_into().ok();
            let word = |at| word(at).map(u32::from_be_bytes).context("a short packet");
            let (spi, sequence) = (word(0)?, word(4)?);
            let index = self.index(spi.wrapping_sub(FIRST_SPI))?;
            let first = self.0[index].first_sequence() as u32;
            (index, u64::from(sequence.wrapping_sub(first)))
        } else {
            let mark = payload.get(8..8 + MARK).context("a short packet")?;
            let (number, id) = mark.split_at(8);
            let id = u32::from_be_bytes(id.try_into()?);
            (self.index(id)?, u64::from_be_bytes(number.try_into()?))
        })
    }

    fn index(&self, id: u32) -> Result<usize> {
        let index = self.0.iter().position(|flow| flow.id == id);
        index.with_context(|| format!("no flow has the number {id:#x}"))
    }
}
