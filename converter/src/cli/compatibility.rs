//! Command lines as DUCC takes them, where they are not what this program's parser expects.
//!
//! DUCC's flags may have a value, `--dry-run=false`, and so have those of scripts that spell out defaults. A call without
//! anything shows the help, and that is no error.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, Command, CommandFactory, Error};

use super::Cli;

/// What DUCC's program is called.
const DUCC: &str = "cvmfs_ducc";

/// What Go's `strconv.ParseBool` takes.
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];

/// The arguments of this program, in terms of its parser.
pub(crate) fn arguments() -> Vec<OsString> {
    without_values(&Cli::command(), std::env::args_os())
}

/// The name that the program was called by: `ducc`, or a link such as `cvmfs_ducc`.
pub(crate) fn called() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "ducc".to_owned())
}

/// Whether the program was called by DUCC's name, so that DUCC itself may be at work beside it.
pub(crate) fn is_called_as_ducc() -> bool {
    called() == DUCC
}

/// Tells why there is nothing to do, and gives the exit status.
pub(crate) fn refuse(error: &Error) -> ExitCode {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        && std::env::args_os().len() <= 1
    {
        println!("{}", error.render());
        return ExitCode::SUCCESS;
    }
    // Whoever does not read this does not need it.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The arguments with `--flag` in place of `--flag=true`, and without `--flag=false`.
fn without_values(cli: &Command, given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let flags = flags(cli);
    let mut arguments = Vec::new();
    let mut given = given;
    for argument in given.by_ref() {
        if argument == "--" {
            arguments.push(argument);
            break;
        }
        match argument.to_str().and_then(|text| text.split_once('=')) {
            Some((flag, value)) if flags.contains(flag) && TRUE.contains(&value) => {
                arguments.push(flag.into());
            }
            Some((flag, value)) if flags.contains(flag) && FALSE.contains(&value) => {}
            _ => arguments.push(argument),
        }
    }
    arguments.extend(given);
    arguments
}

/// The options that have no value in any command that has them, as they are written.
fn flags(cli: &Command) -> BTreeSet<String> {
    let mut all: BTreeMap<String, bool> = BTreeMap::new();
    let mut commands = vec![cli];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for argument in command.get_arguments() {
            let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
            let long = argument.get_long_and_visible_aliases().unwrap_or_default();
            let long = long.into_iter().map(|name| format!("--{name}"));
            let short = argument.get_short_and_visible_aliases().unwrap_or_default();
            let short = short.into_iter().map(|name| format!("-{name}"));
            for name in long.chain(short) {
                *all.entry(name).or_insert(true) &= is_flag;
            }
        }
    }
    all.into_iter().filter_map(|(name, is_flag)| is_flag.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli;

    fn parse(line: &str) -> Result<Cli, Error> {
        // A word in quotes may be empty.
        let words = line.split(' ').map(|word| OsString::from(word.trim_matches('\'')));
        let words = std::iter::once("cvmfs_ducc".into()).chain(words);
        Cli::try_parse_from(without_values(&Cli::command(), words))
    }

    /// Every flag, command and alias that DUCC has or had, by the row in which it is described.
    #[test]
    fn everything_that_ducc_takes_is_taken() {
        for (row, line) in [
            ("1.1 temporary directory", "-t /tmp version"),
            ("1.1 temporary directory", "version --temporary-dir /tmp"),
            ("1.1 temporary directory", "version --temporary-dir=/tmp"),
            ("1.1 notification file", "-n /tmp/log version"),
            ("1.1 notification file", "convert l.yaml --notification-file /tmp/log"),
            ("1.1 verbosity", "-v trace version"),
            ("1.1 verbosity", "-v debug version"),
            ("1.1 verbosity", "-v info version"),
            ("1.1 verbosity", "-v warn version"),
            ("1.1 verbosity", "-v error version"),
            ("1.1 verbosity", "-v fatal version"),
            ("1.1 verbosity", "--verbosity panic version"),
            ("1.1 completion", "completion bash"),
            ("1.1 completion", "completion zsh"),
            ("1.1 completion", "completion fish"),
            ("1.1 completion", "completion powershell"),
            ("1.3 convert", "convert l.yaml"),
            ("1.3 convert", "convert -f -g -s -d -i -p l.yaml"),
            ("1.3 convert", "convert -fgsdip l.yaml"),
            (
                "1.3 convert",
                "convert l.yaml --overwrite-layers --convert-again --skip-flat --skip-layers \
                 --skip-thin-image --skip-podman",
            ),
            ("1.3 convert, values", "convert --skip-flat=false -p=true --convert-again=0 l.yaml"),
            ("1.3 convert, twice", "convert -s --skip-flat -s l.yaml"),
            ("1.3 loop", "loop l.yaml -f -g -s -d -i -p"),
            ("1.3 convert-single-image", "convert-single-image -s -d -i -p r.io/a:1 repo"),
            ("1.3 convert-single-image", "convert-single-image r.io/a:1 repo -u robot -r 3"),
            ("1.3 convert-single-image", "convert-single-image r.io/a:1 repo --username '' "),
            ("1.3 convert-single-image", "convert-single-image r.io/a:1 repo --attempts 1"),
            (
                "1.3 convert-single-image",
                "convert-single-image r.io/a:1 repo --thin-image-name r.io/thin:1",
            ),
            ("1.3 convert-single-image", "convert-single-image r.io/a:1 repo --thin-image-name="),
            ("1.3 check-image-syntax", "check-image-syntax r.io/a:1"),
            ("1.3 check-image-syntax", "check-image -z r.io/a:1"),
            ("1.3 check-image-syntax", "image-check --machine-friendly r.io/a:1 r.io/b:1"),
            ("1.3 download-manifest", "download-manifest r.io/a:1 r.io/b:1"),
            ("1.3 download-manifest", "get-manifest -u robot r.io/a:1"),
            ("1.3 download-manifest", "get-manifest --username= r.io/a:1"),
            ("1.3 garbage-collection", "garbage-collection repo"),
            ("1.3 garbage-collection", "gc repo --dry-run --grace-period 0"),
            ("1.3 garbage-collection", "gc --grace-period=30 --dry-run=true repo"),
            ("1.3 version", "version"),
            ("1.3 version", "v"),
            ("1.4 multi-arch", "convert -m l.yaml"),
            ("1.4 multi-arch", "loop --multi-arch l.yaml"),
            ("1.4 multi-arch", "convert-single-image --multi-arch=true r.io/a:1 repo"),
            ("1.4 downloads", "convert --max-concurrent-downloads 0 l.yaml"),
            ("1.4 downloads", "loop --max-concurrent-downloads 7 l.yaml"),
            ("1.4 downloads", "convert-single-image --max-concurrent-downloads=7 r.io/a:1 repo"),
            (
                "1.4 convert-single-image, defaults spelt out",
                "convert-single-image --skip-thin-image=false --skip-podman=false r.io/a:1 repo",
            ),
            ("1.4 expand-wildcard", "expand-wildcard r.io/a:*"),
            ("1.4 expand-wildcard", "expand-wildcard -w a.yaml --wishlist b.yaml -o out.yaml"),
            ("1.4 expand-wildcard", "expand-wildcard --wishlist=a.yaml --output=out.yaml"),
            ("1.4 delete-image", "delete-image repo r.io/a:1 --dry-run"),
            ("1.4 delete-image", "delete-image repo https://r.io/a:1"),
            ("1.4 prune-images", "prune-images repo"),
            ("1.4 prune-images", "prune-images repo a.yaml https://h/b.yaml --dry-run"),
            ("1.4 prune-images", "prune-images repo git+https://h/r.git//c.yaml@main"),
            ("1.4 prune-images", "prune-images repo --config c.yaml"),
            ("1.4 prune-images", "prune-images repo --expanded-images a --expanded-images b"),
            ("1.4 garbage-collection", "gc --gc-db /tmp/db repo"),
        ] {
            let parsed = parse(line.trim_end());
            assert!(parsed.is_ok(), "{row}: {line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn flags_mean_what_they_meant() {
        let single = |line: &str| match parse(line).unwrap().command {
            cli::Command::ConvertSingleImage(arguments) => *arguments,
            other => panic!("{other:?}"),
        };
        for (flags, flat, thin) in [
            ("", true, true),
            ("-s", false, true),
            ("-i", true, false),
            // Everything else needs layers.
            ("-d", true, false),
            ("-p", true, true),
            ("--skip-flat=false --skip-thin-image=F", true, true),
            ("--skip-flat=True", false, true),
        ] {
            let line = format!("convert-single-image r.io/a:1 repo {flags}");
            let skip = single(line.trim_end()).skip;
            assert_eq!((!skip.skip_flat, skip.allows_thin()), (flat, thin), "{flags}");
        }
        let many = match parse("convert l.yaml -f -g -d").unwrap().command {
            cli::Command::Convert(arguments) => arguments.round,
            other => panic!("{other:?}"),
        };
        assert!(many.again().trees && !many.skip.allows_thin() && !many.skip.skip_flat);
        let gc = match parse("gc repo --grace-period 2").unwrap().command {
            cli::Command::GarbageCollection(arguments) => arguments,
            other => panic!("{other:?}"),
        };
        assert_eq!(gc.grace_period, Duration::from_secs(2 * 24 * 3600));
        let prune =
            match parse("prune-images repo --expanded-images a --expanded-images b").unwrap() {
                Cli { command: cli::Command::PruneImages(arguments), .. } => arguments,
                other => panic!("{other:?}"),
            };
        assert_eq!(prune.expanded_images, [Path::new("a"), Path::new("b")]);
    }

    #[test]
    fn values_of_options_and_words_behind_two_dashes_stay() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let after = |line: &str| without_values(&Cli::command(), words(line).into_iter());
        for line in [
            "ducc convert-single-image -r=1 --attempts=1",
            "ducc convert --jobs=1 --skip-flat=maybe",
            "ducc convert -- --skip-flat=true",
        ] {
            assert_eq!(after(line), words(line), "{line}");
        }
        assert_eq!(after("ducc gc --dry-run=t x --dry-run=0"), words("ducc gc --dry-run x"));
    }
}
