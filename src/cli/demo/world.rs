//! The world around the demo's ledger: a mock Kafka cluster, a shipping service, the keys of everybody.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::Value;

use writ_schemas::act::Statement;
use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, LedgerId, Name, Seq, UnixMicros};
use writ_schemas::keys::SecretKey;
use writ_schemas::receipt::Receipt;

use super::scenario::{Deed, Phase, Scenario};
use crate::cli::session::end_process;
use crate::cli::{approvals, init, policy};
use crate::clock::{Clock, Stopwatch};
use crate::config::Config;
use crate::error::{Failure, Result};
use crate::folder::{self, Folder};
use crate::kafka::cluster::{Cluster, assign};
use crate::kafka::context::Consumer;
use crate::kafka::failure::{Asked, failure};
use crate::kafka::{DECISIONS, INTENTS, PROGRESS, RECEIPTS, REFUSALS, producer};
use crate::ledger::{self, Opened, Operators};
use crate::query::Library;
use crate::sequencer::{Answer, Passed, Submitted};
use crate::service::Service;
use crate::threads;

const POLICY: &str = include_str!("policy.json");

/// How long the demo waits for what must come.
const PATIENCE: Duration = Duration::from_secs(12);

/// The keys of everybody in the story.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) acme: SecretKey,
    pub(super) globex: SecretKey,
    pub(super) approver: SecretKey,
    pub(super) stranger: SecretKey,
}

/// Something that came out over Kafka.
pub(super) struct Heard {
    /// From which topic.
    pub(super) topic: String,
    /// `tenant/id`, as far as it is known.
    pub(super) name: String,
    /// The verdict, the status, or `REFUSED`.
    pub(super) word: String,
    /// The code.
    pub(super) code: String,
    /// Of a refusal: the digest of the record.
    pub(super) digest: Option<Digest>,
}

/// Everything around the ledger, and the ledger.
pub(super) struct World {
    /// Goes before the Kafka that it listens to.
    ears: Ears,
    _mock: MockCluster<'static, DefaultProducerContext>,
    kafka: Cluster,
    folder: Folder,
    genesis: Genesis,
    keys: Keys,
    service: Service,
    policy: Vec<u8>,
}

impl World {
    pub(super) fn make(folder: &Folder) -> Result<World> {
        let mock = |e: rdkafka::error::KafkaError| failure(Asked::Cluster, &e);
        let cluster = MockCluster::new(1).map_err(mock)?;
        for (topic, partitions) in [(INTENTS, 2), (DECISIONS, 1), (RECEIPTS, 1), (REFUSALS, 1), (PROGRESS, 1)] {
            cluster.create_topic(topic, partitions, 1).map_err(mock)?;
        }
        let kafka = Cluster::at(&cluster.bootstrap_servers())?;
        let shop = shop()?;
        let genesis = ledger::create(&Operators::Made, folder, None, &Config::default(), &Clock::Wall)?.value().clone();
        let key = || folder::random::<32>().map(|seed| SecretKey::from_seed(&seed));
        let keys = Keys { acme: key()?, globex: key()?, approver: key()?, stranger: key()? };
        World::administer(folder, &genesis, &keys, &kafka)?;
        let opened = Opened::open(folder, Clock::Wall)?;
        let service = Service::start(opened, Some(&kafka), Passed::CarriedOut, end_process)?;
        let policy = POLICY.replace("ADDRESS", &shop).into_bytes();
        let ears = Ears::open(&kafka)?;
        Ok(World { _mock: cluster, kafka, folder: folder.clone(), genesis, keys, service, policy, ears })
    }

    /// Who is trusted, and which partitions are the ledger's: bound before the service starts to read them.
    fn administer(folder: &Folder, genesis: &Genesis, keys: &Keys, kafka: &Cluster) -> Result<()> {
        let service = Service::start(Opened::open(folder, Clock::Wall)?, None, Passed::Waits, end_process)?;
        for statement in [
            init::trust(keys.acme.id(), "acme", "agent-1", "agent")?,
            init::trust(keys.globex.id(), "globex", "agent-9", "agent")?,
            init::trust(keys.approver.id(), "acme", "approver-1", "approver")?,
            kafka.ask()?.describe(INTENTS)?.binding(),
        ] {
            let act = ledger::act(folder, genesis, statement, &Clock::Wall)?;
            recorded(service.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 0)])?)?;
        }
        service.stop()
    }

    pub(super) fn ledger(&self) -> LedgerId {
        self.genesis.ledger
    }

    pub(super) fn now(&self) -> UnixMicros {
        Clock::Wall.now()
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The seq after the last durable entry.
    pub(super) fn head(&self) -> Seq {
        self.service.handle().progress.next()
    }

    pub(super) fn library(&self) -> Library {
        self.service.library()
    }

    /// Registers evidence; returns the digest that intents name.
    pub(super) fn register(&self, key: &SecretKey, evidence: impl FnOnce(LedgerId) -> Evidence) -> Result<Digest> {
        let evidence = ledger::sign(evidence(self.genesis.ledger), key)?;
        let digest = evidence.digest();
        recorded(self.service.handle().submit_all(vec![(Submitted::Evidence(Box::new(evidence)), 0)])?)?;
        Ok(digest)
    }

    /// Does the deed, produces the records, and listens until all that must come has come.
    pub(super) fn play(&self, phase: &Phase, heard: &mut dyn FnMut(&Heard)) -> Result<Vec<Heard>> {
        let Phase { deed, scenarios } = phase;
        let mut all = Vec::new();
        if let Some(deed) = deed {
            all.extend(self.carry_out(deed)?);
            all.iter().for_each(&mut *heard);
        }
        let produced = scenarios.iter().filter(|it| !it.record.is_empty());
        let records: Vec<_> = produced.map(|it| (it.key.clone(), it.record.clone())).collect();
        producer::send(&self.kafka, &records, None)?;
        self.ears.listen(scenarios.iter().map(Scenario::answers).sum(), &mut |it| {
            heard(&it);
            all.push(it);
        })?;
        // The views answer the rest of the story.
        let next = self.service.handle().progress.next();
        self.library().wait_for(next, PATIENCE)?;
        Ok(all)
    }

    /// Signs what is done and submits it. What is not published is heard from the views.
    fn carry_out(&self, deed: &Deed) -> Result<Option<Heard>> {
        let whole = |tenant: &Name| (Some(tenant.clone()), None);
        let by_approver = |statement| {
            ledger::act_by(std::slice::from_ref(&self.keys.approver), self.genesis.ledger, statement, &Clock::Wall)
        };
        let by_operator = |statement| ledger::act(&self.folder, &self.genesis, statement, &Clock::Wall);
        let act = match deed {
            Deed::Activate => by_operator(Statement::ActivatePolicy { bundle: policy::parse(&self.policy)? })?,
            Deed::Grant(tenant, id) => {
                let seen = approvals::Seen::of(&self.library().case(tenant, id)?, None);
                let seen = seen.ok_or_else(|| Failure::new(Code::ApprovalUnknown, format!("{tenant}/{id}")))?;
                by_approver(seen.answered(true, "it is right".to_owned()))?
            }
            Deed::Freeze(tenant) => {
                let (tenant, principal) = whole(tenant);
                by_operator(Statement::Freeze { principal, reason: "agent-9 misbehaves".to_owned(), tenant })?
            }
            Deed::Thaw(tenant) => {
                let (tenant, principal) = whole(tenant);
                by_operator(Statement::Thaw { principal, tenant })?
            }
            Deed::Reconcile(tenant, id) => {
                let case = self.library().case(tenant, id)?;
                let receipt = case.pointer("/receipts/0/event/digest").and_then(Value::as_str);
                let receipt = receipt.and_then(|digest| digest.parse().ok());
                let receipt = receipt.ok_or_else(|| Failure::new(Code::ReceiptUnknown, format!("{tenant}/{id}")))?;
                by_operator(Statement::Reconcile { receipt, applied: true })?
            }
        };
        recorded(self.service.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 0)])?)?;
        let Deed::Reconcile(tenant, id) = deed else { return Ok(None) };
        self.library().wait_for(self.service.handle().progress.next(), PATIENCE)?;
        let said = self.library().case(tenant, id)?;
        let applied = said.pointer("/reconciled/event/payload/statement/applied").and_then(Value::as_bool);
        Ok(applied.map(|applied| Heard {
            topic: RECEIPTS.to_owned(),
            name: format!("{tenant}/{id}"),
            word: "RECONCILED".to_owned(),
            code: if applied { "applied" } else { "not applied" }.to_owned(),
            digest: None,
        }))
    }

    pub(super) fn end(self) -> Result<()> {
        self.service.stop()
    }
}

fn recorded(answers: Vec<Answer>) -> Result<()> {
    answers.into_iter().try_for_each(|answer| match answer {
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::Recorded(_) | Answer::Already | Answer::Decided(..) | Answer::Known(_) => Ok(()),
    })
}

/// A consumer of everything that the ledger publishes.
struct Ears(Consumer);

impl Ears {
    fn open(kafka: &Cluster) -> Result<Ears> {
        let consumer = kafka.consumer("demo", &[], &[])?;
        assign(&consumer, &[DECISIONS, RECEIPTS, REFUSALS].map(|topic| (topic, 0, Offset::Beginning)))?;
        Ok(Ears(consumer))
    }

    fn listen(&self, count: usize, heard: &mut dyn FnMut(Heard)) -> Result<()> {
        let started = Stopwatch::start();
        let mut left = count;
        while left > 0 {
            if started.elapsed() > PATIENCE {
                return Err(Failure::new(Code::KafkaUnavailable, format!("{left} of {count} answers have not come")));
            }
            let Some(Ok(message)) = self.0.poll(Duration::from_millis(100)) else { continue };
            heard(understand(message.topic(), message.payload().unwrap_or_default())?);
            left -= 1;
        }
        Ok(())
    }
}

fn understand(topic: &str, value: &[u8]) -> Result<Heard> {
    let heard = |name: String, word: &str, code: String, digest| Heard {
        topic: topic.to_owned(),
        name,
        word: word.to_owned(),
        code,
        digest,
    };
    Ok(match topic {
        DECISIONS => {
            let decision = Signed::<Decision>::from_envelope(value)?;
            let it = decision.value();
            heard(format!("{}/{}", it.tenant, it.id), it.verdict.as_str(), it.code.to_string(), None)
        }
        RECEIPTS => {
            let receipt = Signed::<Receipt>::from_envelope(value)?;
            let it = receipt.value();
            heard(format!("{}/{}", it.tenant, it.id), it.status.as_str(), it.code.to_string(), None)
        }
        _ => {
            let refusal: Value = serde_json::from_slice(value).map_err(|e| Failure::new(Code::Schema, e))?;
            let text = |name: &str| refusal[name].as_str().unwrap_or_default().to_owned();
            heard("(a record)".to_owned(), "REFUSED", text("code"), text("digest").parse().ok())
        }
    })
}

/// A shipping service: `/ship` answers, `/never` does not.
fn shop() -> Result<String> {
    let io = |e: std::io::Error| Failure::new(Code::Io, e);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io)?;
    let address = listener.local_addr().map_err(io)?.to_string();
    threads::spawn("shop", move || {
        for stream in listener.incoming().flatten() {
            // Who gets no thread gets no answer, as from `/never`.
            let _ = threads::spawn("shop's call", move || serve(stream));
        }
    })?;
    Ok(address)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let never = line.contains("/never");
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header == "\r\n" {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    if never {
        std::thread::sleep(PATIENCE);
        return Ok(());
    }
    let body = r#"{"shipped":true}"#;
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
