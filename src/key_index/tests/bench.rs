//! Measurements, not checks: run with `cargo test --release --lib key_index::tests::bench -- --ignored --nocapture`.

use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::{Numbers, Pages};
use crate::backing::Files;
use crate::format::node::KeyEntry;
use crate::key_index::cursor::Cursor;
use crate::key_index::{Builder, Change, KeyTree, Position, Range};

/// Nanoseconds of processor time of this thread; zero if the system does not report it.
fn cpu_nanos() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}

fn timed(what: &str, count: usize, run: impl FnOnce()) {
    let (begin, cpu) = (Instant::now(), cpu_nanos());
    run();
    let (wall, cpu) = (begin.elapsed().as_secs_f64() * 1e9, cpu_nanos() - cpu);
    let count = f64::from(u32::try_from(count).unwrap());
    println!("{what:<44} {:>7.0} ns of a processor, {:>7.0} ns in all, each", cpu / count, wall / count);
}

fn batch(tree: &mut KeyTree, mut keys: Vec<[u8; 16]>, id: u64, insert: bool) {
    keys.sort_unstable();
    let changes: Vec<_> = keys.iter().map(|key| Change { entry: KeyEntry { key, id }, insert }).collect();
    tree.apply_sorted(&changes).unwrap();
}

#[test]
#[ignore = "prints figures"]
#[expect(clippy::too_many_lines, reason = "a list of figures")]
fn figures() {
    const COUNT: usize = 1_000_000;
    const MORE: usize = 500_000;
    let mut numbers = Numbers(77);
    let mut keys: Vec<[u8; 16]> = (0..COUNT).map(|_| numbers.key16()).collect();
    let mut tree = KeyTree::new().unwrap();
    timed("insert, random, one by one, 0 to 1 M", COUNT, || {
        for key in &keys {
            assert!(tree.insert(key, 1).unwrap());
        }
    });
    println!("{:?} nodes on the heap", tree.dirty());
    let more: Vec<_> = (0..MORE).map(|_| numbers.key16()).collect();
    timed("insert, random, one by one, into 1 M", MORE, || {
        for key in &more {
            assert!(tree.insert(key, 1).unwrap());
        }
    });
    timed("remove, random, one by one", MORE, || {
        for key in &more {
            assert!(tree.remove(key, 1).unwrap());
        }
    });
    timed("insert, random, sorted batches of 1,000", MORE, || {
        more.chunks(1_000).for_each(|keys| batch(&mut tree, keys.to_vec(), 1, true));
    });
    timed("remove, random, sorted batches of 1,000", MORE, || {
        more.chunks(1_000).for_each(|keys| batch(&mut tree, keys.to_vec(), 1, false));
    });
    let reads = |name: &str, tree: &KeyTree| {
        let mut numbers = Numbers(78);
        timed(&format!("{name}: lookup, random, there"), COUNT, || {
            // In insertion order, which is not key order.
            assert!(keys.iter().all(|key| tree.now().first(key).unwrap().is_some()));
        });
        timed(&format!("{name}: lookup, random, not there"), COUNT, || {
            (0..COUNT).for_each(|_| assert!(tree.now().first(&numbers.key16()).unwrap().is_none()));
        });
        timed(&format!("{name}: range of 100, cursor"), 100_000, || {
            for _ in 0..100_000 {
                let mut cursor = Cursor::new(tree.root());
                let mut more = cursor.seek(&Position::before(&keys[numbers.below(COUNT)])).unwrap();
                for _ in 0..100 {
                    black_box((cursor.key(), cursor.id()));
                    more = more && cursor.next().unwrap();
                }
            }
        });
        timed(&format!("{name}: range of 100, counted"), 100_000, || {
            for _ in 0..100_000 {
                let lower = keys[numbers.below(COUNT)];
                let mut range = Range::new(tree.now(), Bound::Included(&lower), Bound::Unbounded).unwrap();
                for _ in 0..100 {
                    black_box(range.next().unwrap());
                }
            }
        });
        timed(&format!("{name}: whole walk"), COUNT, || {
            let mut cursor = Cursor::new(tree.root());
            let mut more = cursor.first().unwrap();
            while more {
                black_box(cursor.key());
                more = cursor.next().unwrap();
            }
        });
        timed(&format!("{name}: count between two keys"), 100_000, || {
            for pair in keys.chunks(2).take(100_000) {
                let (from, to) = (Position::before(&pair[0]), Position::behind(&pair[1]));
                black_box(tree.now().count(Some(&from), Some(&to)).unwrap());
            }
        });
    };
    reads("heap", &tree);
    let dir = tempfile::tempdir().unwrap();
    let files = Files::create(&dir.path().join("pages")).unwrap();
    let mut pages = Pages::over(Arc::new(files));
    let mut saved = None;
    timed("save, all", COUNT, || saved = Some(pages.save(&mut tree, |_| ())));
    println!("{} bytes live in pages", pages.live_bytes());
    let mut loaded = pages.load(&saved.unwrap());
    reads("pages", &loaded);
    timed("insert into pages, sorted batches of 1,000", MORE, || {
        more.chunks(1_000).for_each(|keys| batch(&mut loaded, keys.to_vec(), 1, true));
    });
    keys.sort_unstable();
    timed("build in bulk", COUNT, || {
        let mut builder = Builder::new(None);
        for key in &keys {
            builder.push(key, 1).unwrap();
        }
        black_box(builder.finish(Arc::default()).unwrap());
    });
    timed("insert, ascending, one by one", COUNT, || {
        let mut tree = KeyTree::new().unwrap();
        for key in &keys {
            assert!(tree.insert(key, 1).unwrap());
        }
    });
}

#[test]
#[ignore = "prints figures"]
fn ten_million() {
    let mut numbers = Numbers(79);
    let mut tree = KeyTree::new().unwrap();
    let mut keys: Vec<_> = (0..10_000).map(|_| numbers.key16()).collect();
    timed("insert, random, batches of 10,000, 0 to 10 M", 10_000_000, || {
        for _ in 0..1_000 {
            batch(&mut tree, keys.clone(), 1, true);
            for key in &mut keys {
                *key = numbers.key16();
            }
        }
    });
    println!("{:?} nodes on the heap", tree.dirty());
    let dir = tempfile::tempdir().unwrap();
    let mut pages = Pages::over(Arc::new(Files::create(&dir.path().join("pages")).unwrap()));
    let mut frozen = tree.freeze();
    let mut saved = frozen.save(&mut |image| pages.write(image)).unwrap();
    pages.settle(&frozen.into_released());
    let segments = pages.store.segments();
    let begin = Instant::now();
    tree.install(&mut saved, usize::MAX, &segments).unwrap();
    println!("install {:?} for {} nodes, {} bytes", begin.elapsed(), saved.nodes(), pages.live_bytes());
}
