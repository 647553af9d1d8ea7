//! A disk in memory that can lose power, so that every crash state can be enumerated.
//!
//! It keeps what a running system sees (the page cache) apart from what is on disk. A sector of 512 bytes reaches the disk
//! as a whole or not at all, in any order, until it is synced; the same holds for each change of a name. After a failed
//! sync the cache goes on showing bytes that the disk may not have, and a later sync does not write them: that is how Linux
//! behaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Storage, length, span};

const SECTOR: usize = 512;

/// What goes wrong at a chosen operation. Operations are writes, syncs and changes of names, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation is carried out, but its caller never hears of it: the process is gone, and everything after fails.
    Die,
    /// The operation fails with an I/O error. Of a write, the sectors of the first half are written; after a sync, everything
    /// that was to be synced may or may not be on disk.
    Error,
    /// The operation finds no room. Of a write, the sectors of the first half are written.
    Full,
}

impl Fault {
    /// Whether the process goes on and is told.
    fn is_told(self) -> bool {
        matches!(self, Fault::Error | Fault::Full)
    }
}

/// A handle to a disk in memory. A clone is another handle to the same disk; [`MemStorage::image`] is a copy of it.
#[derive(Clone, Debug, Default)]
pub struct MemStorage(Arc<Mutex<Disk>>);

#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    renamings: Vec<Renaming>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    cache: Vec<u8>,
    disk: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A change of names that is not on disk yet.
#[derive(Clone, Debug)]
struct Renaming {
    gone: Option<String>,
    there: Option<(String, usize)>,
}

impl Content {
    fn sector(bytes: &[u8], sector: usize) -> &[u8] {
        bytes.chunks(SECTOR).nth(sector).unwrap_or_default()
    }

    fn persist(&mut self, sector: usize) {
        let from = self.cache.chunks(SECTOR).nth(sector);
        if let (Some(to), Some(from)) = (self.disk.chunks_mut(SECTOR).nth(sector), from) {
            to.copy_from_slice(from);
        }
    }

    /// The sectors of which cache and disk differ.
    fn unsynced(&self) -> Vec<usize> {
        let differs = |sector: &usize| Self::sector(&self.cache, *sector) != Self::sector(&self.disk, *sector);
        (0..self.cache.len().div_ceil(SECTOR)).filter(differs).collect()
    }
}

impl Disk {
    /// Counts an operation; tells whether it fails before it does anything.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let fault = self.fault.filter(|(at, _)| *at == self.operations).map(|(_, fault)| fault);
        self.operations += 1;
        Ok(fault)
    }

    fn finish(&mut self, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            None => Ok(()),
            Some(Fault::Die) => {
                self.dead = true;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Some(Fault::Error) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn content(&mut self, name: &str) -> io::Result<&mut Content> {
        let at = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(at).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, change: Renaming) {
        apply(&mut self.names, &change);
        self.renamings.push(change);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Renaming) {
    if let Some(gone) = &change.gone {
        names.remove(gone);
    }
    if let Some((name, at)) = &change.there {
        names.insert(name.clone(), *at);
    }
}

impl MemStorage {
    /// An empty disk.
    #[must_use]
    pub fn new() -> MemStorage {
        MemStorage::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the disk as it is now, unsynced sectors and all, without its fault.
    #[must_use]
    pub fn image(&self) -> MemStorage {
        let mut copy = self.disk().clone();
        (copy.fault, copy.dead, copy.operations) = (None, false, 0);
        MemStorage(Arc::new(Mutex::new(copy)))
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Lets the operation with this number go wrong.
    pub fn inject(&self, at: u64, fault: Fault) {
        self.disk().fault = Some((at, fault));
    }

    /// How many sectors and changes of names are not certain to be on disk.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let disk = self.disk();
        disk.files.iter().map(|file| file.unsynced().len()).sum::<usize>() + disk.renamings.len()
    }

    /// The power fails: of the unsynced sectors and names, by number, those that `keep` names survive.
    pub fn power_cut(&self, keep: impl Fn(usize) -> bool) {
        let mut disk = self.disk();
        let mut number = 0;
        let mut kept = || {
            number += 1;
            keep(number - 1)
        };
        for file in &mut disk.files {
            for sector in file.unsynced() {
                if kept() {
                    file.persist(sector);
                }
            }
            file.cache.clone_from(&file.disk);
            file.dirty.clear();
        }
        for change in std::mem::take(&mut disk.renamings) {
            if kept() {
                apply(&mut disk.names_on_disk, &change);
            }
        }
        disk.names = disk.names_on_disk.clone();
        (disk.fault, disk.dead) = (None, false);
    }

    /// Changes a file's bytes behind the log's back, on disk and in the cache.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Ok(file) = self.disk().content(name) {
            change(&mut file.cache);
            file.disk.clone_from(&file.cache);
            file.dirty.clear();
        }
    }

    /// Puts a whole file there behind the log's back, on disk and in the cache.
    pub fn plant(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.disk();
        let at = disk.files.len();
        disk.files.push(Content { cache: bytes.to_vec(), disk: bytes.to_vec(), dirty: BTreeSet::new() });
        disk.names.insert(name.to_owned(), at);
        disk.names_on_disk.insert(name.to_owned(), at);
    }
}

impl Storage for MemStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(length(self.disk().content(name)?.cache.len()))
    }

    fn prepare(&self, unfinished: &str, size: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.begin()?;
        if fault.is_some_and(Fault::is_told) {
            return disk.finish(fault);
        }
        let at = disk.files.len();
        let zeros = vec![0; span(size)];
        disk.files.push(Content { cache: zeros.clone(), disk: zeros, dirty: BTreeSet::new() });
        disk.rename(Renaming { gone: None, there: Some((unfinished.to_owned(), at)) });
        disk.finish(fault)
    }

    fn adopt(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()> {
        if self.disk().names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.write_at(unfinished, 0, head)?;
        self.sync(unfinished)?;
        {
            let mut disk = self.disk();
            let fault = disk.begin()?;
            if fault == Some(Fault::Full) {
                return disk.finish(fault);
            }
            let at = *disk.names.get(unfinished).ok_or(io::ErrorKind::NotFound)?;
            disk.rename(Renaming { gone: Some(unfinished.to_owned()), there: Some((name.to_owned(), at)) });
            disk.finish(fault)?;
        }
        self.sync_names()
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let from = span(offset);
        let to = from.saturating_add(into.len());
        let bytes = disk.content(name)?.cache.get(from..to).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.begin()?;
        let from = span(offset);
        let bytes = match fault {
            Some(Fault::Error | Fault::Full) => {
                let end = (from + bytes.len() / 2) / SECTOR * SECTOR;
                bytes.get(..end.saturating_sub(from)).unwrap_or_default()
            }
            Some(Fault::Die) | None => bytes,
        };
        let file = disk.content(name)?;
        let to = from.saturating_add(bytes.len());
        file.cache.get_mut(from..to).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(bytes);
        file.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        disk.finish(fault)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.begin()?;
        let file = disk.content(name)?;
        for sector in std::mem::take(&mut file.dirty) {
            if !fault.is_some_and(Fault::is_told) {
                file.persist(sector);
            }
        }
        disk.finish(fault)
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.disk();
        let fault = disk.begin()?;
        if !fault.is_some_and(Fault::is_told) {
            disk.renamings.clear();
            disk.names_on_disk = disk.names.clone();
        }
        disk.finish(fault)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fault = disk.begin()?;
        disk.rename(Renaming { gone: Some(name.to_owned()), there: None });
        disk.finish(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_synced_may_be_lost_in_any_combination() {
        let disk = MemStorage::new();
        disk.create("a", b"", 2048).expect("creates");
        disk.write_at("a", 0, &[1]).expect("writes");
        disk.sync("a").expect("syncs");
        disk.write_at("a", 512, &[2; 1024]).expect("writes");
        assert_eq!(disk.unsynced(), 2);
        let seen = |kept: usize| {
            let image = disk.image();
            image.power_cut(|number| kept & (1 << number) != 0);
            let mut bytes = [0; 1536];
            image.read_at("a", 0, &mut bytes).expect("reads");
            [bytes[0], bytes[512], bytes[1024]]
        };
        assert_eq!([0, 1, 2, 3].map(seen), [[1, 0, 0], [1, 2, 0], [1, 0, 2], [1, 2, 2]]);
    }

    #[test]
    fn after_a_failed_sync_the_cache_shows_what_a_later_sync_does_not_write() {
        let disk = MemStorage::new();
        disk.create("a", b"", 512).expect("creates");
        disk.inject(disk.operations() + 1, Fault::Error);
        disk.write_at("a", 0, b"x").expect("writes");
        assert!(disk.sync("a").is_err());
        disk.sync("a").expect("syncs");
        let read = |disk: &MemStorage| {
            let mut byte = [0];
            disk.read_at("a", 0, &mut byte).map(|()| byte[0]).expect("reads")
        };
        assert_eq!((read(&disk), disk.unsynced()), (b'x', 1));
        let image = disk.image();
        image.power_cut(|_| false);
        assert_eq!(read(&image), 0);
        disk.write_at("a", 0, b"x").expect("writes");
        disk.sync("a").expect("syncs");
        assert_eq!(disk.unsynced(), 0);
    }
}
