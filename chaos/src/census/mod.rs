//! The count, from the storage itself: every blob is listed, read and judged, whatever anybody was told.

mod results;

use std::collections::{BTreeMap, HashMap, HashSet};

use azure_storage_blob::BlobContainerClient;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use signet::{
    local::{ledger::Write, stack::Deployment},
    remote::Document,
};
use signet_core::{base64, jwks, jwks::JwkSet};

use crate::{
    error::{Context as _, Result, patiently},
    feed::Sent,
    findings::{Finding, Findings, What},
    items::{Expect, Message},
};

/// Blobs read at once.
const AT_ONCE: usize = 16;

/// Everything that stands in the containers.
#[derive(Debug)]
pub struct Census {
    /// The results, by name; without the key set.
    results: BTreeMap<String, Document>,
    /// The records, by the id of the message that they are of.
    records: HashMap<String, Vec<Record>>,
    keys: JwkSet,
}

#[derive(Debug)]
struct Record {
    name: String,
    json: Value,
}

/// What was planned, and what was sent of it.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The seed that contents come of.
    pub seed: u64,
    /// What was planned.
    pub messages: &'a [Message],
    /// What was sent.
    pub sent: &'a HashMap<usize, Sent>,
}

impl Census {
    /// Reads every blob that there is.
    pub async fn take(deployment: &Deployment) -> Result<Self> {
        let storage = deployment.past_taps();
        let mut results = read(&storage.results().context("the results")?).await?;
        let keys = results.remove(jwks::BLOB_NAME).ok_or("nothing was published").context("the key set")?;
        let keys = JwkSet::parse(&String::from_utf8_lossy(&keys.bytes)).context("the key set")?;
        let mut records: HashMap<String, Vec<Record>> = HashMap::new();
        for (name, document) in read(&storage.rejected().context("the records")?).await? {
            let json: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
            let message_id = json["messageId"].as_str().unwrap_or_default().to_owned();
            records.entry(message_id).or_default().push(Record { name, json });
        }
        Ok(Self { results, records, keys })
    }

    /// Compares what stands with what was planned.
    #[must_use]
    pub fn judge(&self, plan: &Plan<'_>) -> Findings {
        let mut findings = Findings::default();
        let mut owned = HashSet::new();
        let winners = self.winners(plan);
        for message in plan.messages {
            let Some(sent) = plan.sent.get(&message.number) else {
                findings.add(What::Lost, Some(message.number), "it was never sent".to_owned());
                continue;
            };
            if let Some(wanted) = message.wanted() {
                owned.extend(wanted.names());
            }
            for (what, why) in self.judge_one(plan, message, sent, &winners) {
                findings.add(what, Some(message.number), why);
            }
        }
        // What stands already when a message is given up is another's.
        for name in self.results.keys().filter(|name| !owned.contains(*name)) {
            findings.add(What::LeftOver, None, format!("{name}: no message asks for this result"));
        }
        let known: HashSet<&str> = plan.sent.values().map(|sent| sent.message_id.as_str()).collect();
        for (message_id, records) in self.records.iter().filter(|(id, _)| !known.contains(id.as_str())) {
            let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
            findings.add(What::LeftOver, None, format!("{}: records of no message ({message_id})", names.join(", ")));
        }
        findings
    }

    fn judge_one(
        &self,
        plan: &Plan<'_>,
        message: &Message,
        sent: &Sent,
        winners: &HashMap<usize, usize>,
    ) -> Vec<(What, String)> {
        match &message.expect {
            Expect::Results(_) => {
                let mut faults = self.judge_results(plan, message, sent);
                faults.extend(self.no_record(sent));
                faults
            }
            Expect::Contested { contest, .. } => match winners.get(contest) {
                Some(winner) if *winner == message.number => {
                    let mut faults = self.judge_results(plan, message, sent);
                    faults.extend(self.no_record(sent));
                    faults
                }
                Some(_) => self.judge_record(sent, "id-conflict"),
                None => vec![(What::Lost, "none of those who wanted this id has its results".to_owned())],
            },
            Expect::Rejected(reason) => {
                let mut faults = self.judge_record(sent, reason);
                let id = self.record(sent).and_then(|record| record.json["id"].as_str());
                let stands = id.and_then(|id| {
                    let prefix = format!("{id}.");
                    let (name, _) = self.results.range(prefix.clone()..).next()?;
                    name.starts_with(&prefix).then_some(name)
                });
                faults.extend(stands.map(|name| (What::Doubled, format!("it was rejected, and {name} stands"))));
                faults
            }
            Expect::Nothing => self.no_record(sent),
        }
    }

    /// Whether a result stands.
    #[must_use]
    pub fn has_result(&self, name: &str) -> bool {
        self.results.contains_key(name)
    }

    /// How many records there are of each message, by its text.
    #[must_use]
    pub fn records_by_text(&self) -> HashMap<String, usize> {
        let mut count = HashMap::new();
        for record in self.records.values().flatten() {
            let text = record.json["message"].as_str().and_then(base64::decode_any).unwrap_or_default();
            *count.entry(String::from_utf8_lossy(&text).into_owned()).or_default() += 1;
        }
        count
    }

    fn record(&self, sent: &Sent) -> Option<&Record> {
        self.records.get(&sent.message_id).and_then(|records| records.first())
    }

    fn no_record(&self, sent: &Sent) -> Vec<(What, String)> {
        let records = self.records.get(&sent.message_id).into_iter().flatten();
        records
            .map(|Record { name, json }| {
                (What::Doubled, format!("there is a record as well: {name}, {}", json["reason"]))
            })
            .collect()
    }

    /// One record of the reason, with the message in it whole.
    fn judge_record(&self, sent: &Sent, reason: &str) -> Vec<(What, String)> {
        let records = self.records.get(&sent.message_id).map_or(&[][..], Vec::as_slice);
        let [Record { name, json }] = records else {
            return match records.len() {
                0 => vec![(What::Lost, format!("there is no record; expected: {reason}"))],
                count => vec![(What::Doubled, format!("there are {count} records"))],
            };
        };
        let mut faults = Vec::new();
        if json["reason"] != reason {
            faults.push((What::Wrong, format!("{name} says {}; expected: {reason}", json["reason"])));
        }
        if json["message"] != base64::encode(sent.text.as_bytes()) {
            faults.push((What::Wrong, format!("{name} does not hold the message as it was sent")));
        }
        faults
    }
}

/// Whether any blob was written twice, or a key was taken from the key set; by the storage's own word.
#[must_use]
pub fn judge_writes(queue: &str, writes: &[Write], census: &Census) -> Vec<Finding> {
    let mut findings = Findings::default();
    let mut count: HashMap<(&str, &str), usize> = HashMap::new();
    let mut published: Vec<&[u8]> = Vec::new();
    let (results, rejected) = (format!("{queue}-signed"), format!("{queue}-rejected"));
    for write in writes.iter().filter(|write| [&results, &rejected].contains(&&write.container)) {
        if write.blob == jwks::BLOB_NAME {
            published.extend(write.content.as_deref());
        } else {
            *count.entry((&write.container, &write.blob)).or_default() += 1;
        }
    }
    for ((container, blob), count) in count.iter().filter(|(_, count)| **count > 1) {
        findings.add(What::Overwritten, None, format!("{container}/{blob} was written {count} times"));
    }
    for name in census.results.keys().filter(|name| !count.contains_key(&(results.as_str(), name.as_str()))) {
        findings.add(What::LeftOver, None, format!("{name} stands, and nobody has written it"));
    }
    for pair in published.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(kids);
        for kid in before.difference(&after) {
            findings.add(What::Overwritten, None, format!("{kid} was taken from the key set"));
        }
    }
    findings.into_all()
}

fn kids(set: &[u8]) -> HashSet<String> {
    let set: Value = serde_json::from_slice(set).unwrap_or_default();
    let keys = set["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
}

/// Every blob of a container, with its metadata.
async fn read(container: &BlobContainerClient) -> Result<BTreeMap<String, Document>> {
    let blobs = container.list_blobs(None).context("a list of blobs")?;
    let names = blobs.try_filter_map(async |blob| Ok(blob.name)).try_collect::<Vec<String>>();
    stream::iter(names.await.context("a list of blobs")?)
        .map(|name| async move {
            let client = container.blob_client(&name);
            let download = async || {
                let downloaded = client.download(None).await?;
                let metadata = downloaded.properties.metadata.clone();
                Ok(Document { bytes: downloaded.body.collect().await?.to_vec(), metadata })
            };
            let document = patiently(&name, download).await?;
            Ok((name, document))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}
