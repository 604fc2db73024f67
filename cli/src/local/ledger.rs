//! What a Blob service has written, by its own word: whatever becomes of its answers on their way, it stands here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{Request, Response};

use super::{event_grid, listener::Service};

/// The largest content that is kept, bytes.
pub const KEPT_BYTES: usize = 64 * 1024;

/// Every whole blob that was written, in the order of the service's answers. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    writes: Arc<Mutex<Vec<Write>>>,
}

/// A blob that was written.
#[derive(Clone, Debug)]
pub struct Write {
    /// The container.
    pub container: String,
    /// The blob's name.
    pub blob: String,
    /// When the service had answered.
    pub at: SystemTime,
    /// What was sent; none where it is more than [`KEPT_BYTES`].
    pub content: Option<Bytes>,
}

impl Ledger {
    /// Everything so far, but the first few.
    #[must_use]
    pub fn since(&self, few: usize) -> Vec<Write> {
        self.kept().iter().skip(few).cloned().collect()
    }

    /// How many writes there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept().len()
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept().is_empty()
    }

    /// The service, watched for writes.
    pub(super) fn watch(&self, service: Arc<dyn Service>) -> Watched {
        Watched { service, ledger: self.clone() }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Write>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Blob service whose writes are put down.
pub(super) struct Watched {
    service: Arc<dyn Service>,
    ledger: Ledger,
}

impl Service for Watched {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let written = event_grid::written_blob(&request);
        let content = Some(request.body().clone()).filter(|content| content.len() <= KEPT_BYTES);
        let (answer, ledger) = (self.service.call(request), self.ledger.clone());
        Box::pin(async move {
            let answer = answer.await;
            if let Some((container, blob)) = written
                && answer.status().is_success()
            {
                ledger.kept().push(Write { container, blob, at: SystemTime::now(), content });
            }
            answer
        })
    }
}
