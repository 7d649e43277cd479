//! Large commits that were written ahead, of which a power cut left only a part.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tenure::{Durability, Options, Seq, Store};

use crate::changes::mirror::{Mirror, records_of};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(256 << 10).background(false)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The file that has such a byte 500 times in a row.
fn file_with(dir: &Path, byte: u8) -> PathBuf {
    let has_it = |path: &PathBuf| std::fs::read(path).unwrap().windows(500).any(|part| part == [byte; 500]);
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find(has_it).expect("a file with it")
}

/// What is left of the file of the large commit.
#[derive(Debug, Clone, Copy)]
enum Left {
    Nothing,
    /// So many bytes, and zeros after them.
    Begin(u64),
    All,
}

#[test]
fn commits_after_a_large_one_that_a_power_cut_took_are_shown() {
    // The header of the file has 128 bytes, that of the frame 64.
    for left in [Left::Nothing, Left::Begin(0), Left::Begin(128), Left::Begin(192), Left::Begin(100_000), Left::All] {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        let store = options().open(&before).unwrap();
        let set = store.record_set("a").unwrap();
        store.add_consumer("all", Seq::ZERO).unwrap();
        store.write(|tx| tx.insert(&set, "first")).unwrap();
        store.write_with(Durability::Buffered, |tx| tx.insert_many(&set, &vec![vec![0xa7; 1_000]; 200])).unwrap();
        copy(&before, &after);
        drop(store);
        let large = file_with(&after, 0xa7);
        match left {
            Left::Nothing => std::fs::remove_file(&large).unwrap(),
            Left::Begin(bytes) => {
                let len = std::fs::metadata(&large).unwrap().len();
                let zeros = vec![0; usize::try_from(len - bytes).unwrap()];
                let file = std::fs::OpenOptions::new().write(true).open(&large).unwrap();
                file.write_all_at(&zeros, bytes).unwrap();
            }
            Left::All => {}
        }
        let mut mirror = Mirror::default();
        let mut store: Store = options().open(&after).unwrap();
        let mut feed = store.changes(Seq::ZERO).unwrap();
        for round in 0..3_u8 {
            let set = store.record_set("a").unwrap();
            for number in 0..5 {
                store.write(|tx| tx.insert(&set, [round, number])).unwrap();
            }
            mirror.follow(&mut feed).unwrap();
            assert_eq!(mirror.position, store.last_seq(), "{left:?}, round {round}");
            assert_eq!(mirror.records, records_of(&store, &store.view()), "{left:?}, round {round}");
            // One that is opened later finds the same.
            for since in [0, 1, 2, 3, 4] {
                let seqs = |since| store.changes(Seq(since)).unwrap().map(|commit| commit.unwrap().seq());
                let all: Vec<Seq> = seqs(0).filter(|seq| seq.0 > since).collect();
                assert_eq!(seqs(since).collect::<Vec<_>>(), all, "{left:?}, since {since}");
            }
            drop(feed);
            store.close().unwrap();
            store = options().open(&after).unwrap();
            feed = store.changes(mirror.position).unwrap();
        }
        let reader = Options::new().read_only(true).open(&after).unwrap();
        let mut beside = Mirror::default();
        beside.follow(&mut reader.changes(Seq::ZERO).unwrap()).unwrap();
        assert_eq!(beside.records, mirror.records, "{left:?}");
    }
}
