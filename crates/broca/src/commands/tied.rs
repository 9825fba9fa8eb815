//! `broca tied`: becomes another program that ends with the process that started this one.

use std::{ffi::OsString, path::PathBuf};

use crate::{
    failure::{Code, Failure},
    supervisor::tie,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process that started this one
    #[arg(long)]
    parent: u32,
    /// A file to hold locked
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Returns only when it failed.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (program, rest) = args.command.split_first().ok_or_else(|| Failure::new(Code::Usage, "no program is given"))?;
    let error = tie::become_tied(args.parent, args.lock.as_deref(), program, rest);
    Err(Failure::new(Code::Failure, format!("cannot run {}: {error}", program.display())))
}
