//! A ledger with keys, a policy and evidence, and intents that pass under it.
//!
//! Eight tenants. Three of four intents are refunds, which need a ticket and spend a budget; the fourth is a note, which
//! needs nothing. Ten intents of a tenant share a session, so that receipts are chained.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use writ::clock::Clock;
use writ::config::Config;
use writ::error::{Failure, Result};
use writ::folder::Folder;
use writ::intake;
use writ::ledger::{self, Handle, Ledger, Opened, Operators};
use writ::sequencer::{Answer, Submitted};
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::{Digest, LedgerId, Name, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::Bundle;

const TENANTS: u8 = 8;
const SESSION_INTENTS: usize = 10;

/// A ledger that is ready to decide, and everybody who has a key in it.
pub(crate) struct Workload {
    pub(crate) folder: Folder,
    pub(crate) clock: Clock,
    ledger: LedgerId,
    tenants: Vec<Tenant>,
}

struct Tenant {
    name: Name,
    agent: SecretKey,
    approver: SecretKey,
}

impl Workload {
    /// A new ledger in `dir` with its keys trusted and its policy in force.
    pub(crate) fn new(dir: &Path, clock: Clock) -> Result<Workload> {
        let folder = Folder::at(dir.join("ledger"));
        let genesis = ledger::create(&Operators::Made, &folder, None, &Config::default(), &clock)?;
        let tenants = (0..TENANTS)
            .map(|n| {
                let key = |role: u8| SecretKey::from_seed(&[n * 2 + role; 32]);
                Ok(Tenant { name: name(format!("tenant-{n}"))?, agent: key(1), approver: key(2) })
            })
            .collect::<Result<Vec<_>>>()?;
        let workload = Workload { folder, clock, ledger: genesis.value().ledger, tenants };
        let ledger = workload.open()?;
        let mut statements = vec![Statement::ActivatePolicy { bundle: policy()? }];
        for tenant in &workload.tenants {
            for (key, principal, role) in
                [(&tenant.agent, "agent-7", "agent"), (&tenant.approver, "approver-1", "approver")]
            {
                statements.push(Statement::TrustKey {
                    key: key.id(),
                    tenant: tenant.name.clone(),
                    principal: name(principal)?,
                    roles: BTreeSet::from([name(role)?]),
                });
            }
        }
        let acts = statements
            .into_iter()
            .map(|statement| ledger::act(&workload.folder, genesis.value(), statement, &workload.clock))
            .map(|act| Ok((Submitted::Act(Box::new(act?)), 0)))
            .collect::<Result<Vec<_>>>()?;
        recorded(&ledger.handle().submit_all(acts)?)?;
        ledger.finish()?;
        Ok(workload)
    }

    /// The ledger at work.
    pub(crate) fn open(&self) -> Result<Ledger> {
        Opened::open(&self.folder, self.clock.clone())?.start(|failure| {
            eprintln!("{failure}");
            std::process::exit(1);
        })
    }

    /// Registers a ticket of every tenant that is valid for `life` microseconds.
    pub(crate) fn tickets(&self, handle: &Handle, life: u64) -> Result<Vec<Digest>> {
        let now = self.clock.now();
        let signed = self
            .tenants
            .iter()
            .map(|tenant| {
                let evidence = Evidence {
                    ledger: self.ledger,
                    tenant: tenant.name.clone(),
                    kind: name("ticket")?,
                    artifact: Some(Digest::of(&now.0.to_le_bytes())),
                    effect: None,
                    issued_at: now,
                    expires_at: now.plus(life),
                };
                ledger::sign(evidence, &tenant.approver)
            })
            .collect::<Result<Vec<_>>>()?;
        let digests = signed.iter().map(|evidence| evidence.digest()).collect();
        let all = signed.into_iter().map(|evidence| (Submitted::Evidence(Box::new(evidence)), 0)).collect();
        recorded(&handle.submit_all(all)?)?;
        Ok(digests)
    }

    /// The envelopes of `count` intents from number `from` on, signed on every core.
    pub(crate) fn envelopes(
        &self,
        from: usize,
        count: usize,
        tickets: &[Digest],
        expires_at: UnixMicros,
    ) -> Result<Vec<Vec<u8>>> {
        (from..from + count).into_par_iter().map(|n| self.envelope(n, tickets, expires_at)).collect()
    }

    fn envelope(&self, n: usize, tickets: &[Digest], expires_at: UnixMicros) -> Result<Vec<u8>> {
        let (at, round) = (n % self.tenants.len(), n / self.tenants.len());
        let missing = || Failure::new(Code::Usage, "a tenant without its ticket");
        let tenant = self.tenants.get(at).ok_or_else(missing)?;
        let ticket = tickets.get(at).ok_or_else(missing)?;
        let refund = round % 4 != 3;
        let args = if refund {
            json!({"amount_cents": n % 9000 + 100, "currency": "EUR", "order": format!("o-{n}"),
                   "reason": "arrived damaged, the customer sent pictures"})
        } else {
            json!({"order": format!("o-{n}"), "text": "asked for a call back tomorrow before noon, prefers mail"})
        };
        let Value::Object(args) = args else { return Err(Failure::new(Code::Usage, "args are an object")) };
        let intent = Intent {
            tenant: tenant.name.clone(),
            id: name(format!("i-{n}"))?,
            principal: name("agent-7")?,
            session: Some(name(format!("s-{}", round / SESSION_INTENTS))?),
            action: name(if refund { "payments.refund" } else { "notes.add" })?,
            args,
            evidence: if refund { vec![*ticket] } else { Vec::new() },
            expires_at,
        };
        Ok(ledger::sign(intent, &tenant.agent)?.to_envelope())
    }
}

/// Envelopes as intake reads them, each with its length.
pub(crate) fn read(records: Vec<Vec<u8>>) -> Vec<(Submitted, usize)> {
    let lengths: Vec<usize> = records.iter().map(Vec::len).collect();
    intake::read_all(records).into_iter().zip(lengths).collect()
}

fn policy() -> Result<Bundle> {
    let bundle = json!({
        "name": "benchmark",
        "gates": {"temporal": {"disabled": "no hours"}, "proof": "enforced", "budget": "enforced",
                  "escalation": {"disabled": "nobody to ask"}},
        "rules": [
            {"action": "payments.refund", "requires": {"requirement": "justified"},
             "spends": {"budget": {"name": "refunds", "cost": {"arg": "amount_cents"}}},
             "connector": "echo", "window_us": 60_000_000},
            {"action": "notes.add", "requires": {"exempt": "a note changes nothing outside"},
             "spends": {"exempt": "notes are free"}, "connector": "echo", "window_us": 60_000_000}
        ],
        "requirements": {"justified": {"any_of": [
            {"evidence": {"kind": "approval", "role": "approver", "about_effect": true}},
            {"evidence": {"kind": "ticket", "role": "approver", "about_effect": false}}]}},
        "budgets": {"refunds": {"unit": "cents", "limit": 9_000_000_000_000_u64}},
        "connectors": {"echo": {"kind": "echo", "output_schema": {"type": "object"}}}
    });
    serde_json::from_value(bundle).map_err(|e| Failure::new(Code::PolicyInvalid, e))
}

fn name(text: impl AsRef<str>) -> Result<Name> {
    text.as_ref().parse().map_err(|e| Failure::new(Code::Usage, e))
}

fn recorded(answers: &[Answer]) -> Result<()> {
    match answers.iter().find(|answer| !matches!(answer, Answer::Recorded(_))) {
        Some(other) => Err(Failure::new(Code::ActRefused, format!("{other:?}"))),
        None => Ok(()),
    }
}
