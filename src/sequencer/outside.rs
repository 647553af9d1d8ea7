//! What is reported from outside, and what was not reported in time: the receipt that must follow at once.

use tracing::warn;

use writ_kernel::outcome;
use writ_log::Storage;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, INLINE_OUTPUT_MAX};
use writ_schemas::ids::Digest;
use writ_schemas::strict::Refusal;

use super::Sequencer;
use super::batch::Batch;
use crate::error::Result;

impl<S: Storage + Clone> Sequencer<S> {
    /// The output of a report of what is open, to stand beside its receipt; a long one goes to the content store before anything
    /// is recorded that names it. One that cannot be kept is not reported: whoever reports it tries again.
    pub(super) fn keep_output(&self, event: &Event) -> std::result::Result<Option<Vec<u8>>, Refusal> {
        let Event::OutcomeReconciled(act) = event else { return Ok(None) };
        let output = outcome::reported(&self.state, &act.value().statement).and_then(|(_, output)| output);
        let Some(long) = output.as_ref().filter(|output| output.len() > INLINE_OUTPUT_MAX) else { return Ok(output) };
        self.content.put(&Digest::of(long), long).map_err(|error| {
            warn!(%error, "content store");
            let code = if error.code == Code::DiskFull { Code::DiskFull } else { Code::Io };
            Refusal::new(code, "the output could not be kept")
        })?;
        Ok(None)
    }

    /// The receipt that must follow the event just recorded, if one must.
    pub(super) fn conclude_told(&mut self, output: Option<Vec<u8>>, batch: &mut Batch) -> Result<()> {
        let Some(ending) = self.state.ending().cloned() else { return Ok(()) };
        self.conclude(ending, output, batch)
    }
}
