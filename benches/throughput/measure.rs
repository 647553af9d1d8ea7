//! The limits and the ledger, measured one after the other in the same process.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::oneshot;

use writ::clock::{Clock, Stopwatch};
use writ::error::{Failure, Result};
use writ::folder::Folder;
use writ::ledger::Ledger;
use writ::replay::{Replayed, replay};
use writ::sequencer::{Input, Submission};
use writ::telemetry::facts::Arrival;
use writ::verify::{Pins, Report, verify};
use writ::views::Views;
use writ_log::{DirStorage, Reader, Storage, frame};
use writ_schemas::decision::Verdict;
use writ_schemas::dsse::{Document, Signature, Signed, pae};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, Source};
use writ_schemas::ids::Seq;
use writ_schemas::keys::{self, SecretKey};
use writ_schemas::receipt::Status;

use crate::workload::{self, Workload};

/// Records that intake parses together, as the Kafka consumer does.
pub(crate) const RECORDS: usize = 512;

/// How long everything stays valid: an hour, in microseconds.
const LIFE: u64 = 3_600_000_000;

/// The syncs that the disk is asked for.
const SYNCS: u64 = 200;

/// Whether the views follow the log while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Following {
    Nobody,
    Views,
}

/// Whether views follow.
pub(crate) fn measured(views: bool) -> Following {
    if views { Following::Views } else { Following::Nobody }
}

/// One round. Speeds are a second: intents, but for `verify` and `replay`, which are entries. `*_cpu_us` is the time of all
/// cores together that an intent takes: unlike speed, it says the same on a machine that is busy with other things.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Round {
    pub(crate) signature_limit: f64,
    pub(crate) writer: f64,
    pub(crate) following: f64,
    pub(crate) verify: f64,
    pub(crate) replay: f64,
    pub(crate) writer_ratio: f64,
    pub(crate) following_ratio: f64,
    pub(crate) signatures_cpu_us: f64,
    pub(crate) writer_cpu_us: f64,
    pub(crate) following_cpu_us: f64,
}

/// The median of each figure, for itself.
pub(crate) fn median(rounds: &[Round]) -> Round {
    let of = |figure: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let at = |place: usize| all.get(place).copied().unwrap_or_default();
        f64::midpoint(at((all.len() - 1) / 2), at(all.len() / 2))
    };
    Round {
        signature_limit: of(|it| it.signature_limit),
        writer: of(|it| it.writer),
        following: of(|it| it.following),
        verify: of(|it| it.verify),
        replay: of(|it| it.replay),
        writer_ratio: of(|it| it.writer_ratio),
        following_ratio: of(|it| it.following_ratio),
        signatures_cpu_us: of(|it| it.signatures_cpu_us),
        writer_cpu_us: of(|it| it.writer_cpu_us),
        following_cpu_us: of(|it| it.following_cpu_us),
    }
}

/// Time that passed, and time that every core of this process together worked.
struct Timer {
    passed: Stopwatch,
    worked: u64,
}

impl Timer {
    fn start() -> Result<Timer> {
        Ok(Timer { passed: Stopwatch::start(), worked: worked_us()? })
    }

    /// How many a second, and the microseconds of all cores for one.
    fn rate(&self, count: usize) -> Result<(f64, f64)> {
        let passed = self.passed.elapsed();
        let worked = usize::try_from(worked_us()? - self.worked).unwrap_or(usize::MAX);
        Ok((rate(count, passed), ratio(worked, count)))
    }
}

/// Processor time of this process in microseconds, which Linux counts in hundredths of a second.
fn worked_us() -> Result<u64> {
    const STAT: &str = "/proc/self/stat";
    const TICK_US: u64 = 10_000;
    let stat = std::fs::read_to_string(STAT).map_err(|e| Failure::io(STAT.as_ref(), &e))?;
    // Behind the name, which may hold anything, user time is the 12th field and system time the 13th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_US)
}

/// A folder for one ledger, beside the build and so on a disk, not in memory as `/tmp` may be.
pub(crate) fn place() -> Result<TempDir> {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::tempdir_in(beside).map_err(|e| Failure::io(beside, &e))
}

/// Two ledgers of the same intents, one without and one with views, and the signature limit over their documents.
pub(crate) fn round(intents: usize) -> Result<(Round, Written)> {
    let (alone, written) = write(intents, Following::Nobody)?;
    let before = signature_limit(&written)?;
    let (followed, _) = write(intents, Following::Views)?;
    let after = signature_limit(&written)?;
    let limit = f64::midpoint(before.0, after.0);
    let round = Round {
        signature_limit: limit,
        writer: alone.intents,
        following: followed.intents,
        verify: alone.verify,
        replay: alone.replay,
        writer_ratio: alone.intents / limit,
        following_ratio: followed.intents / limit,
        signatures_cpu_us: f64::midpoint(before.1, after.1),
        writer_cpu_us: alone.cpu_us,
        following_cpu_us: followed.cpu_us,
    };
    Ok((round, written))
}

struct Speeds {
    intents: f64,
    cpu_us: f64,
    verify: f64,
    replay: f64,
}

/// Writes a ledger, times it, and checks it before anything is said about it.
fn write(intents: usize, following: Following) -> Result<(Speeds, Written)> {
    let dir = place()?;
    let workload = Workload::new(dir.path(), Clock::Wall)?;
    let ledger = workload.open()?;
    let tickets = workload.tickets(&ledger.handle(), LIFE)?;
    let envelopes = workload.envelopes(0, intents, &tickets, workload.clock.now().plus(LIFE))?;

    let views = follow(&ledger, following)?;
    let timer = Timer::start()?;
    submit(&ledger, envelopes)?;
    ledger.finish()?;
    let views = views.join()?;
    let (speed, cpu_us) = timer.rate(intents)?;

    let verifying = Stopwatch::start();
    let report = verify(&workload.folder, &Pins::default(), &mut |_| {})?;
    let verifying = verifying.elapsed();
    let replaying = Stopwatch::start();
    let replayed = replay(&workload.folder, &Pins::default(), None, &mut |_| {})?;
    let replaying = replaying.elapsed();
    require_counts(&report, intents)?;
    require_equal(&replayed, views)?;
    let written = Written::read(&workload.folder)?;
    if written.intents.len() != intents {
        return Err(wrong(format!("{} intents passed and succeeded, {intents} were signed", written.intents.len())));
    }
    let entries = usize::try_from(report.entries).unwrap_or(usize::MAX);
    let (verify, replay) = (rate(entries, verifying), rate(entries, replaying));
    Ok((Speeds { intents: speed, cpu_us, verify, replay }, written))
}

/// The views of a ledger on their own thread, if they follow.
pub(crate) struct Follower(Option<std::thread::JoinHandle<Result<Views>>>);

pub(crate) fn follow(ledger: &Ledger, following: Following) -> Result<Follower> {
    if following == Following::Nobody {
        return Ok(Follower(None));
    }
    let handle = ledger.handle();
    let mut views = Views::open(&handle.folder, Reader::open(handle.folder.log())?)?;
    let thread = std::thread::Builder::new().name("views".to_owned()).spawn(move || {
        views.follow(&handle.progress, &handle.tracer)?;
        Ok(views)
    });
    Ok(Follower(Some(thread.map_err(|e| Failure::new(Code::Io, e))?)))
}

impl Follower {
    /// The views, once the ledger is closed and they hold all of it.
    pub(crate) fn join(self) -> Result<Option<Views>> {
        self.0.map(|thread| thread.join().map_err(|_| wrong("the views panicked"))?).transpose()
    }
}

/// Parses and queues, as the Kafka consumer does, and waits for every answer: what passed before that is what
/// [`Ledger::finish`] ends.
fn submit(ledger: &Ledger, envelopes: Vec<Vec<u8>>) -> Result<()> {
    let handle = ledger.handle();
    let mut answers = Vec::with_capacity(envelopes.len());
    let mut rest = envelopes.into_iter();
    loop {
        let records: Vec<_> = rest.by_ref().take(RECORDS).collect();
        if records.is_empty() {
            break;
        }
        for (what, bytes) in workload::read(records) {
            let (reply, answer) = oneshot::channel();
            let submission = Submission {
                what,
                raw: Vec::new(),
                source: Source::Local,
                arrival: Arrival::now(),
                reply: Some(reply),
            };
            handle.queue.put(Input::Submit(submission), bytes).map_err(|_| wrong("the ledger closed its queue"))?;
            answers.push(answer);
        }
    }
    for answer in answers {
        answer.blocking_recv().map_err(|_| wrong("an intent was never answered"))?;
    }
    Ok(())
}

/// What verification must have found, whatever else.
pub(crate) fn require_counts(report: &Report, intents: usize) -> Result<()> {
    let intents = u64::try_from(intents).unwrap_or(u64::MAX);
    if !report.ok
        || report.decisions != intents
        || report.receipts != intents
        || report.checkpoint != Some(report.entries)
    {
        return Err(wrong(format!("{intents} intents, but {report:?}")));
    }
    Ok(())
}

/// Replay must agree with the log, and with the views that followed it.
fn require_equal(replayed: &Replayed, views: Option<Views>) -> Result<()> {
    if !replayed.verified.ok || replayed.divergence.is_some() {
        return Err(wrong(format!("{:?}", replayed.divergence)));
    }
    if let Some(mut views) = views
        && views.digests()? != replayed.views
    {
        return Err(wrong("the views are not what replay derives"));
    }
    Ok(())
}

fn wrong(what: impl fmt::Display) -> Failure {
    Failure::new(Code::LogDamaged, what)
}

/// What stands in a ledger: the very documents whose signatures the limit is measured with.
pub(crate) struct Written {
    intents: Vec<(Signature, Vec<u8>)>,
    decisions: Vec<Vec<u8>>,
    receipts: Vec<Vec<u8>>,
    batches: u64,
    bytes: usize,
}

impl Written {
    /// Reads the intents that passed and succeeded.
    fn read(folder: &Folder) -> Result<Written> {
        let mut written =
            Written { intents: Vec::new(), decisions: Vec::new(), receipts: Vec::new(), batches: 0, bytes: 0 };
        for located in Reader::open(folder.log())?.entries(Seq(0))? {
            let located = located?;
            written.bytes += frame::encoded_len(&located.entry);
            written.batches = located.place.batch + 1;
            #[allow(clippy::wildcard_enum_match_arm, reason = "the others have no part in an intent's signatures")]
            match located.entry.event()? {
                Event::IntentAdmitted(admitted) => {
                    let signature = admitted.intent.signatures().first().copied();
                    let signature = signature.ok_or_else(|| wrong("an intent without a signature"))?;
                    written.intents.push((signature, message(&admitted.intent)));
                }
                Event::DecisionMade(decision) if decision.value().verdict == Verdict::Pass => {
                    written.decisions.push(message(&decision));
                }
                Event::ReceiptIssued(issued) if issued.receipt.value().status == Status::Succeeded => {
                    written.receipts.push(message(&issued.receipt));
                }
                _ => {}
            }
        }
        let all = written.intents.len();
        if written.decisions.len() != all || written.receipts.len() != all {
            return Err(wrong("not every intent passed and succeeded"));
        }
        Ok(written)
    }
}

fn message<T: Document>(document: &Signed<T>) -> Vec<u8> {
    pae(T::PAYLOAD_TYPE, document.payload())
}

/// Intents a second, and the microseconds of all cores for one, were there nothing to do but one strict verification and two
/// signatures each, on every core.
fn signature_limit(written: &Written) -> Result<(f64, f64)> {
    let key = SecretKey::from_seed(&[9; 32]);
    let timer = Timer::start()?;
    let fits = written
        .intents
        .par_iter()
        .zip(&written.decisions)
        .zip(&written.receipts)
        .filter(|(((signature, intent), decision), receipt)| {
            std::hint::black_box((key.sign(decision), key.sign(receipt)));
            keys::verify(&signature.key, intent, &signature.bytes)
        })
        .count();
    timer.rate(fits)
}

/// What the disk allows: the mean batch of a round, written and synced alone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Disk {
    pub(crate) batch_bytes: u64,
    pub(crate) batch_intents: f64,
    pub(crate) syncs: f64,
    pub(crate) intents: f64,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} fdatasync/s of {} bytes, {:.0} intents", self.syncs, self.batch_bytes, self.batch_intents)
    }
}

/// Writes and syncs batches of the mean size into a segment that lies ready, as the log does.
pub(crate) fn disk(written: &Written) -> Result<Disk> {
    const FILE: &str = "segment";
    const SEGMENT: u64 = 16 << 20;
    let batch_bytes = u64::try_from(written.bytes).unwrap_or(u64::MAX) / written.batches.max(1);
    let dir = place()?;
    let io = |e: std::io::Error| Failure::io(dir.path(), &e);
    let storage = DirStorage::writing(dir.path());
    storage.create(FILE, b"", SEGMENT).map_err(io)?;
    let batch = vec![b'x'; usize::try_from(batch_bytes).unwrap_or_default()];
    let places = (SEGMENT / batch_bytes.max(1)).max(1);
    let took = Stopwatch::start();
    for n in 0..SYNCS {
        storage.write_at(FILE, n % places * batch_bytes, &batch).map_err(io)?;
        storage.sync(FILE).map_err(io)?;
    }
    let syncs = rate(usize::try_from(SYNCS).unwrap_or_default(), took.elapsed());
    // An intent has its entries in several batches: what counts is how many syncs there are for each.
    let batch_intents = ratio(written.intents.len(), usize::try_from(written.batches).unwrap_or(usize::MAX));
    Ok(Disk { batch_bytes, batch_intents, syncs, intents: syncs * batch_intents })
}

fn rate(count: usize, took: Duration) -> f64 {
    float(count) / took.as_secs_f64()
}

pub(crate) fn ratio(of: usize, to: usize) -> f64 {
    float(of) / float(to)
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "a figure to print; counts stay far below 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}
