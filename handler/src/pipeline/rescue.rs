//! What was delivered too often: done if its results stand, else kept in a record.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signet_azure::failure::Failure;
use signet_core::{
    algorithm::{Hash, Hasher, hex},
    content::{Content, ContentName},
    envelope::Delivery,
    rejection::{Reason, Rejection, Stage},
    work_item::WorkItem,
};
use time::OffsetDateTime;

use super::{Fate, Job, Setback, is_of_own_record, reject, setback, within_deadline};
use crate::{app::App, fault, source::Fault, trail::Trail};

/// Keeps what the host gave up: a record, unless the results stand and only the message was not deleted.
pub(crate) async fn rescue(app: Arc<App>, delivery: Delivery, invocation_id: String, trail: Arc<Trail>) -> Fate {
    trail.enter(Stage::Poison);
    match too_early(&app, &delivery) {
        None => {}
        Some(wait) if wait.saturating_add(app.settings.deadline) > LONGEST => {
            let message = "a delivery that began a moment ago may still be under way".to_owned();
            return Fate::HandedBack(Setback { stage: Stage::Poison, code: "too-early".to_owned(), message });
        }
        Some(wait) => {
            tokio::time::sleep(wait).await;
            trail.renew(app.settings.deadline);
        }
    }
    give_up(app, delivery, invocation_id, trail, "the host gave the message up after its last attempt").await
}

/// The same of a message that nobody else works on.
pub(crate) async fn give_up(
    app: Arc<App>,
    delivery: Delivery,
    invocation_id: String,
    trail: Arc<Trail>,
    why: &str,
) -> Fate {
    trail.enter(Stage::Poison);
    within_deadline(&trail, async {
        let mut detail = why.to_owned();
        let mut id = None;
        match WorkItem::parse(&delivery.message, app.settings.format) {
            Ok(item) => {
                let job = Job { app: &app, trail: &trail, delivery: &delivery, item, invocation_id: &invocation_id };
                if job.is_about_own_record() {
                    return Fate::Ignored;
                }
                fault::point("rescue.before");
                let standing = job.all_standing_or_read().await;
                fault::point("rescue.after");
                match standing {
                    Ok(Some(done)) => return done,
                    Ok(None) => {}
                    Err(failure) => return Fate::HandedBack(setback(Stage::Poison, failure)),
                }
                id = job.early_id();
            }
            Err(rejection) if is_of_own_record(&app, &rejection) => return Fate::Ignored,
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

/// How long a message that the host gave up a moment ago must wait: where its lease was lost, an earlier delivery may still be
/// under way, and publish yet. All of them had begun before, so they are over when their time is.
///
/// It waits here where it can: a host that gets it back hides it for ten minutes, and may be one that gives up for good what it
/// has had back too often from this queue as well.
fn too_early(app: &App, delivery: &Delivery) -> Option<Duration> {
    let age = OffsetDateTime::now_utc().unix_timestamp().checked_sub(delivery.inserted?.unix_timestamp())?;
    let wait = app.settings.deadline.saturating_add(GRACE);
    // A time that is far ahead is none that the service has set, and would keep the message waiting until it expires.
    if age.unsigned_abs() > wait.as_secs() {
        return None;
    }
    let left = wait.as_secs().saturating_add(1).checked_sub_signed(age)?;
    Some(Duration::from_secs(left).min(wait))
}

/// Below the `functionTimeout` in host.json, at which the host would end every item in flight.
const LONGEST: Duration = Duration::from_secs(280);

/// For an upload that had left when its delivery's time was over, for clocks that differ, and since the host tells the time of
/// insertion in whole seconds.
const GRACE: Duration = Duration::from_secs(5);

impl Job<'_> {
    /// The same, where a source is read if nothing else can tell: a message that was given up has another id than before.
    async fn all_standing_or_read(&self) -> Result<Option<Fate>, Failure> {
        let (app, trail) = (self.app, self.trail);
        if let Some(done) = self.all_standing().await? {
            return Ok(Some(done));
        }
        let Content::Source(source) = &self.item.content else { return Ok(None) };
        let Ok(blob) = self.allowed(source) else { return Ok(None) };
        if let Some(id) = self.early_id()
            && self.standing(&id).await?.iter().any(Option::is_none)
        {
            return Ok(None);
        }
        let is_read = AtomicBool::new(false);
        let begin = |_| {
            is_read.store(true, Ordering::Relaxed);
            Hash::Sha256.hasher()
        };
        // What takes too long to be read, or cannot be read, must not wait until its life in the queue ends.
        let patience = app.settings.deadline.mul_f32(0.5);
        let read = tokio::time::timeout(patience, app.sources.read(trail, &blob, begin, Hasher::update)).await;
        let (hasher, etag) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(Fault::Later(failure))) if failure.transient => return Err(failure),
            Err(_elapsed) if !is_read.load(Ordering::Relaxed) => return Err(trail.end().1.unwrap_or_else(no_answer)),
            Ok(Err(_)) | Err(_) => return Ok(None),
        };
        let content = ContentName::of_source(hex(&hasher.finish()));
        let (id, origin) = (self.item.id(&content), self.origin(&content, Some(&etag)));
        let standing = self.standing(&id).await?;
        let mut named = self.item.formats.iter().zip(&standing);
        let are_ours = named.all(|(format, standing)| standing.as_ref().is_some_and(|one| origin.is_of(one, *format)));
        Ok(are_ours.then(|| self.adopted(&id)))
    }
}

/// A service that has not begun to answer.
fn no_answer() -> Failure {
    let message = "no answer yet".to_owned();
    Failure { status: None, code: "io".to_owned(), message, retry_after: None, transient: true }
}
