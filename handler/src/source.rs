//! The edge to the source containers: a blob read as a stream, in ranges that are all of one state of it.

use std::sync::Arc;

use azure_core::{
    Bytes, Result,
    http::{
        Etag,
        headers::{HeaderName, Headers},
    },
};
use azure_storage_blob::{
    BlobClient, BlobContainerClient, BlobContainerClientOptions, models::BlobClientDownloadOptions,
};
use futures::TryStreamExt;
use signet_azure::{failure::Failure, identity::Credential};
use signet_core::{content::Source, rejection::Reason};
use tokio::sync::Semaphore;
use url::Url;

use crate::{fault, retry::until_deadline, telemetry::Telemetry, trail::Trail};

/// Bytes of a range: as many as a try can take within its time on a slow line, and all that is ever in memory of a source.
const RANGE: u64 = 4 * 1024 * 1024;
/// The largest answer of any service that is taken: nobody is asked for more than half of that. A blob that was empty a moment ago
/// is asked for as a whole by the SDK, however large it has become.
pub(crate) const LARGEST_ANSWER: usize = 8 * 1024 * 1024;
/// Sources read at once, so that memory stays bounded; more wait, within their deadline.
const READERS: usize = 4;
/// Bytes that are hashed before others get a turn on the one thread.
const TURN: usize = 256 * 1024;

/// The containers that a source may be in.
pub(crate) struct Sources {
    containers: Vec<(Url, BlobContainerClient)>,
    credential: Arc<Credential>,
    readers: Semaphore,
}

/// A blob that may be read.
pub(crate) struct Blob {
    client: BlobClient,
    version_id: Option<String>,
    etag: Option<String>,
}

/// Why a source was not read.
pub(crate) enum Fault {
    /// No later attempt can succeed; in words.
    Never(Reason, String),
    /// One may.
    Later(Failure),
}

/// A range, and the whole that it is one of.
struct Range {
    /// As they came, not put together: that would take the memory twice.
    pieces: Vec<Bytes>,
    bytes: u64,
    etag: Option<String>,
    total: u64,
}

impl Blob {
    /// Means one state of the blob from now on, unless it does already.
    pub(crate) fn pin(&mut self, etag: Option<&str>) {
        self.etag = self.etag.take().or_else(|| etag.map(str::to_owned));
    }
}

impl Sources {
    pub(crate) fn new(containers: &[Url], credential: &Arc<Credential>, telemetry: &Telemetry) -> Result<Self> {
        let client = |url: &Url| {
            let options = BlobContainerClientOptions {
                client_options: telemetry.client_options(),
                ..BlobContainerClientOptions::default()
            };
            Ok((url.clone(), BlobContainerClient::new(url.clone(), Some(credential.clone()), Some(options))?))
        };
        let containers = containers.iter().map(client).collect::<Result<_>>()?;
        Ok(Self { containers, credential: Arc::clone(credential), readers: Semaphore::new(READERS) })
    }

    /// The blob that a source names, if it is in one of the containers.
    pub(crate) fn find(&self, source: &Source) -> Option<Blob> {
        let (name, container) =
            self.containers.iter().find_map(|(url, container)| Some((source.name_in(url)?, container)))?;
        let (version_id, etag) = (source.version_id.clone(), source.etag.clone());
        Some(Blob { client: container.blob_client(&name), version_id, etag })
    }

    /// Reads a blob from its first byte to its last: `begin` is told the length, `take` gets the bytes in their order. Returns
    /// what `begin` made, and the `ETag` of the state that was read.
    pub(crate) async fn read<T>(
        &self,
        trail: &Trail,
        blob: &Blob,
        begin: impl FnOnce(u64) -> T,
        take: impl Fn(&mut T, &[u8]),
    ) -> std::result::Result<(T, String), Fault> {
        // The semaphore is never closed; should it be, going on is no worse than failing.
        let _reader = self.readers.acquire().await;
        let first = self.range(trail, blob, blob.etag.as_deref(), 0..RANGE).await?;
        let etag = first.etag.or_else(|| blob.etag.clone()).unwrap_or_default();
        let mut sink = begin(first.total);
        let mut offset = 0_u64;
        let (mut pieces, mut bytes) = (first.pieces, first.bytes);
        loop {
            for turn in pieces.iter().flat_map(|piece| piece.chunks(TURN)) {
                take(&mut sink, turn);
                tokio::task::yield_now().await;
            }
            offset = offset.saturating_add(bytes);
            if offset >= first.total {
                return Ok((sink, etag));
            }
            // The last range's memory is free before the next one comes.
            drop(pieces);
            let next =
                self.range(trail, blob, Some(&etag), offset..offset.saturating_add(RANGE).min(first.total)).await?;
            if next.bytes == 0 || next.total != first.total {
                return Err(Fault::Never(Reason::SourceChanged, CHANGED.to_owned()));
            }
            (pieces, bytes) = (next.pieces, next.bytes);
        }
    }

    async fn range(
        &self,
        trail: &Trail,
        blob: &Blob,
        etag: Option<&str>,
        range: std::ops::Range<u64>,
    ) -> std::result::Result<Range, Fault> {
        let outcome = until_deadline(trail, &self.credential, || async {
            fault::point("range.before");
            let options = BlobClientDownloadOptions {
                range: Some(range.clone().into()),
                if_match: etag.map(Etag::from),
                version_id: blob.version_id.clone(),
                // One request for one range; the ranges are ours to choose, to try again and to keep few.
                parallel: std::num::NonZeroUsize::new(1),
                partition_size: usize::try_from(RANGE).ok().and_then(std::num::NonZeroUsize::new),
                ..BlobClientDownloadOptions::default()
            };
            let downloaded = blob.client.download(Some(options)).await?;
            let etag = downloaded.properties.etag.map(|etag| etag.to_string());
            let total = total(&downloaded.headers);
            let pieces: Vec<Bytes> = downloaded.body.try_collect().await?;
            let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
            // A service that answers with the whole says nothing of ranges.
            Ok(Range { pieces, bytes, etag, total: total.unwrap_or(bytes) })
        })
        .await;
        fault::point("range.after");
        outcome.map_err(|failure| match failure.status {
            Some(412) => Fault::Never(Reason::SourceChanged, CHANGED.to_owned()),
            Some(400) if NEVER_A_BLOB.contains(&failure.code.as_str()) => {
                let detail = format!("the service takes the source's name or version for none ({})", failure.code);
                Fault::Never(Reason::InvalidWorkItem, detail)
            }
            Some(404) if failure.code == "BlobNotFound" => {
                let detail = "there is no such blob, or no such version of it; send the item once it is there";
                Fault::Never(Reason::SourceNotFound, detail.to_owned())
            }
            _ => Fault::Later(failure),
        })
    }
}

const NEVER_A_BLOB: [&str; 4] = ["InvalidQueryParameterValue", "InvalidUri", "InvalidResourceName", "OutOfRangeInput"];

const CHANGED: &str = "the blob has another ETag than the one that was meant, or was written while it was read; send the \
                       item again to sign what it holds now";

/// Bytes of the whole blob (RFC 9110, section 14.4).
fn total(headers: &Headers) -> Option<u64> {
    headers.get_optional_str(&HeaderName::from_static("content-range"))?.rsplit_once('/')?.1.parse().ok()
}
