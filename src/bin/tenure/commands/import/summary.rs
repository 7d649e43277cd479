//! The summary of an import, as one line or one document.

use std::fmt::Write;
use std::time::Instant;

use serde_json::json;
use tenure::RecordId;

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Output, note};
use crate::units;

/// What was imported.
#[derive(Debug, Default)]
pub struct Summary {
    pub records: u64,
    bytes: u64,
    pub skipped: u64,
    first: Option<RecordId>,
    last: Option<RecordId>,
}

impl Summary {
    pub fn add(&mut self, id: RecordId, bytes: usize) {
        self.records += 1;
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.first = self.first.or(Some(id));
        self.last = Some(id);
    }

    pub fn print(&self, context: &Context, mut out: Output, name: &str, from_line: u64, begun: Instant) -> Outcome {
        if context.json {
            let (first, last) = (self.first.map(|id| id.to_string()), self.last.map(|id| id.to_string()));
            out.json(&json!({
                "records": self.records, "bytes": self.bytes, "skipped": self.skipped,
                "first_id": first, "last_id": last,
            }))?;
            return out.finish();
        }
        let taken = begun.elapsed();
        let mut text = format!("imported {}, {}", units::counted(self.records, "record"), units::bytes(self.bytes));
        let mut add = |more: String| text.write_str(&more).unwrap_or_default();
        if let (Some(first), Some(last)) = (self.first, self.last) {
            add(format!(", IDs {first} to {last}"));
        }
        if self.skipped > 0 {
            add(format!("; skipped {}", units::counted(self.skipped, "row")));
        }
        let rate = units::count(units::per_second(self.records, taken));
        add(format!("; {}, {rate} records/s", units::time(taken)));
        out.line(&text)?;
        if self.records == 0 && self.skipped == 0 {
            let from = if from_line > 1 { format!(" from line {from_line} on") } else { String::new() };
            note(&format!("note: {name} has no rows{from}"));
        }
        out.finish()
    }
}
