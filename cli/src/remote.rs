//! Reading what is published: result blobs, their content and key sets, without a token where none is needed.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::Duration,
};

use azure_core::{
    Bytes,
    http::{
        Context, Etag, Method, Request, StatusCode, Transport, Url,
        headers::{HeaderName, Headers},
    },
    time::OffsetDateTime,
};
use azure_storage_blob::{
    BlobClient, BlobClientOptions, BlobContainerClient, BlobContainerClientOptions,
    models::{BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders},
};
use futures::{StreamExt, stream};
use signet_azure::{client_options, failure::Failure, identity::Credential};
use signet_core::jwks;

use crate::settings::{self, Error};

/// Bytes that are read whole at most: results, key sets, and content from elsewhere than Blob Storage.
pub const LARGEST_WHOLE: u64 = 64 * 1024 * 1024;
/// Bytes of any answer: twice that, so that what is too large is called so, with its length.
pub const LARGEST_ANSWER: usize = 128 * 1024 * 1024;
/// Bytes of one range of a blob: as many as come within the time of one try, since an answer is in memory before it is read.
const RANGE: u64 = 4 * 1024 * 1024;
/// Ranges that are under way at the same time.
const RANGES_AT_ONCE: usize = 4;

/// A blob's bytes and its metadata (empty where it was read from elsewhere than Blob Storage).
#[derive(Debug)]
pub struct Document {
    /// The content.
    pub bytes: Vec<u8>,
    /// Names in lower case, without a prefix.
    pub metadata: HashMap<String, String>,
}

/// A document, and when it was stored.
#[derive(Debug)]
pub struct Fetched {
    /// What was read.
    pub document: Document,
    /// When Blob Storage last saw it written; not known of what was read from elsewhere.
    pub last_modified: Option<OffsetDateTime>,
}

/// Whether an argument is a URL rather than a file's name.
#[must_use]
pub fn is_url(argument: &str) -> bool {
    argument.starts_with("https://") || argument.starts_with("http://")
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

/// The services as the settings reach them. A token is shown to Blob Storage alone, and asked for when it is needed.
#[derive(Debug)]
pub struct Remote {
    transport: Transport,
    storage: OnceLock<Arc<Credential>>,
}

impl Remote {
    /// Reads the settings; nothing is sent yet.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { transport: settings::connect()?, storage: OnceLock::new() })
    }

    /// The transport that everything goes through.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Reads a URL, with a token only where it is Blob Storage: a token for it must not be shown to anybody else.
    pub async fn read(&self, url: &str) -> Result<Fetched, Error> {
        let url = https(url)?;
        if is_blob_storage(&url) {
            return self.read_blob(url).await;
        }
        let document = Document { bytes: self.read_web(&url).await?, metadata: HashMap::new() };
        Ok(Fetched { document, last_modified: None })
    }

    /// A client of a blob, by its URL.
    pub fn blob(&self, url: Url) -> Result<BlobClient, Error> {
        let options =
            BlobClientOptions { client_options: client_options(&self.transport), ..BlobClientOptions::default() };
        Ok(BlobClient::new(url, Some(self.credential()?), Some(options))?)
    }

    /// A client of a container, by its URL.
    pub fn container(&self, url: Url) -> Result<BlobContainerClient, Error> {
        let options = BlobContainerClientOptions {
            client_options: client_options(&self.transport),
            ..BlobContainerClientOptions::default()
        };
        Ok(BlobContainerClient::new(url, Some(self.credential()?), Some(options))?)
    }

    /// What all of Azure Storage is reached with, blobs and queues.
    pub fn credential(&self) -> Result<Arc<Credential>, Error> {
        if let Some(credential) = self.storage.get() {
            return Ok(Arc::clone(credential));
        }
        let credential = settings::identity(&self.transport)?.credential();
        Ok(Arc::clone(self.storage.get_or_init(|| credential)))
    }

    async fn read_blob(&self, url: Url) -> Result<Fetched, Error> {
        let blob = Blob::open(self, url).await?;
        if blob.length > LARGEST_WHOLE {
            return Err(too_large(&blob.url, blob.length).into());
        }
        let mut bytes = Vec::new();
        blob.read(|range| bytes.extend_from_slice(range)).await?;
        let document = Document { bytes, metadata: blob.metadata };
        Ok(Fetched { document, last_modified: blob.last_modified })
    }

    async fn read_web(&self, url: &Url) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(url.clone(), Method::Get);
        // The range keeps a server that knows ranges from sending more than is wanted; others send the whole.
        request.insert_header("range", format!("bytes=0-{}", LARGEST_WHOLE - 1));
        let cause = |error| cause(url.as_str(), &error);
        let response = self.transport.send(&Context::new(), &mut request).await.map_err(cause)?;
        let status = u16::from(response.status());
        let total = total_length(response.headers());
        let bytes = match status {
            // There is no first byte of nothing.
            416 if total == Some(0) => return Ok(Vec::new()),
            200 | 206 => response.into_body().collect().await.map_err(cause)?,
            _ => return Err(format!("{url} answered {status}").into()),
        };
        let length = bytes.len() as u64;
        match total.filter(|_| status == 206) {
            Some(total) if total > length => Err(too_large(url, total).into()),
            // It does not say whether there is more.
            None if status == 206 && length >= LARGEST_WHOLE => Err(too_large(url, length).into()),
            _ if length > LARGEST_WHOLE => Err(too_large(url, length).into()),
            _ => Ok(bytes.to_vec()),
        }
    }

    /// Reads content from a web server, if it says beforehand that it is small enough, or says nothing.
    pub(crate) async fn read_web_content(&self, url: &Url) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(url.clone(), Method::Head);
        let response = self.transport.send(&Context::new(), &mut request).await;
        let response = response.map_err(|error| cause(url.as_str(), &error))?;
        let length = response.headers().get_optional_str(&HeaderName::from_static("content-length"));
        match length.and_then(|length| length.parse().ok()) {
            Some(length) if response.status() == StatusCode::Ok && length > LARGEST_WHOLE => {
                Err(too_large(url, length).into())
            }
            _ => self.read_web(url).await,
        }
    }
}

/// One state of a blob, to be read in ranges: however large it is, little of it is in memory at any time.
pub struct Blob {
    client: BlobClient,
    url: Url,
    /// Its bytes.
    pub length: u64,
    /// Which state this is.
    pub etag: Option<Etag>,
    /// Names in lower case, without a prefix.
    pub metadata: HashMap<String, String>,
    /// When it was last written.
    pub last_modified: Option<OffsetDateTime>,
}

impl Blob {
    /// Looks a blob up; what is read of it later is of the state that it is in now.
    pub async fn open(remote: &Remote, url: Url) -> Result<Self, Error> {
        let client = remote.blob(url.clone())?;
        let cause = |error| cause(url.as_str(), &error);
        let properties = patiently(async || client.get_properties(None).await).await.map_err(cause)?;
        let length = properties.content_length()?.ok_or_else(|| format!("{url} has no length"))?;
        let (etag, metadata) = (properties.etag()?, properties.metadata()?);
        let last_modified = properties.last_modified()?;
        Ok(Self { client, url, length, etag, metadata, last_modified })
    }

    /// Reads all of it, in its order.
    pub async fn read(&self, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let starts = (0..self.length).step_by(usize::try_from(RANGE)?);
        let mut ranges = stream::iter(starts.map(|start| self.range(start))).buffered(RANGES_AT_ONCE);
        while let Some(range) = ranges.next().await {
            take(&range?);
        }
        Ok(())
    }

    async fn range(&self, start: u64) -> Result<Bytes, Error> {
        let end = self.length.min(start + RANGE);
        let bytes = patiently(async || {
            let options = BlobClientDownloadOptions {
                range: Some((start..end).into()),
                if_match: self.etag.clone(),
                // One request for one range; the ranges are ours to choose and to try again.
                parallel: NonZeroUsize::new(1),
                partition_size: usize::try_from(RANGE).ok().and_then(NonZeroUsize::new),
                ..BlobClientDownloadOptions::default()
            };
            self.client.download(Some(options)).await?.body.collect().await
        });
        let url = &self.url;
        let bytes = bytes.await.map_err(|error| {
            if Failure::from(&error).is(412) {
                format!("{url} was written while it was read; try again")
            } else {
                cause(url.as_str(), &error)
            }
        })?;
        if bytes.len() as u64 != end - start {
            return Err(format!("{url} sent {} bytes where {} were asked for", bytes.len(), end - start).into());
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {:?})", self.url, self.etag)
    }
}

/// Tries again, a few times and after a moment, what may well succeed then.
pub async fn patiently<T>(mut attempt: impl AsyncFnMut() -> azure_core::Result<T>) -> azure_core::Result<T> {
    const TRIES: u32 = 4;
    let mut tries = 1;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let failure = Failure::from(&error);
        // What has no status may be a wrong name or a closed door, of which people want to know soon.
        let most = if failure.status.is_some() { TRIES } else { 2 };
        if !failure.transient || tries >= most {
            return Err(error);
        }
        let pause = Duration::from_millis(250) * 2u32.pow(tries);
        tokio::time::sleep(failure.retry_after.unwrap_or(pause).min(Duration::from_secs(30))).await;
        tries += 1;
    }
}

/// What is wrong with a URL, in one line.
pub(crate) fn cause(url: &str, error: &azure_core::Error) -> String {
    format!("{url} cannot be read: {}", Failure::from(error).message)
}

/// An `https` URL.
pub(crate) fn https(url: &str) -> Result<Url, Error> {
    let url: Url = url.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("{url} is not read: only https is").into());
    }
    Ok(url)
}

/// The names that Blob Storage has in each cloud, and the local stack's.
pub(crate) fn is_blob_storage(url: &Url) -> bool {
    const SUFFIXES: [&str; 5] = [
        ".blob.core.windows.net",
        ".blob.storage.azure.net",
        ".blob.core.usgovcloudapi.net",
        ".blob.core.chinacloudapi.cn",
        ".blob.localhost",
    ];
    let Some(host) = url.host_str() else { return false };
    let configured = settings::required_container("SIGNET_RESULTS").ok();
    let is_ours = configured.is_some_and(|ours| ours.host_str() == Some(host) && ours.port() == url.port());
    is_ours || SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

/// Bytes of the whole of which this is a part (RFC 9110, section 14.4).
fn total_length(headers: &Headers) -> Option<u64> {
    headers.get_optional_str(&HeaderName::from_static("content-range"))?.rsplit_once('/')?.1.parse().ok()
}

fn too_large(url: &Url, length: u64) -> String {
    format!(
        "{url} has {length} bytes or more; at most {LARGEST_WHOLE} are read from a URL unless it is content in Blob \
         Storage: download it, and give the file"
    )
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

    #[test]
    fn the_whole_of_a_part_is_known_from_its_header() {
        for (value, total) in
            [("bytes 0-9/100", Some(100)), ("bytes */0", Some(0)), ("bytes 0-9/*", None), ("bytes", None)]
        {
            let mut headers = Headers::new();
            headers.insert("content-range", value);
            assert_eq!(total_length(&headers), total, "{value}");
        }
    }
}
