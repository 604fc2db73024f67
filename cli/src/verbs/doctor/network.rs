//! Whether each host can be reached: its name, its certificate, its answer, its clock.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use azure_core::{
    http::{Context, Method, Request, Transport, Url, headers::HeaderName},
    time::{OffsetDateTime, parse_rfc7231},
};
use rustls_pki_types::ServerName;
use signet_azure::{
    roots::Roots,
    transport::{is_localhost, tls_config},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{certificate, report::Report};
use crate::moment;

const PATIENCE: Duration = Duration::from_secs(10);
/// A certificate of a service is replaced long before this.
const SHORTEST_LIFE: time::Duration = time::Duration::days(14);
/// Tokens are good from five minutes before, by the services' clocks.
const LARGEST_SKEW: time::Duration = time::Duration::minutes(5);
const NOTABLE_SKEW: time::Duration = time::Duration::minutes(1);

/// A host that has answered, and where its tokens are from, if it says so.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// `resource` of its challenge.
    pub(super) resource: Option<String>,
}

/// Tries one host: any URL of it that says nothing without a token.
pub(super) async fn check(url: &Url, roots: &Roots, transport: &Transport, report: &mut Report) -> Option<Answer> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses = match addresses(host, port).await {
        Ok(addresses) => addresses,
        Err(why) => {
            let remedy = "check the name in the settings; for a private endpoint, its private DNS zone must be linked to \
                          the network that this runs in";
            report.failure(host, format!("its name does not resolve: {why}"), remedy);
            return None;
        }
    };
    let until = match handshake(host, &addresses, roots).await {
        Ok(until) => until,
        Err(why) => {
            let remedy =
                "check firewall and private endpoint; where something inspects TLS, SSL_CERT_FILE names its roots";
            report.failure(host, format!("no TLS connection: {why}"), remedy);
            return None;
        }
    };
    let (answer, date) = match ask(url, transport).await {
        Ok(answered) => answered,
        Err(why) => {
            report.failure(host, format!("no answer: {why}"), "check firewall, proxies and private endpoint");
            return None;
        }
    };
    let now = OffsetDateTime::now_utc();
    let ends = until.map(|until| format!(", certificate until {}", moment::written(until))).unwrap_or_default();
    let detail = format!("{} over TLS{ends}", addresses[0].ip());
    match until {
        Some(until) if until - now < SHORTEST_LIFE => {
            report.warning(host, detail, "replace the certificate of what answers under that name");
        }
        _ => report.ok(host, detail),
    }
    check_clock(host, date.map(|date| now - date), report);
    Some(answer)
}

fn check_clock(host: &str, ahead: Option<time::Duration>, report: &mut Report) {
    let Some(ahead) = ahead else { return };
    let skew = ahead.abs();
    let detail = format!(
        "this machine's clock is {} s {} that of {host}",
        skew.whole_seconds(),
        if ahead.is_negative() { "behind" } else { "ahead of" }
    );
    let remedy = "set this machine's clock (chrony, systemd-timesyncd)";
    if skew > LARGEST_SKEW {
        report.failure("clock", detail + ": tokens are refused", remedy);
    } else if skew > NOTABLE_SKEW {
        report.warning("clock", detail, remedy);
    }
}

async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if is_localhost(host) {
        return Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)]);
    }
    let lookup = timeout(PATIENCE, tokio::net::lookup_host((host, port))).await.map_err(|_| "no answer in 10 s")?;
    let addresses: Vec<SocketAddr> = lookup.map_err(|error| error.to_string())?.collect();
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}

/// Connects, checks the certificate, and says until when it is good.
async fn handshake(host: &str, addresses: &[SocketAddr], roots: &Roots) -> Result<Option<OffsetDateTime>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(tls_config(roots)));
    let connect = async {
        let stream = TcpStream::connect(addresses).await.map_err(|error| error.to_string())?;
        connector.connect(name, stream).await.map_err(|error| error.to_string())
    };
    let stream = timeout(PATIENCE, connect).await.map_err(|_| "not within 10 s")??;
    let certificates = stream.get_ref().1.peer_certificates();
    Ok(certificates.and_then(<[_]>::first).and_then(|certificate| certificate::not_after(certificate)))
}

/// Asks without a token, which every service refuses with a date and, Key Vault, with a challenge.
async fn ask(url: &Url, transport: &Transport) -> Result<(Answer, Option<OffsetDateTime>), String> {
    let mut request = Request::new(url.clone(), Method::Get);
    let response = transport.send(&Context::new(), &mut request).await.map_err(|error| error.to_string())?;
    let header = |name: &'static str| response.headers().get_optional_str(&HeaderName::from_static(name));
    let date = header("date").and_then(|date| parse_rfc7231(date).ok());
    let resource = header("www-authenticate").and_then(resource_of);
    Ok((Answer { resource }, date))
}

/// `resource="…"` of a challenge, or `scope="…"` without its `/.default`.
fn resource_of(challenge: &str) -> Option<String> {
    let parameter = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let scope = || parameter("scope").map(|scope| scope.trim_end_matches("/.default").to_owned());
    parameter("resource").or_else(scope).filter(|resource| resource.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_tokens_are_for() {
        let challenge = r#"Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net""#;
        assert_eq!(resource_of(challenge).as_deref(), Some("https://vault.azure.net"));
        let challenge = r#"Bearer authorization="https://x", scope="https://vault.usgovcloudapi.net/.default""#;
        assert_eq!(resource_of(challenge).as_deref(), Some("https://vault.usgovcloudapi.net"));
        assert_eq!(resource_of("Bearer realm=\"x\""), None);
    }
}
