//! `writ key`: make, encrypt, trust and revoke keys.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use writ_schemas::act::Statement;
use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::errors::Code;
use writ_schemas::ids::{KeyId, hex, unhex};
use writ_schemas::keys::SecretKey;

use super::{Data, Found, act, name, output};
use crate::clock::Clock;
use crate::config;
use crate::error::{Failure, Result};
use crate::keyfile::{self, Passphrase};
use crate::ledger;

/// The longest request for a signature: the largest document, its type, in hex.
const REQUEST_BYTES_MAX: usize = DOCUMENT_BYTES_MAX * 2 + 1024;

/// `writ key ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key file and print its public key
    #[command(
        after_help = "Example:  writ key new agent.key\n          writ key new --passphrase-file secret.txt agent.key"
    )]
    New {
        /// Encrypt it under the passphrase that is this file's first line
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// The file; it must not exist
        #[arg(value_name = "KEY")]
        file: PathBuf,
    },
    /// Put key files under a passphrase, and print their public keys
    #[command(
        after_help = "Example:  writ key encrypt --passphrase-file secret.txt ledger/keys/*.key\n\nThe files become encrypted PKCS#8, as `openssl pkey -in KEY` reads it. Commands find the passphrase by\npassphrase_file in writ.toml, or WRIT_PASSPHRASE_FILE."
    )]
    Encrypt(Rewrite),
    /// Take key files from under their passphrase, and print their public keys
    #[command(after_help = "Example:  writ key decrypt --passphrase-file secret.txt ledger/keys/*.key")]
    Decrypt(Rewrite),
    /// Sign whatever is asked for: the command of a [signer] in writ.toml, as another user or on another machine
    #[command(
        after_help = "Example:  [signer]\n          decision = [\"ssh\", \"vault\", \"writ\", \"key\", \"signer\", \"decision.key\"]\n\nReads one request a line, a message in hex; answers each with one line, the signature in hex."
    )]
    Signer {
        /// The file whose first line is the passphrase [default: what WRIT_PASSPHRASE_FILE names]
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// The key file
        #[arg(value_name = "KEY")]
        file: PathBuf,
    },
    /// Trust a public key for one tenant and principal
    #[command(
        after_help = "Example:  writ key trust --data ./ledger ed25519:8a88... --tenant acme --principal agent-2 --role agent"
    )]
    Trust {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        trust: Trustee,
    },
    /// Hand the ledger's decision key on to a new one, which is made beside it
    #[command(after_help = "Example:  writ key rotate --data ./ledger")]
    Rotate {
        #[command(flatten)]
        data: Data,
        /// Encrypt the new key file with the first line of this file
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
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

/// A key and whom it is trusted for.
#[derive(clap::Args)]
pub(super) struct Trustee {
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
}

impl Trustee {
    /// The statement that trusts it.
    ///
    /// # Errors
    /// `ERR_USAGE` for what is no key or no name.
    pub(super) fn statement(&self) -> Result<Statement> {
        let roles = self.roles.iter().map(|role| name(role)).collect::<Result<BTreeSet<_>>>()?;
        let (tenant, principal) = (name(&self.tenant)?, name(&self.principal)?);
        Ok(Statement::TrustKey { key: parse(&self.key)?, tenant, principal, roles })
    }
}

/// Arguments of `writ key encrypt` and `writ key decrypt`.
#[derive(clap::Args)]
pub(super) struct Rewrite {
    /// The file whose first line is the passphrase [default: what WRIT_PASSPHRASE_FILE names]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The key files
    #[arg(required = true, value_name = "KEY")]
    files: Vec<PathBuf>,
}

pub(super) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::Rotate { data, passphrase_file } => rotate(data, passphrase_file.as_deref()),
        Command::New { passphrase_file, file } => {
            let passphrase = passphrase_file.as_deref().map(Passphrase::read).transpose()?;
            output::line(keyfile::make(file, passphrase.as_ref())?.id());
            Ok(Found::Yes)
        }
        Command::Encrypt(args) => rewrite(args, keyfile::encrypt),
        Command::Decrypt(args) => rewrite(args, keyfile::decrypt),
        Command::Signer { passphrase_file, file } => {
            let passphrase = passphrase_file.clone().or_else(config::passphrase_file);
            sign_all(&keyfile::read(file, || Ok(passphrase))?)
        }
        Command::Trust { data, trust } => act::submit(data, trust.statement()?),
        Command::Revoke { data, key } => act::submit(data, Statement::RevokeKey { key: parse(key)? }),
    }
}

/// The new key file is durable before anything names it, so that whoever signs next finds it.
fn rotate(data: &Data, passphrase_file: Option<&Path>) -> Result<Found> {
    let folder = data.folder();
    folder.require()?;
    let passphrase = passphrase_file.map(Passphrase::read).transpose()?;
    let genesis = ledger::genesis(&folder)?;
    let new = keyfile::make_named(|id| folder.later_decision_key(id), passphrase.as_ref())?;
    let handed_on = ledger::rotation(&folder, &genesis, &new, &Clock::Wall);
    let handed_on = handed_on.and_then(|act| act::post(data, act.to_envelope()));
    // Where it was refused for certain, nobody uses the key. Otherwise the log may name it, and it must stay.
    if handed_on.as_ref().is_err_and(|failure| matches!(failure.code, Code::ActRefused | Code::Usage | Code::KeyFile)) {
        let _ = std::fs::remove_file(folder.later_decision_key(new.id()));
    }
    handed_on
}

fn rewrite(args: &Rewrite, each: impl Fn(&Path, &Passphrase) -> Result<KeyId>) -> Result<Found> {
    let missing =
        || Failure::new(Code::Usage, "name the passphrase's file: --passphrase-file, or WRIT_PASSPHRASE_FILE");
    let named = args.passphrase_file.clone().or_else(config::passphrase_file).ok_or_else(missing)?;
    let passphrase = Passphrase::read(&named)?;
    for file in &args.files {
        output::line(format!("{}  {}", each(file, &passphrase)?, output::path(file)));
    }
    Ok(Found::Yes)
}

/// Answers until nothing more is asked, or nobody listens.
fn sign_all(key: &SecretKey) -> Result<Found> {
    let mut input = std::io::stdin().lock();
    let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    while output::refused().is_none() {
        let mut line = String::new();
        let read = Read::take(&mut input, limit).read_line(&mut line);
        if read.map_err(|e| Failure::new(Code::InputFile, e))? == 0 {
            break;
        }
        let refuse =
            || Failure::new(Code::InputFile, format!("a request is hex, at most {REQUEST_BYTES_MAX} bytes a line"));
        let request = line.strip_suffix('\n').ok_or_else(refuse)?;
        let message: Option<Vec<u8>> = request.as_bytes().chunks(2).map(byte).collect();
        output::line(hex(&key.sign(&message.ok_or_else(refuse)?)));
    }
    Ok(Found::Yes)
}

fn byte(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits).ok().and_then(unhex::<1>).map(|[byte]| byte)
}

/// A public key from the command line.
pub(super) fn parse(text: &str) -> Result<KeyId> {
    text.parse().map_err(|e| Failure::new(Code::Usage, format!("{text:?}: {e}")))
}
