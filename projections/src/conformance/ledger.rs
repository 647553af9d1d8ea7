//! A ledger for tests: made up, but signed, chained and in the order in which the sequencer would write it.

use serde_json::json;
use writ_schemas::act::{Act, Statement};
use writ_schemas::checkpoint::Checkpoint;
use writ_schemas::decision::{
    Amount, Answer, ApprovalFact, Decision, EvidenceFact, EvidenceKnown, ExecutionIntent, Facts, Gate, GateAnswer,
    KeyFact, SEMANTICS, Verdict, VoteFact,
};
use writ_schemas::dsse::{Document, Signed};
use writ_schemas::entry::{Chain, Entry, SALT_LEN};
use writ_schemas::errors::Code;
use writ_schemas::event::{
    DispatchRetried, Event, IntentAdmitted, Partition, Position, ReceiptIssued, RecordRefused, RecordsOverQuota,
    Source, SourceGap, TailCut,
};
use writ_schemas::evidence::Evidence;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{Digest, Lamport, LedgerId, Name, Seq, UnixMicros};
use writ_schemas::intent::Intent;
use writ_schemas::keys::SecretKey;
use writ_schemas::policy::{Bundle, Connector, ConnectorKind, GateModes, Mode};
use writ_schemas::receipt::{Receipt, Status};
use writ_schemas::strict::Refusal;

const HOUR: u64 = 3_600 * 1_000_000;
const START: u64 = 1_790_000_000_000_000;

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("name")
}

/// Reproducible choices (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// A tenant's agent, and the session that it is in.
struct Agent {
    tenant: Name,
    principal: Name,
    key: SecretKey,
    previous: Option<Digest>,
    lamport: u64,
}

/// What a test says of one execution.
pub(crate) struct Run<'a> {
    pub(crate) agent: usize,
    pub(crate) action: &'a str,
    /// What it reserves, and charges if it succeeds.
    pub(crate) spends: Vec<Amount>,
    pub(crate) status: Status,
    pub(crate) evidence: &'a [(Seq, Digest)],
}

/// Writes a ledger, event by event.
pub(crate) struct Writer {
    chain: Chain,
    pub(crate) entries: Vec<Entry>,
    now: UnixMicros,
    keys: [SecretKey; 3],
    agents: Vec<Agent>,
    policy: Digest,
    acts: u64,
    ids: u64,
}

fn sign<T: Document>(value: T, key: &SecretKey) -> Signed<T> {
    Signed::unsigned(value).expect("canonical").sign(key)
}

impl Writer {
    /// A ledger with genesis, two agents and an approver trusted (seqs 1 to 3), a policy (4) and partitions (5).
    pub(crate) fn new(id: u8) -> Writer {
        let ledger = LedgerId([id; 16]);
        let key = |n: u8| SecretKey::from_seed(&[n; 32]);
        let agent = |tenant: &str, principal: &str, n: u8| Agent {
            tenant: name(tenant),
            principal: name(principal),
            key: key(n),
            previous: None,
            lamport: 0,
        };
        let mut writer = Writer {
            chain: Chain::empty(ledger),
            entries: Vec::new(),
            now: UnixMicros(START),
            keys: [key(1), key(2), key(3)],
            agents: vec![agent("acme", "agent-7", 10), agent("globex", "agent-1", 11), agent("acme", "anna", 12)],
            policy: Digest([0; 32]),
            acts: 0,
            ids: 0,
        };
        let [operator, decider, noter] = writer.keys.clone();
        let genesis = Genesis {
            ledger,
            origin: "test.example/writ".to_owned(),
            operators: vec![operator.id()],
            quorum: 1,
            decision_key: decider.id(),
            checkpoint_key: noter.id(),
            signing_mode: SigningMode::Each,
            created_at: writer.now,
        };
        writer.append(Event::LedgerOpened(sign(genesis, &operator).sign(&decider)));
        for at in 0..3 {
            writer.trust(at);
        }
        writer.activate("first");
        let bind = Statement::BindPartitions {
            cluster: "c".to_owned(),
            topic: "writ.intents.v1".to_owned(),
            topic_id: "t".to_owned(),
            partitions: 4,
        };
        let act = writer.act(bind);
        writer.append(Event::PartitionsBound(act));
        writer
    }

    pub(crate) fn ledger(&self) -> LedgerId {
        self.chain.ledger
    }

    pub(crate) fn append(&mut self, event: Event) -> Seq {
        let seq = self.chain.next;
        let salt = [seq.0.to_le_bytes()[0]; SALT_LEN];
        let payload = event.to_payload().expect("encodes");
        let entry = self.chain.append(event.kind(), self.now, salt, payload);
        self.entries.push(entry);
        seq
    }

    pub(crate) fn wait(&mut self, micros: u64) {
        self.now = self.now.plus(micros);
    }

    pub(crate) fn act(&mut self, statement: Statement) -> Signed<Act> {
        self.acts += 1;
        let nonce = name(&format!("act-{}", self.acts));
        sign(Act { ledger: self.ledger(), nonce, expires_at: self.now.plus(HOUR), statement }, &self.keys[0])
    }

    pub(crate) fn trust(&mut self, agent: usize) -> Seq {
        let Agent { tenant, principal, key, .. } = &self.agents[agent];
        let roles = [name("approver")].into();
        let statement =
            Statement::TrustKey { key: key.id(), tenant: tenant.clone(), principal: principal.clone(), roles };
        let act = self.act(statement);
        self.append(Event::KeyTrusted(act))
    }

    pub(crate) fn revoke(&mut self, agent: usize) -> Seq {
        let act = self.act(Statement::RevokeKey { key: self.agents[agent].key.id() });
        self.append(Event::KeyRevoked(act))
    }

    pub(crate) fn activate(&mut self, policy: &str) -> Seq {
        self.activate_with(policy, None)
    }

    /// Puts a policy in force, under which the one connector is what it says.
    fn activate_with(&mut self, policy: &str, echo: Option<ConnectorKind>) -> Seq {
        let connector = |kind| Connector {
            kind,
            input_schema: None,
            output_schema: json!({}),
            retry: None,
            breaker: None,
            hold_us: None,
        };
        let gates = GateModes {
            temporal: Mode::Enforced,
            proof: Mode::Enforced,
            budget: Mode::Enforced,
            escalation: Mode::Enforced,
        };
        let bundle = Bundle {
            name: name(policy),
            gates,
            rules: Vec::new(),
            requirements: Default::default(),
            budgets: Default::default(),
            connectors: echo.into_iter().map(|kind| (name("echo"), connector(kind))).collect(),
        };
        self.policy = Digest::of(policy.as_bytes());
        let act = self.act(Statement::ActivatePolicy { bundle });
        self.append(Event::PolicyActivated(act))
    }

    /// Evidence by the approver.
    pub(crate) fn evidence(&mut self, kind: &str) -> (Seq, Digest) {
        let evidence = Evidence {
            ledger: self.ledger(),
            tenant: name("acme"),
            kind: name(kind),
            artifact: Some(Digest::of(&self.now.0.to_le_bytes())),
            effect: None,
            issued_at: self.now,
            expires_at: self.now.plus(HOUR),
        };
        let signed = sign(evidence, &self.agents[2].key);
        let digest = signed.digest();
        (self.append(Event::EvidenceRegistered(signed)), digest)
    }

    fn intent(&mut self, agent: usize, action: &str, evidence: &[(Seq, Digest)]) -> (Seq, Signed<Intent>) {
        self.ids += 1;
        let Agent { tenant, principal, key, .. } = &self.agents[agent];
        let intent = Intent {
            tenant: tenant.clone(),
            id: name(&format!("i-{}", self.ids)),
            principal: principal.clone(),
            session: Some(name("s")),
            action: name(action),
            args: json!({"n": self.ids}).as_object().cloned().unwrap_or_default(),
            evidence: evidence.iter().map(|(_, digest)| *digest).collect(),
            expires_at: self.now.plus(HOUR),
        };
        let signed = sign(intent, key);
        let admitted = IntentAdmitted { intent: signed.clone(), source: Source::Local, trace: None };
        (self.append(Event::IntentAdmitted(admitted)), signed)
    }

    fn decision(
        &mut self,
        seq: Seq,
        intent: &Signed<Intent>,
        code: Code,
        facts: Facts,
        spends: &[Amount],
    ) -> Signed<Decision> {
        let value = intent.value();
        let passed = code == Code::Ok;
        let execution = passed.then(|| ExecutionIntent {
            effect_digest: Digest::of(&value.effect().expect("effect")),
            connector: name("echo"),
            idempotency_key: intent.digest(),
            not_before: self.now,
            not_after: self.now.plus(HOUR),
            reservation: spends.iter().cloned().collect(),
            uses: Vec::new(),
        });
        let trust = if code == Code::KeyUnknown { Answer::Refused } else { Answer::Passed };
        let decision = Decision {
            asks: None,
            ledger: self.ledger(),
            semantics: SEMANTICS,
            intent_seq: seq,
            intent_digest: intent.digest(),
            signer: intent.signer().expect("one signer"),
            tenant: value.tenant.clone(),
            id: value.id.clone(),
            round: 0,
            now: self.now,
            policy: Some(self.policy),
            gates: vec![
                GateAnswer { gate: Gate::Trust, answer: trust },
                GateAnswer { gate: Gate::Envelope, answer: Answer::Passed },
            ],
            facts,
            verdict: if passed { Verdict::Pass } else { Verdict::Fail },
            code,
            because: String::new(),
            execution,
        };
        sign(decision, &self.keys[1])
    }

    /// An intent that is refused.
    pub(crate) fn refused(&mut self, agent: usize, action: &str, code: Code) -> Seq {
        let (seq, intent) = self.intent(agent, action, &[]);
        let decision = self.decision(seq, &intent, code, Facts::default(), &[]);
        self.append(Event::DecisionMade(decision))
    }

    /// An intent that people are asked about: they refuse it, or say nothing until it is too late. The entries of its intent, the
    /// decision that asks, what ends the wait, and the decision after that.
    pub(crate) fn escalated(&mut self, agent: usize, answers: bool) -> [Seq; 4] {
        let (seq, intent) = self.intent(agent, "mail", &[]);
        let deadline = self.now.plus(HOUR);
        let asks = self.decision(seq, &intent, Code::ApprovalNeeded, Facts::default(), &[]);
        let asks = Decision { verdict: Verdict::Escalate, ..asks.value().clone() };
        let asked = self.append(Event::DecisionMade(sign(asks.clone(), &self.keys[1])));
        self.wait(1_000);
        let (ended, code, votes) = if answers {
            let (intent, policy, rule) = (intent.digest(), self.policy, self.policy);
            let approve = Statement::Approve { granted: false, intent, policy, reason: "no".to_owned(), rule };
            let act = self.act(approve);
            let (signer, seq) = (act.signer().expect("one signer"), self.append(Event::ApprovalRecorded(act)));
            let vote = VoteFact { granted: false, principal: None, roles: [].into(), rule, seq, signer };
            (seq, Code::ApprovalDenied, vec![vote])
        } else {
            (self.append(Event::DeadlinePassed(intent.digest())), Code::ApprovalTimedOut, vec![])
        };
        let facts =
            Facts { approval: Some(Box::new(ApprovalFact { deadline, passed: !answers, votes })), ..Facts::default() };
        let again = self.decision(seq, &intent, code, facts, &[]);
        let again = Decision { round: 1, ..again.value().clone() };
        [seq, asked, ended, self.append(Event::DecisionMade(sign(again, &self.keys[1])))]
    }

    /// A stranger's intent under an id that is taken, refused for its key.
    pub(crate) fn squat(&mut self, id: u64) -> Seq {
        let ids = std::mem::replace(&mut self.ids, id - 1);
        let key = std::mem::replace(&mut self.agents[0].key, SecretKey::from_seed(&[99; 32]));
        let seq = self.refused(0, "squat", Code::KeyUnknown);
        self.agents[0].key = key;
        self.ids = ids;
        seq
    }

    /// An intent that passes and ends; the digest of its receipt, whose entry is the last.
    pub(crate) fn run(&mut self, run: &Run<'_>) -> Digest {
        let (intent_seq, intent) = self.intent(run.agent, run.action, run.evidence);
        let Agent { tenant, principal, .. } = &self.agents[run.agent];
        let facts = Facts {
            frozen: false,
            key: Some(KeyFact { tenant: tenant.clone(), principal: principal.clone(), revoked: None }),
            evidence: run.evidence.iter().map(|(seq, digest)| self.known(*seq, *digest)).collect(),
            ..Facts::default()
        };
        let decision = self.decision(intent_seq, &intent, Code::Ok, facts, &run.spends);
        let decision_seq = self.append(Event::DecisionMade(decision.clone()));
        let dispatched_at = (run.status != Status::Expired).then_some(self.now);
        if dispatched_at.is_some() {
            self.append(Event::DispatchStarted(decision_seq));
        }
        if run.status == Status::Failed {
            let (decision, because) = (decision_seq, "answered 429".to_owned());
            self.append(Event::DispatchRetried(DispatchRetried {
                decision,
                attempts: 1,
                due: self.now,
                because,
                asked_us: 0,
            }));
            self.append(Event::DispatchStarted(decision_seq));
        }
        self.wait(1_000);
        let code = match run.status {
            Status::Succeeded => Code::Ok,
            Status::Expired => Code::WindowClosed,
            Status::Failed | Status::Uncertain => Code::ContentIntegrity,
        };
        self.receipt(run, &intent, (decision_seq, decision.digest()), dispatched_at, code)
    }

    /// An execution that is carried out outside, where the policy in force says so. What `run` says of it is reported in time, as
    /// happened or not; or it is missed, and may be reported `late`.
    pub(crate) fn outside(&mut self, run: &Run<'_>, late: Option<bool>) -> (Seq, Digest) {
        let (intent_seq, intent) = self.intent(run.agent, run.action, run.evidence);
        let decision = self.decision(intent_seq, &intent, Code::Ok, Facts::default(), &run.spends);
        let (digest, decision_seq) = (decision.digest(), self.append(Event::DecisionMade(decision)));
        self.append(Event::DispatchStarted(decision_seq));
        let dispatched_at = Some(self.now);
        self.wait(HOUR);
        let report = |writer: &mut Writer, applied: bool| {
            let because = (!applied).then(|| "no".to_owned());
            let act = writer.act(Statement::Report { applied, because, decision: digest, output: None });
            let act = sign(act.value().clone(), &writer.agents[2].key);
            writer.append(Event::OutcomeReconciled(act));
        };
        let code = match run.status {
            Status::Succeeded => Code::Ok,
            Status::Failed => Code::ConnectorRefused,
            Status::Uncertain | Status::Expired => Code::OutcomeMissing,
        };
        if code == Code::OutcomeMissing {
            self.append(Event::DeadlinePassed(digest));
        } else {
            report(self, code == Code::Ok);
        }
        let receipt = self.receipt(run, &intent, (decision_seq, digest), dispatched_at, code);
        if let Some(applied) = late.filter(|_| code == Code::OutcomeMissing) {
            self.wait(1_000);
            report(self, applied);
        }
        (decision_seq, receipt)
    }

    /// Puts a policy in force that has the connector outside.
    pub(crate) fn activate_outside(&mut self) -> Seq {
        self.activate_with("outside", Some(ConnectorKind::External { role: name("approver"), within_us: HOUR }))
    }

    fn receipt(
        &mut self,
        run: &Run<'_>,
        intent: &Signed<Intent>,
        (decision_seq, decision_digest): (Seq, Digest),
        dispatched_at: Option<UnixMicros>,
        code: Code,
    ) -> Digest {
        let (value, agent) = (intent.value(), &mut self.agents[run.agent]);
        agent.lamport += 1;
        let receipt = Receipt {
            ledger: self.chain.ledger,
            tenant: value.tenant.clone(),
            id: value.id.clone(),
            principal: value.principal.clone(),
            action: value.action.clone(),
            because: None,
            decision_seq,
            decision_digest,
            effect_digest: Digest::of(&value.effect().expect("effect")),
            connector: name("echo"),
            status: run.status,
            code,
            output: None,
            usage: run.spends.iter().filter(|_| run.status == Status::Succeeded).cloned().collect(),
            session: value.session.clone(),
            previous: agent.previous,
            lamport: Lamport(agent.lamport),
            dispatched_at,
            ended_at: self.now,
        };
        let receipt = sign(receipt, &self.keys[1]);
        let digest = receipt.digest();
        agent.previous = Some(digest);
        self.append(Event::ReceiptIssued(ReceiptIssued { receipt, output: None }));
        digest
    }

    fn known(&self, seq: Seq, digest: Digest) -> EvidenceFact {
        let known = EvidenceKnown {
            seq,
            kind: name("approval"),
            signer: self.agents[2].key.id(),
            roles: [name("approver")].into(),
            effect: None,
            expires_at: self.now.plus(HOUR),
            issued_at: None,
            principal: None,
            used: None,
        };
        EvidenceFact { digest, known: Some(known) }
    }

    pub(crate) fn reconcile(&mut self, receipt: Digest, applied: bool) -> Seq {
        let act = self.act(Statement::Reconcile { receipt, applied });
        self.append(Event::OutcomeReconciled(act))
    }

    pub(crate) fn checkpoint(&mut self) -> Seq {
        let (size, head) = (self.chain.next.0, self.chain.head);
        let checkpoint = Checkpoint { origin: "test.example/writ".to_owned(), size, root: [7; 32], head };
        let note = checkpoint.sign(&self.keys[2]);
        self.append(Event::CheckpointSigned(note))
    }
}

/// So many cents.
pub(crate) fn cents(amount: u64) -> Amount {
    spent("monthly", "cents", amount)
}

/// An amount out of a budget.
pub(crate) fn spent(budget: &str, unit: &str, amount: u64) -> Amount {
    Amount {
        action: None,
        actual: None,
        amount,
        budget: name(budget),
        overdrawn: None,
        principal: None,
        since: None,
        unit: name(unit),
        until: None,
    }
}

/// A ledger of `steps` random steps, in which every kind of event occurs sooner or later.
pub(crate) fn random(seed: u64, steps: usize) -> Vec<Entry> {
    let mut dice = Dice(seed | 1);
    let mut writer = Writer::new(7);
    let (mut evidence, mut open) = (Vec::new(), Vec::new());
    let partition = Partition { topic_id: "t".to_owned(), number: 0 };
    for step in 0..steps {
        writer.wait(dice.roll(9 * HOUR));
        match dice.roll(17) {
            10 => drop(writer.escalated(0, dice.roll(2) == 0)),
            0 => evidence.push(writer.evidence("approval")),
            1 => drop(writer.refused(0, "refund", Code::ProofMissing)),
            2 => drop(writer.refused(1, "mail", Code::KeyUnknown)),
            3 => {
                let refusal = Refusal::new(Code::JsonSyntax, "not JSON");
                writer.append(Event::RecordRefused(RecordRefused::new(Source::Http, refusal, b"{", None)));
            }
            4 => drop(writer.checkpoint()),
            5 => match open.pop() {
                Some(receipt) => drop(writer.reconcile(receipt, dice.roll(2) == 0)),
                None => drop(writer.append(Event::StateHashed(Digest([3; 32])))),
            },
            6 => {
                let freeze =
                    writer.act(Statement::Freeze { principal: None, reason: "drill\n".to_owned(), tenant: None });
                writer.append(Event::Frozen(freeze));
                let thaw = writer.act(Statement::Thaw { principal: None, tenant: None });
                writer.append(Event::Thawed(thaw));
            }
            7 => {
                let agent = usize::try_from(dice.roll(3)).expect("small");
                writer.revoke(agent);
                let rotate = writer.act(Statement::RotateDecisionKey { key: writer.agents[agent].key.id() });
                writer.append(Event::LedgerKeyRotated(rotate));
                writer.trust(agent);
            }
            8 => drop(writer.activate(&format!("policy-{step}"))),
            11 => {
                writer.activate_outside();
                let statuses = [Status::Succeeded, Status::Failed, Status::Uncertain, Status::Uncertain];
                let status = statuses[usize::try_from(dice.roll(4)).expect("small")];
                let late = [None, Some(true), Some(false)][usize::try_from(dice.roll(3)).expect("small")];
                let run =
                    Run { agent: 0, action: "refund", spends: vec![cents(dice.roll(500))], status, evidence: &[] };
                let (_, receipt) = writer.outside(&run, late);
                if status == Status::Uncertain && late.is_none() {
                    open.push(receipt);
                }
            }
            9 => {
                let next = Position { partition: partition.clone(), next: dice.roll(99) };
                writer.append(Event::SourceAdvanced(vec![next]));
                writer.append(Event::TailCut(TailCut { segment: 1, offset: 2, bytes: 3 }));
                writer.append(Event::SourceGap(SourceGap { partition: partition.clone(), expected: 1, found: 2 }));
                let over = RecordsOverQuota { partition: partition.clone(), first: 2, next: 5, count: 3 };
                writer.append(Event::RecordsOverQuota(over));
            }
            _ => {
                let status = match dice.roll(6) {
                    0 => Status::Failed,
                    1 => Status::Uncertain,
                    2 => Status::Expired,
                    _ => Status::Succeeded,
                };
                let agent = usize::try_from(dice.roll(2)).expect("small");
                let action = if dice.roll(2) == 0 { "refund" } else { "mail" };
                let spends = if action == "refund" { vec![cents(dice.roll(500))] } else { vec![] };
                let shown = usize::try_from(dice.roll(3)).expect("small");
                let shown: Vec<_> = evidence.iter().rev().take(shown).copied().collect();
                let digest = writer.run(&Run { agent, action, spends, status, evidence: &shown });
                if status == Status::Uncertain {
                    open.push(digest);
                }
            }
        }
    }
    writer.entries
}
