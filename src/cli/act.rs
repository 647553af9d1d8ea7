//! Short commands that are administrative acts: reconcile, freeze, thaw.

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Name};

use super::session::Session;
use super::{Data, Found, name, output};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::ledger;

/// Arguments of `writ reconcile`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ reconcile --data ./ledger blake3:93b1... --applied")]
#[command(group = clap::ArgGroup::new("outcome").required(true).args(["applied", "not_applied"]))]
pub(super) struct Reconcile {
    #[command(flatten)]
    data: Data,
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
struct Extent {
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

pub(super) fn reconcile(args: &Reconcile) -> Result<Found> {
    let receipt: Digest =
        args.receipt.parse().map_err(|e| Failure::new(Code::Usage, format!("{:?}: {e}", args.receipt)))?;
    submit(&args.data, Statement::Reconcile { receipt, applied: args.applied && !args.not_applied })
}

pub(super) fn freeze(args: &Freeze) -> Result<Found> {
    let (tenant, principal) = args.extent.names()?;
    submit(&args.data, Statement::Freeze { principal, reason: args.reason.clone(), tenant })
}

pub(super) fn thaw(args: &Thaw) -> Result<Found> {
    let (tenant, principal) = args.extent.names()?;
    submit(&args.data, Statement::Thaw { principal, tenant })
}

/// Signs a statement with the folder's operator key and submits it.
pub(super) fn submit(data: &Data, statement: Statement) -> Result<Found> {
    let folder = data.folder();
    folder.require()?;
    let act = ledger::act(&folder, &ledger::genesis(&folder)?, statement, &Clock::Wall)?;
    let session = Session::administer(&folder)?;
    let answer = session.post("/v1/acts", act.to_envelope());
    session.close()?;
    output::json(&answer?);
    Ok(Found::Yes)
}
