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
    /// Too many wrong credentials came from there.
    TooOften {
        /// When the next one is looked at.
        retry_after_seconds: u32,
    },
    /// The request did not arrive or finish in time.
    Timeout,
    /// Too much is under way; the same request may go through later.
    Busy,
    /// The disk is too full for what the request would write. What it holds can be read and deleted.
    DiskFull,
    /// A stored record is damaged. Never a wrong answer instead.
    Corrupt,
    /// Something that the request depends on, and that is not ours, refuses: a key that was disabled, a role that was withdrawn.
    Upstream,
    /// Something that the request depends on, and that is not ours, does not answer.
    Unavailable {
        /// When the same request is worth sending again.
        retry_after_seconds: u32,
    },
    /// A fault of ours; the log has the details.
    Internal,
}

impl ErrorCode {
    /// The HTTP status: RFC 9110, and RFC 4918 for the full disk.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorCode::Invalid => 400,
            ErrorCode::Unauthenticated => 401,
            ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Timeout => 408,
            ErrorCode::Conflict => 409,
            ErrorCode::TooLarge => 413,
            ErrorCode::TooOften { .. } => 429,
            ErrorCode::Corrupt | ErrorCode::Internal => 500,
            ErrorCode::Upstream => 502,
            ErrorCode::Busy | ErrorCode::Unavailable { .. } => 503,
            ErrorCode::DiskFull => 507,
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
            ErrorCode::TooLarge | ErrorCode::TooOften { .. } | ErrorCode::DiskFull => 8,
            ErrorCode::Upstream => 9,
            ErrorCode::Internal => 13,
            ErrorCode::Busy | ErrorCode::Unavailable { .. } => 14,
            ErrorCode::Corrupt => 15,
            ErrorCode::Unauthenticated => 16,
        }
    }

    /// Seconds after which the same request is worth sending again, if it is at all.
    pub fn retry_after_seconds(self) -> Option<u32> {
        match self {
            ErrorCode::Busy => Some(1),
            ErrorCode::TooOften { retry_after_seconds } | ErrorCode::Unavailable { retry_after_seconds } => {
                Some(retry_after_seconds)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_refuse_is_told_from_what_they_leave_unanswered() {
        assert_eq!(ErrorCode::Upstream.http_status(), 502);
        assert_eq!(ErrorCode::Upstream.retry_after_seconds(), None);
        assert_eq!(ErrorCode::DiskFull.http_status(), 507);
        let down = ErrorCode::Unavailable {
            retry_after_seconds: 5,
        };
        assert_eq!((down.http_status(), down.retry_after_seconds()), (503, Some(5)));
    }

    #[test]
    fn what_is_worth_repeating_says_when() {
        for code in [
            ErrorCode::Invalid,
            ErrorCode::Unauthenticated,
            ErrorCode::Forbidden,
            ErrorCode::NotFound,
            ErrorCode::Conflict,
            ErrorCode::TooLarge,
            ErrorCode::TooOften {
                retry_after_seconds: 1,
            },
            ErrorCode::Timeout,
            ErrorCode::Busy,
            ErrorCode::DiskFull,
            ErrorCode::Corrupt,
            ErrorCode::Upstream,
            ErrorCode::Unavailable {
                retry_after_seconds: 1,
            },
            ErrorCode::Internal,
        ] {
            assert_eq!(
                code.retry_after_seconds().is_some(),
                [429, 503].contains(&code.http_status()),
                "{code:?}"
            );
            assert_eq!(
                code.retry_after_seconds().is_some(),
                code.grpc_code() == 14 || code.http_status() == 429,
                "{code:?}"
            );
        }
    }
}
