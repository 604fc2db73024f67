//! Trusted roots: built in (Mozilla's set), or the PEM file that `SSL_CERT_FILE` names in their place.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The certificate authorities that TLS servers are checked against.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Mozilla's roots, compiled in: nothing is read from the machine.
    #[must_use]
    pub fn built_in() -> Self {
        Self(Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }))
    }

    /// The certificates of a PEM file, in place of the built-in roots.
    pub fn from_pem_file(path: &Path) -> Result<Self, RootsError> {
        let fault = |cause: String| RootsError { path: path.display().to_string(), cause };
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| fault(e.to_string()))? {
            store.add(certificate.map_err(|e| fault(e.to_string()))?).map_err(|e| fault(e.to_string()))?;
        }
        if store.is_empty() {
            return Err(fault("it holds no certificate".to_owned()));
        }
        Ok(Self(Arc::new(store)))
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// A file of roots that cannot be used.
#[derive(Debug)]
pub struct RootsError {
    path: String,
    cause: String,
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the trusted roots in {} cannot be used: {}", self.path, self.cause)
    }
}

impl std::error::Error for RootsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = Roots::from_pem_file(Path::new("no/such/roots.pem")).expect_err("no such file");
        assert!(error.to_string().contains("no/such/roots.pem"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let path = std::env::temp_dir().join(format!("signet-empty-roots-{}.pem", std::process::id()));
        std::fs::write(&path, "nothing here\n").expect("a writable temp directory");
        let error = Roots::from_pem_file(&path).expect_err("no certificate in it");
        std::fs::remove_file(&path).expect("the file is ours");
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
