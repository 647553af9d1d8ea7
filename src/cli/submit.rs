//! `writ submit`: intents, one JSON a line.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use writ_kernel::decide::{Identity, decide, identify};
use writ_kernel::state::State;
use writ_log::Reader;
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, Signed};
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, Seq};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::strict::{self, Refusal};

use super::session::{self, Session};
use super::{Found, output};
use crate::clock::Clock;
use crate::config::{self, Config, Kafka};
use crate::error::{Failure, Result};
use crate::folder::{Folder, KeyRole};
use crate::kafka::answers::{Answers, Heard, Refused};
use crate::kafka::cluster::Cluster;
use crate::kafka::producer;
use crate::signals::Interrupt;
use crate::{api, intake, keyfile, ledger, query};

mod lines;

use lines::Input;

/// How many lines without an answer are named.
const UNANSWERED_NAMED_MAX: usize = 10;

/// Arguments of `writ submit`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:  echo '{\"tenant\":\"acme\",\"id\":\"n-1\",\"principal\":\"agent-1\",\"action\":\"notes.add\",\"args\":{\"text\":\"hi\"},\"expires_at\":'$(date -d +1hour +%s000000)'}' |\n            writ submit --data ./ledger"
)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["data", "url", "kafka", "kafka_config"]).multiple(true))]
pub(super) struct Args {
    /// The ledger's folder; if it is being served, through its socket
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "kafka", "kafka_config"])]
    data: Option<PathBuf>,
    /// The HTTP API of a ledger
    #[arg(long, value_name = "URL", conflicts_with_all = ["kafka", "kafka_config"])]
    url: Option<String>,
    /// Kafka; decisions and refusals are awaited on their topics
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// How Kafka is reached: a file with a [kafka] table, as writ.toml; --kafka goes before its `bootstrap`
    #[arg(long, value_name = "FILE")]
    kafka_config: Option<PathBuf>,
    /// How long answers may take to come over Kafka
    #[arg(long, value_name = "SECONDS", default_value_t = 60, conflicts_with_all = ["data", "url"])]
    wait: u64,
    /// The producer's key file [default with --data: keys/producer.key of the folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Decide, but add nothing to the log; with --json, also the digest of the effect, which evidence can name
    #[arg(long, conflicts_with_all = ["url", "kafka", "kafka_config"])]
    dry_run: bool,
    /// Print JSON, an answer a line
    #[arg(long)]
    json: bool,
    /// Intents or signed envelopes, one JSON a line [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A line that can be submitted.
struct Line {
    number: u64,
    envelope: Vec<u8>,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    // Whoever sends signed envelopes needs no key, so that there is none counts only when a line is to be signed.
    let key = match (&args.key, &args.data) {
        (Some(path), Some(dir)) => Ok(keyfile::read(path, || Folder::at(dir).passphrase_file())?),
        (Some(path), None) => Ok(keyfile::read(path, || Ok(config::passphrase_file()))?),
        (None, Some(dir)) => {
            let folder = Folder::at(dir);
            folder.require()?;
            folder.read_key(KeyRole::Producer)
        }
        (None, None) => Err(Failure::new(Code::KeyFile, "an intent that is not signed needs --key")),
    };
    let interrupt = Interrupt::listen()?;
    let input = Input::open(args.file.as_deref())?;
    let mut submitter = Submitter::new(args)?;
    let mut printer = Printer::new(args.json);
    let submitted = submit_all(&input, &key, &mut submitter, &mut printer, &interrupt);
    // Whatever ends it, what is under way is ended and sealed.
    let closed = submitter.close();
    let found = printer.end();
    let lines = submitted?;
    closed?;
    match interrupt.by() {
        Some(signal) => Ok(Found::Stopped(signal)),
        None if lines == 0 => Err(Failure::new(Code::InputFile, "there is no line in the input")),
        None => Ok(found),
    }
}

/// Submits every line and prints every answer, until the input ends or somebody wants it to end. Returns how many lines there were.
fn submit_all(
    input: &Input,
    key: &Result<SecretKey>,
    submitter: &mut Submitter,
    printer: &mut Printer,
    interrupt: &Interrupt,
) -> Result<u64> {
    let mut number = 0;
    while let Some(texts) = input.next(submitter.is_dear(), interrupt)? {
        let mut lines = Vec::with_capacity(texts.len());
        for text in texts {
            number += 1;
            match envelope(&text, key) {
                Ok(envelope) => lines.push(Line { number, envelope }),
                Err(failure) if failure.code == Code::KeyFile => return Err(failure),
                Err(Failure { code, detail }) => {
                    printer.answer(&json!({ "answer": "refused", "code": code, "detail": detail, "line": number }));
                }
            }
        }
        let submitted = if lines.is_empty() { Ok(()) } else { submitter.submit(lines, printer) };
        // What was answered before a failure is told.
        printer.print();
        submitted?;
    }
    Ok(number)
}

/// The envelope of a line: as it is, if it is one; else the line is an intent, and is signed here.
fn envelope(line: &[u8], key: &Result<SecretKey>) -> Result<Vec<u8>> {
    if line.len() > ENVELOPE_BYTES_MAX {
        return Err(Failure::new(Code::TooLarge, format!("at most {ENVELOPE_BYTES_MAX} bytes a line")));
    }
    strict::check(line)?;
    let value: Value = serde_json::from_slice(line).map_err(|e| Failure::new(Code::JsonSyntax, e))?;
    if value.get("payloadType").is_some() {
        intake::parse(line)?;
        return Ok(line.to_vec());
    }
    let intent: Intent = strict::parse(line, DOCUMENT_BYTES_MAX)?;
    let signed = Signed::unsigned(intent)?;
    Ok(signed.sign(key.as_ref().map_err(Failure::clone)?).to_envelope())
}

/// Where lines go.
enum Submitter {
    Session(Session),
    Url(String),
    Kafka(Box<Cluster>, Duration),
    DryRun(Box<DryRun>),
}

impl Submitter {
    fn new(args: &Args) -> Result<Submitter> {
        match (&args.data, &args.url) {
            (Some(dir), _) if args.dry_run => Ok(Submitter::DryRun(Box::new(DryRun::open(&Folder::at(dir))?))),
            (Some(dir), _) => Ok(Submitter::Session(Session::open(&Folder::at(dir))?)),
            (None, Some(url)) => Ok(Submitter::Url(url.trim_end_matches('/').to_owned())),
            (None, None) => {
                let table = args.kafka_config.as_deref().map(Config::read_kafka).transpose()?;
                let kafka = Kafka::chosen(table, args.kafka.as_deref())
                    .ok_or_else(|| Failure::new(Code::Usage, "where to: --data, --url or --kafka"))?;
                Ok(Submitter::Kafka(Box::new(Cluster::of(&kafka)?), Duration::from_secs(args.wait)))
            }
        }
    }

    fn submit(&mut self, lines: Vec<Line>, printer: &mut Printer) -> Result<()> {
        let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
        let mut answers = match self {
            Submitter::Session(session) => {
                let bytes = session.request(&Method::POST, "/v1/intents", "application/x-ndjson", joined(&lines))?;
                parse_lines(&bytes)?
            }
            Submitter::Url(url) => parse_lines(&post(&format!("{url}/v1/intents"), &joined(&lines))?)?,
            Submitter::Kafka(cluster, patience) => return over_kafka(cluster, *patience, &lines, printer),
            Submitter::DryRun(dry) => lines.iter().map(|line| dry.decide(&line.envelope)).collect::<Result<_>>()?,
        };
        for (answer, number) in answers.iter_mut().zip(numbers) {
            answer["line"] = json!(number);
            printer.answer(answer);
        }
        Ok(())
    }

    /// Whether each submission costs so much that as many lines as may be are submitted together.
    fn is_dear(&self) -> bool {
        matches!(self, Submitter::Kafka(..))
    }

    fn close(self) -> Result<()> {
        match self {
            Submitter::Session(session) => session.close(),
            Submitter::Url(_) | Submitter::Kafka(..) | Submitter::DryRun(_) => Ok(()),
        }
    }
}

fn joined(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.envelope.iter().copied().chain([b'\n'])).collect()
}

fn parse_lines(bytes: &[u8]) -> Result<Vec<Value>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|e| Failure::new(Code::Io, e))).collect()
}

fn post(url: &str, body: &[u8]) -> Result<Vec<u8>> {
    let gone = |e: ureq::Error| match e {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::new(Code::Usage, format!("{url}: {e}")),
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => Failure::new(Code::Unreachable, url),
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => Failure::new(Code::Unreachable, url),
        e => Failure::new(Code::Stopping, format!("{url}: {e}; submitting again is safe")),
    };
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(url).header("Content-Type", "application/x-ndjson");
    if let Some(trace) = config::trace_parent() {
        request = request.header("traceparent", trace.to_string());
    }
    let mut response = request.send(body).map_err(gone)?;
    let status = response.status();
    let bytes = response.body_mut().with_config().limit(1 << 30).read_to_vec().map_err(gone)?;
    if status.is_success() {
        return Ok(bytes);
    }
    Err(api::failure_of_problem(&serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

/// Sends every line, and prints each answer as it comes: partitions do not keep the order of the lines.
fn over_kafka(cluster: &Cluster, patience: Duration, lines: &[Line], printer: &mut Printer) -> Result<()> {
    let mut records = Vec::with_capacity(lines.len());
    let (mut by_intent, mut by_record) = (BTreeMap::<_, Vec<u64>>::new(), BTreeMap::<_, Vec<u64>>::new());
    for line in lines {
        let intent = intake::parse(&line.envelope)?;
        // By this form of the record a refusal names an intent that could be read, so this form is sent.
        let record = intent.to_envelope();
        by_intent.entry(intent.digest()).or_default().push(line.number);
        by_record.entry(Digest::of(&record)).or_default().push(line.number);
        records.push((intent.value().tenant.to_string(), record));
    }
    let mut open: BTreeSet<u64> = lines.iter().map(|line| line.number).collect();
    let answers = Answers::listen(cluster)?;
    producer::send(cluster, &records, config::trace_parent())?;
    let all = answers.hear(patience, |heard| {
        let numbers = match &heard {
            Heard::Decided(decision) | Heard::Known(decision) => by_intent.remove(&decision.value().intent_digest),
            Heard::Refused(refused) => by_record.remove(&refused.digest),
        };
        let Some(numbers) = numbers else { return ControlFlow::Continue(()) };
        let mut answer = match &heard {
            Heard::Decided(decision) => json!({ "answer": "decided", "decision": query::document(decision) }),
            Heard::Known(decision) => json!({ "answer": "known", "decision": query::document(decision) }),
            Heard::Refused(Refused { code, detail, seq, .. }) => {
                json!({ "answer": "refused", "code": code, "detail": detail, "seq": seq })
            }
        };
        for number in numbers {
            if open.remove(&number) {
                answer["line"] = json!(number);
                printer.answer(&answer);
            }
        }
        if open.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if all {
        return Ok(());
    }
    let first: Vec<String> = open.iter().take(UNANSWERED_NAMED_MAX).map(u64::to_string).collect();
    let more = if open.len() > first.len() { ", ..." } else { "" };
    let (count, first, seconds) = (open.len(), first.join(", "), patience.as_secs());
    // One that was decided before adds nothing to the topics, and is found only as long as they keep its decision.
    let why = format!(
        "neither a decision nor a refusal within {seconds} s, nor an earlier decision on the topic, for {count} of \
         {} lines: {first}{more}",
        lines.len()
    );
    Err(Failure::new(Code::AnswerMissing, why))
}

/// Decides against the log as it is, and adds nothing.
struct DryRun {
    state: State,
}

impl DryRun {
    fn open(folder: &Folder) -> Result<DryRun> {
        folder.require()?;
        ledger::genesis(folder)?;
        let mut state = State::default();
        for located in Reader::open(folder.log())?.entries(Seq(0))? {
            let entry = located?.entry;
            state.apply(entry.header.seq, entry.header.recorded_at, &entry.event()?)?;
        }
        session::caution(session::durable(folder), state.next());
        Ok(DryRun { state })
    }

    fn decide(&self, envelope: &[u8]) -> Result<Value> {
        let intent = intake::parse(envelope)?;
        let (Some(genesis), Some(signer)) = (self.state.genesis(), intent.signer()) else {
            return Err(Failure::new(Code::LogMissing, "no genesis"));
        };
        let now = Clock::Wall.now().max(self.state.last_at().plus(1));
        Ok(match identify(&self.state, &intent, now) {
            Identity::New => {
                let decision = decide(&self.state, genesis.ledger, &intent, signer, self.state.next(), now, &mut ());
                let decision = writ_kernel::execution::document(decision)?;
                let effect = intent.value().effect_digest().ok();
                json!({ "answer": "dry_run", "decision": query::document(&decision), "effect": effect })
            }
            Identity::Known(seq) => json!({ "answer": "known", "seq": seq }),
            Identity::Reused => {
                json!({ "answer": "refused", "code": Code::IdReused, "detail": "the id was used for other content" })
            }
            Identity::Stranger(Refusal { code, detail }) => {
                json!({ "answer": "refused", "code": code, "detail": detail })
            }
        })
    }
}

/// Prints answers, and remembers the codes of those that are a no.
struct Printer {
    json: bool,
    /// Rows that are not printed yet.
    table: comfy_table::Table,
    codes: BTreeSet<Code>,
}

impl Printer {
    fn new(json: bool) -> Printer {
        let table = output::table(&["tenant", "id", "verdict", "code", "seq", "because"]);
        Printer { json, table, codes: BTreeSet::new() }
    }

    fn answer(&mut self, answer: &Value) {
        let refused = output::text(answer, "/answer") == "refused";
        let verdict = if refused { "REFUSED".to_owned() } else { output::text(answer, "/decision/payload/verdict") };
        if self.json {
            output::json(answer);
        } else {
            let line = format!("line {}", answer["line"]);
            let field = |name: &str| output::text(answer, &format!("/decision/payload/{name}"));
            let (tenant, id) = if refused { (String::new(), line) } else { (field("tenant"), field("id")) };
            let code = if refused { output::text(answer, "/code") } else { field("code") };
            let because = if refused { output::text(answer, "/detail") } else { field("because") };
            let seq = answer["seq"].as_u64().map(|seq| seq.to_string()).unwrap_or_default();
            self.table.add_row([tenant, id, output::verdict(&verdict), code, seq, because]);
        }
        if refused || verdict == "FAIL" {
            let code = output::text(answer, if refused { "/code" } else { "/decision/payload/code" });
            self.codes.insert(code.parse().unwrap_or(Code::Io));
        }
    }

    /// Prints the rows since the last time, under the columns if they are the first.
    fn print(&mut self) {
        if !self.table.is_empty() {
            output::line(std::mem::replace(&mut self.table, output::table(&[])));
        }
    }

    fn end(mut self) -> Found {
        self.print();
        self.codes.iter().for_each(|code| super::advise(*code));
        if self.codes.is_empty() { Found::Yes } else { Found::No }
    }
}
