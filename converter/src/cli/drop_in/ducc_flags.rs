//! What DUCC takes, row by row of its description.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{Error, FromArgMatches};

use super::{NAME, matches};
use crate::cli::{self, Cli};

fn parse(line: &str) -> Result<Cli, Error> {
    // A word in quotes may be empty.
    let words = line.split(' ').map(|word| OsString::from(word.trim_matches('\'')));
    Cli::from_arg_matches(&matches(std::iter::once(NAME.into()).chain(words))?)
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
        ("1.4 expand-wildcard", "expand-wildcard r.io/a:1 -w a.yaml -o out.yaml"),
        ("1.4 create-podman-store", "create-podman-store r.io/a:1 repo /srv/store"),
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
    let prune = match parse("prune-images repo --expanded-images a --expanded-images b").unwrap() {
        Cli { command: cli::Command::PruneImages(arguments), .. } => arguments,
        other => panic!("{other:?}"),
    };
    assert_eq!(prune.expanded_images, [Path::new("a"), Path::new("b")]);
}
