//! OID requests, answered exactly once: a handler takes an [`OidRequest`] and returns the
//! [`Answered`] that only answering it makes.
//!
//! This driver answers every OID before it returns, so the status that the handler returns is the
//! completion, for the regular and the direct path alike, and there is nothing to cancel.

use core::{marker::PhantomData, ptr::NonNull, slice};

use ndis_sys::{
    NDIS_OID, NDIS_OID_REQUEST, NDIS_STATUS, NDIS_STATUS_BUFFER_TOO_SHORT,
    NDIS_STATUS_INVALID_LENGTH, NDIS_STATUS_SUCCESS, NdisRequestQueryInformation,
    NdisRequestQueryStatistics, NdisRequestSetInformation,
};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To report a value: a query for information or for statistics.
    Query,
    /// To take a value.
    Set,
    /// A method, or a type that is not known: none is supported here.
    Other,
}

/// The status of a request that has been answered.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the handler returns it to NDIS"]
pub struct Answered(NDIS_STATUS);

impl Answered {
    /// What the handler returns.
    #[must_use]
    pub const fn status(self) -> NDIS_STATUS {
        self.0
    }
}

/// A request that has not been answered yet.
pub struct OidRequest<'a> {
    raw: NonNull<NDIS_OID_REQUEST>,
    request: PhantomData<&'a mut NDIS_OID_REQUEST>,
}

impl OidRequest<'_> {
    /// # Safety
    /// `raw` is the parameter of MiniportOidRequest or MiniportDirectOidRequest, and the value does
    /// not outlive that call.
    #[must_use]
    pub const unsafe fn from_raw(raw: NonNull<NDIS_OID_REQUEST>) -> Self {
        Self {
            raw,
            request: PhantomData,
        }
    }

    /// What is asked for.
    #[must_use]
    pub fn verb(&self) -> Verb {
        // SAFETY: a valid request (see `from_raw`).
        let kind = unsafe { (*self.raw.as_ptr()).RequestType };
        if kind == NdisRequestQueryInformation || kind == NdisRequestQueryStatistics {
            Verb::Query
        } else if kind == NdisRequestSetInformation {
            Verb::Set
        } else {
            Verb::Other
        }
    }

    /// The object.
    #[must_use]
    pub fn oid(&self) -> NDIS_OID {
        // SAFETY: a valid request; Oid is at the same place in every member of the union.
        unsafe { (*self.raw.as_ptr()).DATA.QUERY_INFORMATION.Oid }
    }

    /// Address and length of the information buffer. Length 0 when there is no buffer. The three
    /// members of the union begin alike; for a method this is the input buffer.
    fn buffer_raw(&self) -> (*mut u8, usize) {
        // SAFETY: a valid request.
        let set = unsafe { (*self.raw.as_ptr()).DATA.SET_INFORMATION };
        if set.InformationBuffer.is_null() {
            return (NonNull::dangling().as_ptr(), 0);
        }
        (
            set.InformationBuffer.cast(),
            set.InformationBufferLength as usize,
        )
    }

    /// The information buffer of a set request.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        let (base, len) = self.buffer_raw();
        // SAFETY: NDIS hands over InformationBufferLength bytes of system memory with the request,
        // which nobody else touches until it is answered.
        unsafe { slice::from_raw_parts(base, len) }
    }

    /// The information buffer of a set request that takes results back (ADD_SA's handles).
    #[must_use]
    pub fn input_mut(&mut self) -> &mut [u8] {
        let (base, len) = self.buffer_raw();
        // SAFETY: as in `input`, and borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(base, len) }
    }

    /// Answers a query with `value`; NDIS_STATUS_BUFFER_TOO_SHORT with BytesNeeded when it does not
    /// fit, and then the buffer is not touched.
    pub fn report(mut self, value: &[u8]) -> Answered {
        let needed = value.len();
        let status = match self.input_mut().get_mut(..needed) {
            Some(to) => {
                to.copy_from_slice(value);
                NDIS_STATUS_SUCCESS
            }
            None => NDIS_STATUS_BUFFER_TOO_SHORT,
        };
        let written = if status == NDIS_STATUS_SUCCESS {
            needed
        } else {
            0
        };
        // SAFETY: a valid request, of a query type: its handler was chosen by `verb`.
        unsafe {
            let query = &raw mut (*self.raw.as_ptr()).DATA.QUERY_INFORMATION;
            (*query).BytesWritten = written as u32;
            (*query).BytesNeeded = needed as u32;
        }
        Answered(status)
    }

    /// Answers a query with a 32-bit value.
    pub fn report_u32(self, value: u32) -> Answered {
        self.report(&value.to_ne_bytes())
    }

    /// Answers a query of a counter that drivers must keep in 64 bits: whole when the buffer has
    /// room for it, else its low 32 bits ("OID_GEN_XMIT_OK": both sizes are supported, and
    /// BytesNeeded tells of the larger).
    pub fn report_counter(self, value: u64) -> Answered {
        if (4..8).contains(&self.input().len()) {
            let raw = self.raw;
            let answered = self.report(&(value as u32).to_ne_bytes());
            // SAFETY: a valid request, answered but not returned yet.
            unsafe { (*raw.as_ptr()).DATA.QUERY_INFORMATION.BytesNeeded = 8 };
            return answered;
        }
        self.report(&value.to_ne_bytes())
    }

    /// Answers a set: `read` bytes were taken.
    pub fn accept(self, read: usize) -> Answered {
        self.set_done(read, 0);
        Answered(NDIS_STATUS_SUCCESS)
    }

    /// Answers a set whose buffer is too short: NDIS_STATUS_INVALID_LENGTH with BytesNeeded.
    pub fn too_short(self, needed: usize) -> Answered {
        self.set_done(0, needed);
        Answered(NDIS_STATUS_INVALID_LENGTH)
    }

    /// Answers with a failure.
    pub fn refuse(self, status: NDIS_STATUS) -> Answered {
        match self.verb() {
            Verb::Query => {
                // SAFETY: a valid request of a query type.
                unsafe {
                    let query = &raw mut (*self.raw.as_ptr()).DATA.QUERY_INFORMATION;
                    (*query).BytesWritten = 0;
                    (*query).BytesNeeded = 0;
                }
            }
            Verb::Set => self.set_done(0, 0),
            Verb::Other => {}
        }
        Answered(status)
    }

    fn set_done(&self, read: usize, needed: usize) {
        // SAFETY: a valid request, of a set type: its handler was chosen by `verb`.
        unsafe {
            let set = &raw mut (*self.raw.as_ptr()).DATA.SET_INFORMATION;
            (*set).BytesRead = read as u32;
            (*set).BytesNeeded = needed as u32;
        }
    }
}
