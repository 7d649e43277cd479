//! A progress bar on stderr for long operations, if stderr is a terminal.
//!
//! Owns: when a bar is shown. Never: draws one into a file or a pipe.

use std::io;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
const RECORDS: &str = "{msg} {wide_bar} {human_pos}/{human_len} {eta}";

/// A bar over bytes; with an unknown total it only counts.
pub fn over_bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    bar(what, total, BYTES)
}

/// A bar over records.
pub fn over_records(what: &'static str, total: u64) -> ProgressBar {
    bar(what, Some(total), RECORDS)
}

fn bar(what: &'static str, total: Option<u64>, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_message(what);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_template) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_can_be_read() {
        for template in [BYTES, RECORDS] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
