//! Where views are brought up that cannot be written in the ledger's folder: in one of their own, which ends with them.

use std::path::{Path, PathBuf};

use tracing::info;

use writ_log::files;
use writ_projections::sled_store::SledViews;
use writ_schemas::errors::Code;
use writ_schemas::ids::hex;

use crate::config;
use crate::error::{Failure, Result};
use crate::folder::{random, remove};
use crate::space::free_bytes;

/// Memory that looks like a folder.
const SHARED_MEMORY: &str = "/dev/shm";

/// Does something in a folder of its own, where there is the most room; where it fails, elsewhere.
///
/// # Errors
/// Of the last attempt.
pub(super) fn aside<T>(mut attempt: impl FnMut(&Path) -> Result<T>) -> Result<T> {
    let mut places = [config::temporary_folder(), PathBuf::from(SHARED_MEMORY)];
    places.sort_by_key(|place| std::cmp::Reverse(free_bytes(place)));
    let mut last = Failure::new(Code::Io, "no place for views");
    for place in places {
        let folder = place.join(format!("writ-views-{}", hex(&random::<8>()?)));
        info!("views are brought up in {}", folder.display());
        match attempt(&folder) {
            Ok(done) => return Ok(done),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// Makes views in this folder, which is removed with them.
///
/// # Errors
/// It cannot be made or written.
pub(super) fn open(folder: &Path) -> Result<SledViews> {
    files::make_folder(folder).map_err(|e| Failure::io(folder, &e))?;
    let opened = SledViews::temporary(folder).map_err(|e| Failure::new(e.code(), e));
    opened.inspect_err(|_| drop(remove(folder)))
}
