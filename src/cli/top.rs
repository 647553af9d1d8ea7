//! `writ top`: what a ledger is doing, on one screen of a terminal, for machines without Grafana.

use std::io::{IsTerminal, Read};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use writ_schemas::errors::Code;

use super::output::Screen;
use super::session::Session;
use super::{Found, output};
use crate::api;
use crate::clock::{Clock, Stopwatch};
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::signals::Interrupt;
use crate::threads;

mod exposition;
mod figures;
mod screen;

use exposition::{BYTES_MAX, Exposition};
use figures::Figures;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(1);

/// Rates and quantiles are those of so many times before: of less, there is little to say.
const KEPT_MAX: usize = 10;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks whether it is to end.
const SLICE: Duration = Duration::from_millis(50);

/// Arguments of `writ top`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:  writ top --data ./ledger\n          writ top --url http://127.0.0.1:8080 --count 1 --json"
)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["data", "url"]))]
pub(super) struct Args {
    /// The folder of a ledger that is served here
    #[arg(long, value_name = "DIR")]
    data: Option<std::path::PathBuf>,
    /// The HTTP API of a ledger
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// End after so many seconds [default: when it is interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let interrupt = Interrupt::listen()?;
    let asked = Asked::of(args)?;
    let name = asked.name();
    // Who is to end does not wait for an answer: it is asked for by another thread.
    let (tells, told) = mpsc::sync_channel(0);
    threads::spawn("asks", move || asked.each_second(&tells))?;
    let (mut kept, mut shown, mut screen) = (Vec::new(), 0, None);
    while args.count.is_none_or(|count| shown < count) {
        let (at, answered) = match told.recv_timeout(SLICE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => return Err(threads::panicked("that asks")),
            Err(RecvTimeoutError::Timeout) if interrupt.by().is_some() || output::refused().is_some() => break,
            Err(RecvTimeoutError::Timeout) => continue,
        };
        if kept.is_empty() {
            // What is no ledger is told before anything is drawn.
            kept.push((at, answered?));
            screen = (std::io::stdout().is_terminal() && !args.json).then(Screen::enter);
            continue;
        }
        let figures = answered.map(|now| {
            kept.push((at, now));
            if kept.len() > KEPT_MAX + 1 {
                kept.remove(0);
            }
            latest(&kept)
        });
        show(figures, &name, screen.as_ref(), args.json);
        shown += 1;
    }
    Ok(Found::Yes)
}

/// What the kept expositions say.
fn latest(kept: &[(Duration, Exposition)]) -> Figures {
    let none = Exposition::default();
    let (first, last) = (kept.first(), kept.last());
    let (before, now) = (first.map_or(&none, |it| &it.1), last.map_or(&none, |it| &it.1));
    let seconds = first.zip(last).map_or(0.0, |(first, last)| last.0.saturating_sub(first.0).as_secs_f64());
    Figures::between(before, now, seconds, Duration::from_micros(Clock::Wall.now().0).as_secs_f64())
}

/// A ledger that is away may come back: it is asked on, and said to be away.
fn show(shown: Result<Figures>, name: &str, screen: Option<&Screen>, as_json: bool) {
    match (shown, screen) {
        (Ok(figures), Some(screen)) => screen.show(&screen::screen(&figures, name)),
        (Ok(figures), None) if as_json => output::json(&serde_json::to_value(figures).unwrap_or(Value::Null)),
        (Ok(figures), None) => output::line(screen::line(&figures)),
        (Err(failure), Some(screen)) => screen.show(&[format!("! {name} is away: {failure}")]),
        (Err(failure), None) if as_json => output::json(&json!({ "away": failure.code, "detail": failure.detail })),
        (Err(failure), None) => output::line(format!("{name} is away: {failure}")),
    }
}

/// Who is asked.
enum Asked {
    Socket(Session, std::path::PathBuf),
    Url(ureq::Agent, String),
}

impl Asked {
    fn of(args: &Args) -> Result<Asked> {
        if let Some(url) = &args.url {
            let agent = ureq::Agent::config_builder()
                .timeout_global(Some(PATIENCE))
                .max_redirects(0)
                .http_status_as_error(false)
                .build();
            return Ok(Asked::Url(agent.into(), format!("{}/metrics", url.trim_end_matches('/'))));
        }
        let folder = Folder::at(args.data.as_deref().unwrap_or(std::path::Path::new(".")));
        folder.require()?;
        let session = Session::served(&folder)?
            .ok_or_else(|| Failure::new(Code::Unreachable, format!("nobody serves {}", folder.root().display())))?;
        Ok(Asked::Socket(session, folder.root().to_owned()))
    }

    /// Tells what is answered each second, and when, until nobody hears it.
    fn each_second(&self, tells: &SyncSender<(Duration, Result<Exposition>)>) {
        let since = Stopwatch::start();
        let mut due = Duration::ZERO;
        while tells.send((since.elapsed(), self.exposition())).is_ok() {
            due = (due + EVERY).max(since.elapsed());
            std::thread::sleep(due.saturating_sub(since.elapsed()));
        }
    }

    fn name(&self) -> String {
        match self {
            Asked::Socket(_, folder) => output::path(folder),
            Asked::Url(_, url) => url.trim_end_matches("/metrics").to_owned(),
        }
    }

    fn exposition(&self) -> Result<Exposition> {
        let bytes = match self {
            Asked::Socket(session, _) => {
                session.request_within(&Method::GET, "/metrics", Vec::new(), PATIENCE, BYTES_MAX)?
            }
            Asked::Url(agent, url) => get(agent, url)?,
        };
        let text = String::from_utf8(bytes).map_err(|_| self.is_no_ledger("it is not UTF-8"))?;
        Exposition::parse(&text).map_err(|line| self.is_no_ledger(&format!("line {line} is no metric")))
    }

    fn is_no_ledger(&self, why: &str) -> Failure {
        Failure::new(Code::Io, format!("what {} answers to /metrics cannot be read: {why}", self.name()))
    }
}

/// What a URL answers.
fn get(agent: &ureq::Agent, url: &str) -> Result<Vec<u8>> {
    let gone = |e: ureq::Error| match e {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::new(Code::Usage, format!("{url}: {e}")),
        e => Failure::new(Code::Unreachable, format!("{url}: {e}")),
    };
    let mut response = agent.get(url).call().map_err(gone)?;
    let status = response.status();
    let mut bytes = Vec::new();
    let most = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let mut body = response.body_mut().as_reader().take(most.saturating_add(1));
    body.read_to_end(&mut bytes).map_err(|e| Failure::new(Code::Unreachable, format!("{url}: {e}")))?;
    if bytes.len() > BYTES_MAX {
        return Err(Failure::new(Code::Io, format!("{url} answers more than {BYTES_MAX} bytes")));
    }
    if status.is_success() {
        return Ok(bytes);
    }
    match serde_json::from_slice(&bytes) {
        Ok(problem @ Value::Object(_)) => Err(api::failure_of_problem(&problem)),
        _ => Err(Failure::new(Code::Io, format!("{url} answers {status}"))),
    }
}
