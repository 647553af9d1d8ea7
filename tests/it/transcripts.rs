//! Transcripts: what happens on a ledger, in words that a policy author reads (`tests/transcripts/*.txt`), played through the
//! real binary. Each follows from a sentence of the design, which it quotes.
//!
//! ```text
//! Follows: "`UNCERTAIN` holds its reservation until reconciled"
//!
//! Given that agents may pay
//! And that agent-1 is an agent
//! When agent-1 asks to pay 300 cents as p-1
//! Then p-1 is PASS
//! And the log verifies, and replay agrees
//! ```
//!
//! `Given` says what is so, `When` what somebody does, `Then` what must be found; `And` goes on with the word before it. The
//! words are in `policy.rs` and `stage.rs`; a line that is none of them is an error. `#` begins a comment.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use stage::Stage;

use crate::scene::Scene;
use crate::service::Service;

mod policy;
mod stage;
mod words;

/// The line that ends each transcript.
const END: &str = "the log verifies, and replay agrees";

const MARK: &str = "Follows: \"";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// What a line begins with.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    Given,
    When,
    Then,
}

/// Plays a transcript.
///
/// # Errors
/// The line at which it goes wrong, everything up to there, and what was found instead.
fn play(name: &str, text: &str) -> Result<(), String> {
    let mut lines = lines(text);
    let cites =
        |line: &str| line.strip_prefix(MARK)?.strip_suffix('"').filter(|it| it.split(' ').count() > 3).map(drop);
    let (first, line) = lines.next().unwrap_or((1, ""));
    let wrong = |number, why: &str| wrong(name, text, number, why);
    cites(line).ok_or_else(|| wrong(first, "it begins with the sentence that it follows from: Follows: \"...\""))?;

    let (mut stage, mut last) = (Stage::new(), first);
    let mut player = Player::default();
    while let Some((number, line)) = lines.next() {
        last = number;
        if !player.line(&mut stage, line).map_err(|why| wrong(number, &why))? {
            continue;
        }
        return match lines.next() {
            Some((number, _)) => Err(wrong(number, "nothing comes after the end")),
            None => Ok(()),
        };
    }
    Err(wrong(last, &format!("it ends with: And {END}")))
}

/// The ledger that these lines leave, nobody serving it, and the service that carries out what passes.
#[track_caller]
pub(crate) fn after(text: &str) -> (Scene, Option<Service>) {
    let (mut stage, mut player) = (Stage::new(), Player::default());
    for (number, line) in lines(text) {
        let ended =
            player.line(&mut stage, line).unwrap_or_else(|why| panic!("{}", wrong("a story", text, number, &why)));
        assert!(!ended, "its ledger is looked at further");
    }
    stage.leave()
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn wrong(name: &str, text: &str, number: usize, why: &str) -> String {
    let so_far: Vec<&str> = text.lines().take(number).collect();
    format!("{name}:{number}: {why}\n\n{}\n        ^ here\n", so_far.join("\n"))
}

/// Where it stands.
#[derive(Default)]
struct Player {
    word: Option<Word>,
    acted: bool,
}

impl Player {
    /// Plays a line. Whether it was the last one.
    fn line(&mut self, stage: &mut Stage, line: &str) -> Result<bool, String> {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.word = match head {
            "Given" => Some(Word::Given),
            "When" => Some(Word::When),
            "Then" => Some(Word::Then),
            "And" => self.word,
            _ => None,
        };
        let word = self.word.ok_or("a line begins with Given, When, Then or And")?;
        let found = |what: String| format!("found instead: {what}");
        if rest == END && word == Word::Then && self.acted {
            return stage.holds().map(|()| true).map_err(found);
        }
        let taken = match word {
            Word::Given if self.acted => return Err("Given comes before everything that happens".to_owned()),
            Word::Given => stage.given(rest.strip_prefix("that ").unwrap_or(rest)),
            Word::When => stage.when(rest),
            Word::Then if !self.acted => return Err("nothing has happened yet".to_owned()),
            Word::Then => stage.then(rest).map(|taken| taken.map_err(found)),
        };
        self.acted |= word == Word::When;
        taken.ok_or("nothing is known of these words")?.map(|()| false)
    }
}

fn play_file(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if let Err(why) = play(&format!("tests/transcripts/{name}.txt"), &text) {
        panic!("{why}");
    }
}

/// A test for each transcript, named after it.
macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play_file(stringify!($name));
        })*

        const NAMES: &[&str] = &[$(stringify!($name),)*];
    };
}

transcripts! {
    the_same_request_twice
    other_bytes_under_the_same_id
    nobody_squats_an_id
    the_freeze_is_asked_first
    a_gate_that_cannot_tell_refuses
    an_error_in_one_branch_does_not_decide
    two_of_three
    two_people_are_two_people
    who_asks_does_not_approve
    first_a_quote_then_the_payment
    reserved_at_the_decision_committed_at_the_receipt
    a_failure_releases_what_was_reserved
    what_is_uncertain_and_happened
    what_is_uncertain_and_never_happened
    no_denied_call_is_charged
    all_budgets_of_a_rule_must_hold
    a_window_moves_on
    people_grant_it
    one_refuses_it
    nobody_answers_in_time
    only_the_round_that_passes_reserves
    decided_again_under_the_policy_then_in_force
    revocation_is_asked_again_at_dispatch
    a_tenant_is_frozen
    a_ticket_is_used_once
    drift_is_charged
    what_it_really_cost
    an_intent_expires
    a_kill_between_call_and_answer
    what_passed_and_did_not_begin
}

#[test]
fn every_transcript_is_played() {
    let files = std::fs::read_dir(folder()).expect("the transcripts");
    let mut files: Vec<String> = files
        .map(|file| file.expect("a file").file_name().to_string_lossy().trim_end_matches(".txt").to_owned())
        .collect();
    files.sort();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names, "name each transcript in transcripts.rs");
}

/// What a transcript must not be, and what is said of it.
#[test]
fn the_player_is_strict() {
    const CITES: &str = "Follows: \"a sentence of the design\"\n";
    const OPEN: &str =
        "Given that agents may pay\nAnd that agent-1 is an agent\nWhen agent-1 asks to pay 1 cents as p-1\n";
    const SHUT: &str = "Then p-1 is PASS\nAnd the log verifies, and replay agrees\n";
    let rows = [
        (format!("{CITES}{OPEN}{SHUT}"), ""),
        (format!("{OPEN}{SHUT}"), ":1: it begins with the sentence"),
        (format!("Follows: \"\"\n{OPEN}{SHUT}"), ":1: it begins with the sentence"),
        (format!("{CITES}{OPEN}Then p-1 is PASS\n"), ":5: it ends with: And the log verifies"),
        (format!("{CITES}{OPEN}{SHUT}And p-1 is PASS\n"), ":7: nothing comes after the end"),
        (format!("{CITES}{OPEN}Then p-1 is fine and well\n{SHUT}"), ":5: nothing is known of these words"),
        (format!("{CITES}{OPEN}Then p-1 is FAIL, ERR_FROZEN\n{SHUT}"), ":5: found instead: PASS"),
        (
            format!("{CITES}{OPEN}Then the receipt of p-1 is FAILED and charges nothing\n{SHUT}"),
            "found instead: SUCCEEDED and",
        ),
        (format!("{CITES}{OPEN}Then nothing is added to the log\n{SHUT}"), ":5: found instead: "),
        (format!("{CITES}{OPEN}Then that is refused, ERR_FROZEN\n{SHUT}"), ":5: found instead: nothing was refused"),
        (format!("{CITES}{OPEN}When agent-1 asks to pay 2 cents as p-1\n{SHUT}"), "it was refused, and no Then"),
        (
            format!("{CITES}{OPEN}When agent-1 grants p-1\nThen that is refused, ERR_FROZEN\n{SHUT}"),
            ":6: found instead: ",
        ),
        (format!("{CITES}{OPEN}Given that bob is a manager\n{SHUT}"), ":5: Given comes before everything"),
        (format!("{CITES}{OPEN}When bob asks to pay 1 cents as p-2\n{SHUT}"), ":5: nobody said who bob is"),
        (
            format!("{CITES}{OPEN}When agent-1 asks to pay 1 cents as p-2, quickly\n{SHUT}"),
            ":5: nothing is known of: quickly",
        ),
        (format!("{CITES}Given that pay costs 1 of purse\n{OPEN}{SHUT}"), ":2: nobody said that agents may pay"),
        (format!("{CITES}Given that agents pay\n{OPEN}{SHUT}"), ":2: nothing is known of these words"),
        (format!("{CITES}{OPEN}But p-1 is PASS\n{SHUT}"), ":5: a line begins with"),
        (format!("{CITES}Then p-1 is PASS\n{OPEN}{SHUT}"), ":2: nothing has happened yet"),
    ];
    for (text, why) in rows {
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| play("it.txt", &text))).expect("it does not panic");
        match played {
            Ok(()) => assert_eq!(why, "", "it was played:\n{text}"),
            Err(told) => {
                assert!(!why.is_empty() && told.contains(why), "{why}:\n{told}");
                assert!(told.starts_with("it.txt:") && told.contains("^ here"), "{told}");
            }
        }
    }
}
