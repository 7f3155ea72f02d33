//! Where the IPsec headers of a framed packet are, portion by portion.
//!
//! A packet has one portion per SA: its transport-mode portion, its tunnel-mode portion, or the
//! one within the other ("transport over tunnel").
//!
//! ```text
//!  transport            Ethernet | IP | [AH] | [UDP] | ESP ... payload ... trailer | ICV
//!  tunnel               Ethernet | outer IP | [AH] | [UDP] | ESP | IP | payload ... | ICV
//!  transport over it    Ethernet | outer IP | ... | ESP | IP | [AH] | [UDP] | ESP ... | ICV ... | ICV
//! ```

/// How a packet is protected. Offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The only portion, or that of the tunnel.
    pub outer: Portion,
    /// In a tunnel: the transport-mode portion of the packet that it carries.
    pub inner: Option<Portion>,
}

/// What one SA does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Index of the SA in its file.
    pub sa: usize,
    /// The IP header in front of the SA's headers.
    pub ip: usize,
    /// The AH header.
    pub ah: Option<AhPortion>,
    /// The ESP header.
    pub esp: Option<EspPortion>,
    /// Where what is protected begins.
    pub payload: usize,
    /// Bytes behind the payload: padding, ESP trailer, ICV.
    pub trailer_len: usize,
}

/// An AH header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AhPortion {
    /// Where it is.
    pub at: usize,
    /// Sequence number, high half included.
    pub sequence: u64,
}

/// An ESP header and its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspPortion {
    /// Where the header is.
    pub at: usize,
    /// Sequence number, high half included.
    pub sequence: u64,
    /// Next header in the trailer.
    pub next_header: u8,
    /// Padding bytes in front of the trailer.
    pub pad_len: u8,
}

impl Protection {
    /// The portions, from the inside out: the order in which they are sealed.
    pub fn portions(&self) -> impl DoubleEndedIterator<Item = &Portion> {
        self.inner.iter().chain([&self.outer])
    }

    /// Index of the SA that chose the packet: that of the transport-mode portion if there is one.
    pub fn sa(&self) -> usize {
        self.inner.unwrap_or(self.outer).sa
    }

    /// The innermost ESP header.
    pub fn esp(&self) -> Option<EspPortion> {
        self.portions().find_map(|portion| portion.esp)
    }

    /// Bytes from the start of the frame to the innermost payload.
    pub fn header_len(&self) -> usize {
        self.inner.unwrap_or(self.outer).payload
    }

    /// How far what is protected has moved, when the packet ended at `plain_end` before it was framed
    /// and ends at `end` now.
    pub fn moved(&self, plain_end: usize, end: usize) -> usize {
        end - self.trailer_len() - plain_end
    }

    /// Whether the innermost payload is an IP packet: the one whose header would be at `ip` now.
    pub fn carries_ip(&self, ip: usize) -> bool {
        self.header_len() <= ip
    }

    /// Bytes behind the innermost payload.
    pub fn trailer_len(&self) -> usize {
        self.portions().map(|portion| portion.trailer_len).sum()
    }
}

impl Portion {
    /// The portion in a packet that was moved: into a tunnel.
    pub fn shifted(self, by: usize) -> Self {
        Self {
            ip: self.ip + by,
            ah: self.ah.map(|ah| AhPortion {
                at: ah.at + by,
                ..ah
            }),
            esp: self.esp.map(|esp| EspPortion {
                at: esp.at + by,
                ..esp
            }),
            payload: self.payload + by,
            ..self
        }
    }
}
