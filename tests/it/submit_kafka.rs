//! `writ submit --kafka` against a ledger at work, over librdkafka's mock cluster.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::{Value, json};
use writ::clock::Clock;
use writ::error::Failure;
use writ::folder::Folder;
use writ::kafka::INTENTS;
use writ::kafka::cluster::Cluster;
use writ::ledger::{self, Opened};
use writ::sequencer::{Answer, Passed, Submitted};
use writ::service::Service;
use writ_schemas::errors::Code;

use crate::kafka::mock_kafka;
use crate::scene::{Run, Scene, holds, hours_ahead, note, refund, signed, with, writ_reading};

/// A ledger whose intents topic is bound, and a Kafka for it.
pub(crate) struct World {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) kafka: Cluster,
    pub(crate) bootstrap: String,
    pub(crate) scene: Scene,
    key: String,
}

impl World {
    pub(crate) fn new() -> World {
        let (cluster, kafka) = mock_kafka([2, 2, 1, 2, 1]);
        let bootstrap = cluster.bootstrap_servers();
        let scene = Scene::new();
        let key = scene.inside("keys/producer.key").to_string_lossy().into_owned();
        let world = World { cluster, kafka, bootstrap, scene, key };
        world.bind(0);
        world
    }

    /// The mock cluster makes no topics for `writ init --kafka`, so the act is made here: the partitions that there are, and
    /// so many more.
    pub(crate) fn bind(&self, more: u32) {
        let folder = Folder::at(self.scene.data());
        let genesis = ledger::genesis(&folder).expect("a genesis");
        let mut topic = self.kafka.ask().and_then(|it| it.describe(INTENTS)).expect("a topic");
        topic.partitions += more;
        let statement = topic.binding();
        let act = ledger::act(&folder, &genesis, statement, &Clock::Wall).expect("an act");
        let service = self.service(None);
        let answers = service.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 0)]).expect("answers");
        assert!(matches!(answers[..], [Answer::Recorded(_)]), "{answers:?}");
        service.stop().expect("it ends");
    }

    pub(crate) fn service(&self, kafka: Option<&Cluster>) -> Service {
        let fatal = |failure: &Failure| panic!("{failure}");
        let opened = Opened::open(&Folder::at(self.scene.data()), Clock::Wall).expect("it opens");
        let passed = if kafka.is_some() { Passed::CarriedOut } else { Passed::Waits };
        Service::start(opened, kafka, passed, fatal).expect("it starts")
    }

    fn submit(&self, lines: &[u8], more: &[&str]) -> Run {
        let to = ["submit", "--kafka", &self.bootstrap, "--key", &self.key, "--json"];
        writ_reading(lines, to.iter().chain(more))
    }
}

/// What the answer to a line of a run tells: the kind of answer, and the code.
fn told(run: &Run) -> Vec<(u64, String, String)> {
    let text = |answer: &Value, pointer| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = |it: &Value| {
        let code = if it["answer"] == "refused" { "/code" } else { "/decision/payload/code" };
        (it["line"].as_u64().expect("a line"), text(it, "/answer"), text(it, code))
    };
    let mut told: Vec<_> = run.lines().iter().map(of).collect();
    told.sort();
    told
}

fn line(number: u64, answer: &str, code: Code) -> (u64, String, String) {
    (number, answer.to_owned(), code.as_str().to_owned())
}

#[test]
fn submit_hears_decisions_and_refusals_and_does_not_wait_for_ever() {
    let world = World::new();
    let service = world.service(Some(&world.kafka));
    let (first, reused) = (note("k-1"), with(note("n-1"), "args", json!({ "text": "something else" })));
    // The second is in another form than the ledger's, which is the form by which it names what it could read.
    let envelope: Value = serde_json::from_slice(&signed(&reused, &world.scene.key("producer.key"))).expect("JSON");
    let spaced = serde_json::to_string_pretty(&envelope).expect("JSON").replace('\n', " ");
    let lines = [first.to_string(), spaced.clone(), first.to_string(), refund("k-2", 5, &[]).to_string()];

    let run = world.submit(lines.join("\n").as_bytes(), &[]).ended(1);
    let expected = [
        line(1, "decided", Code::Ok),
        line(2, "refused", Code::IdReused),
        line(3, "decided", Code::Ok),
        line(4, "decided", Code::ProofMissing),
    ];
    assert_eq!(told(&run), expected);
    assert!(run.err.contains(Code::IdReused.entry().remedy), "{run:?}");

    // What was decided adds nothing when it is sent again; what was refused is refused again.
    let again = world.submit(first.to_string().as_bytes(), &[]).ended(0);
    assert_eq!(told(&again), [line(1, "known", Code::Ok)]);
    let field = |run: &Run, number: u64, field: &str| {
        let lines = run.lines();
        lines.iter().find(|it| it["line"] == number).map(|it| it[field].clone()).expect("an answer")
    };
    assert_eq!(field(&again, 1, "decision"), field(&run, 1, "decision"));
    let again = world.submit(spaced.as_bytes(), &[]).ended(1);
    assert_eq!(told(&again), [line(1, "refused", Code::IdReused)]);
    let seqs = [field(&run, 2, "seq"), field(&again, 1, "seq")].map(|seq| seq.as_u64().expect("a seq"));
    assert!(seqs[0] < seqs[1], "an earlier refusal answers an earlier record: {seqs:?}");

    // An answer that took no id is no answer to the next one.
    let far = with(note("k-3"), "expires_at", json!(hours_ahead(200))).to_string();
    let seqs = [(); 2].map(|()| {
        let run = world.submit(far.as_bytes(), &[]).ended(1);
        assert_eq!(told(&run), [line(1, "decided", Code::ExpiryTooFar)]);
        run.json().pointer("/decision/payload/intent_seq").and_then(Value::as_u64).expect("a seq")
    });
    assert!(seqs[0] < seqs[1], "{seqs:?}");

    // Nobody serves it now: what is known is told all the same, and the rest is not waited for without end. How long a slow
    // machine needs to find what is known is not the question here.
    service.stop().expect("it ends");
    let lines = [first.to_string(), note("k-4").to_string()].join("\n");
    let entry = Code::AnswerMissing.entry();
    let found = [1, 2, 4, 8, 16, 32].map(|seconds: u32| seconds.to_string()).iter().any(|seconds| {
        let run = world.submit(lines.as_bytes(), &["--wait", seconds]).ended(2);
        assert!(run.err.contains(entry.code) && run.err.contains(entry.remedy), "{run:?}");
        let found = told(&run) == [line(1, "known", Code::Ok)];
        assert!(run.err.contains(if found { "1 of 2 lines: 2\n" } else { "2 of 2 lines: 1, 2\n" }), "{run:?}");
        found
    });
    assert!(found, "what was answered is told before it gives up");
    holds(world.scene.data());
}
