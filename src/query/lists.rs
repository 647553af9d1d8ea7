//! Long answers, a part at a time: `items`, and `next`, the cursor of the part behind them, where there is one.

use serde_json::{Value, json};

use writ_projections::metering::{LineKey, Meter, UsageLine};
use writ_projections::page::{Cursor, Page, Part};
use writ_projections::proofgraph::{Dispatched, Graph};
use writ_schemas::decision::Decision;
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::policy::ConnectorKind;

use super::{Library, document, view, with};
use crate::error::{Failure, Result};

/// The most lines of usage, or receipts, in one answer: a few hundred kilobytes.
const ITEMS_MAX: usize = 250;

/// The most dispatches in one answer.
const DISPATCHES_MAX: usize = 256;

/// No further one is put into an answer whose documents have this many bytes: 4 MiB.
const DISPATCHES_BYTES_MAX: usize = 4 << 20;

pub(super) fn page(page: Page<Value>) -> Value {
    json!({ "items": page.items, "next": page.next.map(|next| next.to_string()) })
}

pub(super) fn elsewhere(seq: Seq) -> Failure {
    Failure::new(Code::ViewDamaged, format!("it points to entry {seq}, which is another one"))
}

impl Library {
    /// What was dispatched to somebody outside of a tenant and is not reported, in the order of the decisions: the signed intent, the
    /// signed decision with its execution intent, and until when the outcome is due.
    ///
    /// # Errors
    /// The log or a view failed.
    pub fn dispatches(&self, tenant: &Name, connector: &Name, part: &Part) -> Result<Value> {
        let (views, log) = (self.views.current()?, |seq| self.event(seq));
        let graph = Graph::new(&views.graph, &log);
        let (mut found, mut bytes) = (Page { items: Vec::new(), next: None }, 0_usize);
        let another = |(of_tenant, of_connector): &(Name, Name)| of_tenant != tenant || of_connector != connector;
        for pair in graph.dispatched(Seq(part.from())) {
            let (seq, dispatched) = pair.map_err(view)?;
            if dispatched.of.as_ref().is_some_and(another) {
                continue; // before anything is read of the log
            }
            let Some((dispatch, len)) = self.dispatch(tenant, connector, seq, &dispatched)? else { continue };
            bytes = bytes.saturating_add(len);
            let most = part.limit.min(DISPATCHES_MAX);
            if found.items.len() >= most || bytes > DISPATCHES_BYTES_MAX && !found.items.is_empty() {
                found.next = Some(Cursor::from(seq.0));
                break;
            }
            found.items.push(dispatch);
        }
        Ok(with(page(found), [("connector", json!(connector)), ("tenant", json!(tenant))]))
    }

    /// One of them, and how long its documents are; nothing if it is another tenant's or connector's, or not outside.
    fn dispatch(
        &self,
        tenant: &Name,
        connector: &Name,
        seq: Seq,
        dispatched: &Dispatched,
    ) -> Result<Option<(Value, usize)>> {
        let Event::DecisionMade(decision) = self.event(seq)? else { return Err(elsewhere(seq)) };
        let of = |it: &Decision| it.execution.as_ref().is_some_and(|execution| execution.connector == *connector);
        if decision.value().tenant != *tenant || !of(decision.value()) {
            return Ok(None);
        }
        let policy = self.policy(dispatched.policy)?;
        let kind = policy.as_ref().and_then(|policy| policy.connector(connector)).map(|connector| &connector.kind);
        let Some(ConnectorKind::External { within_us, .. }) = kind else { return Ok(None) };
        let intent_seq = decision.value().intent_seq;
        let Event::IntentAdmitted(admitted) = self.event(intent_seq)? else { return Err(elsewhere(intent_seq)) };
        let dispatch = json!({
            "decision": document(&decision), "decision_seq": seq, "dispatched_seq": dispatched.dispatch,
            "due": dispatched.at.plus(*within_us), "id": decision.value().id, "intent": document(&admitted.intent),
        });
        Ok(Some((dispatch, decision.payload().len() + admitted.intent.payload().len())))
    }

    /// Usage by tenant, action, day and unit. `line` names the line in [`Library::usage_receipts`].
    ///
    /// # Errors
    /// The view failed.
    pub fn usage(&self, tenant: Option<&Name>, part: &Part) -> Result<Value> {
        let views = self.views.current()?;
        let lines = Meter::new(&views.metering).usage(tenant, &part.at_most(ITEMS_MAX)).map_err(view)?;
        let named = |line: &UsageLine| with(json!(line), [("line", json!(line.key().name().to_string()))]);
        Ok(page(Page { items: lines.items.iter().map(named).collect(), next: lines.next }))
    }

    /// The receipts that a line of usage was counted from, in the order of the log. The amounts of all parts add up to its sum.
    ///
    /// # Errors
    /// The view failed.
    pub fn usage_receipts(&self, line: &LineKey, part: &Part) -> Result<Value> {
        let views = self.views.current()?;
        let receipts = Meter::new(&views.metering).usage_sources(line, &part.at_most(ITEMS_MAX)).map_err(view)?;
        Ok(page(Page { items: receipts.items.iter().map(|it| json!(it)).collect(), next: receipts.next }))
    }
}
