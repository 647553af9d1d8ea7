//! Every registered code is reached by a test through the public surface. The table names one for each code, and is held
//! against the sources: the test is there, and it speaks of the code.
//!
//! A place is `file: name`. The name is that of a test, of a row of the table of bad inputs (which holds the code against all
//! that is told), or nothing for a transcript, which is a test itself.

use std::path::Path;

use writ_schemas::errors::Code;

mod brokers;
mod clients;
mod kafka;
mod views;

#[rustfmt::skip] // A table is read by columns.
const REACHED: &[(Code, &str)] = &[
    (Code::Ok,                     "gates.rs: an_intent_that_every_gate_lets_pass"),
    (Code::TooLarge,               "bad_input/lines.rs: 2 MiB of args"),
    (Code::RequestIncomplete,      "codes/clients.rs: half_a_request_is_given_up"),
    (Code::ContentType,            "bad_input.rs: what_a_body_holds_is_said_in_any_case_and_with_parameters"),
    (Code::Method,                 "bad_input.rs: every_route_answers_every_method_in_problem_documents"),
    (Code::Misdirected,            "bad_input/clients.rs: a_listener_answers_to_its_own_names_only"),
    (Code::JsonUtf8,               "bad_input/lines.rs: invalid UTF-8"),
    (Code::JsonSyntax,             "bad_input/lines.rs: malformed JSON"),
    (Code::JsonDuplicateKey,       "bad_input/lines.rs: a key twice"),
    (Code::JsonNumber,             "bad_input/lines.rs: 2^53"),
    (Code::JsonDepth,              "bad_input/lines.rs: 100 000 levels"),
    (Code::Schema,                 "bad_input/lines.rs: a wrong type"),
    (Code::Envelope,               "bad_input/lines.rs: another payload type"),
    (Code::SignatureInvalid,       "bad_input/acts.rs: an act whose signature does not fit"),
    (Code::Frozen,                 "the_freeze_is_asked_first.txt"),
    (Code::KeyUnknown,             "nobody_squats_an_id.txt"),
    (Code::KeyRevoked,             "revocation_is_asked_again_at_dispatch.txt"),
    (Code::TenantMismatch,         "gates.rs: only_trust"),
    (Code::LedgerMismatch,         "bad_input/acts.rs: an act for another ledger"),
    (Code::IntentExpired,          "an_intent_expires.txt"),
    (Code::ExpiryTooFar,           "an_intent_expires.txt"),
    (Code::IdReused,               "other_bytes_under_the_same_id.txt"),
    (Code::RecordEmpty,            "bad_input.rs: over_http_each_has_its_code_and_status_too"),
    (Code::PolicyNone,             "demo.rs: every_scenario_comes_out_as_told_and_the_kept_ledger_holds"),
    (Code::PolicyNoRule,           "the_freeze_is_asked_first.txt"),
    (Code::InputSchema,            "execution.rs: what_a_connector_takes_and_gives_is_pinned"),
    (Code::PolicyInvalid,          "requirements.rs: what_is_silly_is_not_loaded"),
    (Code::OutsideHours,           "gates.rs: only_the_hours"),
    (Code::RateExceeded,           "gates.rs: only_the_rate"),
    (Code::CoolingDown,            "gates.rs: only_the_cool_down"),
    (Code::ProofMissing,           "two_of_three.txt"),
    (Code::ProofError,             "an_error_in_one_branch_does_not_decide.txt"),
    (Code::BudgetExceeded,         "all_budgets_of_a_rule_must_hold.txt"),
    (Code::BudgetError,            "a_gate_that_cannot_tell_refuses.txt"),
    (Code::ApprovalNeeded,         "people_grant_it.txt"),
    (Code::ApprovalDenied,         "one_refuses_it.txt"),
    (Code::ApprovalTimedOut,       "nobody_answers_in_time.txt"),
    (Code::ApprovalError,          "a_gate_that_cannot_tell_refuses.txt"),
    (Code::ApprovalsFull,          "escalation.rs: what_waits_is_bounded"),
    (Code::WindowClosed,           "what_passed_and_did_not_begin.txt"),
    (Code::DispatchRefused,        "audit/dispatch.rs: the_same_execution_intent_twice_is_an_error"),
    (Code::DecisionMissing,        "audit/dispatch.rs: a_missing_decision_is_an_error"),
    (Code::ExecutionIntentMissing, "audit/dispatch.rs: a_missing_execution_intent_is_an_error"),
    (Code::EffectDigest,           "audit/dispatch.rs: an_effect_digest_that_changed_after_the_decision_is_not_carried_out"),
    (Code::ConnectorUnknown,       "audit/dispatch.rs: a_connector_that_is_gone_is_not_called"),
    (Code::ConnectorRefused,       "a_failure_releases_what_was_reserved.txt"),
    (Code::ConnectorUnavailable,   "execution.rs: attempts_end_and_what_never_happened_costs_nothing"),
    (Code::ConnectorUncertain,     "what_is_uncertain_and_happened.txt"),
    (Code::Interrupted,            "a_kill_between_call_and_answer.txt"),
    (Code::OutcomeMissing,         "external.rs: a_deadline_passes_while_nobody_serves"),
    (Code::ConnectorContractDrift, "drift_is_charged.txt"),
    (Code::OutputNotCanonical,     "audit.rs: an_output_without_a_canonical_form_is_uncertain_and_has_a_signed_receipt"),
    (Code::ContentIntegrity,       "audit.rs: a_violation_of_the_content_store_is_an_error"),
    (Code::ReceiptUnknown,         "bad_input/acts.rs: reconciling an unknown receipt"),
    (Code::ActRefused,             "bad_input/acts.rs: an act that has expired"),
    (Code::ApprovalUnknown,        "one_refuses_it.txt"),
    (Code::ApproverInvalid,        "people_grant_it.txt"),
    (Code::OutcomeUnknown,         "external.rs: who_may_report_what_and_that_it_is_told_once"),
    (Code::ReporterInvalid,        "external.rs: who_may_report_what_and_that_it_is_told_once"),
    (Code::ActSigned,              "acts.rs: below_quorum_nothing_is_recorded"),
    (Code::EvidenceInvalid,        "bad_input/acts.rs: evidence by a key without trust"),
    (Code::LogDamaged,             "bad_input/folders.rs: a byte changed, as verify sees it"),
    (Code::LogTail,                "audit/append.rs: a_failed_append_is_a_hard_error_and_nothing_leaves"),
    (Code::LogForked,              "bad_input/folders.rs: the checkpoint of a longer log"),
    (Code::LogLocked,              "bad_input/system.rs: two that serve"),
    (Code::LogMissing,             "bad_input/folders.rs: no folder"),
    (Code::LogExists,              "bad_input/folders.rs: init into a ledger"),
    (Code::LogWrite,               "audit/append.rs: a_failed_append_is_a_hard_error_and_nothing_leaves"),
    (Code::KeyFile,                "audit/keys.rs: no_signing_key_is_an_error_at_start_and_at_export"),
    (Code::SignerFailed,           "audit/keys.rs: a_receipt_that_cannot_be_signed_is_an_error_and_nothing_goes_on_as_if_it_were"),
    (Code::ClockBehind,            "audit/clock.rs: a_clock_that_went_back_stops_the_writer"),
    (Code::ClockJumped,            "audit/clock/shifted.rs: a_jump_forward_stops_the_writer_until_it_is_corrected"),
    (Code::ReplayDiverged,         "audit/dispatch.rs: a_missing_decision_is_an_error"),
    (Code::ViewDamaged,            "codes/views.rs: a_view_with_other_content_is_told_and_comes_back_when_it_is_deleted"),
    (Code::NotFound,               "bad_input/arguments.rs: an unknown intent"),
    (Code::KafkaUnavailable,       "bad_input/system.rs: submit to a Kafka that is not there"),
    (Code::KafkaTopic,             "codes/kafka.rs: a_topic_that_is_not_as_it_was_bound_is_not_read"),
    (Code::KafkaPosition,          "codes/kafka.rs: a_position_beyond_the_end_of_a_topic_is_refused"),
    (Code::KafkaFenced,            "codes/kafka.rs: a_producer_that_was_fenced_ends_the_process"),
    (Code::KafkaAuthentication,    "codes/brokers.rs: a_broker_that_does_not_accept_the_password_is_told_from_one_that_is_away"),
    (Code::KafkaAuthorization,     "codes/brokers.rs: a_broker_that_does_not_allow_it_says_what"),
    (Code::KafkaTls,               "codes/brokers.rs: a_broker_that_cannot_be_trusted_is_told_from_one_that_is_away"),
    (Code::AnswerMissing,          "submit_kafka.rs: submit_hears_decisions_and_refusals_and_does_not_wait_for_ever"),
    (Code::OverQuota,              "codes/kafka.rs: strangers_over_kafka_are_counted_above_their_quota"),
    (Code::Overloaded,             "bad_input/clients.rs: many_large_bodies_at_once_are_refused_and_leave_nothing_behind"),
    (Code::DiskFull,               "disk.rs: what_is_served_outlasts_a_full_disk"),
    (Code::Stopping,               "codes/clients.rs: a_server_that_ends_before_it_answers_is_told"),
    (Code::Unreachable,            "bad_input/system.rs: nobody at the URL"),
    (Code::Usage,                  "bad_input/arguments.rs: an unknown flag"),
    (Code::Secret,                 "bad_input/clusters.rs: a secret whose file is missing"),
    (Code::Config,                 "bad_input/folders.rs: an unknown key in the configuration"),
    (Code::PortBusy,               "bad_input/system.rs: a busy port"),
    (Code::Permission,             "bad_input/system.rs: a segment that this user may not write"),
    (Code::InputFile,              "bad_input/lines.rs: an input file that is not there"),
    (Code::Threads,                "process.rs: a_machine_without_threads_is_told_at_once"),
    (Code::Panicked,               "process.rs: a_fault_in_the_writer_ends_the_process_with_a_report"),
    (Code::Io,                     "bad_input/system.rs: nothing takes the answer"),
];

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).map_err(|e| format!("{path}: {e}"))
}

/// Whether a place is there and speaks of a code.
fn speaks(code: Code, place: &str) -> Result<(), String> {
    let variant = format!("Code::{code:?}");
    // `OK` is a word of other uses, too; `Code::KeyFile` is not in `Code::KeyFileX`.
    let text = if code == Code::Ok { "\"OK\"".to_owned() } else { code.to_string() };
    let says = |source: &str| {
        let whole = |word: &str, at: usize| {
            source[at + word.len()..].chars().next().is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
        };
        [&text, &variant].iter().any(|word| source.match_indices(*word).any(|(at, _)| whole(word, at)))
    };
    let (file, name) = place.split_once(": ").map_or((place, None), |(file, name)| (file, Some(name)));
    let Some(name) = name else {
        let found = |line: &str| line.ends_with(&format!(", {code}")) || line.contains(&format!(", {code}, and"));
        let transcript = read(&format!("tests/transcripts/{file}"))?;
        let lines = transcript.lines().filter(|line| line.starts_with("Then ") || line.starts_with("And "));
        return if lines.into_iter().any(found) { Ok(()) } else { Err(format!("no line of {place} finds {code}")) };
    };
    let source = read(&format!("tests/it/{file}"))?;
    if file.starts_with("bad_input/") && source.contains(&format!("(\"{name}\", {variant}, ")) {
        return Ok(());
    }
    let start = format!("#[test]\nfn {name}() {{\n");
    let body = source.split_once(&start).and_then(|(_, rest)| rest.split_once("\n}\n"));
    let (body, _) = body.ok_or_else(|| format!("{file} has no test or row {name:?} of {code}"))?;
    if says(body) { Ok(()) } else { Err(format!("{place} does not speak of {code}")) }
}

#[test]
fn every_registered_code_is_reached_by_a_test() {
    let listed: Vec<Code> = REACHED.iter().map(|(code, _)| *code).collect();
    assert_eq!(listed, Code::ALL, "each code has its line, in the order of the registry");
    let wrong: Vec<String> = REACHED.iter().filter_map(|(code, place)| speaks(*code, place).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_place_that_is_not_there_or_speaks_of_something_else_is_noticed() {
    assert_eq!(speaks(Code::Ok, "gates.rs: an_intent_that_every_gate_lets_pass"), Ok(()));
    for (code, place) in [
        (Code::Frozen, "gates.rs: an_intent_that_every_gate_lets_pass"),
        (Code::Frozen, "gates.rs: no_such_test"),
        (Code::Frozen, "no_such_file.rs: only_the_freeze"),
        (Code::Frozen, "drift_is_charged.txt"),
        (Code::Frozen, "bad_input/lines.rs: 2^53"),
        (Code::JsonNumber, "bad_input/lines.rs: 2^99"),
        // A function that is no test.
        (Code::Ok, "gates.rs: strict"),
    ] {
        assert!(speaks(code, place).is_err(), "{code}: {place}");
    }
}
