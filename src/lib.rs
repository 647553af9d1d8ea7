//! Writ: an event-sourced, hash-chained ledger for the actions of software agents.
//!
//! The map, in the order in which one intent meets the modules. Types and bytes are in `writ-schemas`, decisions in
//! `writ-kernel`, files in `writ-log`, read models in `writ-projections`; this crate is the shell that connects them.
//!
//! - [`error`]: a failure, with its registered code
//! - [`clock`], [`config`]: the only readers of time and of the environment
//! - [`signals`]: what the operating system tells the process
//! - [`threads`]: threads whose end is noticed
//! - [`keyfile`]: key files: readable by their owner only, and under a passphrase where that is asked for
//! - [`secret`]: secrets, from where the configuration says that they are
//! - [`folder`]: the layout of a ledger's folder, its keys, its lock
//! - [`space`]: room on the disk, and what is kept of it for what is under way
//! - [`signer`]: whoever signs for the ledger: a key that is held, or a command
//! - [`intake`]: bytes to intents, on every core
//! - [`progress`]: how far the log is durable, for those who follow it
//! - [`queue`]: the bounded queue in front of the writer: the back-pressure
//! - [`holds`]: which partitions of Kafka the writer does not take records of now
//! - [`sequencer`]: the one writer: batch, decide, apply, sign, append, COMMIT, effects
//! - [`checkpoint`]: signs the head, off the hot path
//! - [`executor`]: carries out what passed; a new connector is a variant of `ConnectorKind` and a file in there
//! - [`ledger`]: opens a folder and starts the threads above
//! - [`views`]: hosts the projections; a new projection is a fold in `writ-projections` and a line there
//! - [`query`]: what became of an intent, usage, the graph, as JSON
//! - [`derivation`]: what follows from the log before an entry, for opening and for replay
//! - [`verify`], [`replay`]: what anybody can check, without trusting the writer
//! - [`kafka`]: intents in, decisions and receipts out
//! - [`service`]: a ledger at work with everything around it
//! - [`api`]: HTTP, on TCP and on the ledger's socket
//! - [`visible`]: texts from outside, as a person may see them
//! - [`telemetry`]: spans, metrics
//! - [`cli`]: the command line; a new command is a file in there
//!
//! **Invariant:** nothing leaves the process before its entry is durable. The one place where that is decided is marked
//! COMMIT POINT in [`sequencer`].
//!
//! **Invariant:** only [`clock`] reads time, only [`config`] reads the environment, only [`cli`] prints.
//!
//! **Invariant:** readers append nothing. Only the sequencer writes the log, and before it starts [`ledger`]: entry 0, and what
//! opening cut.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the shell matches on foreign enums, and on events of which it handles some; the pure crates name each variant"
)]

pub mod error;
pub mod clock;
pub mod config;
pub mod signals;
pub mod threads;
pub mod keyfile;
pub mod secret;
pub mod folder;
pub mod space;
pub mod signer;
pub mod intake;
pub mod progress;
pub mod queue;
pub mod holds;
pub mod sequencer;
pub mod checkpoint;
pub mod executor;
pub mod ledger;
pub mod views;
pub mod query;
pub mod derivation;
pub mod verify;
pub mod replay;
pub mod kafka;
pub mod service;
pub mod api;
pub mod visible;
pub mod telemetry;
pub mod cli;
