//! Whether there is room for what an intent asks for, and which record of Kafka waits until there is.
//!
//! Whoever waits for an answer is refused at once, and may ask again. A record's producer never sends it again: its partition is held
//! until there is room, as long as the policy holds it for the connector, and only then it is refused.
//!
//! **Invariant:** nothing here is recorded. How long a connector had no room is measured by the clock of the process, and begins anew
//! with the next one; replay takes a refusal as it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use writ_kernel::decide::{Identity, identify};
use writ_log::Storage;
use writ_schemas::errors::Code;
use writ_schemas::event::{Partition, Source};
use writ_schemas::ids::UnixMicros;
use writ_schemas::intent::Intent;
use writ_schemas::strict::Refusal;

use super::partitions::Full;
use super::{JOB_BYTES_MAX, OPEN_MAX, Passed, STUCK_MAX, Sequencer, Submission, Submitted};

impl<S: Storage + Clone> Sequencer<S> {
    /// Whether the executor keeps up with what comes from outside.
    pub(super) fn takes_from_outside(&self) -> bool {
        match self.passed {
            Passed::CarriedOut => {
                self.state.open_inside() < OPEN_MAX && self.job_bytes.load(Ordering::Relaxed) < JOB_BYTES_MAX
            }
            Passed::Waits => true,
        }
    }

    /// What a record of Kafka has to wait for, if it must not be decided or refused yet.
    pub(super) fn waits_for(&mut self, submission: &Submission, now: UnixMicros) -> Option<Full> {
        if !is_record(&submission.source) {
            return None;
        }
        if self.space.is_short() {
            return Some(Full::Disk); // a refusal would take room, too
        }
        let Submitted::Intent(intent) = &submission.what else { return None };
        let full = self.full(intent.value())?;
        if !matches!(identify(&self.state, intent, now), Identity::New) {
            return None;
        }
        (self.partitions.full_for(&full) < self.hold_max(&full)).then_some(full)
    }

    /// Why an intent that is new is refused for want of room, if it is.
    pub(super) fn no_room(&self, intent: &Intent, source: &Source) -> Option<Refusal> {
        let overloaded = |why| Some(Refusal::new(Code::Overloaded, why));
        let unserved = self.passed == Passed::Waits && self.state.open_here() >= OPEN_MAX;
        let unserved = unserved.then(|| format!("{OPEN_MAX} executions wait for `writ serve`"));
        if is_record(source) {
            let full = self.full(intent).map(|full| {
                let [was, bound] = [self.partitions.was_full_for(&full), self.hold_max(&full)].map(|it| it.as_micros());
                format!("{full}, for {was} us by now; the policy holds a partition for {bound} us")
            });
            return full.or(unserved).and_then(overloaded);
        }
        if self.space.is_short() {
            return Some(self.space.refusal());
        }
        // What room there is belongs to the records that wait for it.
        let taken =
            || self.partitions.waiting().map(|(_, _, full)| full).find(|full| self.would_need(intent, full)).cloned();
        self.full(intent).or_else(taken).map(|full| full.to_string()).or(unserved).and_then(overloaded)
    }

    /// The partitions whose first record need not wait any longer: there is room for it, it has expired, or it has waited as long as the
    /// policy says.
    pub(super) fn ready(&self, now: UnixMicros) -> Vec<Partition> {
        if !self.takes_from_outside() {
            return Vec::new();
        }
        let is_ready = |record: &Submission, full: &Full| match &record.what {
            Submitted::Intent(intent) if *full != Full::Disk => {
                intent.value().expires_at <= now
                    || self.full(intent.value()).as_ref() != Some(full)
                    || self.partitions.was_full_for(full) >= self.hold_max(full)
            }
            _ => !self.space.is_short(),
        };
        let ready = self.partitions.waiting().filter(|(_, record, full)| is_ready(record, full));
        ready.map(|(partition, ..)| partition.clone()).collect()
    }

    /// Forgets since when there was no room where there is some.
    pub(super) fn look_for_room(&mut self) {
        let (state, short) = (&self.state, self.space.is_short());
        self.partitions.retain_full(|full| match full {
            Full::Disk => short,
            Full::Connector(connector) => state.stuck(connector) >= STUCK_MAX,
            Full::Outside { tenant, connector } => state.is_full_outside(tenant, connector),
        });
    }

    /// The longest that a partition is held for this. The disk has no bound: nothing could be recorded anyway.
    pub(super) fn hold_max(&self, full: &Full) -> Duration {
        full.connector().map_or(Duration::MAX, |connector| {
            let policy = self.state.policy();
            Duration::from_micros(policy.map_or(0, |policy| policy.hold_us(connector)))
        })
    }

    /// What has no room for an execution of this intent: its connector is down, and enough waits for it already, or its tenant has
    /// enough outside. Other intents are not held up by it.
    fn full(&self, intent: &Intent) -> Option<Full> {
        let Intent { tenant, action, .. } = intent;
        let connector = &self.state.policy()?.rule(action)?.connector;
        if self.state.stuck(connector) >= STUCK_MAX {
            return Some(Full::Connector(connector.clone()));
        }
        let outside = || Full::Outside { tenant: tenant.clone(), connector: connector.clone() };
        self.state.is_full_outside(tenant, connector).then(outside)
    }

    /// Whether an execution of this intent would take room at this.
    fn would_need(&self, intent: &Intent, full: &Full) -> bool {
        let rule = self.state.policy().and_then(|policy| policy.rule(&intent.action));
        let connector = rule.map(|rule| &rule.connector);
        match full {
            Full::Disk => false,
            Full::Connector(of) => connector == Some(of),
            Full::Outside { tenant, connector: of } => connector == Some(of) && intent.tenant == *tenant,
        }
    }
}

fn is_record(source: &Source) -> bool {
    matches!(source, Source::Kafka { .. })
}
