//! Administrative acts, made and signed here.

use writ_log::Reader;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::{Signed, ToSign};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{KeyId, LedgerId, Seq, hex};
use writ_schemas::keys::SecretKey;

use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::{self, Folder, KeyRole};
use crate::signer::Signer;

/// How long an act made here may wait to be submitted: an hour, in microseconds.
const VALIDITY: u64 = 3_600_000_000;

/// A statement as an act that the operator of this folder signs: all that a ledger needs where one operator is a quorum.
///
/// # Errors
/// `ERR_ACT_REFUSED` where one is not; `ERR_KEY_FILE`, `ERR_SIGNER_FAILED`: as [`Signer`].
pub fn act(folder: &Folder, genesis: &Genesis, statement: Statement, clock: &Clock) -> Result<Signed<Act>> {
    if genesis.quorum > 1 {
        let (needed, all) = (genesis.quorum, genesis.operators.len());
        let why = format!(
            "{needed} of this ledger's {all} operators have to sign: write it down with `writ act new`, let each sign the \
             file with `writ act sign`, then `writ act submit`"
        );
        return Err(Failure::new(Code::ActRefused, why));
    }
    let mut act = draft(genesis.ledger, statement, VALIDITY, clock)?;
    let signature = Signer::of(folder, KeyRole::Operator, &genesis.operators)?.sign(&act.message())?;
    act.attach(signature);
    Ok(act)
}

/// An act that hands the decision key on to `new`: signed by the operator, the old key and the new one.
///
/// # Errors
/// As [`act`]; `ERR_USAGE` where a command signs decisions: it cannot be told when to change its key.
pub fn rotation(folder: &Folder, genesis: &Genesis, new: &SecretKey, clock: &Clock) -> Result<Signed<Act>> {
    if folder.config()?.signer.decision.is_some() {
        let why =
            "a command signs decisions: hand on to its new key with `writ act new statement`, and change the command";
        return Err(Failure::new(Code::Usage, why));
    }
    let mut act = act(folder, genesis, Statement::RotateDecisionKey { key: new.id() }, clock)?;
    let old = Signer::of(folder, KeyRole::Decision, &[decision_key(folder, genesis)?])?.sign(&act.message())?;
    act.attach(old);
    act.add_signature(new);
    Ok(act)
}

/// The key that signs decisions at the end of a folder's log.
fn decision_key(folder: &Folder, genesis: &Genesis) -> Result<KeyId> {
    let mut key = genesis.decision_key;
    for located in Reader::open(folder.log())?.entries(Seq(0))? {
        let entry = located?.entry;
        if entry.header.kind == EventKind::LedgerKeyRotated
            && let Event::LedgerKeyRotated(act) = entry.event()?
            && let Statement::RotateDecisionKey { key: new } = act.value().statement
        {
            key = new;
        }
    }
    Ok(key)
}

/// A statement as an act that all of these sign.
///
/// # Errors
/// JSON cannot say it.
pub fn act_by(keys: &[SecretKey], ledger: LedgerId, statement: Statement, clock: &Clock) -> Result<Signed<Act>> {
    let mut act = draft(ledger, statement, VALIDITY, clock)?;
    keys.iter().for_each(|key| act.add_signature(key));
    Ok(act)
}

/// A statement as an act that nobody has signed yet, and that may be submitted for so many microseconds.
///
/// # Errors
/// JSON cannot say it.
pub fn draft(ledger: LedgerId, statement: Statement, validity: u64, clock: &Clock) -> Result<Signed<Act>> {
    let nonce = hex(&folder::random::<16>()?);
    let nonce = nonce.parse().map_err(|e| Failure::new(Code::Io, e))?;
    let act = Act { ledger, nonce, expires_at: clock.now().plus(validity), statement };
    Ok(writ_kernel::execution::document(act)?)
}
