//! The lock of the one writer.
//!
//! **Invariant:** the lock lives as long as the open file: it ends with the process, however that ends, so it is never
//! stale. The file itself is never removed: two processes would then lock two files of one name.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Doing, LogError};
use crate::files;

/// How often the lock is tried while others only ask for it ([`Lock::is_held`]): with [`ASKED_PAUSE`] for ten seconds, since whoever
/// asks may be stopped in the middle of it.
const ASKED_MAX: u32 = 5000;
const ASKED_PAUSE: Duration = Duration::from_millis(2);

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
    /// Takes the lock. Fails at once if another has it; who only asks for it is waited for.
    ///
    /// # Errors
    /// `ERR_LOG_LOCKED` if another holds it.
    pub fn acquire(path: &Path) -> Result<Lock, LogError> {
        let io = LogError::io(Doing::Lock, &path.display().to_string());
        let file = files::open(OpenOptions::new().write(true).create(true).truncate(false), path);
        let file = file.map_err(&io)?;
        for _ in 0..ASKED_MAX {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { file }),
                Err(Errno::WOULDBLOCK) if is_shared(&file).map_err(&io)? => std::thread::sleep(ASKED_PAUSE),
                Err(Errno::WOULDBLOCK) => break,
                Err(e) => return Err(io(e.into())),
            }
        }
        Err(LogError::Locked(path.to_owned()))
    }

    /// Whether somebody holds the lock now. Nothing is made for it: where there is no file, nobody does.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn is_held(path: &Path) -> Result<bool, LogError> {
        let io = LogError::io(Doing::Lock, &path.display().to_string());
        let file = match files::open(OpenOptions::new().read(true), path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(&io)?,
        };
        is_shared(&file).map(|shared| !shared).map_err(io)
    }
}

/// Whether a lock can be shared, so that nobody has it alone. There is no way to ask but to share it for a moment.
fn is_shared(file: &File) -> std::io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(flock(file, FlockOperation::Unlock).map(|()| true)?),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
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
        // Asking makes nothing, and takes nothing away from who asks at the same time.
        let none = dir.path().join("none");
        assert!(!Lock::is_held(&none).expect("asked") && !none.exists());
        let asking = || (0..1000).for_each(|_| _ = Lock::is_held(&path).expect("asked"));
        std::thread::scope(|scope| {
            scope.spawn(asking);
            (0..100).for_each(|_| drop(Lock::acquire(&path).expect("nobody holds it")));
        });
        let held = Lock::acquire(&path).expect("free");
        assert!(Lock::is_held(&path).expect("asked"));
        drop(held);
        assert!(matches!(Lock::acquire(&dir.path().join("no/lock")), Err(LogError::Io { .. })));
    }
}
