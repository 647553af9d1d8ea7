//! What anybody can check without trusting the writer: every frame, the chain, every commitment, every signature, every
//! checkpoint, every stored output.
//!
//! [`Audit`] walks the log once and hands each verified entry, with its event, to whoever wants to look further: replay does.
//! It takes no lock and writes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use writ_log::{End, Lock, LogError, Reader};
use writ_schemas::act::{Act, Statement};
use writ_schemas::checkpoint::{BadNote, Checkpoint};
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, Document, Signed};
use writ_schemas::entry::{Chain, Entry};
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, INLINE_OUTPUT_MAX};
use writ_schemas::genesis::Genesis;
use writ_schemas::ids::{Digest, KeyId, LedgerId, Seq, hex};

use crate::checkpoint::{Head, LATEST, open_note, read_note, read_own_note};
use crate::error::{Failure, Result};
use crate::executor::content::ContentStore;
use crate::folder::Folder;

/// Entries whose signatures are checked together, on every core.
const CHUNK: usize = 512;

/// How many ends of batches are remembered for checkpoints that later entries name. A checkpoint is named by the next batch,
/// so it lies at most a second of batches back.
const ENDS_MAX: usize = 65_536;

/// What is pinned from outside the folder.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// A key that must have signed genesis.
    pub key: Option<KeyId>,
    /// A checkpoint kept elsewhere, which the log must extend.
    pub checkpoint: Option<PathBuf>,
}

/// What was checked. Equal for equal ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all of it holds.
    pub ok: bool,
    /// The ledger's id.
    pub ledger: Option<LedgerId>,
    /// Entries that were checked, from 0 without gaps.
    pub entries: u64,
    /// Signatures that were checked, those of checkpoints included.
    pub signatures: u64,
    /// Decisions among the entries.
    pub decisions: u64,
    /// Receipts among the entries.
    pub receipts: u64,
    /// The hash of the last entry, in hex.
    pub head: String,
    /// The RFC 6962 root, in hex.
    pub root: String,
    /// How many entries the last checkpoint in the folder covers.
    pub checkpoint: Option<u64>,
    /// The first thing that does not hold.
    pub broken: Option<Broken>,
    /// What a reader should know though all holds.
    pub notes: Vec<String>,
}

/// The first thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The registered code.
    pub code: Code,
    /// The entry, where it can be named.
    pub seq: Option<Seq>,
    /// What, and in which file at which byte.
    pub what: String,
}

impl Broken {
    fn at(seq: Seq, what: impl std::fmt::Display) -> Broken {
        Broken { code: Code::LogDamaged, seq: Some(seq), what: format!("entry {seq}: {what}") }
    }
}

/// Why a walk ends before the end of the log.
enum Halt {
    /// Something does not hold.
    Broken(Broken),
    /// Something cannot be read, so nobody knows whether it holds.
    Unreadable(Failure),
}

impl From<Broken> for Halt {
    fn from(broken: Broken) -> Halt {
        Halt::Broken(broken)
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Halt {
        if is_of_the_machine(failure.code) {
            return Halt::Unreadable(failure);
        }
        Halt::Broken(Broken { code: failure.code, seq: None, what: failure.detail })
    }
}

impl From<LogError> for Halt {
    /// Names the entry where it can be named.
    fn from(error: LogError) -> Halt {
        if is_of_the_machine(error.code()) { Halt::Unreadable(error.into()) } else { Halt::Broken(damaged(&error)) }
    }
}

/// Whether the machine refused, which says nothing about the ledger.
fn is_of_the_machine(code: Code) -> bool {
    matches!(code, Code::Io | Code::Permission | Code::LogWrite | Code::DiskFull | Code::Threads)
}

/// Checks a ledger's folder.
///
/// # Errors
/// It could not be read at all. A ledger that is broken is a [`Report`] that says so.
pub fn verify(folder: &Folder, pins: &Pins, progress: &mut dyn FnMut(u64)) -> Result<Report> {
    let mut audit = Audit::open(folder, pins)?;
    audit.run(&mut |entry, _| {
        progress(entry.header.seq.0);
        Ok::<(), Broken>(())
    })?;
    Ok(audit.report())
}

/// One walk over the log.
pub struct Audit {
    folder: Folder,
    pins: Pins,
    /// Damage to the first segment's header keeps it from being read at all.
    reader: std::result::Result<Reader, Broken>,
    genesis: Option<Genesis>,
    decision_key: Option<DecisionKey>,
    chain: Option<Chain>,
    head: Head,
    /// (root, head) by size, at the ends of the last batches and at the sizes of `wanted`.
    ends: BTreeMap<u64, ([u8; 32], [u8; 32])>,
    wanted: Vec<(String, Checkpoint)>,
    /// The largest checkpoint that an entry names: its size, and the entry.
    named: Option<(u64, Seq)>,
    counts: Counts,
    broken: Option<Broken>,
    notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    signatures: u64,
    decisions: u64,
    receipts: u64,
}

impl Audit {
    /// Opens the log for reading.
    ///
    /// # Errors
    /// There is no ledger, or it cannot be read.
    pub fn open(folder: &Folder, pins: &Pins) -> Result<Audit> {
        folder.require()?;
        let reader = match Reader::open(folder.log()) {
            Ok(reader) => Ok(reader),
            Err(error @ LogError::Damaged(_)) => Err(damaged(&error)),
            Err(error) => return Err(error.into()),
        };
        Ok(Audit {
            folder: folder.clone(),
            pins: pins.clone(),
            reader,
            genesis: None,
            decision_key: None,
            chain: None,
            head: Head::default(),
            ends: BTreeMap::new(),
            wanted: Vec::new(),
            named: None,
            counts: Counts::default(),
            broken: None,
            notes: Vec::new(),
        })
    }

    /// Walks to the end, or to the first thing that does not hold. `each` sees every verified entry in order and may find
    /// something that does not hold, too.
    ///
    /// # Errors
    /// Something could not be read, so that nobody knows whether it holds.
    pub fn run<E: Into<Broken>>(
        &mut self,
        each: &mut dyn FnMut(&Entry, &Event) -> std::result::Result<(), E>,
    ) -> Result<()> {
        match self.walk(each) {
            Ok(()) => Ok(()),
            Err(Halt::Broken(broken)) => {
                self.broken = Some(broken);
                Ok(())
            }
            Err(Halt::Unreadable(failure)) => Err(failure),
        }
    }

    /// The genesis, once entry 0 was seen.
    #[must_use]
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    fn walk<E: Into<Broken>>(
        &mut self,
        each: &mut dyn FnMut(&Entry, &Event) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), Halt> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let reader = self.reader.clone()?;
        let mut entries = reader.entries(Seq(0))?;
        loop {
            let item = entries.next();
            let (ended, damage) = match item {
                Some(Ok(located)) => {
                    chunk.push(located);
                    (false, None)
                }
                Some(Err(error)) => (true, Some(Halt::from(error))),
                None => (true, None),
            };
            if ended && self.genesis.is_none() && chunk.is_empty() {
                return Err(damage.unwrap_or_else(|| no_entries(entries.end()).into()));
            }
            if chunk.len() == CHUNK || ended {
                self.check_chunk(&chunk, each)?;
                chunk.clear();
            }
            if let Some(damage) = damage {
                return Err(damage);
            }
            if ended {
                break;
            }
        }
        self.check_end(entries.end())
    }

    fn check_chunk<E: Into<Broken>>(
        &mut self,
        chunk: &[writ_log::Located],
        each: &mut dyn FnMut(&Entry, &Event) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), Halt> {
        if self.genesis.is_none()
            && let Some(first) = chunk.first()
        {
            self.begin(&first.entry)?;
        }
        let genesis = self.genesis.clone();
        let content = ContentStore::at(self.folder.content());
        let checked: Vec<Result<(Event, u64)>> = chunk
            .par_iter()
            .with_min_len(4)
            .map(|located| {
                let event = located.entry.event().map_err(|refusal| Failure::new(Code::LogDamaged, refusal.detail))?;
                let signatures = match &genesis {
                    Some(genesis) => check_event(&event, genesis, &content)?,
                    None => 0,
                };
                Ok((event, signatures))
            })
            .collect();
        for (located, checked) in chunk.iter().zip(checked) {
            let (entry, seq) = (&located.entry, located.entry.header.seq);
            if let Some(chain) = &mut self.chain {
                chain.follow(entry).map_err(|what| Broken::at(seq, what))?;
            }
            let (event, signatures) = checked.map_err(|failure| match Halt::from(failure) {
                Halt::Broken(Broken { code, what, .. }) => Halt::Broken(Broken { code, ..Broken::at(seq, what) }),
                unreadable @ Halt::Unreadable(_) => unreadable,
            })?;
            self.counts.signatures += signatures;
            if let Some(key) = &mut self.decision_key {
                key.follow(&event).map_err(|failure| Broken::at(seq, failure.detail))?;
            }
            match &event {
                Event::DecisionMade(_) => self.counts.decisions += 1,
                Event::ReceiptIssued(_) => self.counts.receipts += 1,
                Event::CheckpointSigned(note) => self.check_named(seq, note)?,
                _ => {}
            }
            self.head.push(&entry.header);
            let size = self.head.tree.size();
            if located.place.last_of_batch || self.wanted.iter().any(|(_, checkpoint)| checkpoint.size == size) {
                self.ends.insert(size, (self.head.tree.root(), self.head.hash));
                if self.ends.len() > ENDS_MAX {
                    let wanted = &self.wanted;
                    let old = self.ends.keys().copied().find(|size| wanted.iter().all(|(_, it)| it.size != *size));
                    old.map(|size| self.ends.remove(&size));
                }
            }
            each(entry, &event).map_err(Into::<Broken>::into)?;
        }
        Ok(())
    }

    /// Entry 0: who the ledger says it is, and what was pinned.
    fn begin(&mut self, first: &Entry) -> std::result::Result<(), Halt> {
        let seq = first.header.seq;
        let refuse = |what: &str| Err(Broken::at(seq, what).into());
        let Ok(Event::LedgerOpened(signed)) = first.event() else {
            return refuse("the first entry is not a genesis");
        };
        let genesis = signed.value().clone();
        if genesis.ledger != first.header.ledger {
            return refuse("its genesis is another ledger's");
        }
        let signers: Vec<KeyId> = signed.signatures().iter().map(|one| one.key).collect();
        if !genesis.is_valid() {
            return refuse("its genesis cannot rule a ledger");
        }
        if !signed.verify() || !genesis.operators.iter().chain([&genesis.decision_key]).all(|key| signers.contains(key))
        {
            return refuse("genesis is not signed by its own keys");
        }
        match self.pins.key {
            Some(key) if !signers.contains(&key) => {
                let what = format!("genesis is not signed by {key}");
                return Err(Broken { code: Code::KeyUnknown, seq: Some(seq), what }.into());
            }
            Some(_) => {}
            None => self
                .notes
                .push("no key was pinned (--public-key): consistent with its own keys, whoever made them".to_owned()),
        }
        self.chain = Some(Chain::empty(genesis.ledger));
        let latest = self.folder.checkpoints().join(LATEST);
        let note = read_own_note(&self.folder, &latest)?;
        self.want(&genesis, &latest, note)?;
        match self.pins.checkpoint.clone() {
            Some(path) => self.want_pinned(&genesis, &path)?,
            None => self.notes.push(
                "no checkpoint from outside (--checkpoint): an older copy of the whole folder would pass".to_owned(),
            ),
        }
        self.decision_key = Some(DecisionKey::of(&genesis));
        self.genesis = Some(genesis);
        Ok(())
    }

    /// One that has not the form of a checkpoint says nothing of the ledger; one of another log does.
    fn want_pinned(&mut self, genesis: &Genesis, path: &Path) -> std::result::Result<(), Halt> {
        let note = read_note(path)?;
        let opened = note.as_ref().map(|note| Checkpoint::open(note, &genesis.origin, &genesis.checkpoint_key));
        if let Some(Err(bad @ BadNote::Form)) = opened {
            return Err(Halt::Unreadable(Failure::new(Code::InputFile, format!("{}: {bad}", path.display()))));
        }
        self.want(genesis, path, note)
    }

    fn want(&mut self, genesis: &Genesis, path: &Path, note: Option<Vec<u8>>) -> std::result::Result<(), Halt> {
        let missing = || Broken { code: Code::LogForked, seq: None, what: format!("{} is missing", path.display()) };
        let note = note.ok_or_else(missing)?;
        let checkpoint = open_note(&note, path, &genesis.origin, &genesis.checkpoint_key)?;
        self.counts.signatures += 1;
        self.wanted.push((path.display().to_string(), checkpoint));
        Ok(())
    }

    /// A checkpoint that an entry names must be one of the log before it.
    fn check_named(&mut self, seq: Seq, note: &str) -> std::result::Result<(), Broken> {
        let Some(genesis) = &self.genesis else { return Ok(()) };
        let checkpoint = Checkpoint::open(note.as_bytes(), &genesis.origin, &genesis.checkpoint_key);
        let checkpoint = checkpoint.map_err(|e| Broken::at(seq, format!("the checkpoint that it names: {e}")))?;
        self.counts.signatures += 1;
        self.named = self.named.max(Some((checkpoint.size, seq)));
        match self.ends.get(&checkpoint.size) {
            Some((root, head)) if *root == checkpoint.root && *head == checkpoint.head => Ok(()),
            Some(_) => {
                Err(Broken::at(seq, format!("it names a checkpoint of another history, at size {}", checkpoint.size)))
            }
            None => {
                Err(Broken::at(seq, format!("it names a checkpoint at size {}, where no batch ends", checkpoint.size)))
            }
        }
    }

    fn check_end(&mut self, end: Option<&End>) -> std::result::Result<(), Halt> {
        let size = self.head.tree.size();
        for (name, checkpoint) in &self.wanted {
            let forked = |what: String| Err(Broken { code: Code::LogForked, seq: None, what }.into());
            if checkpoint.size > size {
                return forked(format!("{name} covers {} entries, the log has {size}", checkpoint.size));
            }
            if self.ends.get(&checkpoint.size) != Some(&(checkpoint.root, checkpoint.head)) {
                return forked(format!("{name} has another root or head at size {}", checkpoint.size));
            }
        }
        self.check_latest()?;
        if let Some(End::Incomplete { file, offset, bytes }) = end {
            if self.is_being_written()? {
                self.notes.push("the ledger is being written: what came while it was read was not checked".to_owned());
            } else {
                let what = format!(
                    "{file} at byte {offset}: {bytes} bytes that are not a whole batch, after entry {}",
                    size.saturating_sub(1)
                );
                return Err(Broken { code: Code::LogTail, seq: None, what }.into());
            }
        }
        ContentStore::at(self.folder.content()).check()?;
        if let Some((_, latest)) = self.wanted.first()
            && latest.size < size
        {
            self.notes.push(format!("the last {} entries are beyond the last checkpoint", size - latest.size));
        }
        Ok(())
    }

    /// A checkpoint is named only after the file has it: a file that covers less than what is named was put back to an older
    /// one. Of a ledger at work the file may have been read before the entry was written, so it is read again.
    fn check_latest(&mut self) -> std::result::Result<(), Halt> {
        let (Some((named, seq)), Some(genesis), Some((_, latest))) = (self.named, &self.genesis, self.wanted.first())
        else {
            return Ok(());
        };
        if latest.size >= named {
            return Ok(());
        }
        let now = crate::checkpoint::latest(&self.folder, &genesis.origin, &genesis.checkpoint_key)?;
        match now.map(|checkpoint| checkpoint.size) {
            Some(size) if size >= named => Ok(()),
            size => {
                let covered = size.unwrap_or_default();
                let what = format!("entry {seq} names a checkpoint over {named} entries, {LATEST} covers {covered}");
                Err(Broken { code: Code::LogForked, seq: Some(seq), what }.into())
            }
        }
    }

    fn is_being_written(&self) -> std::result::Result<bool, LogError> {
        Lock::is_held(&self.folder.lock())
    }

    /// What was checked.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            ok: self.broken.is_none(),
            ledger: self.genesis.as_ref().map(|genesis| genesis.ledger),
            entries: self.head.tree.size(),
            signatures: self.counts.signatures,
            decisions: self.counts.decisions,
            receipts: self.counts.receipts,
            head: hex(&self.head.hash),
            root: hex(&self.head.tree.root()),
            checkpoint: self.wanted.first().map(|(_, checkpoint)| checkpoint.size),
            broken: self.broken.clone(),
            notes: self.notes.clone(),
        }
    }
}

/// Why there is not even a genesis.
fn no_entries(end: Option<&End>) -> Broken {
    let (code, what) = match end {
        Some(End::Incomplete { file, offset, bytes }) => (
            Code::LogTail,
            format!("{file} at byte {offset}: {bytes} bytes that are not a whole batch, and nothing else"),
        ),
        Some(End::Clean) | None => (Code::LogMissing, "the log is empty".to_owned()),
    };
    Broken { code, seq: None, what }
}

/// What a reader of the log found, naming the entry where it can be named.
fn damaged(error: &LogError) -> Broken {
    let seq = if let LogError::Damaged(damage) = error { damage.seq } else { None };
    Broken { code: error.code(), seq, what: error.to_string() }
}

/// Who signs for the ledger, entry by entry: the decision key of genesis, and those that it was handed on to.
#[derive(Clone, Copy, Debug)]
pub struct DecisionKey(KeyId);

impl DecisionKey {
    /// The first one.
    #[must_use]
    pub fn of(genesis: &Genesis) -> DecisionKey {
        DecisionKey(genesis.decision_key)
    }

    /// Holds the signer of an event against it, and follows where it is handed on. The signatures are checked elsewhere.
    ///
    /// # Errors
    /// `ERR_LOG_DAMAGED`: by another key.
    pub fn follow(&mut self, event: &Event) -> Result<()> {
        let own = |signer: Option<KeyId>| {
            if signer == Some(self.0) { Ok(()) } else { Err(unsigned("not signed by the ledger's decision key")) }
        };
        match event {
            Event::DecisionMade(decision) => own(decision.signer()),
            Event::ReceiptIssued(issued) => own(issued.receipt.signer()),
            Event::LedgerKeyRotated(act) => {
                let Statement::RotateDecisionKey { key } = act.value().statement else {
                    return Err(unsigned("a rotation without a key"));
                };
                let signed_by = |key| act.signatures().iter().any(|one| one.key == key);
                if !signed_by(self.0) || !signed_by(key) {
                    return Err(unsigned("a rotation that is not signed by the old key and the new one"));
                }
                self.0 = key;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Checks every signature of an event but for whose decisions and receipts are ([`DecisionKey`]), and the output that a receipt names. Returns how many signatures were checked.
///
/// # Errors
/// `ERR_LOG_DAMAGED` for a signature that does not fit or an output that is not the receipt's; those of [`ContentStore::get`].
pub fn check_event(event: &Event, genesis: &Genesis, content: &ContentStore) -> Result<u64> {
    match event {
        Event::LedgerOpened(document) => any_signature(document),
        Event::IntentAdmitted(admitted) => any_signature(&admitted.intent),
        Event::EvidenceRegistered(evidence) => any_signature(evidence),
        // By an approver or a reporter, whom replay judges: trust is in the state, not in genesis.
        Event::ApprovalRecorded(act) => any_signature(act),
        Event::OutcomeReconciled(act) if matches!(act.value().statement, Statement::Report { .. }) => {
            any_signature(act)
        }
        Event::DecisionMade(decision) => any_signature(decision),
        Event::ReceiptIssued(issued) => {
            match (&issued.receipt.value().output, &issued.output) {
                (Some(digest), Some(inline)) if Digest::of(inline) != *digest => {
                    return Err(Failure::new(Code::LogDamaged, "the output is not the one that its receipt names"));
                }
                // Whether it was reported, and so may stand there although it is long, replay knows.
                (Some(_), Some(inline)) if inline.len() > DOCUMENT_BYTES_MAX => {
                    return Err(Failure::new(Code::LogDamaged, "an output longer than any"));
                }
                // What it charges may be in it, and that must be in the log.
                (Some(digest), None) if content.get(digest)?.len() <= INLINE_OUTPUT_MAX => {
                    return Err(Failure::new(Code::LogDamaged, "a short output that is not beside its receipt"));
                }
                (None, Some(_)) => {
                    return Err(Failure::new(Code::LogDamaged, "an output that its receipt does not name"));
                }
                (Some(_), Some(_) | None) | (None, None) => {}
            }
            any_signature(&issued.receipt)
        }
        Event::RecordRefused(_)
        | Event::SourceAdvanced(_)
        | Event::DispatchStarted(_)
        | Event::DispatchRetried(_)
        | Event::DeadlinePassed(_)
        | Event::StateHashed(_)
        | Event::CheckpointSigned(_)
        | Event::TailCut(_)
        | Event::SourceGap(_)
        | Event::RecordsOverQuota(_) => Ok(0),
        // What is neither an act nor named above has signatures that nobody looked at.
        other => match other.act() {
            Some(act) => quorum(act, genesis),
            None => {
                let why = format!("{} is not verified yet", other.kind().as_str());
                Err(Failure::new(Code::LogDamaged, why))
            }
        },
    }
}

fn count<T: Document>(document: &Signed<T>) -> u64 {
    u64::try_from(document.signatures().len()).unwrap_or(u64::MAX)
}

fn unsigned(why: &str) -> Failure {
    Failure::new(Code::LogDamaged, why)
}

fn any_signature<T: Document>(document: &Signed<T>) -> Result<u64> {
    if document.verify() { Ok(count(document)) } else { Err(unsigned("a signature does not fit")) }
}

fn quorum(act: &Signed<Act>, genesis: &Genesis) -> Result<u64> {
    let operators = act.signatures().iter().filter(|one| genesis.operators.contains(&one.key)).count();
    if operators < usize::try_from(genesis.quorum).unwrap_or(usize::MAX) {
        return Err(unsigned("not signed by a quorum of operators"));
    }
    any_signature(act)
}
