//! How many intents a second become durable receipts, beside what signatures and the disk of the same machine allow.
//!
//! A benchmark, never a timed test: it prints figures and fails only if what it wrote is not right. Every ledger is counted
//! and verified before a figure of it is printed. How to run and how to read it: `benches/README.md`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark is its own command line")]

#[path = "throughput/workload.rs"]
mod workload;
#[path = "throughput/measure.rs"]
mod measure;
#[path = "throughput/memory.rs"]
mod memory;
#[path = "throughput/clients.rs"]
mod clients;

use std::process::ExitCode;

use serde::Serialize;

use writ::error::{Failure, Result};
use writ_schemas::errors::Code;

use measure::{Disk, Round, measured, median};

/// As in the binary: what is measured is what runs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "cargo bench --bench throughput -- [--intents N] [--rounds N] [--json]\n       \
     cargo bench --bench throughput -- --memory [--views] [--intents N] [--json]\n       \
     cargo bench --bench throughput -- --clients [--intents N] [--json]";

/// What was asked for.
#[derive(Debug, Default)]
struct Args {
    intents: Option<usize>,
    rounds: Option<usize>,
    memory: bool,
    clients: bool,
    views: bool,
    json: bool,
}

impl Args {
    fn read(from: impl Iterator<Item = String>) -> Option<Args> {
        let (mut args, mut from) = (Args::default(), from);
        while let Some(arg) = from.next() {
            match arg.as_str() {
                "--intents" => args.intents = Some(from.next()?.parse().ok().filter(|n| *n >= 10)?),
                "--rounds" => args.rounds = Some(from.next()?.parse().ok().filter(|n| *n >= 1)?),
                "--memory" => args.memory = true,
                "--clients" => args.clients = true,
                "--views" => args.views = true,
                "--json" => args.json = true,
                "--bench" => {} // from cargo
                _ => return None,
            }
        }
        Some(args)
    }
}

/// What is printed.
#[derive(Serialize)]
struct Figures {
    intents: usize,
    cores: usize,
    /// The medians of the rounds.
    median: Round,
    rounds: Vec<Round>,
    disk: Disk,
}

fn main() -> ExitCode {
    let Some(args) = Args::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match (args.clients, args.memory) {
        (true, _) => clients(&args),
        (false, true) => memory(&args),
        (false, false) => throughput(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn throughput(args: &Args) -> Result<()> {
    let (intents, rounds) = (args.intents.unwrap_or(20_000), args.rounds.unwrap_or(3));
    // The first ledger of a process pays for threads, pages and files that later ones find ready.
    measure::round(intents.min(2000))?;
    let mut all = Vec::new();
    let mut disk = None;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let (figures, written) = measure::round(intents)?;
        disk = Some(measure::disk(&written)?);
        all.push(figures);
    }
    let disk = disk.ok_or_else(|| Failure::new(Code::Usage, USAGE))?;
    let figures = Figures { intents, cores: rayon::current_num_threads(), median: median(&all), rounds: all, disk };
    if args.json { json(&figures) } else { table(&figures) }
}

fn clients(args: &Args) -> Result<()> {
    let crowd = clients::measure(args.intents.unwrap_or(200_000))?;
    if args.json {
        return json(&crowd);
    }
    crowd.print();
    Ok(())
}

fn memory(args: &Args) -> Result<()> {
    let grown = memory::measure(args.intents.unwrap_or(1_000_000), measured(args.views))?;
    if args.json {
        return json(&grown);
    }
    println!(
        "memory, {} views following, echo intents of {} s",
        if args.views { "with" } else { "no" },
        memory::LIFE_S
    );
    for mark in [&grown.early, &grown.late] {
        println!("{:>10} intents  {:>8} KiB now  {:>8} KiB at most", mark.intents, mark.rss_kib, mark.peak_kib);
    }
    println!("{:>10.2} times now, {:.2} times at most (aim: at most 1.2)", grown.rss_ratio, grown.peak_ratio);
    Ok(())
}

fn json(figures: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(figures).map_err(|e| Failure::new(Code::Io, e))?;
    println!("{text}");
    Ok(())
}

fn table(figures: &Figures) -> Result<()> {
    let Round { signature_limit, writer, following, verify, replay, .. } = &figures.median;
    println!("{} intents, {} cores, median of {} rounds\n", figures.intents, figures.cores, figures.rounds.len());
    println!("signature limit       {signature_limit:>9.0} intents/s   1 verification, 2 signatures each, every core");
    println!("disk limit            {:>9.0} intents/s   {}", figures.disk.intents, figures.disk);
    println!("writer                {writer:>9.0} intents/s   from bytes to durable receipts, sealed");
    println!("writer and views      {following:>9.0} intents/s   until the views have caught up and are flushed");
    println!("verify                {verify:>9.0} entries/s");
    println!("replay                {replay:>9.0} entries/s");
    println!("\nwriter / signature limit            {:.3}   (aim: 0.5)", figures.median.writer_ratio);
    println!("writer and views / signature limit  {:.3}   (aim: 0.35)", figures.median.following_ratio);
    println!(
        "\ntime of all cores for one intent: {:.0} us of signatures, {:.0} us in the writer, {:.0} us with views\n",
        figures.median.signatures_cpu_us, figures.median.writer_cpu_us, figures.median.following_cpu_us
    );
    for (at, round) in figures.rounds.iter().enumerate() {
        println!("round {}: {:.3} and {:.3}", at + 1, round.writer_ratio, round.following_ratio);
    }
    Ok(())
}
