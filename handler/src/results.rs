//! The edge to the results container: results are created once and never overwritten; the key set is merged.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use azure_core::{
    Bytes, Result,
    error::ErrorKind,
    http::{Etag, RequestContent},
};
use azure_storage_blob::{
    BlobContainerClient, BlobContainerClientOptions,
    models::{BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders, BlobClientUploadOptions},
};
use signet_azure::{
    failure::Failure,
    identity::{Credential, Identity},
};
use signet_core::jwks::{self, JwkSet};
use url::Url;

use crate::{fault, retry::until_deadline, telemetry::Telemetry, trail::Trail};

/// A container in which blobs are only ever created.
pub(crate) struct Container {
    client: BlobContainerClient,
    credential: Arc<Credential>,
}

/// A blob to be created.
#[derive(Debug)]
pub(crate) struct NewBlob {
    pub(crate) name: String,
    pub(crate) content_type: &'static str,
    /// Names without a prefix; values in ASCII.
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) content: Bytes,
}

/// What came of creating a blob.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Now,
    /// It was there; its metadata.
    Before(HashMap<String, String>),
}

/// Not told, the SDK asks the system how many processors there are, which takes it longer than all the rest of an upload: it
/// reads half a dozen files, each time.
const ONE_AT_A_TIME: Option<NonZeroUsize> = Some(NonZeroUsize::MIN);

impl Container {
    pub(crate) fn new(url: Url, identity: &Identity, telemetry: &Telemetry) -> Result<Self> {
        Self::with_credential(url, identity.credential(), telemetry)
    }

    /// A second container of the same audience shares the credential of the first.
    pub(crate) fn beside(&self, url: Url, telemetry: &Telemetry) -> Result<Self> {
        Self::with_credential(url, self.credential.clone(), telemetry)
    }

    fn with_credential(url: Url, credential: Arc<Credential>, telemetry: &Telemetry) -> Result<Self> {
        let options = BlobContainerClientOptions {
            client_options: telemetry.client_options(),
            ..BlobContainerClientOptions::default()
        };
        let client = BlobContainerClient::new(url, Some(credential.clone()), Some(options))?;
        Ok(Self { client, credential })
    }

    /// What storage is reached with, to be shared by all of its clients.
    pub(crate) fn credential(&self) -> &Arc<Credential> {
        &self.credential
    }

    /// Creates a blob unless there is one of that name.
    pub(crate) async fn create(&self, trail: &Trail, blob: &NewBlob) -> std::result::Result<Created, Failure> {
        let client = self.client.blob_client(&blob.name);
        let outcome = until_deadline(trail, &self.credential, || async {
            fault::point("create.before");
            let options = BlobClientUploadOptions {
                blob_content_type: Some(blob.content_type.to_owned()),
                metadata: Some(blob.metadata.clone()),
                parallel: ONE_AT_A_TIME,
                ..BlobClientUploadOptions::default()
            };
            client.upload(blob.content.clone().into(), Some(options.if_not_exists())).await
        })
        .await;
        fault::point("create.after");
        match outcome {
            Ok(_) => Ok(Created::Now),
            // 409 where it is there; 412 from services that see the condition first; 403 where overwriting is forbidden
            // by the role or by a policy. It may be our own, from a try whose answer was lost.
            Err(failure) if failure.is(409) || failure.is(412) || failure.code == "UnauthorizedBlobOverwrite" => {
                fault::point("adopt.before");
                let standing = self.metadata(trail, &blob.name).await;
                fault::point("adopt.after");
                standing?.map(Created::Before).ok_or(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The metadata of a blob; `None` where there is no such blob.
    pub(crate) async fn metadata(
        &self,
        trail: &Trail,
        name: &str,
    ) -> std::result::Result<Option<HashMap<String, String>>, Failure> {
        let client = self.client.blob_client(name);
        let properties =
            until_deadline(trail, &self.credential, || async { client.get_properties(None).await?.metadata() }).await;
        match properties {
            Ok(metadata) => Ok(Some(metadata)),
            Err(failure) if failure.is(404) && failure.code != "ContainerNotFound" => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The published key set and its version; an empty one where nothing is published yet.
    pub(crate) async fn key_set(&self) -> Result<(JwkSet, Option<Etag>)> {
        let client = self.client.blob_client(jwks::BLOB_NAME);
        let options = BlobClientDownloadOptions { parallel: ONE_AT_A_TIME, ..BlobClientDownloadOptions::default() };
        let downloaded = match client.download(Some(options)).await {
            Ok(downloaded) => downloaded,
            Err(error) if Failure::from(&error).code == "BlobNotFound" => return Ok((JwkSet::default(), None)),
            Err(error) => return Err(error),
        };
        let etag = downloaded.properties.etag.clone();
        let text = downloaded.body.collect_string().await?;
        let keys = JwkSet::parse(&text).map_err(|why| {
            let message = format!("{} is no key set ({why}); move it away, and it is written anew", jwks::BLOB_NAME);
            azure_core::Error::with_message(ErrorKind::DataConversion, message)
        })?;
        Ok((keys, etag))
    }

    /// Publishes the key set in place of the version that it was made from, and returns its own; an error with status 409 or
    /// 412 where somebody else was quicker.
    pub(crate) async fn publish_key_set(&self, keys: &JwkSet, replaces: Option<Etag>) -> Result<Option<Etag>> {
        let options = BlobClientUploadOptions {
            blob_content_type: Some(jwks::CONTENT_TYPE.to_owned()),
            if_match: replaces.clone(),
            if_none_match: replaces.is_none().then(|| "*".into()),
            parallel: ONE_AT_A_TIME,
            ..BlobClientUploadOptions::default()
        };
        let content = RequestContent::from(keys.to_string().into_bytes());
        fault::point("keyset.write.before");
        let uploaded = self.client.blob_client(jwks::BLOB_NAME).upload(content, Some(options)).await?;
        fault::point("keyset.write.after");
        Ok(uploaded.etag)
    }
}
