//! `ducc completions` and `ducc man-pages`: generated from the command line's own description.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;

/// Writes the completions of a shell to standard output, for the name that the program was called by.
pub(crate) fn completions(shell: Shell, program: &str) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), program, &mut text);
    io::stdout().lock().write_all(&text).context("cannot write to standard output")
}

/// Writes a page of section 1 for the program and for each command into a directory.
pub(crate) fn man_pages(directory: &Path) -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    pages(&command, directory)
}

fn pages(command: &Command, directory: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = directory.join(format!("{name}.1"));
    let failed = || format!("cannot write {}", path.display());
    let mut file = File::create(&path).with_context(failed)?;
    clap_mangen::Man::new(command.clone()).render(&mut file).with_context(failed)?;
    for subcommand in command.get_subcommands().filter(|it| it.get_name() != "help") {
        pages(subcommand, directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        man_pages(directory.path()).unwrap();
        for page in ["ducc.1", "ducc-convert.1", "ducc-repository-create.1"] {
            let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
        assert!(!directory.path().join("ducc-help.1").exists());
    }
}
