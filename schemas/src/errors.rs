//! The one registry of codes: what went wrong, whose part it was, and what a caller may do about it.
//!
//! Codes are never reused or renamed (`schemas/v1/error-codes.json` is the golden copy, `docs/errors.md` the page for people).
//! A new one is a line in the table below; tests hold that each is emitted somewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a caller knows after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Nothing is wrong.
    Fine,
    /// It did not happen; a retry is safe.
    Determinate,
    /// It may have happened; find out first.
    Indeterminate,
    /// It did not happen and the same input never will.
    Final,
    /// The process must stop, or must not start; an operator is needed.
    Stop,
}

/// Which part of the system speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Bytes at the edge.
    Input,
    /// Who is asking.
    Trust,
    /// The Guardian.
    Policy,
    /// The Executor and its connectors.
    Execution,
    /// The log, its files and its signatures.
    Log,
    /// Kafka.
    Kafka,
    /// Views, replay.
    Derived,
    /// The command line and the configuration.
    Operation,
}

/// One line of the registry.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Entry {
    /// The code as everybody sees it.
    pub code: &'static str,
    /// Which part speaks.
    pub domain: Domain,
    /// What the caller knows.
    pub class: Class,
    /// The HTTP status of a problem document with this code (RFC 9457).
    pub http: u16,
    /// The exit status of `writ` when this code ends it: 1 a negative answer, 2 could not run.
    pub exit: u8,
    /// What it means.
    pub message: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! registry {
    ($($variant:ident $text:literal $domain:ident $class:ident $http:literal $exit:literal $message:literal $remedy:literal;)*) => {
        /// A registered code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $message] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the registry.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// This code's line of the registry.
            #[must_use]
            pub const fn entry(self) -> Entry {
                match self {
                    $(Code::$variant => Entry {
                        code: $text, domain: Domain::$domain, class: Class::$class,
                        http: $http, exit: $exit, message: $message, remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

registry! {
    Ok "OK" Policy Fine 200 0
        "every gate passed" "nothing to do";

    TooLarge "ERR_TOO_LARGE" Input Final 413 1
        "the document is larger than the limit" "send less than 1 MiB; put large content in a store and send its digest";
    RequestIncomplete "ERR_REQUEST_INCOMPLETE" Input Determinate 408 1
        "the request did not arrive whole and in time" "send it again in one go; many lines as several smaller bodies";
    ContentType "ERR_CONTENT_TYPE" Input Final 415 1
        "the body is of a kind that is not read here" "send application/json, or intents as application/x-ndjson; not compressed";
    Method "ERR_METHOD" Input Final 405 1
        "the route does not take this method" "the header Allow names those that it takes";
    Misdirected "ERR_MISDIRECTED" Input Final 421 1
        "the request names another host than this listener is" "ask by the address that writ serve prints, or name the host: --http-host";
    JsonUtf8 "ERR_JSON_UTF8" Input Final 400 1
        "the bytes are not UTF-8" "encode the document as UTF-8";
    JsonSyntax "ERR_JSON_SYNTAX" Input Final 400 1
        "the bytes are not JSON" "send one JSON text (RFC 8259)";
    JsonDuplicateKey "ERR_JSON_DUPLICATE_KEY" Input Final 400 1
        "an object has the same key twice" "send each key once";
    JsonNumber "ERR_JSON_NUMBER" Input Final 400 1
        "a number that not every reader holds exactly" "send integers within 2^53 - 1, larger ones as text";
    JsonDepth "ERR_JSON_DEPTH" Input Final 400 1
        "the document is nested too deeply" "nest at most 32 levels";
    Schema "ERR_SCHEMA" Input Final 400 1
        "the document does not have the shape that its kind asks for" "compare it with schemas/v1";
    Envelope "ERR_ENVELOPE" Input Final 400 1
        "not a DSSE envelope of the expected payload type" "wrap the document as DSSE JSON with its payloadType";
    SignatureInvalid "ERR_SIGNATURE_INVALID" Trust Final 401 1
        "the signature does not fit the bytes and the key" "sign the DSSE pre-authentication encoding with the key that keyid names";

    Frozen "ERR_FROZEN" Policy Determinate 503 1
        "the ledger is frozen" "wait until an operator thaws it, then submit under a new id";
    KeyUnknown "ERR_KEY_UNKNOWN" Trust Final 401 1
        "the signing key is not trusted by this ledger" "have an operator trust the key: writ key trust";
    KeyRevoked "ERR_KEY_REVOKED" Trust Final 401 1
        "the signing key was revoked" "sign with a key in force";
    TenantMismatch "ERR_TENANT_MISMATCH" Trust Final 403 1
        "the key is not trusted for this tenant and principal" "submit as the tenant and principal of the key";
    LedgerMismatch "ERR_LEDGER_MISMATCH" Trust Final 409 1
        "the document belongs to another ledger" "address the ledger whose id writ init printed";
    IntentExpired "ERR_INTENT_EXPIRED" Input Final 410 1
        "the intent's expires_at has passed" "submit a new intent";
    ExpiryTooFar "ERR_EXPIRY_TOO_FAR" Input Final 400 1
        "expires_at is more than 7 days ahead" "choose an earlier expires_at";
    IdReused "ERR_ID_REUSED" Input Final 409 1
        "the id was used before for other content" "choose a new id";
    RecordEmpty "ERR_RECORD_EMPTY" Input Final 400 1
        "the record has no value" "send an intent as the record's value";

    PolicyNone "ERR_POLICY_NONE" Policy Final 403 1
        "no policy is in force" "activate a policy: writ policy activate";
    PolicyNoRule "ERR_POLICY_NO_RULE" Policy Final 403 1
        "the policy in force has no rule for this action" "add a rule for the action, or use another action";
    InputSchema "ERR_INPUT_SCHEMA" Policy Final 400 1
        "the args do not have the shape that the connector takes" "compare them with input_schema in the policy bundle";
    PolicyInvalid "ERR_POLICY_INVALID" Policy Final 400 1
        "the policy bundle is not valid" "run writ policy check on it";
    OutsideHours "ERR_OUTSIDE_HOURS" Policy Determinate 403 1
        "the action is not allowed at this hour" "submit under a new id when it is allowed";
    RateExceeded "ERR_RATE_EXCEEDED" Policy Determinate 429 1
        "the principal asks for this action too often" "wait as long as the decision says, then submit under a new id";
    CoolingDown "ERR_COOLING_DOWN" Policy Determinate 429 1
        "the principal pauses after too many refusals" "mend the cause of the refusals; wait as long as the decision says, then submit under a new id";
    ProofMissing "ERR_PROOF_MISSING" Policy Final 403 1
        "the proof requirement of the action is not met" "register the missing evidence and name it in a new intent";
    ProofError "ERR_PROOF_ERROR" Policy Final 403 1
        "it cannot be told whether the requirement is met" "writ policy explain shows the part that failed; mend the policy, or the arguments";
    BudgetExceeded "ERR_BUDGET_EXCEEDED" Policy Final 403 1
        "the budget cannot hold the cost of this intent" "wait for reservations to end, or raise the budget by policy";
    BudgetError "ERR_BUDGET_ERROR" Policy Final 403 1
        "the cost of this intent cannot be told" "give the cost where the policy looks for it, as an integer that is not negative";

    ApprovalNeeded "ERR_APPROVAL_NEEDED" Policy Determinate 202 1
        "people are asked before this is decided" "wait: it is decided again when enough have granted it, one has refused it, or the deadline has passed";
    ApprovalDenied "ERR_APPROVAL_DENIED" Policy Final 403 1
        "an approver refused it" "ask the approver; submit a new intent";
    ApprovalTimedOut "ERR_APPROVAL_TIMED_OUT" Policy Final 403 1
        "too few have approved it in time" "submit a new intent, and tell the approvers";
    ApprovalError "ERR_APPROVAL_ERROR" Policy Final 403 1
        "it cannot be told whether people must be asked" "mend the expression of the rule, or the arguments";
    ApprovalsFull "ERR_APPROVALS_FULL" Policy Determinate 429 1
        "the tenant has as many intents waiting for approval as it may, or the intent is too large to wait" "answer those that wait: writ approvals list; then submit under a new id";

    WindowClosed "ERR_WINDOW_CLOSED" Execution Final 409 1
        "the window of the execution intent is over" "submit a new intent";
    DispatchRefused "ERR_DISPATCH_REFUSED" Execution Final 409 1
        "the decision cannot be dispatched: frozen, revoked or dispatched before" "look at the ledger's entries after the decision";
    DecisionMissing "ERR_DECISION_MISSING" Execution Final 404 1
        "there is no decision to act on" "submit an intent first";
    ExecutionIntentMissing "ERR_EXECUTION_INTENT_MISSING" Execution Final 409 1
        "the decision authorises no execution" "only a PASS decision can be executed";
    EffectDigest "ERR_EFFECT_DIGEST" Execution Final 409 1
        "the effect is not the one that was decided" "report this: the ledger's content is not what was signed";
    ConnectorUnknown "ERR_CONNECTOR_UNKNOWN" Execution Final 409 1
        "the connector is not in the policy in force" "add the connector to the policy bundle";
    ConnectorRefused "ERR_CONNECTOR_REFUSED" Execution Final 502 1
        "the connector answered that it did nothing" "mend the cause it names, submit a new intent";
    ConnectorUnavailable "ERR_CONNECTOR_UNAVAILABLE" Execution Determinate 503 1
        "the connector could not be reached, or said that it did nothing yet" "submit a new intent when it is back; a policy can have it tried again";
    ConnectorUncertain "ERR_CONNECTOR_UNCERTAIN" Execution Indeterminate 504 1
        "the connector's answer did not come or says nothing certain" "find out by the idempotency key, then writ reconcile";
    Interrupted "ERR_INTERRUPTED" Execution Indeterminate 504 1
        "the process ended between dispatch and receipt" "find out by the idempotency key, then writ reconcile";
    OutcomeMissing "ERR_OUTCOME_MISSING" Execution Indeterminate 504 1
        "the outcome was not reported in time" "have it reported late, or find out by the idempotency key, then writ reconcile";
    ConnectorContractDrift "ERR_CONNECTOR_CONTRACT_DRIFT" Execution Indeterminate 502 1
        "the connector's output does not have its pinned shape" "compare the output with the schema in the policy bundle";
    OutputNotCanonical "ERR_OUTPUT_NOT_CANONICAL" Execution Indeterminate 502 1
        "the connector's output is not strict JSON" "mend the connector: one I-JSON text, no duplicate keys";
    ContentIntegrity "ERR_CONTENT_INTEGRITY" Execution Stop 500 1
        "stored content is missing or not what its digest says" "restore the content folder from a backup";
    ReceiptUnknown "ERR_RECEIPT_UNKNOWN" Execution Final 404 1
        "there is no uncertain receipt with this digest" "writ show names the receipt";

    ActRefused "ERR_ACT_REFUSED" Trust Final 403 1
        "the statement is not signed by a quorum of operators, or has expired" "sign it with the operator keys of genesis";
    ApprovalUnknown "ERR_APPROVAL_UNKNOWN" Trust Final 404 1
        "no intent with this digest waits for approval" "writ approvals list shows what waits";
    ApproverInvalid "ERR_APPROVER_INVALID" Trust Final 403 1
        "the signer may not answer for this intent, or has answered" "sign with a key in the role that the policy asks, of somebody else than the one who asks";
    OutcomeUnknown "ERR_OUTCOME_UNKNOWN" Trust Final 404 1
        "no outcome is awaited of this decision" "writ outcome list shows what is; an outcome is told once";
    ReporterInvalid "ERR_REPORTER_INVALID" Trust Final 403 1
        "the signer may not report this outcome" "sign with a key in the role that the connector names";
    ActSigned "ERR_ACT_SIGNED" Trust Final 409 1
        "this key has signed the act already" "hand the file to another operator, or submit it: writ act submit";
    EvidenceInvalid "ERR_EVIDENCE_INVALID" Trust Final 403 1
        "the evidence has expired or its signer is not trusted for its tenant" "have a trusted key sign it anew";

    LogDamaged "ERR_LOG_DAMAGED" Log Stop 500 1
        "the log is damaged" "restore the folder from a backup; do not edit it";
    LogTail "ERR_LOG_TAIL" Log Stop 500 1
        "the log ends in an incomplete batch" "open it for writing: the incomplete batch, never acknowledged, is cut and recorded";
    LogForked "ERR_LOG_FORKED" Log Stop 409 1
        "the log does not extend its checkpoint" "this folder is an older or another copy: find the newest one";
    LogLocked "ERR_LOG_LOCKED" Log Determinate 503 2
        "another process writes this log" "use that process, or stop it";
    LogMissing "ERR_LOG_MISSING" Log Stop 404 2
        "there is no ledger in this folder" "create one: writ init --data DIR";
    LogExists "ERR_LOG_EXISTS" Log Final 409 2
        "the folder already holds something" "choose a new or empty folder";
    LogWrite "ERR_LOG_WRITE" Log Stop 507 2
        "the log could not be written" "free space or mend the disk, then start again; nothing unacknowledged was promised";
    KeyFile "ERR_KEY_FILE" Log Stop 500 2
        "a key file cannot be used: it is missing, no key, open to others, or shut by a passphrase" "restore or name the file, chmod 600 it, or name the file of its passphrase: passphrase_file in writ.toml, or WRIT_PASSPHRASE_FILE";
    SignerFailed "ERR_SIGNER_FAILED" Log Stop 500 2
        "the signing command gave no signature that can be used" "mend the command that writ.toml names, then start again; nothing unsigned was written";
    ClockBehind "ERR_CLOCK_BEHIND" Log Stop 503 2
        "the clock is behind the last entry by more than the limit" "mend the machine's clock, then start again; if the clock is right: writ clock";
    ClockJumped "ERR_CLOCK_JUMPED" Log Stop 503 2
        "the clock was set while the machine ran" "mend the machine's clock, then start again; if the clock is right: writ clock";
    ReplayDiverged "ERR_REPLAY_DIVERGED" Derived Stop 500 1
        "replay decided otherwise than the log says" "the entry named is forged, or was decided by other software: keep the folder as evidence";
    ViewDamaged "ERR_VIEW_DAMAGED" Derived Stop 500 2
        "a view is damaged or from another ledger" "delete the views folder: it is rebuilt from the log";
    NotFound "ERR_NOT_FOUND" Derived Final 404 1
        "there is no such thing in this ledger" "check the tenant and the id";

    KafkaUnavailable "ERR_KAFKA_UNAVAILABLE" Kafka Determinate 503 2
        "Kafka did not answer" "check the address and that the broker runs";
    KafkaTopic "ERR_KAFKA_TOPIC" Kafka Stop 409 2
        "a topic is missing, or not the one that was bound" "create topics with writ init --kafka; a new topic or partition count is bound by a signed act";
    KafkaPosition "ERR_KAFKA_POSITION" Kafka Stop 409 2
        "the log knows offsets that the broker does not have" "this is another cluster or an older copy of the topic";
    KafkaFenced "ERR_KAFKA_FENCED" Kafka Stop 409 2
        "another process publishes for this ledger" "run one writer a ledger";
    KafkaAuthentication "ERR_KAFKA_AUTHENTICATION" Kafka Stop 503 2
        "Kafka does not accept who this is" "mend the user, the password, the token or the client certificate in the table [kafka]; what was written is safe";
    KafkaAuthorization "ERR_KAFKA_AUTHORIZATION" Kafka Stop 503 2
        "Kafka does not allow this user what it must do" "grant the right that is named: docs/kafka.md has all of them";
    KafkaTls "ERR_KAFKA_TLS" Kafka Stop 503 2
        "no TLS connection to Kafka that can be trusted" "compare ssl.ca.location with who signed the broker's certificate, its names with the address, and its dates with today";
    AnswerMissing "ERR_ANSWER_MISSING" Kafka Indeterminate 504 2
        "no answer came over Kafka in time" "see that the ledger is served and bound to the topic; sending the same again is safe";

    OverQuota "ERR_OVER_QUOTA" Kafka Final 429 1
        "records that nobody who is trusted signed were counted and not kept" "find out who writes them; they are above what their partition may cost";
    Overloaded "ERR_OVERLOADED" Operation Determinate 429 1
        "the queue is full" "send again later";
    DiskFull "ERR_DISK_FULL" Operation Determinate 503 2
        "the disk has no room for it" "free space on the ledger's disk: what serves it goes on by itself; then send it again";
    Stopping "ERR_STOPPING" Operation Determinate 503 1
        "the ledger is shutting down" "send again after the restart; the answer will be the same";
    Unreachable "ERR_UNREACHABLE" Operation Determinate 503 2
        "nobody answers at the address" "check the address, and that the ledger is served there; submitting again is safe";
    Usage "ERR_USAGE" Operation Final 400 2
        "the command cannot be understood" "writ help COMMAND shows an example";
    Secret "ERR_SECRET" Operation Final 400 2
        "a secret that the configuration names cannot be had" "mend what is named: the file, which is chmod 600, the variable, or the command";
    Config "ERR_CONFIG" Operation Final 400 2
        "the configuration cannot be used" "mend the line that is named";
    PortBusy "ERR_PORT_BUSY" Operation Determinate 503 2
        "the address cannot be listened on" "choose another address, or stop what uses it";
    Permission "ERR_PERMISSION" Operation Final 403 2
        "the operating system denies access" "give this user access to the file or folder";
    InputFile "ERR_INPUT_FILE" Operation Final 400 2
        "an input file cannot be read" "check the path";
    Threads "ERR_THREADS" Operation Determinate 503 2
        "the machine gives this process no more threads" "raise the limit (ulimit -u, pids.max), or end what uses it up";
    Panicked "ERR_PANICKED" Operation Stop 500 2
        "a fault in this program" "send in what stands above this line; what was acknowledged is in the log";
    Io "ERR_IO" Operation Stop 500 2
        "reading or writing failed" "see the cause; mend it and start again";
}

impl Code {
    /// The code as everybody sees it: `ERR_...`, or `OK`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.entry().code
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not in the registry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a registered code")]
pub struct UnknownCode;

impl FromStr for Code {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Code, UnknownCode> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(UnknownCode)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Code, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_consistent() {
        for (at, code) in Code::ALL.iter().enumerate() {
            let entry = code.entry();
            assert_eq!(Code::ALL.iter().position(|other| other.as_str() == entry.code), Some(at), "{code} twice");
            assert_eq!(entry.code.parse(), Ok(*code));
            assert!(entry.exit <= 2 && (*code == Code::Ok) == (entry.exit == 0), "{code}");
            assert!(!entry.message.is_empty() && !entry.remedy.is_empty());
        }
    }
}
