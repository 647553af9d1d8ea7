//! How a ledger comes to be: whole, or not at all.

use std::collections::BTreeSet;

use writ_log::{DirStorage, Log};
use writ_schemas::dsse::{SIGNATURES_MAX, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{KeyId, LedgerId, hex};
use writ_schemas::keys::SecretKey;

use super::append;
use crate::checkpoint::{Head, LATEST};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Failure, Result};
use crate::folder::{self, Folder, KeyRole};
use crate::keyfile;

/// The most operators: genesis is signed by each of them, and by the decision key.
const OPERATORS_MAX: usize = SIGNATURES_MAX - 1;

/// Who is to administer a new ledger.
pub enum Operators {
    /// One, whose key is made in the folder.
    Made,
    /// Those with these keys, which lie elsewhere; an act needs `quorum` of them.
    Given {
        /// All of them: each signs genesis.
        keys: Vec<SecretKey>,
        /// How many.
        quorum: u32,
    },
}

/// Makes a new ledger in an empty folder: configuration, keys, genesis, the first checkpoint. All of it is durable on return.
///
/// # Errors
/// `ERR_LOG_EXISTS` if there is anything in the folder; `ERR_USAGE` for operators of which there can be no quorum, an origin
/// that cannot name a log, or a layout that no log can have; I/O failures.
pub fn create(
    operators: &Operators,
    folder: &Folder,
    origin: Option<String>,
    config: &Config,
    clock: &Clock,
) -> Result<Signed<Genesis>> {
    config.log.check().map_err(|why| Failure::new(Code::Usage, why))?;
    if let Operators::Given { keys, quorum } = operators {
        let distinct: BTreeSet<KeyId> = keys.iter().map(SecretKey::id).collect();
        let usage = |why: String| Err(Failure::new(Code::Usage, why));
        if keys.len() > OPERATORS_MAX {
            return usage(format!("{} operators, at most {OPERATORS_MAX}", keys.len()));
        }
        if distinct.len() < keys.len() {
            return usage("the same operator's key twice".to_owned());
        }
        if !u32::try_from(keys.len()).is_ok_and(|all| (1..=all).contains(quorum)) {
            return usage(format!("a quorum of {quorum} of {} operators", keys.len()));
        }
    }
    let ledger = LedgerId(folder::random()?);
    let origin = origin.unwrap_or_else(|| format!("writ.local/{}", hex(&ledger.0)));
    if !writ_schemas::checkpoint::origin_is_valid(&origin) {
        return Err(Failure::new(Code::Usage, format!("{origin:?} cannot name a log")));
    }
    folder.claim()?;
    found(operators, folder, ledger, origin, config, clock).inspect_err(|_| folder.unmake())
}

fn found(
    operators: &Operators,
    folder: &Folder,
    ledger: LedgerId,
    origin: String,
    config: &Config,
    clock: &Clock,
) -> Result<Signed<Genesis>> {
    folder.make()?;
    let file = folder.config_file();
    std::fs::write(&file, config.to_toml()).map_err(|e| Failure::io(&file, &e))?;
    let (operators, quorum) = match operators {
        Operators::Made => (&vec![keyfile::make(&folder.key(KeyRole::Operator), None)?], 1),
        Operators::Given { keys, quorum } => (keys, *quorum),
    };
    let decision = keyfile::make(&folder.key(KeyRole::Decision), None)?;
    let checkpoint = keyfile::make(&folder.key(KeyRole::Checkpoint), None)?;
    let genesis = Genesis {
        ledger,
        origin,
        operators: operators.iter().map(SecretKey::id).collect(),
        quorum,
        decision_key: decision.id(),
        checkpoint_key: checkpoint.id(),
        signing_mode: SigningMode::Each,
        created_at: clock.now(),
    };
    let mut genesis = writ_kernel::execution::document(genesis)?.sign(&decision);
    operators.iter().for_each(|key| genesis.add_signature(key));
    let mut log = Log::create(DirStorage::writing(folder.log()), ledger, config.log.options())?;
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
