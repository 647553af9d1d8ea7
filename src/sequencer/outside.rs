//! What is reported from outside, and what was not reported in time: the receipt that must follow at once.

use writ_log::Storage;

use super::Sequencer;
use super::batch::Batch;
use crate::error::Result;

impl<S: Storage + Clone> Sequencer<S> {
    /// The receipt that must follow the event just recorded, if one must, with the output that was reported: however long it is, it
    /// stands in the log, as it does in the report, so that nothing but the batch has to be synced.
    pub(super) fn conclude_told(&mut self, output: Option<Vec<u8>>, batch: &mut Batch) -> Result<()> {
        let Some(ending) = self.state.ending().cloned() else { return Ok(()) };
        self.conclude(ending, output, batch)
    }
}
