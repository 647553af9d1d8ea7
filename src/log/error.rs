//! What can go wrong with a log, where, and the registered code of each.

use std::io;
use std::path::PathBuf;

use writ_schemas::entry::ChainBreak;
use writ_schemas::errors::Code;
use writ_schemas::ids::{LedgerId, Seq};

use crate::segment;

/// Bytes that no crash explains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {offset}{}: {what}", seq_text(.seq))]
pub struct Damage {
    /// The segment file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// The entry that should stand there, if that is known.
    pub seq: Option<Seq>,
    /// What is wrong.
    pub what: What,
}

fn seq_text(seq: &Option<Seq>) -> String {
    seq.map(|seq| format!(", entry {seq}")).unwrap_or_default()
}

/// What is wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// A name that ends like a segment's and is none.
    #[error("not the name of a segment")]
    Name,
    /// A segment header with a wrong magic, checksum or padding.
    #[error("the segment header is not valid")]
    SegmentHeader,
    /// A segment of a format that this program does not know.
    #[error("the segment has format version {0}")]
    Version(u32),
    /// A file with another length than its header says.
    #[error("the file has {0} bytes, which is not what its header says")]
    Size(u64),
    /// A segment of another ledger.
    #[error("the segment belongs to ledger {0}")]
    Ledger(LedgerId),
    /// A segment that does not continue the one before it.
    #[error("the segment does not continue the one before it")]
    NotNext,
    /// The segment that comes next by name does not begin with the next entry: one is missing, or one too many.
    #[error("the next segment should begin with entry {0}")]
    Gap(Seq),
    /// A frame with a good checksum whose header is not one of this format.
    #[error("the entry header is not of this format")]
    EntryHeader,
    /// Padding that is not zero.
    #[error("the padding of a frame is not zero")]
    Padding,
    /// A whole frame of another batch than the one that belongs here.
    #[error("a frame of batch {found}, where batch {expected} belongs")]
    Batch {
        /// The batch that belongs here.
        expected: u64,
        /// The batch that the frame names.
        found: u64,
    },
    /// A frame with a good checksum in a wrong place of its batch.
    #[error("a frame in the wrong place of its batch")]
    PlaceInBatch,
    /// A whole entry that does not follow.
    #[error("the entry does not follow: {0}")]
    Chain(ChainBreak),
    /// A broken batch with another segment after it.
    #[error("a batch is not whole, although a later segment exists")]
    BrokenBeforeSegment,
    /// A broken batch with a whole frame of another batch behind it.
    #[error("a batch is not whole, although a frame of batch {0} stands behind it")]
    BrokenBeforeBatch(u64),
    /// More bytes than one batch can have.
    #[error("bytes that are no batch, more of them than one unfinished write leaves")]
    TooLong,
    /// A broken batch of which no part is missing.
    #[error("a batch is not whole, although every part of it was written")]
    NothingMissing,
    /// A broken batch that a checkpoint covers.
    #[error("a batch is not whole, although a checkpoint covers {0} entries")]
    BrokenUnderCheckpoint(u64),
}

/// How a log does not extend its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fork {
    /// It ends too early.
    #[error("it has {0} entries")]
    Shorter(u64),
    /// Another entry stands there.
    #[error("its hash at that size is another one")]
    OtherHash,
}

/// What was being done when the operating system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doing {
    /// Listing the folder.
    #[error("listing")]
    List,
    /// Reading.
    #[error("reading")]
    Read,
    /// Making a file.
    #[error("creating")]
    Create,
    /// Writing.
    #[error("writing")]
    Write,
    /// Waiting until it is on disk.
    #[error("syncing")]
    Sync,
    /// Removing a leftover.
    #[error("removing")]
    Remove,
    /// Taking the lock.
    #[error("locking")]
    Lock,
}

/// Why a log could not be opened, read or appended to.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No crash explains what is there.
    #[error("{0}")]
    Damaged(Damage),
    /// The log does not extend its last checkpoint.
    #[error("a checkpoint covers {covered} entries of this log: {fork}")]
    Forked {
        /// How many entries the checkpoint covers.
        covered: u64,
        /// What the log has instead.
        fork: Fork,
    },
    /// The log ends in an incomplete batch, and the caller wanted a clean end.
    #[error("{file} at byte {offset}: {bytes} bytes of an incomplete batch")]
    Tail {
        /// The segment file.
        file: String,
        /// Where the incomplete batch starts.
        offset: u64,
        /// How many bytes there are of it.
        bytes: u64,
    },
    /// Another process holds the lock.
    #[error("{} is locked", .0.display())]
    Locked(PathBuf),
    /// There is no segment.
    #[error("no segment")]
    Missing,
    /// There is a log already.
    #[error("there is a segment already")]
    Exists,
    /// A segment size that cannot be used.
    #[error("segments of {0} bytes: not a multiple of {sector} of at least {min}", sector = segment::SECTOR, min = segment::SIZE_MIN)]
    SegmentSize(u64),
    /// A batch that fits no segment.
    #[error("a batch of {bytes} bytes; the limit is {max}")]
    BatchTooLarge {
        /// Its encoded length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Entries that do not follow the log's last one were handed to `append`.
    #[error("an entry handed to the log does not follow: {0}")]
    NotNext(ChainBreak),
    /// An earlier append failed; what the disk has is known only after opening anew.
    #[error("an earlier write failed; open the log anew")]
    Poisoned,
    /// The operating system refused.
    #[error("{doing} {file}: {source}")]
    Io {
        /// What was being done.
        doing: Doing,
        /// To which file.
        file: String,
        /// What it said.
        source: io::Error,
    },
}

impl LogError {
    /// Names the operation and the file of an error of the operating system.
    pub(crate) fn io(doing: Doing, file: &str) -> impl Fn(io::Error) -> LogError + use<> {
        let file = file.to_owned();
        move |source| LogError::Io { doing, file: file.clone(), source }
    }

    /// The registered code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            LogError::Damaged(_) => Code::LogDamaged,
            LogError::Forked { .. } => Code::LogForked,
            LogError::Tail { .. } => Code::LogTail,
            LogError::Locked(_) => Code::LogLocked,
            LogError::Missing => Code::LogMissing,
            LogError::Exists => Code::LogExists,
            LogError::SegmentSize(_) => Code::Config,
            LogError::BatchTooLarge { .. } | LogError::NotNext(_) | LogError::Poisoned => Code::LogWrite,
            LogError::Io { doing, source, .. } => io_code(*doing, source.kind()),
        }
    }
}

fn io_code(doing: Doing, kind: io::ErrorKind) -> Code {
    if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        return Code::Permission;
    }
    // After a sync that failed nobody knows what is on the disk, for whatever reason it failed.
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) && doing != Doing::Sync {
        return Code::DiskFull;
    }
    match doing {
        Doing::List if kind == io::ErrorKind::NotFound => Code::LogMissing,
        Doing::Create | Doing::Write | Doing::Sync | Doing::Remove => Code::LogWrite,
        Doing::List | Doing::Read | Doing::Lock => Code::Io,
    }
}
