//! A failure of the shell: a registered code, and what and where for a person.

use std::fmt;
use std::io;
use std::path::Path;

use writ_kernel::apply::Fault;
use writ_log::LogError;
use writ_schemas::errors::Code;
use writ_schemas::strict::Refusal;

/// Why something could not be done. The code decides what a caller may do, and the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The registered code.
    pub code: Code,
    /// What and where.
    pub detail: String,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with its code.
    pub fn new(code: Code, detail: impl fmt::Display) -> Failure {
        Failure { code, detail: detail.to_string() }
    }

    /// A failed operation on a file or folder.
    pub fn io(path: &Path, error: &io::Error) -> Failure {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::Permission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
            io::ErrorKind::FileTooLarge => Code::LogWrite,
            _ => Code::Io,
        };
        Failure::new(code, format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.code, self.code.entry().message, self.detail)
    }
}

impl std::error::Error for Failure {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure { code: refusal.code, detail: refusal.detail }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        Failure::new(error.code(), error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::new(fault.code(), fault)
    }
}
