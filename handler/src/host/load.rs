//! What is in memory at a time: so many invocations and so many bytes of them. What comes above is answered 503 at once, and
//! comes again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody as _};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Beside the items that are worked on, so many may wait for their turn.
pub(crate) const WAITING: usize = 512;
/// A message of 64 KiB, encoded twice, with all its members repeated in the metadata, stays well below.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// All bodies together.
const ALL_BODIES: usize = 64 * 1024 * 1024;
const KIB: usize = 1024;
const WASTE_TIMEOUT: Duration = Duration::from_secs(5);

/// How much may be in memory, and how much of that is free.
pub(crate) struct Load {
    invocations: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
    refused: AtomicU64,
}

/// An invocation's share, for as long as this lives.
pub(crate) struct Share {
    _invocation: OwnedSemaphorePermit,
    kibibytes: Option<OwnedSemaphorePermit>,
}

/// Why a body is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no room now.
    Overload,
    /// There never will be, or it did not arrive whole.
    Bad(String),
}

impl Load {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            invocations: Arc::new(Semaphore::new(concurrency.saturating_add(WAITING))),
            kibibytes: Arc::new(Semaphore::new(ALL_BODIES / KIB)),
            refused: AtomicU64::new(0),
        }
    }

    /// A share for one more invocation, before anything of it is read.
    pub(crate) fn admit(&self) -> Result<Share, Refusal> {
        match Arc::clone(&self.invocations).try_acquire_owned() {
            Ok(invocation) => Ok(Share { _invocation: invocation, kibibytes: None }),
            Err(_) => Err(self.refuse()),
        }
    }

    /// Reads an invocation's body into its share.
    pub(crate) async fn read(&self, share: &mut Share, body: &mut Body) -> Result<Bytes, Refusal> {
        // Room for what the head announces, so that it is refused before it is read, and no more than that: a buffer that
        // grows by doubling holds up to three times as much.
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        self.grow(share, announced)?;
        let mut whole = BytesMut::with_capacity(announced);
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|error| Refusal::Bad(error.to_string()))?.into_data() else { continue };
            self.grow(share, whole.len().saturating_add(piece.len()))?;
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Reads what is not wanted: closing a connection with bytes unread would have the system take the answer back.
    pub(crate) async fn waste(body: &mut Body) {
        let all = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = timeout(WASTE_TIMEOUT, all).await;
    }

    fn grow(&self, share: &mut Share, length: usize) -> Result<(), Refusal> {
        if length > LARGEST_BODY {
            return Err(Refusal::Bad(format!("the body is larger than {LARGEST_BODY} bytes")));
        }
        let held = share.kibibytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = length.div_ceil(KIB).saturating_sub(held);
        let lacking = u32::try_from(lacking).map_err(|_| self.refuse())?;
        let more = Arc::clone(&self.kibibytes).try_acquire_many_owned(lacking).map_err(|_| self.refuse())?;
        match &mut share.kibibytes {
            Some(held) => held.merge(more),
            None => share.kibibytes = Some(more),
        }
        Ok(())
    }

    /// Logged for the first, the second, the fourth, the eighth ...: a flood is no reason for another.
    fn refuse(&self) -> Refusal {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if refused.is_power_of_two() {
            tracing::warn!(refused, "overloaded: invocations are handed back unread");
        }
        Refusal::Overload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_above_is_refused_and_what_ends_makes_room() {
        let load = Load::new(1);
        let mut shares: Vec<Share> = (0..=WAITING).map(|_| load.admit().expect("room")).collect();
        assert!(matches!(load.admit(), Err(Refusal::Overload)));
        shares.pop();
        let mut share = load.admit().expect("room again");

        let large = vec![b' '; LARGEST_BODY];
        assert_eq!(load.read(&mut share, &mut Body::from(large.clone())).await.expect("it fits").len(), LARGEST_BODY);
        let mut other = shares.pop().expect("there are more");
        let refused = load.read(&mut other, &mut Body::from(vec![b' '; LARGEST_BODY + 1])).await;
        assert!(matches!(refused, Err(Refusal::Bad(_))), "{refused:?}");

        let mut held = 1;
        for share in &mut shares {
            match load.read(share, &mut Body::from(large.clone())).await {
                Ok(_) => held += 1,
                Err(refusal) => {
                    assert!(matches!(refusal, Refusal::Overload));
                    break;
                }
            }
        }
        assert_eq!(held, ALL_BODIES / LARGEST_BODY);
        drop(shares);
        let mut share = load.admit().expect("room");
        assert!(load.read(&mut share, &mut Body::from(large)).await.is_ok());
    }
}
