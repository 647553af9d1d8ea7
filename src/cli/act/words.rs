//! An act in words, for whoever is to sign it. Texts of others are quoted: none can move the cursor or hide what follows.

use jiff::Timestamp;

use writ_kernel::policy::Policy;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::Signed;
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Name, UnixMicros};

use crate::cli::output;
use crate::clock::Clock;

/// Prints what an act states, until when, and who has signed it. `genesis` is that of the ledger at hand, which may be
/// another one than the act's.
pub(super) fn show(act: &Signed<Act>, genesis: Option<&Genesis>, clock: &Clock) {
    let Act { ledger, expires_at, statement, .. } = act.value();
    output::line(format!("act       {}", act.digest()));
    let other = genesis.is_some_and(|genesis| genesis.ledger != *ledger);
    output::line(format!("ledger    {ledger}{}", if other { ", which is not the one in this folder" } else { "" }));
    output::line(format!("states    {}", words(statement)));
    let minutes = expires_at.0.saturating_sub(clock.now().0) / 60_000_000;
    output::line(match minutes {
        0 => "expires   now, or before".to_owned(),
        _ => format!("expires   in {} h {} min", minutes / 60, minutes % 60),
    });
    let genesis = genesis.filter(|_| !other);
    for one in act.signatures() {
        let stranger = genesis.is_some_and(|genesis| !genesis.operators.contains(&one.key));
        output::line(format!("signed    by {}{}", one.key, if stranger { ", who is no operator" } else { "" }));
    }
    if let Some(genesis) = genesis {
        let operators = act.signatures().iter().filter(|one| genesis.operators.contains(&one.key)).count();
        let (all, needed) = (genesis.operators.len(), genesis.quorum);
        output::line(format!("operators {operators} of {all} have signed, {needed} needed"));
    }
}

fn words(statement: &Statement) -> String {
    match statement {
        Statement::ActivatePolicy { bundle } => {
            // The digest is what `writ policy check` prints of the same bundle.
            let digest = Policy::compile(bundle).map_or("not valid".to_owned(), |policy| policy.digest().to_string());
            format!("policy {} ({digest}, {} rules) is in force, instead of any other", bundle.name, bundle.rules.len())
        }
        Statement::TrustKey { key, tenant, principal, roles } => {
            let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
            let roles = if roles.is_empty() { "without a role".to_owned() } else { format!("as {}", roles.join(", ")) };
            format!("{key} is trusted for tenant {tenant}, principal {principal}, {roles}")
        }
        Statement::RevokeKey { key } => format!("{key} is trusted no more"),
        Statement::RotateDecisionKey { key } => {
            format!(
                "{key} signs decisions and receipts from the next entry on; the old key and the new one have to sign this, too"
            )
        }
        Statement::AdjustClock { now } => {
            format!("the clock of the ledger's machine is right where it shows about {}", time(*now))
        }
        Statement::Freeze { reason, tenant, principal } => {
            let of = extent(tenant.as_ref(), principal.as_ref());
            format!("every intent and every dispatch{of} is refused, because {reason:?}")
        }
        Statement::Thaw { tenant, principal } => {
            let of = extent(tenant.as_ref(), principal.as_ref());
            format!("the freeze ends: intents{of} are decided and dispatched again")
        }
        Statement::Approve { granted, intent, policy, reason, rule } => {
            let said = if *granted { "is granted" } else { "is refused" };
            format!(
                "what the intent {intent} asks {said} under the rule {rule} of the policy {policy}, because {reason:?}"
            )
        }
        Statement::Report { applied, because, decision, .. } => {
            let applied = if *applied { "did happen" } else { "did not happen" };
            let because = because.as_ref().map(|why| format!(", because {why:?}")).unwrap_or_default();
            format!("the effect of the decision {decision} {applied}{because}")
        }
        Statement::Reconcile { receipt, applied } => {
            let applied = if *applied { "did happen" } else { "did not happen" };
            format!("the effect of the uncertain receipt {receipt} {applied}")
        }
        Statement::BindPartitions { cluster, topic, topic_id, partitions } => {
            format!(
                "partitions 0 to {partitions} (not included) of topic {topic:?} ({topic_id:?}) in Kafka cluster {cluster:?} belong to this ledger"
            )
        }
    }
}

fn time(at: UnixMicros) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    moment.map_or_else(|| format!("{} microseconds of Unix time", at.0), |moment| moment.to_string())
}

/// Of what a freeze is, where it is not of all.
fn extent(tenant: Option<&Name>, principal: Option<&Name>) -> String {
    match (tenant, principal) {
        (Some(tenant), Some(principal)) => format!(" of principal {principal} of tenant {tenant}"),
        (Some(tenant), None) => format!(" of tenant {tenant}"),
        (None, _) => String::new(),
    }
}
