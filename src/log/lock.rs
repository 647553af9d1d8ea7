//! The lock of the one writer.
//!
//! **Invariant:** the lock lives as long as the open file: it ends with the process, however that ends, so it is never
//! stale. The file itself is never removed: two processes would then lock two files of one name.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Doing, LogError};

/// Held while it lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing is not enough: a child process that another thread is just starting shares the open file for a moment.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock); // then closing has to do
    }
}

impl Lock {
    /// Takes the lock, or fails at once.
    ///
    /// # Errors
    /// `ERR_LOG_LOCKED` if another holds it.
    pub fn acquire(path: &Path) -> Result<Lock, LogError> {
        let name = path.display().to_string();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(LogError::io(Doing::Lock, &name))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LogError::Locked(path.to_owned())),
            Err(e) => Err(LogError::io(Doing::Lock, &name)(e.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path).expect("free");
        assert!(matches!(Lock::acquire(&path), Err(LogError::Locked(_))));
        let shared = held.file.try_clone().expect("a second descriptor, as a child has before it runs a program");
        drop(held);
        Lock::acquire(&path).expect("free again");
        drop(shared);
        assert!(matches!(Lock::acquire(&dir.path().join("no/lock")), Err(LogError::Io { .. })));
    }
}
