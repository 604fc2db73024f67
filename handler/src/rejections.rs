//! The edge to the rejected container: one record for each message, however often it comes.

use std::collections::HashMap;

use signet_azure::failure::Failure;
use signet_core::{
    algorithm::sha256_hex,
    envelope::Delivery,
    rejection::{self, Circumstances, Reason, Rejection},
};
use time::OffsetDateTime;

use crate::{
    results::{Container, Created, NewBlob},
    trail::Trail,
};

/// Writes the record of a rejection and returns its name.
pub(crate) async fn record(
    container: &Container,
    trail: &Trail,
    delivery: &Delivery,
    rejection: &Rejection,
    queue: &str,
    invocation_id: &str,
) -> Result<String, Failure> {
    let now = OffsetDateTime::now_utc();
    let message_sha256 = sha256_hex(&delivery.message);
    // A message whose id the host did not tell (its sender overwrote it) is named by its content.
    let message_id = delivery.message_id.clone().unwrap_or_else(|| format!("sha256-{message_sha256}"));
    let day = delivery.inserted.unwrap_or(now).date();
    let circumstances = Circumstances {
        message_id: &message_id,
        dequeue_count: delivery.dequeue_count,
        queue,
        invocation_id,
        at: now,
        message: &delivery.message,
    };
    let mut blob = NewBlob {
        name: rejection::blob_name(day, &message_id),
        content_type: "application/json",
        metadata: HashMap::from([
            (REASON.to_owned(), rejection.reason.name().to_owned()),
            (MESSAGE_SHA256.to_owned(), message_sha256.clone()),
        ]),
        content: rejection::record(rejection, &circumstances).into(),
    };
    if is_same(container.create(trail, &blob).await?, &message_sha256) {
        return Ok(blob.name);
    }
    // Another message's record stands there: an id that a sender forged. Neither may hide the other.
    blob.name = rejection::blob_name(day, &format!("{message_id}-{message_sha256}"));
    container.create(trail, &blob).await?;
    Ok(blob.name)
}

/// The record of this very message, if an earlier delivery has made one: its name, and the reason.
pub(crate) async fn standing(
    container: &Container,
    trail: &Trail,
    delivery: &Delivery,
) -> Result<Option<(String, Reason)>, Failure> {
    let (Some(message_id), Some(inserted)) = (&delivery.message_id, delivery.inserted) else { return Ok(None) };
    let message_sha256 = sha256_hex(&delivery.message);
    for id in [message_id.clone(), format!("{message_id}-{message_sha256}")] {
        let name = rejection::blob_name(inserted.date(), &id);
        let Some(metadata) = container.metadata(trail, &name).await? else { return Ok(None) };
        let reason = metadata.get(REASON).and_then(|name| Reason::ALL.into_iter().find(|known| known.name() == name));
        if let Some(reason) = reason
            && metadata.get(MESSAGE_SHA256).is_some_and(|found| *found == message_sha256)
        {
            return Ok(Some((name, reason)));
        }
    }
    Ok(None)
}

const REASON: &str = "signet_reason";
const MESSAGE_SHA256: &str = "signet_message_sha256";

fn is_same(created: Created, message_sha256: &str) -> bool {
    match created {
        Created::Now => true,
        Created::Before(metadata) => metadata.get(MESSAGE_SHA256).is_some_and(|found| found == message_sha256),
    }
}
