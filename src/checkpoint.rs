//! Signs the head, off the hot path: at least every second while entries come, and at a clean close, when the checkpoint
//! covers every entry and is the seal.
//!
//! Only what is durable is handed to this thread, so a checkpoint never runs ahead of the log.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::warn;

use writ_log::{files, replace};
use writ_schemas::checkpoint::{Checkpoint, NOTE_BYTES_MAX};
use writ_schemas::entry::Header;
use writ_schemas::errors::Code;
use writ_schemas::ids::{KeyId, Seq};
use writ_schemas::merkle::{Frontier, leaf};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::progress::Progress;
use crate::signer::Signer;
use crate::space::{SMALL_BYTES, Space};
use crate::telemetry::metrics::{self, Follower};
use crate::threads;

/// The file in `checkpoints/` that holds the last one.
pub const LATEST: &str = "latest";

/// Hands the text of the last checkpoint to the sequencer, which names it in the next batch that comes anyway.
#[derive(Debug, Default)]
pub struct NoteSlot(Mutex<Option<String>>);

impl NoteSlot {
    fn put(&self, note: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// The note, once.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The tree and the head of what is durable.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The tree over the headers.
    pub tree: Frontier,
    /// The hash of the last entry.
    pub hash: [u8; 32],
}

impl Head {
    /// Takes in the next header.
    pub fn push(&mut self, header: &Header) {
        self.tree.push(leaf(&header.to_bytes()));
        self.hash = header.hash();
    }

    /// The checkpoint of this head.
    #[must_use]
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: self.tree.size(), root: self.tree.root(), head: self.hash }
    }
}

/// The most batches of headers that wait for the thread of the tree.
pub const HEADERS_MAX: usize = 64;

/// The thread that grows the tree, and tells another, which signs, how far it has come. A command that signs may take minutes: the
/// tree does not wait for it, and neither does the writer.
pub struct Checkpointer {
    head: Head,
    interval: Duration,
    heads: SyncSender<(Head, Last)>,
    sealing: JoinHandle<Result<()>>,
}

/// Signs heads.
pub struct Sealer {
    /// The log's name.
    pub origin: String,
    /// Signs checkpoints.
    pub signer: Signer,
    /// The folder of checkpoints.
    pub folder: PathBuf,
    /// The size that the checkpoint on the disk covers.
    pub signed: u64,
    /// To the sequencer.
    pub notes: Arc<NoteSlot>,
    /// How far it has come.
    pub progress: Arc<Progress>,
    /// Of which a little may be used.
    pub space: Arc<Space>,
}

impl Checkpointer {
    /// Over what is durable, signed each `interval` by a thread that is started here.
    ///
    /// # Errors
    /// `ERR_THREADS`.
    pub fn start(head: Head, interval: Duration, sealer: Sealer) -> Result<Checkpointer> {
        // Whoever signs is told a head when it has none, so that it never signs an old one.
        let (heads, due) = mpsc::sync_channel(0);
        let sealing = threads::spawn("sealer", move || sealer.run(&due))?;
        Ok(Checkpointer { head, interval, heads, sealing })
    }

    /// Has the head signed until the sequencer ends, and then once more.
    ///
    /// # Errors
    /// The checkpoint could not be signed or written: the process must end, for nothing would notice a rewound log. Where only the
    /// disk is full, and room is kept, it is tried again each time; but the seal must be written.
    pub fn run(self, headers: &Receiver<Vec<Header>>) -> Result<()> {
        let Checkpointer { mut head, interval, heads, sealing } = self;
        let mut since = Stopwatch::start();
        loop {
            match headers.recv_timeout(interval.saturating_sub(since.elapsed())) {
                Ok(batch) => batch.iter().for_each(|header| head.push(header)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if since.elapsed() >= interval {
                since = Stopwatch::start();
                if let Err(TrySendError::Disconnected(_)) = heads.try_send((head.clone(), Last::No)) {
                    break;
                }
            }
        }
        let _ = heads.send((head, Last::Yes)); // it says itself why it takes no more
        drop(heads);
        sealing.join().map_err(|_| threads::panicked("sealer"))?
    }
}

/// Whether a head is the last one, which the seal covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

impl Sealer {
    fn run(mut self, heads: &Receiver<(Head, Last)>) -> Result<()> {
        self.told();
        for (head, last) in heads {
            match self.seal(&head).inspect_err(|failure| metrics::checkpoint_failed(failure.code)) {
                Err(failure) if failure.code == Code::DiskFull && self.space.is_kept() && last == Last::No => {
                    warn!(%failure, "no checkpoint: the last one stands, and it is tried again");
                }
                sealed => sealed?,
            }
        }
        Ok(())
    }

    /// Tells what is covered.
    fn told(&self) {
        metrics::checkpoint(self.signed);
        self.progress.done(Follower::Checkpointer, Seq(self.signed));
    }

    fn seal(&mut self, head: &Head) -> Result<()> {
        let checkpoint = head.checkpoint(&self.origin);
        if checkpoint.size <= self.signed {
            return Ok(());
        }
        let began = Stopwatch::start();
        let note = checkpoint.note(&self.signer.sign(checkpoint.body().as_bytes())?);
        self.space.write(SMALL_BYTES, || Ok(replace(&self.folder, LATEST, note.as_bytes())?))?;
        self.signed = checkpoint.size;
        self.notes.put(note);
        metrics::stage(metrics::Stage::Checkpoint, began.elapsed());
        self.told();
        Ok(())
    }
}

/// The last checkpoint of a folder, opened with the key that genesis names.
///
/// # Errors
/// `ERR_LOG_DAMAGED` if it is not a checkpoint of this log by this key.
pub fn latest(folder: &Folder, origin: &str, key: &KeyId) -> Result<Option<Checkpoint>> {
    let path = folder.checkpoints().join(LATEST);
    match read_own_note(folder, &path)? {
        None => Ok(None),
        Some(note) => open_note(&note, &path, origin, key).map(Some),
    }
}

/// The bytes of a note of a ledger's own folder; nothing if there is no file. Of one that is longer than any note there are none, and
/// that does not open.
///
/// # Errors
/// The operating system's refusal; a link that leads out of the folder.
pub fn read_own_note(folder: &Folder, path: &Path) -> Result<Option<Vec<u8>>> {
    found(path, files::read(folder.root(), path, NOTE_BYTES_MAX))
}

/// The same of a note that somebody named, which may be a pipe.
///
/// # Errors
/// The operating system's refusal.
pub fn read_note(path: &Path) -> Result<Option<Vec<u8>>> {
    found(path, File::open(path).and_then(|mut file| files::read_at_most(&mut file, NOTE_BYTES_MAX)))
}

fn found(path: &Path, read: std::io::Result<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match read {
        Ok(note) => Ok(Some(note)),
        Err(e) if e.kind() == ErrorKind::FileTooLarge => Ok(Some(Vec::new())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::io(path, &e)),
    }
}

/// Opens a note that was read from `path`.
///
/// # Errors
/// `ERR_LOG_DAMAGED` if it is not a checkpoint of this log by this key.
pub fn open_note(note: &[u8], path: &Path, origin: &str, key: &KeyId) -> Result<Checkpoint> {
    Checkpoint::open(note, origin, key)
        .map_err(|e| Failure::new(Code::LogDamaged, format!("{} at byte 0: {e}", path.display())))
}
