//! Room on the disk: whether there is enough for new work, and what a ledger keeps of its own to finish what is under way.
//!
//! A ledger that is served keeps a file of zeros in its folder ([`Folder::reserve`]): two segments' worth, at least
//! [`RESERVE_BYTES_MIN`]. New work is taken while the file is whole and as much as half of it is free besides. Otherwise the disk is
//! *short*: intents and evidence are refused, Kafka is not read, nothing is dispatched. What still has to be written (receipts of
//! what was dispatched, reports, answers of approvers, acts, deadlines, checkpoints) is written, and what finds the disk full is given
//! a part of the file for it. Each second the file is made whole again if it can be, and that it could be is what ends a shortage.
//!
//! With the file used up, the writer stands still until there is room. It tells nothing meanwhile, so nothing is lost.
//!
//! **Invariant:** the file holds nothing. Losing it costs nothing but that it must be made again.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, warn};

use writ_log::files;
use writ_schemas::errors::Code;
use writ_schemas::strict::Refusal;

use crate::error::Result;
use crate::folder::Folder;
use crate::telemetry::metrics;

/// As much as the longest output of a connector takes.
pub const RESERVE_BYTES_MIN: u64 = 1 << 20;

/// More than a small file takes, with its name: 64 KiB.
pub const SMALL_BYTES: u64 = 64 << 10;

/// How often the disk is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the writer waits before it tries again whether there is room.
const PAUSE: Duration = Duration::from_millis(100);

/// The room of a ledger. By default nothing is kept, and a full disk is a failure like others: who works on a ledger for a moment
/// does not wait for somebody to make room.
#[derive(Debug, Default)]
pub struct Space(Option<Kept>);

#[derive(Debug)]
struct Kept {
    root: PathBuf,
    file: PathBuf,
    segment_bytes: u64,
    reserve_bytes: u64,
    /// How much of the file there is. Whoever changes it holds this.
    held: Mutex<u64>,
    is_short: AtomicBool,
    is_out: AtomicBool,
}

impl Space {
    /// For a ledger that is served, with segments of this size. The disk is looked at.
    #[must_use]
    pub fn kept(folder: &Folder, segment_bytes: u64) -> Space {
        let file = folder.reserve();
        let space = Space(Some(Kept {
            root: folder.root().to_owned(),
            segment_bytes,
            reserve_bytes: segment_bytes.saturating_mul(2).max(RESERVE_BYTES_MIN),
            held: Mutex::new(held(&file)),
            file,
            is_short: AtomicBool::new(false),
            is_out: AtomicBool::new(false),
        }));
        space.look();
        space
    }

    /// Whether anything is kept, and a full disk is waited out.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there is too little room for new work.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.is_short.load(Ordering::Relaxed))
    }

    /// Whether there is no room for anything, and the writer stands still.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.is_out.load(Ordering::Relaxed))
    }

    /// What whoever brings new work is told while the disk is short.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let needed = self.0.as_ref().map_or(0, |kept| kept.reserve_bytes.saturating_add(kept.free_bytes_min()));
        Refusal::new(Code::DiskFull, format!("new work is taken when {needed} bytes are free"))
    }

    /// Makes what is kept whole again, if there is room for it, and tells whether there is enough for new work.
    pub fn look(&self) {
        if let Some(kept) = &self.0 {
            if let Err(why) = kept.make_whole() {
                kept.fall_short(&why);
            }
            kept.tell();
        }
    }

    /// The disk was full where the loss is small. A little of what is kept is given up, so that only writing it again ends the
    /// shortage: what a file system says of its free space leaves out quotas.
    pub fn notice(&self) {
        self.give(SMALL_BYTES);
    }

    /// Does what writes about so many bytes, and while the disk is full gives it of what is kept.
    ///
    /// # Errors
    /// Those of `attempt`: `ERR_DISK_FULL` once nothing is left to give.
    pub fn write<T>(&self, bytes: u64, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match attempt() {
                Err(failure) if failure.code == Code::DiskFull && self.give(bytes) => {}
                done => return done,
            }
        }
    }

    /// The same for what makes a segment if need be, and must not fail for want of room: where nothing is left to give it waits, as
    /// long as `goes_on`.
    ///
    /// # Errors
    /// As [`Space::write`], where nothing is kept or it does not go on.
    pub fn append(&self, mut attempt: impl FnMut() -> Result<()>, goes_on: impl Fn() -> bool) -> Result<()> {
        let Some(kept) = &self.0 else { return attempt() };
        loop {
            match self.write(kept.segment_bytes, &mut attempt) {
                Err(failure) if failure.code == Code::DiskFull && goes_on() => {
                    if !kept.is_out.swap(true, Ordering::Relaxed) {
                        error!(%failure, "the disk has no room for anything: the writer stands still until it has");
                        kept.tell();
                    }
                    std::thread::sleep(PAUSE);
                }
                done => {
                    if kept.is_out.swap(false, Ordering::Relaxed) {
                        kept.tell();
                    }
                    return done;
                }
            }
        }
    }

    /// Gives so much of what is kept back to the disk. Whether there was any.
    fn give(&self, bytes: u64) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.give(bytes))
    }
}

impl Kept {
    /// What must be free besides.
    fn free_bytes_min(&self) -> u64 {
        self.reserve_bytes / 2
    }

    fn held(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fall_short(&self, why: &io::Error) {
        if !self.is_short.swap(true, Ordering::Relaxed) {
            error!(%why, "the disk has no room for new work; what is under way goes on: {}", self.root.display());
            self.tell();
        }
    }

    fn tell(&self) {
        let [is_short, is_out] = [&self.is_short, &self.is_out].map(|it| u64::from(it.load(Ordering::Relaxed)));
        metrics::disk_short(is_short + is_out);
    }

    fn make_whole(&self) -> io::Result<()> {
        let mut held = self.held();
        let (free, missing) = (free_bytes(&self.root), self.reserve_bytes.saturating_sub(*held));
        metrics::disk(free, *held);
        if free < missing.saturating_add(self.free_bytes_min()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if missing > 0 {
            let file = files::open(OpenOptions::new().write(true).create(true).truncate(false), &self.file)?;
            // What must be free besides is written, too, and given back: a quota shows in no other way.
            let all = self.reserve_bytes.saturating_add(self.free_bytes_min());
            let written = files::write_zeros(&file, *held, all).and_then(|()| file.set_len(self.reserve_bytes));
            written.inspect_err(|_| drop(file.set_len(*held)))?;
            *held = self.reserve_bytes;
        }
        // Whoever takes of it again waits for `held`. A writer that stands still knows best that there is no room.
        if !self.is_out.load(Ordering::Relaxed) && self.is_short.swap(false, Ordering::Relaxed) {
            warn!("the disk has room again: new work is taken");
        }
        Ok(())
    }

    fn give(&self, bytes: u64) -> bool {
        let mut held = self.held();
        self.fall_short(&io::ErrorKind::StorageFull.into());
        let left = held.saturating_sub(bytes);
        let cut = || files::open(OpenOptions::new().write(true), &self.file)?.set_len(left);
        let given = *held > 0 && cut().inspect_err(|e| warn!("{}: {e}", self.file.display())).is_ok();
        *held = if given { left } else { 0 }; // what cannot be cut is not there, or none of ours
        given
    }
}

/// How much of the file there is. A hole in it, as copying makes one, keeps no room.
fn held(file: &Path) -> u64 {
    match fs::symlink_metadata(file) {
        Ok(meta) if meta.is_file() && meta.blocks().saturating_mul(512) >= meta.len() => meta.len(),
        Ok(_) | Err(_) => 0,
    }
}

/// What this user may still write. A file system that does not say is believed to have room until it refuses.
pub(crate) fn free_bytes(folder: &Path) -> u64 {
    match rustix::fs::statvfs(folder) {
        Ok(stat) if stat.f_blocks > 0 => stat.f_bavail.saturating_mul(stat.f_frsize),
        Ok(_) | Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use std::cell::Cell;

    const SEGMENT: u64 = 64 << 10;

    fn full() -> Failure {
        Failure::new(Code::DiskFull, "for this test")
    }

    fn reserve(folder: &Folder) -> Option<u64> {
        fs::metadata(folder.reserve()).ok().map(|meta| meta.len())
    }

    #[test]
    fn who_finds_the_disk_full_is_given_of_what_is_kept_and_it_is_made_whole_again() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::at(dir.path());
        let space = Space::kept(&folder, SEGMENT);
        assert_eq!((space.is_short(), reserve(&folder)), (false, Some(RESERVE_BYTES_MIN)));
        let attempts = Cell::new(0);
        let third = || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 3 { Err(full()) } else { Ok(7) }
        };
        assert_eq!(space.write(SEGMENT, third), Ok(7));
        assert_eq!((space.is_short(), reserve(&folder)), (true, Some(RESERVE_BYTES_MIN - 2 * SEGMENT)));
        space.look();
        assert_eq!((space.is_short(), reserve(&folder)), (false, Some(RESERVE_BYTES_MIN)));
        assert_eq!(space.write(SEGMENT, || Err::<(), _>(full())), Err(full()), "nothing is left to give");
        assert_eq!((space.is_short(), reserve(&folder)), (true, Some(0)));
        // Whoever removes it only makes it scarce.
        fs::remove_file(folder.reserve()).expect("removes");
        assert_eq!(space.write(SEGMENT, || Err::<(), _>(full())), Err(full()));
        space.look();
        assert!(!space.is_short());
        // What is left of it counts at the next start; a copy of it full of holes does not.
        assert_eq!(held(&folder.reserve()), RESERVE_BYTES_MIN);
        let hole = fs::File::create(folder.reserve()).expect("makes");
        hole.set_len(RESERVE_BYTES_MIN).expect("a length");
        assert_eq!(held(&folder.reserve()), 0);
    }

    #[test]
    fn what_cannot_be_kept_is_short_until_it_can() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::at(dir.path());
        fs::create_dir(folder.reserve()).expect("a folder in its place");
        let space = Space::kept(&folder, SEGMENT);
        assert!(space.is_short());
        space.look();
        assert!(space.is_short());
        fs::remove_dir(folder.reserve()).expect("removes");
        space.look();
        assert!(!space.is_short());
        space.notice();
        assert!(space.is_short());
    }

    #[test]
    fn the_writer_waits_for_room_only_where_it_is_kept_and_as_long_as_it_goes_on() {
        let dir = tempfile::tempdir().expect("folder");
        let space = Space::kept(&Folder::at(dir.path()), SEGMENT);
        let asked = Cell::new(0);
        let third = || {
            asked.set(asked.get() + 1);
            asked.get() < 3
        };
        assert_eq!(space.append(|| Err(full()), third), Err(full()));
        assert_eq!((asked.get(), space.is_out()), (3, false));
        assert_eq!(Space::default().append(|| Err(full()), || true), Err(full()));
        assert!(!Space::default().is_short());
    }
}
