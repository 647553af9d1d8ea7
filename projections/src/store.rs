//! Where a view lies: ordered keys and values, changed by one atomic commit at a time.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use writ_schemas::errors::Code;

/// What a commit changes: the new value of each key, or `None` where the key goes.
pub type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Pairs in the order of their keys.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, StoreError>> + 'a>;

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("a view could not be read or written: {0}")]
    Io(#[source] std::io::Error),
    /// What lies there is not a store any more.
    #[error("a view is damaged: {0}")]
    Damaged(#[source] sled::Error),
}

impl StoreError {
    /// The registered code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            StoreError::Io(error) => {
                let kind = error.kind();
                if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                    Code::DiskFull
                } else if matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
                    Code::Permission
                } else {
                    Code::Io
                }
            }
            StoreError::Damaged(_) => Code::ViewDamaged,
        }
    }
}

/// The storage of one view.
///
/// The contract, held by one suite over every implementation: a commit is seen whole or not at all, also after a crash;
/// commits are seen in their order; a later open may have forgotten the last ones, unless they were flushed.
pub trait Store {
    /// The value of a key.
    ///
    /// # Errors
    /// The store did not answer.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every pair whose key starts with `prefix`, in key order, read as it is asked for.
    fn scan(&self, prefix: &[u8]) -> Pairs<'_>;

    /// Every pair whose key starts with `prefix` and is not before `from`, in key order.
    fn scan_from(&self, prefix: &[u8], from: &[u8]) -> Pairs<'_>;

    /// Changes all of this, or nothing.
    ///
    /// # Errors
    /// The store did not take it; the same commit may be tried again.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Removes everything. Not atomic: an interrupted one leaves some pairs behind.
    ///
    /// # Errors
    /// The store did not take it.
    fn clear(&mut self) -> Result<(), StoreError>;

    /// Returns when every commit so far would survive the machine.
    ///
    /// # Errors
    /// The disk did not take it.
    fn flush(&self) -> Result<(), StoreError>;
}

/// A store that ends with the process: for replay, and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pairs.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Pairs<'_> {
        self.scan_from(prefix, prefix)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8]) -> Pairs<'_> {
        let prefix = prefix.to_vec();
        let start = from.max(&prefix).to_vec();
        let pairs = self.pairs.range(start..).take_while(move |(key, _)| key.starts_with(&prefix));
        Box::new(pairs.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for (key, value) in batch {
            match value {
                Some(value) => self.pairs.insert(key.clone(), value.clone()),
                None => self.pairs.remove(key),
            };
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.pairs.clear();
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod suite {
    //! The contract of a store, run over every implementation.

    use super::*;

    fn batch(changes: &[(&str, Option<&str>)]) -> Batch {
        changes.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.map(|v| v.as_bytes().to_vec()))).collect()
    }

    #[track_caller]
    fn check_pairs(pairs: Pairs<'_>, expected: &[(&str, &str)]) {
        let found: Vec<(String, String)> = pairs
            .map(|pair| pair.unwrap())
            .map(|(key, value)| (String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap()))
            .collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    /// Every line of the contract that needs no crash.
    pub(crate) fn check(store: &mut impl Store) {
        check_pairs(store.scan(b""), &[]);
        assert_eq!(store.get(b"a").unwrap(), None);
        store.commit(&batch(&[("b/2", Some("two")), ("a", Some("")), ("b/1", Some("one")), ("c", Some("x"))])).unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(Vec::new()), "an empty value is not an absent one");
        check_pairs(store.scan(b"b/"), &[("b/1", "one"), ("b/2", "two")]);
        check_pairs(store.scan_from(b"b/", b"b/2"), &[("b/2", "two")]);
        check_pairs(store.scan_from(b"b/", b"a"), &[("b/1", "one"), ("b/2", "two")]);
        check_pairs(store.scan_from(b"b/", b"c"), &[]);
        store.commit(&batch(&[("b/1", None), ("b/2", Some("2")), ("never", None)])).unwrap();
        check_pairs(store.scan(b""), &[("a", ""), ("b/2", "2"), ("c", "x")]);
        store.commit(&Batch::new()).unwrap();
        store.flush().unwrap();
        store.clear().unwrap();
        check_pairs(store.scan(b""), &[]);
    }

    #[test]
    fn memory_holds_the_contract() {
        check(&mut MemoryStore::default());
    }
}
