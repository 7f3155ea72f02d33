//! TCP/IP's side of an adapter.

use std::fmt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ndis_sim::{
    Irql,
    ndis::{Adapter, Offload, OidRequest, OidResult, Open, SendNbl},
};
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo, NDIS_STATUS_SUCCESS, OID_GEN_CURRENT_PACKET_FILTER,
    OID_OFFLOAD_ENCAPSULATION, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
};

use super::NdisVersion;
use crate::{
    offload::{self, ADD_SA_EX_HANDLE, ADD_SA_HANDLE, Handle, Way},
    outbound::Outgoing,
    packet::ETHERNET_HEADER,
    policy::Offers,
    sas::Sa,
    split::{self, Split},
};

/// An SA that the driver did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Name of the SA.
    pub name: String,
    /// The status of the request.
    pub status: i32,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, status_name(self.status))
    }
}

/// TCP/IP's binding to one adapter.
pub struct Port {
    /// The adapter.
    pub adapter: Adapter,
    /// The binding.
    pub open: Open,
    pub(super) version: NdisVersion,
}

impl Port {
    /// What the adapter reports now.
    pub fn reported(&self) -> Result<Offload> {
        let offloads = self.adapter.offloads();
        let current = offloads.current();
        current
            .cloned()
            .context("the adapter reported no NDIS_OFFLOAD")
    }

    /// What the adapter offers now.
    pub fn offers(&self) -> Result<Offers> {
        Ok(offload::offers(&self.reported()?.ipsec_v2()))
    }

    /// Waits until the adapter has said all that there is to say of its link, and fails when it has none:
    /// nothing is sent then (keyword `LinkState`).
    pub fn expect_link(&self) -> Result<()> {
        let machine = self.adapter.machine();
        machine.settle().map_err(|check| anyhow!("{check}"))?;
        let link = self.adapter.link_state();
        ensure!(
            link.is_some_and(|link| link.MediaConnectState == ndis_sys::MediaConnectStateConnected),
            "the adapter has no link: with LinkState=1 it has one while another adapter is there"
        );
        Ok(())
    }

    /// Sets the packet filter (`NDIS_PACKET_TYPE_*`).
    pub fn set_packet_filter(&self, filter: u32) -> Result<()> {
        let request = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter.to_ne_bytes());
        expect_success(&self.open.oid(request)?, "OID_GEN_CURRENT_PACKET_FILTER")
    }

    /// Activates task offload, which starts IPsec processing of received packets.
    pub fn activate_offload(&self) -> Result<()> {
        let bytes = offload::encapsulation(ndis_sys::NDIS_OFFLOAD_SET_ON);
        let request = OidRequest::set(OID_OFFLOAD_ENCAPSULATION, bytes);
        expect_success(&self.open.oid(request)?, "OID_OFFLOAD_ENCAPSULATION")
    }

    /// Offloads SAs, by the request that the driver's NDIS version has: a handle each, or the
    /// status with which the driver refused.
    pub fn add_sas(&self, sas: &[&Sa], way: Way) -> Result<Vec<Result<Handle, Refused>>> {
        if self.version == NdisVersion::V6_30 {
            return sas.iter().map(|sa| self.add_sa_ex(sa, way)).collect();
        }
        if sas.is_empty() {
            return Ok(Vec::new());
        }
        let handles = match self.add_list(sas, way)? {
            Ok(handles) => handles,
            Err(status) if sas.len() == 1 => {
                let name = sas[0].name.clone();
                return Ok(vec![Err(Refused { name, status })]);
            }
            Err(_) => vec![0; sas.len()],
        };
        // A list tells only that an element failed; its own request tells how.
        let mut results = Vec::new();
        for (sa, handle) in sas.iter().zip(handles) {
            if handle != 0 {
                results.push(Ok(handle));
            } else {
                results.append(&mut self.add_sas(&[sa], way)?);
            }
        }
        Ok(results)
    }

    fn add_list(&self, sas: &[&Sa], way: Way) -> Result<Result<Vec<Handle>, i32>> {
        let list = offload::add_sa(sas, way)?;
        let offsets = list.offsets().to_vec();
        let request = OidRequest::set_with(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
            list.len(),
            move |base, bytes| bytes.copy_from_slice(&list.at(base as usize)),
        );
        let result = self.open.direct_oid(request, Irql::DISPATCH)?;
        if result.status != NDIS_STATUS_SUCCESS {
            return Ok(Err(result.status));
        }
        let handle = |offset| offload::handle_at(&result.buffer, offset + ADD_SA_HANDLE);
        let handles: Option<Vec<_>> = offsets.into_iter().map(handle).collect();
        let handles = handles.context("ADD_SA came back shorter")?;
        ensure!(
            handles.iter().any(|&handle| handle != 0),
            "ADD_SA succeeded without offloading any SA"
        );
        Ok(Ok(handles))
    }

    fn add_sa_ex(&self, sa: &Sa, way: Way) -> Result<Result<Handle, Refused>> {
        let buffer = offload::add_sa_ex(sa, way)?;
        let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, buffer);
        let result = self.open.direct_oid(request, Irql::DISPATCH)?;
        if result.status != NDIS_STATUS_SUCCESS {
            return Ok(Err(Refused {
                name: sa.name.clone(),
                status: result.status,
            }));
        }
        match offload::handle_at(&result.buffer, ADD_SA_EX_HANDLE) {
            Some(handle) if handle != 0 => Ok(Ok(handle)),
            _ => bail!("ADD_SA_EX succeeded without a handle for {}", sa.name),
        }
    }

    /// Offloads the SAs of this side, or says which the driver refused. The result has a handle
    /// for each SA of the file, zero for those of the other side only.
    pub fn offload(&self, sas: &[Sa], way: Way) -> Result<Vec<Handle>> {
        let is_mine = |sa: &Sa| match way {
            Way::Outbound => sa.direction.is_outbound(),
            Way::Inbound => sa.direction.is_inbound(),
        };
        let mine: Vec<&Sa> = sas.iter().filter(|sa| is_mine(sa)).collect();
        let (mut added, mut refused) = (Vec::new(), Vec::new());
        for result in self.add_sas(&mine, way)? {
            match result {
                Ok(handle) => added.push(handle),
                Err(reason) => refused.push(reason.to_string()),
            }
        }
        if !refused.is_empty() {
            self.delete_sas(&added)?;
            refused.extend(self.lacking(&mine)?);
            bail!("the driver refused SAs:\n  {}", refused.join("\n  "));
        }
        let mut added = added.into_iter();
        let handle = |sa: &Sa| is_mine(sa).then(|| added.next()).flatten().unwrap_or(0);
        Ok(sas.iter().map(handle).collect())
    }

    /// Why the adapter may take none of these SAs, as far as it reports that.
    fn lacking(&self, sas: &[&Sa]) -> Result<Option<String>> {
        let offers = self.reported()?.ipsec_v2();
        let what = match (offers.Esp, offers.Ah) {
            (0, 0) => "IPsec offload",
            (0, _) if sas.iter().any(|sa| sa.esp.is_some()) => "ESP",
            (_, 0) if sas.iter().any(|sa| sa.ah.is_some()) => "AH",
            _ => return Ok(None),
        };
        let keyword = self.adapter.keyword("*IPsecOffloadV2").unwrap_or_default();
        Ok(Some(format!(
            "the adapter offers no {what}: its keyword *IPsecOffloadV2 is {keyword:?}"
        )))
    }

    /// Takes SAs down; handles of zero are none.
    pub fn delete_sas(&self, handles: &[Handle]) -> Result<()> {
        let handles: Vec<_> = handles.iter().copied().filter(|&h| h != 0).collect();
        if handles.is_empty() {
            return Ok(());
        }
        let list = offload::delete_sa(&handles);
        let request = OidRequest::set_with(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
            list.len(),
            move |base, bytes| bytes.copy_from_slice(&list.at(base as usize)),
        );
        let result = self.open.direct_oid(request, Irql::DISPATCH)?;
        expect_success(&result, "OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA")
    }

    /// Sends one chain at DISPATCH_LEVEL.
    pub fn send(&self, nbls: Vec<SendNbl>) -> Result<()> {
        self.open.send_at(Irql::DISPATCH, nbls)?;
        Ok(())
    }
}

/// The NET_BUFFER_LIST of a packet, with its out-of-band words.
pub fn net_buffer_list(outgoing: &Outgoing, handles: &[Handle], split: Split) -> Result<SendNbl> {
    net_buffer_list_of(outgoing, handles, split, true)
}

/// The same; pages that are not `mapped` are locked, and the driver's to map.
pub fn net_buffer_list_of(
    outgoing: &Outgoing,
    handles: &[Handle],
    split: Split,
    mapped: bool,
) -> Result<SendNbl> {
    let (headers, trailer) = match &outgoing.protection {
        Ok(protection) => (protection.header_len(), protection.trailer_len()),
        Err(_) => (ETHERNET_HEADER + 20, 0),
    };
    let number = outgoing.number as u64;
    let nb = split::net_buffer(split, outgoing.frame.clone(), headers, trailer, number);
    let nb = if mapped { nb } else { nb.unmapped() };
    let nbl = SendNbl::with_net_buffers(vec![nb]).cookie(number);
    let Ok(protection) = &outgoing.protection else {
        return Ok(nbl);
    };
    // The only SA, of whichever mode, or that of the transport-mode portion.
    let nbl = nbl
        .info(
            IPsecOffloadV2NetBufferListInfo as usize,
            handles[protection.sa()],
        )
        .info(
            IPsecOffloadV2HeaderNetBufferListInfo as usize,
            offload::transmit_header(protection)?,
        );
    Ok(match protection.inner {
        None => nbl,
        Some(_) => nbl.info(
            IPsecOffloadV2TunnelNetBufferListInfo as usize,
            handles[protection.outer.sa],
        ),
    })
}

fn expect_success(result: &OidResult, what: &str) -> Result<()> {
    ensure!(
        result.status == NDIS_STATUS_SUCCESS,
        "{what}: {}",
        status_name(result.status)
    );
    Ok(())
}

/// The documented name of an NDIS_STATUS.
pub fn status_name(status: i32) -> String {
    let constants = ndis_sys::tables::CONSTANTS.iter().copied().flatten();
    constants
        .filter(|constant| constant.name.starts_with("NDIS_STATUS_"))
        .find(|constant| constant.value as i32 == status)
        .map_or_else(
            || format!("NDIS_STATUS {:#010x}", status as u32),
            |constant| constant.name.to_owned(),
        )
}
