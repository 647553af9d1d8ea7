//! `writ demo`: the whole story in a few seconds, with nothing but this binary.
//!
//! A mock Kafka cluster runs inside the process (it has no real transactions, and nothing is claimed about them here); intents
//! are produced to it as any client does; a ledger decides them, carries out what passed, and publishes the answers. Then
//! the ledger is verified and replayed, and a copy of it is tampered with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use writ_projections::page::Part;
use writ_schemas::errors::Code;
use writ_schemas::ids::Name;

use super::{Found, output, policy, session, usage};
use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::replay::replay;
use crate::verify::{Pins, verify};

/// How long the views may take to hold what was heard.
const VIEWS_PATIENCE: Duration = Duration::from_secs(10);

mod scenario;
mod tamper;
mod world;

use scenario::Scenario;
use world::{Heard, World};

/// Arguments of `writ demo`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ demo\n          writ demo --data ./demo && writ log show --data ./demo")]
pub(super) struct Args {
    /// Keep the ledger in this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON: each scenario with what came of it, then the checks
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let started = Stopwatch::start();
    let temporary = if args.data.is_none() { Some(Temporary::make()?) } else { None };
    let root = match (&args.data, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => temporary.0.join("ledger"),
        (None, None) => return Err(Failure::new(Code::Usage, "no folder")),
    };
    let folder = Folder::at(&root);
    let tell = Teller { json: args.json };

    tell.heading("A ledger, its keys, its policy, and a Kafka in this process");
    let world = World::make(&folder)?;
    tell.line(format!("ledger {} in {}", world.ledger(), output::path(&root)));

    tell.heading("Intents go in over Kafka; decisions, receipts and refusals come out; people step in");
    let mut came = Vec::new();
    for phase in scenario::phases(&world)? {
        let heard = world.play(&phase, &mut |heard| tell.heard(heard))?;
        came.extend(phase.scenarios.into_iter().map(|scenario| (scenario.outcome(&heard), scenario)));
    }
    let told = tell.told(&came);
    let library = world.library();
    library.wait_for(world.head(), VIEWS_PATIENCE)?;
    let explained = library.explanation(&name("acme")?, &name("refund-4")?)?;
    let graph = library.graph(library.last_of(&name("acme")?, &name("refund-1")?)?)?;
    let used = library.usage(None, &Part::first(usize::MAX))?;
    drop(library);
    world.end()?;

    tell.heading("Why acme/refund-4 was refused, and what would have let it pass");
    tell.explanation(&explained);
    tell.heading("What the receipt of acme/refund-1 stands on");
    tell.line(graph["tree"].as_str().unwrap_or_default().trim_end());
    tell.heading("What was used, counted from receipts");
    tell.usage(&used);

    tell.heading("Anybody can check it: verify, then decide everything again");
    let verified = verify(&folder, &Pins::default(), &mut |_| {})?;
    let replayed = replay(&folder, &Pins::default(), None, &mut |_| {})?;
    tell.line(format!(
        "verify: {}  {} entries, {} signatures, head {}",
        output::verdict(yes_no(verified.ok)),
        verified.entries,
        verified.signatures,
        verified.head.get(..16).unwrap_or_default(),
    ));
    tell.line(format!(
        "replay: {}  {} intents decided again, {} receipts, state {}",
        output::verdict(yes_no(replayed.verified.ok)),
        replayed.decided_again,
        replayed.verified.receipts,
        replayed.state_hash,
    ));

    tell.heading("One bit is flipped in a copy");
    let caught = tamper::flip_one_bit(&folder)?;
    tell.line(format!("flipped {}\nverify: {}  {}", caught.place, output::verdict(yes_no(caught.ok)), caught.what));
    tell.keep(args.data.as_deref());

    let good = told.all_expected && verified.ok && replayed.verified.ok && !caught.ok;
    if args.json {
        output::json(&json!({
            "elapsed_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "explanation": explained, "good": good, "graph": graph["graph"], "replay": replayed, "scenarios": told.rows,
            "tampering": { "caught": !caught.ok, "place": caught.place, "what": caught.what }, "usage": used, "verify": verified,
        }));
    } else {
        tell.line(format!("\n{:.1} s", started.elapsed().as_secs_f64()));
    }
    Ok(if good { Found::Yes } else { Found::No })
}

fn yes_no(ok: bool) -> &'static str {
    if ok { "yes" } else { "NO" }
}

fn name(text: &str) -> Result<Name> {
    super::name(text)
}

/// Tells the story to people; says nothing where a program listens.
struct Teller {
    json: bool,
}

/// What came of each scenario.
struct Told {
    rows: Vec<Value>,
    all_expected: bool,
}

impl Teller {
    fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            output::line(text);
        }
    }

    fn heading(&self, text: &str) {
        self.line(format!("\n== {text}"));
    }

    fn heard(&self, heard: &Heard) {
        let Heard { topic, name, word, code, .. } = heard;
        self.line(format!("{:<18} {name:<22} {} {code}", topic.trim_end_matches(".v1"), output::verdict(word)));
    }

    fn told(&self, all: &[([String; 4], Scenario)]) -> Told {
        let mut table = output::table(&["scenario", "intent", "verdict", "code", "receipt", "code", ""]);
        let (mut rows, mut all_expected) = (Vec::new(), true);
        for (came, scenario) in all {
            let expected = *came == scenario.expected;
            all_expected &= expected;
            let mark = if expected { "" } else { "NOT AS EXPECTED" };
            let [verdict, code, status, status_code] = came;
            table.add_row([scenario.what, &scenario.name, verdict, code, status, status_code, mark]);
            rows.push(json!({
                "as_expected": expected, "code": code, "intent": scenario.name, "receipt": status,
                "receipt_code": status_code, "scenario": scenario.what, "verdict": verdict,
            }));
        }
        self.line(format!("\n{table}"));
        Told { rows, all_expected }
    }

    fn explanation(&self, explained: &Value) {
        if !self.json {
            policy::print_explanation(explained);
        }
    }

    fn usage(&self, used: &Value) {
        if !self.json {
            usage::print(session::items(used));
        }
    }

    fn keep(&self, data: Option<&Path>) {
        if let Some(dir) = data {
            let dir = output::path(dir);
            self.line(format!(
                "\nkept: writ log show --data {dir}    writ verify --data {dir}    writ replay --data {dir}"
            ));
        }
    }
}

/// A folder that ends with the demo.
struct Temporary(PathBuf);

impl Temporary {
    fn make() -> Result<Temporary> {
        let unique = writ_schemas::ids::hex(&crate::folder::random::<8>()?);
        let path = crate::config::temporary_folder().join(format!("writ-demo-{unique}"));
        std::fs::create_dir(&path).map_err(|e| Failure::io(&path, &e))?;
        Ok(Temporary(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
