//! What Writ says: the types, their exact bytes, and how anybody checks them.
//!
//! In reading order:
//!
//! - [`ids`]: numbers and names with a type: `Seq`, `UnixMicros`, `Digest`, `KeyId`, `Name`
//! - [`errors`]: the closed registry of codes, and what a caller may do about each
//! - [`strict`]: bytes from outside to JSON that means one thing (I-JSON, RFC 7493)
//! - [`several`]: none, one or many, said in one way
//! - [`canonical`]: a value to the one byte string that is hashed and signed (RFC 8785)
//! - [`keys`]: Ed25519, one rule for accepting a signature
//! - [`dsse`]: signed documents; the bytes that were signed are the bytes kept
//! - [`genesis`], [`intent`], [`policy`], [`decision`], [`receipt`], [`evidence`], [`act`]: the documents
//! - [`event`]: what happened; the closed enum and its encoding
//! - [`entry`]: an event in its place: header, commitment, hash, chain
//! - [`merkle`]: the RFC 6962 tree over the headers
//! - [`checkpoint`]: a signed head (C2SP tlog-checkpoint)
//!
//! **Invariant:** no I/O, no `async`, no clock, no randomness, no hash-ordered maps. Salts, keys and times are arguments.

pub mod ids;
pub mod errors;
pub mod strict;
pub mod several;
pub mod canonical;
pub mod keys;
pub mod dsse;
pub mod genesis;
pub mod intent;
pub mod policy;
pub mod decision;
pub mod receipt;
pub mod evidence;
pub mod act;
pub mod event;
pub mod entry;
pub mod merkle;
pub mod checkpoint;
