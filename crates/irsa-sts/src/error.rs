//! Errors as STS puts them on the wire: code, status, message and the envelope around them.
//!
//! Texts are those of real answers where one was seen; SDKs and people match on them.

use std::borrow::Cow;

use http::StatusCode;

/// Whose fault an error is, `<Type>` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The caller's; SDKs do not retry.
    Sender,
    /// The service's; SDKs retry.
    Receiver,
}

/// An error answer of STS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct StsError {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// `<Code>`.
    pub(crate) code: Cow<'static, str>,
    /// `<Message>`; some errors have none.
    pub(crate) message: Cow<'static, str>,
    /// `<Type>`.
    pub(crate) fault: Fault,
    /// The front of all AWS query services answers these before STS itself sees the request, in its own namespace.
    pub(crate) from_front: bool,
}

impl StsError {
    /// An error of the caller.
    pub(crate) fn sender(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            fault: Fault::Sender,
            from_front: false,
        }
    }

    /// An error of the service.
    pub(crate) fn receiver(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            fault: Fault::Receiver,
            ..Self::sender(status, code, message)
        }
    }

    /// The same, given by the common front before STS sees the request.
    pub(crate) fn in_front(self) -> Self {
        Self {
            from_front: true,
            ..self
        }
    }

    /// 500 `InternalFailure`.
    #[must_use]
    pub(crate) fn internal_failure() -> Self {
        Self::receiver(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailure",
            "The request processing has failed because of an unknown error, exception or failure.",
        )
    }

    /// 400 `ValidationError`.
    pub(crate) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::sender(StatusCode::BAD_REQUEST, "ValidationError", message)
    }

    /// 403 `AccessDenied`.
    pub(crate) fn access_denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::sender(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    /// 400 `InvalidIdentityToken`.
    pub(crate) fn invalid_identity_token(message: impl Into<Cow<'static, str>>) -> Self {
        Self::sender(StatusCode::BAD_REQUEST, "InvalidIdentityToken", message)
    }

    /// 403 `SignatureDoesNotMatch`.
    pub(crate) fn signature_does_not_match(message: impl Into<Cow<'static, str>>) -> Self {
        Self::sender(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message)
    }

    /// 400 `IncompleteSignature`.
    pub(crate) fn incomplete_signature(message: impl Into<Cow<'static, str>>) -> Self {
        Self::sender(StatusCode::BAD_REQUEST, "IncompleteSignature", message)
    }

    /// 403 `MissingAuthenticationToken`.
    #[must_use]
    pub(crate) fn missing_authentication_token() -> Self {
        Self::sender(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        )
    }

    /// 403 `InvalidClientTokenId`: the key or token is none of ours, or not valid here.
    #[must_use]
    pub(crate) fn invalid_client_token_id() -> Self {
        Self::sender(
            StatusCode::FORBIDDEN,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
    }

    /// 403 `InvalidClientTokenId` for a session token that cannot be read; AWS writes it without a period.
    #[must_use]
    pub(crate) fn corrupt_session_token() -> Self {
        Self::sender(
            StatusCode::FORBIDDEN,
            "InvalidClientTokenId",
            "The security token included in the request is invalid",
        )
    }

    /// 403 `RegionDisabledException`.
    #[must_use]
    pub(crate) fn region_disabled(account: &str) -> Self {
        Self::sender(
            StatusCode::FORBIDDEN,
            "RegionDisabledException",
            format!(
                "STS is not activated in this region for account:{account}. Your account administrator can activate \
                 STS in this region using the IAM Console."
            ),
        )
    }
}
