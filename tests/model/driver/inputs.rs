//! What comes in: random, out of small pools, with every mistake that somebody can make, and at times that matter.

use writ_model::calendar::{DAY, counts};
use writ_model::documents::{Act, Arg, Ended, Evidence, Intent, Statement, Word};
use writ_model::policy::{Policy, Window};
use writ_schemas::dsse::Signed;
use writ_schemas::errors::Code;
use writ_schemas::ids::Digest;
use writ_schemas::{act, evidence};

use crate::dice::Dice;
use crate::grammar::{self, AGES, SECOND};
use crate::play::{Play, Result};
use crate::pools::{self, ACTIONS, KEYS, OPERATORS, PRINCIPALS, ROLES, SESSIONS, TENANTS, TRUSTED};

mod showing;

/// The farthest that intents and acts may expire ahead.
const WEEK: u64 = 7 * DAY;

/// The farthest that evidence may.
const MONTH: u64 = 30 * DAY;

/// How a run begins: some time before a month ends, so that all windows end soon; or just after that, so that for an hour all
/// windows begin together.
const STARTS: [u64; 2] = [1_769_903_000_000_000, 1_769_904_000_000_000];

/// A run with the dice of a seed, and what producers and people remember of what they sent, whatever the ledger lost.
pub(crate) struct Run {
    pub(crate) play: Play,
    dice: Dice,
    intents: Vec<Intent>,
    evidence: Vec<(Evidence, Signed<evidence::Evidence>)>,
    acts: Vec<(&'static str, Act, Signed<act::Act>, Option<Digest>)>,
    policies: Vec<Policy>,
    made: u32,
}

impl Run {
    /// A ledger with keys, and mostly with a policy.
    pub(crate) fn begin(seed: u64) -> Result<Run> {
        let mut dice = Dice::new(seed);
        let start = dice.of(&STARTS) + dice.below(900) * SECOND;
        let play = Play::opened(start)?;
        let (intents, evidence, acts, policies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut run = Run { play, dice, intents, evidence, acts, policies, made: 0 };
        run.play.begin(start + 1)?;
        for (key, (tenant, principal, roles)) in (0..).zip(TRUSTED) {
            run.state("trust", Statement::Trust { key, tenant, principal, roles: roles.to_vec() })?;
        }
        if !seed.is_multiple_of(4) {
            run.activate()?;
        }
        Ok(run)
    }

    /// One input, or the end of a process.
    pub(crate) fn step(&mut self) -> Result<()> {
        match self.dice.below(1000) {
            0..10 => return self.open_again(),
            10..400 => {
                self.play.commit();
                let now = self.later();
                self.play.begin(now)?;
            }
            _ => {}
        }
        match self.dice.below(100) {
            0..31 => self.submit(),
            31..36 => self.use_up(),
            36..48 => self.show(),
            48..66 => self.answer(),
            66..79 => self.dispatch(),
            79..91 => self.end(),
            // What is frozen stays so for a dozen steps or two.
            91..96 if !self.play.world.model.frozen().is_empty() => self.thaw(),
            _ => self.administer(),
        }
    }

    fn open_again(&mut self) -> Result<()> {
        if self.dice.percent(40) {
            self.play.commit();
        }
        self.play.open_again()?;
        let now = self.later();
        self.play.begin(now)?;
        self.play.interrupt()
    }

    /// A later time; very often one at which something ends, or the one before or after.
    fn later(&mut self) -> u64 {
        let now = self.play.now;
        let dice = &mut self.dice;
        let mut ends = self.play.world.model.boundaries();
        let issued = self.play.world.model.evidence.iter().map(|(it, _)| it.issued_at);
        ends.extend(issued.flat_map(|at| AGES.map(|age| at + age)));
        for window in [Window::Hour, Window::Day, Window::Month] {
            ends.extend(counts(window, now).filter(|_| dice.percent(3)).map(|(_, until)| until));
        }
        ends.push(now / (60 * SECOND) * (60 * SECOND) + 60 * SECOND);
        ends.retain(|end| *end > now);
        ends.sort_unstable();
        let (how, next) = match dice.below(100) {
            0..25 => return now + 1 + dice.below(3),
            25..45 => return now + 1 + dice.below(SECOND / 2),
            45..55 => return now + 1 + dice.below(4 * SECOND),
            57 if dice.percent(20) => return now + 1 + dice.below(2 * DAY),
            _ => {
                let near = ends.iter().take(if dice.percent(4) { ends.len() } else { 4 }).copied().collect::<Vec<_>>();
                let end = dice.of(&near);
                dice.of(&[("just before", end - 1), ("exactly", end), ("exactly", end), ("just after", end + 1)])
            }
        };
        let next = if next > now + WEEK { now + SECOND } else { next };
        if next <= now {
            return now + 1;
        }
        self.play.saw("time", how);
        next
    }

    fn submit(&mut self) -> Result<()> {
        let again = self.dice.percent(9).then(|| self.dice.some(last(&self.intents, 12)).cloned()).flatten();
        // An id that has just been freed.
        let freed = last(&self.intents, 40).iter().find(|it| it.expires_at == self.play.now);
        let again = freed.filter(|_| self.dice.percent(40)).cloned().or(again);
        let mut intent = match again {
            Some(intent) => intent,
            None => self.intent(),
        };
        // Somebody keeps asking: rates and pauses are about one principal and one action.
        if self.dice.percent(35)
            && let Some(before) = self.intents.last()
        {
            let Intent { key, tenant, principal, action, .. } = *before;
            intent = Intent { key, tenant, principal, action, ..intent };
        }
        if self.dice.percent(3) {
            intent.key = self.key();
        }
        self.send(intent)
    }

    fn send(&mut self, mut intent: Intent) -> Result<()> {
        let document = pools::intent(&mut intent, &mut self.play.numbers);
        self.intents.push(intent.clone());
        self.play.note(&intent);
        self.play.submit(&intent, document)
    }

    fn key(&mut self) -> u32 {
        u32::try_from(self.dice.below(KEYS.end)).expect("small")
    }

    /// The tenant and principal of a key; now and then another one's.
    fn whose(&mut self, key: u32) -> (Word, Word) {
        let trusted = self.play.world.model.keys.get(&key).map(|key| (key.tenant, key.principal));
        let (tenant, principal) = trusted.unwrap_or(("acme", "eve"));
        match self.dice.below(50) {
            0 => (self.dice.of(&TENANTS), principal),
            1 => (tenant, self.dice.of(&PRINCIPALS)),
            _ => (tenant, principal),
        }
    }

    fn intent(&mut self) -> Intent {
        let key = if self.dice.percent(75) { self.dice.of(&[0, 2, 2, 6]) } else { self.key() };
        let (tenant, principal) = self.whose(key);
        let now = self.play.now;
        let dice = &mut self.dice;
        self.made += 1;
        let id = if dice.percent(4) { self.made.saturating_sub(3) } else { self.made };
        let of_any = dice.percent(10);
        let registered = self.play.world.model.evidence.iter().rev().filter(|(it, _)| of_any || it.tenant == tenant);
        let known: Vec<u32> = registered.take(8).map(|(it, _)| it.payload).collect();
        let mut evidence: Vec<u32> = (0..dice.below(5)).filter_map(|_| dice.some(&known).copied()).collect();
        if dice.percent(5) {
            evidence.push(u32::MAX);
        }
        let model = &self.play.world.model;
        let revoked = |signer: &u32| model.keys.get(signer).is_some_and(|key| key.revoked);
        let nobodys = model.evidence.iter().rev().take(40).filter(|(it, by)| it.tenant == tenant && revoked(by));
        if dice.percent(30) {
            // Of several kinds and roles: what nobody vouches for any more must not do wherever it would have done.
            let shown: Vec<u32> = nobodys.take(4).map(|(it, _)| it.payload).collect();
            evidence = if shown.is_empty() { evidence } else { shown };
        }
        evidence.sort_unstable();
        evidence.dedup();
        let amounts = [Arg::Number(0), Arg::Number(1), Arg::Number(2), Arg::Number(2), Arg::Number(3), Arg::Number(6)];
        let odd = [Arg::Absent, Arg::Text, Arg::Number(-1), Arg::Number(1_000_000)];
        let far = [0, 1, WEEK, WEEK + 1, 3 * SECOND];
        Intent {
            content: 0,
            key,
            tenant,
            principal,
            action: dice.of(&ACTIONS),
            id,
            session: dice.percent(75).then(|| dice.of(&SESSIONS)),
            expires_at: now + if dice.percent(6) { dice.of(&far) } else { SECOND + dice.below(40 * SECOND) },
            amount: if dice.percent(6) { dice.of(&odd) } else { dice.of(&amounts) },
            effect: 0,
            evidence,
        }
    }

    fn answer(&mut self) -> Result<()> {
        let waiting = &self.play.world.model.waiting;
        let first = waiting.get(..waiting.len().min(4)).unwrap_or_default();
        let Some(content) = self.dice.some(first).map(|it| it.intent.content) else {
            if self.dice.percent(80) {
                return self.submit();
            }
            let nobodys = self.dice.some(last(&self.intents, 12)).map_or(u32::MAX, |it| it.content);
            return self.vote(nobodys);
        };
        self.vote(content)
    }

    fn vote(&mut self, content: u32) -> Result<()> {
        let model = &self.play.world.model;
        let tenant = model.waiting.iter().find(|it| it.intent.content == content).map(|it| it.intent.tenant);
        let colleagues = model.keys.iter().filter(|(_, key)| Some(key.tenant) == tenant && !key.revoked);
        let colleagues: Vec<u32> = colleagues.map(|(key, _)| *key).collect();
        let signer = match self.dice.some(&colleagues) {
            Some(signer) if self.dice.percent(85) => *signer,
            _ => self.key(),
        };
        let signers = if self.dice.percent(97) { vec![signer] } else { self.dice.of(&[&[][..], &[3, 4]]).to_vec() };
        let granted = self.dice.percent(82);
        // Somebody has looked at another policy, or at another rule.
        let in_force = self.play.world.model.policy.clone().filter(|_| self.dice.percent(90));
        let policy = in_force.or_else(|| self.dice.some(last(&self.policies, 3)).cloned());
        let policy = Box::new(policy.unwrap_or_else(|| grammar::asks_always(0)));
        let of = self.intents.iter().find(|it| it.content == content).map(|it| it.action);
        let action = of.filter(|_| self.dice.percent(98)).unwrap_or_else(|| self.dice.of(&ACTIONS));
        self.put("vote", Statement::Approve { content, granted, policy, action }, signers)
    }

    fn dispatch(&mut self) -> Result<()> {
        let ready: Vec<u64> = self.committed(false);
        let decision = match self.dice.some(last(&ready, 3)) {
            Some(decision) if self.dice.percent(93) => *decision,
            None if self.dice.percent(90) => return self.submit(),
            _ => self.any_decision(),
        };
        self.play.dispatch(decision)
    }

    /// Executions that both the disk and the state know: nothing leaves before its entry is durable.
    fn committed(&self, dispatched: bool) -> Vec<u64> {
        let open =
            |decision: u64| self.play.world.model.runs.iter().any(|it| it.decision == decision && it.ended.is_none());
        let kept = self.play.kept.model.runs.iter().filter(|it| it.dispatched == dispatched && it.ended.is_none());
        kept.map(|it| it.decision).filter(|decision| open(*decision)).collect()
    }

    fn any_decision(&mut self) -> u64 {
        let runs: Vec<u64> = self.play.world.model.runs.iter().map(|it| it.decision).collect();
        match self.dice.some(&runs) {
            Some(decision) if self.dice.percent(80) => *decision,
            _ => self.dice.below(self.play.world.model.next + 3),
        }
    }

    fn end(&mut self) -> Result<()> {
        let under_way = self.committed(true);
        let decision = match self.dice.some(&under_way) {
            Some(decision) if self.dice.percent(95) => *decision,
            None if self.dice.percent(90) => return self.dispatch(),
            _ => self.any_decision(),
        };
        let (how, code) = self.dice.of(&[
            (Ended::Succeeded, Code::Ok),
            (Ended::Succeeded, Code::Ok),
            (Ended::Succeeded, Code::Ok),
            (Ended::Drifted, Code::ConnectorContractDrift),
            (Ended::Failed, Code::ConnectorRefused),
            (Ended::Failed, Code::ConnectorUnknown),
            (Ended::Failed, Code::EffectDigest),
            (Ended::Uncertain, Code::ConnectorUncertain),
            (Ended::Uncertain, Code::OutputNotCanonical),
            (Ended::Uncertain, Code::ContentIntegrity),
        ]);
        let said = match self.dice.below(10) {
            0 => Arg::Absent,
            1 => Arg::Text,
            2 => Arg::Number(self.dice.of(&[-1, 1 << 43, (1 << 43) + 1])),
            _ => Arg::Number(self.dice.of(&[0, 1, 2, 3, 5])),
        };
        self.play.end(decision, how, code, said)
    }

    fn administer(&mut self) -> Result<()> {
        if self.dice.percent(6) {
            return self.act_again();
        }
        let frozen = self.play.world.state.is_frozen(&pools::name("acme"), &pools::name("ann"));
        match self.dice.below(100) {
            0..22 => self.activate(),
            22..32 if !frozen => {
                let (tenant, principal) = self.part();
                self.state("freeze", Statement::Freeze(tenant, principal))
            }
            22..45 => self.thaw(),
            45..57 => {
                let model = &self.play.world.model;
                let asking = model.waiting.last().map(|it| it.intent.key);
                let showing = model.evidence.last().map(|(_, signer)| *signer);
                let of_note = if self.dice.percent(50) { asking } else { showing };
                let key = of_note.filter(|_| self.dice.percent(70)).unwrap_or_else(|| self.key());
                self.state("revoke", Statement::Revoke(key))?;
                self.show_what_is_nobodys(key)
            }
            57..80 => self.trust(),
            _ => self.reconcile(),
        }
    }

    /// Just after a revocation, somebody shows what that key had signed.
    fn show_what_is_nobodys(&mut self, key: u32) -> Result<()> {
        let now = self.play.now;
        let counts = self.play.world.model.evidence.iter().rev().filter(|(it, by)| *by == key && it.expires_at > now);
        let shown: Vec<u32> = counts.take(4).map(|(it, _)| it.payload).collect();
        for _ in 0..self.dice.below(4) {
            let mut intent = self.intent();
            if !shown.is_empty() {
                intent.evidence.clone_from(&shown);
                intent.evidence.sort_unstable();
                intent.evidence.dedup();
            }
            self.send(intent)?;
        }
        Ok(())
    }

    fn part(&mut self) -> (Option<Word>, Option<Word>) {
        let tenant = self.dice.percent(75).then(|| self.dice.of(&TENANTS));
        let principal = self.dice.percent(if tenant.is_some() { 55 } else { 20 }).then(|| self.dice.of(&PRINCIPALS));
        (tenant, principal)
    }

    /// Mostly of everything that is frozen, so that a run is not frozen most of the time.
    fn thaw(&mut self) -> Result<()> {
        if self.dice.percent(20) {
            let (tenant, principal) = self.part();
            return self.state("thaw", Statement::Thaw(tenant, principal));
        }
        for (tenant, principal) in self.play.world.model.frozen().to_vec() {
            self.state("thaw", Statement::Thaw(tenant, principal))?;
        }
        Ok(())
    }

    fn trust(&mut self) -> Result<()> {
        let revoked = self.play.world.model.keys.iter().filter(|(_, it)| it.revoked).map(|(key, _)| *key);
        let revoked: Vec<u32> = revoked.collect();
        let key = match self.dice.some(&revoked) {
            Some(key) if self.dice.percent(60) => *key,
            _ => self.key(),
        };
        let as_first = usize::try_from(key).ok().and_then(|at| TRUSTED.get(at)).filter(|_| self.dice.percent(75));
        let (tenant, principal, roles) = match as_first {
            Some((tenant, principal, roles)) => (*tenant, *principal, roles.to_vec()),
            None => {
                let roles = ROLES.into_iter().filter(|_| self.dice.percent(60)).collect();
                (self.dice.of(&TENANTS), self.dice.of(&PRINCIPALS), roles)
            }
        };
        let roles = if self.dice.percent(4) { many_roles() } else { roles };
        self.state("trust", Statement::Trust { key, tenant, principal, roles })
    }

    fn reconcile(&mut self) -> Result<()> {
        let uncertain =
            |it: &&writ_model::model::Run| matches!(it.ended, Some((Ended::Uncertain, ..))) && it.reconciled.is_none();
        let runs: Vec<u64> = self.play.world.model.runs.iter().filter(uncertain).map(|it| it.decision).collect();
        let decision = match self.dice.some(&runs) {
            Some(decision) if self.dice.percent(85) => *decision,
            _ => self.any_decision(),
        };
        let applied = self.dice.percent(50);
        self.state(
            if applied { "reconcile as applied" } else { "reconcile as not applied" },
            Statement::Reconcile(decision, applied),
        )
    }

    fn activate(&mut self) -> Result<()> {
        self.made += 1;
        let asks = self.play.world.model.waiting.last().map(|it| (it.intent.content, it.intent.action));
        if let Some((content, action)) = asks
            && let Some(mut policy) = self.play.world.model.policy.clone()
            && self.dice.percent(40)
        {
            // While somebody waits, their rule changes a little, or only what is around it.
            policy.number = self.made;
            let changes = self.dice.percent(60);
            for rule in policy.rules.iter_mut().filter(|rule| (rule.action == action) == changes) {
                rule.window_us += 1;
            }
            self.put_in_force(policy)?;
            for _ in 0..self.dice.below(4) {
                self.vote(content)?;
            }
            return Ok(());
        }
        let before = self.policies.last().filter(|_| self.dice.percent(60));
        let policy = grammar::policy(&mut self.dice, self.made, self.play.now, before);
        self.put_in_force(policy)
    }

    fn put_in_force(&mut self, policy: Policy) -> Result<()> {
        self.policies.push(policy.clone());
        for feature in grammar::features(&policy) {
            self.play.saw("policy with", feature);
        }
        self.state("policy", Statement::Activate(policy))
    }

    /// More intents than may wait are to wait. `steps` of them.
    pub(crate) fn flood(&mut self, steps: u64) -> Result<()> {
        self.made += 1;
        self.play.commit();
        let now = self.play.now + 1;
        self.play.begin(now)?;
        let (tenant, principal, roles) = TRUSTED[0];
        let policy = grammar::asks_always(self.made);
        // An act may be signed too late or for another ledger, and then comes again.
        while self.play.world.model.policy.as_ref() != Some(&policy) {
            self.thaw()?;
            self.put("trust", Statement::Trust { key: 0, tenant, principal, roles: roles.to_vec() }, vec![100, 101])?;
            self.put("policy", Statement::Activate(policy.clone()), vec![100, 102])?;
        }
        for _ in 0..steps {
            let intent = Intent {
                key: 0,
                tenant,
                principal,
                expires_at: now + 100 * SECOND + self.dice.below(9),
                ..self.intent()
            };
            self.send(intent)?;
        }
        Ok(())
    }

    /// An act of operators, signed as it must be, or not quite.
    fn state(&mut self, what: &'static str, statement: Statement) -> Result<()> {
        let [one, two, three] = OPERATORS;
        let enough = [vec![one, two], vec![two, three], vec![one, two, three]];
        let short = [vec![], vec![one], vec![two, 3]];
        let from = if self.dice.percent(96) { &enough } else { &short };
        let signers = self.dice.some(from).cloned().unwrap_or_default();
        self.put(what, statement, signers)
    }

    fn put(&mut self, what: &'static str, statement: Statement, signers: Vec<u32>) -> Result<()> {
        let far = [0, 1, WEEK, WEEK + 1];
        let ahead = if self.dice.percent(5) { self.dice.of(&far) } else { SECOND + self.dice.below(60 * SECOND) };
        let ours = !self.dice.percent(1);
        let mut of = Act { number: 0, ours, signers, expires_at: self.play.now + ahead, statement };
        let receipt = if let Statement::Reconcile(decision, _) = &of.statement {
            self.play.world.receipts.get(decision).copied()
        } else {
            None
        };
        self.made += 1;
        let unknown = Digest::of(&self.made.to_le_bytes());
        let document = pools::act(&mut of, self.made, receipt.unwrap_or(unknown), &mut self.play.numbers);
        self.acts.push((what, of.clone(), document.clone(), receipt));
        self.play.act(what, &of, &document)
    }

    /// Somebody sends an act again.
    fn act_again(&mut self) -> Result<()> {
        let Some((what, of, document, receipt)) = self.dice.some(last(&self.acts, 10)).cloned() else { return Ok(()) };
        // After a loss, another receipt may stand where the one was that the act names.
        if let Statement::Reconcile(decision, _) = &of.statement
            && self.play.world.receipts.get(decision).copied() != receipt
        {
            return Ok(());
        }
        self.play.act(what, &of, &document)
    }
}

/// The last so many of these.
fn last<T>(all: &[T], count: usize) -> &[T] {
    all.get(all.len().saturating_sub(count)..).unwrap_or_default()
}

/// More roles than a key may have.
fn many_roles() -> Vec<Word> {
    const MANY: [Word; 33] = [
        "r00", "r01", "r02", "r03", "r04", "r05", "r06", "r07", "r08", "r09", "r10", "r11", "r12", "r13", "r14", "r15",
        "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27", "r28", "r29", "r30", "r31",
        "r32",
    ];
    MANY.to_vec()
}
