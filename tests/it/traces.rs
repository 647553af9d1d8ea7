//! The trace of an intent, from its producer to the views: each span by name, kind, parent and links. `docs/tracing.md` says the same.
//!
//! The Kafka is librdkafka's mock, in this process.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use opentelemetry_sdk::trace::SpanData;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use writ::clock::Clock;
use writ::kafka::INTENTS;
use writ::kafka::cluster::Cluster;
use writ::ledger::{self, Opened};
use writ::sequencer::{Passed, Submitted};
use writ::service::Service;
use writ::telemetry::tracer::{Sampling, Tracer};
use writ_schemas::act::Statement;
use writ_schemas::event::{Event, IntentAdmitted};

use crate::kafka::mock_kafka;
use crate::ledgers::{Ask, Kept, NOW, Who, ask, bundle, create};
use crate::scene::{Scene, WRIT, finish, init, note, within, writ};
use crate::shop::{Says, Shop};

/// Everything that has no caller, and nothing because of its end.
const ALL: Sampling =
    Sampling { ratio: 1.0, remote_per_second: 1000, ends_per_second: 0, slow: Duration::MAX, identify: false };

/// Nothing but what matters.
const ENDS: Sampling =
    Sampling { ratio: 0.0, remote_per_second: 0, ends_per_second: 1000, slow: Duration::MAX, identify: false };

/// The caller of the specification's example.
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A ledger under a policy, bound to a Kafka.
struct World {
    kept: Kept,
    kafka: Cluster,
    mock: MockCluster<'static, DefaultProducerContext>,
    shop: Shop,
}

impl World {
    /// Its connector `far` answers so.
    fn new(says: Says) -> World {
        let ((mock, kafka), kept) = (mock_kafka([1; 5]), Kept::empty());
        let genesis = create(&kept.folder, &Clock::manual(NOW)).expect("creates");
        let shop = Shop::new(move |_| says);
        let port = shop.url.trim_end_matches('/').rsplit_once(':').expect("a port").1.parse().expect("a number");
        let bind = kafka.ask().and_then(|it| it.describe(INTENTS)).expect("a topic").binding();
        let policy = Statement::ActivatePolicy { bundle: bundle(port) };
        let opened = Opened::open(&kept.folder, Clock::manual(NOW)).expect("opens");
        let service = Service::start(opened, None, Passed::Waits, |failure| panic!("{failure}")).expect("starts");
        for statement in [Who::Agent.trust(), bind, policy] {
            let act = ledger::act(&kept.folder, genesis.value(), statement, &Clock::manual(NOW)).expect("an act");
            service.handle().submit_all(vec![(Submitted::Act(Box::new(act)), 1)]).expect("answers");
        }
        service.stop().expect("stops");
        World { kept, kafka, mock, shop }
    }

    /// Serves the ledger, traced so, until so many entries of it were published; and gives what was traced.
    fn traced(&self, sampling: Sampling, records: &[(Ask, Option<&str>)], receipts: usize) -> Traces {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&spans);
        let push = move |span| seen.lock().expect("no panic").push(span);
        let (tracer, thread) = Tracer::start(sampling, true, push).expect("starts");
        let opened = Opened::open(&self.kept.folder, Clock::manual(NOW)).expect("opens").traced(tracer);
        let service = Service::start(opened, Some(&self.kafka), Passed::CarriedOut, |failure| panic!("{failure}"));
        let service = service.expect("starts");
        let count = |is_one: fn(&Event) -> bool| self.kept.events().iter().filter(|event| is_one(event)).count();
        let before = count(|event| matches!(event, Event::IntentAdmitted(_)));
        self.send(records);
        let all = before + records.len();
        within("the decisions", || count(|event| matches!(event, Event::IntentAdmitted(_))) == all);
        within("the receipts", || count(|event| matches!(event, Event::ReceiptIssued(_))) == receipts);
        service.stop().expect("stops");
        thread.join().expect("ends with the last who tells");
        Traces::of(&spans.lock().expect("no panic"))
    }

    fn send(&self, records: &[(Ask, Option<&str>)]) {
        let servers = self.mock.bootstrap_servers();
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &servers).create().expect("a producer");
        for (ask, caller) in records {
            let value = ask.intent(&[]).to_envelope();
            let mut record = BaseRecord::<str, [u8]>::to(INTENTS).key("acme").payload(&value);
            if let Some(caller) = caller {
                let header = Header { key: "traceparent", value: Some(*caller) };
                record = record.headers(OwnedHeaders::new().insert(header));
            }
            producer.send(record).map_err(|(error, _)| error).expect("there is room");
        }
        producer.flush(Duration::from_secs(60)).expect("arrives");
    }

    /// What the entries of intents say of their traces.
    fn recorded(&self) -> Vec<Option<String>> {
        let trace = |event| match event {
            Event::IntentAdmitted(IntentAdmitted { trace, .. }) => Some(trace),
            _ => None,
        };
        self.kept.events().into_iter().filter_map(trace).collect()
    }
}

/// Spans by their traces.
struct Traces {
    traces: HashMap<TraceId, Vec<SpanData>>,
    names: HashMap<SpanId, String>,
}

impl Traces {
    fn of(spans: &[SpanData]) -> Traces {
        let mut traces: HashMap<TraceId, Vec<SpanData>> = HashMap::new();
        for span in spans {
            assert!(span.end_time >= span.start_time && span.span_context.is_sampled(), "{span:?}");
            traces.entry(span.span_context.trace_id()).or_default().push(span.clone());
        }
        let mut names: HashMap<_, _> =
            spans.iter().map(|span| (span.span_context.span_id(), span.name.to_string())).collect();
        assert_eq!(names.len(), spans.len(), "each span has an id of its own");
        names.insert(SpanId::from_hex("00f067aa0ba902b7").expect("an id"), "the caller".to_owned());
        Traces { traces, names }
    }

    /// A trace as lines: each span below its parent, siblings by name.
    fn tree(&self, trace: TraceId) -> String {
        let spans = &self.traces[&trace];
        let known = |id| spans.iter().any(|span| span.span_context.span_id() == id);
        let mut out = String::new();
        for root in spans.iter().filter(|span| !known(span.parent_span_id)) {
            let parent = self.names.get(&root.parent_span_id);
            assert!(parent.is_some() || root.parent_span_id == SpanId::INVALID, "{root:?}");
            out.push_str(&parent.map(|parent| format!("{parent} >\n")).unwrap_or_default());
            self.branch(spans, root, 0, &mut out);
        }
        out
    }

    fn branch(&self, spans: &[SpanData], of: &SpanData, depth: usize, out: &mut String) {
        let kind = match of.span_kind {
            SpanKind::Internal => String::new(),
            ref kind => format!(" [{kind:?}]"),
        };
        let link = |id| self.names.get(&id).map_or("?", String::as_str);
        let links: Vec<_> = of.links.iter().map(|it| format!(" -> {}", link(it.span_context.span_id()))).collect();
        let error = match &of.status {
            Status::Error { description } => format!(" !{description}"),
            Status::Ok | Status::Unset => String::new(),
        };
        out.push_str(&format!("{}{}{kind}{}{error}\n", "  ".repeat(depth), of.name, links.concat()));
        let id = of.span_context.span_id();
        let mut below: Vec<_> = spans.iter().filter(|span| span.parent_span_id == id).collect();
        below.sort_by_key(|span| (rank(&span.name), span.name.to_string(), span.start_time));
        below.iter().for_each(|span| self.branch(spans, span, depth + 1, out));
    }

    /// The trace with a span of this name; there is one.
    fn with(&self, name: &str) -> TraceId {
        let mut found = self.traces.iter().filter(|(_, spans)| spans.iter().any(|span| span.name == name));
        let only = found.next().unwrap_or_else(|| panic!("{name}: {:?}", self.names));
        assert!(found.next().is_none(), "more than one {name}");
        *only.0
    }

    fn span(&self, name: &str) -> &SpanData {
        let mut found = self.traces.values().flatten().filter(|span| span.name == name);
        found.next().unwrap_or_else(|| panic!("{name}: {:?}", self.names))
    }
}

/// In the order of the pipeline; gates as they are asked are told apart by their starts in `gates_are_asked_in_order`.
fn rank(name: &str) -> usize {
    let order = [
        "parse",
        "queue",
        "decide",
        "commit",
        "execute_tool",
        "dispatch",
        "POST",
        "echo",
        "judge",
        "receipt",
        "send",
        "apply",
    ];
    order.iter().position(|word| name.starts_with(word)).unwrap_or(order.len())
}

#[test]
fn a_trace_goes_from_the_producer_to_the_views() {
    let world = World::new(Says::Body("{}"));
    let traces = world.traced(ALL, &[(ask("n-1", Who::Agent, "call", 5), Some(CALLER))], 1);
    let trace = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").expect("an id");
    assert_eq!(
        traces.tree(trace),
        "\
the caller >
process writ.intents.v1 [Consumer] -> the caller -> poll writ.intents.v1
  parse
  queue
  decide
    gate budget
    gate envelope
    gate escalation
    gate freeze
    gate policy
    gate proof
    gate temporal
    gate trust
  commit -> batch
  execute_tool call
    dispatch -> batch
    POST [Client]
    judge
    receipt -> batch
    send writ.receipts.v1 [Producer] -> transaction
    apply metering
    apply proofgraph
  send writ.decisions.v1 [Producer] -> transaction
  apply metering
  apply proofgraph
"
    );
    assert_eq!(traces.tree(traces.with("poll writ.intents.v1")), "poll writ.intents.v1 [Client] -> the caller\n");
    let batches = traces.traces.values().filter(|spans| spans.iter().any(|span| span.name == "batch"));
    let mut linked = Vec::new();
    for spans in batches {
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["batch", "sign", "append"]);
        linked.extend(spans[0].links.iter().map(|link| traces.names[&link.span_context.span_id()].clone()));
    }
    linked.sort();
    assert_eq!(linked, ["execute_tool call", "execute_tool call", "process writ.intents.v1"]);
    // The entry records the intent's own span, and the connector was asked from the span of its call.
    let process = traces.span("process writ.intents.v1");
    let text = |span: &SpanData| format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id());
    assert_eq!(world.recorded(), [Some(text(process))]);
    assert_eq!(world.shop.calls().iter().map(|call| &*call.trace).collect::<Vec<_>>(), [text(traces.span("POST"))]);
}

#[test]
fn gates_are_asked_in_order_and_the_one_that_refuses_is_the_last() {
    let world = World::new(Says::Body("{}"));
    let traces = world.traced(ALL, &[(ask("n-1", Who::Agent, "refund", 5), None)], 0);
    let spans = &traces.traces[&traces.with("decide")];
    let mut gates: Vec<_> = spans.iter().filter(|span| span.name.starts_with("gate ")).collect();
    gates.sort_by_key(|span| span.start_time);
    let told: Vec<_> = gates.iter().map(|span| (&*span.name, span.status.clone())).collect();
    let fine = ["gate freeze", "gate trust", "gate envelope", "gate policy", "gate temporal"];
    let mut expected: Vec<_> = fine.iter().map(|name| (*name, Status::Unset)).collect();
    expected.push(("gate proof", Status::error("ERR_PROOF_MISSING")));
    assert_eq!(told, expected);
}

#[test]
fn a_trace_that_nobody_sampled_is_kept_whole_if_its_end_matters() {
    let world = World::new(Says::Status(500));
    let records = [
        (ask("n-1", Who::Agent, "note", 5), None),
        (ask("n-2", Who::Agent, "call", 5), Some(CALLER)),
        (ask("n-3", Who::Agent, "refund", 5), None),
    ];
    let traces = world.traced(ENDS, &records, 2);
    let trace = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").expect("an id");
    let tree = traces.tree(trace);
    assert!(tree.contains("process writ.intents.v1") && tree.contains("gate freeze"), "{tree}");
    assert!(tree.contains("POST [Client] !ERR_CONNECTOR_UNCERTAIN"), "{tree}");
    assert!(!tree.contains('?'), "whatever is linked to is told: {tree}");
    let others = traces.traces.iter().filter(|(id, _)| **id != trace).flat_map(|(_, spans)| spans);
    assert!(others.into_iter().all(|span| ["batch", "sign", "append", "transaction"].contains(&&*span.name)));
    assert!(world.shop.calls()[0].trace.ends_with("-00"), "what the connector was told then: not sampled");
}

/// What several kept ones share is told once, and all of it.
#[test]
fn two_that_are_kept_may_share_their_batches() {
    let world = World::new(Says::Status(500));
    let records = ["n-1", "n-2", "n-3", "n-4"].map(|id| (ask(id, Who::Agent, "call", 5), None));
    let traces = world.traced(ENDS, &records, 4);
    let kept = traces.traces.iter().filter(|(_, spans)| spans.iter().any(|span| span.name == "decide"));
    let trees: Vec<_> = kept.map(|(trace, _)| traces.tree(*trace)).collect();
    assert_eq!(trees.len(), 4);
    assert!(trees.iter().all(|tree| tree.contains("receipt -> batch") && !tree.contains('?')), "{trees:#?}");
}

/// Whoever took longer than is said is one of those, without an error.
#[test]
fn a_trace_that_nobody_sampled_is_kept_if_it_was_slow() {
    let world = World::new(Says::Body("{}"));
    let slow = Sampling { slow: Duration::ZERO, ..ENDS };
    let traces = world.traced(slow, &[(ask("n-1", Who::Agent, "call", 5), None)], 1);
    let tree = traces.tree(traces.with("decide"));
    assert!(tree.starts_with("process writ.intents.v1 [Consumer]") && tree.contains("POST [Client]"), "{tree}");
}

/// What passed before this process was there goes on in the same trace: its entry says where.
#[test]
fn a_trace_goes_on_after_a_restart() {
    let world = World::new(Says::Body("{}"));
    let opened = Opened::open(&world.kept.folder, Clock::manual(NOW)).expect("opens");
    let service = Service::start(opened, Some(&world.kafka), Passed::Waits, |failure| panic!("{failure}"));
    world.send(&[(ask("n-1", Who::Agent, "call", 5), Some(CALLER))]);
    within("the decision", || world.recorded().len() == 1);
    service.expect("starts").stop().expect("stops");
    assert_eq!(world.shop.calls(), []);

    let traces = world.traced(ALL, &[], 1);
    let trace = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").expect("an id");
    assert_eq!(
        traces.tree(trace),
        "\
the caller >
execute_tool call
  dispatch -> batch
  POST [Client]
  judge
  receipt -> batch
  send writ.receipts.v1 [Producer] -> transaction
  apply metering
  apply proofgraph
"
    );
}

#[test]
fn where_nobody_traces_a_callers_context_goes_through_and_what_is_none_does_not() {
    let world = World::new(Says::Body("{}"));
    let bad = [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
    ];
    let ids = ["n-1", "n-2", "n-3"];
    let mut records: Vec<_> =
        ids.iter().zip(bad).map(|(id, bad)| (ask(id, Who::Agent, "note", 5), Some(bad))).collect();
    records.push((ask("n-4", Who::Agent, "call", 5), Some(CALLER)));
    let opened = Opened::open(&world.kept.folder, Clock::manual(NOW)).expect("opens");
    let service = Service::start(opened, Some(&world.kafka), Passed::CarriedOut, |failure| panic!("{failure}"));
    world.send(&records);
    world.shop.wait_for(1);
    service.expect("starts").stop().expect("stops");
    assert_eq!(world.recorded(), [None, None, None, Some(CALLER.to_owned())]);
    assert_eq!(world.shop.calls()[0].trace, CALLER);
    assert_eq!(world.kept.replayed().divergence, None);
}

/// Whoever submits from within a span says so by the environment; one that is no span is no span.
#[test]
fn what_is_submitted_goes_on_in_the_trace_of_the_environment() {
    let scene = Scene::bare();
    writ(init(scene.data())).ended(0);
    let submit = |id: &str, trace: &str| {
        let mut command = Command::new(WRIT);
        finish(
            command.args(["submit", "--data", scene.data()]).env("TRACEPARENT", trace),
            note(id).to_string().as_bytes(),
        )
    };
    submit("in", CALLER).ended(0);
    submit("out", &CALLER.to_uppercase()).ended(0);
    let shown = |id: &str| writ(["show", "--data", scene.data(), "acme", id]).ended(0).out;
    assert!(shown("in").contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{}", shown("in"));
    assert!(!shown("out").contains("trace"), "{}", shown("out"));
}
