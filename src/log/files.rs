//! How a file of a ledger's folder is opened, and how it is made. The folder may be a stranger's.
//!
//! **Invariant:** only plain files are opened: a pipe or a device would make the opening, or the reading, wait for ever. No link
//! leads out of the folder. No more is read than the file may hold.
//!
//! **Invariant:** what is made here is its owner's only, whatever the umask of the process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::storage::{length, span};

/// Who may do what with a file that is made.
const FILE_MODE: u32 = 0o600;

/// The same of a folder.
const FOLDER_MODE: u32 = 0o700;

/// A chunk of zeros: large enough that making a segment takes few calls, small enough to be nothing in memory.
const ZEROS: usize = 1 << 20;

/// Opens a plain file, with these options.
///
/// # Errors
/// Those of the operating system; `InvalidInput` if it is anything else than a plain file, or a link.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    // A link is refused, and an opening that would wait for another process is not waited for (open(2)).
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = options
        .clone()
        .mode(FILE_MODE)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) { not_plain() } else { e })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_plain()) }
}

/// Reads a whole file of the folder `root`. A link in it is followed within it.
///
/// # Errors
/// As [`open`]; `InvalidInput` for a link that leads out of `root`, `FileTooLarge` if it is longer than `bytes_max`.
pub fn read(root: &Path, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let place = fs::canonicalize(path)?;
    if !place.starts_with(fs::canonicalize(root)?) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link that leads out of the folder"));
    }
    read_at_most(&mut open(OpenOptions::new().read(true), &place)?, bytes_max)
}

/// Reads to the end.
///
/// # Errors
/// Those of the operating system; `FileTooLarge` beyond `bytes_max`.
pub fn read_at_most(from: &mut impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length(bytes_max).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Writes a new file, and returns when its bytes are on disk; its name is once its folder is synced.
///
/// # Errors
/// `AlreadyExists`; those of the operating system, and then nothing of it is left.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open(OpenOptions::new().write(true).create_new(true), path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.inspect_err(|_| discard(path))
}

/// Removes a file that is half made: on a full disk it would only be in the way. What cannot be removed holds nothing of value.
pub(crate) fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Fills a file with zeros, from one place in it to another.
///
/// # Errors
/// Those of the operating system; some of them may be there.
pub fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS.min(span(to.saturating_sub(from)))];
    let mut at = from;
    while at < to {
        let some = zeros.get(..span(to - at).min(ZEROS)).unwrap_or_default();
        file.write_all_at(some, at)?;
        at += length(some.len());
    }
    Ok(())
}

/// Makes a folder.
///
/// # Errors
/// Those of the operating system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

fn not_plain() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|e| e.kind())
    }

    #[test]
    fn only_plain_files_are_opened_and_nothing_hangs() {
        let dir = tempfile::tempdir().expect("folder");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("plain"), "text").expect("writes");
        symlink(path("plain"), path("inside")).expect("links");
        symlink("/dev/zero", path("outside")).expect("links");
        let pipe =
            rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0);
        pipe.expect("makes a pipe");
        let refused = Some(io::ErrorKind::InvalidInput);
        for (name, opened, all) in [
            ("plain", None, None),
            ("inside", refused, None),
            ("outside", refused, refused),
            ("pipe", refused, refused),
            (".", refused, refused),
            ("none", Some(io::ErrorKind::NotFound), Some(io::ErrorKind::NotFound)),
        ] {
            assert_eq!(kind(open(OpenOptions::new().read(true), &path(name))), opened, "{name}");
            assert_eq!(kind(read(dir.path(), &path(name), 4)), all, "{name}");
        }
        assert!(open(OpenOptions::new().write(true), &path("pipe")).is_err(), "nobody reads it");
        assert_eq!(kind(read(dir.path(), &path("plain"), 3)), Some(io::ErrorKind::FileTooLarge));
        assert_eq!(kind(read_at_most(&mut io::repeat(0), 9)), Some(io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn what_is_made_is_its_owners() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("folder");
        make_folder(&folder).expect("makes");
        let file = open(OpenOptions::new().write(true).create_new(true), &folder.join("file")).expect("makes");
        let mode = |meta: fs::Metadata| meta.mode() & 0o777;
        assert_eq!(mode(fs::metadata(&folder).expect("a folder")), 0o700);
        assert_eq!(mode(file.metadata().expect("a file")), 0o600);
    }
}
