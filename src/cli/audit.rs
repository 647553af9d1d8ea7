//! Tells a ledger that is served what a check of it found, for its metrics.

use std::time::Duration;

use tracing::debug;

use super::session::Session;
use crate::api::audits;
use crate::error::Failure;
use crate::folder::Folder;
use crate::telemetry::metrics::{Check, Finding};

/// How long telling may take: whoever checks waits for what was found, not for who hears of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells it, if anybody serves the ledger. That nobody heard it changes nothing of what was found.
pub(super) fn tell(folder: &Folder, check: Check, held: std::result::Result<bool, &Failure>) {
    let finding = match held {
        Ok(true) => Finding::Holds,
        Ok(false) => Finding::Broken,
        Err(_) => Finding::Failed,
    };
    let Ok(Some(session)) = Session::served(folder) else { return };
    let told = session.tell("/v1/audits", audits::audit(check, finding), PATIENCE);
    if let Err(failure) = told {
        debug!(%failure, "who serves the ledger did not hear what was found");
    }
}
