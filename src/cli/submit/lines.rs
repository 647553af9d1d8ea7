//! The input of `writ submit`, read by a thread of its own: whoever waits for a line can be told to stop, and lines that come slowly
//! are not kept waiting for more.
//!
//! **Invariant:** what is held of the input does not depend on how long it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use writ_schemas::dsse::ENVELOPE_BYTES_MAX;
use writ_schemas::errors::Code;

use crate::api::LINES_MAX;
use crate::error::{Failure, Result};
use crate::signals::Interrupt;
use crate::threads;

/// What is read at once, in bytes: 4 MiB. Lines of one reading are submitted together.
const BUFFER_BYTES: usize = 4 << 20;

/// Bytes that are submitted together where that is dear: 16 MiB.
const TOGETHER_BYTES_MAX: usize = 16 << 20;

/// How often whoever waits for a line looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// Lines that came together.
type Lines = Vec<Vec<u8>>;

/// The lines of a file or of standard input.
pub(super) struct Input(Receiver<Result<Lines>>);

impl Input {
    /// Begins to read.
    ///
    /// # Errors
    /// `ERR_INPUT_FILE`, `ERR_THREADS`.
    pub(super) fn open(path: Option<&Path>) -> Result<Input> {
        let from: Box<dyn Read + Send> = match path {
            Some(path) if path.as_os_str() != "-" => Box::new(
                File::open(path).map_err(|e| Failure::new(Code::InputFile, format!("{}: {e}", path.display())))?,
            ),
            Some(_) | None => Box::new(std::io::stdin()),
        };
        // One waits while the one before is submitted.
        let (to, lines) = sync_channel(1);
        threads::spawn("input", move || read_all(&mut BufReader::with_capacity(BUFFER_BYTES, from), &to))?;
        Ok(Input(lines))
    }

    /// The lines that came next, blank ones left out; nothing at the end of the input, or once the process is to end. With
    /// `together`, as many as may be submitted at once.
    ///
    /// # Errors
    /// `ERR_INPUT_FILE`.
    pub(super) fn next(&self, together: bool, interrupt: &Interrupt) -> Result<Option<Lines>> {
        let (mut lines, mut bytes) = (Lines::new(), 0);
        while interrupt.by().is_none() {
            match self.0.recv_timeout(PATIENCE) {
                Ok(more) => {
                    let more = more?;
                    bytes += more.iter().map(Vec::len).sum::<usize>();
                    lines.extend(more);
                    if !together || lines.len() > LINES_MAX / 2 || bytes > TOGETHER_BYTES_MAX / 2 {
                        return Ok(Some(lines));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok((!lines.is_empty()).then_some(lines)),
            }
        }
        Ok(None)
    }
}

/// Hands on what is read, until the input ends, fails, or nobody wants more.
fn read_all(from: &mut BufReader<impl Read>, to: &SyncSender<Result<Lines>>) {
    loop {
        match read_together(from) {
            Ok(None) => return,
            Ok(Some(lines)) if lines.is_empty() => {}
            Ok(Some(lines)) => {
                if to.send(Ok(lines)).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = to.send(Err(Failure::new(Code::InputFile, error))); // or nobody wants to know
                return;
            }
        }
    }
}

/// Reads a line, and the whole lines behind it that came with it.
fn read_together(from: &mut BufReader<impl Read>) -> std::io::Result<Option<Lines>> {
    let mut lines = Lines::new();
    while lines.is_empty() || lines.len() < LINES_MAX / 2 && from.buffer().contains(&b'\n') {
        match read_line(from)? {
            Some(line) => lines.push(line),
            None if lines.is_empty() => return Ok(None),
            None => break,
        }
    }
    Ok(Some(lines.into_iter().filter(|line| !line.iter().all(u8::is_ascii_whitespace)).collect()))
}

/// A line without its end; nothing at the end of the input. One that is too long is cut to a length that is refused.
fn read_line(from: &mut BufReader<impl Read>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(ENVELOPE_BYTES_MAX + 2).unwrap_or(u64::MAX);
    if Read::take(&mut *from, limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > ENVELOPE_BYTES_MAX {
        loop {
            let buffer = from.fill_buf()?;
            let (len, end) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            from.consume(len);
            if end {
                break;
            }
        }
    }
    Ok(Some(line))
}
