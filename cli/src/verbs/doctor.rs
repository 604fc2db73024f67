//! `signet doctor`: all that a deployment needs, tried out, and what mends what is missing.

mod app;
mod certificate;
mod identity;
mod keys;
mod network;
mod places;
mod queues;
mod report;
mod rights;
mod storage;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
};

use azure_core::http::Url;
use clap::Args;
use futures::future::join_all;
use signet_azure::{names::KeyIdentifier, roots::Roots};

use self::{identity::Principal, network::Answer, places::Places, report::Report, rights::Asker, storage::Need};
use crate::{key_set::KeySet, remote::Remote, settings};

const STORAGE: &str = "https://storage.azure.com";
/// Of a vault that does not say otherwise.
const VAULT: &str = "https://vault.azure.net";

/// What to leave out, and how to tell.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Options {
    /// The function app's root, with host.json; with --pull, where bin/handler is; default: the current directory, if it is one
    #[arg(long, value_name = "DIRECTORY")]
    app: Option<PathBuf>,
    /// Of `handler pull`, without a Functions host: its settings and its rights on the one queue
    #[arg(long)]
    pull: bool,
    /// Sign nothing; otherwise each key signs the digest of a sentence that is no document
    #[arg(long)]
    no_sign: bool,
    /// Write nothing; otherwise a probe is created in the results and the rejected container, and deleted
    #[arg(long)]
    no_write: bool,
    /// Whose rights are meant; default: an operator's where a person is signed in, the app's where the platform gives the token
    #[arg(long = "as", value_name = "WHO")]
    whose: Option<Asker>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks at everything, whatever fails: exit 0 all good, 1 something failed, 2 could not tell.
pub async fn run(options: &Options) -> ExitCode {
    let mut report = Report::new(options.json);
    let places = Places::read(options.pull);
    let here = || PathBuf::from(".");
    if options.pull {
        let handler = options.app.clone().unwrap_or_else(here).join("bin/handler");
        places.check(handler.canonicalize().ok().as_deref(), &mut report).await;
    } else {
        let root = options.app.clone().or_else(|| here().join("host.json").is_file().then(here));
        let handler = root.as_deref().and_then(app::handler);
        places.check(handler.as_deref(), &mut report).await;
        if let Some(root) = &root {
            app::check(root, &places, &mut report);
        }
    }
    // Without roots there is no connection; the settings' check has said so.
    if let (Ok(remote), Ok(roots)) = (Remote::new(), settings::roots()) {
        let visit = Visit { options, places: &places, remote: &remote, roots: &roots };
        visit.services(&mut report).await;
    }
    report.end()
}

/// What is needed to try the services.
struct Visit<'a> {
    options: &'a Options,
    places: &'a Places,
    remote: &'a Remote,
    roots: &'a Roots,
}

impl Visit<'_> {
    async fn services(&self, report: &mut Report) {
        let reached = self.network(report).await;
        report.area("identity");
        report.ok("who asks", identity::chosen());
        let mut storage = if self.storage_urls().any(|url| reached.contains_key(&origin(url))) {
            identity::check(STORAGE, self.options.pull, self.remote.transport(), report).await
        } else {
            None
        };
        let answers = self.places.keys.iter().filter_map(|key| reached.get(&origin(&key.vault)));
        let resources: BTreeSet<String> = answers.map(resource).collect();
        let mut vaults: BTreeMap<String, Option<Principal>> = BTreeMap::new();
        for resource in resources {
            let principal = identity::check(&resource, self.options.pull, self.remote.transport(), report).await;
            vaults.insert(resource, principal);
        }
        let principals = storage.iter().chain(vaults.values().flatten());
        let asker = identity::check_asker(self.options.whose, principals, report);
        for principal in storage.iter_mut().chain(vaults.values_mut().flatten()) {
            principal.asker = asker;
        }
        self.keys(&reached, &vaults, storage.is_some(), report).await;
        if let Some(principal) = storage {
            self.storage(&reached, &principal, report).await;
        }
    }

    /// Every host once; what was reached, by its origin.
    async fn network(&self, report: &mut Report) -> BTreeMap<String, Answer> {
        report.area("network");
        let mut reached = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let vaults = self.places.keys.iter().filter_map(|key| key.vault.join("keys?api-version=7.6").ok());
        let urls: Vec<Url> = vaults.chain(self.storage_urls().cloned()).collect();
        for url in urls.iter().filter(|url| seen.insert(origin(url))) {
            if let Some(answer) = network::check(url, self.roots, self.remote.transport(), report).await {
                reached.insert(origin(url), answer);
            }
        }
        reached
    }

    async fn keys(
        &self,
        reached: &BTreeMap<String, Answer>,
        principals: &BTreeMap<String, Option<Principal>>,
        has_storage: bool,
        report: &mut Report,
    ) {
        let usable: Vec<(&KeyIdentifier, &Principal)> = self
            .places
            .keys
            .iter()
            .filter_map(|key| {
                let answer = reached.get(&origin(&key.vault))?;
                Some((key, principals.get(&resource(answer))?.as_ref()?))
            })
            .collect();
        if usable.is_empty() {
            return;
        }
        report.area("keys");
        let read = async |url: &Url| KeySet::of(url, self.remote).ok()?.read().await.ok();
        let results = self.places.results.iter().filter(|url| has_storage && reached.contains_key(&origin(url)));
        let published = join_all(results.map(read)).await.pop().flatten();
        for (key, principal) in usable {
            let context = (self.options, self.places, principal);
            keys::check(key, context, published.as_ref(), self.remote.transport(), report).await;
        }
    }

    async fn storage(&self, reached: &BTreeMap<String, Answer>, principal: &Principal, report: &mut Report) {
        let is_reached = |url: &&Url| reached.contains_key(&origin(url));
        let output = Need::Output { probe: !self.options.no_write };
        let Places { results, rejected, sources, queue_service, queue, .. } = self.places;
        let containers = results.iter().map(|url| ("SIGNET_RESULTS", url, output));
        let containers = containers.chain(rejected.iter().map(|url| ("SIGNET_REJECTED", url, output)));
        let containers = containers.chain(sources.iter().map(|url| ("SIGNET_SOURCES", url, Need::Source)));
        report.area("containers");
        for (setting, url, need) in containers.filter(|(_, url, _)| is_reached(url)) {
            storage::check_container(setting, url, need, principal, self.remote, report).await;
        }
        report.area("queues");
        if let (Some(service), Some(queue)) = (queue_service.as_ref().filter(is_reached), queue) {
            if self.options.pull {
                queues::check_pulled(service, queue, principal, self.remote, report).await;
            } else {
                queues::check_hosts(service, queue, principal, self.remote, report).await;
            }
        }
    }

    fn storage_urls(&self) -> impl Iterator<Item = &Url> {
        let Places { results, rejected, sources, queue_service, .. } = self.places;
        results.iter().chain(rejected).chain(sources).chain(queue_service)
    }
}

/// The audience of a vault's tokens.
fn resource(answer: &Answer) -> String {
    answer.resource.clone().unwrap_or_else(|| VAULT.to_owned())
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
