//! The published keys of a results container: read, and changed without losing what anybody else changes.

use std::time::Duration;

use azure_core::http::{Etag, RequestContent, Url};
use azure_storage_blob::{BlobClient, models::BlobClientUploadOptions};
use signet_azure::failure::Failure;
use signet_core::{
    jwks::{self, JwkSet},
    key::PublicKey,
};

use crate::{
    remote::{self, Remote, patiently},
    settings::Error,
};

/// How often somebody else may be quicker before that is an error.
const RACES: u32 = 20;

/// Where keys are published.
pub struct KeySet {
    client: BlobClient,
    /// The URL that verifiers read.
    pub url: Url,
}

impl KeySet {
    /// That of a results container.
    pub fn of(container: &Url, remote: &Remote) -> Result<Self, Error> {
        let inside = format!("{}/x", container.as_str().trim_end_matches('/')).parse()?;
        let url = remote::key_set_beside(&inside).ok_or_else(|| format!("{container} is no container"))?;
        Ok(Self { client: remote.blob(url.clone())?, url })
    }

    /// The keys as they stand; none where nothing is published yet.
    pub async fn read(&self) -> Result<JwkSet, Error> {
        Ok(self.read_with_etag().await?.0)
    }

    /// Adds keys by their identifiers, and returns the set as it stands then.
    pub async fn add(&self, keys: &[(&str, &PublicKey)]) -> Result<JwkSet, Error> {
        let add = |set: &mut JwkSet| {
            let before = set.len();
            for (kid, key) in keys {
                set.add(kid, key);
            }
            set.len() > before
        };
        Ok(self.change(add).await?.0)
    }

    /// Takes out what has this identifier; whether anything had.
    pub async fn remove(&self, kid: &str) -> Result<bool, Error> {
        Ok(self.change(|set| set.remove(kid)).await?.1)
    }

    /// Makes a change, which says whether it is one, to the set as it stands: that set then, and whether it was changed.
    async fn change(&self, change: impl Fn(&mut JwkSet) -> bool) -> Result<(JwkSet, bool), Error> {
        for race in 0..RACES {
            let (mut set, etag) = self.read_with_etag().await?;
            if !change(&mut set) {
                return Ok((set, false));
            }
            let written = patiently(async || self.write(&set, etag.as_ref()).await).await;
            let Err(error) = written else { return Ok((set, true)) };
            let failure = Failure::from(&error);
            // Somebody else wrote in between: their change must not be lost.
            if !failure.is(409) && !failure.is(412) {
                let role = if failure.is(403) {
                    "; the role Storage Blob Data Contributor on the container allows it"
                } else {
                    ""
                };
                return Err(format!("{} cannot be written: {}{role}", self.url, failure.message).into());
            }
            tokio::time::sleep(Duration::from_millis(50) * race).await;
        }
        Err(format!("{} was written by others {RACES} times meanwhile; try again", self.url).into())
    }

    async fn read_with_etag(&self) -> Result<(JwkSet, Option<Etag>), Error> {
        let downloaded = patiently(async || {
            let downloaded = self.client.download(None).await?;
            let etag = downloaded.properties.etag.clone();
            Ok((downloaded.body.collect_string().await?, etag))
        });
        let (text, etag) = match downloaded.await {
            Ok(downloaded) => downloaded,
            Err(error) if Failure::from(&error).code == "BlobNotFound" => return Ok((JwkSet::default(), None)),
            Err(error) => return Err(remote::cause(self.url.as_str(), &error).into()),
        };
        let set = JwkSet::parse(&text)
            .map_err(|why| format!("{} is no key set ({why}); move it away, and it is written anew", self.url))?;
        Ok((set, etag))
    }

    async fn write(&self, set: &JwkSet, replaces: Option<&Etag>) -> azure_core::Result<()> {
        let options = BlobClientUploadOptions {
            blob_content_type: Some(jwks::CONTENT_TYPE.to_owned()),
            if_match: replaces.cloned(),
            if_none_match: replaces.is_none().then(|| "*".into()),
            ..BlobClientUploadOptions::default()
        };
        self.client.upload(RequestContent::from(set.to_string().into_bytes()), Some(options)).await?;
        Ok(())
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({})", self.url)
    }
}
