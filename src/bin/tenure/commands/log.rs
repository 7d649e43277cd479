//! `tenure log`: the frames of the log, as they are stored.
//!
//! Owns: where the listing starts and ends. Never: opens the store; it reads the files beside a writer.

use std::path::PathBuf;

use serde_json::json;
use tenure::inspect;
use tenure::inspect::LogLine;

use crate::context::Context;
use crate::failure::{Outcome, one_line};
use crate::output::Output;
use crate::{place, units};

const EXAMPLES: &str = "\
Examples:
  tenure log things.tenure --limit 20
  tenure log things.tenure --from-offset 4096 --records
  tenure log things.tenure --from-offset log-000000000003.seg:128 --json";

/// List the frames and markers of the log, with their offsets
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// Start at the first frame at or after this byte of a file; without a name, of the first file
    #[arg(long, value_name = "[FILE:]BYTE", value_parser = place)]
    from_offset: Option<Place>,
    /// Maximum number of frames to list
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// List the contents of each frame
    #[arg(long)]
    records: bool,
}

/// Where the listing starts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    file: Option<String>,
    offset: u64,
}

fn place(text: &str) -> Result<Place, String> {
    let (file, offset) = match text.rsplit_once(':') {
        Some((file, offset)) => (Some(file.to_owned()), offset),
        None => (None, text),
    };
    let offset = offset.parse().map_err(|error| format!("{offset:?} is not a byte offset: {error}"))?;
    Ok(Place { file, offset })
}

/// Finds where the listing starts.
struct Begin<'a> {
    place: Option<&'a Place>,
    file: Option<String>,
    in_file: bool,
    reached: bool,
}

impl<'a> Begin<'a> {
    fn at(place: Option<&'a Place>) -> Self {
        Self { place, file: place.and_then(|place| place.file.clone()), in_file: false, reached: place.is_none() }
    }

    fn reached(&mut self, file: &str, offset: u64) -> bool {
        if self.reached {
            return true;
        }
        let first = self.file.get_or_insert_with(|| file.to_owned()).as_str();
        let here = first == file;
        // If no frame of the file follows the offset, or the file is gone, the listing starts in the next file.
        let beyond = !here && (self.in_file || file > first);
        self.in_file |= here;
        self.reached = beyond || (here && self.place.is_none_or(|place| offset >= place.offset));
        self.reached
    }
}

/// Lists frames.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    let mut begin = Begin::at(args.from_offset.as_ref());
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut printed = Ok(());
    if left > 0 {
        let show = |line: LogLine| {
            if !begin.reached(&line.file, line.offset) {
                return true;
            }
            printed = if context.json { print_json(&mut out, args, &line) } else { print(&mut out, args, &line) };
            left -= 1;
            left > 0 && printed.is_ok()
        };
        match place::bucket(&args.store)? {
            Some(bucket) => inspect::log_of(&bucket, show),
            None => inspect::log(&args.store, show),
        }?;
    }
    printed?;
    out.finish()
}

fn print(out: &mut Output, args: &Args, line: &LogLine) -> Outcome {
    let place = format!("{}:{}", line.file, line.offset);
    let note = line.note.as_deref().map_or(String::new(), |note| format!("  {note}"));
    out.line(&one_line(&format!(
        "{place:<32}  {:<9}  seq {:<8}  durable {:<8}  timeline {}  {}, {}{note}",
        line.kind,
        line.seq.0,
        line.durable.0,
        line.timeline,
        units::bytes(line.bytes),
        units::counted(line.records, "record"),
    )))?;
    let items: &[String] = if args.records { &line.items } else { &[] };
    items.iter().try_for_each(|item| out.line(&format!("    {}", one_line(item))))
}

fn print_json(out: &mut Output, args: &Args, line: &LogLine) -> Outcome {
    let mut document = json!({
        "file": line.file, "offset": line.offset, "bytes": line.bytes, "kind": line.kind, "seq": line.seq.0,
        "durable": line.durable.0, "timeline": line.timeline, "records": line.records, "note": line.note,
    });
    if let (true, Some(members)) = (args.records, document.as_object_mut()) {
        members.insert("items".to_owned(), json!(line.items));
    }
    out.json(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!(place("12"), Ok(Place { file: None, offset: 12 }));
        assert_eq!(place("a:12"), Ok(Place { file: Some("a".to_owned()), offset: 12 }));
        assert!(place("a:").is_err() && place("a").is_err());
    }

    #[test]
    fn a_listing_begins_at_its_place() {
        let frames = [("a", 0), ("a", 10), ("b", 0), ("b", 10)];
        let listed = |text: &str| {
            let place = place(text).unwrap();
            let mut begin = Begin::at(Some(&place));
            frames.iter().filter(|(file, offset)| begin.reached(file, *offset)).count()
        };
        assert_eq!(
            ["0", "1", "11", "a:11", "aa:5", "b:0", "b:5", "b:11", "c:0"].map(listed),
            [4, 3, 2, 2, 2, 2, 1, 0, 0]
        );
    }
}
