//! `signet keys`: the versions of the keys, whether verifiers can find them, and what else they find.

mod others;
mod unpublish;

use std::process::ExitCode;

use azure_core::time::OffsetDateTime;
use clap::Args;
use futures::future::try_join_all;
use serde_json::{Value, json};
use signet_azure::names::KeyIdentifier;
use signet_core::jwks::{JwkSet, Publication, thumbprint};
use time::format_description::well_known::Rfc3339;

use self::others::{Other, Standing};
use crate::{
    key_set::KeySet,
    out,
    remote::Remote,
    settings::{self, Error},
    table, text,
    vault::{KeyVersion, State, Timeline},
};

/// What to do with the keys.
#[derive(Args, Debug)]
pub struct Options {
    /// Publish every enabled version in the key set of `SIGNET_RESULTS`, beside what others have put there
    #[arg(long)]
    publish: bool,
    /// Take the key with exactly this `kid` out of the key set; its version must be disabled first
    #[arg(long, value_name = "KID", conflicts_with = "publish")]
    unpublish: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows each key of `SIGNET_KEY`: exit 0 if all enabled versions are published, 1 if one is not, 2 if a key is not there.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let keys = KeyIdentifier::list(&settings::required("SIGNET_KEY")?).map_err(|why| format!("SIGNET_KEY {why}"))?;
    let remote = Remote::new()?;
    let key_set = KeySet::of(&settings::required_container("SIGNET_RESULTS")?, &remote)?;
    if let Some(kid) = &options.unpublish {
        return unpublish::run(kid, keys, &key_set, &remote, options.json).await;
    }
    let timelines = try_join_all(keys.into_iter().map(|key| Timeline::read(key, remote.transport())));
    let (timelines, mut published) = futures::try_join!(timelines, key_set.read())?;

    let before = Overview { key_set: &key_set, timelines: &timelines, published: &published, added: &[], others: &[] };
    let missing = before.unpublished(Publication::Missing).filter(|_| options.publish);
    let missing: Vec<_> =
        missing.filter_map(|version| Some((version.kid.as_str(), version.public.as_ref().ok()?))).collect();
    let added: Vec<String> = missing.iter().map(|(kid, _)| (*kid).to_owned()).collect();
    if !missing.is_empty() {
        published = key_set.add(&missing).await?;
    }
    let others = Other::all(&published, &timelines);
    let overview =
        Overview { key_set: &key_set, timelines: &timelines, published: &published, added: &added, others: &others };
    if options.json {
        say!("{}", overview.as_json());
    } else {
        out::bytes(overview.as_text().as_bytes());
    }
    overview.warn();
    Ok(match overview.is_complete() {
        true => ExitCode::SUCCESS,
        false if timelines.iter().all(|timeline| timeline.exists) => ExitCode::FAILURE,
        false => ExitCode::from(2),
    })
}

/// The keys, and the set that they should be in.
struct Overview<'a> {
    key_set: &'a KeySet,
    timelines: &'a [Timeline],
    published: &'a JwkSet,
    /// What has been published just now.
    added: &'a [String],
    /// What is published without an enabled version behind it.
    others: &'a [Other],
}

impl Overview<'_> {
    /// The enabled versions that stand like this in the set.
    fn unpublished(&self, publication: Publication) -> impl Iterator<Item = &KeyVersion> {
        let versions = self.timelines.iter().flat_map(|timeline| &timeline.versions);
        versions.filter(move |version| version.enabled && self.publication(version) == Some(publication))
    }

    /// How a version stands in the set; nothing for a key that signs nothing here.
    fn publication(&self, version: &KeyVersion) -> Option<Publication> {
        let public = version.public.as_ref().ok()?;
        Some(self.published.publication(&version.kid, public))
    }

    fn is_complete(&self) -> bool {
        let mut wanting = self.unpublished(Publication::Missing).chain(self.unpublished(Publication::Contradicted));
        wanting.next().is_none() && self.timelines.iter().all(|timeline| timeline.exists)
    }

    /// What wants doing, on stderr.
    fn warn(&self) {
        let url = &self.key_set.url;
        for version in self.unpublished(Publication::Missing) {
            tell!("not published: {}; add it with `signet keys --publish`", version.kid);
        }
        for version in self.unpublished(Publication::Contradicted) {
            let kid = &version.kid;
            tell!(
                "{url} has another key under the name {kid}; nothing replaces it but you: `signet keys --unpublish {kid}`, \
                 then `signet keys --publish`"
            );
        }
        for other in self.others.iter().filter(|other| other.standing == Standing::NotInTheVault) {
            let kid = text::visible(other.kid.as_deref().unwrap_or_default());
            tell!(
                "published, and not in its vault: {kid}; if nobody has deleted it, somebody has put it there: \
                 `signet keys --unpublish {kid}`"
            );
        }
        for timeline in self.timelines.iter().filter(|timeline| timeline.signing.is_none()) {
            let key = timeline.key.without_version();
            match &timeline.key.version {
                _ if !timeline.exists => {
                    tell!("{key} is not in its vault: create it, recover it, or name another in SIGNET_KEY");
                }
                Some(pinned) => tell!("the version {pinned} of {key} cannot sign now, and no other is used"),
                None => tell!("no version of {key} can sign now"),
            }
        }
    }

    fn as_json(&self) -> Value {
        let keys: Vec<Value> = self.timelines.iter().map(|timeline| self.timeline_as_json(timeline)).collect();
        let others: Vec<Value> = self.others.iter().map(Other::as_json).collect();
        json!({
            "keySet": self.key_set.url.as_str(),
            "complete": self.is_complete(),
            "added": self.added,
            "keys": keys,
            "others": others,
        })
    }

    fn timeline_as_json(&self, timeline: &Timeline) -> Value {
        let versions = timeline.versions.iter().map(|version| {
            json!({
                "kid": version.kid,
                "version": version.version,
                "state": state(timeline, version),
                "enabled": version.enabled,
                "created": version.created.map(rfc3339),
                "notBefore": version.not_before.map(rfc3339),
                "expires": version.expires.map(rfc3339),
                "type": version.public.as_ref().ok().map(signet_core::key::PublicKey::kind),
                "hsm": version.hsm,
                "thumbprint": version.public.as_ref().ok().map(thumbprint),
                "published": self.publication(version).map(|publication| publication == Publication::Published),
            })
        });
        json!({
            "key": timeline.key.without_version(),
            "pinned": timeline.key.version,
            "exists": timeline.exists,
            "signing": timeline.signing,
            "versions": versions.collect::<Vec<_>>(),
        })
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        for timeline in self.timelines {
            let pinned = timeline.key.version.as_ref().map(|version| format!(", pinned to {version}"));
            let rows: Vec<Vec<String>> =
                timeline.versions.iter().map(|version| self.cells(timeline, version)).collect();
            let (name, pinned) = (timeline.key.without_version(), pinned.unwrap_or_default());
            let versions = if timeline.exists { render(&rows) } else { "  not in the vault\n".to_owned() };
            text.extend([name, pinned, "\n\n".to_owned(), versions, "\n".to_owned()]);
        }
        if !self.others.is_empty() {
            let heading = "In the key set without an enabled version behind it\n\n".to_owned();
            text.extend([heading, Other::render(self.others), "\n".to_owned()]);
        }
        for kid in self.added {
            text.extend(["published now: ", kid, "\n"]);
        }
        if self.is_complete() {
            text.extend(["Every enabled version is published in ", self.key_set.url.as_str(), ".\n"]);
        }
        text
    }

    fn cells(&self, timeline: &Timeline, version: &KeyVersion) -> Vec<String> {
        let at = |time: Option<OffsetDateTime>| time.map(rfc3339).unwrap_or_default();
        let place = match version.hsm {
            Some(true) => ", HSM",
            Some(false) => ", software",
            None => "",
        };
        let kind = match &version.public {
            Ok(public) => public.kind() + place,
            Err(why) => format!("? ({why})"),
        };
        let published = match self.publication(version) {
            Some(Publication::Published) => "yes",
            Some(Publication::Missing) => "no",
            Some(Publication::Contradicted) => "another key",
            None => "",
        };
        vec![
            version.version.clone(),
            state(timeline, version).to_owned(),
            at(version.created),
            at(version.not_before),
            at(version.expires),
            kind,
            published.to_owned(),
            version.public.as_ref().ok().map(thumbprint).unwrap_or_default(),
        ]
    }
}

/// A table without the columns in which nothing stands.
fn render(rows: &[Vec<String>]) -> String {
    const HEADING: [&str; 8] =
        ["version", "state", "created", "not before", "expires", "key", "published", "thumbprint (RFC 7638)"];
    let is_used = |column: &usize| rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()));
    let used: Vec<usize> = (0..HEADING.len()).filter(is_used).collect();
    let heading: Vec<&str> = used.iter().map(|column| HEADING[*column]).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| used.iter().map(|column| row[*column].clone()).collect()).collect();
    table::render(&heading, &rows)
}

fn state(timeline: &Timeline, version: &KeyVersion) -> &'static str {
    if timeline.signing.as_ref() == Some(&version.kid) {
        return "signing";
    }
    match version.state(OffsetDateTime::now_utc()) {
        State::Enabled => "enabled",
        State::Disabled => "disabled",
        State::NotYetValid => "not yet valid",
        State::Expired => "expired",
    }
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
