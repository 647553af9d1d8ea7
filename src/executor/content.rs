//! The content store: outputs too long for the log, each in a file named by its digest.
//!
//! Written and synced before the receipt that names it; verified when read.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use writ_log::{files, replace};
use writ_schemas::dsse::DOCUMENT_BYTES_MAX;
use writ_schemas::errors::Code;
use writ_schemas::ids::{Digest, hex, unhex};

use crate::error::{Failure, Result};
use crate::space::{SMALL_BYTES, Space};

/// The folder `content/`.
#[derive(Clone, Debug)]
pub struct ContentStore {
    root: PathBuf,
    /// Two calls may end with the same output, and a file is written by one at a time.
    writing: Arc<Mutex<()>>,
    space: Arc<Space>,
}

impl ContentStore {
    /// The store in `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> ContentStore {
        ContentStore { root, writing: Arc::default(), space: Arc::default() }
    }

    /// The same, which on a full disk uses room that is kept.
    #[must_use]
    pub fn drawing_on(self, space: Arc<Space>) -> ContentStore {
        ContentStore { space, ..self }
    }

    /// The folder and the file of a digest: two digits for the folder keep folders small.
    fn place(&self, digest: &Digest) -> (PathBuf, String) {
        let name = hex(&digest.0);
        let (folder, file) = name.split_at(2);
        (self.root.join(folder), file.to_owned())
    }

    /// Keeps `bytes` under their digest, durably.
    ///
    /// # Errors
    /// An I/O failure.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let needs = SMALL_BYTES.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.space.write(needs, || self.write(digest, bytes))
    }

    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let (folder, file) = self.place(digest);
        match files::make_folder(&folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Failure::io(&folder, &e)),
            Ok(()) | Err(_) => {}
        }
        replace(&folder, &file, bytes)?;
        std::fs::File::open(&self.root).and_then(|root| root.sync_all()).map_err(|e| Failure::io(&self.root, &e))
    }

    /// The bytes of a digest.
    ///
    /// # Errors
    /// `ERR_CONTENT_INTEGRITY` if they are missing or are not what the digest says; an I/O failure.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let (folder, file) = self.place(digest);
        let path = folder.join(file);
        let damaged =
            |why: String| Failure::new(Code::ContentIntegrity, format!("{} at byte 0: {why}", path.display()));
        let bytes = files::read(&self.root, &path, DOCUMENT_BYTES_MAX).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::FileTooLarge => damaged(e.to_string()),
            _ => Failure::io(&path, &e),
        })?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(damaged("not what its name says".to_owned())) }
    }

    /// Holds every file against its name, also one that no receipt names.
    ///
    /// # Errors
    /// As [`ContentStore::get`].
    pub fn check(&self) -> Result<()> {
        let root = &self.root;
        let io = |e: std::io::Error| Failure::io(root, &e);
        let folders = match std::fs::read_dir(root) {
            Ok(folders) => folders,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io(e)),
        };
        for folder in folders {
            let folder = folder.map_err(io)?;
            if !folder.file_type().map_err(io)?.is_dir() {
                continue;
            }
            let prefix = folder.file_name().to_string_lossy().into_owned();
            let mut files: Vec<_> =
                std::fs::read_dir(folder.path()).map_err(io)?.collect::<std::io::Result<_>>().map_err(io)?;
            files.sort_by_key(std::fs::DirEntry::file_name);
            for file in files {
                let name = format!("{prefix}{}", file.file_name().to_string_lossy());
                let Some(digest) = unhex(&name).map(Digest) else { continue };
                self.get(&digest)?;
            }
        }
        Ok(())
    }
}
