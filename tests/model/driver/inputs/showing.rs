//! What is shown: evidence, signed by whoever may and by whoever may not, and shown once too often.

use writ_model::documents::{Arg, Evidence, Intent, Word};
use writ_model::model::Key;
use writ_model::policy::{Need, Shown};

use super::{MONTH, Run, last};
use crate::grammar::SECOND;
use crate::play::Result;
use crate::pools::{self, KINDS};

impl Run {
    pub(super) fn show(&mut self) -> Result<()> {
        if self.dice.percent(2) {
            return self.crowd();
        }
        let known = self.dice.some(last(&self.evidence, 6)).map(|(it, _)| it.clone());
        let mut of = match known {
            Some(known) if self.dice.percent(35) => known,
            _ => self.statement_of_evidence(),
        };
        if self.dice.percent(80) {
            of.signers = vec![self.key()];
        } else if self.dice.percent(10) {
            of.signers = self.dice.of(&[&[][..], &[2, 3]]).to_vec();
        }
        self.register(of).map(drop)
    }

    fn statement_of_evidence(&mut self) -> Evidence {
        let key = self.key();
        let (tenant, principal) = self.whose(key);
        let about = Intent { tenant, principal, ..self.intent() };
        self.made -= 1;
        let now = self.play.now;
        let mut about = about;
        pools::intent(&mut about, &mut self.play.numbers);
        let dice = &mut self.dice;
        let odd = [0, 1, MONTH, MONTH + 1];
        Evidence {
            payload: 0,
            ours: !dice.percent(2),
            signers: vec![key],
            tenant,
            kind: dice.of(&KINDS),
            effect: dice.percent(45).then_some(about.effect),
            issued_at: (now + 1).saturating_sub(dice.of(&[0, 1, 1, 2, SECOND, 2 * SECOND])),
            expires_at: now + if dice.percent(8) { dice.of(&odd) } else { SECOND + dice.below(30 * SECOND) },
        }
    }

    /// Somebody signs what a rule asks for once, and somebody shows it several times.
    pub(super) fn use_up(&mut self) -> Result<()> {
        let rules = self.play.world.model.policy.iter().flat_map(|policy| &policy.rules);
        let once = rules.filter_map(|rule| Some((rule.action, once(rule.requires.as_ref()?))));
        let once: Vec<(Word, Vec<Shown>)> = once.filter(|(_, shown)| !shown.is_empty()).collect();
        let Some((action, asked)) = self.dice.some(&once).cloned() else { return self.submit() };
        let mut intent = Intent { action, amount: Arg::Number(1), ..self.intent() };
        pools::intent(&mut intent, &mut self.play.numbers);
        intent.evidence.clear();
        for shown in asked {
            let payload = self.sign(&shown, &intent)?;
            intent.evidence.extend(payload);
        }
        intent.evidence.sort_unstable();
        intent.evidence.dedup();
        for _ in 0..2 + self.dice.below(2) {
            self.made += 1;
            self.send(Intent { id: self.made, ..intent.clone() })?;
        }
        Ok(())
    }

    /// Evidence of this sort for an intent, by everybody whose word counts: the number of its payload.
    fn sign(&mut self, asked: &Shown, intent: &Intent) -> Result<Option<u32>> {
        let now = self.play.now;
        let fits = |key: u32, of: &Key| {
            !of.revoked
                && of.tenant == intent.tenant
                && asked.role.is_none_or(|role| of.roles.contains(&role))
                && asked.key.is_none_or(|it| it == key)
                && !(asked.not_submitter && of.principal == intent.principal)
        };
        let keys = self.play.world.model.keys.iter().filter(|(key, of)| fits(**key, of)).map(|(key, _)| *key);
        let keys: Vec<u32> = keys.collect();
        let expires_at = now + 5 * SECOND + self.dice.below(20 * SECOND);
        let mut payload = None;
        for signer in keys {
            payload = Some(self.register(Evidence {
                payload: 0,
                ours: true,
                signers: vec![signer],
                tenant: intent.tenant,
                kind: asked.kind,
                effect: asked.about_effect.then_some(intent.effect),
                issued_at: now,
                expires_at,
            })?);
        }
        Ok(payload)
    }

    /// Returns the number of its payload.
    fn register(&mut self, mut of: Evidence) -> Result<u32> {
        let document = pools::evidence(&mut of, &mut self.play.numbers);
        self.evidence.push((of.clone(), document.clone()));
        self.play.evidence(&of, &document)?;
        Ok(of.payload)
    }

    /// More keys than may sign one payload sign one.
    fn crowd(&mut self) -> Result<()> {
        let expires_at = self.play.now + 20 * SECOND;
        let mut statement = Evidence { ours: true, tenant: "acme", expires_at, ..self.statement_of_evidence() };
        pools::evidence(&mut statement, &mut self.play.numbers);
        for signer in 0..12 {
            let held = self.play.world.model.evidence.iter().filter(|(it, _)| it.payload == statement.payload).count();
            if held >= 8 {
                self.play.saw("evidence", "by a crowd");
            }
            self.register(Evidence { signers: vec![signer], ..statement.clone() })?;
        }
        Ok(())
    }
}

/// All evidence that a requirement asks for once.
fn once(need: &Need) -> Vec<Shown> {
    match need {
        Need::All(all) | Need::Any(all) | Need::AtLeast(_, all) => all.iter().flat_map(once).collect(),
        Need::Shown(shown) if shown.once => vec![shown.clone()],
        Need::Shown(_) | Need::Not(_) | Need::Done(_) => Vec::new(),
    }
}
