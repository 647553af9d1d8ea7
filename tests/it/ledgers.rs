//! Ledgers to test with, made through the library as the command line makes them: two tenants, every kind of ending, and the
//! folders that a kill leaves.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use writ::checkpoint::LATEST;
use writ::clock::Clock;
use writ::config::{Config, SEGMENT_BYTES_MIN};
use writ::error::Result;
use writ::folder::{Folder, KeyRole};
use writ::ledger::{self, Handle, Ledger, Opened, Operators};
use writ::replay::{Replayed, replay};
use writ::sequencer::{Answer, Submitted};
use writ::verify::{Pins, Report, verify};
use writ_log::storage::UNFINISHED;
use writ_log::{Located, Reader};
use writ_schemas::act::Statement;
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, KeyId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::Bundle;
use writ_schemas::receipt::Status;

use crate::scene::configure;

/// When everything happens; the writer lets each batch come a microsecond after the one before it.
pub(crate) const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

pub(crate) const HOUR: u64 = 3_600_000_000;

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Agent,
    Approver,
    Globex,
    Former,
    Stranger,
}

impl Who {
    pub(crate) fn key(self) -> SecretKey {
        SecretKey::from_seed(
            &[match self {
                Who::Agent => 1,
                Who::Approver => 2,
                Who::Globex => 3,
                Who::Former => 4,
                Who::Stranger => 5,
            }; 32],
        )
    }

    pub(crate) fn id(self) -> KeyId {
        self.key().id()
    }

    fn tenant(self) -> &'static str {
        if self == Who::Globex { "globex" } else { "acme" }
    }

    fn principal(self) -> &'static str {
        match self {
            Who::Agent | Who::Stranger => "agent-1",
            Who::Approver => "approver-1",
            Who::Globex => "agent-2",
            Who::Former => "agent-9",
        }
    }

    pub(crate) fn trust(self) -> Statement {
        let role = if self == Who::Approver { "approver" } else { "agent" };
        Statement::TrustKey {
            key: self.id(),
            tenant: name(self.tenant()),
            principal: name(self.principal()),
            roles: [name(role)].into(),
        }
    }
}

/// The policy; its `http` connector calls `port` on this machine.
pub(crate) fn bundle(port: u16) -> Bundle {
    let exempt = |action: &str, connector: &str| {
        json!({"action": action, "requires": {"exempt": "harmless"}, "spends": {"exempt": "free"},
               "connector": connector, "window_us": 60_000_000})
    };
    let bundle = json!({
        "name": "test",
        "gates": {"temporal": {"disabled": "not tested here"}, "proof": "enforced", "budget": "enforced",
                  "escalation": {"disabled": "not tested here"}},
        "rules": [
            {"action": "refund", "requires": {"requirement": "justified"},
             "spends": {"budget": {"name": "refunds", "cost": {"arg": "cents"}}}, "connector": "echo",
             "window_us": 60_000_000},
            exempt("note", "echo"), exempt("drift", "strict"), exempt("call", "far"),
        ],
        "requirements": {"justified": {"any_of": [
            {"evidence": {"kind": "ticket", "role": "approver", "about_effect": false}},
            {"evidence": {"kind": "approval", "role": "approver", "about_effect": true}},
        ]}},
        "budgets": {"refunds": {"unit": "cents", "limit": 100, "tenants": {"acme": 1000}}},
        "connectors": {
            "echo": {"kind": "echo", "output_schema": {"type": "object"}},
            "strict": {"kind": "echo", "output_schema": {"type": "object", "required": ["other"]}},
            "far": {"kind": {"http": {"url": format!("http://127.0.0.1:{port}/"), "timeout_us": 5_000_000}},
                    "output_schema": {"type": "object"}},
        },
    });
    serde_json::from_value(bundle).expect("a bundle")
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) id: &'static str,
    pub(crate) who: Who,
    pub(crate) action: &'static str,
    /// The cents of a refund; the length of the text of anything else.
    pub(crate) size: u64,
    pub(crate) session: Option<&'static str>,
    pub(crate) expires_at: UnixMicros,
}

pub(crate) fn ask(id: &'static str, who: Who, action: &'static str, size: u64) -> Ask {
    Ask { id, who, action, size, session: None, expires_at: NOW.plus(HOUR) }
}

impl Ask {
    pub(crate) fn within(self, session: &'static str) -> Ask {
        Ask { session: Some(session), ..self }
    }

    pub(crate) fn intent(self, evidence: &[Digest]) -> Signed<Intent> {
        let args = if self.action == "refund" {
            json!({"cents": self.size})
        } else {
            json!({"text": "x".repeat(usize::try_from(self.size).expect("fits"))})
        };
        let Value::Object(args) = args else { panic!("args are an object") };
        let intent = Intent {
            tenant: name(self.who.tenant()),
            id: name(self.id),
            principal: name(self.who.principal()),
            session: self.session.map(name),
            action: name(self.action),
            args,
            evidence: evidence.to_vec(),
            expires_at: self.expires_at,
        };
        sign(intent, &self.who.key())
    }
}

pub(crate) fn sign<T: Document>(value: T, key: &SecretKey) -> Signed<T> {
    Signed::unsigned(value).expect("canonical").sign(key)
}

/// Segments as small as may be, so that whatever writes a little crosses one.
pub(crate) const SMALL: writ_log::Options =
    writ_log::Options { segment_bytes: SEGMENT_BYTES_MIN, segments_prepared: 1 };

/// Makes a ledger with such segments.
pub(crate) fn create(folder: &Folder, clock: &Clock) -> Result<Signed<Genesis>> {
    let mut config = Config::default();
    config.log.segment_bytes = SEGMENT_BYTES_MIN;
    ledger::create(&Operators::Made, folder, None, &config, clock)
}

/// A ledger's folder at rest.
pub(crate) struct Kept {
    dir: TempDir,
    pub(crate) folder: Folder,
}

/// A ledger at work.
pub(crate) struct Working {
    kept: Kept,
    ledger: Ledger,
    handle: Handle,
    passed: usize,
}

/// The port of a connector's other side that takes each call and hangs up: what came of it is uncertain.
fn endpoint() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    // It ends with the process of the test.
    std::thread::spawn(move || {
        use std::io::Read;
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    port
}

impl Kept {
    /// An empty place.
    pub(crate) fn empty() -> Kept {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::at(dir.path().join("ledger"));
        Kept { dir, folder }
    }

    /// A copy of the ledger in a folder that the binary made.
    pub(crate) fn copy_of(folder: &Path) -> Kept {
        let copy = Kept::empty();
        crate::scene::copy_folder(folder, copy.folder.root());
        copy
    }

    /// A whole ledger, cleanly closed.
    pub(crate) fn closed() -> Kept {
        let working = Working::start();
        working.story().finish()
    }

    /// What a kill leaves when it comes after the last batch was written and before any checkpoint covered it. The story has
    /// one batch more than that of a closed one, and nothing has sealed it.
    pub(crate) fn killed() -> Kept {
        let mut working = Working::start().story();
        let note = std::fs::read(working.kept.latest()).expect("a checkpoint");
        // An intent without a rule is one batch of two or three entries; its args spread them over many sectors.
        working.tell(&[(ask("last", Who::Agent, "unknown", 6000), Expected::Fail(Code::PolicyNoRule))], &[]);
        let killed = working.kept.copy();
        std::fs::write(killed.latest(), note).expect("writes");
        // A kill while the next checkpoint was being written leaves its unfinished file, too; this one came before that.
        let _ = std::fs::remove_file(killed.folder.checkpoints().join(format!("{LATEST}{UNFINISHED}")));
        working.finish();
        killed
    }

    pub(crate) fn latest(&self) -> PathBuf {
        self.folder.checkpoints().join(LATEST)
    }

    /// The folder in which the ledger's folder lies: room for things that are not the ledger's.
    pub(crate) fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn copy(&self) -> Kept {
        let copy = Kept::empty();
        copy_tree(self.folder.root(), copy.folder.root());
        copy
    }

    pub(crate) fn entries(&self) -> Vec<Located> {
        let reader = Reader::open(self.folder.log()).expect("a log");
        reader.entries(Seq(0)).expect("entries").map(|located| located.expect("a whole entry")).collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.entries().iter().map(|located| located.entry.event().expect("an event")).collect()
    }

    pub(crate) fn genesis(&self) -> Genesis {
        ledger::genesis(&self.folder).expect("a genesis")
    }

    pub(crate) fn verified(&self) -> Report {
        self.verified_with(&Pins::default())
    }

    pub(crate) fn verified_with(&self, pins: &Pins) -> Report {
        verify(&self.folder, pins, &mut |_| {}).expect("can be read")
    }

    pub(crate) fn replayed(&self) -> Replayed {
        replay(&self.folder, &Pins::default(), None, &mut |_| {}).expect("can be read")
    }

    /// The last segment, and where its used bytes end.
    pub(crate) fn last_segment(&self) -> (PathBuf, usize) {
        let segments = files(&self.folder.log());
        let last =
            segments.iter().rfind(|file| file.extension().is_some_and(|it| it == "seg")).expect("a segment").clone();
        let used = used(&std::fs::read(&last).expect("reads"));
        (last, used)
    }

    /// Runs the program on this ledger: its exit status, and what it said in JSON.
    pub(crate) fn run(&self, command: &str, more: &[&str]) -> (Option<i32>, Value) {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_writ"))
            .arg(command)
            .arg("--data")
            .arg(self.folder.root())
            .arg("--json")
            .args(more)
            .output()
            .expect("runs");
        let said = serde_json::from_slice(&output.stdout);
        let said = said.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), said)
    }
}

/// How many bytes there are before the zeros at the end.
pub(crate) fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Every file below a folder, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    found.sort();
    found
}

/// Copies a folder, of a ledger at work perhaps: what has an unfinished name may be gone before it is copied.
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes a folder");
    for entry in std::fs::read_dir(from).expect("lists") {
        let path = entry.expect("an entry").path();
        let there = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_tree(&path, &there);
        } else {
            match std::fs::copy(&path, &there) {
                Err(e) if e.kind() == ErrorKind::NotFound && path.to_string_lossy().ends_with(UNFINISHED) => {}
                copied => drop(copied.expect("copies")),
            }
        }
    }
}

/// What an intent is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Pass,
    Fail(Code),
    /// It has no entry.
    Refused(Code),
}

impl Working {
    pub(crate) fn start() -> Working {
        let kept = Kept::empty();
        let clock = Clock::manual(NOW);
        create(&kept.folder, &clock).expect("creates");
        configure(kept.folder.root(), "checkpoint_interval_ms = 1");
        Working::open(kept, clock)
    }

    /// The writer of a folder that is there.
    pub(crate) fn open(kept: Kept, clock: Clock) -> Working {
        let ledger = Opened::open(&kept.folder, clock).expect("opens").start(|failure| panic!("{failure}"));
        let ledger = ledger.expect("starts");
        let handle = ledger.handle();
        let passed = kept.events().iter().filter(|event| passes(event)).count();
        Working { kept, ledger, handle, passed }
    }

    /// Submits one thing and waits for its answer.
    pub(crate) fn submit(&self, what: Submitted) -> Answer {
        let mut answers = self.handle.submit_all(vec![(what, 1)]).expect("answers");
        answers.pop().expect("an answer")
    }

    pub(crate) fn act(&self, statement: Statement) {
        let Working { handle, .. } = self;
        let act = ledger::act(&handle.folder, &handle.genesis, statement, &handle.clock).expect("an act");
        let answer = self.submit(Submitted::Act(Box::new(act)));
        assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
    }

    pub(crate) fn evidence(&self, kind: &str, about: Option<&Signed<Intent>>) -> Digest {
        let effect = about.map(|intent| intent.value().effect_digest().expect("an effect"));
        let evidence = Evidence {
            ledger: self.handle.genesis.ledger,
            tenant: name("acme"),
            kind: name(kind),
            artifact: None,
            effect,
            issued_at: NOW,
            expires_at: NOW.plus(HOUR),
        };
        let evidence = sign(evidence, &Who::Approver.key());
        let digest = evidence.digest();
        let answer = self.submit(Submitted::Evidence(Box::new(evidence)));
        assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
        digest
    }

    /// Submits intents that all name the same evidence, and holds the answers against the table.
    pub(crate) fn tell(&mut self, table: &[(Ask, Expected)], evidence: &[Digest]) {
        let intents = table.iter().map(|(ask, _)| (Submitted::Intent(Box::new(ask.intent(evidence))), 1)).collect();
        let answers = self.handle.submit_all(intents).expect("answers");
        for ((ask, expected), answer) in table.iter().zip(answers) {
            let found = match &answer {
                Answer::Decided(_, decision) if decision.value().execution.is_some() => Expected::Pass,
                Answer::Decided(_, decision) => Expected::Fail(decision.value().code),
                Answer::Refused(refusal) => Expected::Refused(refusal.code),
                other => panic!("{}: {other:?}", ask.id),
            };
            assert_eq!(found, *expected, "{}: {answer:?}", ask.id);
            self.passed += usize::from(found == Expected::Pass);
        }
    }

    /// Waits until all that passed has its receipt, and a checkpoint covers every entry: then nothing more happens by
    /// itself.
    pub(crate) fn rest(&self) {
        loop {
            let next = self.handle.progress.next();
            let receipts = self.kept.events().iter().filter(|event| matches!(event, Event::ReceiptIssued(_))).count();
            if receipts == self.passed {
                break;
            }
            self.handle.progress.wait_beyond(next, Duration::from_secs(1));
        }
        let covered = |note: &str| note.lines().nth(1) == Some(self.handle.progress.next().to_string().as_str());
        while !std::fs::read_to_string(self.kept.latest()).is_ok_and(|note| covered(&note)) {
            std::thread::yield_now();
        }
    }

    /// The digest of the one uncertain receipt.
    fn uncertain(&self) -> Digest {
        let events = self.kept.events();
        let found = events.iter().find_map(|event| match event {
            Event::ReceiptIssued(issued) if issued.receipt.value().status == Status::Uncertain => {
                Some(issued.receipt.digest())
            }
            _ => None,
        });
        found.expect("an uncertain receipt")
    }

    /// Something of everything, in many batches.
    pub(crate) fn story(mut self) -> Working {
        use Expected::{Fail, Pass, Refused};
        for who in [Who::Agent, Who::Approver, Who::Globex, Who::Former] {
            self.act(who.trust());
        }
        self.tell(&[(ask("early", Who::Agent, "note", 5), Fail(Code::PolicyNone))], &[]);
        self.act(Statement::ActivatePolicy { bundle: bundle(endpoint()) });
        self.act(Statement::RevokeKey { key: Who::Former.id() });
        self.rest();

        let ticket = self.evidence("ticket", None);
        let approval = self.evidence("approval", Some(&ask("refund-3", Who::Agent, "refund", 300).intent(&[])));
        let late = Ask { expires_at: NOW, ..ask("expired", Who::Agent, "note", 5) };
        let far = Ask { expires_at: NOW.plus(200 * HOUR), ..ask("far", Who::Agent, "note", 5) };
        self.tell(
            &[
                (ask("refund-1", Who::Agent, "refund", 400).within("s1"), Pass),
                (ask("refund-2", Who::Agent, "refund", 200).within("s1"), Pass),
                (ask("too-much", Who::Agent, "refund", 700), Fail(Code::BudgetExceeded)),
                (ask("long", Who::Agent, "note", 5000), Pass),
                (ask("shape", Who::Agent, "drift", 5).within("s2"), Pass),
                (ask("no-rule", Who::Agent, "unknown", 5), Fail(Code::PolicyNoRule)),
                (ask("unknown-key", Who::Stranger, "note", 5), Refused(Code::KeyUnknown)),
                (ask("old-key", Who::Former, "note", 5), Refused(Code::KeyRevoked)),
                (late, Refused(Code::IntentExpired)),
                (far, Fail(Code::ExpiryTooFar)),
            ],
            &[ticket],
        );
        self.rest();
        self.tell(
            &[
                (ask("refund-3", Who::Agent, "refund", 300).within("s1"), Pass),
                (ask("other-effect", Who::Agent, "refund", 30), Fail(Code::ProofMissing)),
            ],
            &[approval],
        );
        self.tell(
            &[
                (ask("no-ticket", Who::Agent, "refund", 10), Fail(Code::ProofMissing)),
                (ask("note-1", Who::Globex, "note", 40).within("s1"), Pass),
                (ask("far-away", Who::Globex, "call", 10).within("s1"), Pass),
            ],
            &[],
        );
        self.rest();
        self.act(Statement::Reconcile { receipt: self.uncertain(), applied: true });
        self.act(Statement::Freeze { principal: None, reason: "a drill".to_owned(), tenant: None });
        self.tell(&[(ask("frozen", Who::Globex, "note", 5), Fail(Code::Frozen))], &[]);
        self.act(Statement::Thaw { principal: None, tenant: None });
        self.tell(&[(ask("note-2", Who::Globex, "note", 41).within("s1"), Pass)], &[]);
        self.rest();
        self
    }

    /// A copy of the folder while the ledger is at rest.
    pub(crate) fn copy(&self) -> Kept {
        self.kept.copy()
    }

    pub(crate) fn finish(self) -> Kept {
        self.ledger.finish().expect("finishes");
        self.kept
    }
}

pub(crate) fn passes(event: &Event) -> bool {
    matches!(event, Event::DecisionMade(decision) if decision.value().execution.is_some())
}

#[test]
fn a_ledger_has_something_of_everything_and_holds() {
    let closed = Kept::closed();
    let (report, replayed) = (closed.verified(), closed.replayed());
    assert_eq!((report.ok, report.broken), (true, None));
    assert_eq!((replayed.verified.ok, &replayed.divergence), (true, &None), "{:?}", replayed.divergence);
    assert_eq!((replayed.decided_again, replayed.state_hashes), (report.decisions, 1));
    assert_eq!(report.checkpoint, Some(report.entries), "it is sealed");

    let mut kinds: BTreeMap<EventKind, usize> = BTreeMap::new();
    closed.events().iter().for_each(|event| *kinds.entry(event.kind()).or_default() += 1);
    let count = |kind| kinds.get(&kind).copied().unwrap_or_default();
    assert_eq!((count(EventKind::DecisionMade), count(EventKind::ReceiptIssued)), (15, 8));
    assert!(count(EventKind::CheckpointSigned) >= 3, "{kinds:?}");
    assert_eq!(files(&closed.folder.content()).len(), 1, "one output is too long for the log");
    let batches = closed.entries().iter().filter(|located| located.place.last_of_batch).count();
    assert!(batches > 15, "{batches} batches");

    let killed = Kept::killed();
    let report = killed.verified();
    assert_eq!((report.ok, report.broken.clone()), (true, None));
    assert!(report.checkpoint.expect("a checkpoint") < report.entries);
    assert!(report.notes.iter().any(|note| note.contains("beyond the last checkpoint")), "{:?}", report.notes);
    assert_eq!(killed.replayed().divergence, None);
}

/// What a kill leaves after each batch: the log up to there, and the last checkpoint that it names.
#[test]
fn a_ledger_that_is_killed_after_any_batch_opens_ends_what_was_open_and_holds() {
    let closed = Kept::closed();
    let (entries, first_note) = (closed.entries(), genesis_note(&closed));
    let (segment, used) = closed.last_segment();
    let whole = std::fs::read(&segment).expect("reads");
    let ends: Vec<usize> = (1..entries.len()).filter(|at| entries[at - 1].place.last_of_batch).collect();
    let (mut uncertain, mut killed_mid_way) = (0, 0);
    for end in ends {
        let killed = closed.copy();
        let offset = usize::try_from(entries[end].place.offset).expect("fits");
        let mut bytes = whole.clone();
        bytes[offset..used].fill(0);
        std::fs::write(killed.folder.log().join(segment.file_name().expect("a name")), bytes).expect("writes");
        let named = entries[..end].iter().rev().find_map(|located| match located.entry.event() {
            Ok(Event::CheckpointSigned(note)) => Some(note),
            _ => None,
        });
        std::fs::write(killed.latest(), named.unwrap_or_else(|| first_note.clone())).expect("writes");
        let before = killed.verified();
        assert!(before.ok && before.entries == u64::try_from(end).expect("small"), "{end}: {:?}", before.broken);

        let events = killed.events();
        let open = events.iter().filter(|event| passes(event)).count()
            - events.iter().filter(|event| matches!(event, Event::ReceiptIssued(_))).count();
        let working = Working::open(killed, Clock::manual(NOW));
        let after = working.finish();
        let (report, replayed) = (after.verified(), after.replayed());
        assert!(report.ok, "{end}: {:?}", report.broken);
        assert_eq!(replayed.divergence, None, "{end}");
        let events = after.events();
        let passed = events.iter().filter(|event| passes(event)).count();
        let receipts: Vec<Status> = events.iter().filter_map(status).collect();
        assert_eq!(receipts.len(), passed, "{end}: every execution has an end");
        uncertain += receipts.iter().filter(|status| **status == Status::Uncertain).count();
        killed_mid_way += usize::from(open > 0);
    }
    assert!(killed_mid_way > 5 && uncertain > 5, "{killed_mid_way} {uncertain}");
}

fn status(event: &Event) -> Option<Status> {
    if let Event::ReceiptIssued(issued) = event { Some(issued.receipt.value().status) } else { None }
}

/// The checkpoint that `create` signs: over entry 0 alone.
fn genesis_note(kept: &Kept) -> String {
    let mut head = writ::checkpoint::Head::default();
    head.push(&kept.entries()[0].entry.header);
    let key = kept.folder.read_key(KeyRole::Checkpoint).expect("a key");
    head.checkpoint(&kept.genesis().origin).sign(&key)
}
