//! What reaches a collector, and what becomes of the rest: counted, exactly.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, trace::Link};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tonic::Code;
use writ::clock::Stopwatch;
use writ::config::Telemetry;
use writ::telemetry::Settings;
use writ::telemetry::provider::{BATCH_MAX, LINKS_MAX, Provider, QUEUE_MAX, Tally};

use super::collector::{Collector, Says};

/// Settings with this endpoint, under which a batch is sent at once.
pub(super) fn settings(endpoint: &str) -> Settings {
    let table = Telemetry {
        endpoint: Some(endpoint.to_owned()),
        batch_timeout_ms: Some(10),
        metrics_interval_ms: Some(100),
        ..Telemetry::default()
    };
    Settings::without_variables(Some(&table)).expect("is fine")
}

/// A provider with this endpoint.
fn provider(endpoint: &str) -> Provider {
    Provider::start(&settings(endpoint)).expect("starts")
}

/// A span with so many links.
pub(super) fn span(number: u64, links: usize) -> SpanData {
    let context = |number| {
        let (trace, span) = (TraceId::from(u128::from(number)), SpanId::from(number));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
    };
    let mut linked = SpanLinks::default();
    linked.links = (0..links).map(|_| Link::new(context(7), Vec::new(), 0)).collect();
    SpanData {
        span_context: context(number),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "a span".into(),
        start_time: SystemTime::UNIX_EPOCH,
        end_time: SystemTime::UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: linked,
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("test").build(),
    }
}

fn push(provider: &Provider, numbers: std::ops::RangeInclusive<u64>) {
    let spans = provider.spans().expect("it exports");
    numbers.for_each(|number| spans.push(span(number, 0)));
}

fn tally(provider: &Provider) -> Tally {
    provider.spans().expect("it exports").tally()
}

/// Waits until of so many spans it is known what became of them.
#[track_caller]
fn settled(provider: &Provider, count: usize) -> Tally {
    all_settled(|| tally(provider), count)
}

/// The same of whatever is tallied.
#[track_caller]
pub(super) fn all_settled(tally: impl Fn() -> Tally, count: usize) -> Tally {
    let since = Stopwatch::start();
    loop {
        let tally = tally();
        if tally.exported + tally.queue + tally.export + tally.rejected >= count {
            return tally;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{tally:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn spans_arrive_with_their_resource_and_every_link_of_a_batch() {
    let collector = Collector::saying(Says::Fine);
    let provider = provider(&collector.url);
    provider.spans().expect("it exports").push(span(9, LINKS_MAX + 3));
    push(&provider, 10..=12);
    collector.wait("four spans", |got| got.spans.len() == 4);
    {
        let got = collector.got();
        let first = &got.spans[0];
        assert_eq!((first.links.len(), first.dropped_links_count), (LINKS_MAX, 3));
        assert_eq!(first.span_id, 9_u64.to_be_bytes());
        assert_eq!(got.resource["service.name"], "writ");
        assert_eq!(got.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(got.resource["service.instance.id"].len(), 32);
    }
    provider.stop(Duration::from_secs(10));
    assert_eq!(tally(&provider), Tally { exported: 4, ..Tally::default() });
}

#[test]
fn what_waits_at_the_end_is_sent_in_batches() {
    let collector = Collector::saying(Says::Fine);
    let slow =
        Telemetry { endpoint: Some(collector.url.clone()), batch_timeout_ms: Some(60_000), ..Telemetry::default() };
    let provider = Provider::start(&Settings::without_variables(Some(&slow)).expect("is fine")).expect("starts");
    push(&provider, 1..=3);
    provider.stop(Duration::from_secs(30));
    assert_eq!(collector.got().batches, [3]);
    push(&provider, 4..=4);
    assert_eq!(tally(&provider), Tally { exported: 3, queue: 1, ..Tally::default() });
}

#[test]
fn a_collector_that_hangs_costs_what_finds_no_room_and_not_more() {
    let collector = Collector::saying(Says::Nothing);
    let provider = provider(&collector.url);
    push(&provider, 1..=1);
    collector.wait("a span", |got| got.requests == 1);
    // One is under way and not answered; so many wait; the rest finds no room.
    let (room, above) = (u64::try_from(QUEUE_MAX).expect("fits"), 77);
    push(&provider, 2..=1 + room + above);
    assert_eq!(tally(&provider), Tally { queue: 77, ..Tally::default() });
    provider.stop(Duration::from_millis(50));
    assert_eq!(settled(&provider, QUEUE_MAX + 78), Tally { queue: 77, export: QUEUE_MAX + 1, ..Tally::default() });
    assert_eq!(collector.got().spans.len(), 0);
}

#[test]
fn a_batch_carries_what_a_collector_reads_links_and_all() {
    let collector = Collector::saying(Says::Nothing);
    let provider = provider(&collector.url);
    push(&provider, 1..=1);
    collector.wait("a span", |got| got.requests == 1);
    let sink = provider.spans().expect("it exports");
    let each = 1 + LINKS_MAX / 8;
    (0..QUEUE_MAX / each + 1).for_each(|number| sink.push(span(u64::try_from(number).expect("fits"), LINKS_MAX)));
    assert_eq!(tally(&provider), Tally { queue: 1, ..Tally::default() });
    collector.says(Says::Fine);
    provider.stop(Duration::from_secs(20));
    assert!(
        collector.got().batches.iter().all(|spans| spans * each < BATCH_MAX + each),
        "{:?}",
        collector.got().batches
    );
}

#[test]
fn what_a_collector_does_not_want_is_counted_and_not_sent_again() {
    let collector = Collector::saying(Says::Partly(2));
    let provider = provider(&collector.url);
    push(&provider, 1..=5);
    let exported = settled(&provider, 5);
    assert_eq!(exported.exported + exported.rejected, 5);
    assert!(exported.rejected >= 2, "{exported:?}");
    collector.says(Says::Refused(Code::InvalidArgument));
    let (before, requests) = (settled(&provider, 5), collector.got().requests);
    push(&provider, 6..=6);
    assert_eq!(settled(&provider, 6).rejected, before.rejected + 1);
    assert_eq!(collector.got().requests, requests + 1);
    provider.stop(Duration::from_secs(10));
}

#[test]
fn a_number_of_rejected_spans_that_cannot_be_is_no_more_than_were_sent() {
    for (said, counted) in [(-5, 0), (i64::MAX, 1)] {
        let collector = Collector::saying(Says::Partly(said));
        let provider = provider(&collector.url);
        push(&provider, 1..=1);
        assert_eq!(settled(&provider, 1), Tally { exported: 1 - counted, rejected: counted, ..Tally::default() });
        provider.stop(Duration::from_secs(10));
    }
}

#[test]
fn a_collector_that_asks_for_a_pause_gets_it() {
    let pause = Duration::from_millis(700);
    let collector = Collector::saying(Says::Exhausted(Some(pause)));
    let provider = provider(&collector.url);
    push(&provider, 1..=1);
    collector.wait("a span", |got| got.requests == 1);
    collector.says(Says::Fine);
    assert_eq!(settled(&provider, 1), Tally { exported: 1, ..Tally::default() });
    {
        let got = collector.got();
        assert_eq!(got.requests, 2);
        assert!(got.at[1] - got.at[0] >= pause, "{:?}", got.at);
    }
    provider.stop(Duration::from_secs(10));
}

#[test]
fn what_a_collector_asks_for_is_no_time_in_which_a_batch_was_tried() {
    let longer_than_a_batch_is_tried = Duration::from_secs(31);
    let collector = Collector::saying(Says::Exhausted(Some(longer_than_a_batch_is_tried)));
    let provider = provider(&collector.url);
    push(&provider, 1..=1);
    collector.wait("a span", |got| got.requests == 1);
    collector.says(Says::Fine);
    assert_eq!(settled(&provider, 1), Tally { exported: 1, ..Tally::default() });
    provider.stop(Duration::from_secs(10));
}

#[test]
fn a_pause_that_is_longer_than_what_is_left_is_kept_at_the_end_too() {
    let collector = Collector::saying(Says::Exhausted(Some(Duration::from_secs(300))));
    let provider = provider(&collector.url);
    push(&provider, 1..=1);
    collector.wait("a span", |got| got.requests == 1);
    push(&provider, 2..=3);
    provider.stop(Duration::from_millis(100));
    assert_eq!(settled(&provider, 3), Tally { export: 3, ..Tally::default() });
    assert_eq!(collector.got().requests, 1);
}

#[test]
fn a_collector_without_room_that_names_no_pause_is_not_asked_again() {
    let collector = Collector::saying(Says::Exhausted(None));
    let provider = provider(&collector.url);
    push(&provider, 1..=1);
    assert_eq!(settled(&provider, 1), Tally { rejected: 1, ..Tally::default() });
    assert_eq!(collector.got().requests, 1);
    provider.stop(Duration::from_secs(10));
}

#[test]
fn what_a_collector_refuses_for_now_arrives_later() {
    let collector = Collector::saying(Says::Refused(Code::Unavailable));
    let provider = provider(&collector.url);
    push(&provider, 1..=3);
    collector.wait("a span", |got| got.requests >= 2);
    collector.says(Says::Slowly(Duration::from_millis(50)));
    assert_eq!(settled(&provider, 3), Tally { exported: 3, ..Tally::default() });
    provider.stop(Duration::from_secs(10));
}

#[test]
fn a_collector_that_comes_late_gets_what_waited() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let provider = provider(&format!("http://{port}"));
    push(&provider, 1..=3);
    std::thread::sleep(Duration::from_millis(100)); // some attempts at a port that is closed
    let collector = Collector::at(&port.to_string(), Says::Fine, None);
    collector.wait("three spans", |got| got.spans.len() == 3);
    provider.stop(Duration::from_secs(10));
    assert_eq!(tally(&provider), Tally { exported: 3, ..Tally::default() });
}

#[test]
fn what_is_no_collector_ends_nothing() {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"SSH-2.0-this is something else\r\n\0\xff\xfe");
        }
    });
    let provider = provider(&url);
    push(&provider, 1..=3);
    provider.stop(Duration::from_millis(300));
    assert_eq!(settled(&provider, 3), Tally { export: 3, ..Tally::default() });
}

#[test]
fn metrics_arrive_as_sums_since_the_start() {
    let collector = Collector::saying(Says::Fine);
    let provider = provider(&collector.url);
    let counter = provider.meter().expect("it exports").u64_counter("a_counter").build();
    counter.add(2, &[]);
    let is_there = |got: &super::collector::Got| got.metrics.iter().any(|it| it.name == "a_counter");
    collector.wait("a metric", is_there);
    counter.add(3, &[]);
    provider.stop(Duration::from_secs(10));
    let seen = format!("{:?}", collector.got().metrics);
    assert!(seen.contains("AsInt(5)"), "{seen}");
}

#[test]
fn without_an_endpoint_there_is_nothing() {
    let provider = Provider::start(&Settings::without_variables(None).expect("is fine")).expect("starts");
    assert!(provider.spans().is_none() && provider.logs().is_none() && provider.meter().is_none());
    provider.stop(Duration::ZERO);
}
