//! The public rules, and why some of them cannot apply here.

/// Every rule of Driver Verifier's NDIS/WIFI set and of Static Driver Verifier's rules for NDIS
/// drivers, by the name of its page ("NDIS/WIFI verification rule set", "Rules for NDIS Drivers").
pub const PUBLIC_NAMES: &[&str] = &[
    // NDIS/WIFI verification
    "NdisFilterTimedDataReceive",
    "NdisFilterTimedDataSend",
    "NdisFilterTimedPauseComplete",
    "NdisOidComplete",
    "NdisOidDoubleComplete",
    "NdisOidDoubleRequest",
    "NdisTimedDataHang",
    "NdisTimedDataSend",
    "NdisTimedOidComplete",
    "WlanAssert",
    "WlanAssociation",
    "WlanConnectionRoaming",
    "WlanDisassociation",
    "WlanTimedAssociation",
    "WlanTimedConnectionRoaming",
    "WlanTimedConnectRequest",
    "WlanTimedLinkQuality",
    "WlanTimedScan",
    // DDI usage
    "Init_DeRegisterInterrupt",
    "Init_NdisAllocateIoWorkItem",
    "Init_RegisterInterrupt",
    "Init_RegisterSG",
    "NdisFDeregisterFilterDriver",
    "NdisMDeregisterInterruptEx",
    "NullCheck",
    // IRQL
    "Flags_Irql",
    "Irql_CallManager_Function",
    "Irql_Connection_Function",
    "Irql_Filter_Driver_Function",
    "Irql_Gather_DMA_Function",
    "Irql_IM_Function",
    "Irql_Interfaces_Function",
    "Irql_Interrupt_Function",
    "Irql_IrqlSetting_Function",
    "Irql_MCM_Function",
    "Irql_MCO_Function",
    "Irql_Miniport_Driver_Function",
    "Irql_Miscellaneous_Function",
    "Irql_NetBuffer_Function",
    "Irql_OID_Function",
    "Irql_Protocol_Driver_Function",
    "Irql_SendRcv_Function",
    "Irql_StatusIndication_Function",
    "Irql_Synch_Function",
    "Irql_Timer_Function",
    // Locking
    "SpinLock",
    "SpinLockBalanced",
    "SpinLockDpr",
    "SpinLockDprRelease",
    "SpinLockRelease",
    // Memory usage
    "NdisAllocateGenericObject",
    "NdisAllocateMdl",
    "NdisAllocateMemoryWithTagPriority",
    "NdisAllocateNetBuffer",
    "NdisMFreeSharedMemory",
    "NdisMIndicateStatusEx",
    "NdisMMapIoSpace",
    "NdisMRegisterIoPortRange",
    // Miscellaneous
    "CancelTimerObject",
    "MiniportPause_Return",
    "NdisOpenConfigurationEx",
    "NdisQueryBindInstanceName",
    "NdisReEnumerateProtocolBindings",
    "PeriodicTimer",
    "WriteErrorLog",
    // OID processing, warnings
    "DoubleComplete",
    "DoubleCompleteWorkItem",
    "NdisMNetPnPEventInOIDRequest",
    "NdisStallExecution_Delay",
];

const NO_FILTER: &str = "there are no filter drivers in the simulator";
const NO_PROTOCOL: &str = "protocols are the simulator's own and call no NDIS functions";
const NO_CONDIS: &str = "there is no connection-oriented NDIS";
const NO_WLAN: &str = "there is no wireless adapter";
const NO_INTERRUPT: &str = "there are no interrupts, and the functions are not exported";
const NO_DMA: &str = "there is no DMA, and the functions are not exported";
const NO_PORTS: &str = "there is no hardware to map, and the function is not exported";

/// Name, page (in devtest), reason.
pub const NOT_APPLICABLE: &[(&str, &str, &str)] = &[
    (
        "NdisFilterTimedDataReceive",
        "ndisfiltertimeddatareceive",
        NO_FILTER,
    ),
    (
        "NdisFilterTimedDataSend",
        "ndisfiltertimeddatasend",
        NO_FILTER,
    ),
    (
        "NdisFilterTimedPauseComplete",
        "ndisfiltertimedpausecomplete-",
        NO_FILTER,
    ),
    (
        "NdisFDeregisterFilterDriver",
        "ndis-ndisfderegisterfilterdriver",
        NO_FILTER,
    ),
    (
        "Irql_Filter_Driver_Function",
        "ndis-irql-filter-driver-function",
        NO_FILTER,
    ),
    ("WlanAssert", "ndis-wlanassert", NO_WLAN),
    ("WlanAssociation", "ndis-wlanassociation", NO_WLAN),
    (
        "WlanConnectionRoaming",
        "ndis-wlanconnectionroaming",
        NO_WLAN,
    ),
    ("WlanDisassociation", "ndis-wlandisassociation", NO_WLAN),
    ("WlanTimedAssociation", "ndis-wlantimedassociation", NO_WLAN),
    (
        "WlanTimedConnectionRoaming",
        "ndis-wlantimedconnectionroaming",
        NO_WLAN,
    ),
    (
        "WlanTimedConnectRequest",
        "ndis-wlantimedconnectrequest",
        NO_WLAN,
    ),
    ("WlanTimedLinkQuality", "ndis-wlantimedlinkquality", NO_WLAN),
    ("WlanTimedScan", "ndis-wlantimedscan", NO_WLAN),
    (
        "Init_DeRegisterInterrupt",
        "ndis-init-deregisterinterrupt",
        NO_INTERRUPT,
    ),
    (
        "Init_RegisterInterrupt",
        "ndis-init-registerinterrupt",
        NO_INTERRUPT,
    ),
    (
        "NdisMDeregisterInterruptEx",
        "ndis-ndismderegisterinterruptex",
        NO_INTERRUPT,
    ),
    (
        "Irql_Interrupt_Function",
        "ndis-irql-interrupt-function",
        NO_INTERRUPT,
    ),
    ("Init_RegisterSG", "ndis-init-registersg", NO_DMA),
    (
        "Irql_Gather_DMA_Function",
        "ndis-irql-gather-dma-function",
        NO_DMA,
    ),
    (
        "NdisMFreeSharedMemory",
        "ndis-ndismfreesharedmemory",
        NO_DMA,
    ),
    (
        "WriteErrorLog",
        "ndis-writeerrorlog",
        "it is about NdisMAllocateSharedMemory, which is not exported: there is no DMA",
    ),
    ("NdisMMapIoSpace", "ndis-ndismmapiospace", NO_PORTS),
    (
        "NdisMRegisterIoPortRange",
        "ndis-ndismregisterioportrange",
        NO_PORTS,
    ),
    (
        "Irql_CallManager_Function",
        "ndis-irql-callmanager-function",
        NO_CONDIS,
    ),
    (
        "Irql_Connection_Function",
        "ndis-irql-connection-function",
        NO_CONDIS,
    ),
    ("Irql_MCM_Function", "ndis-irql-mcm-function", NO_CONDIS),
    ("Irql_MCO_Function", "ndis-irql-mco-function", NO_CONDIS),
    (
        "NdisQueryBindInstanceName",
        "ndis-ndisquerybindinstancename",
        NO_PROTOCOL,
    ),
    (
        "NdisReEnumerateProtocolBindings",
        "ndis-ndisreenumerateprotocolbindings",
        NO_PROTOCOL,
    ),
    (
        "Irql_IM_Function",
        "ndis-irql-im-function",
        "there are no intermediate drivers in the simulator",
    ),
    (
        "Irql_Interfaces_Function",
        "ndis-irql-interfaces-function",
        "the functions for network interfaces are not exported",
    ),
];

/// Rules that the simulator does not check call by call, and what does.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "NullCheck",
        "A result that is not checked shows when the call is made to fail (`Machine::faults`): \
         the driver then faults on the NULL (PAGE_FAULT_IN_NONPAGED_AREA).",
    ),
    (
        "IPsecOV2 I1",
        "Not a rule for the driver but for its caller: direct OIDs are given at any IRQL up to \
         DISPATCH_LEVEL, from all processors at once (`Open::submit_direct_oid_on`).",
    ),
    (
        "IPsecOV2 I5",
        "The simulator does not know what goes over the wire: the suites of `tests/` compare what is sent \
         without a handle with what comes out, byte by byte (`driver_data_path`, the HLK-style send and receive jobs).",
    ),
    (
        "IPsecOV2 I7 (early removal)",
        "An SA that goes before its DELETE_SA shows in an UPDATE_SA (the rule above), and in a packet that is \
         no longer sealed or opened: whether a packet deserves that only the transport knows, in `tests/`.",
    ),
    (
        "IPsecOV2 I11",
        "Which verdict a packet deserves only the transport knows: the suites of `tests/` on bad packets.",
    ),
    (
        "IPsecOV2 I12 (two payloads)",
        "NextCryptoDone is for packets with two IPsec payloads, which only the transport can count: \
         `tests/tests/receive_verdicts.rs` and `capabilities.rs` check both values.",
    ),
    (
        "IPsecOV2 I14 (what is offered works)",
        "The rule above is one direction, an SA that is more than what is offered. The other one, that \
         whatever is offered is taken, is `tests/tests/capabilities.rs`.",
    ),
    (
        "IPsecOV2 I16 (no SA is left)",
        "An SA that outlives MiniportHaltEx still answers to its handle in the next life of the adapter, in which \
         nobody added it: that breaks I4 or I6 (`tests/tests/bad_input.rs` asks).",
    ),
    (
        "IPsecOV2 I15",
        "The duty of the IPsec layer, not of the adapter (NDIS_IPSEC_OFFLOAD_V2: it \"ensures that large \
         send offload (LSO) is not used\" for tunnel packets).",
    ),
];
