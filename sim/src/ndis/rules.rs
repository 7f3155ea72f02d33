//! The rules of NDIS, as constants: names of Driver Verifier's NDIS/WIFI set
//! and of Static Driver Verifier where those have one; what the reference pages
//! ask for and no verifier names carries a name of the same form.

crate::report::rules! {
    DriverVerifier {
        OID_COMPLETE = "NdisOidComplete" (0xC4, 0x91001), "devtest/ndis-ndisoidcomplete",
            "An OID request is completed only with a status that is allowed for the OID, never with NDIS_STATUS_PENDING.";
        OID_DOUBLE_COMPLETE = "NdisOidDoubleComplete" (0xC4, 0x91002)
            also ["DoubleComplete", "DoubleCompleteWorkItem"], "devtest/ndis-ndisoiddoublecomplete",
            "An OID request is completed once, and only if its handler returned NDIS_STATUS_PENDING.";
        OID_DOUBLE_REQUEST = "NdisOidDoubleRequest" (0xC4, 0x9100E) also ["IPsecOV2 I2"], "devtest/ndis-ndisoiddoublerequest",
            "The OID request that is completed is the one that is pending.";
        TIMED_OID_COMPLETE = "NdisTimedOidComplete" (0xC4, 0x92003), "devtest/ndis-ndistimedoidcomplete",
            "An OID request is completed within 12 seconds.";
        TIMED_DATA_SEND = "NdisTimedDataSend" (0xC4, 0x9200D), "devtest/ndis-ndistimeddatasend",
            "A send request is completed within 30 seconds.";
        TIMED_DATA_HANG = "NdisTimedDataHang" (0xC4, 0x9200F), "devtest/ndis-ndistimeddatahang",
            "Pending send requests are processed within 22 seconds.";
    }
    StaticDriverVerifier {
        IRQL_MINIPORT = "Irql_Miniport_Driver_Function", "devtest/ndis-irql-miniport-driver-function",
            "Functions for miniport drivers are called at the IRQL that their pages give.";
        IRQL_SEND_RECEIVE = "Irql_SendRcv_Function", "devtest/ndis-irql-sendrcv-function",
            "Send and receive functions are called at IRQL <= DISPATCH_LEVEL.";
        IRQL_OID = "Irql_OID_Function", "devtest/ndis-irql-oid-function",
            "OID request functions are called at IRQL <= DISPATCH_LEVEL.";
        IRQL_STATUS = "Irql_StatusIndication_Function", "devtest/ndis-irql-statusindication-function",
            "Status indication functions are called at IRQL <= DISPATCH_LEVEL.";
        IRQL_NET_BUFFER = "Irql_NetBuffer_Function", "devtest/ndis-irql-netbuffer-function",
            "NET_BUFFER functions are called at IRQL <= DISPATCH_LEVEL.";
        IRQL_TIMER = "Irql_Timer_Function", "devtest/ndis-irql-timer-function",
            "Timer functions are called at IRQL <= DISPATCH_LEVEL.";
        IRQL_SYNCHRONIZATION = "Irql_Synch_Function", "devtest/ndis-irql-synch-function",
            "Functions for locks and events are called at the IRQL that their pages give.";
        IRQL_PROTOCOL = "Irql_Protocol_Driver_Function", "devtest/ndis-irql-protocol-driver-function",
            "Functions for protocol drivers, of which NdisMNetPnPEvent is for miniports, are called at the IRQL that their pages give.";
        IRQL_MISCELLANEOUS = "Irql_Miscellaneous_Function", "devtest/ndis-irql-miscellaneous-function",
            "The other NDIS functions are called at the IRQL that their pages give.";
        ALLOCATE_GENERIC_OBJECT = "NdisAllocateGenericObject", "devtest/ndis-ndisallocategenericobject",
            "Every generic object is freed once, before MiniportHaltEx of the last adapter ends.";
        ALLOCATE_MDL = "NdisAllocateMdl", "devtest/ndis-ndisallocatemdl",
            "Every MDL of NdisAllocateMdl is freed once, by NdisFreeMdl, before MiniportHaltEx ends.";
        ALLOCATE_NET_BUFFER = "NdisAllocateNetBuffer", "devtest/ndis-ndisallocatenetbuffer",
            "Every NET_BUFFER and NET_BUFFER_LIST is freed once, and no pool is freed or left behind with any of its own still allocated.";
        ALLOCATE_MEMORY = "NdisAllocateMemoryWithTagPriority", "devtest/ndis-ndisallocatememorywithtagpriority",
            "Memory is allocated with a tag and freed once.";
        OPEN_CONFIGURATION = "NdisOpenConfigurationEx", "devtest/ndis-ndisopenconfigurationex",
            "A configuration handle is closed once, before MiniportHaltEx ends, and not used afterwards.";
        IO_WORK_ITEM = "Init_NdisAllocateIoWorkItem", "devtest/ndis-init-ndisallocateioworkitem",
            "A work item is queued once at a time, and freed when MiniportHaltEx ends or MiniportInitializeEx has failed.";
        CANCEL_TIMER = "CancelTimerObject", "devtest/ndis-canceltimerobject",
            "A timer object is cancelled before it is freed, and freed before MiniportHaltEx ends.";
        PERIODIC_TIMER = "PeriodicTimer", "devtest/ndis-periodictimer",
            "A periodic timer object is cancelled at PASSIVE_LEVEL.";
        PAUSE_RETURN = "MiniportPause_Return", "devtest/ndis-miniportpause-return",
            "MiniportPause returns NDIS_STATUS_SUCCESS or NDIS_STATUS_PENDING and nothing else.";
        INDICATE_STATUS = "NdisMIndicateStatusEx", "devtest/ndis-ndismindicatestatusex",
            "NdisMIndicateStatusEx is not called after MiniportHaltEx.";
        PNP_EVENT_IN_OID = "NdisMNetPnPEventInOIDRequest", "devtest/ndis-ndismnetpnpeventinoidrequest",
            "NdisMNetPnPEvent is not called in the context of an OID request.";
    }
    IpsecOffloadV2 {
        IPSEC_ADD_HANDLES = "IPsecOV2 I3", "network/oid-tcp-task-ipsec-offload-v2-add-sa",
            "ADD_SA succeeds if and only if an SA was added; what was not added has OffloadHandle NULL, or after a failure what the transport put there.";
        IPSEC_UPDATE_UNKNOWN = "IPsecOV2 I4", "network/oid-tcp-task-ipsec-offload-v2-update-sa",
            "UPDATE_SA fails with NDIS_STATUS_INVALID_PARAMETER when there is no such SA or it has no extended sequence numbers.";
        IPSEC_UNKNOWN_HANDLE = "IPsecOV2 I6", "ddi/ndis/ns-ndis-_ndis_ipsec_offload_v2_net_buffer_list_info",
            "A send that names an SA which the adapter does not have is completed with NDIS_STATUS_FAILURE.";
        IPSEC_HANDLE_REUSED = "IPsecOV2 I7", "network/oid-tcp-task-ipsec-offload-v2-delete-sa",
            "An SA and its handle stay until DELETE_SA.";
        IPSEC_BEFORE_ENCAPSULATION = "IPsecOV2 I8", "network/oid-offload-encapsulation",
            "Nothing of IPsec is done to received packets before OID_OFFLOAD_ENCAPSULATION is set.";
        OFFLOAD_INDICATION = "IPsecOV2 I9", "network/oid-tcp-offload-parameters",
            "After each change the miniport indicates its task offload configuration, which is within its capabilities and without what was switched off.";
        IPSEC_STAMP = "IPsecOV2 I10", "ddi/ndis/ns-ndis-_ndis_ipsec_offload_v2_net_buffer_list_info",
            "The out-of-band words of every indicated packet are written, with documented values.";
        IPSEC_NEXT_CRYPTO_DONE = "IPsecOV2 I12", "ddi/ndis/ns-ndis-_ndis_ipsec_offload_v2_net_buffer_list_info",
            "NextCryptoDone is set only together with CryptoDone.";
        IPSEC_CAPACITY = "IPsecOV2 I13", "ddi/ntddndis/ns-ntddndis-_ndis_ipsec_offload_v2",
            "There are never more SAs than SaOffloadCapacity.";
        IPSEC_CAPABILITY = "IPsecOV2 I14", "ddi/ntddndis/ns-ntddndis-_ndis_ipsec_offload_v2",
            "An SA is added only if the current configuration has all that it needs.";
        FREED_SECRET = "IPsecOV2 I16", "network/oid-tcp-task-ipsec-offload-v2-delete-sa",
            "Memory is given back without key material in it.";
        OID_AFTER_REMOVAL = "IPsecOV2 I18", "ddi/ndis/nc-ndis-miniport_device_pnp_event_notify",
            "After a surprise removal every OID request is completed with NDIS_STATUS_NOT_ACCEPTED.";
    }
    Reference {
        FLAGS_IRQL = "DispatchIrqlTracking", "network/dispatch-irql-tracking",
            "A DISPATCH_LEVEL flag is set only when the current IRQL is DISPATCH_LEVEL.";
        HANDLE = "NdisHandle", "network/obtaining-pool-handles",
            "A handle is one that NDIS gave to this driver for this purpose, and is still valid.";
        POINTER = "NdisParameter", "devtest/nullcheckn",
            "A required pointer is not NULL.";
        OBJECT_HEADER = "NdisObjectHeader", "ddi/objectheader/ns-objectheader-ndis_object_header",
            "Type, Revision and Size of a structure are those of the NDIS version that the driver registered with.";
        CHARACTERISTICS = "NdisMiniportDriverCharacteristics",
            "ddi/ndis/ns-ndis-_ndis_miniport_driver_characteristics",
            "A miniport driver registers all required handlers, and handlers that belong together.";
        DEREGISTER = "NdisMDeregisterMiniportDriver", "ddi/ndis/nf-ndis-ndismderegisterminiportdriver",
            "A driver deregisters once, from MiniportDriverUnload or a failing DriverEntry.";
        ATTRIBUTES = "NdisMSetMiniportAttributes", "ddi/ndis/nf-ndis-ndismsetminiportattributes",
            "MiniportInitializeEx sets the registration attributes first, the general attributes next, then any others.";
        ADAPTER_STATE = "MiniportAdapterState", "network/miniport-adapter-states-and-operations",
            "A miniport calls NDIS for an operation only in the adapter states that allow it.";
        HANDLER_STATUS = "MiniportHandlerStatus", "ddi/ndis/nc-ndis-miniport_initialize",
            "A handler returns a status that its page lists.";
        PAUSE_COMPLETE = "MiniportPause", "ddi/ndis/nc-ndis-miniport_pause",
            "A pause is complete only when every send is completed and every receive indication is returned.";
        RESET_COMPLETE = "MiniportResetEx", "ddi/ndis/nc-ndis-miniport_reset",
            "NdisMResetComplete follows a MiniportResetEx that returned NDIS_STATUS_PENDING; from NDIS 6.30 on no OID or send request is pending then.";
        SEND_COMPLETE = "NdisMSendNetBufferListsComplete" also ["IPsecOV2 I17"], "ddi/ndis/nf-ndis-ndismsendnetbufferlistscomplete",
            "Every NET_BUFFER_LIST that was sent is completed once, with a documented status.";
        SEND_GEOMETRY = "SendNetBufferListUnmodified" also ["IPsecOV2 I17"], "ddi/ndis/nf-ndis-ndismsendnetbufferlistscomplete",
            "A miniport does not change the NET_BUFFERs, the MDLs or the data of a send request.";
        INDICATE_RECEIVE = "NdisMIndicateReceiveNetBufferLists",
            "ddi/ndis/nf-ndis-ndismindicatereceivenetbufferlists",
            "A miniport indicates NET_BUFFER_LISTs that it owns, well formed, in the Running state.";
        RECEIVE_OWNERSHIP = "ReceiveNetBufferListOwnership", "ddi/ndis/nc-ndis-miniport_return_net_buffer_lists",
            "A miniport does not touch an indicated NET_BUFFER_LIST before it is returned.";
        NET_BUFFER_LIST = "NetBufferList", "network/net-buffer-architecture",
            "A chain of NET_BUFFER_LISTs, NET_BUFFERs or MDLs ends, and each describes data that its MDLs hold.";
        OID_RESULT = "NdisOidRequestResult", "ddi/oidrequest/ns-oidrequest-ndis_oid_request",
            "BytesWritten and BytesRead do not exceed the buffer, and nothing is written beyond it.";
        BUFFER_OVERRUN = "BufferOverrun" also ["IPsecOV2 I19"], "devtest/special-pool",
            "A buffer of NDIS or of a protocol is used only within its bounds.";
        CONNECTION_STATUS = "IndicatingConnectionStatus", "network/indicating-connection-status",
            "No change of the media connection status is indicated by an adapter that enters a low-power state, is in one, or halts.";
        STATUS_INDICATION = "StatusIndication", "ddi/ndis/nf-ndis-ndismindicatestatusex",
            "A status indication is well formed, and its buffer fits the status.";
    }
}
