//! One item, from message to fate: parse, look, read, sign, verify, publish; or reject; or hand back.

mod rescue;

use std::{fmt, sync::Arc};

use azure_core::Bytes;
use signet_azure::failure::Failure;
use signet_core::{
    algorithm::Hash,
    content::{Content, ContentName, Given, Source},
    draft::{self, Draft, Pass, SigningKey},
    envelope::Delivery,
    format::Format,
    rejection::{Reason, Rejection, Stage},
    work_item::WorkItem,
};
use time::OffsetDateTime;
use url::Url;

pub(crate) use self::rescue::{give_up, rescue};
use crate::{
    app::App,
    fault,
    keys::{Attempts, Choice},
    provenance::{self, Metadata, Origin},
    rejections,
    results::{Created, NewBlob},
    source::{Blob, Fault},
    trail::{End, Trail},
};

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Every result that it asks for stands.
    Done { results: Vec<Published> },
    /// It can never succeed; the record's name.
    Rejected { rejection: Rejection, record: String },
    /// It may succeed later: the host keeps it.
    HandedBack(Setback),
    /// It is an event about a record of our own. To reject it would make another record, and another event.
    Ignored,
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
pub(crate) async fn sign(app: Arc<App>, delivery: Delivery, invocation_id: String, trail: Arc<Trail>) -> Fate {
    within_deadline(&trail, async {
        let outcome = match WorkItem::parse(&delivery.message, app.settings.format) {
            Ok(mut item) => {
                // All publish in one order: of two that want the same names, one has the first, and with it all of them.
                item.formats.sort_by_key(|format| Format::ALL.iter().position(|known| known == format));
                Job { app: &app, trail: &trail, delivery: &delivery, item, invocation_id: &invocation_id }.run().await
            }
            Err(rejection) if is_of_own_record(&app, &rejection) => {
                trail.is_about(rejection.id.as_deref().unwrap_or_default());
                Ok(Fate::Ignored)
            }
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

/// Ends an item at its deadline, and before its message may be somebody else's, wherever it is. Nothing is lost by that: it was
/// handed back, and comes again.
async fn within_deadline(trail: &Trail, work: impl Future<Output = Fate>) -> Fate {
    tokio::select! {
        // The clock first: a process that stood still must not go on where it was, beside those who went on without it.
        biased;
        end = trail.over() => {
            let (stage, failure) = trail.end();
            let because = failure.map_or_else(String::new, |failure| format!("; last: {}", failure.message));
            let (code, what) = match end {
                End::Deadline => ("deadline", "out of time"),
                End::LeaseLost => (LEASE_LOST, "the message may be somebody else's by now"),
            };
            Fate::HandedBack(Setback { stage, code: code.to_owned(), message: format!("{what}{because}") })
        }
        fate = work => fate,
    }
}

/// The code of what ended with its lease.
pub(crate) const LEASE_LOST: &str = "lease-lost";

/// One delivery of one item.
struct Job<'a> {
    app: &'a App,
    trail: &'a Trail,
    delivery: &'a Delivery,
    item: WorkItem,
    invocation_id: &'a str,
}

/// Where an item's content comes from.
enum Input<'a> {
    Given(&'a Given),
    Blob(Blob),
}

/// What is known once the content is.
struct Drafted<'a> {
    content: ContentName,
    /// The state of the source that was read.
    source_etag: Option<String>,
    /// One for each format of the item, in their order.
    drafts: Vec<Draft<'a>>,
}

impl Job<'_> {
    async fn run(&self) -> Result<Fate, Stop> {
        let (app, item) = (self.app, &self.item);
        if let Some(id) = self.early_id() {
            self.trail.is_about(&id);
        }
        self.trail.enter(Stage::Queue);
        // The semaphore is never closed; should it be, going on without a place is no worse than failing.
        let _place = app.places.acquire().await;
        if self.is_about_own_record() {
            return Ok(Fate::Ignored);
        }

        // A message that comes again may have been done: only the answer to the host was lost. And of several results, none
        // is to be made if another request has one of them already. Looking is cheaper than signing in vain.
        let mut is_worth_a_look = self.delivery.dequeue_count > 1 || item.formats.len() > 1;
        let mut standing: Vec<Option<Metadata>> = item.formats.iter().map(|_| None).collect();
        if is_worth_a_look && let Some(id) = self.early_id() {
            is_worth_a_look = false;
            standing = self.look(&id).await?;
            if let Some(done) = self.done(&id, &standing) {
                return Ok(done);
            }
        }
        if let Some(rejected) = self.rejected_before().await? {
            return Ok(rejected);
        }
        let mut input = match &item.content {
            Content::Given(given) => Input::Given(given),
            Content::Source(source) => {
                // Only now: what is done stays done, though its container may not be read any more.
                let mut blob = self.allowed(source)?;
                // Where some of our results stand, the others must be of the same state of the source.
                blob.pin(self.own(&standing).find_map(provenance::source_etag));
                Input::Blob(blob)
            }
        };

        self.trail.enter(Stage::Key);
        fault::point("key.before");
        let chosen = app.keys.choose(self.trail, self.wanted_hash()).await;
        let mut choice = chosen.map_err(|failure| hand_back(Stage::Key, failure))?;
        fault::point("key.after");
        let mut attempts = app.keys.attempts();
        let mut published: Vec<Published> = Vec::with_capacity(item.formats.len());
        'draft: loop {
            let key = Arc::clone(&choice.key);
            self.trail.signs_with(&key.kid);
            fault::point("draft.before");
            let drafted = self.draft(&input, &key).await;
            fault::point("draft.after");
            if let (Err(Stop::Reject(_)), Input::Blob(_)) = (&drafted, &input)
                && let Some(done) = self.all_standing().await.map_err(|failure| hand_back(Stage::Resolve, failure))?
            {
                // A duplicate of what is done, whose source has moved on since.
                return Ok(done);
            }
            let Drafted { content, source_etag, drafts } = drafted?;
            if let Input::Blob(blob) = &mut input {
                // Should it have to be read again, for another key: the same state, or none.
                blob.pin(source_etag.as_deref());
            }
            let origin = self.origin(&content, source_etag.as_deref());
            let id = item.id(&content);
            self.trail.is_about(&id);
            if is_worth_a_look {
                is_worth_a_look = false;
                standing = self.look(&id).await?;
            }
            for (format, standing) in item.formats.iter().zip(&standing) {
                if standing.as_ref().is_some_and(|standing| !origin.is_of(standing, *format)) {
                    return Err(conflict(&id, &name(&id, *format)));
                }
            }
            for (draft, standing) in drafts.iter().zip(&standing).skip(published.len()) {
                if standing.is_some() {
                    published.push(Published { name: name(&id, draft.format), adopted: true });
                    continue;
                }
                // What is signed names the key: another one needs another draft.
                let signed = self.sign(draft, &key, &mut choice, &mut attempts).await?;
                let Some(result) = signed else { continue 'draft };
                published.push(self.publish(&id, draft.format, result, origin.metadata(draft.format, &key)).await?);
            }
            return Ok(Fate::Done { results: published });
        }
    }

    /// Whether it is an event about a rejection record of our own.
    fn is_about_own_record(&self) -> bool {
        let (Content::Source(source), Some(id), true) = (&self.item.content, self.early_id(), self.item.is_event)
        else {
            return false;
        };
        // Under another host name as well, unless that is one to sign from.
        let rejected = &self.app.settings.rejected;
        source.name_in(rejected).is_some()
            || is_own_record(self.app, &id)
                && may_be_one_account(rejected, &source.url)
                && self.app.sources.find(source).is_none()
    }

    /// The fate of an item that an earlier delivery has rejected, where a later one could come to another verdict: what was not
    /// there may be by now.
    async fn rejected_before(&self) -> Result<Option<Fate>, Stop> {
        if self.delivery.dequeue_count <= 1 || !matches!(self.item.content, Content::Source(_)) {
            return Ok(None);
        }
        self.trail.enter(Stage::Resolve);
        let found = rejections::standing(&self.app.rejected, self.trail, self.delivery).await;
        let found = found.map_err(|failure| hand_back(Stage::Resolve, failure))?;
        Ok(found.map(|(record, reason)| {
            let detail = "an earlier delivery was rejected".to_owned();
            Fate::Rejected {
                rejection: Rejection { reason, stage: Stage::Resolve, detail, id: self.early_id() },
                record,
            }
        }))
    }

    /// The blob of a source that may be read.
    fn allowed(&self, source: &Source) -> Result<Blob, Stop> {
        if self.item.is_event && source.name_in(&self.app.settings.results).is_some() {
            let detail = "the event is about a result of our own, and signing that would never end; have the event \
                          subscription leave out the results container";
            return Err(self.refused(Reason::SourceForbidden, detail));
        }
        let detail = "the source is in none of the containers that the setting SIGNET_SOURCES names";
        self.app.sources.find(source).ok_or_else(|| self.refused(Reason::SourceForbidden, detail))
    }

    /// The hash function that a digest in place of the content ties the item to.
    fn wanted_hash(&self) -> Option<Hash> {
        match &self.item.content {
            Content::Given(Given::Digest { hash, .. }) if self.item.formats.contains(&Format::Raw) => Some(*hash),
            _ => None,
        }
    }

    /// The id, if it does not depend on a source's content.
    fn early_id(&self) -> Option<String> {
        self.item.id.clone().or_else(|| self.item.content_name().map(|content| self.item.id(&content)))
    }

    /// What stands under the names of the item's results.
    async fn look(&self, id: &str) -> Result<Vec<Option<Metadata>>, Stop> {
        self.trail.enter(Stage::Resolve);
        fault::point("look.before");
        let standing = self.standing(id).await.map_err(|failure| hand_back(Stage::Resolve, failure));
        fault::point("look.after");
        standing
    }

    async fn standing(&self, id: &str) -> Result<Vec<Option<Metadata>>, Failure> {
        let mut standing = Vec::with_capacity(self.item.formats.len());
        for format in &self.item.formats {
            standing.push(self.app.results.metadata(self.trail, &name(id, *format)).await?);
        }
        Ok(standing)
    }

    fn origin<'a>(&'a self, content: &'a ContentName, source_etag: Option<&'a str>) -> Origin<'a> {
        let (item, message_id) = (&self.item, self.delivery.message_id.as_deref());
        Origin { item, content, source_etag, message_id, invocation_id: self.invocation_id }
    }

    /// Whether a result that stands is certainly this item's.
    fn is_ours(&self, standing: &Metadata, format: Format) -> bool {
        match &self.item.content {
            Content::Given(given) => self.origin(&given.name(), None).is_of(standing, format),
            Content::Source(source) => {
                let message_id = self.delivery.message_id.as_deref();
                provenance::is_of_source(standing, &self.item, source, format, message_id)
            }
        }
    }

    /// Those results that stand and are this item's.
    fn own<'m>(&self, standing: &'m [Option<Metadata>]) -> impl Iterator<Item = &'m Metadata> {
        let named = self.item.formats.iter().zip(standing);
        named.filter_map(|(format, standing)| standing.as_ref().filter(|standing| self.is_ours(standing, *format)))
    }

    /// The item's fate if all its results stand.
    fn done(&self, id: &str, standing: &[Option<Metadata>]) -> Option<Fate> {
        (self.own(standing).count() == standing.len()).then(|| self.adopted(id))
    }

    fn adopted(&self, id: &str) -> Fate {
        let adopted = |format: &Format| Published { name: name(id, *format), adopted: true };
        Fate::Done { results: self.item.formats.iter().map(adopted).collect() }
    }

    /// The item's fate if all its results stand, as far as that can be told without reading a source.
    async fn all_standing(&self) -> Result<Option<Fate>, Failure> {
        let Some(id) = self.early_id() else { return Ok(None) };
        Ok(self.done(&id, &self.standing(&id).await?))
    }

    /// Everything of the results but the signatures.
    async fn draft<'a>(&'a self, input: &Input<'a>, key: &'a SigningKey) -> Result<Drafted<'a>, Stop> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let blob = match input {
            Input::Given(given) => {
                let drafts = draft::drafts(&self.item, given, key, now).map_err(Stop::Reject)?;
                return Ok(Drafted { content: given.name(), source_etag: None, drafts });
            }
            Input::Blob(blob) => blob,
        };
        self.trail.enter(Stage::Resolve);
        let begin = |bytes| Pass::new(&self.item, key, now, bytes);
        match self.app.sources.read(self.trail, blob, begin, Pass::update).await {
            Ok((pass, etag)) => {
                let (content, drafts) = pass.finish();
                Ok(Drafted { content, source_etag: Some(etag), drafts })
            }
            Err(Fault::Never(reason, detail)) => Err(self.refused(reason, detail)),
            Err(Fault::Later(failure)) => Err(hand_back(Stage::Resolve, failure)),
        }
    }

    /// The finished result; `None` where another key has been chosen, since this one cannot sign any more.
    async fn sign(
        &self,
        draft: &Draft<'_>,
        key: &SigningKey,
        choice: &mut Choice,
        attempts: &mut Attempts,
    ) -> Result<Option<Vec<u8>>, Stop> {
        self.trail.enter(Stage::Sign);
        let keys = &self.app.keys;
        loop {
            fault::point("sign.before");
            let signed = keys.sign(self.trail, choice, attempts, draft.digest()).await;
            fault::point("sign.after");
            let failure = match signed {
                Ok(signature) if signature.kid != key.kid => {
                    return Err(vaults_fault(key, &format!("it signed with {}", signature.kid)));
                }
                Ok(signature) => {
                    self.trail.enter(Stage::Verify);
                    let completed = draft.complete(&signature.bytes, key);
                    return completed.map(Some).map_err(|error| vaults_fault(key, &error.to_string()));
                }
                Err(failure) => failure,
            };
            fault::point("retry.before");
            let next = keys.after(self.trail, choice, failure, attempts, self.wanted_hash()).await;
            fault::point("retry.after");
            *choice = next.map_err(|failure| hand_back(Stage::Sign, failure))?;
            if choice.key.kid != key.kid {
                return Ok(None);
            }
        }
    }

    async fn publish(&self, id: &str, format: Format, result: Vec<u8>, metadata: Metadata) -> Result<Published, Stop> {
        self.trail.enter(Stage::Publish);
        let blob = NewBlob {
            name: name(id, format),
            content_type: format.content_type(),
            metadata,
            content: Bytes::from(result),
        };
        fault::point("publish.before");
        let created = self.app.results.create(self.trail, &blob).await;
        fault::point("publish.after");
        match created.map_err(|failure| hand_back(Stage::Publish, failure))? {
            Created::Now => Ok(Published { name: blob.name, adopted: false }),
            Created::Before(standing) if provenance::is_same_request(&standing, &blob.metadata) => {
                Ok(Published { name: blob.name, adopted: true })
            }
            // Another delivery of this very message read another state of the source, and was first: the next one finds it done.
            Created::Before(standing) if self.is_ours(&standing, format) => {
                let message = format!("{} was made meanwhile, of another state of the source", blob.name);
                Err(Stop::HandBack(Setback { stage: Stage::Publish, code: "made-meanwhile".to_owned(), message }))
            }
            Created::Before(_) => Err(conflict(id, &blob.name)),
        }
    }

    fn refused(&self, reason: Reason, detail: impl Into<String>) -> Stop {
        Stop::Reject(Rejection { reason, stage: Stage::Resolve, detail: detail.into(), id: self.early_id() })
    }
}

/// Only once the record stands may the host forget the message.
async fn reject(app: &App, trail: &Trail, delivery: &Delivery, rejection: Rejection, invocation_id: &str) -> Fate {
    trail.enter(Stage::Reject);
    if let Some(id) = &rejection.id {
        trail.is_about(id);
    }
    let queue = &app.settings.queue;
    fault::point("reject.before");
    let recorded = rejections::record(&app.rejected, trail, delivery, &rejection, queue, invocation_id).await;
    fault::point("reject.after");
    match recorded {
        Ok(record) => Fate::Rejected { rejection, record },
        Err(failure) => Fate::HandedBack(setback(Stage::Reject, failure)),
    }
}

/// Whether `{container}/{blob name}` is one of our rejection records, as far as names tell.
fn is_own_record(app: &App, id: &str) -> bool {
    let container = app.settings.rejected.path().trim_start_matches('/');
    id.strip_prefix(container).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a blob may be in the account of a container, as far as host names tell: the account's second region has another, and a
/// domain of one's own says nothing.
fn may_be_one_account(container: &Url, blob: &Url) -> bool {
    let account = |url: &Url| {
        let account = url.host_str().and_then(|host| host.split('.').next()).unwrap_or_default();
        account.trim_end_matches("-secondary").to_owned()
    };
    let is_named = container.host_str().is_some_and(|host| host.contains(".blob."));
    !is_named || account(container) == account(blob)
}

/// The same of an event that tells of nothing to sign.
fn is_of_own_record(app: &App, rejection: &Rejection) -> bool {
    let id = rejection.id.as_deref().filter(|_| rejection.reason == Reason::UnsupportedEvent);
    id.is_some_and(|id| is_own_record(app, id))
}

/// The name of a result.
fn name(id: &str, format: Format) -> String {
    format!("{id}{}", format.suffix())
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
