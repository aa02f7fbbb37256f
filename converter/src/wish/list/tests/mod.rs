//! Lists in tables: what they mean, and where wrong ones are wrong.

mod faults;
mod schema;
mod version_1;
mod version_2;

use super::*;

/// A list that has to be free of faults.
fn sound(text: &str) -> List {
    let Parsed { list, faults } = parse(text.as_bytes());
    assert_eq!(texts(&faults), Vec::<String>::new(), "{text}");
    list.unwrap()
}

fn texts(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// The entries in a line each, without what is as it always is.
fn show(list: &List) -> Vec<String> {
    list.entries.iter().map(entry).collect()
}

fn entry(entry: &Entry) -> String {
    let images = match &entry.images {
        Images::One(reference) => reference.to_string(),
        Images::Many { repository, selection } => {
            let globs = |globs: &[Glob]| {
                globs.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
            };
            let mut text = format!("{}/{}", repository.registry(), repository.repository());
            text += &format!(" [{}", globs(&selection.globs));
            if !selection.exclude.is_empty() {
                text += &format!(" without {}", globs(&selection.exclude));
            }
            if let Some(range) = &selection.range {
                text += &format!(" semver {range}");
            }
            if let Some(newest) = selection.newest {
                text += &format!(" newest {newest}");
            }
            if let Some(age) = selection.max_age {
                text += &format!(" within {} h", age.duration().as_secs() / 3600);
            }
            text + "]"
        }
    };
    let Settings { platforms, flat, thin, credentials, priority } = &entry.settings;
    let mut text = format!("{}: {images}", entry.at.line);
    match platforms {
        crate::wish::Platforms::HostOnly => {}
        crate::wish::Platforms::All => text += " for all",
        crate::wish::Platforms::List(platforms) => {
            let platforms: Vec<_> = platforms.iter().map(ToString::to_string).collect();
            text += &format!(" for {}", platforms.join(" "));
        }
    }
    if !flat {
        text += " not flat";
    }
    if let Some(thin) = thin {
        text += &format!(" thin {}", thin.text());
    }
    if let Some(credentials) = credentials {
        text += &format!(" as {credentials}");
    }
    if *priority != 0 {
        text += &format!(" priority {priority}");
    }
    text
}
