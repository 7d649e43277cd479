//! Verification follows large values from their heads to each chunk.

use tenure::format::frame::FrameBuilder;
use tenure::format::item::Kind;
use tenure::format::value::{CHUNK_BYTES, Head};

use crate::common;
use crate::told_from_a_tear::craft;
use crate::told_from_a_tear::craft::Files;

fn problems(files: &Files) -> Vec<String> {
    let report = tenure::verify::verify_backing(&common::memory_of(files), &mut |_| {}).unwrap();
    assert!(report.problems.iter().all(|problem| problem.corrupt), "{report:?}");
    report.problems.into_iter().map(|problem| problem.what).collect()
}

fn is_told(files: &Files, what: &str) {
    let problems = problems(files);
    assert!(problems.iter().any(|problem| problem.contains(what)), "{what}: {problems:?}");
}

#[test]
fn verification_follows_the_chunks_of_large_values() {
    let (_, killed) = craft::stores();
    assert_eq!(problems(&killed), Vec::<String>::new());
    let chunks = craft::ids_of(&killed, Kind::Chunk);
    let head = craft::ids_of(&killed, Kind::Head)[0];
    assert!(chunks.len() > 3, "{chunks:?}");
    let chunk_run = |frame: &mut FrameBuilder| frame.control(Kind::Run, &1_u32.to_le_bytes());
    let freed =
        craft::with_commits(&killed, 1, |_, frame| frame.control(Kind::Frees, &chunks[1].as_u64().to_le_bytes()));
    is_told(&freed, &format!("chunk {}", chunks[1]));
    let shorter = craft::with_commits(&killed, 1, |_, frame| {
        chunk_run(frame);
        frame.record(Kind::Chunk, chunks[1], &[7; 100]);
    });
    is_told(&shorter, &format!("{CHUNK_BYTES} bytes in chunk {}", chunks[1]));
    let with_head = |ids: Vec<tenure::RecordId>| {
        let chunk_bytes = u32::try_from(CHUNK_BYTES).unwrap();
        let head_of_it = Head { total_bytes: 200_000, chunk_bytes, depth: 0, ids }.encode();
        craft::with_commits(&killed, 1, |_, frame| {
            frame.control(Kind::Run, &17_u32.to_le_bytes());
            frame.record(Kind::Head, head, &head_of_it);
        })
    };
    is_told(&with_head(vec![chunks[0], chunks[1], chunks[1], chunks[3]]), &format!("chunk {} in one place", chunks[1]));
    let no_head = craft::with_commits(&killed, 1, |_, frame| {
        frame.control(Kind::Run, &17_u32.to_le_bytes());
        frame.record(Kind::Record, head, b"short");
    });
    is_told(&no_head, "a value for each");
}

#[test]
fn verification_finds_records_of_a_set_that_is_not_there() {
    let (closed, _) = craft::stores();
    let crafted = craft::with_snapshots(&closed, |snapshot| snapshot.sets.retain(|row| row.name != "a"));
    is_told(&crafted, "41 records are of set 16, and there is no such set");
}
