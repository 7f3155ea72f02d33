//! IPsec Task Offload Version 2 from outside: each rule, tripped by a driver that errs in that one
//! way, and a driver that does not.

mod ndis_support;

use ndis_sim::{
    BugCheck, Irql, Rule,
    ndis::{Adapter, Collector, Error, OidRequest, Open, SendNbl, rules},
};
use ndis_support::{initialize::SA_CAPACITY, *};
use ndis_sys::*;

/// Bytes of an element of ADD_SA.
const ELEMENT: usize = size_of::<IPSEC_OFFLOAD_V2_ADD_SA>();
const GCM: u32 = IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128;

/// A list of SAs: the encryption algorithm of each, and whether it has extended sequence numbers.
fn add_sa(sas: &[(u32, bool)]) -> OidRequest {
    let sas = sas.to_vec();
    let len = ELEMENT * sas.len();
    OidRequest::set_with(
        OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
        len,
        move |base, bytes| {
            for (index, (encryption, esn)) in sas.iter().enumerate() {
                let at = index * ELEMENT;
                let mut put = |offset: usize, value: &[u8]| {
                    bytes[at + offset..at + offset + value.len()].copy_from_slice(value);
                };
                if index + 1 < sas.len() {
                    put(8, &(base as u64 + (at + ELEMENT) as u64).to_le_bytes());
                }
                put(16, &1u32.to_le_bytes());
                put(56, &0xDEAD_u64.to_le_bytes());
                put(68, &u32::from(*esn).to_le_bytes());
                put(72, &(IPsecOffloadV2Esp as u32).to_le_bytes());
                put(68 + 28, &encryption.to_le_bytes());
            }
        },
    )
}

fn handles(buffer: &[u8]) -> Vec<u64> {
    buffer
        .chunks(ELEMENT)
        .map(|element| u64::from_le_bytes(element[56..64].try_into().unwrap()))
        .collect()
}

fn update_sa(handle: u64) -> OidRequest {
    let mut bytes = vec![0; size_of::<IPSEC_OFFLOAD_V2_UPDATE_SA>()];
    bytes[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 1, 28, 0]);
    bytes[8..16].copy_from_slice(&handle.to_le_bytes());
    bytes[16..20].copy_from_slice(&(IPsecOffloadV2Esp as u32).to_le_bytes());
    bytes[24..28].copy_from_slice(&1u32.to_le_bytes());
    OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, bytes)
}

fn delete_sa(handle: u64) -> OidRequest {
    let mut bytes = vec![0; size_of::<IPSEC_OFFLOAD_V2_DELETE_SA>()];
    bytes[16..24].copy_from_slice(&handle.to_le_bytes());
    OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, bytes)
}

fn direct(open: &Open, request: OidRequest) -> Result<(i32, Vec<u8>), Error> {
    let result = open.direct_oid(request, Irql::DISPATCH)?;
    Ok((result.status, result.buffer))
}

fn send(open: &Open, collector: &Collector, handle: u64) -> Result<i32, Error> {
    let slot = IPsecOffloadV2NetBufferListInfo as usize;
    open.send(vec![SendNbl::new(frame(100)).info(slot, handle as usize)])?;
    let sent = collector.wait_sent(open.machine(), 1, PATIENCE)?;
    drop(collector.take_received());
    Ok(sent[0].status)
}

fn set(open: &Open, oid: u32) -> Result<(), Error> {
    assert_eq!(open.oid(OidRequest::set(oid, vec![0; 16]))?.status, 0);
    Ok(())
}

/// SAs come, are used, and go.
fn life_of_sas(rig: &Rig) -> Result<(), Error> {
    let driver = rig.load()?;
    let adapter: Adapter = driver.add_adapter(Rig::config())?;
    let collector = Collector::new();
    let open = adapter.open(collector.clone())?;
    receive_all(&open)?;
    for oid in [OID_OFFLOAD_ENCAPSULATION, OID_TCP_OFFLOAD_PARAMETERS] {
        set(&open, oid)?;
        // The next request: by now the change is reported.
        open.oid(OidRequest::query(OID_GEN_MAXIMUM_TOTAL_SIZE, 4))?;
    }
    // The last of the list is one too many.
    let list = vec![(GCM, true); SA_CAPACITY as usize + 1];
    let (status, buffer) = direct(&open, add_sa(&list))?;
    assert_eq!(status, NDIS_STATUS_SUCCESS);
    let [first, second, none] = handles(&buffer)[..] else {
        panic!("three handles");
    };
    assert!(first != 0 && second != 0 && first != second && none == 0);
    let (status, _) = direct(&open, add_sa(&[(GCM, false)]))?;
    assert_eq!(status, NDIS_STATUS_RESOURCES);

    assert_eq!(send(&open, &collector, first)?, NDIS_STATUS_SUCCESS);
    assert_eq!(send(&open, &collector, 0)?, NDIS_STATUS_SUCCESS);
    assert_eq!(send(&open, &collector, 0x99)?, NDIS_STATUS_FAILURE);
    assert_eq!(direct(&open, update_sa(first))?.0, NDIS_STATUS_SUCCESS);
    assert_eq!(
        direct(&open, update_sa(0x99))?.0,
        NDIS_STATUS_INVALID_PARAMETER
    );

    assert_eq!(direct(&open, delete_sa(first))?.0, NDIS_STATUS_SUCCESS);
    assert_eq!(send(&open, &collector, first)?, NDIS_STATUS_FAILURE);
    // One that is not offered, and one without extended sequence numbers.
    let other = IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128;
    let (status, buffer) = direct(&open, add_sa(&[(other, false), (GCM, false)]))?;
    assert_eq!(status, NDIS_STATUS_SUCCESS);
    let third = handles(&buffer)[1];
    assert_eq!((handles(&buffer)[0], third != 0), (0, true));
    assert_eq!(
        direct(&open, update_sa(third))?.0,
        NDIS_STATUS_INVALID_PARAMETER
    );
    for handle in [second, third] {
        assert_eq!(direct(&open, delete_sa(handle))?.0, NDIS_STATUS_SUCCESS);
    }

    adapter.notify_surprise_removal()?;
    let refused = open.oid(OidRequest::query(OID_GEN_XMIT_OK, 8))?;
    assert_eq!(refused.status, NDIS_STATUS_NOT_ACCEPTED);
    drop(open);
    adapter.halt()?;
    let leaks = driver.unload()?;
    assert!(leaks.is_clean(), "{leaks}");
    Ok(())
}

/// A list that is not reported as expected may trip an assertion of the test instead: the machine
/// has stopped by then.
fn trips_sas(misdeed: Misdeed, rule: Rule) -> BugCheck {
    let rig = Rig::new(Plan::new((6, 20)).with(misdeed));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life_of_sas(&rig)));
    let check = match outcome {
        Ok(Err(Error::BugCheck(check))) => check,
        other => panic!(
            "{misdeed:?} was not noticed: {other:?}\n{}",
            rig.machine.report()
        ),
    };
    assert_eq!(check.rule(), rule, "{misdeed:?}\n{check}");
    check
}

#[test]
fn a_driver_that_keeps_the_rules_is_left_alone() {
    let rig = Rig::new(Plan::new((6, 20)));
    life_of_sas(&rig).unwrap();
    assert!(rig.machine.report().is_clean(), "{}", rig.machine.report());
}

#[test]
fn requests_for_sas() {
    let check = trips_sas(Misdeed::AddNoHandle, rules::IPSEC_ADD_HANDLES);
    assert!(
        check.message().contains("no OffloadHandle of it"),
        "{check}"
    );
    let check = trips_sas(Misdeed::AddUnwritten, rules::IPSEC_ADD_HANDLES);
    assert!(check.message().contains("was not written"), "{check}");
    let check = trips_sas(Misdeed::AddFailedHandle, rules::IPSEC_ADD_HANDLES);
    assert!(check.message().contains("it failed"), "{check}");
    let check = trips_sas(Misdeed::ReuseHandle, rules::IPSEC_HANDLE_REUSED);
    assert!(check.message().contains("was not deleted"), "{check}");
    let check = trips_sas(Misdeed::UpdateForgets, rules::IPSEC_HANDLE_REUSED);
    assert!(check.message().contains("it is refused"), "{check}");
    let check = trips_sas(Misdeed::OverCapacity, rules::IPSEC_CAPACITY);
    assert!(
        check
            .message()
            .contains("there are 3 SAs now; SaOffloadCapacity is 2"),
        "{check}"
    );
    trips_sas(Misdeed::UpdateUnknown, rules::IPSEC_UPDATE_UNKNOWN);
    trips_sas(Misdeed::UpdateUnknownOdd, rules::IPSEC_UPDATE_UNKNOWN);
    let check = trips_sas(Misdeed::AddBeyondCapability, rules::IPSEC_CAPABILITY);
    assert!(check.message().contains("EncryptionAlgorithms"), "{check}");
}

/// The update found its SA; the deletion is complete before it. Neither is wrong.
#[test]
fn an_update_may_outlive_its_sa() {
    let mut plan = Plan::new((6, 20));
    plan.slow_update = true;
    let rig = Rig::new(plan);
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let open = adapter.open(Collector::new()).unwrap();
    let (status, buffer) = direct(&open, add_sa(&[(GCM, true)])).unwrap();
    assert_eq!(status, NDIS_STATUS_SUCCESS);
    let handle = handles(&buffer)[0];
    std::thread::scope(|scope| {
        let update = scope.spawn(|| direct(&open, update_sa(handle)));
        while rig.plan.notes.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let deleted = direct(&open, delete_sa(handle)).unwrap();
        assert_eq!(deleted.0, NDIS_STATUS_SUCCESS);
        assert_eq!(update.join().unwrap().unwrap().0, NDIS_STATUS_SUCCESS);
    });
    assert_eq!(
        direct(&open, update_sa(handle)).unwrap().0,
        NDIS_STATUS_INVALID_PARAMETER
    );
    drop(open);
    adapter.halt().unwrap();
    assert!(driver.unload().unwrap().is_clean());
}

/// While the configuration is being changed, the miniport knows of the new one and has not indicated it: an
/// SA may be of any that the hardware can have, and of no other.
#[test]
fn an_sa_that_is_added_amid_a_change_is_one_that_the_hardware_can_have() {
    const CBC: u32 = IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128;
    let add = |hardware: Deed, amid: bool| {
        let mut plan = Plan::new((6, 20)).with(Misdeed::AddBeyondCapability);
        plan.slow_change = amid;
        let rig = Rig::new(plan.doing(At::Offload, hardware));
        let driver = rig.load().unwrap();
        let adapter = driver.add_adapter(Rig::config()).unwrap();
        let open = adapter.open(Collector::new()).unwrap();
        let added = std::thread::scope(|scope| {
            if amid {
                scope.spawn(|| set(&open, OID_TCP_OFFLOAD_PARAMETERS));
                while rig.plan.notes.lock().unwrap().is_empty() {
                    std::thread::yield_now();
                }
            }
            direct(&open, add_sa(&[(CBC, false)]))
        });
        added.map_err(|error| error.bug_check().map(BugCheck::rule))
    };
    let more: Deed = |_, attributes| {
        let attributes = attributes as *mut NDIS_MINIPORT_ADAPTER_OFFLOAD_ATTRIBUTES;
        // SAFETY: the attributes, with the driver's structure that they point to.
        unsafe {
            (*(*attributes).HardwareOffloadCapabilities)
                .IPsecV2
                .EncryptionAlgorithms |= CBC
        };
        None
    };
    let (status, buffer) = add(more, true).unwrap();
    assert_eq!((status, handles(&buffer)[0] != 0), (0, true));
    for (hardware, amid) in [(more, false), (|_, _| None, true)] {
        let refused = add(hardware, amid).unwrap_err();
        assert_eq!(refused, Some(rules::IPSEC_CAPABILITY), "amid: {amid}");
    }
}

#[test]
fn sends_that_name_sas() {
    let check = trips_sas(Misdeed::SendUnknown, rules::IPSEC_UNKNOWN_HANDLE);
    let life: Vec<&String> = check.histories().iter().flat_map(|h| &h.events).collect();
    assert!(
        life.iter().any(|e| e.contains("completed with status")) || life.len() == 1,
        "{check}"
    );
}

/// A frame of a length that is right is no reason to call it wrong.
#[test]
fn sends_that_name_no_sa_fail_with_the_status_for_that() {
    let check = trips_sas(Misdeed::SendUnknownLength, rules::IPSEC_UNKNOWN_HANDLE);
    assert!(check.message().contains("0xc0010014"), "{check}");
}

#[test]
fn words_of_received_packets() {
    trips(Misdeed::CryptoEarly, rules::IPSEC_BEFORE_ENCAPSULATION);
    trips(Misdeed::NextAlone, rules::IPSEC_NEXT_CRYPTO_DONE);
    trips(Misdeed::StampReserved, rules::IPSEC_STAMP);
    trips(Misdeed::StampStatus, rules::IPSEC_STAMP);
}

#[test]
fn the_configuration_is_reported() {
    trips_sas(Misdeed::KeepConfiguration, rules::OFFLOAD_INDICATION);
    trips(Misdeed::ExcessConfiguration, rules::OFFLOAD_INDICATION);
    trips(Misdeed::ExcessChecksum, rules::OFFLOAD_INDICATION);
    trips(Misdeed::ExcessDefault, rules::OFFLOAD_INDICATION);
}

/// An adapter that runs, and a binding.
fn running(misdeed: Misdeed) -> (Rig, Adapter, Open) {
    let rig = Rig::new(Plan::new((6, 30)).with(misdeed));
    let driver = rig.load().unwrap();
    let adapter = driver.add_adapter(Rig::config()).unwrap();
    let open = adapter.open(Collector::new()).unwrap();
    (rig, adapter, open)
}

/// Nothing is asked any more, and still the last change has to be reported.
#[test]
fn the_last_change_is_reported_before_the_end() {
    let last = |after: fn(&Adapter) -> Result<(), Error>| {
        let (_rig, adapter, open) = running(Misdeed::KeepConfiguration);
        set(&open, OID_TCP_OFFLOAD_PARAMETERS).unwrap();
        after(&adapter).unwrap_err()
    };
    for after in [Adapter::pause, Adapter::halt] {
        let error = last(after);
        let check = error.bug_check().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(check.rule(), rules::OFFLOAD_INDICATION, "{check}");
        assert!(check.message().contains("was not followed"), "{check}");
    }
    // One that was asked for while the adapter was paused.
    let (_rig, adapter, open) = running(Misdeed::KeepConfiguration);
    adapter.pause().unwrap();
    set(&open, OID_TCP_OFFLOAD_PARAMETERS).unwrap();
    let error = adapter.halt().unwrap_err();
    let check = error.bug_check().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(check.rule(), rules::OFFLOAD_INDICATION, "{check}");
}

#[test]
fn what_is_switched_off_is_reported_as_off() {
    let at = std::mem::offset_of!(NDIS_OFFLOAD_PARAMETERS, IPv4Checksum);
    let mut parameters = vec![0; size_of::<NDIS_OFFLOAD_PARAMETERS>()];
    parameters[at] = NDIS_OFFLOAD_PARAMETERS_TX_RX_DISABLED;
    let ask = |misdeed| {
        let (rig, _adapter, open) = running(misdeed);
        let oid = OidRequest::set(OID_TCP_OFFLOAD_PARAMETERS, parameters.clone());
        (open.oid(oid), rig)
    };
    assert_eq!(ask(Misdeed::None).0.unwrap().status, NDIS_STATUS_SUCCESS);
    let error = ask(Misdeed::LeaveOn).0.unwrap_err();
    let check = error.bug_check().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(check.rule(), rules::OFFLOAD_INDICATION, "{check}");
    assert!(
        check.message().contains("IPv4Checksum is switched off"),
        "{check}"
    );
}

#[test]
fn a_removed_adapter_refuses() {
    trips_sas(Misdeed::AnswerRemoved, rules::OID_AFTER_REMOVAL);
}
