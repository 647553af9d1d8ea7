//! The layout of a ledger's folder, its keys and its genesis.
//!
//! ```text
//! DIR/log/           segments             the truth
//! DIR/checkpoints/   latest               the signed head
//! DIR/content/       ab/cdef...           outputs too long for the log, by digest
//! DIR/views/         sled                 derived; may be deleted
//! DIR/keys/          *.key                0600; keyfile.rs
//! DIR/policy/        policy.json          the example bundle; what is in force is in the log
//! DIR/writ.toml      configuration
//! DIR/writ.sock      while it is served
//! DIR/clock          how the clock went   machine-local; may be deleted
//! DIR/ended          what ended `serve`   counts by code; may be deleted
//! DIR/lock           held by the one writer
//! DIR/reserve        zeros                room of its own; space.rs; may be deleted
//! DIR/.unfinished/   while the ledger is made
//! ```

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use writ_log::files;
use writ_schemas::errors::Code;
use writ_schemas::ids::{KeyId, hex};
use writ_schemas::keys::SecretKey;

use crate::config::{self, Config};
use crate::error::{Failure, Result};
use crate::keyfile;

/// The name of the file of [`Folder::clock`].
pub const CLOCK: &str = "clock";

/// The name of the file of [`Folder::ended`].
pub const ENDED: &str = "ended";

/// A ledger's folder, by its path.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// The keys that are made with a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// Administers.
    Operator,
    /// Signs decisions and receipts.
    Decision,
    /// Signs checkpoints.
    Checkpoint,
    /// The example producer.
    Producer,
    /// The example approver, whose evidence the example policy asks for.
    Approver,
}

impl KeyRole {
    /// The file's name.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            KeyRole::Operator => "operator.key",
            KeyRole::Decision => "decision.key",
            KeyRole::Checkpoint => "checkpoint.key",
            KeyRole::Producer => "producer.key",
            KeyRole::Approver => "approver.key",
        }
    }
}

impl Folder {
    /// The folder at `root`, whether it is there or not.
    pub fn at(root: impl Into<PathBuf>) -> Folder {
        Folder { root: root.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The segments.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }
    /// The signed heads.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// The content store.
    #[must_use]
    pub fn content(&self) -> PathBuf {
        self.root.join("content")
    }
    /// The read models.
    #[must_use]
    pub fn views(&self) -> PathBuf {
        self.root.join("views")
    }
    /// The example bundle.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.root.join("policy")
    }
    /// The socket of the process that serves it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("writ.sock")
    }
    /// Where a ledger comes to be, until it is whole.
    #[must_use]
    pub fn unfinished(&self) -> PathBuf {
        self.root.join(".unfinished")
    }
    /// The lock of the one writer.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    /// Room of its own, for when the disk is full.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }
    /// What the clocks of the machine showed last.
    #[must_use]
    pub fn clock(&self) -> PathBuf {
        self.root.join(CLOCK)
    }
    /// What ended the processes that served it.
    #[must_use]
    pub fn ended(&self) -> PathBuf {
        self.root.join(ENDED)
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }
    /// A key file.
    #[must_use]
    pub fn key(&self, role: KeyRole) -> PathBuf {
        self.keys().join(role.file())
    }
    /// The configuration's file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.root.join("writ.toml")
    }

    /// The configuration.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn config(&self) -> Result<Config> {
        Config::read(&self.root, &self.config_file())
    }

    /// Makes the folders of a ledger.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub fn make(&self) -> Result<()> {
        let all = [self.log(), self.checkpoints(), self.content(), self.policy(), self.keys()];
        all.iter().try_for_each(|path| files::make_folder(path).map_err(|e| Failure::io(path, &e)))
    }

    /// Makes durable the names that lead to what was made: a sync of a file says nothing of them. Parents are synced as far as
    /// they lie in the same file system and can be read; what lies above was not made here.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub fn sync(&self) -> Result<()> {
        let root = fs::canonicalize(&self.root).map_err(|e| Failure::io(&self.root, &e))?;
        sync_folder(&root)?;
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
        let here = |path: &&Path| device(path) == device(&root) && fs::File::open(path).is_ok();
        root.ancestors().skip(1).take_while(here).try_for_each(sync_folder)
    }

    /// Fails unless there is a ledger here.
    ///
    /// # Errors
    /// `ERR_LOG_MISSING`, or the operating system's refusal.
    pub fn require(&self) -> Result<()> {
        match fs::metadata(self.log()) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(Failure::new(Code::LogMissing, self.root.display())),
            Err(e) => match e.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    Err(Failure::new(Code::LogMissing, self.root.display()))
                }
                _ => Err(Failure::io(&self.log(), &e)),
            },
        }
    }

    /// The file with the passphrase of encrypted key files: what the environment names, else what `writ.toml` does, where a
    /// relative path begins at this folder.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn passphrase_file(&self) -> Result<Option<PathBuf>> {
        match config::passphrase_file() {
            Some(path) => Ok(Some(path)),
            None => Ok(self.config()?.passphrase_file.map(|path| self.root.join(path))),
        }
    }

    /// The file of the decision key that is made when the key is handed on to `key`; the first one is `decision.key`.
    #[must_use]
    pub fn later_decision_key(&self, key: KeyId) -> PathBuf {
        self.keys().join(format!("decision-{}.key", hex(&key.0)))
    }

    /// Reads the first of the files that may hold one of `expected`, and there is one.
    ///
    /// # Errors
    /// `ERR_KEY_FILE`.
    pub fn read_key_of(&self, role: KeyRole, expected: &[KeyId]) -> Result<SecretKey> {
        let later = expected.iter().map(|key| self.later_decision_key(*key)).find(|path| path.exists());
        keyfile::read(&later.unwrap_or_else(|| self.key(role)), || self.passphrase_file())
    }

    /// Reads one of the ledger's own keys.
    ///
    /// # Errors
    /// `ERR_KEY_FILE`; as [`Config::read`] if it is encrypted.
    pub fn read_key(&self, role: KeyRole) -> Result<SecretKey> {
        keyfile::read(&self.key(role), || self.passphrase_file())
    }
}

/// Random bytes of the operating system.
///
/// # Errors
/// `ERR_IO` if it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Failure::new(Code::Io, format!("no random bytes: {e}")))?;
    Ok(bytes)
}

/// As [`random`], `count` times, asking the operating system once.
///
/// # Errors
/// As [`random`].
pub fn random_many<const N: usize>(count: usize) -> Result<Vec<[u8; N]>> {
    let mut all = vec![[0; N]; count];
    getrandom::fill(all.as_flattened_mut()).map_err(|e| Failure::new(Code::Io, format!("no random bytes: {e}")))?;
    Ok(all)
}

/// Removes a file or a folder, if it is there.
///
/// # Errors
/// The operating system's refusal.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The operating system's refusal.
pub fn sync_folder(path: &Path) -> Result<()> {
    let synced = fs::File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|e| Failure::io(path, &e))
}
