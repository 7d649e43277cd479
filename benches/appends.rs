//! A durable append of 320 bytes to a file: as the log does it, and into a preallocated file.
//!
//! `cargo bench --bench appends` prints medians and 99th percentiles in microseconds, of five alternating rounds.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program that measures and prints")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

const APPENDS: usize = 1000;
const BYTES: usize = 320;
const ROOM_BYTES: usize = 4 << 20;

/// How the file gets its space.
#[derive(Debug, Clone, Copy)]
enum Room {
    /// With each append: the file grows.
    Append,
    /// The length is set beforehand; blocks are allocated with each append.
    Length,
    /// The file is filled with zeros beforehand.
    Zeros,
}

fn run(path: &Path, room: Room) -> (f64, f64) {
    let file: File = OpenOptions::new().create(true).truncate(true).write(true).read(true).open(path).expect("a file");
    match room {
        Room::Append => {}
        Room::Length => file.set_len(u64::try_from(ROOM_BYTES).expect("64 bits")).expect("a length"),
        Room::Zeros => file.write_all_at(&vec![0; ROOM_BYTES], 0).expect("zeros"),
    }
    file.sync_all().expect("synced");
    let (bytes, mut offset) = ([7; BYTES], 0);
    let mut times: Vec<f64> = (0..APPENDS)
        .map(|_| {
            let start = Instant::now();
            file.write_all_at(&bytes, offset).expect("written");
            file.sync_data().expect("synced");
            offset += u64::try_from(BYTES).expect("64 bits");
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    (times[APPENDS / 2], times[APPENDS * 99 / 100])
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let rooms = [Room::Append, Room::Length, Room::Zeros];
    let mut all: [Vec<(f64, f64)>; 3] = Default::default();
    for _ in 0..5 {
        for (room, times) in rooms.iter().zip(&mut all) {
            times.push(run(&dir.path().join("file"), *room));
        }
    }
    println!("| room | median, us | 99th percentile, us |");
    println!("|---|---|---|");
    for (room, times) in rooms.iter().zip(&mut all) {
        times.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let median = times[times.len() / 2].0;
        times.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
        println!("| {room:?} | {median:.0} | {:.0} |", times[times.len() / 2].1);
    }
}
