//! Named files in one flat folder: all that the log asks of a disk.
//!
//! **Invariant:** `create` is all or nothing: a file under its own name is whole and was synced. What a crash leaves of an
//! unfinished one has the name with [`UNFINISHED`] behind it, and holds nothing of value.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::files;

mod memory;

pub use memory::{Fault, MemStorage};

/// What stands behind the name of a file that is not finished.
pub const UNFINISHED: &str = ".new";

/// A length in memory as one in a file.
pub(crate) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A length in a file as one in memory. Callers stay below [`crate::frame::BATCH_BYTES_MAX`].
pub(crate) fn span(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The contract, held by one suite over every implementation.
pub trait Storage {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Those of the operating system, here and below.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A file's length.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Makes a file of `size` zeros, really written and synced, for [`Storage::adopt`]. Its name ends in [`UNFINISHED`] and may
    /// be lost. A leftover of an earlier attempt is overwritten.
    ///
    /// # Errors
    /// Nothing of it is left, unless it cannot be removed either.
    fn prepare(&self, unfinished: &str, size: u64) -> io::Result<()>;

    /// Writes `head` at the beginning of a prepared file and gives it its own name. When it returns, the file and its name are
    /// on disk.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one of that name, `NotFound` if none was prepared. Where the disk is full, it may be tried again
    /// with the same `head`.
    fn adopt(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()>;

    /// Makes a file of `size` bytes, `head` and then zeros: prepared and adopted at once.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one of that name. Otherwise nothing of it is left.
    fn create(&self, name: &str, head: &[u8], size: u64) -> io::Result<()> {
        if self.size(name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let unfinished = format!("{name}{UNFINISHED}");
        self.prepare(&unfinished, size)?;
        self.adopt(&unfinished, name, head).inspect_err(|_| drop(self.remove(&unfinished)))
    }

    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes within the file. Nothing is promised until [`Storage::sync`]; until then any sectors may be lost.
    ///
    /// # Errors
    /// Some sectors may have been written all the same. Where the disk is full, the same bytes may be written again.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything written to the file is on disk (`fdatasync`).
    ///
    /// # Errors
    /// What was written may be lost, although reading shows it; a later `sync` that succeeds does not change that.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Waits until the names are on disk.
    ///
    /// # Errors
    /// Names may be lost.
    fn sync_names(&self) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Whether files are only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    ReadWrite,
}

/// Files in a real folder.
#[derive(Debug)]
pub struct DirStorage {
    dir: PathBuf,
    access: Access,
    /// The file that was used last. One is enough for a writer or a walk, and a log may have more segments than a process
    /// may have open files.
    last: Mutex<Option<(String, Arc<File>)>>,
}

impl Clone for DirStorage {
    fn clone(&self) -> DirStorage {
        DirStorage { dir: self.dir.clone(), access: self.access, last: Mutex::default() }
    }
}

impl DirStorage {
    /// The files of `dir`, for the one writer.
    pub fn writing(dir: impl Into<PathBuf>) -> DirStorage {
        DirStorage { dir: dir.into(), access: Access::ReadWrite, last: Mutex::default() }
    }

    /// The files of `dir`, for a reader; every writing operation fails.
    pub fn reading(dir: impl Into<PathBuf>) -> DirStorage {
        DirStorage { dir: dir.into(), access: Access::Read, last: Mutex::default() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((open, file)) = last.as_ref()
            && open == name
        {
            return Ok(Arc::clone(file));
        }
        let write = self.access == Access::ReadWrite;
        let file = Arc::new(files::open(OpenOptions::new().read(true).write(write), &self.dir.join(name))?);
        *last = Some((name.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn for_writing(&self) -> io::Result<()> {
        match self.access {
            Access::Read => Err(io::ErrorKind::PermissionDenied.into()),
            Access::ReadWrite => Ok(()),
        }
    }
}

impl Storage for DirStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.dir.join(name))?.len())
    }

    fn prepare(&self, unfinished: &str, size: u64) -> io::Result<()> {
        self.for_writing()?;
        let path = self.dir.join(unfinished);
        let file = files::open(OpenOptions::new().write(true).create(true).truncate(true), &path)?;
        // Real zeros: blocks that are only allocated would cost a metadata write at every sync.
        files::write_zeros(&file, 0, size).and_then(|()| file.sync_all()).inspect_err(|_| files::discard(&path))
    }

    fn adopt(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()> {
        self.for_writing()?;
        let (from, to) = (self.dir.join(unfinished), self.dir.join(name));
        if fs::exists(&to)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.forget();
        let file = files::open(OpenOptions::new().write(true), &from)?;
        file.write_all_at(head, 0)?;
        file.sync_data()?;
        fs::rename(from, to)?;
        self.sync_names()
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file(name)?.read_exact_at(into, offset)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.for_writing()?;
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.for_writing()?;
        self.file(name)?.sync_data()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.for_writing()?;
        File::open(&self.dir)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.for_writing()?;
        self.forget();
        fs::remove_file(self.dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract of [`Storage`], as far as a running system shows it.
    fn check(storage: &impl Storage) {
        let kind = |result: io::Result<()>| result.map_err(|e| e.kind());
        assert_eq!(storage.list().expect("lists"), Vec::<String>::new());
        storage.create("a", b"head", 3 << 10).expect("creates");
        assert_eq!(kind(storage.create("a", b"other", 1024)), Err(io::ErrorKind::AlreadyExists));
        storage.prepare("spare.new", 512).expect("prepares");
        assert_eq!(kind(storage.adopt("other.new", "b", b"x")), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(storage.adopt("spare.new", "a", b"x")), Err(io::ErrorKind::AlreadyExists));
        storage.adopt("spare.new", "b", b"xyz").expect("adopts");
        let mut names = storage.list().expect("lists");
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((storage.size("a").expect("size"), storage.size("b").expect("size")), (3072, 512));
        storage.write_at("a", 510, b"wxyz").expect("writes");
        storage.sync("a").expect("syncs");
        let read = |name: &str, offset, len: usize| {
            let mut bytes = vec![7; len];
            storage.read_at(name, offset, &mut bytes).map(|()| bytes).map_err(|e| e.kind())
        };
        assert_eq!(read("a", 0, 6), Ok(b"head\0\0".to_vec()));
        assert_eq!(read("a", 508, 8), Ok(b"\0\0wxyz\0\0".to_vec()));
        assert_eq!(read("b", 0, 5), Ok(b"xyz\0\0".to_vec()));
        assert_eq!(read("a", 3070, 4), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(read("c", 0, 1), Err(io::ErrorKind::NotFound));
        storage.remove("a").expect("removes");
        storage.sync_names().expect("syncs");
        assert_eq!(storage.list().expect("lists"), ["b"]);
        assert_eq!(read("a", 0, 1), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(storage.remove("a")), Err(io::ErrorKind::NotFound));
        assert_eq!(storage.size("a").map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_real_folder_keeps_the_contract() {
        let dir = tempfile::tempdir().expect("folder");
        check(&DirStorage::writing(dir.path()));
    }

    #[test]
    fn a_disk_in_memory_keeps_the_contract() {
        check(&MemStorage::new());
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().expect("folder");
        DirStorage::writing(dir.path()).create("a", b"", 512).expect("creates");
        let reader = DirStorage::reading(dir.path());
        let writes = [reader.write_at("a", 0, b"x"), reader.sync("a"), reader.remove("a"), reader.create("b", b"", 1)];
        for refused in writes.into_iter().chain([reader.prepare("b.new", 1), reader.adopt("a", "b", b"")]) {
            assert_eq!(refused.map_err(|e| e.kind()), Err(io::ErrorKind::PermissionDenied));
        }
    }
}
