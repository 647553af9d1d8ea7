//! What is admitted, decided, dispatched, charged and due.

use std::collections::BTreeMap;

use crate::documents::{
    Act, Admitted, Amount, Arg, Asked, Code, Decision, Dispatched, Ended, Evidence, Intent, Receipt, Statement,
    Submitted, Time, Verdict, Word,
};
use crate::history::{Fate, Moment, Taken, What};
use crate::judge::No;
use crate::policy::{Policy, Rule};

/// The farthest that an act may expire ahead: 7 days in microseconds.
const ACT_AHEAD_MAX: u64 = 7 * 24 * 3_600 * 1_000_000;

/// The farthest that evidence may expire ahead: 30 days in microseconds.
const EVIDENCE_AHEAD_MAX: u64 = 30 * 24 * 3_600 * 1_000_000;

/// The most that an output may say that something cost.
const TOLD_MAX: i64 = 1 << 43;

/// The most roles of a key.
const ROLES_MAX: usize = 32;

/// The most keys of one payload of evidence.
const SIGNERS_MAX: usize = 8;

/// Everything that ever happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The keys that administer the ledger.
    pub operators: Vec<u32>,
    /// How many of them.
    pub quorum: usize,
    /// The number of the next entry.
    pub next: u64,
    /// The time of the last entry.
    pub last_at: Time,
    /// The policy in force.
    pub policy: Option<Policy>,
    /// Every key that was ever trusted.
    pub keys: BTreeMap<u32, Key>,
    /// What waits for people.
    pub waiting: Vec<Waiting>,
    /// Every `PASS`.
    pub runs: Vec<Run>,
    /// Every amount that a `PASS` took.
    pub taken: Vec<Taken>,
    /// Every piece of evidence, with its signer.
    pub evidence: Vec<(Evidence, u32)>,
    frozen: Vec<(Option<Word>, Option<Word>)>,
    /// Every intent that claimed its id, and its latest decision.
    claimed: Vec<(Intent, u64)>,
    /// Every act that was carried out, by number, and when it expires; of an answer, also whose it is.
    acts: Vec<(u32, Option<u32>, Time)>,
    past: Vec<Moment>,
}

/// A key that is or was trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// For which tenant.
    pub tenant: Word,
    /// As whom.
    pub principal: Word,
    /// In which roles.
    pub roles: Vec<Word>,
    /// Whether it is not any more.
    pub revoked: bool,
}

impl Key {
    /// Whether it may answer about an intent in this role.
    pub(crate) fn may_answer(&self, intent: &Intent, role: Word) -> bool {
        !self.revoked
            && self.tenant == intent.tenant
            && self.principal != intent.principal
            && self.roles.contains(&role)
    }
}

/// An intent that waits for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The intent.
    pub intent: Intent,
    /// The entry of the intent.
    pub seq: u64,
    /// The round that asked.
    pub round: u32,
    /// Whom it asked.
    pub asked: Asked,
    /// Whether it is recorded that the deadline has passed.
    pub passed: bool,
    /// What was answered, by key.
    pub votes: Vec<Vote>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// Whose.
    pub key: u32,
    /// Whether it grants what is asked.
    pub granted: bool,
    /// About which rule.
    pub rule: Option<Rule>,
}

/// A `PASS` and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The entry of the decision.
    pub decision: u64,
    /// The intent.
    pub intent: Intent,
    /// Until when it may be dispatched.
    pub not_after: Time,
    /// Whether it was.
    pub dispatched: bool,
    /// How it ended, and in which entry.
    pub ended: Option<(Ended, u64, Time)>,
    /// What an uncertain ending was reconciled as: whether it happened.
    pub reconciled: Option<bool>,
    /// The payloads of the evidence that it uses up.
    pub uses: Vec<u32>,
}

impl Run {
    /// Whether it came to nothing, so that what it took is free again.
    fn is_released(&self) -> bool {
        match self.ended {
            Some((Ended::Failed | Ended::Expired, ..)) => true,
            Some((Ended::Uncertain, ..)) => self.reconciled == Some(false),
            Some((Ended::Succeeded | Ended::Drifted, ..)) | None => false,
        }
    }
}

impl Model {
    /// A ledger that was just opened: its entry 0 was made at `at`.
    #[must_use]
    pub fn opened(operators: Vec<u32>, quorum: usize, at: Time) -> Model {
        Model { operators, quorum, next: 1, last_at: at, ..Model::default() }
    }

    /// The intent whose deadline is to be recorded as passed.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<u32> {
        let due = self.waiting.iter().filter(|it| !it.passed && it.asked.deadline <= now);
        due.min_by_key(|it| (it.asked.deadline, it.seq)).map(|it| it.intent.content)
    }

    /// Records that, and decides it again.
    pub fn pass_deadline(&mut self, content: u32, now: Time) -> Option<Decision> {
        self.enter(now);
        self.waiting.iter_mut().find(|it| it.intent.content == content)?.passed = true;
        self.decide_again(content, now)
    }

    /// Takes an intent in.
    pub fn submit(&mut self, intent: &Intent, now: Time) -> Submitted {
        let remembered = self.claimed.iter().rev().find(|(other, decision)| {
            let open = || self.runs.iter().any(|run| run.decision == *decision && run.ended.is_none());
            (other.tenant, other.id) == (intent.tenant, intent.id) && (now < other.expires_at || open())
        });
        match remembered {
            Some((other, decision)) if other.content == intent.content => return Submitted::Known(*decision),
            _ if !self.keys.contains_key(&intent.key) => return Submitted::Stranger("ERR_KEY_UNKNOWN"),
            _ if self.keys.get(&intent.key).is_some_and(|key| key.revoked) => {
                return Submitted::Stranger("ERR_KEY_REVOKED");
            }
            _ if intent.expires_at <= now => return Submitted::Stranger("ERR_INTENT_EXPIRED"),
            Some(_)
                if self
                    .keys
                    .get(&intent.key)
                    .is_some_and(|key| (key.tenant, key.principal) == (intent.tenant, intent.principal)) =>
            {
                return Submitted::Reused;
            }
            Some(_) | None => {}
        }
        let decision = self.judge(intent, None, now);
        let seq = self.enter(now);
        let decided = self.enter(now);
        let unclaimed = ["ERR_FROZEN", "ERR_TENANT_MISMATCH", "ERR_EXPIRY_TOO_FAR"];
        if !unclaimed.contains(&decision.code) {
            self.claimed.push((intent.clone(), decided));
            self.remember(intent, &decision, decided, now);
        }
        if let Some(asked) = &decision.asked {
            let waiting = Waiting {
                intent: intent.clone(),
                seq,
                round: 0,
                asked: asked.clone(),
                passed: false,
                votes: Vec::new(),
            };
            self.waiting.push(waiting);
        }
        Submitted::Decided(decision)
    }

    /// The next round of an intent that waits.
    fn decide_again(&mut self, content: u32, now: Time) -> Option<Decision> {
        let at = self.waiting.iter().position(|it| it.intent.content == content)?;
        let mut waiting = self.waiting.remove(at);
        let decision = self.judge(&waiting.intent, Some(&waiting), now);
        let decided = self.enter(now);
        if let Some((_, known)) = self.claimed.iter_mut().rev().find(|(it, _)| it.content == content) {
            *known = decided;
        }
        self.remember(&waiting.intent, &decision, decided, now);
        if let Some(asked) = &decision.asked {
            waiting.round = decision.round;
            waiting.asked = asked.clone();
            self.waiting.insert(at, waiting);
        }
        Some(decision)
    }

    /// What a decision leaves behind: an execution, amounts, moments.
    fn remember(&mut self, intent: &Intent, decision: &Decision, seq: u64, now: Time) {
        let rule = self.policy.as_ref().filter(|it| it.temporal).and_then(|it| it.rule(intent.action));
        let limits = rule.and_then(|rule| rule.limits.clone()).unwrap_or_default();
        let before = ["ERR_POLICY_NONE", "ERR_POLICY_NO_RULE"];
        let temporal = ["ERR_OUTSIDE_HOURS", "ERR_RATE_EXCEEDED", "ERR_COOLING_DOWN"];
        let outside = ["ERR_FROZEN", "ERR_KEY_UNKNOWN", "ERR_KEY_REVOKED", "ERR_TENANT_MISMATCH", "ERR_INTENT_EXPIRED"];
        let refused_early = [&before[..], &temporal, &outside].concat().contains(&decision.code);
        if decision.round == 0
            && !refused_early
            && let Some(rate) = limits.rate
        {
            self.moment(intent, now, What::Counted(rate));
        }
        match (decision.verdict, limits.cool_down) {
            (Verdict::Fail, Some(pauses)) if !refused_early => self.moment(intent, now, What::Refused(pauses)),
            (Verdict::Pass, Some(_)) => self.moment(intent, now, What::Passed),
            (Verdict::Pass | Verdict::Fail | Verdict::Escalate, _) => {}
        }
        if let Some(not_after) = decision.not_after {
            let intent = intent.clone();
            let (uses, dispatched, ended, reconciled) = (decision.uses.clone(), false, None, None);
            self.runs.push(Run { decision: seq, intent, not_after, dispatched, ended, reconciled, uses });
        }
        for amount in &decision.reservation {
            let tenant = intent.tenant;
            self.taken.push(Taken { decision: seq, tenant, amount: amount.clone(), fate: Fate::Reserved });
        }
    }

    fn moment(&mut self, intent: &Intent, at: Time, what: What) {
        let Intent { tenant, principal, action, .. } = *intent;
        self.past.push(Moment { tenant, principal, action, at, what });
    }

    /// Takes evidence in.
    pub fn evidence(&mut self, evidence: &Evidence, now: Time) -> Admitted {
        const INVALID: Admitted = Admitted::Refused("ERR_EVIDENCE_INVALID");
        if !evidence.ours {
            return Admitted::Refused("ERR_LEDGER_MISMATCH");
        }
        let &[signer] = evidence.signers.as_slice() else { return INVALID };
        let registered: Vec<u32> = self
            .evidence
            .iter()
            .filter(|(it, _)| it.payload == evidence.payload && self.last_at < it.expires_at)
            .map(|(_, signer)| *signer)
            .collect();
        if registered.contains(&signer) {
            return Admitted::Already;
        }
        let in_time = now < evidence.expires_at && evidence.expires_at <= now + EVIDENCE_AHEAD_MAX;
        let trusted = self.keys.get(&signer).is_some_and(|key| !key.revoked && key.tenant == evidence.tenant);
        if !in_time || !trusted || registered.len() >= SIGNERS_MAX {
            return INVALID;
        }
        self.enter(now);
        self.evidence.push((evidence.clone(), signer));
        Admitted::Recorded(None)
    }

    /// Takes an act in.
    pub fn act(&mut self, act: &Act, now: Time) -> Admitted {
        if !act.ours {
            return Admitted::Refused("ERR_LEDGER_MISMATCH");
        }
        let is_vote = matches!(act.statement, Statement::Approve { .. });
        let whose = if let (true, &[signer]) = (is_vote, act.signers.as_slice()) { Some(signer) } else { None };
        let same = |(number, by, expires_at): &(u32, Option<u32>, Time)| {
            (*number, *by) == (act.number, whose) && self.last_at < *expires_at
        };
        if self.acts.iter().any(same) {
            return Admitted::Already;
        }
        let operators = self.operators.iter().filter(|key| act.signers.contains(key)).count();
        let in_time = now < act.expires_at && act.expires_at <= now + ACT_AHEAD_MAX;
        if !in_time || (!is_vote && operators < self.quorum) {
            return Admitted::Refused("ERR_ACT_REFUSED");
        }
        if let Err(code) = self.state(act) {
            return Admitted::Refused(code);
        }
        self.enter(now);
        self.acts.push((act.number, whose, act.expires_at));
        let about = if let Statement::Approve { content, .. } = act.statement { Some(content) } else { None };
        let again = about.filter(|content| self.is_answered(*content, now));
        Admitted::Recorded(again.and_then(|content| Some((content, self.decide_again(content, now)?))))
    }

    /// Whether enough was said about an intent that waits: the policy in force would not go on asking.
    fn is_answered(&self, content: u32, now: Time) -> bool {
        let Some(waiting) = self.waiting.iter().find(|it| it.intent.content == content) else { return false };
        let policy = self.policy.as_ref().filter(|policy| policy.escalation);
        let approvers = policy.and_then(|policy| policy.rule(waiting.intent.action)?.approvers);
        let asks = approvers.map(|to| self.ask(to, &waiting.intent, Some(waiting), now));
        !matches!(asks, Some(Err(No::Asks(_))))
    }

    /// Lets hold what a statement says, or says why it cannot.
    fn state(&mut self, act: &Act) -> Result<(), Code> {
        match &act.statement {
            Statement::Activate(policy) => self.policy = Some(policy.clone()),
            Statement::Trust { roles, .. } if roles.len() > ROLES_MAX => return Err("ERR_SCHEMA"),
            Statement::Trust { key, tenant, principal, .. }
                if self.keys.get(key).is_some_and(|it| (it.tenant, it.principal) != (*tenant, *principal)) =>
            {
                return Err("ERR_ACT_REFUSED");
            }
            Statement::Trust { key, tenant, principal, roles } => {
                self.keys.insert(*key, Key { tenant, principal, roles: roles.clone(), revoked: false });
            }
            Statement::Revoke(key) => {
                let key = self.keys.get_mut(key).filter(|key| !key.revoked);
                key.ok_or("ERR_KEY_UNKNOWN")?.revoked = true;
            }
            Statement::Freeze(None, Some(_)) | Statement::Thaw(None, Some(_)) => return Err("ERR_SCHEMA"),
            Statement::Freeze(tenant, principal) => self.frozen.push((*tenant, *principal)),
            Statement::Thaw(tenant, principal) => self.frozen.retain(|it| *it != (*tenant, *principal)),
            Statement::Reconcile(decision, applied) => {
                let run = self.runs.iter_mut().find(|it| it.decision == *decision && it.reconciled.is_none());
                let run = run.filter(|it| matches!(it.ended, Some((Ended::Uncertain, ..))));
                run.ok_or("ERR_RECEIPT_UNKNOWN")?.reconciled = Some(*applied);
                let fate = if *applied { Fate::Committed } else { Fate::Released };
                self.settle(*decision, fate, Arg::Absent);
            }
            Statement::Approve { content, granted, policy: seen, action } => {
                let &[signer] = act.signers.as_slice() else { return Err("ERR_APPROVER_INVALID") };
                let trusted = self.keys.get(&signer).filter(|key| !key.revoked);
                let key = trusted.ok_or("ERR_APPROVER_INVALID")?;
                // What waits in another tenant is nothing that this key knows of.
                let here = |it: &&mut Waiting| it.intent.content == *content && it.intent.tenant == key.tenant;
                let waiting = self.waiting.iter_mut().find(here).ok_or("ERR_APPROVAL_UNKNOWN")?;
                let frozen = |tenant: Word, principal: Word| {
                    let touches = |(of, who): &(Option<Word>, Option<Word>)| {
                        of.is_none_or(|it| it == tenant) && who.is_none_or(|it| it == principal)
                    };
                    self.frozen.iter().any(touches)
                };
                if frozen(key.tenant, waiting.intent.principal) || frozen(key.tenant, key.principal) {
                    return Err("ERR_FROZEN");
                }
                let rule = self.policy.as_ref().and_then(|policy| policy.rule(waiting.intent.action));
                let role = rule.and_then(|rule| rule.approvers).map(|to| to.role);
                let seen = seen.rule(action);
                // An answer by a key that has lost its trust is none.
                let trusted =
                    |key: &u32| self.keys.get(key).filter(|it| !it.revoked && it.tenant == waiting.intent.tenant);
                let principal = |key: &u32| trusted(key).map(|key| key.principal);
                // Nor is one about another rule.
                let mut voters = waiting.votes.iter().filter(|vote| vote.rule.as_ref() == rule).map(|vote| &vote.key);
                if signer == waiting.intent.key
                    || seen != rule
                    || role.is_none_or(|role| !key.may_answer(&waiting.intent, role))
                    || voters.any(|voter| *voter == signer || principal(voter) == Some(key.principal))
                {
                    return Err("ERR_APPROVER_INVALID");
                }
                let vote = Vote { key: signer, granted: *granted, rule: seen.cloned() };
                waiting.votes.retain(|vote| vote.key != signer);
                waiting.votes.push(vote);
            }
        }
        Ok(())
    }

    /// Begins an execution, or ends it before it began.
    pub fn dispatch(&mut self, decision: u64, now: Time) -> Dispatched {
        let Some(run) = self.runs.iter().find(|it| it.decision == decision && it.ended.is_none()) else {
            return Dispatched::Refused("ERR_DECISION_MISSING");
        };
        let expired = if run.dispatched {
            return Dispatched::Refused("ERR_DISPATCH_REFUSED");
        } else if self.is_frozen(run.intent.tenant, run.intent.principal) {
            Some("ERR_FROZEN")
        } else if self.keys.get(&run.intent.key).is_none_or(|key| key.revoked) {
            Some("ERR_KEY_REVOKED")
        } else if run.not_after <= now {
            Some("ERR_WINDOW_CLOSED")
        } else {
            None
        };
        if let Some(code) = expired {
            return Dispatched::Expired(code, self.close(decision, Ended::Expired, Arg::Absent, now));
        }
        self.enter(now);
        self.runs.iter_mut().filter(|it| it.decision == decision).for_each(|it| it.dispatched = true);
        Dispatched::Started
    }

    /// Ends an execution that began. `said` is what the output says of costs.
    ///
    /// # Errors
    /// `ERR_DECISION_MISSING`, `ERR_DISPATCH_REFUSED`.
    pub fn end(&mut self, decision: u64, how: Ended, said: Arg, now: Time) -> Result<Receipt, Code> {
        match self.runs.iter().find(|it| it.decision == decision && it.ended.is_none()) {
            None => Err("ERR_DECISION_MISSING"),
            Some(run) if run.dispatched == (how == Ended::Expired) => Err("ERR_DISPATCH_REFUSED"),
            Some(_) => Ok(self.close(decision, how, said, now)),
        }
    }

    fn close(&mut self, decision: u64, how: Ended, said: Arg, now: Time) -> Receipt {
        let run = self.runs.iter().find(|it| it.decision == decision).cloned();
        let lamport = run.as_ref().map_or(0, |run| self.receipts(&run.intent, now).count()) + 1;
        let seq = self.enter(now);
        let ended = Some((how, seq, now));
        self.runs.iter_mut().filter(|it| it.decision == decision).for_each(|it| it.ended = ended);
        match how {
            Ended::Succeeded => self.settle(decision, Fate::Committed, said),
            Ended::Drifted => self.settle(decision, Fate::Committed, Arg::Absent),
            Ended::Failed | Ended::Expired => self.settle(decision, Fate::Released, Arg::Absent),
            Ended::Uncertain => {}
        }
        let charged = self.taken.iter().filter(|it| it.decision == decision && it.fate == Fate::Committed);
        let usage = charged.map(|it| it.amount.clone()).collect();
        Receipt { usage, lamport: u64::try_from(lamport).unwrap_or(u64::MAX) }
    }

    /// What was reserved has this fate; where it is committed, by what the output says, if it was to say and says a quantity.
    fn settle(&mut self, decision: u64, fate: Fate, said: Arg) {
        for taken in self.taken.iter_mut().filter(|it| it.decision == decision && it.fate == Fate::Reserved) {
            let Amount { amount, told, overdrawn, .. } = &mut taken.amount;
            taken.fate = fate;
            if let (true, Arg::Number(said)) = (*told, said)
                && (0..=TOLD_MAX).contains(&said)
            {
                let said = said.unsigned_abs();
                (*overdrawn, *amount) = (said.saturating_sub(*amount), said);
            }
            *told = false;
        }
    }

    /// The receipts of an intent's session, as far as it is remembered: it is forgotten when the last intent of it has
    /// expired, and begins anew.
    fn receipts<'a>(&'a self, intent: &'a Intent, now: Time) -> impl Iterator<Item = &'a Run> {
        let same = |run: &&Run| {
            intent.session.is_some() && (run.intent.tenant, run.intent.session) == (intent.tenant, intent.session)
        };
        let mut ended: Vec<&Run> = self.runs.iter().filter(same).filter(|run| run.ended.is_some()).collect();
        ended.sort_by_key(|run| run.ended.map(|(_, seq, _)| seq));
        let (mut begins, mut until) = (0, 0);
        for (at, run) in ended.iter().enumerate() {
            if run.ended.is_some_and(|(_, _, ended_at)| until <= ended_at) {
                (begins, until) = (at, 0);
            }
            until = until.max(run.intent.expires_at);
        }
        let remembered = if now < until { begins } else { ended.len() };
        ended.into_iter().skip(remembered)
    }

    /// Whether an action has succeeded in the session of an intent.
    pub(crate) fn succeeded(&self, intent: &Intent, action: Word, now: Time) -> bool {
        let succeeded = |run: &Run| matches!(run.ended, Some((Ended::Succeeded, ..)));
        self.receipts(intent, now).any(|run| run.intent.action == action && succeeded(run))
    }

    /// Whether a payload of evidence is used up: there was a run by it that did not come to nothing.
    pub(crate) fn is_used(&self, payload: u32) -> bool {
        self.runs.iter().any(|run| run.uses.contains(&payload) && !run.is_released())
    }

    /// Whether a freeze touches this principal.
    pub(crate) fn is_frozen(&self, tenant: Word, principal: Word) -> bool {
        self.frozen.iter().any(|(of, who)| of.is_none_or(|it| it == tenant) && who.is_none_or(|it| it == principal))
    }

    /// What is frozen.
    #[must_use]
    pub fn frozen(&self) -> &[(Option<Word>, Option<Word>)] {
        &self.frozen
    }

    /// What matters to how this principal may ask for this action.
    pub(crate) fn past<'a>(&'a self, intent: &'a Intent) -> impl Iterator<Item = &'a Moment> {
        self.past
            .iter()
            .filter(|it| (it.tenant, it.principal, it.action) == (intent.tenant, intent.principal, intent.action))
    }

    /// What is known at a time of each budget's share and window: what is reserved and what is committed. A window that is
    /// over is known as long as something is reserved in it.
    #[must_use]
    pub fn sums(&self, now: Time) -> Vec<(Word, Word, u64, u64)> {
        let mut sums: BTreeMap<(Word, Amount), (u64, u64)> = BTreeMap::new();
        for taken in &self.taken {
            let share = Amount { amount: 0, told: false, overdrawn: 0, ..taken.amount.clone() };
            let sum = sums.entry((taken.tenant, share)).or_default();
            match taken.fate {
                Fate::Reserved => sum.0 += taken.amount.amount,
                Fate::Committed => sum.1 += taken.amount.amount,
                Fate::Released => {}
            }
        }
        let over = |of: &Amount| of.until.is_some_and(|until| until <= now);
        let lines = sums.into_iter().filter(|((_, of), sum)| *sum != (0, 0) && (sum.0 > 0 || !over(of)));
        let mut lines: Vec<_> = lines.map(|((tenant, of), (held, spent))| (tenant, of.budget, held, spent)).collect();
        lines.sort_unstable();
        lines
    }

    /// Every time at which something may change.
    #[must_use]
    pub fn boundaries(&self) -> Vec<Time> {
        let mut times: Vec<Time> = self.claimed.iter().map(|(intent, _)| intent.expires_at).collect();
        times.extend(self.waiting.iter().map(|it| it.asked.deadline));
        times.extend(self.runs.iter().filter(|it| it.ended.is_none()).map(|it| it.not_after));
        times.extend(self.taken.iter().filter_map(|it| it.amount.until));
        times.extend(self.evidence.iter().map(|(it, _)| it.expires_at));
        times.extend(self.acts.iter().map(|(_, _, expires_at)| *expires_at));
        let mut whose: Vec<Intent> = Vec::new();
        for moment in &self.past {
            let Moment { tenant, principal, action, .. } = *moment;
            let of = Intent { tenant, principal, action, ..NOBODYS };
            if !whose.contains(&of) {
                whose.push(of);
            }
        }
        for of in &whose {
            times.push(crate::history::paced_until(self.past(of)));
            times.push(crate::history::cooling_until(self.past(of)));
        }
        times.retain(|time| *time > self.last_at);
        times.sort_unstable();
        times.dedup();
        times
    }

    fn enter(&mut self, now: Time) -> u64 {
        let seq = self.next;
        self.next += 1;
        self.last_at = now;
        seq
    }
}

/// An intent of nothing, for asking about a principal and an action.
const NOBODYS: Intent = Intent {
    content: 0,
    key: 0,
    tenant: "",
    principal: "",
    action: "",
    id: 0,
    session: None,
    expires_at: 0,
    amount: Arg::Absent,
    effect: 0,
    evidence: Vec::new(),
};
