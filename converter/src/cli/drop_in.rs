//! The command line under DUCC's name: what its flag parser accepts and ours does not.
//!
//! Rule: Go's `pflag`. A switch may have a value (`--skip-flat=false`, `-s=1`), and may be given more than once, as
//! scripts do that name it in short and in long. Without arguments, DUCC shows its help and ends with 0.

use std::ffi::OsString;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;

/// The name that the program is called by where it stands in for DUCC.
pub(crate) const NAME: &str = "cvmfs_ducc";

/// Parses a command line for DUCC, or ends the program with a message.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Cli {
    match matches(arguments).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            crate::screen::say_lines(error);
            std::process::exit(0)
        }
        Err(error) => error.exit(),
    }
}

fn matches(arguments: impl Iterator<Item = OsString>) -> Result<ArgMatches, clap::Error> {
    lenient(Cli::command()).try_get_matches_from(arguments)
}

/// The command with switches as Go has them.
fn lenient(command: Command) -> Command {
    command.args_override_self(true).mut_args(switch).mut_subcommands(lenient)
}

fn switch(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_name("true|false")
        .hide_default_value(true)
        .value_parser(clap::builder::StringValueParser::new().try_map(|text| boolean(&text)))
}

/// Rule: `strconv.ParseBool`.
fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false"),
    }
}

#[cfg(test)]
mod ducc_flags;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;

    fn parse(words: &[&str]) -> Option<Cli> {
        let arguments = [NAME].iter().chain(words).map(OsString::from);
        Cli::from_arg_matches(&matches(arguments).ok()?).ok()
    }

    #[test]
    fn switches_are_go_s() {
        for (words, flat, thin) in [
            (&[][..], true, true),
            (&["-s", "-i"], false, false),
            (&["-si"], false, false),
            (&["--skip-flat=true", "--skip-thin-image=false"], false, true),
            (&["-s=0", "-i=T"], true, false),
            (&["-s", "--skip-flat", "-p", "--skip-podman"], false, true),
            (&["-s", "--skip-flat=false"], true, true),
        ] {
            let line = [&["convert-single-image", "r.io/a:1", "/r"], words].concat();
            let Some(Cli { command: Command::ConvertSingleImage(single), .. }) = parse(&line)
            else {
                panic!("{words:?} is refused");
            };
            assert_eq!(
                (!single.skip.skip_flat, !single.skip.skip_thin_image),
                (flat, thin),
                "{words:?}"
            );
        }
        for words in [&["gc", "/r", "--dry-run=perhaps"][..], &["gc", "/r", "--dry-run", "true"]] {
            assert!(parse(words).is_none(), "{words:?}");
        }
    }

    #[test]
    fn the_command_is_sound() {
        lenient(Cli::command()).debug_assert();
    }
}
