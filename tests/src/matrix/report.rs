//! What was gone through, as a table.

use std::{fmt::Write, ops::AddAssign};

/// Numbers of a group of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows.
    pub rows: usize,
    /// Sound packets received.
    pub received: usize,
    /// Packets sent.
    pub sent: usize,
    /// Forged packets received.
    pub forged: usize,
    /// Of the sound ones, both ways, those that scapy judged.
    pub by_scapy: usize,
    /// Those that the RFCs with OpenSSL's primitives judged.
    pub by_rfc: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.received += other.received;
        self.sent += other.sent;
        self.forged += other.forged;
        self.by_scapy += other.by_scapy;
        self.by_rfc += other.by_rfc;
    }
}

/// A group of rows in the table.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Rows that scapy has the algorithms of, and rows that it has not.
    pub tallies: [Tally; 2],
    /// How long it took.
    pub seconds: f64,
}

/// The table as text.
pub fn table(groups: &[Group]) -> String {
    let mut text = format!(
        "{:<36} {:>7} {:>9} {:>9} {:>8} {:>9} {:>11} {:>7}\n",
        "", "rows", "received", "sent", "forged", "scapy", "RFC+OpenSSL", "s"
    );
    let mut line = |name: &str, tally: Tally, seconds: Option<f64>| {
        let Tally {
            rows,
            received,
            sent,
            forged,
            by_scapy,
            by_rfc,
        } = tally;
        let seconds = seconds.map_or(String::new(), |seconds| format!("{seconds:.1}"));
        let _ = writeln!(
            text,
            "{name:<36} {rows:>7} {received:>9} {sent:>9} {forged:>8} {by_scapy:>9} {by_rfc:>11} {seconds:>7}"
        );
    };
    let (mut total, mut all_seconds) = (Tally::default(), 0.0);
    for Group {
        name,
        tallies,
        seconds,
    } in groups
    {
        let [with_scapy, without] = *tallies;
        line(name, with_scapy, Some(*seconds));
        if without.rows > 0 {
            line("  scapy has not the algorithm", without, None);
        }
        total += with_scapy;
        total += without;
        all_seconds += seconds;
    }
    line("all", total, Some(all_seconds));
    text.push_str(
        "received, sent: sound packets, each judged by the RFCs computed with OpenSSL's primitives \
         (RFC+OpenSSL), and as many\nas are said also by scapy; both agree byte for byte. scapy \
         has no AES-GCM with an ICV of 8 or 12 bytes and no AES-GMAC in AH.\nforged: one bit \
         changed, by the status that the documentation has for it and the bytes, which stay.\n",
    );
    text
}
