//! Whether a message's results are what it asked for.

use std::collections::HashMap;

use signet::verbs::verify::{self, NoVerdict};
use signet_core::{
    algorithm::sha256_hex,
    content::{Content, ContentName},
    format::Format,
    work_item::WorkItem,
};

use super::{Census, Plan};
use crate::{
    feed::Sent,
    findings::What,
    items::{Expect, Message},
};

impl Census {
    /// Who has got the results that several wanted: of each contest, the number of the message whose content was signed.
    pub(super) fn winners(&self, plan: &Plan<'_>) -> HashMap<usize, usize> {
        let mut winners = HashMap::new();
        for message in plan.messages {
            let Expect::Contested { contest, wanted } = &message.expect else { continue };
            let content = message.content(plan.seed).unwrap_or_default();
            let digest = sha256_hex(&content);
            let has_one = wanted.names().any(|name| {
                self.results.get(&name).is_some_and(|result| result.metadata.get("signet_sha256") == Some(&digest))
            });
            if has_one {
                winners.insert(*contest, message.number);
            }
        }
        winners
    }

    /// All results stand, verify with the published keys, and are of what the message asked for.
    pub(super) fn judge_results(&self, plan: &Plan<'_>, message: &Message, sent: &Sent) -> Vec<(What, String)> {
        let (Some(wanted), Some(content)) = (message.wanted(), message.content(plan.seed)) else { return Vec::new() };
        let mut faults = Vec::new();
        for (format, name) in wanted.formats.iter().zip(wanted.names()) {
            let Some(result) = self.results.get(&name) else {
                faults.push((What::Lost, format!("{name} does not stand")));
                continue;
            };
            match verify::verdict(result, Some(&content), &self.keys) {
                Ok(verdict) if *format == Format::Dsse && verdict.subject.as_deref() != Some(&wanted.id) => {
                    faults.push((What::Wrong, format!("{name} is about {:?}", verdict.subject)));
                }
                Ok(_) => {}
                Err(NoVerdict::Invalid(why) | NoVerdict::Unknown(why)) => {
                    faults.push((What::Unverifiable, format!("{name}: {why}")));
                }
            }
            let request = request(&sent.text, *format, &content);
            if result.metadata.get("signet_request") != request.as_ref() {
                faults.push((What::Wrong, format!("{name} is the result of another request")));
            }
        }
        faults
    }
}

/// What a message asks for in one format, as the handler puts it down.
fn request(text: &str, format: Format, content: &[u8]) -> Option<String> {
    let item = WorkItem::parse(text.as_bytes(), Format::Jws).ok()?;
    let name = match &item.content {
        Content::Given(given) => given.name(),
        Content::Source(_) => ContentName::of_source(sha256_hex(content)),
    };
    Some(item.request_digest(format, &name))
}
