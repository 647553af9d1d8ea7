//! What ended the processes of a ledger for good, by code. A process that ends is gone before anybody asks for its metrics, so the ledger's
//! folder keeps the count, and the next process begins with it.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use tracing::warn;

use writ_log::{files, replace};
use writ_schemas::errors::{Class, Code};

use super::metrics;
use crate::folder::{ENDED, Folder};
use crate::threads;

/// The longest file, in bytes: each code once.
const BYTES_MAX: usize = 16 << 10;

/// How long the end waits for the disk, which may be what ended it.
const PATIENCE: Duration = Duration::from_millis(500);

type Counts = BTreeMap<Code, u64>;

/// Begins with what ended earlier processes.
pub(super) fn begin(folder: &Folder) {
    for (code, count) in read(folder) {
        metrics::fatal(code, count);
    }
}

/// This process ends because of this.
pub(super) fn end(folder: Option<&Folder>, code: Code) {
    metrics::fatal(code, 1);
    let Some(folder) = folder.filter(|_| code.entry().class == Class::Stop).cloned() else { return };
    let (done, kept) = channel();
    let keep = move || {
        let mut counts = read(&folder);
        *counts.entry(code).or_default() += 1;
        let bytes = serde_json::to_vec(&counts).unwrap_or_default();
        if let Err(error) = replace(folder.root(), ENDED, &bytes) {
            warn!(%error, "what ended the process is not kept");
        }
        let _ = done.send(()); // nobody may wait for it any more
    };
    if threads::spawn("ended", keep).is_ok() {
        let _ = kept.recv_timeout(PATIENCE);
    }
}

/// What is kept. It is no part of the ledger: what cannot be read counts nothing.
fn read(folder: &Folder) -> Counts {
    let bytes = files::read(folder.root(), &folder.ended(), BYTES_MAX).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
