//! Whether a signature over a digest is good: ECDSA on the four curves that Key Vault has, and RSA.
//!
//! There is nothing secret here, so nothing takes constant time, and there are no private keys. It is our own since what
//! there is elsewhere hashes the message itself (ring), or is several times as large and as slow, one code for each curve
//! (`SPECIFICATION.md` has the figures). One code serves all curves and moduli; what never changes of a key is worked out
//! once. Project Wycheproof's cases and comparisons with other libraries are among the tests of `signet-core`.

// No input reaches a panic: what could is written otherwise, or proved not to, where it stands.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice))]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used))]

mod comb;
mod curve;
mod ecdsa;
mod montgomery;
mod rsa;

pub use ecdsa::EcKey;
pub use rsa::{Hash, RsaKey};

/// An elliptic curve of prime order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// SEC secp256k1, which Key Vault calls P-256K.
    P256K,
}

impl Curve {
    /// By the name that JOSE (RFC 7518, RFC 8812) or Key Vault gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "P-256" => Self::P256,
            "P-384" => Self::P384,
            "P-521" => Self::P521,
            "P-256K" | "secp256k1" => Self::P256K,
            _ => return None,
        })
    }

    /// The name in a JWK's `crv`.
    #[must_use]
    pub const fn jose_name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::P256K => "secp256k1",
        }
    }

    /// Bytes of a coordinate; a signature has twice as many.
    #[must_use]
    pub const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}
