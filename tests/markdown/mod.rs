//! Reads tables and code blocks from the documents, so that tests can compare them with the code.
//!
//! Owns: the part of Markdown that the documents use. Never: interprets a table.

#![allow(dead_code, reason = "each test uses another part of it")]
#![allow(clippy::expect_used, reason = "a test helper: a document of another shape has to fail the test")]

use std::collections::BTreeMap;

/// A table, under the heading above it.
#[derive(Debug, Clone)]
pub struct Table {
    /// The heading.
    pub heading: String,
    /// Rows by column name.
    pub rows: Vec<BTreeMap<String, String>>,
}

impl Table {
    /// The cell of a row; an empty one is an empty string.
    pub fn cells(&self, column: &str) -> Vec<&str> {
        let missing = format!("{:?} has no column {column:?}", self.heading);
        self.rows.iter().map(|row| row.get(column).expect(&missing).as_str()).collect()
    }
}

fn cells_of(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// All tables of a document.
pub fn tables(document: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let (mut heading, mut columns, mut in_code) = (String::new(), None::<Vec<String>>, false);
    for line in document.lines() {
        in_code ^= line.starts_with("```");
        let cells = if in_code { None } else { cells_of(line) };
        match (cells, &columns) {
            (None, _) => {
                columns = None;
                if let Some(text) = line.strip_prefix('#').filter(|_| !in_code) {
                    text.trim_start_matches('#').trim().clone_into(&mut heading);
                }
            }
            (Some(cells), None) => {
                tables.push(Table { heading: heading.clone(), rows: Vec::new() });
                columns = Some(cells);
            }
            (Some(cells), Some(columns)) => {
                assert_eq!(cells.len(), columns.len(), "under {heading:?}: {line}");
                let is_rule = cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| c == '-' || c == ':'));
                if let Some(table) = tables.last_mut().filter(|_| !is_rule) {
                    table.rows.push(columns.iter().cloned().zip(cells).collect());
                }
            }
        }
    }
    tables
}

/// The one table under a heading.
pub fn table(document: &str, heading: &str) -> Table {
    let mut found: Vec<Table> = tables(document).into_iter().filter(|table| table.heading == heading).collect();
    assert_eq!(found.len(), 1, "tables under {heading:?}");
    found.remove(0)
}

/// The code block of a language under a heading, without its fences.
pub fn code_block(document: &str, heading: &str, language: &str) -> String {
    let fence = format!("```{language}");
    let under = document.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading);
    let block = under.skip_while(|line| *line != fence).skip(1);
    let text: Vec<&str> = block.take_while(|line| *line != "```").collect();
    assert!(!text.is_empty(), "no block of {language} under {heading:?}");
    text.join("\n")
}

/// A number as the documents write it: decimal, or hexadecimal after 0x.
pub fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|error| panic!("{text:?} is not a number: {error}"))
}
