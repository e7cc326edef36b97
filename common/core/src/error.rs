//! The few meanings an error can have for a caller, each mapped once to HTTP and to gRPC.

/// What an error means to the one who sent the request. Deliberately few; the text beside it tells the cure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorCode {
    /// The request is malformed or asks for something impossible.
    Invalid,
    /// No usable credential or key, or the wrong one.
    Unauthenticated,
    /// A valid credential without the right.
    Forbidden,
    /// The thing named does not exist.
    NotFound,
    /// The thing named exists already, or is in another state than the request needs.
    Conflict,
    /// A stated limit is exceeded.
    TooLarge,
    /// The request did not arrive or finish in time.
    Timeout,
    /// Too much is under way; the same request may go through later.
    Busy,
    /// A stored record is damaged. Never a wrong answer instead.
    Corrupt,
    /// A fault of ours; the log has the details.
    Internal,
}

impl ErrorCode {
    /// The HTTP status, RFC 9110.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorCode::Invalid => 400,
            ErrorCode::Unauthenticated => 401,
            ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Timeout => 408,
            ErrorCode::Conflict => 409,
            ErrorCode::TooLarge => 413,
            ErrorCode::Corrupt | ErrorCode::Internal => 500,
            ErrorCode::Busy => 503,
        }
    }

    /// The gRPC status code, by its number in the gRPC specification.
    pub fn grpc_code(self) -> i32 {
        match self {
            ErrorCode::Invalid => 3,
            ErrorCode::Timeout => 4,
            ErrorCode::NotFound => 5,
            ErrorCode::Conflict => 6,
            ErrorCode::Forbidden => 7,
            ErrorCode::TooLarge => 8,
            ErrorCode::Internal => 13,
            ErrorCode::Busy => 14,
            ErrorCode::Corrupt => 15,
            ErrorCode::Unauthenticated => 16,
        }
    }

    /// Seconds after which the same request is worth sending again, if it is at all.
    pub fn retry_after_seconds(self) -> Option<u32> {
        match self {
            ErrorCode::Busy => Some(1),
            _ => None,
        }
    }
}
