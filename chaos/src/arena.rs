//! One deployment with those who run the handler in it: messages in, chaos, and the count of what came out.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use signet::local::{
    app::AppRoot,
    receipts::Done,
    stack::{Deployment, Stack},
    vault::KeySpec,
};
use tokio::time::sleep;

use crate::{
    app::App,
    census::{Census, Plan, judge_writes},
    dice::Dice,
    error::{Context as _, Result},
    faults::{self, Episode, Fired, KEY, Service, TOKEN_LIFE, VAULTS},
    feed::Feed,
    findings::{Findings, What},
    items::Message,
    kills::{Kill, Kind, Struck},
    ledger::Standing,
    names::Names,
    replicas::{AS_TOLD, DRAIN, Endings},
    story::Stories,
    workers::{Door, Start, Workers},
};

/// The storage's name in the handlers' hosts file.
const STORAGE: &str = "devstoreaccount1.blob.signet.test";
/// Faults that are on at the same time.
const LANES: u64 = 4;
/// Between two messages that are sent because too few faults have been met.
const PACE: Duration = Duration::from_millis(200);
/// How long nothing may change until it is said that it never will.
const PATIENCE: Duration = Duration::from_secs(90);

/// A deployment that a handler is tried in.
pub struct Arena {
    seed: u64,
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// What it was told.
    pub stories: Stories,
    /// What was met.
    pub fired: Fired,
    /// What was killed.
    pub struck: Struck,
    /// What is sent.
    pub feed: Feed,
    standing: Standing,
    /// How its messages come to the handler.
    pub door: Door,
    endings: Endings,
    vaults: usize,
    app: App,
    names: Option<Names>,
    lease: Duration,
    settings: BTreeMap<String, String>,
}

/// What is special about an arena.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The name of its queue, and of what belongs to that.
    pub name: &'static str,
    /// How messages come to the handler.
    pub door: Door,
    /// Deliveries until a message is given up.
    pub max_dequeue_count: u32,
    /// How many vaults there are, each with a key.
    pub vaults: usize,
    /// How long a message that is worked on is hidden.
    pub lease: Duration,
    /// Seconds that an item may take until it is handed back.
    pub deadline: u64,
    /// Where everything goes that the hosts tell.
    pub log: Option<Arc<File>>,
}

/// What is sent while everything fails.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Messages that are sent at once.
    pub messages: &'a [Message],
    /// Messages that are sent after them, one by one, until so many faults have been met.
    pub more: &'a [Message],
    /// So many.
    pub faults: u32,
}

/// Is told how far it is.
pub type Watch<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}

impl Arena {
    /// Makes the deployment; no host runs yet.
    pub async fn new(
        stack: &Arc<Stack>,
        root: &AppRoot,
        handler: &Path,
        seed: u64,
        Terms { name, door, max_dequeue_count, vaults, lease, deadline, log }: Terms,
    ) -> Result<Self> {
        let deployment = Arc::new(Deployment::start(stack, name).await.context("a deployment")?);
        deployment.issuer.set_lifetime(TOKEN_LIFE);
        let mut keys = Vec::new();
        for vault in VAULTS.into_iter().take(vaults) {
            keys.push(deployment.create_key_in(vault, KEY, KeySpec::P256).await.context("a key")?);
        }
        let mut settings = deployment.settings(&keys.join(","));
        for (name, value) in [("SIGNET_DEADLINE", deadline.to_string()), ("SIGNET_KEY_REFRESH", "2".to_owned())] {
            settings.insert(name.to_owned(), value);
        }
        if door == Door::Pull {
            for (name, value) in [
                ("SIGNET_LEASE", lease.as_secs()),
                ("SIGNET_ATTEMPTS", max_dequeue_count.into()),
                ("SIGNET_DRAIN", DRAIN),
                ("SIGNET_POLL", 1),
                // As many in all as two hosts have.
                ("SIGNET_CONCURRENCY", 32),
            ] {
                settings.insert(name.to_owned(), value.to_string());
            }
        }
        let stories = Stories::new(log);
        let app = App::around(root, handler, max_dequeue_count)?;
        let names = Names::wrap(&app.root(), STORAGE)?;
        if names.is_some() {
            settings.entry("SIGNET_RESULTS".to_owned()).and_modify(|url| *url = Names::renamed(url));
        }
        Ok(Self {
            seed,
            feed: Feed::new(seed, &deployment, stories.clone(), max_dequeue_count).await?,
            standing: Standing::new(deployment.ledger(), name),
            door,
            endings: Endings::default(),
            vaults,
            app,
            names,
            lease,
            deployment,
            stories,
            fired: Fired::default(),
            struck: Struck::default(),
            settings,
        })
    }

    /// Starts those who run the handler.
    pub fn workers(&self) -> Result<Arc<Workers>> {
        let start = Start {
            door: self.door,
            app_root: self.app.root(),
            lease: self.lease,
            settings: self.settings.clone(),
            deployment: self.deployment.clone(),
            stories: self.stories.clone(),
            endings: self.endings.clone(),
        };
        Workers::start(&start).map(Arc::new)
    }

    /// Sends all messages while faults and kills go on, then waits until all are done. What is left over is a finding.
    pub async fn run(
        &self,
        workers: &Arc<Workers>,
        load: &Load<'_>,
        kills: &[Kill],
        watch: Watch<'_>,
    ) -> Result<Findings> {
        let is_calm = AtomicBool::new(false);
        let messages = load.messages;
        let feeding = async {
            let mut fed = self.send(workers, messages).await;
            // What comes after another is sent with it.
            for more in load.more.chunk_by(|_, next| next.after.is_some()) {
                if fed.is_err() || self.fired.total() >= load.faults {
                    break;
                }
                sleep(PACE).await;
                fed = self.send(workers, more).await;
            }
            // Faults end while there is still something to do.
            let few = match self.door {
                Door::Host => messages.len() / 50,
                // Most of what is left is hidden for a while, and for the longer the more often it fails.
                Door::Pull => messages.len() / 10,
            };
            while fed.is_ok() && self.feed.progress().1 > few {
                sleep(Duration::from_millis(100)).await;
            }
            is_calm.store(true, Ordering::Relaxed);
            fed
        };
        let lanes = join_all((0..LANES).map(|lane| self.trouble(lane, &is_calm)));
        let looking = async {
            while !is_calm.load(Ordering::Relaxed) {
                self.look(watch).await?;
                self.forget();
                sleep(Duration::from_millis(500)).await;
            }
            Ok(())
        };
        let killing = self.kill(workers, kills, &is_calm);
        let (fed, looked, _, ()) = tokio::join!(feeding, looking, lanes, killing);
        fed.and(looked)?;
        faults::mend(&self.deployment);
        if self.door == Door::Pull && !self.stories.counts().contains_key(AS_TOLD) {
            // In a short run all that were told may have been killed on their way, or have had no key.
            self.struck.add(Kind::Told);
            Kill::tell_at_once().strike(workers, &self.deployment).await;
        }
        self.drain(watch).await
    }

    /// Sends messages.
    pub async fn send(&self, workers: &Arc<Workers>, messages: &[Message]) -> Result<()> {
        self.feed.send(messages, workers, &self.standing).await
    }

    /// Adds the stories to findings about messages of this arena.
    pub fn explain(&self, findings: &mut Findings) {
        let sent = self.feed.sent();
        findings.explain(|number| sent.get(&number).map(|sent| self.story(&sent.message_id)).unwrap_or_default());
    }

    /// What is known of a message; of what is pulled, the queue's own word as well, since no host tells it.
    fn story(&self, message_id: &str) -> Vec<String> {
        let mut lines = self.stories.of(message_id);
        if self.door == Door::Pull {
            let changes = self.deployment.receipts().since(0).into_iter();
            lines.extend(
                changes
                    .filter(|change| change.message_id == message_id)
                    .map(|change| self.stories.line(change.at, &format!("queue | {:?}", change.done))),
            );
            // Each begins with its time, all in one width.
            lines.sort();
        }
        lines
    }

    /// What must not be in how replicas have ended, and what else they have done.
    pub fn conclude(&self) -> Findings {
        let mut findings = Findings::default();
        for why in self.endings.bad() {
            findings.add(What::BadEnd, None, why);
        }
        if self.door == Door::Pull {
            for change in self.deployment.receipts().since(0) {
                match change.done {
                    Done::Received(_) => self.stories.count("deliveries"),
                    Done::Hidden(time) if time == self.lease => self.stories.count("leases renewed"),
                    Done::Hidden(_) | Done::Deleted => {}
                }
            }
        }
        findings
    }

    /// Compares what stands with what was planned.
    pub async fn count(&self, messages: &[Message]) -> Result<Findings> {
        let census = Census::take(&self.deployment).await?;
        let sent = self.feed.sent();
        let mut findings = census.judge(&Plan { seed: self.seed, messages, sent: &sent });
        findings.extend(judge_writes(&self.deployment.queue_name, &self.deployment.ledger().since(0), &census));
        Ok(findings)
    }

    /// One trouble after the other.
    async fn trouble(&self, lane: u64, is_calm: &AtomicBool) {
        let mut dice = Dice::of(self.seed, &format!("{} lane {lane}", self.deployment.queue_name));
        while !is_calm.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(dice.between(100, 2500))).await;
            let episode = Episode::draw(&mut dice, self.door, self.vaults);
            match &self.names {
                Some(names) if dice.one_in(25) => {
                    self.lose_names(names, Duration::from_millis(dice.between(500, 4000))).await;
                }
                _ => episode.run(&self.deployment, &self.fired).await,
            }
        }
    }

    /// The storage's name cannot be looked up for a while, and there are no connections from before.
    async fn lose_names(&self, names: &Names, lasts: Duration) {
        names.set(None);
        self.deployment.taps.blob.disconnect();
        sleep(lasts).await;
        names.set(Some(STORAGE));
        self.fired.add(Service::Blob, "its name cannot be looked up", 1);
    }

    /// Every kill when so many messages are done; what is left when the others are done comes at once.
    async fn kill(&self, workers: &Arc<Workers>, kills: &[Kill], is_calm: &AtomicBool) {
        let mut frozen = Vec::new();
        for kill in kills {
            loop {
                let (sent, left) = self.feed.progress();
                if sent.saturating_sub(left) >= kill.after || is_calm.load(Ordering::Relaxed) {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            self.struck.add(kill.kind);
            let (kill, workers, deployment) = (*kill, workers.clone(), self.deployment.clone());
            frozen.push(tokio::spawn(async move { kill.strike(&workers, &deployment).await }));
            sleep(Duration::from_millis(20)).await;
        }
        join_all(frozen).await;
    }

    /// Waits until both queues are empty; what stays there is a finding. What was handed back often is hidden for minutes, which
    /// is waited for.
    pub async fn drain(&self, watch: Watch<'_>) -> Result<Findings> {
        let (mut since, mut least) = (Instant::now(), usize::MAX);
        loop {
            let left = self.look(watch).await?;
            if left == 0 {
                return Ok(Findings::default());
            }
            if left < least {
                (since, least) = (Instant::now(), left);
            }
            since = since.max(self.deployment.receipts().all_visible().unwrap_or(since));
            if since.elapsed() > PATIENCE {
                let mut findings = Findings::default();
                findings.add(What::LeftOver, None, format!("{left} messages are still in the queues"));
                return Ok(findings);
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Looks how many messages there are, and says how far it is.
    pub async fn look(&self, watch: Watch<'_>) -> Result<usize> {
        let left = self.feed.look().await?;
        let (sent, _) = self.feed.progress();
        let kills: usize = self.struck.counts().values().sum();
        let faults = self.fired.total();
        watch(&format!("{sent} sent, {left} left, {kills} kills, {faults} faults met"));
        Ok(left)
    }

    /// The taps need not remember: what counts is in the ledger.
    fn forget(&self) {
        for tap in self.deployment.taps.all() {
            tap.clear();
        }
        self.deployment.vault.clear_signatures();
    }
}
