//! The gates, in their order, asked of everything that ever happened.

use std::collections::BTreeSet;

use crate::calendar::{counts, in_hours};
use crate::documents::{Amount, Arg, Asked, Code, Decision, Intent, Time, Verdict, Word};
use crate::history::{Fate, cooling_until, fits, paced_until};
use crate::model::{Model, Vote, Waiting};
use crate::policy::{Approvers, Cost, Need, Policy, Rule, Shown};

/// The farthest that an intent may expire ahead: 7 days in microseconds.
const AHEAD_MAX: u64 = 7 * 24 * 3_600 * 1_000_000;

/// The most intents of a tenant that wait.
const WAITING_MAX: usize = 256;

/// What let nothing through: a refusal, or people who are asked.
pub(crate) enum No {
    Refused(Code),
    Asks(Asked),
}

impl Model {
    /// What follows for an intent now. `waiting` is what is known of it if it was asked before.
    pub(crate) fn judge(&self, intent: &Intent, waiting: Option<&Waiting>, now: Time) -> Decision {
        let round = waiting.map_or(0, |waiting| waiting.round + 1);
        let decision = |verdict, code| Decision {
            verdict,
            code,
            round,
            reservation: Vec::new(),
            uses: Vec::new(),
            not_after: None,
            asked: None,
        };
        match self.gates(intent, waiting, now) {
            Ok((rule, reservation)) => Decision {
                reservation,
                uses: self.uses(rule, intent, now),
                not_after: Some((now + rule.window_us).min(intent.expires_at)),
                ..decision(Verdict::Pass, "OK")
            },
            Err(No::Refused(code)) => decision(Verdict::Fail, code),
            Err(No::Asks(asked)) => {
                Decision { asked: Some(asked), ..decision(Verdict::Escalate, "ERR_APPROVAL_NEEDED") }
            }
        }
    }

    fn gates(&self, intent: &Intent, waiting: Option<&Waiting>, now: Time) -> Result<(&Rule, Vec<Amount>), No> {
        let refuse = |when: bool, code| if when { Err(No::Refused(code)) } else { Ok(()) };
        refuse(self.is_frozen(intent.tenant, intent.principal), "ERR_FROZEN")?;
        let key = self.keys.get(&intent.key).ok_or(No::Refused("ERR_KEY_UNKNOWN"))?;
        refuse(key.revoked, "ERR_KEY_REVOKED")?;
        refuse((key.tenant, key.principal) != (intent.tenant, intent.principal), "ERR_TENANT_MISMATCH")?;
        refuse(intent.expires_at <= now, "ERR_INTENT_EXPIRED")?;
        refuse(intent.expires_at > now + AHEAD_MAX, "ERR_EXPIRY_TOO_FAR")?;
        let policy = self.policy.as_ref().ok_or(No::Refused("ERR_POLICY_NONE"))?;
        let rule = policy.rule(intent.action).ok_or(No::Refused("ERR_POLICY_NO_RULE"))?;
        if policy.temporal {
            self.temporal(rule, intent, waiting.is_none(), now).map_err(No::Refused)?;
        }
        if policy.proof {
            refuse(rule.requires.as_ref().is_some_and(|need| !self.is_met(need, intent, now)), "ERR_PROOF_MISSING")?;
        }
        let reservation =
            if policy.budget { self.spend(policy, rule, intent, now).map_err(No::Refused)? } else { Vec::new() };
        refuse(waiting.is_some_and(|waiting| waiting.passed), "ERR_APPROVAL_TIMED_OUT")?;
        if let Some((waiting, approvers)) = waiting.zip(rule.approvers) {
            refuse(self.votes(waiting, approvers.role).1, "ERR_APPROVAL_DENIED")?;
        }
        if let Some(approvers) = rule.approvers.filter(|_| policy.escalation) {
            self.ask(approvers, intent, waiting, now)?;
        }
        Ok((rule, reservation))
    }

    fn temporal(&self, rule: &Rule, intent: &Intent, first: bool, now: Time) -> Result<(), Code> {
        let Some(limits) = &rule.limits else { return Ok(()) };
        if limits.hours.as_ref().is_some_and(|spans| !in_hours(spans, now)) {
            return Err("ERR_OUTSIDE_HOURS");
        }
        if first && limits.cool_down.is_some() && now < cooling_until(self.past(intent)) {
            return Err("ERR_COOLING_DOWN");
        }
        if first && limits.rate.is_some_and(|rate| !fits(rate, paced_until(self.past(intent)), now)) {
            return Err("ERR_RATE_EXCEEDED");
        }
        Ok(())
    }

    fn is_met(&self, need: &Need, intent: &Intent, now: Time) -> bool {
        let met = |all: &[Need]| all.iter().filter(|need| self.is_met(need, intent, now)).count();
        match need {
            Need::All(all) => met(all) == all.len(),
            Need::Any(all) => met(all) > 0,
            Need::AtLeast(count, all) => met(all) >= usize::try_from(*count).unwrap_or(usize::MAX),
            Need::Not(need) => !self.is_met(need, intent, now),
            Need::Shown(shown) => self.is_shown(shown, intent, now),
            Need::Done(action) => self.succeeded(intent, action, now),
        }
    }

    /// The evidence that a rule uses up, where it is met: what it takes, and no more.
    fn uses(&self, rule: &Rule, intent: &Intent, now: Time) -> Vec<u32> {
        let asked = rule.requires.as_ref().filter(|_| self.policy.as_ref().is_some_and(|policy| policy.proof));
        let mut used = BTreeSet::new();
        asked.into_iter().for_each(|need| self.use_up(need, intent, now, &mut used));
        used.into_iter().collect()
    }

    fn use_up(&self, need: &Need, intent: &Intent, now: Time, used: &mut BTreeSet<u32>) {
        let (takes, of) = match need {
            Need::All(all) => (all.len(), all),
            Need::Any(all) => (1, all),
            Need::AtLeast(count, all) => (usize::try_from(*count).unwrap_or(usize::MAX), all),
            Need::Shown(shown) if shown.once => return used.extend(self.shown(shown, intent, now)),
            Need::Shown(_) | Need::Not(_) | Need::Done(_) => return,
        };
        let met: Vec<&Need> = of.iter().filter(|need| self.is_met(need, intent, now)).collect();
        met.into_iter().take(takes).for_each(|need| self.use_up(need, intent, now, used));
    }

    /// Whether enough principals have signed what the intent names.
    fn is_shown(&self, shown: &Shown, intent: &Intent, now: Time) -> bool {
        self.shown(shown, intent, now).len() >= usize::try_from(shown.signers).unwrap_or(usize::MAX)
    }

    /// What the intent names and is of this sort, in its order: for each principal the first piece, and no more than is asked for.
    fn shown(&self, shown: &Shown, intent: &Intent, now: Time) -> Vec<u32> {
        let (mut principals, mut pieces) = (BTreeSet::new(), Vec::new());
        for payload in &intent.evidence {
            for (evidence, signer) in self.evidence.iter().filter(|(evidence, _)| evidence.payload == *payload) {
                let Some(key) = self.keys.get(signer).filter(|key| !key.revoked && key.tenant == intent.tenant) else {
                    continue;
                };
                let age = now.checked_sub(evidence.issued_at);
                if evidence.tenant == intent.tenant
                    && now < evidence.expires_at
                    && evidence.kind == shown.kind
                    && evidence.effect.map_or(!shown.about_effect, |effect| effect == intent.effect)
                    && shown.role.is_none_or(|role| key.roles.contains(&role))
                    && shown.key.is_none_or(|key| key == *signer)
                    && !(shown.not_submitter && key.principal == intent.principal)
                    && shown.max_age_us.is_none_or(|max| age.is_some_and(|age| age <= max))
                    && !(shown.once && self.is_used(*payload))
                    && principals.insert(key.principal)
                {
                    pieces.push(*payload);
                }
            }
        }
        pieces.truncate(usize::try_from(shown.signers).unwrap_or(usize::MAX));
        pieces
    }

    /// What a rule spends, if every budget of it holds.
    fn spend(&self, policy: &Policy, rule: &Rule, intent: &Intent, now: Time) -> Result<Vec<Amount>, Code> {
        let mut amounts = Vec::new();
        for spend in &rule.spends {
            let Some(budget) = policy.budgets.iter().find(|budget| budget.name == spend.budget) else { continue };
            let amount = match (spend.cost, intent.amount) {
                (Cost::Fixed(amount), _) => amount,
                (Cost::Amount, Arg::Number(amount)) => u64::try_from(amount).map_err(|_| "ERR_BUDGET_ERROR")?,
                (Cost::Amount, Arg::Absent | Arg::Text) => return Err("ERR_BUDGET_ERROR"),
            };
            let time = counts(budget.window, now);
            let amount = Amount {
                budget: spend.budget,
                unit: budget.unit,
                amount,
                told: spend.told,
                overdrawn: 0,
                principal: budget.per_principal.then_some(intent.principal),
                action: budget.per_action.then_some(intent.action),
                since: time.map(|(since, _)| since),
                until: time.map(|(_, until)| until),
            };
            let named = budget.tenants.iter().find(|(tenant, _)| *tenant == intent.tenant);
            let limit = named.map_or(budget.limit, |(_, limit)| *limit);
            let (reserved, committed) = self.spent(intent.tenant, &amount, now);
            if u128::from(reserved) + u128::from(committed) + u128::from(amount.amount) > u128::from(limit) {
                return Err("ERR_BUDGET_EXCEEDED");
            }
            amounts.push(amount);
        }
        Ok(amounts)
    }

    /// What counts now of the share that an amount is out of: reserved, and committed.
    fn spent(&self, tenant: Word, of: &Amount, now: Time) -> (u64, u64) {
        let same = self.taken.iter().filter(|taken| {
            taken.tenant == tenant
                && taken.amount.budget == of.budget
                && taken.amount.principal == of.principal
                && taken.amount.action == of.action
                && taken.amount.until.is_some() == of.until.is_some()
                && taken.counts(now)
        });
        let sum = |fate| same.clone().filter(|taken| taken.fate == fate).map(|taken| taken.amount.amount).sum();
        (sum(Fate::Reserved), sum(Fate::Committed))
    }

    /// Whether people are to be asked, or have said enough. The policy in force says whom.
    pub(crate) fn ask(&self, to: Approvers, intent: &Intent, waiting: Option<&Waiting>, now: Time) -> Result<(), No> {
        if let Some(above) = to.above {
            match intent.amount {
                Arg::Number(amount) if amount <= above => return Ok(()),
                Arg::Number(_) => {}
                Arg::Absent | Arg::Text => return Err(No::Refused("ERR_APPROVAL_ERROR")),
            }
        }
        let asks = |deadline| Err(No::Asks(Asked { role: to.role, quorum: to.quorum, deadline }));
        let Some(waiting) = waiting else {
            if self.waiting.iter().filter(|other| other.intent.tenant == intent.tenant).count() >= WAITING_MAX {
                return Err(No::Refused("ERR_APPROVALS_FULL"));
            }
            return asks((now + to.within_us).min(intent.expires_at));
        };
        let (granted, refused) = self.votes(waiting, to.role);
        // Who refuses ends it: elsewhere it is said with what code.
        if refused || granted >= to.quorum { Ok(()) } else { asks(waiting.asked.deadline) }
    }

    /// How many principals have granted it in this role, by the trust and the rule of now, and whether one has refused it.
    fn votes(&self, waiting: &Waiting, role: Word) -> (u32, bool) {
        let rule = self.policy.as_ref().and_then(|policy| policy.rule(waiting.intent.action));
        let (mut granted, mut refused) = (BTreeSet::new(), false);
        for Vote { key: signer, granted: grants, .. } in waiting.votes.iter().filter(|vote| vote.rule.as_ref() == rule)
        {
            match self.keys.get(signer) {
                Some(key) if *signer == waiting.intent.key || !key.may_answer(&waiting.intent, role) => {}
                Some(key) if *grants => _ = granted.insert(key.principal),
                Some(_) => refused = true,
                None => {}
            }
        }
        (u32::try_from(granted.len()).unwrap_or(u32::MAX), refused)
    }
}
