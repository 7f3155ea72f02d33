//! The machine: A sends with SAs, B receives with SAs, and T, without any, puts ready frames on
//! the wire and sees what A sends.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ndis_sim::ndis::{AdapterConfig, SendNbl};
use ndis_sys::{
    NDIS_IPSEC_OFFLOAD_V2, NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS,
    NDIS_STATUS_SUCCESS,
};
use tcpip::{
    lab::{HARDWARE_ID, Lab, NdisVersion, PATIENCE, Port, status_name},
    offload::{Handle, Way},
    recorder::{Indicated, Recorder},
    sas::Sa,
};

use super::row::Family;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xA];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xB];
const T: [u8; 6] = [2, 0, 0, 0, 0, 0x7];

/// An adapter and what its protocol has seen.
struct Side {
    port: Port,
    recorder: Arc<Recorder>,
}

impl Side {
    fn start(lab: &Lab, mac: [u8; 6], filter: u32, legacy: bool) -> Result<Self> {
        let recorder = Recorder::on(lab.machine());
        let config = AdapterConfig::new(HARDWARE_ID)
            .mac(mac)
            .keyword("*JumboPacket", "9014")
            .keyword("*PriorityVLANTag", "0")
            .keyword("LegacyAlgorithms", if legacy { "1" } else { "0" });
        let port = lab.port_with(config, recorder.clone())?;
        port.set_packet_filter(filter)?;
        port.activate_offload()?;
        Ok(Self { port, recorder })
    }

    /// Sends lists in one chain, and waits until all are complete.
    fn send(&self, lists: Vec<SendNbl>) -> Result<()> {
        let count = lists.len();
        let numbered = lists.into_iter().zip(0..);
        self.port
            .send(numbered.map(|(list, number)| list.cookie(number)).collect())?;
        let completed = self.recorder.take_completed(count, PATIENCE);
        ensure!(
            completed.len() == count,
            "{} of {count} sends are complete",
            completed.len()
        );
        for one in completed {
            ensure!(
                one.status == NDIS_STATUS_SUCCESS,
                "packet {} of the chain: {}",
                one.cookie,
                status_name(one.status)
            );
        }
        Ok(())
    }

    fn received(&self, count: usize) -> Result<Vec<Indicated>> {
        let received = self.recorder.take_received(count, PATIENCE);
        ensure!(
            received.len() == count,
            "{} of {count} packets came up",
            received.len()
        );
        Ok(received)
    }
}

/// The machine with its adapters.
pub struct Bench {
    lab: Lab,
    a: Side,
    b: Side,
    t: Side,
}

impl Bench {
    /// Starts it.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(version: NdisVersion, legacy: bool) -> Result<Self> {
        let lab = Lab::start(&crate::lab_options(version))?;
        let side = |mac, filter| Side::start(&lab, mac, filter, legacy);
        Ok(Self {
            a: side(A, NDIS_PACKET_TYPE_DIRECTED)?,
            b: side(B, NDIS_PACKET_TYPE_DIRECTED)?,
            t: side(T, NDIS_PACKET_TYPE_PROMISCUOUS)?,
            lab,
        })
    }

    /// What the adapter says that it does.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn advertised(&self) -> Result<NDIS_IPSEC_OFFLOAD_V2> {
        let offloads = self.a.port.adapter.offloads();
        let current = offloads.current().context("no NDIS_OFFLOAD")?;
        Ok(current.ipsec_v2())
    }

    /// Offloads SAs to A or B.
    ///
    /// # Errors
    /// When the driver refuses one.
    pub fn offload(&self, sas: &[Sa], way: Way) -> Result<Vec<Handle>> {
        self.side(way).port.offload(sas, way)
    }

    /// Takes them down.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn delete(&self, handles: &[Handle], way: Way) -> Result<()> {
        self.side(way).port.delete_sas(handles)
    }

    fn side(&self, way: Way) -> &Side {
        match way {
            Way::Outbound => &self.a,
            Way::Inbound => &self.b,
        }
    }

    /// Puts frames on the wire; as B indicates them.
    ///
    /// # Errors
    /// When one is not sent or lost.
    pub fn receive(&self, lists: Vec<SendNbl>) -> Result<Vec<Indicated>> {
        let count = lists.len();
        self.t.send(lists)?;
        self.b.received(count)
    }

    /// Sends from A; the frames that T sees.
    ///
    /// # Errors
    /// When one is not sent or lost.
    pub fn send(&self, lists: Vec<SendNbl>) -> Result<Vec<Vec<u8>>> {
        let count = lists.len();
        self.a.send(lists)?;
        let received = self.t.received(count)?;
        Ok(received.into_iter().map(|one| one.frame).collect())
    }

    /// Stops everything; nothing may be left over.
    ///
    /// # Errors
    /// When something is.
    pub fn finish(self) -> Result<()> {
        let Self { lab, a, b, t } = self;
        lab.machine().settle()?;
        for side in [&a, &b, &t] {
            let more = side.recorder.take_received(1, std::time::Duration::ZERO);
            ensure!(more.is_empty(), "{} packets too many", more.len());
        }
        drop((a, b, t));
        lab.finish()
    }
}

/// A frame for B.
pub fn to_b(family: Family, packet: &[u8]) -> Vec<u8> {
    frame(B, T, family, packet)
}

/// A frame that A sends.
pub fn from_a(family: Family, packet: &[u8]) -> Vec<u8> {
    frame(T, A, family, packet)
}

fn frame(to: [u8; 6], from: [u8; 6], family: Family, packet: &[u8]) -> Vec<u8> {
    let ethertype = match family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xDD],
    };
    [&to, &from, ethertype.as_slice(), packet].concat()
}
