//! One item, from message to fate: parse, look, sign, verify, publish; or reject; or hand back.

use std::{collections::HashMap, fmt, sync::Arc};

use azure_core::Bytes;
use signet_azure::failure::Failure;
use signet_core::{
    content::Content,
    draft::{Draft, SigningKey},
    envelope::Delivery,
    format::Format,
    rejection::{Reason, Rejection, Stage},
    work_item::WorkItem,
};
use time::OffsetDateTime;

use crate::{
    app::App,
    rejections,
    results::{self, Created, NewBlob, Standing},
    retry::Trail,
};

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Every result that it asks for stands.
    Done { id: String, results: Vec<Published> },
    /// It can never succeed; the record's name.
    Rejected { rejection: Rejection, record: String },
    /// It may succeed later: the host keeps it.
    HandedBack(Setback),
}

/// A result that stands, and whether it did before.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) adopted: bool,
}

/// Why an item is handed back.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) stage: Stage,
    /// The service's own code, or a word of ours.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What can end an item before its results stand.
enum Stop {
    Reject(Rejection),
    HandBack(Setback),
}

/// Signs what a message asks for, unless that is done already.
pub(crate) async fn sign(app: Arc<App>, delivery: Delivery, invocation_id: String, trail: Trail) -> Fate {
    within_deadline(&trail, async {
        let outcome = match WorkItem::parse(&delivery.message, app.settings.format) {
            Ok(item) => sign_item(&app, &trail, &delivery, &item, &invocation_id)
                .await
                .map(|results| Fate::Done { id: item.id, results }),
            Err(rejection) => Err(Stop::Reject(rejection)),
        };
        match outcome {
            Ok(fate) => fate,
            Err(Stop::HandBack(setback)) => Fate::HandedBack(setback),
            Err(Stop::Reject(rejection)) => reject(&app, &trail, &delivery, rejection, &invocation_id).await,
        }
    })
    .await
}

/// Keeps what the host gave up: a record, unless the results stand and only the message was not deleted.
pub(crate) async fn rescue(app: Arc<App>, delivery: Delivery, invocation_id: String, trail: Trail) -> Fate {
    within_deadline(&trail, async {
        trail.enter(Stage::Poison);
        let mut detail = "the host gave the message up after its last attempt".to_owned();
        let mut id = None;
        match WorkItem::parse(&delivery.message, app.settings.format) {
            Ok(item) => {
                match all_standing(&app, &trail, &item).await {
                    Ok(Some(results)) => return Fate::Done { id: item.id, results },
                    Ok(None) => {}
                    Err(failure) => return Fate::HandedBack(setback(Stage::Poison, failure)),
                }
                id = Some(item.id);
            }
            Err(rejection) => {
                detail = format!("{detail}; it is also {}: {}", rejection.reason, rejection.detail);
                id = rejection.id.or(id);
            }
        }
        let rejection = Rejection { reason: Reason::AttemptsExhausted, stage: Stage::Poison, detail, id };
        reject(&app, &trail, &delivery, rejection, &invocation_id).await
    })
    .await
}

/// Ends an item at its deadline, wherever it is. Nothing is lost by that: it was handed back, and comes again.
async fn within_deadline(trail: &Trail, work: impl Future<Output = Fate>) -> Fate {
    match tokio::time::timeout_at(trail.deadline(), work).await {
        Ok(fate) => fate,
        Err(_elapsed) => {
            let (stage, failure) = trail.end();
            let because = failure.map_or_else(String::new, |failure| format!("; last: {}", failure.message));
            Fate::HandedBack(Setback { stage, code: "deadline".to_owned(), message: format!("out of time{because}") })
        }
    }
}

async fn sign_item(
    app: &App,
    trail: &Trail,
    delivery: &Delivery,
    item: &WorkItem,
    invocation_id: &str,
) -> Result<Vec<Published>, Stop> {
    // The semaphore is never closed; should it be, going on without a place is no worse than failing.
    let _place = app.places.acquire().await;
    if let Content::Digest { .. } = item.content {
        // Whether a digest fits all the formats depends on the key. None may be published if one of them cannot be.
        trail.enter(Stage::Key);
        let key = app.readiness.key(trail).await;
        for format in &item.formats {
            Draft::new(item, *format, &key, 0).map_err(Stop::Reject)?;
        }
    }
    let mut published = Vec::with_capacity(item.formats.len());
    for format in &item.formats {
        published.push(sign_format(app, trail, delivery, item, *format, invocation_id).await?);
    }
    Ok(published)
}

async fn sign_format(
    app: &App,
    trail: &Trail,
    delivery: &Delivery,
    item: &WorkItem,
    format: Format,
    invocation_id: &str,
) -> Result<Published, Stop> {
    let name = item.blob_name(format);
    let request = item.request_digest(format);
    if delivery.dequeue_count > 1 {
        // It may have been done: only the answer to the host was lost. Looking is cheaper than signing in vain.
        trail.enter(Stage::Resolve);
        let standing = app.results.standing(trail, &name, &request).await;
        match standing.map_err(|failure| hand_back(Stage::Resolve, failure))? {
            Standing::Nothing => {}
            Standing::Same => return Ok(Published { name, adopted: true }),
            Standing::Other => return Err(conflict(&item.id, &name)),
        }
    }

    trail.enter(Stage::Key);
    let key = app.readiness.key(trail).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let draft = Draft::new(item, format, &key, now).map_err(Stop::Reject)?;

    trail.enter(Stage::Sign);
    let signature = app.vault.sign(trail, &key, draft.digest()).await;
    let signature = signature.map_err(|failure| hand_back(Stage::Sign, failure))?;
    if signature.kid != key.kid {
        return Err(vaults_fault(&key, &format!("it signed with {}", signature.kid)));
    }
    let content = draft.complete(&signature.bytes, &key).map_err(|error| vaults_fault(&key, &error.to_string()))?;

    trail.enter(Stage::Publish);
    let metadata = metadata(item, &request, &key, invocation_id);
    let blob = NewBlob { name, content_type: format.content_type(), metadata, content: Bytes::from(content) };
    let created = app.results.create(trail, &blob).await.map_err(|failure| hand_back(Stage::Publish, failure))?;
    match created {
        Created::Now => Ok(Published { name: blob.name, adopted: false }),
        Created::Before(metadata) if results::is_of(&metadata, &request) => {
            Ok(Published { name: blob.name, adopted: true })
        }
        Created::Before(_) => Err(conflict(&item.id, &blob.name)),
    }
}

fn metadata(item: &WorkItem, request: &str, key: &SigningKey, invocation_id: &str) -> HashMap<String, String> {
    let sha256 = item.content.sha256();
    let entries = [
        ("signet_request", request),
        ("signet_kid", &key.kid),
        ("signet_alg", key.algorithm.name()),
        ("signet_version", env!("CARGO_PKG_VERSION")),
        ("signet_invocation", invocation_id),
    ];
    // Not known where the sender gave another digest in place of the content.
    let sha256 = sha256.as_deref().map(|sha256| ("signet_sha256", sha256));
    entries.into_iter().chain(sha256).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The results of an item if all of them stand.
async fn all_standing(app: &App, trail: &Trail, item: &WorkItem) -> Result<Option<Vec<Published>>, Failure> {
    let mut published = Vec::new();
    for format in &item.formats {
        let name = item.blob_name(*format);
        if app.results.standing(trail, &name, &item.request_digest(*format)).await? != Standing::Same {
            return Ok(None);
        }
        published.push(Published { name, adopted: true });
    }
    Ok(Some(published))
}

/// Only once the record stands may the host forget the message.
async fn reject(app: &App, trail: &Trail, delivery: &Delivery, rejection: Rejection, invocation_id: &str) -> Fate {
    trail.enter(Stage::Reject);
    let queue = &app.settings.queue;
    match rejections::record(&app.rejected, trail, delivery, &rejection, queue, invocation_id).await {
        Ok(record) => Fate::Rejected { rejection, record },
        Err(failure) => Fate::HandedBack(setback(Stage::Reject, failure)),
    }
}

fn conflict(id: &str, name: &str) -> Stop {
    Stop::Reject(Rejection {
        reason: Reason::IdConflict,
        stage: Stage::Publish,
        detail: format!("{name} stands already, and is the result of another request; choose another id"),
        id: Some(id.to_owned()),
    })
}

/// A signature that must not be published. The item is not to blame, so it is handed back.
fn vaults_fault(key: &SigningKey, what: &str) -> Stop {
    tracing::error!(kid = key.kid, what, "the vault returned a signature that is not good; nothing was published");
    let message = format!("the vault's signature is not good: {what}");
    Stop::HandBack(Setback { stage: Stage::Verify, code: "bad-signature".to_owned(), message })
}

fn hand_back(stage: Stage, failure: Failure) -> Stop {
    Stop::HandBack(setback(stage, failure))
}

fn setback(stage: Stage, failure: Failure) -> Setback {
    Setback { stage, code: failure.code, message: failure.message }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.adopted { f.write_str(" (stood already)") } else { Ok(()) }
    }
}
