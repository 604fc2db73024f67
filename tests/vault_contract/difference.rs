//! Where another vault is known not to be as the service is.

/// What Lowkey Vault 7.3.74 does in another way than the service.
///
/// Each is asked for all the same: the suite fails where one of them is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Its challenge names itself as `authorization_uri`, where the service names the authority as `authorization`; the
    /// answer has no body.
    Challenge,
    /// It takes any token.
    AnyToken,
    /// `error.code` is the name of a Java class, or the body is that of its web framework.
    ErrorBodies,
    /// An algorithm that is not for the key, an operation that the key is not for, an unknown operation, and a bad name are
    /// its own fault (500); the service's answers are 400 and 403.
    ServerErrors,
    /// None of the headers that every answer of the service has, and no charset.
    Headers,
    /// A key that is made without `key_ops` can do nothing, and one without tags has `"tags":{}`; the service's can do all
    /// that its type can, and has no member `tags`.
    Defaults,
    /// An unknown curve is P-256.
    UnknownCurve,
    /// An RSA modulus begins with a zero octet, against RFC 7518, section 6.3.1.1.
    LeadingZero,
    /// `sign`, `verify` and updates need a version in the path; for the service no version is the newest.
    NoNewest,
    /// A disabled version is not found (404), and does not verify either (500). The service gives its public half, as it must
    /// for notaryproject/ratify#1474, and verifies (Azure/azure-sdk-for-python#45342).
    DisabledIsGone,
    /// Versions sign before `nbf` and after `exp`, against "About keys".
    NoValidity,
    /// What is no version's identifier is a version that does not exist (404), or a fault of its own (500); for the service it
    /// is an operation that GET does not allow (400).
    AnyVersion,
    /// `maxresults` may be any number from 0.
    AnyPageSize,
    /// Deleted keys cannot be purged: its vaults are `Recoverable`, those of the service are `Recoverable+Purgeable` unless
    /// purge protection is on.
    NoPurge,
}

impl Difference {
    /// All of Lowkey Vault.
    pub(crate) const LOWKEY: &[Self] = &[
        Self::Challenge,
        Self::AnyToken,
        Self::ErrorBodies,
        Self::ServerErrors,
        Self::Headers,
        Self::Defaults,
        Self::UnknownCurve,
        Self::LeadingZero,
        Self::NoNewest,
        Self::DisabledIsGone,
        Self::NoValidity,
        Self::AnyVersion,
        Self::AnyPageSize,
        Self::NoPurge,
    ];
}
