//! Reading what is published: result blobs and key sets, without a token where none is needed.

use std::collections::HashMap;

use azure_core::http::{Method, Request, StatusCode, Transport, Url};
use azure_storage_blob::{BlobClient, BlobClientOptions, models::BlobClientGetPropertiesResultHeaders};
use signet_azure::{client_options, failure::Failure};
use signet_core::jwks;

use crate::settings::{self, Error};

/// A blob's bytes and its metadata (empty where it was read from elsewhere than Blob Storage).
#[derive(Debug)]
pub struct Document {
    /// The content.
    pub bytes: Vec<u8>,
    /// Names in lower case, without a prefix.
    pub metadata: HashMap<String, String>,
}

/// Whether an argument is a URL rather than a file's name.
#[must_use]
pub fn is_url(argument: &str) -> bool {
    argument.starts_with("https://") || argument.starts_with("http://")
}

/// Reads a URL, with a token only where it is Blob Storage: a token for it must not be shown to anybody else.
pub async fn read(url: &str) -> Result<Document, Error> {
    let url: Url = url.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("{url} is not read: only https is").into());
    }
    let transport = settings::connect()?;
    if is_blob_storage(&url) {
        return read_blob(url, &transport).await;
    }
    let mut request = Request::new(url.clone(), Method::Get);
    let cause = |error| cause(url.as_str(), &error);
    let response = transport.send(&azure_core::http::Context::new(), &mut request).await.map_err(cause)?;
    if response.status() != StatusCode::Ok {
        return Err(format!("{url} answered {}", u16::from(response.status())).into());
    }
    let bytes = response.into_body().collect().await.map_err(cause)?.to_vec();
    Ok(Document { bytes, metadata: HashMap::new() })
}

async fn read_blob(url: Url, transport: &Transport) -> Result<Document, Error> {
    let credential = settings::identity(transport)?.credential();
    let options = BlobClientOptions { client_options: client_options(transport), ..BlobClientOptions::default() };
    let name = url.to_string();
    let client = BlobClient::new(url, Some(credential), Some(options))?;
    let cause = |error| cause(&name, &error);
    let metadata = client.get_properties(None).await.map_err(cause)?.metadata()?;
    let bytes = client.download(None).await.map_err(cause)?.body.collect().await?.to_vec();
    Ok(Document { bytes, metadata })
}

fn cause(url: &str, error: &azure_core::Error) -> String {
    format!("{url} cannot be read: {}", Failure::from(error).message)
}

/// The names that Blob Storage has in each cloud, and the local stack's.
fn is_blob_storage(url: &Url) -> bool {
    const SUFFIXES: [&str; 5] = [
        ".blob.core.windows.net",
        ".blob.storage.azure.net",
        ".blob.core.usgovcloudapi.net",
        ".blob.core.chinacloudapi.cn",
        ".blob.localhost",
    ];
    let Some(host) = url.host_str() else { return false };
    let configured = settings::required_url("SIGNET_RESULTS").ok();
    let is_ours = configured.is_some_and(|ours| ours.host_str() == Some(host) && ours.port() == url.port());
    is_ours || SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

/// Where the keys stand that belong to a result: the key set of its container.
#[must_use]
pub fn key_set_beside(result: &Url) -> Option<Url> {
    let container = result.path_segments()?.next().filter(|name| !name.is_empty())?;
    let mut url = result.clone();
    url.set_query(None);
    url.set_path(&format!("/{container}/{}", jwks::BLOB_NAME));
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_blob_storage_alone() {
        for (url, expected) in [
            ("https://a.blob.core.windows.net/c/b", true),
            ("https://devstoreaccount1.blob.localhost:1234/c/b", true),
            ("https://blob.core.windows.net.example.com/c", false),
            ("https://example.com/a.blob.core.windows.net", false),
        ] {
            assert_eq!(is_blob_storage(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn the_key_set_is_in_the_results_container() {
        let url = "https://a.blob.core.windows.net/signed/x/y.jws?versionid=1".parse().unwrap();
        let beside = key_set_beside(&url).unwrap();
        assert_eq!(beside.as_str(), "https://a.blob.core.windows.net/signed/.well-known/jwks.json");
    }
}
