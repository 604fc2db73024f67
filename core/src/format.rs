//! The standard forms in which signatures are written, with their names and media types.

use std::fmt;

/// A standard form in which a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JWS, flattened JSON serialisation (RFC 7515, section 7.2.2).
    Jws,
    /// JWS, compact serialisation (RFC 7515, section 7.1).
    JwsCompact,
    /// DSSE v1 envelope over an in-toto Statement v1.
    Dsse,
    /// Base64 of the bare signature over the content, ECDSA in DER.
    Raw,
    /// `COSE_Sign1`, tagged (RFC 9052, section 4.2).
    Cose,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Jws, Self::JwsCompact, Self::Dsse, Self::Raw, Self::Cose];

    /// By its name in work items and settings.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The name in work items and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::JwsCompact => "jws-compact",
            Self::Dsse => "dsse",
            Self::Raw => "raw",
            Self::Cose => "cose",
        }
    }

    /// Whether the result is made over the content itself, so that a digest of it is not enough.
    #[must_use]
    pub const fn holds_content(self) -> bool {
        matches!(self, Self::Jws | Self::JwsCompact | Self::Cose)
    }

    /// What follows the id in the result's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Jws => ".jws.json",
            Self::JwsCompact => ".jws",
            Self::Dsse => ".dsse.json",
            Self::Raw => ".sig",
            Self::Cose => ".cose",
        }
    }

    /// The result's media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jws => "application/jose+json",
            Self::JwsCompact => "application/jose",
            Self::Dsse => "application/vnd.dsse.envelope.v1+json",
            Self::Raw => "text/plain",
            Self::Cose => "application/cose; cose-type=\"cose-sign1\"",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of blobs and media types are API.
    #[test]
    fn each_format_has_its_names() {
        let names = Format::ALL.map(|format| (format.name(), format.suffix(), format.content_type()));
        let expected = [
            ("jws", ".jws.json", "application/jose+json"),
            ("jws-compact", ".jws", "application/jose"),
            ("dsse", ".dsse.json", "application/vnd.dsse.envelope.v1+json"),
            ("raw", ".sig", "text/plain"),
            ("cose", ".cose", "application/cose; cose-type=\"cose-sign1\""),
        ];
        assert_eq!(names, expected);
        assert_eq!(Format::ALL.map(|format| format.to_string()), names.map(|(name, ..)| name));
        assert_eq!(Format::ALL.map(|format| Format::from_name(format.name())), Format::ALL.map(Some));
    }
}
