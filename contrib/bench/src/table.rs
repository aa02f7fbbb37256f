//! Markdown tables.

/// Prints a table under a headline.
pub(crate) fn print(headline: &str, columns: &[&str], rows: &[Vec<String>]) {
    println!("\n### {headline}\n\n| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}
