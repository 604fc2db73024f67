//! Two hosts on one queue, each started again whenever it has stopped, as Azure does.

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
use tokio::task::JoinHandle;

use crate::{
    error::{Context as _, Result},
    story::Stories,
};

/// The names of the hosts.
pub const NAMES: [&str; 2] = ["A", "B"];

/// How a host is started.
#[derive(Clone, Debug)]
pub struct Start {
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
}

impl Start {
    /// Starts a host that reads the queues.
    pub fn host(&self, name: &'static str) -> Result<Arc<Host>> {
        let mut options = HostOptions::new(self.app_root.clone(), self.settings.clone());
        options.clear_environment = true;
        options.lease = self.lease;
        options.queues = Some(Arc::new(self.deployment.queues().context("the queues")?));
        options.events = self.stories.events(name);
        Host::start(options).context("a host").map(Arc::new)
    }
}

/// The running hosts.
#[derive(Debug)]
pub struct Hosts {
    slots: [Arc<Slot>; 2],
    keepers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Slot {
    start: Mutex<Start>,
    name: &'static str,
    host: Mutex<Arc<Host>>,
}

impl Slot {
    fn host(&self) -> Arc<Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another host in the place of one that has stopped, for ever.
    async fn keep(&self) {
        loop {
            self.host().stopped().await;
            let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match start.host(self.name) {
                Ok(host) => *self.host.lock().unwrap_or_else(PoisonError::into_inner) = host,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Hosts {
    /// Starts both.
    pub fn start(starts: [Start; 2]) -> Result<Self> {
        let [first, second] = starts;
        let slot = |start: Start, name| -> Result<Arc<Slot>> {
            let host = Mutex::new(start.host(name)?);
            Ok(Arc::new(Slot { start: Mutex::new(start), name, host }))
        };
        let slots = [slot(first, NAMES[0])?, slot(second, NAMES[1])?];
        let keepers = slots.iter().cloned().map(|slot| tokio::spawn(async move { slot.keep().await })).collect();
        Ok(Self { slots, keepers })
    }

    /// Sets an app setting of one of the two, or takes it away, and starts that host anew.
    pub fn set(&self, number: usize, name: &str, value: Option<&str>) {
        let slot = &self.slots[number % 2];
        {
            let mut start = slot.start.lock().unwrap_or_else(PoisonError::into_inner);
            match value {
                Some(value) => start.settings.insert(name.to_owned(), value.to_owned()),
                None => start.settings.remove(name),
            };
        }
        slot.host().stop();
    }

    /// The host that runs now, of the two.
    #[must_use]
    pub fn host(&self, number: usize) -> Arc<Host> {
        self.slots[number % 2].host()
    }

    /// Delivers a message past the queue.
    pub async fn deliver(&self, number: usize, function: &str, message: Message) -> Reply {
        self.host(number).invoke(function, Post::Message(message)).await
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
        self.slots.iter().for_each(|slot| slot.host().stop());
    }
}
