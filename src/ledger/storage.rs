//! The writer's files, and how long syncing them takes.

use std::io;

use writ_log::{DirStorage, Storage};

use crate::clock::Stopwatch;
use crate::telemetry::metrics;

/// The files of a folder, as the one writer uses them. What is made ahead by another thread is not measured: nobody waits for it.
#[derive(Clone, Debug)]
pub(super) struct Measured(pub(super) DirStorage);

fn synced(sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let took = Stopwatch::start();
    failing(sync)?;
    metrics::sync(took.elapsed());
    Ok(())
}

fn failing(write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    write().inspect_err(|_| metrics::sync_failed())
}

impl Storage for Measured {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        self.0.size(name)
    }

    fn prepare(&self, unfinished: &str, size: u64) -> io::Result<()> {
        metrics::segment_unprepared();
        failing(|| self.0.prepare(unfinished, size))
    }

    fn adopt(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()> {
        synced(|| self.0.adopt(unfinished, name, head))
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(name, offset, into)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        failing(|| self.0.write_at(name, offset, bytes))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        synced(|| self.0.sync(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        failing(|| self.0.sync_names())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}
