//! Who runs the handler on one queue: two hosts or several replicas of `handler pull`, each started again whenever it has
//! stopped, as Azure does.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use signet::local::{
    host::{Host, HostOptions, Message, Post, Reply},
    stack::Deployment,
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    error::{Context as _, Result},
    replicas::{Endings, Replica},
    story::Stories,
};

/// The front door: how messages come to the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// A Functions host brings them.
    #[default]
    Host,
    /// `handler pull` pulls them.
    Pull,
}

impl Door {
    /// The names of those who run the handler.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["A", "B"],
            Self::Pull => &["A", "B", "C", "D"],
        }
    }
}

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// What it is.
    pub door: Door,
    /// The app.
    pub app_root: PathBuf,
    /// How long a host hides a message that it works on; the service's ten minutes are too long to wait for.
    pub lease: Duration,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Its surroundings.
    pub deployment: Arc<Deployment>,
    /// Who is told what happens.
    pub stories: Stories,
    /// Who is told how replicas end.
    pub endings: Endings,
}

impl Start {
    /// Starts one that reads the queues.
    fn worker(&self, name: &'static str) -> Result<Worker> {
        match self.door {
            Door::Host => self.host(name).map(Worker::Host),
            Door::Pull => Replica::start(self, name).map(|replica| Worker::Replica(Arc::new(replica))),
        }
    }

    fn host(&self, name: &'static str) -> Result<Arc<Host>> {
        let mut options = HostOptions::new(self.app_root.clone(), self.settings.clone());
        options.clear_environment = true;
        options.lease = self.lease;
        options.queues = Some(Arc::new(self.deployment.queues().context("the queues")?));
        options.events = self.stories.events(name);
        Host::start(options).context("a host").map(Arc::new)
    }
}

/// One that runs.
#[derive(Clone, Debug)]
pub enum Worker {
    /// A stand-in for the Functions host, with its handler.
    Host(Arc<Host>),
    /// A process of `handler pull`.
    Replica(Arc<Replica>),
}

impl Worker {
    /// Returns once it does nothing any more.
    async fn stopped(&self) {
        match self {
            Self::Host(host) => drop(host.stopped().await),
            Self::Replica(replica) => replica.stopped().await,
        }
    }

    /// Ends it at once, with its leases outstanding.
    pub fn stop(&self) {
        match self {
            Self::Host(host) => host.stop(),
            Self::Replica(replica) => replica.kill(),
        }
    }

    /// SIGKILL to the handler's process; a host starts another.
    pub fn kill(&self) {
        match self {
            Self::Host(host) => host.kill_handler(),
            Self::Replica(replica) => replica.kill(),
        }
    }

    /// The handler's process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Host(host) => host.pid(),
            Self::Replica(replica) => replica.pid(),
        }
    }

    /// The replica, where it is one.
    #[must_use]
    pub fn replica(&self) -> Option<&Replica> {
        match self {
            Self::Host(_) => None,
            Self::Replica(replica) => Some(replica),
        }
    }
}

/// All that run.
#[derive(Debug)]
pub struct Workers {
    /// What they are.
    pub door: Door,
    slots: Vec<Arc<Slot>>,
    keepers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Slot {
    start: Mutex<Start>,
    name: &'static str,
    worker: Mutex<Worker>,
}

impl Slot {
    fn worker(&self) -> Worker {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another in the place of one that has stopped, for ever.
    async fn keep(&self) {
        loop {
            self.worker().stopped().await;
            let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match start.worker(self.name) {
                Ok(worker) => *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = worker,
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Workers {
    /// Starts as many as the front door has.
    pub fn start(start: &Start) -> Result<Self> {
        let slot = |name: &&'static str| -> Result<Arc<Slot>> {
            let worker = Mutex::new(start.worker(name)?);
            Ok(Arc::new(Slot { start: Mutex::new(start.clone()), name, worker }))
        };
        let slots: Vec<Arc<Slot>> = start.door.names().iter().map(slot).collect::<Result<_>>()?;
        let keepers = slots.iter().cloned().map(|slot| tokio::spawn(async move { slot.keep().await })).collect();
        Ok(Self { door: start.door, slots, keepers })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Sets an app setting of all of them, or takes it away, and starts them anew.
    pub fn set(&self, name: &str, value: Option<&str>) {
        for slot in &self.slots {
            {
                let mut start = slot.start.lock().unwrap_or_else(PoisonError::into_inner);
                match value {
                    Some(value) => start.settings.insert(name.to_owned(), value.to_owned()),
                    None => start.settings.remove(name),
                };
            }
            slot.worker().stop();
        }
    }

    /// The one that runs now in this place, counted round.
    #[must_use]
    pub fn worker(&self, number: usize) -> Worker {
        self.slots[number % self.slots.len()].worker()
    }

    /// The same, or the next one whose handler runs at the moment, if there is any.
    #[must_use]
    pub fn running(&self, number: usize) -> Worker {
        let workers = (number..number + self.count()).map(|number| self.worker(number));
        workers.clone().find(|worker| worker.pid().is_some()).unwrap_or_else(|| self.worker(number))
    }

    /// Delivers a message past the queue; none: it is nobody who can be handed one.
    pub async fn deliver(&self, number: usize, function: &str, message: Message) -> Option<Reply> {
        match self.worker(number) {
            Worker::Host(host) => Some(host.invoke(function, Post::Message(message)).await),
            Worker::Replica(_) => None,
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
        self.slots.iter().for_each(|slot| slot.worker().stop());
    }
}
