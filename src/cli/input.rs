//! What people name as input: a file, a pipe, or standard input. It may be anything, so no more of it is read than may be.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use writ_schemas::errors::Code;
use writ_schemas::ids::Digest;

use crate::error::{Failure, Result};

/// What a file or standard input (`-`) holds; of more than `bytes_max` so much that it is refused as too large.
///
/// # Errors
/// `ERR_INPUT_FILE`.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    open(path)?.take(limit).read_to_end(&mut bytes).map_err(|e| refused(path, &e))?;
    Ok(bytes)
}

/// The digest of a file or of standard input, however long it is.
///
/// # Errors
/// `ERR_INPUT_FILE`.
pub(super) fn digest(path: &Path) -> Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut open(path)?, &mut hasher).and_then(|_| hasher.flush()).map_err(|e| refused(path, &e))?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    Ok(Box::new(File::open(path).map_err(|e| refused(path, &e))?))
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::InputFile, format!("{}: {error}", path.display()))
}
