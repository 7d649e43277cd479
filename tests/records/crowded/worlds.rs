//! Random histories of several threads on shared indexes, each compared with its own model. `TENURE_CROWDED_SEEDS` and
//! `TENURE_CROWDED_ROUNDS` make them more and longer; `TENURE_CROWDED_FROM` is the first seed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tenure::backing::{Backing, Memory};
use tenure::{Durability, Options, Store};

use crate::common::{self, Ends, Rng};
use crate::crowded::model::{Handles, Worker};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

enum Place {
    Directory(tempfile::TempDir),
    Memory(Arc<dyn Backing>),
}

impl Place {
    fn open(&self, options: &Options) -> Store {
        match self {
            Self::Directory(dir) => options.open(dir.path().join("store")).unwrap(),
            Self::Memory(backing) => options.open_backing(Arc::clone(backing)).unwrap(),
        }
    }

    /// The files as a crash of the process would leave them.
    fn copy(&self) -> Self {
        let copied = |from: &Path| {
            let copy = tempfile::tempdir().unwrap();
            common::write_dir(&copy.path().join("store"), &common::read_dir(&from.join("store")));
            copy
        };
        match self {
            Self::Directory(dir) => Self::Directory(copied(dir.path())),
            Self::Memory(backing) => Self::Memory(common::memory_of(&common::read_backing(&**backing))),
        }
    }
}

fn check_all(workers: &[Worker], store: &Store, handles: &Handles) {
    for worker in workers {
        worker.check_all(&store.view(), handles);
    }
}

/// Whether changes beside images were seen.
fn run(seed: u64, rounds: u64) -> bool {
    let mut rng = Rng::new(seed);
    let place = match rng.below(4) {
        // Without maps no leaf is changed beside its image.
        0 => Place::Memory(Arc::new(Memory::new())),
        _ => Place::Directory(tempfile::tempdir().unwrap()),
    };
    let threads = [1, 1, 2, 3][rng.below(4)];
    let background = rng.one_in(2) || threads > 1;
    let options = Options::new()
        .segment_bytes(1 << (18 + rng.below(4)))
        .snapshot_log_bytes(1 << (17 + rng.below(6)))
        .dirty_bytes_max(1 << 20)
        .durability(Durability::Buffered)
        .background(background)
        .collector(rng.one_in(2));
    let mut store = place.open(&options);
    let mut handles = Handles::of(&store);
    let mut workers: Vec<Worker> =
        (0..threads).map(|owner| Worker::new(seed.wrapping_mul(31) + owner, owner, threads > 1)).collect();
    for worker in &mut workers {
        worker.load(&store, &handles);
    }
    let mut has_lists = false;
    for round in 0..rounds {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running: Vec<_> = workers
                .iter_mut()
                .map(|worker| {
                    let (store, handles, is_over) = (&store, &handles, &is_over);
                    scope.spawn(move || {
                        let _ends = Ends(is_over);
                        worker.run(store, handles, 40);
                    })
                })
                .collect();
            for thread in running {
                let told = thread.join().map_err(|_panic| "told above");
                assert_eq!(told, Ok(()), "seed {seed}, round {round}, threads {threads}, background {background}");
            }
        });
        has_lists |= workers.iter().any(|worker| worker.has_lists);
        match rng.below(8) {
            0 => drop(store.save_snapshot().unwrap()),
            1 => drop(store.collect(None).unwrap()),
            // Beside a background thread a copy of the files would be one of different moments.
            2 if !background => {
                // As after a kill: the copy has everything that was appended.
                let copy = place.copy();
                let other = copy.open(&options);
                let others = Handles::of(&other);
                check_all(&workers, &other, &others);
                others.verify(&other);
                if rng.one_in(2) {
                    drop(other.save_snapshot().unwrap());
                    check_all(&workers, &other, &others);
                }
                drop(other);
            }
            3 => {
                workers.iter_mut().for_each(Worker::drop_views);
                store.close().unwrap();
                store = place.open(&options);
                handles = Handles::of(&store);
                check_all(&workers, &store, &handles);
            }
            _ => {}
        }
    }
    check_all(&workers, &store, &handles);
    handles.verify(&store);
    workers.iter_mut().for_each(Worker::drop_views);
    store.close().unwrap();
    has_lists
}

#[test]
fn what_threads_do_beside_images_is_what_their_models_say() {
    let (from, seeds, rounds) =
        (number("TENURE_CROWDED_FROM", 53), number("TENURE_CROWDED_SEEDS", 2), number("TENURE_CROWDED_ROUNDS", 2));
    let mut with_lists = 0;
    for seed in from..from + seeds {
        with_lists += u64::from(run(seed, rounds));
        println!("seed {seed}, {with_lists} with changes beside images");
    }
    assert!(with_lists > 0, "no leaf was changed beside its image");
}
