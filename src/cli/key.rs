//! `writ key`: make, trust and revoke keys.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Subcommand;

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::KeyId;

use super::{Data, Found, act, name, output};
use crate::error::{Failure, Result};
use crate::folder;

/// `writ key ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key file and print its public key
    #[command(after_help = "Example:  writ key new agent.key")]
    New {
        /// The file; it must not exist
        file: PathBuf,
    },
    /// Trust a public key for one tenant and principal
    #[command(
        after_help = "Example:  writ key trust --data ./ledger ed25519:8a88... --tenant acme --principal agent-2 --role agent"
    )]
    Trust {
        #[command(flatten)]
        data: Data,
        /// The public key
        key: String,
        /// For which tenant
        #[arg(long)]
        tenant: String,
        /// As which principal
        #[arg(long)]
        principal: String,
        /// In which role; may be given more than once
        #[arg(long = "role")]
        roles: Vec<String>,
    },
    /// End the trust in a public key
    #[command(after_help = "Example:  writ key revoke --data ./ledger ed25519:8a88...")]
    Revoke {
        #[command(flatten)]
        data: Data,
        /// The public key
        key: String,
    },
}

pub(super) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::New { file } => {
            output::line(folder::make_key(file)?.id());
            Ok(Found::Yes)
        }
        Command::Trust { data, key, tenant, principal, roles } => {
            let roles = roles.iter().map(|role| name(role)).collect::<Result<BTreeSet<_>>>()?;
            let (tenant, principal) = (name(tenant)?, name(principal)?);
            act::submit(data, Statement::TrustKey { key: parse(key)?, tenant, principal, roles })
        }
        Command::Revoke { data, key } => act::submit(data, Statement::RevokeKey { key: parse(key)? }),
    }
}

/// A public key from the command line.
pub(super) fn parse(text: &str) -> Result<KeyId> {
    text.parse().map_err(|e| Failure::new(Code::Usage, format!("{text:?}: {e}")))
}
