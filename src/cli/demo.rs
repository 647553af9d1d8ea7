//! `writ demo`
use super::Found;
use crate::error::Result;

/// Arguments of `writ demo`.
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<Found> {
    Ok(Found::Yes)
}
