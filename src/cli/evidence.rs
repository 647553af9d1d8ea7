//! `writ evidence`: register evidence.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use writ_schemas::errors::Code;
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::Digest;

use super::session::Session;
use super::{Data, Found, input, name, output};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::KeyRole;
use crate::keyfile;
use crate::ledger;

/// `writ evidence ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Sign and register a piece of evidence; prints the digest that intents name
    #[command(
        after_help = "Example:  writ evidence add --data ./ledger --tenant acme --kind ticket --artifact ticket.pdf"
    )]
    Add {
        #[command(flatten)]
        data: Data,
        /// For which tenant
        #[arg(long)]
        tenant: String,
        /// What sort of artifact
        #[arg(long)]
        kind: String,
        /// The artifact; only its digest is registered
        #[arg(long, value_name = "FILE")]
        artifact: Option<PathBuf>,
        /// The effect digest that it speaks of
        #[arg(long, value_name = "DIGEST")]
        effect: Option<String>,
        /// How long it proves anything, in hours
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
        hours: u64,
        /// The signer's key file [default: keys/approver.key of the folder]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

pub(super) fn run(command: &Command) -> Result<Found> {
    let Command::Add { data, tenant, kind, artifact, effect, hours, key } = command;
    let folder = data.folder();
    folder.require()?;
    let now = Clock::Wall.now();
    let artifact = artifact.as_ref().map(|path| input::digest(path)).transpose()?;
    let effect: Option<Result<Digest>> =
        effect.as_ref().map(|it| it.parse().map_err(|e| Failure::new(Code::Usage, format!("{it:?}: {e}"))));
    let evidence = Evidence {
        ledger: ledger::genesis(&folder)?.ledger,
        tenant: name(tenant)?,
        kind: name(kind)?,
        artifact,
        effect: effect.transpose()?,
        issued_at: now,
        expires_at: now.plus(hours * 3_600_000_000),
    };
    let key = key.clone().unwrap_or_else(|| folder.key(KeyRole::Approver));
    let key = keyfile::read(&key, || folder.passphrase_file())?;
    let evidence = ledger::sign(evidence, &key)?;
    let session = Session::administer(&folder)?;
    let answer = session.post("/v1/evidence", evidence.to_envelope());
    session.close()?;
    let mut answer = answer?;
    answer["evidence"] = json!(evidence.digest());
    output::json(&answer);
    Ok(Found::Yes)
}
