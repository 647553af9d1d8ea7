//! One run: the sequencer's part, played honestly, with every answer held against the model's.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

use writ_kernel::admission;
use writ_kernel::decide::{Identity, decide, decide_again, identify};
use writ_kernel::execution::{self, Dispatch, Ending, conclude};
use writ_kernel::state::State;
use writ_model::documents as plain;
use writ_model::model::Model;
use writ_schemas::decision::{Amount, Decision, Verdict};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, IntentAdmitted, ReceiptIssued, Source};
use writ_schemas::ids::{Digest, Name, Seq, UnixMicros};
use writ_schemas::receipt::Status;
use writ_schemas::strict::Refusal;
use writ_schemas::{act, evidence, intent};

use crate::audit::Audit;
use crate::pools::{LEDGER, Numbers, OPERATORS, QUORUM, genesis, key, word};

/// How many of the last steps are told when a run fails.
const TRACE: usize = 14;

/// How the two differ.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// How often each thing was seen.
pub(crate) type Seen = BTreeMap<String, u64>;

/// An entry as it is read again from its stored bytes.
struct Entry {
    at: UnixMicros,
    event: Event,
}

/// What a crash takes back.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) model: Model,
    audit: Audit,
    /// The digests of receipts, by decision.
    pub(crate) receipts: BTreeMap<u64, Digest>,
    entries: usize,
}

/// A run.
pub(crate) struct Play {
    pub(crate) world: World,
    /// As of the last commit.
    pub(crate) kept: World,
    log: Vec<Entry>,
    /// The time of the batch, in microseconds.
    pub(crate) now: u64,
    pub(crate) numbers: Numbers,
    pub(crate) seen: Seen,
    pub(crate) trace: VecDeque<String>,
}

impl Play {
    /// A ledger with its entry 0.
    pub(crate) fn opened(at: u64) -> Result<Play> {
        let quorum = usize::try_from(QUORUM).expect("small");
        let model = Model::opened(OPERATORS.to_vec(), quorum, at);
        let (state, audit) = (State::default(), Audit::default());
        let world = World { state, model, audit, receipts: BTreeMap::new(), entries: 0 };
        let mut play = Play {
            kept: world.clone(),
            world,
            log: Vec::new(),
            now: at,
            numbers: Numbers::default(),
            seen: Seen::new(),
            trace: VecDeque::new(),
        };
        play.record(Event::LedgerOpened(genesis(at)))?;
        play.level()?;
        play.commit();
        Ok(play)
    }

    /// Counts something that was seen.
    pub(crate) fn saw(&mut self, what: &str, how: &str) {
        *self.seen.entry(format!("{what} {how}")).or_default() += 1;
    }

    /// Notes a step for the trace.
    pub(crate) fn note(&mut self, what: impl Debug) {
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        let (seq, now) = (self.world.state.next().0, self.now);
        let text: String = format!("{what:?}").chars().take(900).collect();
        self.trace.push_back(format!("seq {seq}, now {now}: {text}"));
    }

    /// Ends the batch: it is durable from here on.
    pub(crate) fn commit(&mut self) {
        if self.world.entries > self.kept.entries {
            self.kept = self.world.clone();
        }
    }

    /// Begins a batch at a later time: what is due comes first.
    pub(crate) fn begin(&mut self, now: u64) -> Result<()> {
        self.now = now;
        loop {
            let due = self.world.state.due(UnixMicros(now));
            let expected = self.world.model.due(now);
            let digest = expected.map(|content| self.numbers.digest(content));
            same("what is due", &due, &digest)?;
            let (Some(due), Some(content)) = (due, expected) else { return Ok(()) };
            self.saw("deadline", "passed");
            self.record(Event::DeadlinePassed(due))?;
            let again = self.world.model.pass_deadline(content, now).map(|decision| (content, decision));
            self.decided_again(again)?;
        }
    }

    /// An intent comes in.
    pub(crate) fn submit(&mut self, of: &plain::Intent, document: Signed<intent::Intent>) -> Result<()> {
        let before = self.world.model.sums(self.now);
        let expected = self.world.model.submit(of, self.now);
        let identity = identify(&self.world.state, &document, UnixMicros(self.now));
        self.note(&expected);
        let expected = match (identity, expected) {
            (Identity::New, plain::Submitted::Decided(decision)) => decision,
            (Identity::Known(seq), plain::Submitted::Known(expected)) => {
                self.saw("intent", "KNOWN");
                return same("the decision already given", &seq.0, &expected);
            }
            (Identity::Reused, plain::Submitted::Reused) => {
                self.saw("intent", "ERR_ID_REUSED");
                return Ok(());
            }
            (Identity::Stranger(refusal), plain::Submitted::Stranger(code)) => {
                self.saw("intent", code);
                return same("why it is turned away", &refusal.code.as_str(), &code);
            }
            (kernel, model) => return Err(format!("identity: the kernel says {kernel:?}, the model {model:?}")),
        };
        let (seq, now) = (self.world.state.next(), UnixMicros(self.now));
        let decision = decide(&self.world.state, LEDGER, &document, key(of.key), seq, now, &mut ());
        self.compare(&decision, &expected)?;
        if decision.verdict == Verdict::Fail && decision.execution.is_some() {
            return Err("a FAIL that authorises something".to_owned());
        }
        self.record(Event::IntentAdmitted(IntentAdmitted { intent: document, source: Source::Local, trace: None }))?;
        same("sums after the intent", &self.sums(), &before)?;
        self.record(Event::DecisionMade(execution::document(decision).map_err(|e| e.to_string())?))?;
        self.level()
    }

    /// Evidence comes in.
    pub(crate) fn evidence(&mut self, of: &plain::Evidence, document: &Signed<evidence::Evidence>) -> Result<()> {
        let expected = self.world.model.evidence(of, self.now);
        self.note((of, &expected));
        let admitted = admission::evidence(&self.world.state, document, UnixMicros(self.now));
        self.admit("evidence", admitted, expected)
    }

    /// An act comes in.
    pub(crate) fn act(&mut self, what: &str, of: &plain::Act, document: &Signed<act::Act>) -> Result<()> {
        let expected = self.world.model.act(of, self.now);
        self.note((of, &expected));
        let admitted = admission::act(&self.world.state, document, UnixMicros(self.now));
        self.admit(what, admitted, expected)
    }

    fn admit(
        &mut self,
        what: &str,
        admitted: std::result::Result<Option<Event>, Refusal>,
        expected: plain::Admitted,
    ) -> Result<()> {
        match (admitted, expected) {
            (Err(refusal), plain::Admitted::Refused(code)) => {
                self.saw(what, code);
                same("the code of a refusal", &refusal.code.as_str(), &code)
            }
            (Ok(None), plain::Admitted::Already) => {
                self.saw(what, "ALREADY");
                Ok(())
            }
            (Ok(Some(event)), plain::Admitted::Recorded(again)) => {
                self.saw(what, "RECORDED");
                self.record(event)?;
                self.decided_again(again)
            }
            (kernel, model) => Err(format!("{what}: the kernel says {kernel:?}, the model {model:?}")),
        }
    }

    /// What waited is decided again, if both say so.
    fn decided_again(&mut self, expected: Option<(u32, plain::Decision)>) -> Result<()> {
        let again = decide_again(&self.world.state, LEDGER, UnixMicros(self.now), &mut ());
        let again = again.map(|(intent, decision)| (intent.digest(), decision));
        match (again, expected) {
            (None, None) => {}
            (Some((digest, decision)), Some((content, expected))) => {
                same("which intent is decided again", &digest, &self.numbers.digest(content))?;
                self.note(&expected);
                self.compare(&decision, &expected)?;
                self.record(Event::DecisionMade(execution::document(decision).map_err(|e| e.to_string())?))?;
            }
            (kernel, model) => {
                let kernel = kernel.map(|(_, it)| (it.id, it.verdict, it.code, it.round));
                return Err(format!("decided again: the kernel says {kernel:?}, the model {model:?}"));
            }
        }
        self.level()
    }

    /// The turn of a decision has come.
    pub(crate) fn dispatch(&mut self, decision: u64) -> Result<()> {
        let expected = self.world.model.dispatch(decision, self.now);
        self.note(("dispatch", decision, &expected));
        match (execution::dispatch(&self.world.state, Seq(decision), UnixMicros(self.now)), expected) {
            (Ok(Dispatch::Start), plain::Dispatched::Started) => {
                self.saw("dispatch", "STARTED");
                self.record(Event::DispatchStarted(Seq(decision)))?;
                self.level()
            }
            (Ok(Dispatch::Expire(code)), plain::Dispatched::Expired(expected, receipt)) => {
                self.saw("dispatch", expected);
                same("the code of an expiry", &code.as_str(), &expected)?;
                let ending =
                    Ending { decision: Seq(decision), status: Status::Expired, code, output: None, because: None };
                self.conclude(ending, None, &receipt)
            }
            (Err(refusal), plain::Dispatched::Refused(code)) => {
                self.saw("dispatch", code);
                same("the code of a refusal", &refusal.code.as_str(), &code)
            }
            (kernel, model) => Err(format!("dispatch: the kernel says {kernel:?}, the model {model:?}")),
        }
    }

    /// An execution has ended.
    pub(crate) fn end(&mut self, decision: u64, how: plain::Ended, code: Code, said: plain::Arg) -> Result<()> {
        let has_output = matches!(how, plain::Ended::Succeeded | plain::Ended::Drifted);
        let output = has_output.then(|| match said {
            plain::Arg::Absent => b"{}".to_vec(),
            plain::Arg::Number(said) => format!(r#"{{"cost":{said}}}"#).into_bytes(),
            plain::Arg::Text => br#"{"cost":"7"}"#.to_vec(),
        });
        let status = match how {
            plain::Ended::Succeeded => Status::Succeeded,
            plain::Ended::Drifted | plain::Ended::Failed => Status::Failed,
            plain::Ended::Uncertain => Status::Uncertain,
            plain::Ended::Expired => Status::Expired,
        };
        let digest = output.as_deref().map(Digest::of);
        let ending = Ending { decision: Seq(decision), status, code, output: digest, because: None };
        let expected = self.world.model.end(decision, how, said, self.now);
        self.note(("ended", decision, how, code, said, &expected));
        let refused = conclude(&self.world.state, LEDGER, &ending, output.as_deref(), UnixMicros(self.now)).err();
        match (refused, expected) {
            (None, Ok(receipt)) => {
                self.saw("ended", &format!("{how:?} {code}"));
                self.conclude(ending, output, &receipt)
            }
            (Some(refusal), Err(code)) => {
                self.saw("ended", code);
                same("the code of a refusal", &refusal.code.as_str(), &code)
            }
            (kernel, model) => Err(format!("ended: the kernel says {kernel:?}, the model {model:?}")),
        }
    }

    fn conclude(&mut self, ending: Ending, output: Option<Vec<u8>>, expected: &plain::Receipt) -> Result<()> {
        let receipt = conclude(&self.world.state, LEDGER, &ending, output.as_deref(), UnixMicros(self.now));
        let receipt = receipt.map_err(|e| e.to_string())?;
        same("what is charged", &amounts(&receipt.usage), &expected.usage)?;
        let reserved = self.world.state.open().get(&ending.decision).map(|open| amounts(&open.reservation));
        for (reserved, charged) in reserved.iter().flatten().zip(&expected.usage) {
            match charged.amount.cmp(&reserved.amount) {
                Ordering::Less => self.saw("charged", "less than was reserved"),
                Ordering::Equal => {}
                Ordering::Greater => self.saw("charged", "more than was reserved"),
            }
        }
        same("the place in the session", &receipt.lamport.0, &expected.lamport)?;
        let receipt = execution::document(receipt).map_err(|e| e.to_string())?;
        self.world.receipts.insert(ending.decision.0, receipt.digest());
        self.record(Event::ReceiptIssued(ReceiptIssued { receipt, output }))?;
        self.level()
    }

    /// The process ends, with or without its last batch, and opens the ledger again: from the stored bytes, from zero.
    pub(crate) fn open_again(&mut self) -> Result<()> {
        let lost = self.log.len() - self.kept.entries;
        self.saw("opened again", if lost > 0 { "after a loss" } else { "without loss" });
        self.note(("opened again", lost));
        self.log.truncate(self.kept.entries);
        let mut state = State::default();
        for entry in &self.log {
            state.apply(state.next(), entry.at, &entry.event).map_err(|e| e.to_string())?;
        }
        same("the hash of what was folded again", &state.hash(), &self.kept.state.hash())?;
        if state != self.kept.state {
            return Err("what was folded again has the same hash and is not the same".to_owned());
        }
        self.world = World { state, ..self.kept.clone() };
        Ok(())
    }

    /// What was under way when the process ended: nobody knows what became of it.
    pub(crate) fn interrupt(&mut self) -> Result<()> {
        let under_way = self.world.model.runs.iter().filter(|run| run.dispatched && run.ended.is_none());
        let under_way: Vec<u64> = under_way.map(|run| run.decision).collect();
        let open = self.world.state.open().iter().filter(|(_, open)| open.dispatched_at.is_some());
        same("what is under way", &open.map(|(seq, _)| seq.0).collect::<Vec<_>>(), &under_way)?;
        under_way
            .into_iter()
            .try_for_each(|it| self.end(it, plain::Ended::Uncertain, Code::Interrupted, plain::Arg::Absent))
    }

    /// Puts an event in its place, folds it in, and lets the auditor see it.
    fn record(&mut self, event: Event) -> Result<()> {
        let (seq, at) = (self.world.state.next(), UnixMicros(self.now));
        self.world.state.apply(seq, at, &event).map_err(|fault| format!("{}: {fault}", event.kind().as_str()))?;
        self.world.audit.see(seq.0, at, &event)?;
        let stored = event.to_payload().map_err(|e| e.to_string())?;
        let event = Event::from_payload(event.kind(), &stored).map_err(|e| e.to_string())?;
        self.log.push(Entry { at, event });
        self.world.entries = self.log.len();
        Ok(())
    }

    fn sums(&self) -> Vec<(plain::Word, plain::Word, u64, u64)> {
        let lines = self.world.state.budgets().filter(|(_, _, held, spent)| (*held, *spent) != (0, 0));
        let mut lines: Vec<_> = lines
            .map(|(tenant, budget, held, spent)| (word(tenant.as_str()), word(budget.as_str()), held, spent))
            .collect();
        lines.sort_unstable();
        lines
    }

    /// What can be seen of the state is what the model says, and the auditor.
    fn level(&self) -> Result<()> {
        let World { state, model, audit, .. } = &self.world;
        same("the next entry", &state.next().0, &model.next)?;
        same("the time of the last entry", &state.last_at().0, &model.last_at)?;
        let sums = self.sums();
        same("sums of budgets", &sums, &model.sums(self.now))?;
        let mut held: BTreeMap<(Name, Name), u128> = BTreeMap::new();
        for (tenant, budget, reserved, committed) in state.budgets() {
            *held.entry((tenant.clone(), budget.clone())).or_default() += u128::from(reserved) + u128::from(committed);
        }
        held.retain(|_, sum| *sum > 0);
        same("what is held, by the auditor", &held, &audit.held(UnixMicros(self.now)))?;
        let open: Vec<_> = state.open().iter().map(|(seq, open)| (seq.0, open.dispatched_at.is_some())).collect();
        let runs = model.runs.iter().filter(|run| run.ended.is_none());
        same("what is open", &open, &runs.map(|run| (run.decision, run.dispatched)).collect())?;
        let waits: BTreeSet<Digest> = state.escalated().map(Signed::digest).collect();
        let waiting = model.waiting.iter().map(|it| self.numbers.digest(it.intent.content)).collect();
        same("what waits", &waits, &waiting)
    }

    /// Two decisions about the same.
    fn compare(&mut self, kernel: &Decision, model: &plain::Decision) -> Result<()> {
        let what = if model.round == 0 { "decided" } else { "decided again" };
        let verdict = match model.verdict {
            plain::Verdict::Pass => "PASS",
            plain::Verdict::Fail => "FAIL",
            plain::Verdict::Escalate => "ESCALATE",
        };
        self.saw(what, &format!("{verdict} {}", model.code));
        let answer = (kernel.verdict.as_str(), kernel.code.as_str(), kernel.round);
        let because = |difference| format!("{difference}; the kernel says why: {}", kernel.because);
        same("the decision", &answer, &(verdict, model.code, model.round)).map_err(because)?;
        let execution = kernel.execution.as_ref();
        let reservation = execution.map_or_else(Vec::new, |it| amounts(&it.reservation));
        same("the reservation", &reservation, &model.reservation)?;
        let uses = execution.map_or(&[][..], |it| &it.uses);
        let mut uses: Vec<u32> = uses.iter().map(|digest| self.numbers.of(*digest)).collect();
        uses.sort_unstable();
        same("the evidence that it uses up", &uses, &model.uses)?;
        if !uses.is_empty() {
            self.saw("used up", if uses.len() > 1 { "several pieces" } else { "one piece" });
        }
        if reservation.len() > 1 {
            self.saw("reserved", "out of several budgets");
        }
        for amount in &reservation {
            let how = match (amount.principal, amount.action) {
                (None, None) => "of a tenant",
                (Some(_), None) => "of a principal",
                (None, Some(_)) => "of an action",
                (Some(_), Some(_)) => "of a principal's action",
            };
            self.saw("reserved", how);
            let long = amount.since.zip(amount.until).map(|(since, until)| (until - since) / 3_600_000_000);
            self.saw(
                "reserved",
                match long {
                    None => "for ever",
                    Some(0) => "in a rolling window",
                    Some(1) => "in an hour",
                    Some(24) => "in a day",
                    Some(_) => "in a month",
                },
            );
        }
        same(
            "the window",
            &execution.map(|it| (it.not_before.0, it.not_after.0)),
            &model.not_after.map(|end| (self.now, end)),
        )?;
        let asked = kernel.asks.as_ref().map(|it| plain::Asked {
            role: word(it.role.as_str()),
            quorum: it.quorum,
            deadline: it.deadline.0,
        });
        same("who is asked", &asked, &model.asked)
    }
}

/// The model's words for amounts.
fn amounts(of: &[Amount]) -> Vec<plain::Amount> {
    let one = |it: &Amount| plain::Amount {
        budget: word(it.budget.as_str()),
        unit: word(it.unit.as_str()),
        amount: it.amount,
        told: it.actual.is_some(),
        overdrawn: it.overdrawn.unwrap_or(0),
        principal: it.principal.as_ref().map(|name| word(name.as_str())),
        action: it.action.as_ref().map(|name| word(name.as_str())),
        since: it.since.map(|time| time.0),
        until: it.until.map(|time| time.0),
    };
    of.iter().map(one).collect()
}

fn same<T: PartialEq + Debug>(what: &str, kernel: &T, model: &T) -> Result<()> {
    if kernel == model { Ok(()) } else { Err(format!("{what}: the kernel says {kernel:?}, the model {model:?}")) }
}
