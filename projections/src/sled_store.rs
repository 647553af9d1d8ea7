//! Views on disk: one sled database a folder, one tree a projection.
//!
//! sled makes a batch atomic within one tree, so a view and its bookmark share theirs. Commits reach the disk in the
//! background, in order; a crash loses the last of them, and the view then catches up from its older bookmark.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::store::{Batch, Pairs, Store, StoreError};

/// What sled may keep in memory unless told otherwise: 8 MiB of pages, which take two to three times as much. Views are
/// written in the order of the log, so more would only hold what nobody asks for; its own default is 1 GiB.
pub const CACHE_BYTES: u64 = 8 << 20;

/// How often sled writes what it holds back, in milliseconds.
const FLUSH_EVERY_MS: u64 = 500;

/// How often an opening is tried: sled lets go of its lock some milliseconds after the last handle was dropped, when its
/// flushing thread ends. With [`OPEN_PAUSE`] this waits for one second in all.
const OPEN_ATTEMPTS: u32 = 50;

/// How long to wait between two attempts.
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// The folder of views, opened once a process: sled locks it.
#[derive(Clone, Debug)]
pub struct SledViews {
    db: sled::Db,
    place: Option<Arc<Temporary>>,
}

/// A folder that is removed with the last of whoever has it open, which must be dropped before.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    /// sled removes it when its flushing thread ends; a process that ended before would leave it behind.
    fn drop(&mut self) {
        for _ in 0..OPEN_ATTEMPTS {
            if !self.0.exists() {
                return;
            }
            std::thread::sleep(OPEN_PAUSE);
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl SledViews {
    /// Opens or creates the folder, with a cache of [`CACHE_BYTES`].
    ///
    /// # Errors
    /// It cannot be read or written, another process has it open, or it is damaged.
    pub fn open(folder: &Path) -> Result<SledViews, StoreError> {
        SledViews::open_with_cache(folder, CACHE_BYTES)
    }

    /// Opens or creates the folder, with a cache of this size.
    ///
    /// # Errors
    /// As [`SledViews::open`].
    pub fn open_with_cache(folder: &Path, cache_bytes: u64) -> Result<SledViews, StoreError> {
        SledViews::open_by(&config(folder, cache_bytes))
    }

    /// The same, in a folder that is removed with the last handle.
    ///
    /// # Errors
    /// As [`SledViews::open`].
    pub fn temporary(folder: &Path) -> Result<SledViews, StoreError> {
        let place = Some(Arc::new(Temporary(folder.to_owned())));
        Ok(SledViews { place, ..SledViews::open_by(&config(folder, CACHE_BYTES).temporary(true))? })
    }

    fn open_by(config: &sled::Config) -> Result<SledViews, StoreError> {
        for _ in 1..OPEN_ATTEMPTS {
            match config.open() {
                Err(sled::Error::Io(error)) if lock_is_held(&error) => std::thread::sleep(OPEN_PAUSE),
                opened => return opened.map(SledViews::of).map_err(store_error),
            }
        }
        config.open().map(SledViews::of).map_err(store_error)
    }

    fn of(db: sled::Db) -> SledViews {
        SledViews { db, place: None }
    }

    /// The store of the projection of this name. Clones of one store read what its follower has committed.
    ///
    /// # Errors
    /// As [`SledViews::open`].
    pub fn store(&self, name: &str) -> Result<SledStore, StoreError> {
        Ok(SledStore { tree: self.db.open_tree(name.as_bytes()).map_err(store_error)?, _place: self.place.clone() })
    }

    /// Returns when every commit to every view would survive the machine.
    ///
    /// # Errors
    /// The disk did not take it.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(drop).map_err(store_error)
    }
}

fn config(folder: &Path, cache_bytes: u64) -> sled::Config {
    sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(Some(FLUSH_EVERY_MS))
}

/// One view on disk.
#[derive(Clone, Debug)]
pub struct SledStore {
    tree: sled::Tree,
    _place: Option<Arc<Temporary>>,
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tree.get(key).map_err(store_error)?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Pairs<'_> {
        self.scan_from(prefix, prefix)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8]) -> Pairs<'_> {
        let prefix = prefix.to_vec();
        let start = from.max(&prefix).to_vec();
        let pairs = self.tree.range(start..).map(|pair| {
            let (key, value) = pair.map_err(store_error)?;
            Ok((key.to_vec(), value.to_vec()))
        });
        Box::new(pairs.take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        self.tree.apply_batch(changes).map_err(store_error)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.tree.clear().map_err(store_error)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.tree.flush().map(drop).map_err(store_error)
    }
}

/// `Other` is what sled makes of a lock that it does not get; no error of the operating system has this kind.
fn lock_is_held(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Other
}

/// sled reports a folder that another process holds as an I/O error, which it is for us, too: nothing here is damaged.
fn store_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => StoreError::Io(error),
        error @ (sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. }) => StoreError::Damaged(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite;
    use writ_schemas::errors::Code;

    #[test]
    fn sled_holds_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let views = SledViews::open(folder.path()).unwrap();
        suite::check(&mut views.store("one").unwrap());
    }

    #[test]
    fn trees_are_separate_and_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let put = Batch::from([(b"k".to_vec(), Some(b"v".to_vec()))]);
        {
            let views = SledViews::open(folder.path()).unwrap();
            views.store("one").unwrap().commit(&put).unwrap();
            assert_eq!(views.store("two").unwrap().get(b"k").unwrap(), None);
            views.flush().unwrap();
        }
        let views = SledViews::open(folder.path()).unwrap();
        assert_eq!(views.store("one").unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    }

    #[test]
    fn a_temporary_folder_ends_with_its_views() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("views");
        let mut store = SledViews::temporary(&place).unwrap().store("one").unwrap();
        store.commit(&Batch::from([(b"k".to_vec(), Some(b"v".to_vec()))])).unwrap();
        assert!(place.exists());
        drop(store);
        assert!(!place.exists());
    }

    #[test]
    fn a_folder_opens_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..40_u8 {
            let views = SledViews::open(folder.path()).unwrap();
            let mut store = views.store("one").unwrap();
            store.commit(&Batch::from([(vec![round], Some(vec![round; 1000]))])).unwrap();
        }
    }

    #[test]
    fn a_folder_that_is_open_elsewhere_is_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let _views = SledViews::open(folder.path()).unwrap();
        assert_eq!(SledViews::open(folder.path()).map(drop).map_err(|e| e.code()), Err(Code::Io));
    }
}
