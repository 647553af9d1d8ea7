//! Administrative acts: `writ act`, by which several operators sign one, and the short commands where one of them is enough.

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Name};

mod files;
mod words;

pub(super) use files::{Command, run};

use super::session::Session;
use super::{Data, Found, name, output};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::ledger;

/// Arguments of `writ reconcile`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ reconcile --data ./ledger blake3:93b1... --applied")]
pub(super) struct Reconcile {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    outcome: Outcome,
}

/// What became of a receipt.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("outcome").required(true).args(["applied", "not_applied"]))]
pub(super) struct Outcome {
    /// The digest of the UNCERTAIN receipt
    receipt: String,
    /// The effect happened: its reservation is committed
    #[arg(long)]
    applied: bool,
    /// The effect did not happen: its reservation is released
    #[arg(long)]
    not_applied: bool,
}

/// Arguments of `writ freeze`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ freeze --data ./ledger --reason 'agent-7 misbehaves'")]
pub(super) struct Freeze {
    #[command(flatten)]
    data: Data,
    /// Why, for those who read the log
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    extent: Extent,
}

/// What is frozen: all, unless less is named.
#[derive(clap::Args)]
pub(super) struct Extent {
    /// Only this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only this principal of the tenant
    #[arg(long, requires = "tenant")]
    principal: Option<String>,
}

impl Extent {
    fn names(&self) -> Result<(Option<Name>, Option<Name>)> {
        let parse = |text: &Option<String>| text.as_deref().map(name).transpose();
        Ok((parse(&self.tenant)?, parse(&self.principal)?))
    }

    fn freeze(&self, reason: &str) -> Result<Statement> {
        let (tenant, principal) = self.names()?;
        Ok(Statement::Freeze { principal, reason: reason.to_owned(), tenant })
    }

    fn thaw(&self) -> Result<Statement> {
        let (tenant, principal) = self.names()?;
        Ok(Statement::Thaw { principal, tenant })
    }
}

/// Arguments of `writ thaw`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ thaw --data ./ledger")]
pub(super) struct Thaw {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    extent: Extent,
}

/// Arguments of `writ clock`.
#[derive(clap::Args)]
#[command(after_help = "Example:  date && writ clock --data ./ledger")]
pub(super) struct ClockIsRight {
    #[command(flatten)]
    data: Data,
}

pub(super) fn clock_is_right(args: &ClockIsRight) -> Result<Found> {
    submit(&args.data, Statement::AdjustClock { now: Clock::Wall.now() })
}

pub(super) fn reconcile(args: &Reconcile) -> Result<Found> {
    submit(&args.data, applied(&args.outcome)?)
}

fn applied(outcome: &Outcome) -> Result<Statement> {
    let Outcome { receipt, applied, not_applied } = outcome;
    let receipt: Digest = receipt.parse().map_err(|e| Failure::new(Code::Usage, format!("{receipt:?}: {e}")))?;
    Ok(Statement::Reconcile { receipt, applied: *applied && !*not_applied })
}

pub(super) fn freeze(args: &Freeze) -> Result<Found> {
    submit(&args.data, args.extent.freeze(&args.reason)?)
}

pub(super) fn thaw(args: &Thaw) -> Result<Found> {
    submit(&args.data, args.extent.thaw()?)
}

/// Signs a statement with the folder's operator key and submits it.
pub(super) fn submit(data: &Data, statement: Statement) -> Result<Found> {
    let folder = data.folder();
    folder.require()?;
    let act = ledger::act(&folder, &ledger::genesis(&folder)?, statement, &Clock::Wall)?;
    post(data, act.to_envelope())
}

/// Submits a signed act.
pub(super) fn post(data: &Data, envelope: Vec<u8>) -> Result<Found> {
    let session = Session::administer(&data.folder())?;
    let answer = session.post("/v1/acts", envelope);
    session.close()?;
    output::json(&answer?);
    Ok(Found::Yes)
}
