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
#[derive(Clone, Copy, PartialEq, PartialOrd)]
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
    let wrong = |number: usize, why: &str| {
        let so_far: Vec<&str> = text.lines().take(number).collect();
        format!("{name}:{number}: {why}\n\n{}\n        ^ here\n", so_far.join("\n"))
    };
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end()));
    let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let cites =
        |line: &str| line.strip_prefix(MARK)?.strip_suffix('"').filter(|it| it.split(' ').count() > 3).map(drop);
    let (first, line) = lines.next().unwrap_or((1, ""));
    cites(line).ok_or_else(|| wrong(first, "it begins with the sentence that it follows from: Follows: \"...\""))?;

    let (mut stage, mut word, mut acted, mut last) = (Stage::new(), None, false, first);
    for (number, line) in lines {
        last = number;
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        word = match head {
            "Given" => Some(Word::Given),
            "When" => Some(Word::When),
            "Then" => Some(Word::Then),
            "And" => word,
            _ => None,
        };
        let word = word.ok_or_else(|| wrong(number, "a line begins with Given, When, Then or And"))?;
        if rest == END && word == Word::Then && acted {
            stage.holds().map_err(|found| wrong(number, &format!("found instead: {found}")))?;
            let after = text.lines().skip(number).any(|line| !line.trim().is_empty());
            return if after { Err(wrong(number, "nothing comes after the end")) } else { Ok(()) };
        }
        let taken = match word {
            Word::Given if acted => return Err(wrong(number, "Given comes before everything that happens")),
            Word::Given => stage.given(rest.strip_prefix("that ").unwrap_or(rest)),
            Word::When => stage.when(rest),
            Word::Then if !acted => return Err(wrong(number, "nothing has happened yet")),
            Word::Then => stage.then(rest),
        };
        acted = acted || word == Word::When;
        match taken {
            Some(Ok(())) => {}
            Some(Err(found)) if word == Word::Then => return Err(wrong(number, &format!("found instead: {found}"))),
            Some(Err(why)) => return Err(wrong(number, &why)),
            None => return Err(wrong(number, "nothing is known of these words")),
        }
    }
    Err(wrong(last, &format!("it ends with: And {END}")))
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
    drift_is_charged
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
        (format!("{CITES}{OPEN}{SHUT}And p-1 is PASS\n"), ":6: nothing comes after the end"),
        (format!("{CITES}{OPEN}Then p-1 is fine and well\n{SHUT}"), ":5: nothing is known of these words"),
        (format!("{CITES}{OPEN}Then p-1 is FAIL, ERR_FROZEN\n{SHUT}"), ":5: found instead: PASS"),
        (
            format!("{CITES}{OPEN}Then the receipt of p-1 is FAILED and charges nothing\n{SHUT}"),
            "found instead: SUCCEEDED and",
        ),
        (format!("{CITES}{OPEN}Then nothing is added to the log\n{SHUT}"), ":5: found instead: "),
        (format!("{CITES}{OPEN}Then that is refused, ERR_FROZEN\n{SHUT}"), ":5: found instead: nothing was refused"),
        (
            format!("{CITES}{OPEN}When agent-1 asks to pay 2 cents as p-1\n{SHUT}"),
            "found instead: it was refused, and no Then",
        ),
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
