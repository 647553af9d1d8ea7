//! What becomes no decision.

use writ_log::Storage;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, RecordRefused, Source};
use writ_schemas::ids::Name;
use writ_schemas::strict::Refusal;

use super::{Answer, Batch, Sequencer};
use crate::error::Result;
use crate::telemetry::metrics;

impl<S: Storage + Clone> Sequencer<S> {
    /// A refused record is recorded where its producer cannot be told otherwise; elsewhere it costs the ledger nothing.
    pub(super) fn refuse(
        &mut self,
        source: Source,
        refusal: Refusal,
        bytes: &[u8],
        claims: Option<(Name, Name)>,
        batch: &mut Batch,
    ) -> Result<Answer> {
        self.make_way(&source, batch)?;
        metrics::intent(metrics::Answered::Refused, refusal.code);
        if matches!(source, Source::Kafka { .. }) {
            if refusal.code == Code::Overloaded {
                metrics::kafka_hold_refused();
            }
            self.record(batch, Event::RecordRefused(RecordRefused::new(source, refusal.clone(), bytes, claims)))?;
        }
        Ok(Answer::Refused(refusal))
    }

    /// The same of what nobody signed whom the ledger trusts: above the quota of its partition it is only counted.
    pub(super) fn turn_away(
        &mut self,
        source: Source,
        refusal: Refusal,
        bytes: &[u8],
        batch: &mut Batch,
    ) -> Result<Answer> {
        if let Source::Kafka { partition, offset } = &source
            && !self.partitions.quotas.admits(partition, *offset, batch.now)
        {
            self.partitions.count();
            metrics::intent(metrics::Answered::Refused, Code::OverQuota);
            return Ok(Answer::Refused(Refusal::new(Code::OverQuota, refusal.detail)));
        }
        self.refuse(source, refusal, bytes, None, batch)
    }

    /// What was counted of a partition is recorded before anything else of it: positions only rise.
    pub(super) fn make_way(&mut self, source: &Source, batch: &mut Batch) -> Result<()> {
        match source {
            Source::Kafka { partition, .. } => match self.partitions.quotas.over(partition) {
                Some(over) => self.record(batch, Event::RecordsOverQuota(over)),
                None => Ok(()),
            },
            Source::Local | Source::Http => Ok(()),
        }
    }
}
