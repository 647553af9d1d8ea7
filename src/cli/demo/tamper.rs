//! One bit, flipped in a copy.

use std::fs;
use std::path::Path;

use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::verify::{Pins, verify};

/// What came of it.
pub(super) struct Caught {
    /// Which bit.
    pub(super) place: String,
    /// Whether verification let it pass.
    pub(super) ok: bool,
    /// What verification said.
    pub(super) what: String,
}

/// Flips a bit in the middle of what is used of the first segment of a copy, and verifies the copy.
pub(super) fn flip_one_bit(folder: &Folder) -> Result<Caught> {
    let copy = Folder::at(folder.root().with_extension("tampered"));
    for (from, to) in
        [(folder.log(), copy.log()), (folder.checkpoints(), copy.checkpoints()), (folder.content(), copy.content())]
    {
        copy_tree(&from, &to).map_err(|e| Failure::io(&to, &e))?;
    }
    let mut segments: Vec<_> =
        fs::read_dir(copy.log()).and_then(Iterator::collect).map_err(|e| Failure::io(&copy.log(), &e))?;
    segments.sort_by_key(fs::DirEntry::file_name);
    let path = segments.first().map(fs::DirEntry::path).unwrap_or_default();
    let mut bytes = fs::read(&path).map_err(|e| Failure::io(&path, &e))?;
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(&path, bytes).map_err(|e| Failure::io(&path, &e))?;
    let report = verify(&copy, &Pins::default(), &mut |_| {});
    let _ = fs::remove_dir_all(copy.root());
    let report = report?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Caught {
        place: format!("bit 0 of byte {middle} of {name}"),
        ok: report.ok,
        what: report.broken.map(|broken| format!("{}: {}", broken.code, broken.what)).unwrap_or_default(),
    })
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
