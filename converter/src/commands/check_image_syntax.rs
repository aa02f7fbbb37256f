//! `ducc check-image-syntax`.

use std::fmt::Write as _;

use anyhow::Context;
use layer_layout::RegistryReference;
use serde_json::json;

use crate::cli::wish::CheckImageSyntax;
use crate::screen;

/// The rows of the table, and the columns of the line for machines, are DUCC's. User and thin image are not part of a
/// name; DUCC prints what they are by default.
const ROWS: [(&str, &str); 8] = [
    ("Name", "name"),
    ("User", "user"),
    ("Scheme", "scheme"),
    ("Registry", "registry"),
    ("Repository", "repository"),
    ("Tag", "tag"),
    ("Digest", "digest"),
    ("IsThin", "is_thin"),
];

/// Prints the parts of the first name.
pub(crate) fn run(arguments: CheckImageSyntax) -> anyhow::Result<()> {
    let image = arguments.images.first().context("no image was named")?;
    let image: RegistryReference = match image.parse() {
        Ok(image) => image,
        Err(error) => {
            if arguments.json {
                screen::say(json!({ "error": format!("{error}") }));
            }
            return Err(anyhow::Error::from(error));
        }
    };
    if arguments.json {
        screen::say(parts(&image));
        return Ok(());
    }
    let values = [
        image.to_string(),
        String::new(),
        image.scheme().to_string(),
        image.registry().to_owned(),
        image.repository().to_owned(),
        image.tag().unwrap_or_default().to_owned(),
        image.digest().map(ToString::to_string).unwrap_or_default(),
        "false".to_owned(),
    ];
    if arguments.machine_friendly {
        screen::say(ROWS.map(|(_, column)| column).join(","));
        screen::say(values.join(","));
    } else {
        screen::say_lines(table(&values));
    }
    Ok(())
}

/// The parts for programs; those that a name does not have are left out.
fn parts(image: &RegistryReference) -> serde_json::Value {
    let mut parts = json!({
        "name": image.to_string(),
        "scheme": image.scheme().to_string(),
        "registry": image.registry(),
        "repository": image.repository(),
        "is_pattern": image.is_wildcard(),
    });
    if let Some(tag) = image.tag() {
        parts["tag"] = json!(tag);
    }
    if let Some(digest) = image.digest() {
        parts["digest"] = json!(digest.to_string());
    }
    parts
}

/// A table with a frame, as DUCC draws it.
fn table(values: &[String; ROWS.len()]) -> String {
    let (head, value_head) = ("KEY", "VALUE");
    let key_width = ROWS.iter().map(|(row, _)| row.len()).fold(head.len(), usize::max);
    let value_width = values.iter().map(String::len).fold(value_head.len(), usize::max);
    let line = format!("+-{:-<key_width$}-+-{:-<value_width$}-+\n", "", "");
    let mut table = line.clone();
    // Writing to a string cannot fail.
    let _ = writeln!(table, "| {head:^key_width$} | {value_head:^value_width$} |");
    table += &line;
    for ((row, _), value) in ROWS.iter().zip(values) {
        let _ = writeln!(table, "| {row:<key_width$} | {value:<value_width$} |");
    }
    table + &line
}
