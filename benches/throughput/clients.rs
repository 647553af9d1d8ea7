//! What clients do to each other: a storm of retries, and many that read everything while intents are decided.
//!
//! A real `writ serve`, asked over HTTP by threads of this process, which take their share of the same cores. What is compared is of
//! one run: how fast known intents are answered beside new ones, and how long decisions take with readers beside without.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use writ::clock::{Clock, Stopwatch};
use writ::error::{Failure, Result};
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, UnixMicros};

use crate::measure;
use crate::workload::Workload;

/// The intents of the storm.
const STORM: usize = 24_000;
/// Intents of one request, and clients that send such requests.
const LINES: usize = 2000;
const SENDERS: usize = 4;
/// Clients that read everything.
const READERS: usize = 64;
/// Intents a second alone and beside them, in turns, by so many clients, and how long each.
const STEADY: u64 = 500;
const STEADY_CLIENTS: u64 = 8;
const STEADY_S: u64 = 10;
const ROUNDS: usize = 3;
/// Questions of each kind, to see what one costs.
const ASKED: usize = 500;
/// A clock tick of `/proc/PID/stat` in milliseconds: USER_HZ is 100 on Linux.
const TICK_MS: f64 = 10.0;

/// What came of it. Speeds are intents a second, times milliseconds, memory of the serving process in MiB.
#[derive(Debug, Serialize)]
pub(crate) struct Crowd {
    receipts: usize,
    decided: f64,
    known: f64,
    known_ratio: f64,
    alone_p50_ms: f64,
    alone_p99_ms: f64,
    beside_p50_ms: f64,
    beside_p99_ms: f64,
    p99_ratio: f64,
    answers_read: u64,
    answers_refused: u64,
    rss_before_mib: u64,
    rss_peak_mib: u64,
    /// Processor time of the serving process for a question of each kind, in milliseconds.
    entry_cpu_ms: f64,
    decision_cpu_ms: f64,
    explanation_cpu_ms: f64,
    graph_cpu_ms: f64,
}

impl Crowd {
    pub(crate) fn print(&self) {
        println!(
            "a storm of {STORM}: {:.0} new, {:.0} known intents/s: {:.2} times",
            self.decided, self.known, self.known_ratio
        );
        println!(
            "{STEADY} intents/s over {} receipts: p50 {:.1} ms, p99 {:.1} ms; beside {READERS} readers {:.1} and {:.1} ms: {:.2} times (aim: at most 2)",
            self.receipts, self.alone_p50_ms, self.alone_p99_ms, self.beside_p50_ms, self.beside_p99_ms, self.p99_ratio
        );
        println!(
            "read: {} answers, {} refused; memory {} MiB before, at most {} MiB (aim: below 300)",
            self.answers_read, self.answers_refused, self.rss_before_mib, self.rss_peak_mib
        );
        println!(
            "processor time for an entry {:.2} ms, a decision {:.2}, an explanation {:.2}, a graph {:.2}",
            self.entry_cpu_ms, self.decision_cpu_ms, self.explanation_cpu_ms, self.graph_cpu_ms
        );
    }
}

/// Fills a ledger with `receipts`, and measures.
pub(crate) fn measure(receipts: usize) -> Result<Crowd> {
    let dir = measure::place()?;
    let workload = Workload::new(dir.path(), Clock::Wall)?;
    let ledger = workload.open()?;
    let tickets = workload.tickets(&ledger.handle(), 24 * 3_600_000_000)?;
    ledger.finish()?;
    let expires_at = Clock::Wall.now().plus(23 * 3_600_000_000);
    let making = Making { workload: &workload, tickets, expires_at };
    let served = Served::of(&workload)?;

    let storm = making.bodies(0, STORM)?;
    let decided = served.send(&storm)?;
    let known = served.send(&storm)?;
    drop(storm);
    let mut done = STORM;
    while done < receipts {
        let some = (receipts - done).min(SENDERS * LINES * 2);
        served.send(&making.bodies(done, some)?)?;
        done += some;
    }
    // Until the views have caught up, what is alone is not.
    while !matches!(served.client().ask("GET", "/v1/usage?at_least=head", "", b""), Ok((200, _))) {}
    let rss_before_mib = served.memory("VmRSS:")?;
    let cost = |path: &dyn Fn(usize) -> String| served.cost((0..ASKED).map(|n| path(n * 7919 % receipts)));
    let of = |route: &'static str| cost(&move |n| format!("/v1/{route}/tenant-{}/i-{n}", n % 8));
    let entry_cpu_ms = cost(&|n| format!("/v1/entries/{}", n * 3))?;
    let (decision_cpu_ms, explanation_cpu_ms, graph_cpu_ms) = (of("decisions")?, of("explanations")?, of("graph")?);
    let steady = usize::try_from(STEADY * STEADY_S).unwrap_or_default();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (read, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..ROUNDS {
        let envelopes = making.each(done + 2 * round * steady, 2 * steady)?;
        let (first, second) = envelopes.split_at(steady);
        alone.extend(served.steady(first));
        let stop = AtomicBool::new(false);
        beside.extend(std::thread::scope(|scope| {
            for reader in 0..READERS {
                let (served, stop, read, refused) = (&served, &stop, &read, &refused);
                scope.spawn(move || served.read_everything(reader, receipts, stop, read, refused));
            }
            std::thread::sleep(Duration::from_secs(2)); // they have begun
            let times = served.steady(second);
            stop.store(true, Ordering::SeqCst);
            times
        }));
    }
    for times in [&mut alone, &mut beside] {
        times.sort_by(f64::total_cmp);
    }
    let rss_peak_mib = served.memory("VmHWM:")?;
    served.stop()?;
    let at = |times: &[f64], share: usize| times.get(times.len() * share / 100).copied().unwrap_or(f64::NAN);
    Ok(Crowd {
        receipts: done,
        decided,
        known,
        known_ratio: known / decided,
        alone_p50_ms: at(&alone, 50),
        alone_p99_ms: at(&alone, 99),
        beside_p50_ms: at(&beside, 50),
        beside_p99_ms: at(&beside, 99),
        p99_ratio: at(&beside, 99) / at(&alone, 99),
        answers_read: read.into_inner(),
        answers_refused: refused.into_inner(),
        rss_before_mib,
        rss_peak_mib,
        entry_cpu_ms,
        decision_cpu_ms,
        explanation_cpu_ms,
        graph_cpu_ms,
    })
}

struct Making<'a> {
    workload: &'a Workload,
    tickets: Vec<Digest>,
    expires_at: UnixMicros,
}

impl Making<'_> {
    fn each(&self, from: usize, count: usize) -> Result<Vec<Vec<u8>>> {
        self.workload.envelopes(from, count, &self.tickets, self.expires_at)
    }

    fn bodies(&self, from: usize, count: usize) -> Result<Vec<Vec<u8>>> {
        Ok(self.each(from, count)?.chunks(LINES).map(|lines| lines.join(&b'\n')).collect())
    }
}

fn io(e: std::io::Error) -> Failure {
    Failure::new(Code::Io, e)
}

struct Served {
    child: Child,
    http: String,
}

impl Served {
    fn of(workload: &Workload) -> Result<Served> {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_writ"));
        serve.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(workload.folder.root()).stderr(Stdio::piped());
        let mut child = serve.spawn().map_err(io)?;
        let said = child.stderr.take().ok_or_else(|| Failure::new(Code::Io, "no standard error"))?;
        let mut lines = BufReader::new(said).lines();
        let http = lines.find_map(|line| line.ok()?.strip_prefix("writ: and on http://").map(str::to_owned));
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Served { child, http: http.ok_or_else(|| Failure::new(Code::Io, "it does not say where it listens"))? })
    }

    fn client(&self) -> Client {
        Client { http: self.http.clone(), stream: None }
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).map_err(io)?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib: Option<u64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        kib.map(|kib| kib >> 10).ok_or_else(|| Failure::new(Code::Io, format!("no {field}")))
    }

    /// Processor time for one of these questions, in milliseconds.
    fn cost(&self, paths: impl Iterator<Item = String>) -> Result<f64> {
        let ticks = || -> Result<u64> {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).map_err(io)?;
            let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            Ok(fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum())
        };
        let (mut client, before, mut asked) = (self.client(), ticks()?, 0);
        for path in paths {
            let answered = client.ask("GET", &path, "", b"");
            if !matches!(answered, Ok((200, _))) {
                return Err(Failure::new(Code::Io, format!("{path}: {answered:?}")));
            }
            asked += 1;
        }
        let spent = usize::try_from(ticks()? - before).unwrap_or_default();
        Ok(lossy(spent) * TICK_MS / lossy(asked))
    }

    /// Intents a second.
    fn send(&self, bodies: &[Vec<u8>]) -> Result<f64> {
        let (next, since) = (AtomicU64::new(0), Stopwatch::start());
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    let mut client = self.client();
                    while let Some(body) =
                        bodies.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap_or(usize::MAX))
                    {
                        // What the queue had no room for is sent again, as producers do.
                        while match client.ask("POST", "/v1/intents", "application/x-ndjson", body) {
                            Ok((200, answer)) => answer.windows(9).any(|it| it == b"\"refused\""),
                            other => {
                                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{other:?}"));
                                false
                            }
                        } {}
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(Failure::new(Code::Io, why)),
            None => {
                let lines: usize = bodies.iter().map(|body| body.split(|it| *it == b'\n').count()).sum();
                Ok(lossy(lines) / since.elapsed().as_secs_f64())
            }
        }
    }

    /// How long each took, in milliseconds from when it was due.
    fn steady(&self, envelopes: &[Vec<u8>]) -> Vec<f64> {
        let (next, since) = (AtomicU64::new(0), Stopwatch::start());
        let times = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..STEADY_CLIENTS {
                scope.spawn(|| {
                    let mut client = self.client();
                    loop {
                        let at = next.fetch_add(1, Ordering::SeqCst);
                        let Some(envelope) = envelopes.get(usize::try_from(at).unwrap_or(usize::MAX)) else { return };
                        let due = Duration::from_micros(at * 1_000_000 / STEADY);
                        std::thread::sleep(due.saturating_sub(since.elapsed()));
                        let answered = client.ask("POST", "/v1/intents", "application/json", envelope);
                        assert!(matches!(answered, Ok((200, _))), "{answered:?}");
                        let took = since.elapsed().saturating_sub(due).as_secs_f64() * 1000.0;
                        times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    }
                });
            }
        });
        times.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_everything(
        &self,
        reader: usize,
        receipts: usize,
        stop: &AtomicBool,
        read: &AtomicU64,
        refused: &AtomicU64,
    ) {
        let mut client = self.client();
        let mut get = |path: &str| -> Option<Vec<u8>> {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            match client.ask("GET", path, "", b"") {
                Ok((200, answer)) => {
                    read.fetch_add(1, Ordering::Relaxed);
                    Some(answer)
                }
                Ok(_) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_secs(1)); // as Retry-After says
                    Some(Vec::new())
                }
                Err(_) => Some(Vec::new()),
            }
        };
        let mut n = reader * 7919;
        loop {
            n = (n * 31 + 17) % receipts;
            let (tenant, id) = (format!("tenant-{}", n % 8), format!("i-{n}"));
            for path in [
                format!("/v1/decisions/{tenant}/{id}"),
                format!("/v1/explanations/{tenant}/{id}"),
                format!("/v1/graph/{tenant}/{id}"),
                format!("/v1/entries/{}", n * 3),
                format!("/v1/approvals/{tenant}"),
            ] {
                if get(&path).is_none() {
                    return;
                }
            }
            let Some(usage) = get("/v1/usage") else { return };
            for line in texts(&usage, "line") {
                let mut cursor = String::new();
                loop {
                    let Some(part) = get(&format!("/v1/usage/{line}{cursor}")) else { return };
                    let Some(next) = texts(&part, "next").pop() else { break };
                    cursor = format!("?cursor={next}");
                }
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        let told = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().map_err(io)?;
        let ended = self.child.wait().map_err(io)?;
        if told.success() && ended.success() { Ok(()) } else { Err(Failure::new(Code::Io, format!("serve: {ended}"))) }
    }
}

/// The values of a member of JSON that has no escapes. Answers are not parsed here: clients take their share of the same cores.
fn texts(json: &[u8], member: &str) -> Vec<String> {
    let (json, before) = (String::from_utf8_lossy(json), format!("\"{member}\":\""));
    let found = json.split(&before).skip(1).filter_map(|rest| rest.split('"').next());
    found.map(str::to_owned).collect()
}

/// One connection, which is kept.
struct Client {
    http: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.http)?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.http,
            body.len()
        );
        stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or_default();
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        if status < 500 {
            self.stream = Some(stream);
        }
        Ok((status, answer))
    }
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts of a benchmark")]
fn lossy(count: usize) -> f64 {
    count as f64
}
