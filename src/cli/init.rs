//! `writ init`: a new ledger.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use writ_kernel::policy::Policy;
use writ_log::files;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::KeyId;
use writ_schemas::policy::Bundle;

use super::session::Session;
use super::{Data, Found, name, output, policy};
use crate::clock::Clock;
use crate::config::{self, Config, Kafka};
use crate::error::{Failure, Result};
use crate::folder::{Folder, KeyRole};
use crate::kafka::INTENTS;
use crate::kafka::cluster::Cluster;
use crate::keyfile;
use crate::ledger::{self, Founding, Operators};

const EXAMPLE_POLICY: &str = include_str!("example_policy.json");

/// Its cases, for `writ policy test`.
const EXAMPLE_CASES: &str = include_str!("example_cases.json");

/// Arguments of `writ init`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:  writ init --data ./ledger\n          writ init --data ./ledger --kafka 127.0.0.1:9092\n          writ init --data ./ledger --operator-key ann.key --operator-key bob.key --operator-key eve.key --quorum 2"
)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Also make the topics on this Kafka, and bind the partitions of writ.intents.v1 to the ledger
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// How Kafka is reached: a file with a [kafka] table, which becomes that of writ.toml; --kafka goes before its `bootstrap`
    #[arg(long, value_name = "FILE")]
    kafka_config: Option<PathBuf>,
    /// The name under which checkpoints are published
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// The key file of an operator, who signs genesis and the first acts; several may be given. Without any, one operator's key
    /// is made in the folder
    #[arg(long = "operator-key", value_name = "FILE")]
    operator_keys: Vec<PathBuf>,
    /// How many of the operators an administrative act needs
    #[arg(long, value_name = "N", requires = "operator_keys")]
    quorum: Option<u32>,
    /// The policy bundle to activate, instead of the example
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// The size of the log's segments, a multiple of 512: `log.segment_bytes` of writ.toml
    #[arg(long, value_name = "BYTES")]
    segment_bytes: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let folder = args.data.folder();
    let bundle = match &args.policy {
        Some(dir) => policy::read(dir)?,
        None => policy::parse(EXAMPLE_POLICY.as_bytes())?,
    };
    let table = args.kafka_config.as_deref().map(Config::read_kafka).transpose()?;
    let kafka = Kafka::chosen(table, args.kafka.as_deref());
    let bound = kafka.as_ref().map(bindable).transpose()?;
    let clock = Clock::Wall;
    let operators = operators(args)?;
    let digest = Policy::compile(&bundle)?.digest();
    let founding = Founding::begin(&operators, &folder, args.origin.clone(), &config(args, kafka), &clock)?;
    let (inside, genesis) = (founding.folder(), founding.genesis().clone());
    let (producer, approver) = write_files(inside, args, &bundle)?;
    let mut statements = vec![
        trust(producer, "acme", "agent-1", "agent")?,
        trust(approver, "acme", "approver-1", "approver")?,
        Statement::ActivatePolicy { bundle },
    ];
    statements.extend(bound);
    let operators = match operators {
        Operators::Made => vec![inside.read_key(KeyRole::Operator)?],
        Operators::Given { keys, .. } => keys,
    };
    let session = Session::administer(inside)?;
    for statement in statements {
        let act = ledger::act_by(&operators, genesis.value().ledger, statement, &clock)?;
        session.post("/v1/acts", act.to_envelope())?;
    }
    session.close()?;
    founding.finish()?;

    let genesis = genesis.value();
    if args.json {
        output::json(&json!({
            "checkpoint_key": genesis.checkpoint_key, "data": folder.root().display().to_string(),
            "decision_key": genesis.decision_key, "ledger": genesis.ledger, "operators": genesis.operators,
            "origin": genesis.origin, "policy": digest, "producer": producer, "quorum": genesis.quorum,
        }));
    } else {
        output::line(format!("ledger    {}", genesis.ledger));
        output::line(format!("folder    {}", output::path(folder.root())));
        output::line(format!("decisions {}", genesis.decision_key));
        output::line(format!("policy    {digest}"));
        if !args.operator_keys.is_empty() {
            output::line(format!("operators {}, of whom {} sign an act", genesis.operators.len(), genesis.quorum));
        }
        output::line(format!(
            "\nNext:     writ submit --data {0} intents.jsonl\n          writ verify --data {0}",
            output::path(folder.root())
        ));
    }
    Ok(Found::Yes)
}

/// Whoever is to administer. Their keys lie elsewhere, so nothing but the environment says where a passphrase is.
fn operators(args: &Args) -> Result<Operators> {
    let read = |path: &PathBuf| keyfile::read(path, || Ok(config::passphrase_file()));
    let keys = args.operator_keys.iter().map(read).collect::<Result<Vec<_>>>()?;
    match (keys.len(), args.quorum) {
        (0, _) => Ok(Operators::Made),
        (1, None) => Ok(Operators::Given { keys, quorum: 1 }),
        (_, Some(quorum)) => Ok(Operators::Given { keys, quorum }),
        (_, None) => Err(Failure::new(Code::Usage, "of several operators, --quorum says how many an act needs")),
    }
}

/// Makes the topics of a cluster, and the statement that binds the partitions of the intents.
fn bindable(kafka: &Kafka) -> Result<Statement> {
    let cluster = Cluster::of(kafka)?;
    cluster.create_topics()?;
    Ok(cluster.ask()?.describe(&cluster.topic(INTENTS))?.binding())
}

fn config(args: &Args, kafka: Option<Kafka>) -> Config {
    let mut config = Config { kafka, ..Config::default() };
    config.log.segment_bytes = args.segment_bytes.unwrap_or(config.log.segment_bytes);
    config
}

/// Writes what is not the ledger's own: policy, the example keys, whose ids it returns.
fn write_files(folder: &Folder, args: &Args, bundle: &Bundle) -> Result<(KeyId, KeyId)> {
    let write =
        |path: PathBuf, text: String| files::write_new(&path, text.as_bytes()).map_err(|e| Failure::io(&path, &e));
    let policy = folder.policy().join("policy.json");
    if args.policy.is_some() {
        write(policy, serde_json::to_string_pretty(bundle).unwrap_or_default())?;
    } else {
        write(policy, EXAMPLE_POLICY.to_owned())?;
        let cases = folder.policy().join("cases");
        files::make_folder(&cases).map_err(|e| Failure::io(&cases, &e))?;
        write(cases.join("example.json"), EXAMPLE_CASES.to_owned())?;
    }
    let producer = keyfile::make(&folder.key(KeyRole::Producer), None)?.id();
    let approver = keyfile::make(&folder.key(KeyRole::Approver), None)?.id();
    Ok((producer, approver))
}

/// The statement that trusts a key.
pub(super) fn trust(key: KeyId, tenant: &str, principal: &str, role: &str) -> Result<Statement> {
    Ok(Statement::TrustKey {
        key,
        tenant: name(tenant)?,
        principal: name(principal)?,
        roles: BTreeSet::from([name(role)?]),
    })
}
