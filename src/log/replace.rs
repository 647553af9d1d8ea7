//! A small file replaced as a whole: after a crash it has the old content or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Doing, LogError};
use crate::storage::UNFINISHED;

/// Replaces the file `name` in `dir` by one with these bytes, durably. One process at a time does this to one file.
///
/// # Errors
/// Those of the operating system; the file then has its old content or the new one.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let (path, unfinished) = (dir.join(name), dir.join(format!("{name}{UNFINISHED}")));
    let replaced = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()
    };
    replaced().map_err(LogError::io(Doing::Write, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_content_stands_alone() {
        let dir = tempfile::tempdir().expect("folder");
        // A leftover of a crash is longer than what comes.
        fs::write(dir.path().join("latest.new"), "half of an older attempt").expect("writes");
        for content in ["one", "two, longer", "3"] {
            replace(dir.path(), "latest", content.as_bytes()).expect("replaces");
            assert_eq!(fs::read_to_string(dir.path().join("latest")).expect("reads"), content);
            assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
        }
        assert!(replace(&dir.path().join("missing"), "latest", b"").is_err());
    }
}
