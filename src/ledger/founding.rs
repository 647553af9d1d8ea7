//! How a ledger comes to be: whole, or not at all.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use writ_log::{DirStorage, Lock, Log, LogError, files};
use writ_schemas::dsse::{SIGNATURES_MAX, Signed};
use writ_schemas::errors::Code;
use writ_schemas::event::Event;
use writ_schemas::genesis::{Genesis, SigningMode};
use writ_schemas::ids::{KeyId, LedgerId, hex};
use writ_schemas::keys::SecretKey;

use super::append;
use crate::checkpoint::{Head, LATEST};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Failure, Result};
use crate::folder::{self, Folder, KeyRole, remove, sync_folder};
use crate::keyfile;

/// The most operators: genesis is signed by each of them, and by the decision key.
const OPERATORS_MAX: usize = SIGNATURES_MAX - 1;

/// Who is to administer a new ledger.
pub enum Operators {
    /// One, whose key is made in the folder.
    Made,
    /// Those with these keys, which lie elsewhere; an act needs `quorum` of them.
    Given {
        /// All of them: each signs genesis.
        keys: Vec<SecretKey>,
        /// How many.
        quorum: u32,
    },
}

/// A ledger that is being made. It comes to be in a folder inside of its own and moves into place when it is whole, `log/` last: by
/// that a ledger is known. Whatever ends it before, there is no ledger, and making one there begins anew.
pub struct Founding {
    place: Folder,
    inside: Folder,
    genesis: Signed<Genesis>,
    is_whole: bool,
    _lock: Lock,
}

/// Makes a new ledger in an empty folder: configuration, keys, genesis, the first checkpoint. All of it is durable on return.
///
/// # Errors
/// As [`Founding::begin`]; I/O failures.
pub fn create(
    operators: &Operators,
    folder: &Folder,
    origin: Option<String>,
    config: &Config,
    clock: &Clock,
) -> Result<Signed<Genesis>> {
    let founding = Founding::begin(operators, folder, origin, config, clock)?;
    let genesis = founding.genesis().clone();
    founding.finish()?;
    Ok(genesis)
}

impl Founding {
    /// Makes what every ledger has, in a folder that is empty or has what an earlier attempt left half-way.
    ///
    /// # Errors
    /// `ERR_LOG_EXISTS` if there is anything else in the folder; `ERR_USAGE` for operators of which there can be no quorum, an
    /// origin that cannot name a log, or a layout that no log can have; I/O failures.
    pub fn begin(
        operators: &Operators,
        place: &Folder,
        origin: Option<String>,
        config: &Config,
        clock: &Clock,
    ) -> Result<Founding> {
        config.log.check().map_err(|why| Failure::new(Code::Usage, why))?;
        operators.check()?;
        let ledger = LedgerId(folder::random()?);
        let origin = origin.unwrap_or_else(|| format!("writ.local/{}", hex(&ledger.0)));
        if !writ_schemas::checkpoint::origin_is_valid(&origin) {
            return Err(Failure::new(Code::Usage, format!("{origin:?} cannot name a log")));
        }
        let lock = claim(place)?;
        let inside = Folder::at(place.unfinished());
        let made = found(operators, &inside, ledger, origin, config, clock);
        let genesis = made.inspect_err(|_| drop(clear(place)))?;
        Ok(Founding { place: place.clone(), inside, genesis, is_whole: false, _lock: lock })
    }

    /// Where it is until it is whole. What is put there moves with it.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.inside
    }

    /// What the log begins with.
    #[must_use]
    pub fn genesis(&self) -> &Signed<Genesis> {
        &self.genesis
    }

    /// Puts it into its place. It is a ledger then, and durable.
    ///
    /// # Errors
    /// I/O failures.
    pub fn finish(mut self) -> Result<()> {
        let root = &self.inside.root().to_owned();
        // What is derived was not synced, and the lock is that of the place.
        remove(&self.inside.views())?;
        remove(&self.inside.lock())?;
        let names = sync_tree(root)?;
        let log = self.inside.log();
        for name in names.iter().filter(|name| root.join(name) != log) {
            self.moves(name)?;
        }
        self.place.sync()?;
        self.moves(log.file_name().unwrap_or_default())?;
        // Whatever fails from here on, it is a ledger.
        self.is_whole = true;
        self.place.sync()?;
        std::fs::remove_dir(root).map_err(|e| Failure::io(root, &e))
    }

    fn moves(&self, name: &OsStr) -> Result<()> {
        let to = self.place.root().join(name);
        std::fs::rename(self.inside.root().join(name), &to).map_err(|e| Failure::io(&to, &e))
    }
}

impl Drop for Founding {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = clear(&self.place); // what cannot be removed, the next attempt removes
        }
    }
}

impl Operators {
    fn check(&self) -> Result<()> {
        let Operators::Given { keys, quorum } = self else { return Ok(()) };
        let distinct: BTreeSet<KeyId> = keys.iter().map(SecretKey::id).collect();
        let usage = |why: String| Err(Failure::new(Code::Usage, why));
        if keys.len() > OPERATORS_MAX {
            return usage(format!("{} operators, at most {OPERATORS_MAX}", keys.len()));
        }
        if distinct.len() < keys.len() {
            return usage("the same operator's key twice".to_owned());
        }
        if !u32::try_from(keys.len()).is_ok_and(|all| (1..=all).contains(quorum)) {
            return usage(format!("a quorum of {quorum} of {} operators", keys.len()));
        }
        Ok(())
    }
}

/// Takes a folder for a new ledger, and makes it if need be. Of several processes, the one that gets the lock has it.
fn claim(place: &Folder) -> Result<Lock> {
    let exists = |what: &str| Failure::new(Code::LogExists, format!("{}{what}", place.root().display()));
    let io = |e| Failure::io(place.root(), &e);
    place.root().parent().map_or(Ok(()), std::fs::create_dir_all).map_err(io)?;
    match files::make_folder(place.root()) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(io(e)),
        Ok(()) | Err(_) => {}
    }
    if !place.root().is_dir() {
        return Err(exists(": a file"));
    }
    require_free(place)?; // before anything is made in it
    let lock = Lock::acquire(&place.lock()).map_err(|e| match e {
        LogError::Locked(_) => exists(": another process makes a ledger there"),
        e => e.into(),
    })?;
    require_free(place)?;
    clear(place)?;
    Ok(lock)
}

/// What moves into place before the log does.
fn moves_early(place: &Folder) -> [PathBuf; 6] {
    [place.checkpoints(), place.content(), place.policy(), place.keys(), place.config_file(), place.clock()]
}

/// Fails if there is anything in a folder that no earlier attempt has left.
fn require_free(place: &Folder) -> Result<()> {
    let root = place.root();
    let io = |e| Failure::io(root, &e);
    let (unfinished, early) = (place.unfinished(), moves_early(place));
    let half_way = unfinished.is_dir();
    for entry in std::fs::read_dir(root).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path != place.lock() && path != unfinished && !(half_way && early.contains(&path)) {
            return Err(Failure::new(Code::LogExists, format!("{}: {}", root.display(), path.display())));
        }
    }
    Ok(())
}

/// Removes what an attempt left; last that by which it is known that there was one.
fn clear(place: &Folder) -> Result<()> {
    let unfinished = place.unfinished();
    if !unfinished.is_dir() {
        return Ok(());
    }
    moves_early(place).iter().try_for_each(|path| remove(path))?;
    remove(&unfinished)
}

/// Makes the names in a folder and below durable. Returns those in it.
fn sync_tree(folder: &Path) -> Result<Vec<OsString>> {
    let io = |e| Failure::io(folder, &e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_tree(&entry.path())?;
        }
        names.push(entry.file_name());
    }
    sync_folder(folder)?;
    Ok(names)
}

fn found(
    operators: &Operators,
    folder: &Folder,
    ledger: LedgerId,
    origin: String,
    config: &Config,
    clock: &Clock,
) -> Result<Signed<Genesis>> {
    files::make_folder(folder.root()).map_err(|e| Failure::io(folder.root(), &e))?;
    folder.make()?;
    let file = folder.config_file();
    files::write_new(&file, config.to_toml().as_bytes()).map_err(|e| Failure::io(&file, &e))?;
    let (operators, quorum) = match operators {
        Operators::Made => (&vec![keyfile::make(&folder.key(KeyRole::Operator), None)?], 1),
        Operators::Given { keys, quorum } => (keys, *quorum),
    };
    let decision = keyfile::make(&folder.key(KeyRole::Decision), None)?;
    let checkpoint = keyfile::make(&folder.key(KeyRole::Checkpoint), None)?;
    let genesis = Genesis {
        ledger,
        origin,
        operators: operators.iter().map(SecretKey::id).collect(),
        quorum,
        decision_key: decision.id(),
        checkpoint_key: checkpoint.id(),
        signing_mode: SigningMode::Each,
        created_at: clock.now(),
    };
    let mut genesis = writ_kernel::execution::document(genesis)?.sign(&decision);
    operators.iter().for_each(|key| genesis.add_signature(key));
    let mut log = Log::create(DirStorage::writing(folder.log()), ledger, config.log.options())?;
    let mut head = Head::default();
    for entry in append(&mut log, clock.now(), &Event::LedgerOpened(genesis.clone()))? {
        head.push(&entry.header);
    }
    let note = head.checkpoint(&genesis.value().origin).sign(&checkpoint);
    let place = folder.checkpoints();
    writ_log::replace(&place, LATEST, note.as_bytes())?;
    Ok(genesis)
}
