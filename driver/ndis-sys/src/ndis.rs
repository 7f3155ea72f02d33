//! The imports from ndis.sys. Every one is exported by Windows 7's ndis.sys and later ones.
//! The IRQL named is the highest at which the call is allowed, from the page of that function.
//! Spin locks, events and string functions of NDIS are macros over ntoskrnl: see `ntoskrnl`.

use crate::adapter::NDIS_MINIPORT_ADAPTER_ATTRIBUTES;
use crate::basic::*;
use crate::config::{NDIS_CONFIGURATION_OBJECT, NDIS_CONFIGURATION_PARAMETER, NDIS_PARAMETER_TYPE};
use crate::miniport::{CM_RESOURCE_LIST, NDIS_MINIPORT_DRIVER_CHARACTERISTICS};
use crate::nbl::*;
use crate::oid_request::NDIS_OID_REQUEST;
use crate::status::NDIS_STATUS_INDICATION;
use crate::table::imports;
use crate::timer::*;
use crate::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, MDL};

imports! { FUNCTIONS:
    // The driver and its adapters

    /// Registers the driver; from DriverEntry. PASSIVE_LEVEL.
    fn NdisMRegisterMiniportDriver(DriverObject: *mut DRIVER_OBJECT, RegistryPath: *mut UNICODE_STRING, MiniportDriverContext: NDIS_HANDLE, MiniportDriverCharacteristics: *mut NDIS_MINIPORT_DRIVER_CHARACTERISTICS, NdisMiniportDriverHandle: *mut NDIS_HANDLE) -> NDIS_STATUS;
    /// Undoes it; from MiniportDriverUnload. PASSIVE_LEVEL.
    fn NdisMDeregisterMiniportDriver(NdisMiniportDriverHandle: NDIS_HANDLE);
    /// Sets attributes of an adapter; from MiniportInitializeEx. PASSIVE_LEVEL.
    fn NdisMSetMiniportAttributes(NdisMiniportHandle: NDIS_HANDLE, MiniportAttributes: *mut NDIS_MINIPORT_ADAPTER_ATTRIBUTES) -> NDIS_STATUS;
    /// The device objects and resources of an adapter; from MiniportInitializeEx. PASSIVE_LEVEL.
    fn NdisMGetDeviceProperty(MiniportAdapterHandle: NDIS_HANDLE, PhysicalDeviceObject: *mut *mut DEVICE_OBJECT, FunctionalDeviceObject: *mut *mut DEVICE_OBJECT, NextDeviceObject: *mut *mut DEVICE_OBJECT, AllocatedResources: *mut *mut CM_RESOURCE_LIST, AllocatedResourcesTranslated: *mut *mut CM_RESOURCE_LIST);
    /// Completes a pause that pended. IRQL <= DISPATCH_LEVEL.
    fn NdisMPauseComplete(MiniportAdapterHandle: NDIS_HANDLE);
    /// Completes a restart that pended. IRQL <= DISPATCH_LEVEL.
    fn NdisMRestartComplete(MiniportAdapterHandle: NDIS_HANDLE, Status: NDIS_STATUS);
    /// Completes a reset that pended. DISPATCH_LEVEL.
    fn NdisMResetComplete(MiniportAdapterHandle: NDIS_HANDLE, Status: NDIS_STATUS, AddressingReset: BOOLEAN);
    /// Asks for the adapter to be removed; NDIS halts it later. IRQL <= DISPATCH_LEVEL.
    fn NdisMRemoveMiniport(MiniportHandle: NDIS_HANDLE) -> NDIS_STATUS;
    /// Indicates a status. IRQL <= DISPATCH_LEVEL.
    fn NdisMIndicateStatusEx(MiniportAdapterHandle: NDIS_HANDLE, StatusIndication: *mut NDIS_STATUS_INDICATION);
    /// Completes an OID that pended. IRQL <= DISPATCH_LEVEL.
    fn NdisMOidRequestComplete(MiniportAdapterHandle: NDIS_HANDLE, OidRequest: *mut NDIS_OID_REQUEST, Status: NDIS_STATUS);
    /// Completes a direct OID that pended. IRQL <= DISPATCH_LEVEL.
    fn NdisMDirectOidRequestComplete(MiniportAdapterHandle: NDIS_HANDLE, OidRequest: *mut NDIS_OID_REQUEST, Status: NDIS_STATUS);
    /// Writes an event to the system log. Variadic in C; pass 0 as `NumberOfErrorValues`. IRQL <= DISPATCH_LEVEL.
    fn NdisWriteErrorLogEntry(NdisAdapterHandle: NDIS_HANDLE, ErrorCode: ULONG, NumberOfErrorValues: ULONG);
    /// The NDIS version of the system, see [`NDIS_RUNTIME_VERSION_630`](crate::NDIS_RUNTIME_VERSION_630). IRQL <= DISPATCH_LEVEL.
    fn NdisGetVersion() -> UINT;
    /// Makes a control device. PASSIVE_LEVEL.
    fn NdisRegisterDeviceEx(NdisHandle: NDIS_HANDLE, DeviceObjectAttributes: *mut NDIS_DEVICE_OBJECT_ATTRIBUTES, pDeviceObject: *mut *mut DEVICE_OBJECT, NdisDeviceHandle: *mut NDIS_HANDLE) -> NDIS_STATUS;
    /// Removes it. PASSIVE_LEVEL.
    fn NdisDeregisterDeviceEx(NdisDeviceHandle: NDIS_HANDLE);

    // Packets

    /// Completes sends. IRQL <= DISPATCH_LEVEL.
    fn NdisMSendNetBufferListsComplete(MiniportAdapterHandle: NDIS_HANDLE, NetBufferList: *mut NET_BUFFER_LIST, SendCompleteFlags: ULONG);
    /// Indicates received packets. IRQL <= DISPATCH_LEVEL.
    fn NdisMIndicateReceiveNetBufferLists(MiniportAdapterHandle: NDIS_HANDLE, NetBufferList: *mut NET_BUFFER_LIST, PortNumber: NDIS_PORT_NUMBER, NumberOfNetBufferLists: ULONG, ReceiveFlags: ULONG);
    /// Makes a pool of NET_BUFFER_LISTs; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateNetBufferListPool(NdisHandle: NDIS_HANDLE, Parameters: *const NET_BUFFER_LIST_POOL_PARAMETERS) -> NDIS_HANDLE;
    /// Frees it; all lists must be back. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeNetBufferListPool(PoolHandle: NDIS_HANDLE);
    /// Makes a pool of NET_BUFFERs; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateNetBufferPool(NdisHandle: NDIS_HANDLE, Parameters: *const NET_BUFFER_POOL_PARAMETERS) -> NDIS_HANDLE;
    /// Frees it. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeNetBufferPool(PoolHandle: NDIS_HANDLE);
    /// A list without packets; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateNetBufferList(PoolHandle: NDIS_HANDLE, ContextSize: USHORT, ContextBackFill: USHORT) -> *mut NET_BUFFER_LIST;
    /// A list of one packet, from a pool made with `fAllocateNetBuffer`; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateNetBufferAndNetBufferList(PoolHandle: NDIS_HANDLE, ContextSize: USHORT, ContextBackFill: USHORT, MdlChain: *mut MDL, DataOffset: ULONG, DataLength: SIZE_T) -> *mut NET_BUFFER_LIST;
    /// Frees a list, and the packet that came with it. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeNetBufferList(NetBufferList: *mut NET_BUFFER_LIST);
    /// A packet; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateNetBuffer(PoolHandle: NDIS_HANDLE, MdlChain: *mut MDL, DataOffset: ULONG, DataLength: SIZE_T) -> *mut NET_BUFFER;
    /// Frees it. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeNetBuffer(NetBuffer: *mut NET_BUFFER);
    /// An MDL for non-paged memory; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateMdl(NdisHandle: NDIS_HANDLE, VirtualAddress: PVOID, Length: ULONG) -> *mut MDL;
    /// Frees it. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeMdl(Mdl: *mut MDL);
    /// Gives a list context data. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateNetBufferListContext(NetBufferList: *mut NET_BUFFER_LIST, ContextSize: USHORT, ContextBackFill: USHORT, PoolTag: ULONG) -> NDIS_STATUS;
    /// Takes them away. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeNetBufferListContext(NetBufferList: *mut NET_BUFFER_LIST, ContextSize: USHORT);
    /// Gives up bytes at the start of a packet. IRQL <= DISPATCH_LEVEL.
    fn NdisAdvanceNetBufferDataStart(NetBuffer: *mut NET_BUFFER, DataOffsetDelta: ULONG, FreeMdl: BOOLEAN, FreeMdlHandler: NET_BUFFER_FREE_MDL_HANDLER);
    /// Gains bytes at the start of a packet. IRQL <= DISPATCH_LEVEL.
    fn NdisRetreatNetBufferDataStart(NetBuffer: *mut NET_BUFFER, DataOffsetDelta: ULONG, DataBackFill: ULONG, AllocateMdlHandler: NET_BUFFER_ALLOCATE_MDL_HANDLER) -> NDIS_STATUS;
    /// The next `BytesNeeded` bytes of a packet as one piece, copied to `Storage` if need be; null if
    /// that cannot be. IRQL <= DISPATCH_LEVEL.
    fn NdisGetDataBuffer(NetBuffer: *mut NET_BUFFER, BytesNeeded: ULONG, Storage: PVOID, AlignMultiple: ULONG, AlignOffset: ULONG) -> PVOID;
    /// Copies data. IRQL <= DISPATCH_LEVEL.
    fn NdisCopyFromNetBufferToNetBuffer(Destination: *mut NET_BUFFER, DestinationOffset: ULONG, BytesToCopy: ULONG, Source: *const NET_BUFFER, SourceOffset: ULONG, BytesCopied: *mut ULONG) -> NDIS_STATUS;
    /// Copies the out-of-band information of a send. IRQL <= DISPATCH_LEVEL.
    fn NdisCopySendNetBufferListInfo(DestNetBufferList: *mut NET_BUFFER_LIST, SrcNetBufferList: *const NET_BUFFER_LIST);
    /// Copies the out-of-band information of a receive. IRQL <= DISPATCH_LEVEL.
    fn NdisCopyReceiveNetBufferListInfo(DestNetBufferList: *mut NET_BUFFER_LIST, SrcNetBufferList: *const NET_BUFFER_LIST);

    // Configuration

    /// Opens the registry parameters. PASSIVE_LEVEL.
    fn NdisOpenConfigurationEx(ConfigObject: *mut NDIS_CONFIGURATION_OBJECT, ConfigurationHandle: *mut NDIS_HANDLE) -> NDIS_STATUS;
    /// Closes them and frees what was read. PASSIVE_LEVEL.
    fn NdisCloseConfiguration(ConfigurationHandle: NDIS_HANDLE);
    /// Reads a value; it lives until the configuration is closed. PASSIVE_LEVEL.
    fn NdisReadConfiguration(Status: *mut NDIS_STATUS, ParameterValue: *mut *mut NDIS_CONFIGURATION_PARAMETER, ConfigurationHandle: NDIS_HANDLE, Keyword: *mut NDIS_STRING, ParameterType: NDIS_PARAMETER_TYPE);
    /// Writes a value. PASSIVE_LEVEL.
    fn NdisWriteConfiguration(Status: *mut NDIS_STATUS, ConfigurationHandle: NDIS_HANDLE, Keyword: *mut NDIS_STRING, ParameterValue: *mut NDIS_CONFIGURATION_PARAMETER);
    /// Reads the `NetworkAddress` keyword; it lives until the configuration is closed. PASSIVE_LEVEL.
    fn NdisReadNetworkAddress(Status: *mut NDIS_STATUS, NetworkAddress: *mut PVOID, NetworkAddressLength: *mut UINT, ConfigurationHandle: NDIS_HANDLE);

    // Memory

    /// Allocates non-paged memory; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateMemoryWithTagPriority(NdisHandle: NDIS_HANDLE, Length: UINT, Tag: ULONG, Priority: EX_POOL_PRIORITY) -> PVOID;
    /// Frees it. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeMemory(VirtualAddress: PVOID, Length: UINT, MemoryFlags: UINT);

    // Timers, work items, locks

    /// Makes a timer. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateTimerObject(NdisHandle: NDIS_HANDLE, TimerCharacteristics: *mut NDIS_TIMER_CHARACTERISTICS, pTimerObject: *mut NDIS_HANDLE) -> NDIS_STATUS;
    /// Frees it; it must not be running. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeTimerObject(TimerObject: NDIS_HANDLE);
    /// Sets it; true if it was set already. `DueTime` in units of 100 ns, negative for a duration. IRQL <= DISPATCH_LEVEL.
    fn NdisSetTimerObject(TimerObject: NDIS_HANDLE, DueTime: LARGE_INTEGER, MillisecondsPeriod: LONG, FunctionContext: PVOID) -> BOOLEAN;
    /// Cancels it; true if it was set. IRQL <= DISPATCH_LEVEL, PASSIVE_LEVEL for a periodic timer.
    fn NdisCancelTimerObject(TimerObject: NDIS_HANDLE) -> BOOLEAN;
    /// Makes a work item; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateIoWorkItem(NdisObjectHandle: NDIS_HANDLE) -> NDIS_HANDLE;
    /// Frees it; it must not be queued. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeIoWorkItem(NdisIoWorkItemHandle: NDIS_HANDLE);
    /// Queues it; it must not be queued already. IRQL <= DISPATCH_LEVEL.
    fn NdisQueueIoWorkItem(NdisIoWorkItemHandle: NDIS_HANDLE, Routine: NDIS_IO_WORKITEM_ROUTINE, WorkItemContext: PVOID);
    /// Sleeps. IRQL < DISPATCH_LEVEL.
    fn NdisMSleep(MicrosecondsToSleep: ULONG);
    /// Makes a reader-writer lock; null on failure. IRQL <= DISPATCH_LEVEL.
    fn NdisAllocateRWLock(NdisHandle: NDIS_HANDLE) -> *mut NDIS_RW_LOCK_EX;
    /// Frees it. IRQL <= DISPATCH_LEVEL.
    fn NdisFreeRWLock(Lock: *mut NDIS_RW_LOCK_EX);
    /// Takes it for reading, at DISPATCH_LEVEL from then on. IRQL <= DISPATCH_LEVEL.
    fn NdisAcquireRWLockRead(Lock: *mut NDIS_RW_LOCK_EX, LockState: *mut LOCK_STATE_EX, Flags: UCHAR);
    /// Takes it for writing, at DISPATCH_LEVEL from then on. IRQL <= DISPATCH_LEVEL.
    fn NdisAcquireRWLockWrite(Lock: *mut NDIS_RW_LOCK_EX, LockState: *mut LOCK_STATE_EX, Flags: UCHAR);
    /// Frees it and restores the IRQL. DISPATCH_LEVEL.
    fn NdisReleaseRWLock(Lock: *mut NDIS_RW_LOCK_EX, LockState: *mut LOCK_STATE_EX);
}

/// How badly memory is needed.
pub type EX_POOL_PRIORITY = i32;
