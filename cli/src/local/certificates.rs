//! Certificates for the local services: an authority and one leaf, made at start.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// The names that the local stack's services answer to; the last is for who wants names that have to be looked up.
pub const LOCAL_NAMES: [&str; 7] = [
    "localhost",
    "*.vault.localhost",
    "*.blob.localhost",
    "*.queue.localhost",
    "*.table.localhost",
    "127.0.0.1",
    "*.blob.signet.test",
];

/// An authority of its own and a server certificate that it signed, both good for 90 days.
#[derive(Debug)]
pub struct Certificates {
    authority: rcgen::Certificate,
    leaf: rcgen::Certificate,
    leaf_key: KeyPair,
}

/// Where [`Certificates::write_to`] put its PEM files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The authority: what clients trust.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key, PKCS #8; readable by its owner only.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes both for a server with these DNS names, wildcards included, and IP addresses.
    pub fn generate(names: &[&str]) -> Result<Self, rcgen::Error> {
        let mut params = valid_now(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, "Signet local authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = valid_now(CertificateParams::new(names)?);
        params.distinguished_name.push(DnType::CommonName, "Signet local service");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate()?;
        let leaf = params.signed_by(&leaf_key, &issuer)?;

        Ok(Self { authority: issuer.as_ref().clone(), leaf, leaf_key })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// The server's certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.leaf.pem()
    }

    /// The server's private key, PKCS #8 in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.leaf_key.serialize_pem()
    }

    /// A server with this certificate: TLS 1.2 and 1.3, HTTP/1.1 by ALPN.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let chain: Vec<CertificateDer<'static>> = vec![self.leaf.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A client that trusts this authority and nothing else; without ALPN.
    pub fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone())?;
        Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }

    /// Writes `authority.pem`, `certificate.pem` and `key.pem` into a folder that exists.
    pub fn write_to(&self, folder: &Path) -> io::Result<CertificateFiles> {
        let files = CertificateFiles {
            authority: folder.join("authority.pem"),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&files.authority, self.authority_pem())?;
        fs::write(&files.certificate, self.certificate_pem())?;
        write_private(&files.key, &self.key_pem())?;
        Ok(files)
    }
}

/// A day of grace for clocks that disagree; 90 days are below every client's limit.
fn valid_now(mut params: CertificateParams) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::DAY;
    params.not_after = now + 90 * Duration::DAY;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn openssl_accepts_the_chain_for_a_wildcard_name_and_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::generate(&LOCAL_NAMES).unwrap().write_to(folder.path()).unwrap();
        for name in [["-verify_hostname", "dev.vault.localhost"], ["-verify_ip", "127.0.0.1"]] {
            let run = Command::new("openssl")
                .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
                .arg(&files.authority)
                .args(name)
                .arg(&files.certificate)
                .output();
            let Ok(output) = run else { return };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_private_key_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::generate(&LOCAL_NAMES).unwrap().write_to(folder.path()).unwrap();
        assert_eq!(fs::metadata(files.key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
