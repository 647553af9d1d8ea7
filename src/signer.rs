//! Whoever signs for the ledger: a key that is held in memory, or a command that holds it elsewhere.
//!
//! A command lives as long as its signer. It reads one request a line, the message in hex, and answers each in its turn with
//! one line, the signature in hex. `docs/keys.md` says it for those who write one; `writ key signer` is one.
//!
//! **Invariant:** no signature of a command is used before it was verified. After the first failure the command is ended, and
//! asked nothing more: an answer that comes late can never be taken for that to another request.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use writ_schemas::dsse::{Signature, ToSign, pae};
use writ_schemas::errors::Code;
use writ_schemas::ids::{KeyId, hex, unhex};
use writ_schemas::keys::{self, SecretKey};

use crate::clock::Stopwatch;
use crate::config::Signers;
use crate::error::{Failure, Result};
use crate::folder::{Folder, KeyRole};
use crate::threads::spawn;

/// The longest answer that is read, in bytes: 128 hex digits and the end of the line, of either kind.
const ANSWER_BYTES_MAX: usize = 130;

/// Answers that wait to be looked at; a command that says more than it was asked is not read any further.
const ANSWERS_MAX: usize = 16;

/// How long a command may take to end once its input is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a command is asked to sign before anything depends on it: no document has this type, so it says nothing.
const PROBE: &str = "application/vnd.writ.probe.v1+json";

/// Signs.
pub enum Signer {
    /// By a key in this process.
    Held(Box<SecretKey>),
    /// By asking a command.
    Command(Box<Commanded>),
}

impl Signer {
    /// Whoever signs for this folder in `role`: the command that `writ.toml` names, else the key file. Its key must be one of
    /// `expected`.
    ///
    /// # Errors
    /// `ERR_KEY_FILE` for a key file that cannot be read or holds another key; `ERR_SIGNER_FAILED` for a command that does not
    /// start.
    pub fn of(folder: &Folder, role: KeyRole, expected: &[KeyId]) -> Result<Signer> {
        let signers = folder.config()?.signer;
        if let Some(command) = command_of(&signers, role) {
            let patience = Duration::from_millis(signers.timeout_ms);
            return Ok(Signer::Command(Box::new(Commanded::start(command, role, expected, patience)?)));
        }
        let key = folder.read_key_of(role, expected)?;
        if expected.contains(&key.id()) {
            return Ok(Signer::Held(Box::new(key)));
        }
        let why = format!("{} is not the key that signs for this ledger", folder.key(role).display());
        Err(Failure::new(Code::KeyFile, why))
    }

    /// The same signer, once it has shown that it signs: a command that does not work is found before anything waits for it.
    ///
    /// # Errors
    /// `ERR_SIGNER_FAILED`.
    pub fn proven(mut self) -> Result<Signer> {
        if let Signer::Command(command) = &mut self {
            command.sign(&pae(PROBE, b"{}"))?;
        }
        Ok(self)
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// `ERR_SIGNER_FAILED`.
    pub fn sign(&mut self, message: &[u8]) -> Result<Signature> {
        match self {
            Signer::Held(key) => Ok(Signature { key: key.id(), bytes: key.sign(message) }),
            Signer::Command(command) => command.sign(message),
        }
    }
}

fn command_of(signers: &Signers, role: KeyRole) -> Option<&[String]> {
    match role {
        KeyRole::Operator => signers.operator.as_deref(),
        KeyRole::Decision => signers.decision.as_deref(),
        KeyRole::Checkpoint => signers.checkpoint.as_deref(),
        KeyRole::Producer | KeyRole::Approver => None,
    }
}

/// A command that signs.
pub struct Commanded {
    /// The program, as people know it; its arguments may be secret.
    name: String,
    /// Those of which one must have made each signature.
    keys: Vec<KeyId>,
    patience: Duration,
    /// Nothing after the first failure.
    running: Option<Running>,
}

/// The process, and its two lines of talk, each with a thread that alone may block on it.
struct Running {
    child: Child,
    requests: Option<Sender<String>>,
    answers: Receiver<Vec<u8>>,
}

impl Commanded {
    fn start(command: &[String], role: KeyRole, keys: &[KeyId], patience: Duration) -> Result<Commanded> {
        let (program, args) =
            command.split_first().ok_or_else(|| Failure::new(Code::Config, "a signer without a program"))?;
        let name = format!("{program}, which signs for {}", role.file().trim_end_matches(".key"));
        let failed = |why: &dyn std::fmt::Display| Failure::new(Code::SignerFailed, format!("{name}: {why}"));
        // In a group of its own a Ctrl-C at the terminal ends it only after the last checkpoint is signed.
        let started =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = started.map_err(|e| failed(&e))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(&"it has no standard input and output"));
        };
        let (requests, asked) = channel();
        let (told, answers) = sync_channel(ANSWERS_MAX);
        let running = Running { child, requests: Some(requests), answers };
        spawn("signer's requests", move || pass_requests(stdin, &asked))?;
        spawn("signer's answers", move || pass_answers(stdout, &told))?;
        Ok(Commanded { name, keys: keys.to_vec(), patience, running: Some(running) })
    }

    /// Signs one message.
    ///
    /// # Errors
    /// `ERR_SIGNER_FAILED`, now and from now on.
    pub fn sign(&mut self, message: &[u8]) -> Result<Signature> {
        self.ask(message);
        self.answer(message).inspect_err(|_| self.end())
    }

    /// Signs each document. All are asked for at once, so that a command far away costs one journey and not one for each.
    ///
    /// # Errors
    /// As [`Commanded::sign`].
    pub fn sign_all(&mut self, documents: &mut [&mut dyn ToSign]) -> Result<()> {
        documents.iter().for_each(|document| self.ask(&document.message()));
        let signed = documents.iter_mut().try_for_each(|document| {
            document.attach(self.answer(&document.message())?);
            Ok(())
        });
        signed.inspect_err(|_| self.end())
    }

    /// Whether it was heard shows in the answer, or in that none comes.
    fn ask(&self, message: &[u8]) {
        let requests = self.running.as_ref().and_then(|running| running.requests.as_ref());
        requests.map(|requests| requests.send(format!("{}\n", hex(message))));
    }

    fn answer(&mut self, message: &[u8]) -> Result<Signature> {
        let failed = |why: String| Failure::new(Code::SignerFailed, format!("{}: {why}", self.name));
        let Some(running) = &mut self.running else { return Err(failed("it failed before".to_owned())) };
        let line = running.answers.recv_timeout(self.patience).map_err(|e| {
            failed(match e {
                RecvTimeoutError::Timeout => format!("no answer within {} ms", self.patience.as_millis()),
                RecvTimeoutError::Disconnected => match running.child.try_wait() {
                    Ok(Some(status)) => format!("it has ended ({status})"),
                    _ => "it answers no more".to_owned(),
                },
            })
        })?;
        let bytes = std::str::from_utf8(&line).ok().and_then(|line| unhex::<64>(line.trim_end()));
        let bytes = bytes.ok_or_else(|| failed("an answer that is not 128 hex digits".to_owned()))?;
        let key = self.keys.iter().find(|key| keys::verify(key, message, &bytes));
        let key =
            *key.ok_or_else(|| failed("a signature that is not by the ledger's key over what was asked".to_owned()))?;
        Ok(Signature { key, bytes })
    }

    /// Ends it at once: nothing that it may still say is wanted.
    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill(); // it may have ended by itself
        }
    }
}

impl Drop for Running {
    /// Closes its input, by which a command knows that it is not needed any more; one that stays is ended.
    fn drop(&mut self) {
        self.requests = None;
        let since = Stopwatch::start();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_requests(mut to: ChildStdin, requests: &Receiver<String>) {
    while let Ok(request) = requests.recv() {
        if to.write_all(request.as_bytes()).and_then(|()| to.flush()).is_err() {
            return; // it has ended; that shows where its answer is waited for
        }
    }
}

fn pass_answers(from: ChildStdout, answers: &SyncSender<Vec<u8>>) {
    let (mut from, limit) = (BufReader::new(from), u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX));
    loop {
        let mut line = Vec::with_capacity(ANSWER_BYTES_MAX);
        let read = Read::take(&mut from, limit).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) || answers.send(line).is_err() {
            return;
        }
    }
}
