//! `tenure map`: the segments of a store, and how much of each is live.
//!
//! Owns: how segments become cells. Never: reads records.

use std::path::PathBuf;

use serde_json::json;
use tenure::{FileKind, SegmentStats};

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::units;

/// Width without a terminal.
const WIDTH: usize = 80;
/// Maximum number of rows per block.
const ROWS_MAX: usize = 8;
/// Columns taken by the frame of a row.
const FRAME: usize = 4;
/// Cells by live share: none, then up to these percentages.
const SHADES: [(u64, char); 5] = [(0, ' '), (30, '░'), (60, '▒'), (90, '▓'), (100, '█')];

const EXAMPLES: &str = "\
Examples:
  tenure map things.tenure
  tenure map things.tenure --json | jq -s 'map(.live_bytes) | add'";

/// Draw the segments, shaded by how much of each is live
///
/// The log, each older generation, and the index pages are one block each, with the oldest segment first. If there are
/// many segments, several share a cell. With --json each segment is a line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
}

/// Draws.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = context.open_to_read(&args.store)?;
    let segments = store.stats().segments;
    let mut out = Output::stdout()?;
    if context.json {
        for segment in blocks(&segments).iter().flat_map(|block| &block.segments) {
            let SegmentStats { file, generation, bytes, live_bytes, .. } = segment;
            let kind = if segment.kind == FileKind::Pages { "pages" } else { "records" };
            out.json(&json!({
                "file": file, "kind": kind, "generation": generation, "bytes": bytes, "live_bytes": live_bytes,
            }))?;
        }
        return out.finish();
    }
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
    lines(&segments, width).iter().try_for_each(|line| out.line(line))?;
    out.finish()
}

/// The segments of one generation, or of index pages.
struct Block<'a> {
    title: String,
    segments: Vec<&'a SegmentStats>,
}

/// Generations from the youngest on, then pages; the oldest segment first in each.
fn blocks(segments: &[SegmentStats]) -> Vec<Block<'_>> {
    let of = |title: String, belongs: &dyn Fn(&SegmentStats) -> bool| {
        let mut segments: Vec<&SegmentStats> = segments.iter().filter(|segment| belongs(segment)).collect();
        // Numbers in names have leading zeros.
        segments.sort_by(|one, other| one.file.cmp(&other.file));
        Block { title, segments }
    };
    let is_log = |segment: &SegmentStats| segment.kind == FileKind::Records;
    let oldest = segments.iter().filter(|segment| is_log(segment)).map(|segment| segment.generation).max();
    let logs = (0..=oldest.unwrap_or(0)).map(|generation| {
        let what = if generation == 0 { ", the log" } else { "" };
        of(format!("generation {generation}{what}"), &|segment| is_log(segment) && segment.generation == generation)
    });
    let mut blocks: Vec<Block<'_>> = logs.collect();
    blocks.push(of("index pages".to_owned(), &|segment| !is_log(segment)));
    blocks
}

/// The map, in lines of at most `width` columns where possible.
pub fn lines(segments: &[SegmentStats], width: usize) -> Vec<String> {
    let columns = width.saturating_sub(FRAME).max(8);
    let blocks = blocks(segments);
    let most = blocks.iter().map(|block| block.segments.len()).max().unwrap_or(0);
    let fold = most.div_ceil(columns * ROWS_MAX).max(1);
    let mut lines = Vec::new();
    for Block { title, segments } in &blocks {
        let (count, bytes, live) = sums(segments);
        let live_bytes = units::bytes(live);
        let (segments_told, bytes_told) = (units::counted(count, "segment"), units::bytes(bytes));
        let told = if count == 0 {
            "none".to_owned()
        } else {
            format!("{segments_told}, {bytes_told}, {live_bytes} live, {}", units::percent(live, bytes))
        };
        lines.push(format!("{title}: {told}"));
        let cells: Vec<char> = segments.chunks(fold).map(shade).collect();
        lines.extend(cells.chunks(columns).map(|row| format!(" [{}]", row.iter().collect::<String>())));
    }
    let shades = SHADES.iter().map(|(percent, char)| match percent {
        0 => format!("[{char}] 0 %"),
        100 => format!("[{char}] more"),
        _ => format!("[{char}] to {percent} %"),
    });
    let (cell, shades) =
        (units::counted(u64::try_from(fold).unwrap_or(u64::MAX), "segment"), shades.collect::<Vec<_>>().join(" "));
    lines.push(format!("a cell is {cell}; live: {shades}"));
    lines
}

fn sums(segments: &[&SegmentStats]) -> (u64, u64, u64) {
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    let live = segments.iter().map(|segment| segment.live_bytes).sum();
    (u64::try_from(segments.len()).unwrap_or(u64::MAX), bytes, live)
}

/// The live share of these segments together.
fn shade(segments: &[&SegmentStats]) -> char {
    let (_, bytes, live) = sums(segments);
    let fits = |limit: u64| u128::from(live) * 100 <= u128::from(limit) * u128::from(bytes);
    SHADES.iter().find(|(limit, _)| fits(*limit)).map_or('█', |(_, char)| *char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u32, kind: FileKind, generation: u8, live_bytes: u64) -> SegmentStats {
        let stem = if kind == FileKind::Pages { "pages" } else { "log" };
        SegmentStats { file: format!("{stem}-{number:012}.seg"), kind, generation, bytes: 1000, live_bytes }
    }

    #[test]
    fn cells_are_shaded_by_what_lives() {
        let log = |number, live| segment(number, FileKind::Records, 0, live);
        // Out of order, as the segment table may be.
        let mut all = [log(3, 300), log(1, 0), log(2, 1), log(4, 301), log(5, 900), log(6, 901), log(7, 1000)].to_vec();
        all.push(segment(8, FileKind::Records, 2, 500));
        all.push(segment(9, FileKind::Pages, 0, 1000));
        let expected = [
            "generation 0, the log: 7 segments, 6.8 KiB, 3.3 KiB live, 48.6 %",
            " [ ░░▒▓██]",
            "generation 1: none",
            "generation 2: 1 segment, 1000 B, 500 B live, 50.0 %",
            " [▒]",
            "index pages: 1 segment, 1000 B, 1000 B live, 100.0 %",
            " [█]",
            "a cell is 1 segment; live: [ ] 0 % [░] to 30 % [▒] to 60 % [▓] to 90 % [█] more",
        ];
        assert_eq!(lines(&all, 80), expected);
    }

    #[test]
    fn many_segments_are_folded_into_the_width() {
        let half = |number| if number % 2 == 0 { 1000 } else { 0 };
        let all: Vec<SegmentStats> =
            (0..10_000).map(|number| segment(number, FileKind::Records, 0, half(number))).collect();
        for width in [20, 80, 200] {
            let map = lines(&all, width);
            let rows: Vec<&String> = map.iter().filter(|line| line.starts_with(" [")).collect();
            assert!(rows.len() <= ROWS_MAX, "{} rows", rows.len());
            assert!(rows.iter().all(|row| row.chars().count() <= width), "{map:#?}");
            let cells: usize = rows.iter().map(|row| row.chars().count() - 3).sum();
            let legend = map.last().unwrap();
            let fold: usize = legend.split(' ').nth(3).unwrap().parse().unwrap();
            assert_eq!(cells, 10_000_usize.div_ceil(fold), "{legend}");
            // Two segments of which one is live make a half-live cell; the last cell may hold fewer.
            assert!(rows[0].contains('▒') && fold > 1, "{map:#?}");
        }
        assert!(lines(&all, 0).len() > 3, "no width is too small");
    }
}
