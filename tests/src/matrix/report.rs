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

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The group of rows.
    pub group: String,
    /// What there was.
    pub tally: Tally,
    /// How long it took.
    pub seconds: f64,
}

/// The table as text.
pub fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    let head = ["rows", "received", "sent", "forged", "scapy", "RFC+OpenSSL"];
    let _ = writeln!(
        text,
        "{:<56} {:>6} {:>9} {:>9} {:>8} {:>9} {:>11} {:>7}",
        "", head[0], head[1], head[2], head[3], head[4], head[5], "s"
    );
    let mut line = |group: &str, tally: Tally, seconds: f64| {
        let Tally {
            rows,
            received,
            sent,
            forged,
            by_scapy,
            by_rfc,
        } = tally;
        let _ = writeln!(
            text,
            "{group:<56} {rows:>6} {received:>9} {sent:>9} {forged:>8} {by_scapy:>9} {by_rfc:>11} {seconds:>7.1}"
        );
    };
    let (mut total, mut seconds) = (Tally::default(), 0.0);
    for one in lines {
        line(&one.group, one.tally, one.seconds);
        total += one.tally;
        seconds += one.seconds;
    }
    line("all", total, seconds);
    text
}
