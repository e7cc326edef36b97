//! What AWS's errors mean to us: many codes, few meanings. The SDK's own words go to the operator's note.

use super::{Refusal, THROTTLED, UNREACHABLE};
use crate::ports::KmsFault;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use std::error::Error;

/// The meaning of a failed call.
pub(super) fn refusal<E>(error: SdkError<E, HttpResponse>) -> Refusal
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    Refusal::from(meaning(&error)).with_words(DisplayErrorContext(&error).to_string())
}

fn meaning<E>(error: &SdkError<E, HttpResponse>) -> KmsFault
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            of_code(answer.err().code().unwrap_or_default(), status)
        }
        SdkError::ConstructionFailure(_) => {
            KmsFault::Misconfigured("its settings make no valid request; check key_id and region".into())
        }
        SdkError::DispatchFailure(_) => of_credentials(error).unwrap_or(UNREACHABLE),
        _ => UNREACHABLE,
    }
}

/// Codes of KMS, Secrets Manager and STS, which do not contradict each other.
fn of_code(code: &str, status: u16) -> KmsFault {
    match code {
        "NotFoundException" | "ResourceNotFoundException" => KmsFault::KeyNotFound,
        "DisabledException"
        | "KMSInvalidStateException"
        // A secret that is marked for deletion, or whose own KMS key cannot be used.
        | "InvalidRequestException"
        | "DecryptionFailure" => KmsFault::Disabled,
        "IncorrectKeyException" | "InvalidCiphertextException" => KmsFault::WrongKey,
        "AccessDeniedException"
        | "AccessDenied"
        | "NotAuthorized"
        | "OptInRequired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired" => KmsFault::AccessDenied,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "LimitExceededException"
        | "SlowDown" => THROTTLED,
        "KMSInternalException" | "KeyUnavailableException" | "DependencyTimeoutException" | "InternalServiceError"
        | "InternalFailure" | "ServiceUnavailable" => UNREACHABLE,
        "InvalidKeyUsageException" => {
            KmsFault::Misconfigured("its key cannot encrypt; name a symmetric key for ENCRYPT_DECRYPT".into())
        }
        "RegionDisabledException" => {
            KmsFault::Misconfigured("STS is not enabled for its region; enable it, or change region".into())
        }
        _ if status == 429 => THROTTLED,
        _ if status >= 500 => UNREACHABLE,
        _ if status == 403 => KmsFault::AccessDenied,
        _ => KmsFault::Misconfigured(
            "its provider does not take key_id, region or role_arn as they are written; the server's log has its words"
                .into(),
        ),
    }
}

/// A call that could not be signed, because there were no credentials for it.
fn of_credentials(error: &(dyn Error + 'static)) -> Option<KmsFault> {
    let missing = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    let of_role = || causes(error).find_map(of_sts);
    Some(match missing {
        CredentialsError::CredentialsNotLoaded(_) => KmsFault::Misconfigured(
            "the server has no AWS credentials; give it some, such as AWS_ACCESS_KEY_ID or an instance role"
                .into(),
        ),
        CredentialsError::InvalidConfiguration(_) => of_role().unwrap_or_else(|| {
            KmsFault::Misconfigured(
                "the server's AWS profile is not valid; the server's log has the details".into(),
            )
        }),
        CredentialsError::ProviderError(_) => of_role().unwrap_or(UNREACHABLE),
        _ => UNREACHABLE,
    })
}

/// What STS said when a role was to be assumed.
fn of_sts(cause: &(dyn Error + 'static)) -> Option<KmsFault> {
    let plain = cause
        .downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>()
        .map(meaning);
    let web = || {
        cause
            .downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>()
            .map(meaning)
    };
    plain.or_else(web)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_few_meanings() {
        for (code, status, expected) in [
            ("NotFoundException", 400, KmsFault::KeyNotFound),
            ("KMSInvalidStateException", 400, KmsFault::Disabled),
            ("IncorrectKeyException", 400, KmsFault::WrongKey),
            ("AccessDeniedException", 400, KmsFault::AccessDenied),
            ("ThrottlingException", 400, THROTTLED),
            ("KMSInternalException", 500, UNREACHABLE),
            ("", 503, UNREACHABLE),
            ("Whatever", 429, THROTTLED),
            ("Whatever", 403, KmsFault::AccessDenied),
        ] {
            assert_eq!(of_code(code, status), expected, "{code} {status}");
        }
        assert!(matches!(
            of_code("ValidationException", 400),
            KmsFault::Misconfigured(_)
        ));
    }
}
