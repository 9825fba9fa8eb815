//! `broca completions` and `broca man`: what shells and `man` know of the commands.

use std::path::{Path, PathBuf};

use clap_complete::Shell;

use super::describe::built;
use crate::{
    failure::{Blame, Code, Failure},
    output::Output,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: broca completions bash > /etc/bash_completion.d/broca")]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: broca man | man -l -\n          broca man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Writes a page for each command into this folder [default: the main page, to standard output]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(crate) fn completions(output: Output, CompletionsArgs { shell }: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut built(), "broca", &mut script);
    output.text(String::from_utf8_lossy(&script).trim_end())
}

pub(crate) fn man(output: Output, ManArgs { folder }: &ManArgs) -> Result<(), Failure> {
    match folder {
        Some(folder) => pages(output, folder),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(built()).render(&mut page)?;
            output.text(String::from_utf8_lossy(&page).trim_end())
        }
    }
}

fn pages(output: Output, folder: &Path) -> Result<(), Failure> {
    let cannot = || format!("cannot write into {}", folder.display());
    std::fs::create_dir_all(folder).blame(Code::Failure, cannot())?;
    clap_mangen::generate_to(built(), folder).blame(Code::Failure, cannot())?;
    output.result(&serde_json::json!({"folder": folder}), || format!("written into {}", folder.display()))
}
