//! A small file replaced as a whole: after a crash it has the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Doing, LogError};
use crate::files;
use crate::storage::UNFINISHED;

/// Replaces the file `name` in `dir` by one with these bytes, durably. One process at a time does this to one file.
///
/// # Errors
/// Those of the operating system; the file then has its old content or the new one, and nothing half made is left beside it.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let replaced = || -> io::Result<()> {
        put(dir, name, |unfinished| files::write_new(unfinished, bytes))?;
        File::open(dir)?.sync_all()
    };
    replaced().map_err(LogError::io(Doing::Write, name))
}

/// The same for what only this run of the machine needs: when it ends, the file may have any content.
///
/// # Errors
/// As [`replace()`].
pub fn unsynced(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let write =
        |unfinished: &Path| files::open(OpenOptions::new().write(true).create_new(true), unfinished)?.write_all(bytes);
    put(dir, name, write).map_err(LogError::io(Doing::Write, name))
}

fn put(dir: &Path, name: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let (path, unfinished) = (dir.join(name), dir.join(format!("{name}{UNFINISHED}")));
    // What an earlier attempt left is nobody's, and may be anything.
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    write(&unfinished).and_then(|()| fs::rename(&unfinished, &path)).inspect_err(|_| files::discard(&unfinished))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_content_stands_alone() {
        let dir = tempfile::tempdir().expect("folder");
        // A leftover of a crash is longer than what comes.
        fs::write(dir.path().join("latest.new"), "half of an older attempt").expect("writes");
        for (content, is_durable) in [("one", true), ("two, longer", false), ("3", true)] {
            let put = if is_durable { replace } else { unsynced };
            put(dir.path(), "latest", content.as_bytes()).expect("replaces");
            assert_eq!(fs::read_to_string(dir.path().join("latest")).expect("reads"), content);
            assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
        }
        assert!(replace(&dir.path().join("missing"), "latest", b"").is_err());
        // What cannot take its place is not left beside it.
        fs::create_dir(dir.path().join("taken")).expect("a folder");
        for put in [replace, unsynced] {
            assert!(put(dir.path(), "taken", b"half made").is_err());
            assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2);
        }
    }
}
