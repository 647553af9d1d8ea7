//! Sends what waits in one queue, a batch after the other. A batch that is not delivered is tried again for a while, then dropped and
//! counted; what comes meanwhile waits in its queue, as far as that has room.

use std::time::Duration;

use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;

use super::delivery::{self, Again, Delivery};
use super::export::{Export, Rejected};
use super::queue::Waiting;
use crate::clock::Stopwatch;
use crate::telemetry::metrics::DropReason;

/// How long a batch is tried, besides the pauses that the collector asks for; and at most, with them.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_MAX: Duration = PATIENCE.saturating_add(delivery::PAUSE_MAX);

/// How long after a failure nothing is sent, at first and at most.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Sends what waits.
pub(super) struct Lane<E: Export> {
    waiting: Waiting<E>,
    delivery: Delivery,
    resource: ResourceAttributesWithSchema,
    batch_timeout: Duration,
    /// How long nothing is sent after the next failure.
    pause: Duration,
    /// The collector asked for a pause that is longer than what is left.
    barred: bool,
}

impl<E: Export> Lane<E> {
    pub(super) fn new(
        waiting: Waiting<E>,
        delivery: Delivery,
        resource: &Resource,
        batch_timeout: Duration,
    ) -> Lane<E> {
        Lane { waiting, delivery, resource: resource.into(), batch_timeout, pause: PAUSE, barred: false }
    }

    /// Until the end, and what waits then.
    pub(super) async fn run(mut self) {
        loop {
            let ends = tokio::select! {
                biased;
                _ = self.delivery.stop.begun() => true,
                () = self.waiting.full() => false,
                () = tokio::time::sleep(self.batch_timeout) => false,
            };
            if ends {
                break;
            }
            loop {
                self.send().await;
                if !self.waiting.is_full() || self.delivery.stop.remaining().is_some() {
                    break;
                }
            }
        }
        self.waiting.close();
        while self.send().await {}
    }

    /// Sends a batch. Whether there was one.
    async fn send(&mut self) -> bool {
        let batch = self.waiting.take();
        let count = batch.len();
        if count == 0 {
            return false;
        }
        let dropped = self.deliver(E::request(batch, &self.resource)).await;
        match dropped {
            Ok(Rejected(rejected)) => {
                let rejected = rejected.min(count);
                self.waiting.exported(count - rejected);
                self.waiting.dropped(DropReason::Rejected, rejected);
            }
            Err(why) => self.waiting.dropped(why, count),
        }
        true
    }

    async fn deliver(&mut self, request: E::Request) -> Result<Rejected, DropReason> {
        let (since, mut patience) = (Stopwatch::start(), PATIENCE);
        loop {
            if self.barred {
                return Err(DropReason::Export);
            }
            let again = match self.delivery.attempt(E::SIGNAL, |to| E::send(to, request.clone())).await {
                Ok(rejected) => {
                    self.pause = PAUSE;
                    return Ok(rejected);
                }
                Err(again) => again,
            };
            let own = self.pause;
            self.pause = PAUSE_MAX.min(own.saturating_mul(2));
            let ends = self.delivery.stop.remaining().is_some();
            match again {
                Again::Never => {
                    if !ends {
                        self.wait(own, false).await;
                    }
                    return Err(DropReason::Rejected);
                }
                Again::Later if ends => return Err(DropReason::Export),
                Again::Later => self.wait(own, false).await,
                Again::After(asked) => {
                    patience = PATIENCE_MAX.min(patience.saturating_add(asked));
                    self.wait(own.max(asked), true).await;
                }
            }
            if since.elapsed() > patience {
                return Err(DropReason::Export);
            }
        }
    }

    /// Waits until the next request may be sent. When the end begins, it is the next one's turn, unless the collector asked for a pause.
    async fn wait(&mut self, pause: Duration, asked: bool) {
        let since = Stopwatch::start();
        let deadline = tokio::select! {
            () = tokio::time::sleep(pause) => return,
            deadline = self.delivery.stop.begun() => deadline,
        };
        let rest = pause.saturating_sub(since.elapsed());
        if asked && rest < deadline.remaining() {
            tokio::time::sleep(rest).await;
        } else {
            self.barred = asked;
        }
    }
}
