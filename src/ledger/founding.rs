//! How a ledger comes to be: whole, or not at all.

use writ_log::{DirStorage, Log};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{LedgerId, hex};

use super::append;
use crate::checkpoint::{Head, LATEST};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::{self, Folder, KeyRole};
use crate::keyfile;

/// Makes a new ledger in an empty folder: keys, genesis, the first checkpoint. All of it is durable on return.
///
/// # Errors
/// `ERR_LOG_EXISTS` if there is anything in the folder; I/O failures.
pub fn create(folder: &Folder, origin: Option<String>, clock: &Clock) -> Result<Signed<Genesis>> {
    let ledger = LedgerId(folder::random()?);
    let origin = origin.unwrap_or_else(|| format!("writ.local/{}", hex(&ledger.0)));
    if !writ_schemas::checkpoint::origin_is_valid(&origin) {
        return Err(Failure::new(Code::Usage, format!("{origin:?} cannot name a log")));
    }
    folder.claim()?;
    found(folder, ledger, origin, clock).inspect_err(|_| folder.unmake())
}

fn found(folder: &Folder, ledger: LedgerId, origin: String, clock: &Clock) -> Result<Signed<Genesis>> {
    folder.make()?;
    let operator = keyfile::make(&folder.key(KeyRole::Operator), None)?;
    let decision = keyfile::make(&folder.key(KeyRole::Decision), None)?;
    let checkpoint = keyfile::make(&folder.key(KeyRole::Checkpoint), None)?;
    let genesis = Genesis {
        ledger,
        origin,
        operators: vec![operator.id()],
        quorum: 1,
        decision_key: decision.id(),
        checkpoint_key: checkpoint.id(),
        signing_mode: SigningMode::Each,
        created_at: clock.now(),
    };
    let genesis = writ_kernel::execution::document(genesis)?.sign(&decision).sign(&operator);
    let mut log = Log::create(DirStorage::writing(folder.log()), ledger, writ_log::Options::default())?;
    let mut head = Head::default();
    for entry in append(&mut log, clock.now(), &Event::LedgerOpened(genesis.clone()))? {
        head.push(&entry.header);
    }
    let note = head.checkpoint(&genesis.value().origin).sign(&checkpoint);
    let place = folder.checkpoints();
    writ_log::replace(&place, LATEST, note.as_bytes())?;
    folder.sync()?;
    Ok(genesis)
}
