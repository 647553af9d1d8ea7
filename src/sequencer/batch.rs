//! A batch on its way to the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use tokio::sync::oneshot;

use writ_kernel::policy::Policy;
use writ_schemas::dsse::{Signature, ToSign};
use writ_schemas::entry::{Chain, Entry, SALT_LEN};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::{Seq, UnixMicros};

use super::{Answer, BATCH_BYTES};
use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::folder;
use crate::signer::Signer;
use crate::telemetry::facts;

/// What a batch is made of, until it is durable.
pub(super) struct Batch {
    pub(super) now: UnixMicros,
    pub(super) began: Stopwatch,
    pub(super) events: Vec<Event>,
    pub(super) bytes: usize,
    pub(super) replies: Vec<(oneshot::Sender<Answer>, Reply)>,
    /// The intents that are answered by it, for those who observe.
    pub(super) intents: Vec<facts::Intent>,
    /// Dispatches that come again later, and how long they wait.
    pub(super) later: Vec<(Seq, Duration)>,
    /// The policies that came in force, in their order: later ones do not speak for what was dispatched before them.
    pub(super) policies: VecDeque<Arc<Policy>>,
    /// Who signs what comes after it, where that is another.
    pub(super) next_signer: Option<Signer>,
}

impl Batch {
    /// An empty one.
    pub(super) fn at(now: UnixMicros) -> Batch {
        Batch {
            now,
            began: Stopwatch::start(),
            events: Vec::new(),
            bytes: 0,
            replies: Vec::new(),
            intents: Vec::new(),
            later: Vec::new(),
            policies: VecDeque::new(),
            next_signer: None,
        }
    }

    /// Whether nothing more should be put into it.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }

    /// A dispatch is to be asked for again at `until`.
    pub(super) fn wait(&mut self, decision: Seq, until: UnixMicros) {
        self.later.push((decision, Duration::from_micros(until.0.saturating_sub(self.now.0))));
    }
}

/// An answer that may still need its signature.
pub(super) enum Reply {
    /// By the event at this place of the batch.
    Decided(usize),
    Known(Answer),
}

/// Signs what is signed by the ledger, and encodes everything, on every core. A command is asked before that: it answers one
/// after the other.
pub(super) fn sign_and_encode(events: &mut [Event], signer: &mut Signer) -> Result<Vec<(EventKind, Vec<u8>)>> {
    let held = match signer {
        Signer::Held(key) => Some(&**key),
        Signer::Command(command) => {
            command.sign_all(&mut events.iter_mut().filter_map(to_sign).collect::<Vec<_>>())?;
            None
        }
    };
    events
        .par_iter_mut()
        .with_min_len(4)
        .map(|event| {
            if let (Some(key), Some(document)) = (held, to_sign(event)) {
                document.attach(Signature { key: key.id(), bytes: key.sign(&document.message()) });
            }
            let payload = event.to_payload().map_err(|e| Failure::new(Code::LogWrite, e))?;
            Ok((event.kind(), payload))
        })
        .collect()
}

/// What the ledger itself signs in an event.
fn to_sign(event: &mut Event) -> Option<&mut dyn ToSign> {
    match event {
        Event::DecisionMade(decision) => Some(decision),
        Event::ReceiptIssued(issued) => Some(&mut issued.receipt),
        _ => None,
    }
}

/// Puts encoded events in their places.
///
/// # Errors
/// The operating system has no random bytes for the salts.
pub fn chain_up(chain: &mut Chain, now: UnixMicros, payloads: Vec<(EventKind, Vec<u8>)>) -> Result<Vec<Entry>> {
    let salts: Vec<[u8; SALT_LEN]> = folder::random_many(payloads.len())?;
    let places = payloads.into_iter().zip(salts);
    Ok(places.map(|((kind, payload), salt)| chain.append(kind, now, salt, payload)).collect())
}

/// About how long an event's payload is; signatures and lengths are small beside the documents.
pub(super) fn approximate_len(event: &Event) -> usize {
    const AROUND: usize = 512;
    let document = match event {
        Event::IntentAdmitted(admitted) => admitted.intent.payload().len(),
        Event::DecisionMade(decision) => decision.payload().len(),
        Event::ReceiptIssued(issued) => issued.receipt.payload().len() + issued.output.as_ref().map_or(0, Vec::len),
        Event::EvidenceRegistered(evidence) => evidence.payload().len(),
        other => other.act().map_or(0, |act| act.payload().len()),
    };
    AROUND + document
}
