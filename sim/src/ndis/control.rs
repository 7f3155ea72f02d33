//! The operations on adapters that tests and transports start. NDIS does one
//! after the other: what is started meanwhile waits.

use std::sync::atomic::Ordering;

use ndis_sys::{
    NDIS_PAUSE_LOW_POWER, NDIS_PAUSE_NDIS_INTERNAL, NDIS_STATUS, NDIS_STATUS_SUCCESS,
    NdisDevicePnPEventSurpriseRemoved, NdisDeviceStateD0, NdisDeviceStateD3,
    NdisHaltDeviceDisabled, NdisHaltDevicePoweredDown, NdisHaltDeviceSurpriseRemoved,
    NdisShutdownBugCheck, NdisShutdownPowerOff, OID_PM_PARAMETERS, OID_PNP_SET_POWER,
};

use super::{
    Error,
    adapter::{Adapter, AdapterState},
    lifecycle,
    link::Sleep,
    oid_answers, oid_path, reset,
};
use crate::{Irql, sync};

/// A device power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// Full power.
    D0,
    /// Off.
    D3,
}

impl Adapter {
    fn expect(&self, wanted: AdapterState, text: &'static str) -> Result<(), Error> {
        let adapter = self.state();
        if adapter == wanted {
            Ok(())
        } else {
            Err(Error::State {
                adapter,
                wanted: text,
            })
        }
    }

    fn expect_initialized(&self) -> Result<(), Error> {
        let adapter = self.state();
        match adapter {
            AdapterState::Halted | AdapterState::Initializing => Err(Error::State {
                adapter,
                wanted: "an initialized adapter",
            }),
            _ => Ok(()),
        }
    }

    /// Stops the data flow: MiniportPause. Waits until it is complete.
    ///
    /// # Errors
    /// [`Error::State`] unless the adapter runs, or the bug check that stopped
    /// the machine.
    pub fn pause(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect(AdapterState::Running, "a running adapter")?;
        Ok(self.run(None, Irql::PASSIVE, |machine, adapter| {
            lifecycle::pause(machine, adapter, NDIS_PAUSE_NDIS_INTERNAL);
        })?)
    }

    /// Starts the data flow: MiniportRestart. Waits until it is complete.
    ///
    /// # Errors
    /// [`Error::State`] unless the adapter is paused, [`Error::Status`] when the
    /// miniport fails, or the bug check that stopped the machine.
    pub fn restart(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect(AdapterState::Paused, "a paused adapter")?;
        status(self.run(None, Irql::PASSIVE, lifecycle::restart)?)
    }

    /// Resets the adapter: MiniportResetEx. Waits until it is complete.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter or a driver without
    /// MiniportResetEx, [`Error::Status`] when the miniport fails, or the bug
    /// check that stopped the machine.
    pub fn reset(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect_initialized()?;
        if self.block.driver.handlers.ResetHandlerEx.is_none() {
            return Err(Error::State {
                adapter: self.state(),
                wanted: "a driver with MiniportResetEx",
            });
        }
        status(self.run(None, Irql::PASSIVE, reset::reset)?)
    }

    /// Disables the adapter: MiniportPause if it runs, then MiniportHaltEx and
    /// MiniportRemoveDevice.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter, or the bug check that stopped the
    /// machine.
    pub fn halt(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect_initialized()?;
        Ok(self.run(None, Irql::PASSIVE, |machine, adapter| {
            lifecycle::halt(machine, adapter, NdisHaltDeviceDisabled);
            lifecycle::remove_device(machine, adapter);
        })?)
    }

    /// Enables an adapter that was disabled or removed: MiniportAddDevice, MiniportInitializeEx with what
    /// the registry has by now, MiniportRestart. It is the same interface as before; its bindings are as
    /// ProtocolBindAdapterEx makes them, without a packet filter.
    ///
    /// # Errors
    /// [`Error::State`] unless the adapter is halted, [`Error::Status`] when the miniport fails, or the bug
    /// check that stopped the machine.
    pub fn enable(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect(AdapterState::Halted, "a disabled adapter")?;
        if let Some(check) = self.machine.bug_check() {
            return Err(check.into());
        }
        self.block.removed.store(false, Ordering::Release);
        self.block.told_of_removal.store(false, Ordering::Release);
        self.block.low_power.store(false, Ordering::Release);
        *self.block.filter.lock() = Default::default();
        for open in self.block.opens.read().iter() {
            *open.filter.lock() = Default::default();
        }
        status(self.run(None, Irql::PASSIVE, |machine, adapter| {
            let status = lifecycle::add_device(machine, adapter);
            if status != NDIS_STATUS_SUCCESS {
                return status;
            }
            let status = lifecycle::initialize(machine, adapter);
            if status != NDIS_STATUS_SUCCESS {
                lifecycle::remove_device(machine, adapter);
                return status;
            }
            lifecycle::restart(machine, adapter)
        })?)
    }

    /// Tells the miniport of a surprise removal, and nothing else yet.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter, or the bug check that stopped the
    /// machine.
    pub fn notify_surprise_removal(&self) -> Result<(), Error> {
        self.expect_initialized()?;
        self.block.removed.store(true, Ordering::Release);
        self.pnp_event(NdisDevicePnPEventSurpriseRemoved, &[])?;
        self.block.told_of_removal.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes the adapter without warning: the notice, MiniportPause,
    /// MiniportHaltEx.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter, or the bug check that stopped the
    /// machine.
    pub fn surprise_remove(&self) -> Result<(), Error> {
        self.notify_surprise_removal()?;
        let _serial = sync::lock(&self.block.control);
        self.expect_initialized()?;
        Ok(self.run(None, Irql::PASSIVE, |machine, adapter| {
            lifecycle::halt(machine, adapter, NdisHaltDeviceSurpriseRemoved);
            lifecycle::remove_device(machine, adapter);
        })?)
    }

    /// Calls MiniportDevicePnPEventNotify with an NDIS_DEVICE_PNP_EVENT.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter, or the bug check that stopped the
    /// machine.
    pub fn pnp_event(&self, event: i32, information: &[u8]) -> Result<(), Error> {
        self.expect_initialized()?;
        let information = information.to_vec();
        Ok(self.run(None, Irql::PASSIVE, move |machine, adapter| {
            lifecycle::pnp_event(machine, adapter, event, &information);
        })?)
    }

    /// The system shuts down: MiniportShutdownEx at PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter, or the bug check that stopped the
    /// machine.
    pub fn shutdown(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect_initialized()?;
        Ok(self.run(None, Irql::PASSIVE, |_, adapter| {
            lifecycle::shutdown(adapter, NdisShutdownPowerOff);
        })?)
    }

    /// The system has bug-checked: MiniportShutdownEx at HIGH_LEVEL.
    ///
    /// # Errors
    /// [`Error::State`] for a halted adapter, or the bug check that stopped the
    /// machine.
    pub fn shutdown_for_bug_check(&self) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        self.expect_initialized()?;
        Ok(self.run(None, Irql::HIGH, |_, adapter| {
            lifecycle::shutdown(adapter, NdisShutdownBugCheck);
        })?)
    }

    /// Sends the adapter to sleep or wakes it. A power-managed miniport is
    /// paused and gets OID_PNP_SET_POWER; any other one is halted, and
    /// initialized again.
    ///
    /// # Errors
    /// [`Error::State`] when the adapter is not in the opposite state,
    /// [`Error::Status`] when the miniport fails to start again, or the bug
    /// check that stopped the machine.
    pub fn set_power(&self, power: PowerState) -> Result<(), Error> {
        let _serial = sync::lock(&self.block.control);
        let asleep = self.block.low_power.load(Ordering::Acquire);
        if asleep == (power == PowerState::D3) {
            return Err(Error::State {
                adapter: self.state(),
                wanted: "another power state",
            });
        }
        match power {
            PowerState::D3 => self.sleep(),
            PowerState::D0 => self.wake(),
        }
    }

    fn sleep(&self) -> Result<(), Error> {
        self.expect(AdapterState::Running, "a running adapter")?;
        Ok(self.run(None, Irql::PASSIVE, |machine, adapter| {
            lifecycle::pause(machine, adapter, NDIS_PAUSE_LOW_POWER);
            // From here on it may refuse what comes with NDIS_STATUS_LOW_POWER_STATE.
            adapter.low_power.store(true, Ordering::Release);
            if adapter.attributes.lock().power_managed {
                // "Before NDIS transitions the network adapter to the low power state, NDIS sends a set
                // request" (OID_PM_PARAMETERS): nobody has enabled anything.
                let version = adapter.driver.version;
                if version >= (6, 20) {
                    let parameters = oid_answers::power_parameters(version);
                    oid_path::set(machine, adapter, OID_PM_PARAMETERS, &parameters);
                }
                let state = NdisDeviceStateD3.to_le_bytes();
                oid_path::set(machine, adapter, OID_PNP_SET_POWER, &state);
                adapter.link.set_sleep(Sleep::Asleep);
            } else {
                lifecycle::halt(machine, adapter, NdisHaltDevicePoweredDown);
            }
        })?)
    }

    fn wake(&self) -> Result<(), Error> {
        let ended = self.run(None, Irql::PASSIVE, |machine, adapter| {
            if adapter.halted.load(Ordering::Acquire) {
                let status = lifecycle::initialize(machine, adapter);
                adapter.low_power.store(false, Ordering::Release);
                if status != NDIS_STATUS_SUCCESS {
                    return status;
                }
            } else {
                let state = NdisDeviceStateD0.to_le_bytes();
                adapter.link.set_sleep(Sleep::Awake);
                oid_path::set(machine, adapter, OID_PNP_SET_POWER, &state);
                adapter.low_power.store(false, Ordering::Release);
            }
            lifecycle::restart(machine, adapter)
        })?;
        status(ended)
    }
}

fn status(status: NDIS_STATUS) -> Result<(), Error> {
    if status == NDIS_STATUS_SUCCESS {
        Ok(())
    } else {
        Err(Error::Status(status))
    }
}
