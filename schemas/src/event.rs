//! What happened: the closed enum of events, and the one encoding of each.
//!
//! The encoding is `bincode` 2 with fixed-width little-endian integers, and lives in this module only. It accepts trailing
//! bytes, and a hostile length could ask for any amount of memory, so decoding has a limit, must consume everything, and
//! must encode to the same bytes again.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::decision::Decision;
use crate::dsse::Signed;
use crate::entry::PAYLOAD_BYTES_MAX;
use crate::errors::Code;
use crate::evidence::Evidence;
use crate::genesis::Genesis;
use crate::ids::{Digest, Name, Seq, UnixMicros};
use crate::intent::Intent;
use crate::receipt::Receipt;
use crate::strict::Refusal;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $tag:literal,)*) => {
        /// The kinds of events. Every tag is reserved from the start and never reused; a payload is defined when something
        /// emits it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind { $($(#[$doc])* $name,)* }

        impl EventKind {
            /// Every kind, by tag.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)*];

            /// The number that stands for it in a header.
            #[must_use]
            pub const fn tag(self) -> u16 {
                match self { $(EventKind::$name => $tag,)* }
            }

            /// The kind of a tag.
            #[must_use]
            pub const fn from_tag(tag: u16) -> Option<EventKind> {
                match tag { $($tag => Some(EventKind::$name),)* _ => None }
            }

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => stringify!($name),)* }
            }
        }
    };
}

kinds! {
    /// Entry 0.
    LedgerOpened = 1,
    /// An intent was taken in; its decision is the next entry.
    IntentAdmitted = 2,
    /// A record became no intent.
    RecordRefused = 3,
    /// Intake moved on over records that added no entry.
    SourceAdvanced = 4,
    /// The Guardian answered.
    DecisionMade = 5,
    /// An execution intent was used up; the connector may be called.
    DispatchStarted = 6,
    /// An execution ended.
    ReceiptIssued = 7,
    /// It became known what became of an uncertain one, or of one that is carried out outside.
    OutcomeReconciled = 8,
    /// Evidence was registered.
    EvidenceRegistered = 9,
    /// An approver answered.
    ApprovalRecorded = 10,
    /// Nobody may approve an intent any more, or an outcome was not reported in time.
    DeadlinePassed = 11,
    /// A policy bundle came in force.
    PolicyActivated = 12,
    /// A key is trusted.
    KeyTrusted = 13,
    /// A key is not trusted any more.
    KeyRevoked = 14,
    /// The ledger's own key changed.
    LedgerKeyRotated = 15,
    /// Reserved: a budget changed outside of policy.
    BudgetSet = 16,
    /// Everything is refused from here on.
    Frozen = 17,
    /// Until here.
    Thawed = 18,
    /// Reserved: a meter was declared.
    MeterDeclared = 19,
    /// Reserved: usage was corrected.
    UsageAdjusted = 20,
    /// Reserved: a billing period was sealed.
    PeriodSealed = 21,
    /// The hash of the state before this entry.
    StateHashed = 22,
    /// An earlier checkpoint.
    CheckpointSigned = 23,
    /// Operators said what time it is.
    ClockAdjusted = 24,
    /// An incomplete batch was cut at opening.
    TailCut = 25,
    /// Partitions were bound to this ledger.
    PartitionsBound = 26,
    /// Records were gone before they were read.
    SourceGap = 27,
    /// Records that nobody who is trusted signed, above the quota of their partition, were counted.
    RecordsOverQuota = 28,
    /// A dispatch that certainly did nothing comes again.
    DispatchRetried = 29,
    /// Reserved: a payload was erased by a signed act.
    PayloadErased = 30,
}

/// Where an intent came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The command line, or its socket.
    Local,
    /// The HTTP API.
    Http,
    /// A record of a bound partition.
    Kafka {
        /// Which partition.
        partition: Partition,
        /// Which record of it.
        offset: u64,
    },
}

/// A partition of a bound topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
pub struct Partition {
    /// The topic's id.
    pub topic_id: String,
    /// The partition's number.
    pub number: u32,
}

/// Where intake stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// The offset of the record that is read next.
    pub next: u64,
}

/// A producer's trace context (W3C Trace Context): the text of its `traceparent`.
pub type TraceParent = Option<String>;

/// The longest prefix of a refused record that is kept, in bytes. What nobody signed must not fill the disk.
pub const REFUSED_PREFIX_MAX: usize = 64;

/// An output of at most this many bytes is kept beside its receipt; a longer one goes to the content store, unless it was reported from
/// outside: then it is in the log anyway.
pub const INLINE_OUTPUT_MAX: usize = 4096;

/// An intent, as received.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct IntentAdmitted {
    /// The intent, with the bytes that its producer signed.
    pub intent: Signed<Intent>,
    /// Where it came from.
    pub source: Source,
    /// The producer's trace.
    pub trace: TraceParent,
}

/// A record that became no intent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecordRefused {
    /// Where it came from.
    pub source: Source,
    /// Why, by name.
    pub code: String,
    /// Why, for a person; bounded.
    pub detail: String,
    /// The digest of the record's bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub length: u64,
    /// Its first bytes, at most [`REFUSED_PREFIX_MAX`].
    pub prefix: Vec<u8>,
    /// The tenant and id that it names, where its signature fits and so it has one.
    pub claims: Option<(Name, Name)>,
}

impl RecordRefused {
    /// The record of a refusal of `bytes`.
    #[must_use]
    pub fn new(source: Source, refusal: Refusal, bytes: &[u8], claims: Option<(Name, Name)>) -> RecordRefused {
        RecordRefused {
            source,
            code: refusal.code.as_str().to_owned(),
            detail: refusal.detail,
            digest: Digest::of(bytes),
            length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            prefix: bytes.iter().take(REFUSED_PREFIX_MAX).copied().collect(),
            claims,
        }
    }

    /// What is published on `writ.refusals.v1`: source, code, detail, digest and length, as canonical JSON.
    #[must_use]
    pub fn to_json(&self, seq: Seq) -> serde_json::Value {
        serde_json::json!({
            "claims": self.claims.as_ref().map(|(tenant, id)| serde_json::json!({"tenant": tenant, "id": id})),
            "code": self.code,
            "detail": self.detail,
            "digest": self.digest,
            "length": self.length,
            "seq": seq,
            "source": self.source,
        })
    }
}

/// An ending, with the output where it is short.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ReceiptIssued {
    /// The receipt.
    pub receipt: Signed<Receipt>,
    /// The canonical output, if it has at most [`INLINE_OUTPUT_MAX`] bytes or was reported; its digest is in the receipt.
    pub output: Option<Vec<u8>>,
}

/// A dispatch that certainly did nothing, and comes again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DispatchRetried {
    /// The entry of the decision.
    pub decision: Seq,
    /// How many attempts were made.
    pub attempts: u32,
    /// From when on the next one may be made.
    pub due: UnixMicros,
    /// Why the last one failed, for a person; bounded.
    pub because: String,
    /// For how long the connector asked not to be called again, in microseconds from the event on; 0 if it asked nothing.
    pub asked_us: u64,
}

/// What was cut.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TailCut {
    /// The segment's number.
    pub segment: u64,
    /// The first byte that was zeroed.
    pub offset: u64,
    /// How many bytes, up to the last that was not zero.
    pub bytes: u64,
}

/// Records that were gone before they were read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SourceGap {
    /// The partition.
    pub partition: Partition,
    /// The offset that was to be read next.
    pub expected: u64,
    /// The first offset that the broker still has.
    pub found: u64,
}

/// Records of one partition that became no intent and have no entry of their own. Others that lie between them may have one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RecordsOverQuota {
    /// The partition.
    pub partition: Partition,
    /// The offset of the first of them.
    pub first: u64,
    /// The offset after the last of them.
    pub next: u64,
    /// How many they are, at least 1.
    pub count: u64,
}

impl RecordsOverQuota {
    /// Whether so many can lie there.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.count > 0 && self.next.checked_sub(self.first).is_some_and(|room| self.count <= room)
    }

    /// What is published on `writ.refusals.v1`, as canonical JSON.
    #[must_use]
    pub fn to_json(&self, seq: Seq) -> serde_json::Value {
        let RecordsOverQuota { partition, first, next, count } = self;
        let code = Code::OverQuota;
        serde_json::json!({
            "code": code, "count": count, "first": first, "next": next, "partition": partition, "seq": seq,
        })
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident($payload:ty),)*) => {
        /// What happened. See [`EventKind`] for what each means.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event { $($(#[$doc])* $name($payload),)* }

        impl Event {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> EventKind {
                match self { $(Event::$name(_) => EventKind::$name,)* }
            }

            /// The payload bytes that an entry commits to.
            ///
            /// # Errors
            /// None in practice: encoding to memory cannot fail for these types.
            pub fn to_payload(&self) -> Result<Vec<u8>, bincode::error::EncodeError> {
                match self { $(Event::$name(payload) => bincode::encode_to_vec(payload, ENCODING),)* }
            }

            /// The event of a payload.
            ///
            /// # Errors
            /// `ERR_LOG_DAMAGED`: not the one encoding of an event of this kind, or a kind that nothing emits yet.
            pub fn from_payload(kind: EventKind, payload: &[u8]) -> Result<Event, Refusal> {
                match kind {
                    $(EventKind::$name => decode::<$payload>(payload).map(Event::$name),)*
                    _ => Err(Refusal::new(Code::LogDamaged, format!("{} has no payload yet", kind.as_str()))),
                }
            }
        }
    };
}

events! {
    /// Entry 0.
    LedgerOpened(Signed<Genesis>),
    /// An intent, as received.
    IntentAdmitted(IntentAdmitted),
    /// A record that became no intent.
    RecordRefused(RecordRefused),
    /// Where intake stands, for partitions that have moved on without an entry.
    SourceAdvanced(Vec<Position>),
    /// The answer to the intent of the entry before.
    DecisionMade(Signed<Decision>),
    /// The seq of the decision that is dispatched.
    DispatchStarted(Seq),
    /// An ending.
    ReceiptIssued(ReceiptIssued),
    /// What became of one, by operators or by who carried it out.
    OutcomeReconciled(Signed<Act>),
    /// A statement of evidence.
    EvidenceRegistered(Signed<Evidence>),
    /// What an approver said of an intent that waits.
    ApprovalRecorded(Signed<Act>),
    /// The digest of an intent that nobody may approve any more, or of a decision whose outcome was not reported in time.
    DeadlinePassed(Digest),
    /// By operators.
    PolicyActivated(Signed<Act>),
    /// By operators.
    KeyTrusted(Signed<Act>),
    /// By operators.
    KeyRevoked(Signed<Act>),
    /// By operators, the old key and the new one.
    LedgerKeyRotated(Signed<Act>),
    /// By operators.
    ClockAdjusted(Signed<Act>),
    /// By operators.
    Frozen(Signed<Act>),
    /// By operators.
    Thawed(Signed<Act>),
    /// The hash of the state after the entry before this one.
    StateHashed(Digest),
    /// The text of a signed note.
    CheckpointSigned(String),
    /// What was cut.
    TailCut(TailCut),
    /// By operators.
    PartitionsBound(Signed<Act>),
    /// What was missed.
    SourceGap(SourceGap),
    /// How many, and between which records.
    RecordsOverQuota(RecordsOverQuota),
    /// What comes again.
    DispatchRetried(DispatchRetried),
}

impl Event {
    /// The administrative act that it records, if it records one. Who treats every act alike asks here, so that a new act is
    /// found by all of them.
    #[must_use]
    pub fn act(&self) -> Option<&Signed<Act>> {
        match self {
            Event::OutcomeReconciled(act)
            | Event::ApprovalRecorded(act)
            | Event::PolicyActivated(act)
            | Event::KeyTrusted(act)
            | Event::KeyRevoked(act)
            | Event::LedgerKeyRotated(act)
            | Event::Frozen(act)
            | Event::Thawed(act)
            | Event::ClockAdjusted(act)
            | Event::PartitionsBound(act) => Some(act),
            Event::LedgerOpened(_)
            | Event::IntentAdmitted(_)
            | Event::RecordRefused(_)
            | Event::SourceAdvanced(_)
            | Event::DecisionMade(_)
            | Event::DispatchStarted(_)
            | Event::DispatchRetried(_)
            | Event::ReceiptIssued(_)
            | Event::EvidenceRegistered(_)
            | Event::DeadlinePassed(_)
            | Event::StateHashed(_)
            | Event::CheckpointSigned(_)
            | Event::TailCut(_)
            | Event::SourceGap(_)
            | Event::RecordsOverQuota(_) => None,
        }
    }
}

const ENCODING: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<DECODE_LIMIT>,
> = bincode::config::standard().with_fixed_int_encoding().with_limit::<DECODE_LIMIT>();

/// Bounds what a hostile length can ask for; above every payload, because bincode counts in-memory sizes.
const DECODE_LIMIT: usize = 8 * PAYLOAD_BYTES_MAX;

fn decode<T: Encode + Decode<()>>(payload: &[u8]) -> Result<T, Refusal> {
    let damaged = |why: String| Refusal::new(Code::LogDamaged, why);
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(damaged(format!("a payload of {} bytes", payload.len())));
    }
    let (value, _) = bincode::decode_from_slice::<T, _>(payload, ENCODING).map_err(|e| damaged(e.to_string()))?;
    let again = bincode::encode_to_vec(&value, ENCODING).map_err(|e| damaged(e.to_string()))?;
    if again != payload {
        return Err(damaged("a payload that is not the one encoding of its event".to_owned()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    #[test]
    fn tags_are_1_to_30_in_order() {
        let tags: Vec<u16> = EventKind::ALL.iter().map(|kind| kind.tag()).collect();
        assert_eq!(tags, (1..=30).collect::<Vec<u16>>());
        assert!(EventKind::ALL.iter().all(|kind| EventKind::from_tag(kind.tag()) == Some(*kind)));
    }

    #[test]
    fn every_event_that_can_hold_an_act_gives_it() {
        let act = Act {
            ledger: crate::ids::LedgerId([1; 16]),
            nonce: "n-1".parse().expect("name"),
            expires_at: crate::ids::UnixMicros(1),
            statement: crate::act::Statement::Thaw { principal: None, tenant: None },
        };
        let act = Signed::unsigned(act).expect("JSON").sign(&SecretKey::from_seed(&[1; 32]));
        let payload = Event::Thawed(act.clone()).to_payload().expect("encodes");
        let holders: Vec<Event> =
            EventKind::ALL.iter().filter_map(|kind| Event::from_payload(*kind, &payload).ok()).collect();
        assert!(holders.len() >= 9, "{holders:?}");
        for event in holders {
            assert_eq!(event.act(), Some(&act), "{}", event.kind().as_str());
        }
    }

    #[test]
    fn an_event_has_one_encoding() {
        let evidence = Evidence {
            ledger: crate::ids::LedgerId([1; 16]),
            tenant: "acme".parse().expect("name"),
            kind: "ticket".parse().expect("name"),
            artifact: None,
            effect: None,
            issued_at: crate::ids::UnixMicros(1),
            expires_at: crate::ids::UnixMicros(2),
        };
        let event =
            Event::EvidenceRegistered(Signed::unsigned(evidence).expect("JSON").sign(&SecretKey::from_seed(&[1; 32])));
        let payload = event.to_payload().expect("encodes");
        assert_eq!(Event::from_payload(event.kind(), &payload), Ok(event.clone()));
        let code = |payload: &[u8]| Event::from_payload(event.kind(), payload).map_err(|r| r.code);
        let mut longer = payload.clone();
        longer.push(0);
        assert_eq!(code(&longer), Err(Code::LogDamaged));
        assert_eq!(code(&payload[..payload.len() - 1]), Err(Code::LogDamaged));
        let mut huge = payload.clone();
        huge[..8].fill(0xff);
        assert_eq!(code(&huge), Err(Code::LogDamaged));
        assert!(Event::from_payload(EventKind::PayloadErased, &payload).is_err());
    }
}
