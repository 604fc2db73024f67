//! Lowkey Vault (github.com/nagyesta/lowkey-vault, MIT licence) as a child process.
//!
//! | variable | meaning |
//! |---|---|
//! | `SIGNET_LOWKEY_JAR` | its executable jar, `lowkey-vault-app`; 7.3.74 is what the differences are listed of |
//! | `SIGNET_LOWKEY` | `required`: that it is not there is a failure |
//! | `JAVA_HOME` | a Java that runs it (25 for 7.3.74); without it, `java` of the path |
//!
//! It serves with a certificate of ours, is trusted by that alone, and names a resource in its challenge that the SDK's
//! check takes. Its token endpoint is not used. That one listens on every address, and there is no setting against it.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use signet::local::certificates::{CertificateFiles, Certificates, LOCAL_NAMES};
use tempfile::tempdir;
use tokio::process::{Child, Command};

use crate::{
    difference::Difference,
    target::{Target, Tokens, not_checked, roots},
};

/// A small machine that has other things to do takes half a minute.
const START: Duration = Duration::from_mins(2);

pub(crate) async fn start() -> Option<Target> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(jar) = set("SIGNET_LOWKEY_JAR") else {
        assert_ne!(
            set("SIGNET_LOWKEY").as_deref(),
            Some("required"),
            "SIGNET_LOWKEY_JAR does not name Lowkey Vault's jar"
        );
        not_checked("Lowkey Vault. Set SIGNET_LOWKEY_JAR to its executable jar.");
        return None;
    };
    let folder = tempdir().expect("a folder");
    let certificates = Certificates::generate(&LOCAL_NAMES).expect("certificates");
    let files = certificates.write_to(folder.path()).expect("certificates on the disk");
    let log = folder.path().join("lowkey.log");
    let port = free_port();
    let java = set("JAVA_HOME").map_or_else(|| PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
    let mut process = Command::new(&java)
        .args(["-Xmx512m", "-jar", &jar])
        .args(arguments(&files, port))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(fs::File::create(&log).expect("a log"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", java.display()));
    ready(&mut process, &log).await;
    let url = format!("https://contract.vault.localhost:{port}");
    let tokens = Tokens::Fixed("any".to_owned());
    let target = Target::new("Lowkey Vault", url, tokens, &roots(&files.authority), (process, folder));
    Some(target.with(Difference::LOWKEY))
}

fn arguments(files: &CertificateFiles, port: u16) -> [String; 12] {
    [
        "--server.address=127.0.0.1".to_owned(),
        format!("--server.port={port}"),
        format!("--app.token.port={}", free_port()),
        // Vaults are named `{name}.localhost`.
        "--LOWKEY_VAULT_NAMES=contract.vault".to_owned(),
        "--LOWKEY_AUTH_RESOURCE=vault.localhost".to_owned(),
        "--server.ssl.key-store=".to_owned(),
        "--server.ssl.key-store-type=".to_owned(),
        "--server.ssl.key-store-password=".to_owned(),
        format!("--server.ssl.certificate=file:{}", files.certificate.display()),
        format!("--server.ssl.certificate-private-key=file:{}", files.key.display()),
        "--server.ssl.ciphers=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256".to_owned(),
        "--server.ssl.enabled-protocols=TLSv1.2,TLSv1.3".to_owned(),
    ]
}

/// A port of the loopback that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn ready(process: &mut Child, log: &Path) {
    let start = Instant::now();
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains("Started LowkeyVaultApp") {
            return;
        }
        let ended = process.try_wait().expect("a process of ours");
        assert!(ended.is_none() && start.elapsed() < START, "Lowkey Vault is not ready ({ended:?}):\n{said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
