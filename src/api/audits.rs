//! What `writ verify` and `writ replay` found of the ledger that is served here: they are other processes, and read its folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::json;

use writ_schemas::errors::Code;
use writ_schemas::strict;

use super::{Answered, Api, document};
use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::telemetry::labels::Label;
use crate::telemetry::metrics::{self, Check, Finding};

/// The longest of them, in bytes.
const AUDIT_BYTES_MAX: usize = 1 << 10;

/// When each check last found that everything holds.
#[derive(Clone, Debug, Default)]
pub struct Audits(Arc<Mutex<BTreeMap<Check, Stopwatch>>>);

/// What a check tells.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Audit {
    check: String,
    verdict: String,
}

/// The body in which a check tells what it found.
#[must_use]
pub fn audit(check: Check, finding: Finding) -> Vec<u8> {
    json!({ "check": check.text(), "verdict": finding.text() }).to_string().into_bytes()
}

fn value_of<L: Label>(text: &str) -> Result<L> {
    let unknown = || Failure::new(Code::Schema, format!("{text:?} is no {}", L::NAME));
    L::ALL.iter().copied().find(|it| it.text() == text).ok_or_else(unknown)
}

impl Audits {
    fn hear(&self, check: Check, finding: Finding) {
        metrics::audit(check, finding);
        if finding == Finding::Holds {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(check, Stopwatch::start());
        }
        self.tell();
    }

    /// Tells how long ago that was.
    pub fn tell(&self) {
        for (check, held) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics::audit_age(*check, held.elapsed());
        }
    }
}

/// Hears a check.
pub(super) async fn hear(State(api): State<Api>, request: Request) -> Answered {
    let (bytes, _share) = document(&api, request, AUDIT_BYTES_MAX).await?;
    let Audit { check, verdict } = strict::parse(&bytes, AUDIT_BYTES_MAX)?;
    api.audits.hear(value_of(&check)?, value_of(&verdict)?);
    Ok(Json(json!({ "answer": "heard" })))
}
