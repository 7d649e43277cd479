//! Single faults in a store with every feature: how many leave it writable, how many `repair` fixes, in place or by a
//! new store, and that afterwards nothing is wrong, resurrected, or silently lost.
//!
//! `TENURE_RESCUE_ROUNDS` sets the number of faults in each of the two stores, `TENURE_RESCUE_SEED` the first seed;
//! `--nocapture` prints the table.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tenure::repair::{RepairReport, repair};
use tenure::salvage::SalvageReport;
use tenure::verify::{Scope, verify_with};
use tenure::{Error, RecordId, Store};

use crate::common;
use crate::common::Rng;
use crate::rescue::model::{Files, Left, Model, build, options};
use crate::rescue::salvage::{Places, places};

const HEADER_BYTES: usize = 128;

/// The outcome of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    AsIs,
    /// Open, and something is marked as damaged.
    Marked,
    InPlace,
    Exchanged,
    /// Not even a repair opens it.
    Refused,
}

#[derive(Debug, Default)]
struct Row {
    damages: u32,
    as_is: u32,
    marked: u32,
    in_place: u32,
    exchanged: u32,
    refused: u32,
    /// How many of those that opened were repaired nevertheless, because verification found a problem.
    mended: u32,
}

impl Row {
    fn count(&mut self, fate: Fate) {
        self.damages += 1;
        *match fate {
            Fate::AsIs => &mut self.as_is,
            Fate::Marked => &mut self.marked,
            Fate::InPlace => &mut self.in_place,
            Fate::Exchanged => &mut self.exchanged,
            Fate::Refused => &mut self.refused,
        } += 1;
    }

    fn add(&mut self, other: &Self) {
        self.damages += other.damages;
        self.as_is += other.as_is;
        self.marked += other.marked;
        self.in_place += other.in_place;
        self.exchanged += other.exchanged;
        self.refused += other.refused;
        self.mended += other.mended;
    }
}

/// One fault, and its kind.
fn damage(files: &mut Files, rng: &mut Rng) -> (&'static str, String) {
    let names: Vec<String> = files.keys().filter(|name| !name.starts_with("reserve")).cloned().collect();
    let name = names[rng.below(names.len())].clone();
    let others: Vec<Vec<u8>> =
        files.iter().filter(|(other, _)| **other != name).map(|(_, bytes)| bytes.clone()).collect();
    let bytes = files.get_mut(&name).expect("the file");
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let kind = match rng.below(10) {
        0 => {
            bytes[rng.below(HEADER_BYTES.min(used))] ^= 1 << rng.below(8);
            "bit of a header"
        }
        1..=3 => {
            bytes[rng.below(used)] ^= 1 << rng.below(8);
            "bit"
        }
        4 => {
            let end = HEADER_BYTES.min(bytes.len());
            let header = if rng.one_in(2) { vec![0; end] } else { others[rng.below(others.len())].clone() };
            let end = end.min(header.len());
            bytes[..end].copy_from_slice(&header[..end]);
            "header"
        }
        5 | 6 => {
            let size = [16, 64, 512, 4096][rng.below(4)];
            let begin = rng.below(used) / size * size;
            let end = (begin + size).min(bytes.len());
            let fill = if rng.one_in(2) { vec![0; end - begin] } else { rng.bytes(end - begin) };
            bytes[begin..end].copy_from_slice(&fill);
            "block"
        }
        7 => {
            bytes.truncate(rng.below(used));
            "cut"
        }
        8 => {
            match rng.below(3) {
                0 => bytes.fill(0),
                1 => bytes.clear(),
                _ => bytes.clone_from(&others[rng.below(others.len())]),
            }
            "zeroed or swapped"
        }
        _ => {
            files.remove(&name);
            "removed"
        }
    };
    (kind, name)
}

/// Everything reported as lost or uncertain.
struct Told<'t> {
    /// Commits from this one on are told to be gone.
    cut_from: Option<u64>,
    repaired: Option<&'t RepairReport>,
}

impl Told<'_> {
    fn salvaged(&self) -> Option<&SalvageReport> {
        self.repaired?.set_aside.as_ref().map(|aside| &aside.salvaged)
    }

    fn has_missing(&self, seq: u64) -> bool {
        let is_cut = self.cut_from.is_some_and(|from| seq >= from);
        let missing = self.salvaged().map(|report| report.missing_commits.as_slice()).unwrap_or_default();
        is_cut || missing.iter().any(|(first, last)| (first.0..=last.0).contains(&seq))
    }

    fn has_lost(&self, id: RecordId) -> bool {
        let lost = self.repaired.map(|report| report.lost.as_slice()).unwrap_or_default();
        lost.iter().any(|lost| lost.id == Some(id) || lost.slot == id.slot())
    }

    /// Nothing but segments was there, or less: a record whose ID is not whole has no name, and its place is told.
    fn is_nameless(&self) -> bool {
        self.salvaged().is_some_and(|report| report.indexed_to.is_none() && !report.unreadable.is_empty())
    }

    fn has_doubt(&self, id: RecordId) -> bool {
        let doubts = self.repaired.map(|report| report.doubts.as_slice()).unwrap_or_default();
        let is_doubtful = self.salvaged().is_some_and(|report| report.doubtful.contains(&id));
        is_doubtful || doubts.iter().any(|doubt| doubt.id == id)
    }
}

/// Reads everything: nothing may be wrong, back, or gone without a word.
fn check(store: &Store, model: &Model, told: &Told<'_>) {
    for (id, expected) in &model.live {
        let is_told = || told.has_missing(expected.seq) || told.has_lost(*id) || told.is_nameless();
        match store.get(*id) {
            Ok(record) => {
                let seq = record.seq().0;
                match record.to_vec() {
                    Ok(bytes) => {
                        assert!(model.versions.get(&(*id, seq)) == Some(&bytes), "{id} of {seq} is wrong");
                        assert!(seq == expected.seq || is_told(), "{id} is that of {seq}, and not of {}", expected.seq);
                    }
                    Err(error) => assert!(error.is_corruption() && told.repaired.is_none(), "{id}: {error}"),
                }
            }
            Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {
                assert!(is_told(), "{id} of commit {} is gone", expected.seq);
            }
            Err(error) => assert!(error.is_corruption() && told.repaired.is_none(), "{id}: {error}"),
        }
    }
    for (id, death) in &model.deaths {
        let is_told = || told.has_missing(*death) || told.has_doubt(*id);
        match store.get(*id) {
            Ok(_) => assert!(is_told(), "{id} is back"),
            Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {}
            Err(error) => assert!(error.is_corruption() && told.repaired.is_none(), "{id}: {error}"),
        }
    }
}

/// Records that are not there though their bytes are whole somewhere.
fn check_rescued(store: &Store, model: &Model, files: &Files, places: &Places) {
    for (id, places) in places {
        let is_whole = |(name, begin, end): &(String, usize, usize)| {
            let there = files.get(name).and_then(|bytes| bytes.get(*begin..*end));
            there.is_some() && there == model.files[name].get(*begin..*end)
        };
        if places.iter().any(is_whole) {
            let found = store.get(*id).and_then(|record| record.to_vec());
            assert!(found.is_ok_and(|found| found == model.live[id].bytes), "{id} is whole, and did not come back");
        }
    }
}

/// Writes to a store and reads that again after a reopening.
fn check_goes_on(store: Store, model: &Model, reopen: impl FnOnce() -> tenure::Result<Store>) {
    let set = store.record_set("others").expect("a set");
    let id = store.write(|tx| tx.insert(&set, "new")).expect("writes");
    assert!(!model.live.contains_key(&id) && !model.dead.contains(&id), "{id} again");
    store.close().expect("closes");
    assert_eq!(reopen().expect("opens again").get(id).expect("is there").as_slice(), Some(&b"new"[..]));
}

/// Repairs a store in a directory, and looks at everything then.
fn check_repair(scratch: &Path, files: &Files, model: &Model, places: &Places) -> Option<RepairReport> {
    let path = scratch.join("things.tenure");
    common::write_dir(&path, files);
    let Ok(report) = repair(&path, &mut |_| {}) else { return None };
    if let Some(aside) = &report.set_aside {
        let mut kept = common::read_dir(&aside.damaged);
        kept.remove("lock");
        kept.retain(|name, _| files.contains_key(name) || !name.starts_with("reserve"));
        assert_eq!(aside.damaged, scratch.join("things.tenure.damaged"));
        assert!(aside.was_opened || kept == *files, "it was written to");
    }
    let scope = if report.in_snapshots.is_empty() { Scope::Everything } else { Scope::Newest };
    let verified = verify_with(&path, scope, &mut |_| {}).expect("verifies");
    assert!(verified.is_ok(), "{:?} after {report:?}", verified.problems);
    let store = options().open(&path).unwrap_or_else(|error| panic!("{error} after {report:?}"));
    let recovered = store.recovery_report();
    assert!(recovered.damaged.is_empty() && recovered.fell_back.is_empty(), "{recovered}");
    let cut_from = Some(store.last_seq().0 + 1).filter(|from| *from <= model.last_seq && report.set_aside.is_none());
    check(&store, model, &Told { cut_from, repaired: Some(&report) });
    check_rescued_unless_cut(&store, model, files, places, cut_from);
    check_goes_on(store, model, || options().open(&path));
    Some(report)
}

fn check_rescued_unless_cut(store: &Store, model: &Model, files: &Files, places: &Places, cut_from: Option<u64>) {
    if cut_from.is_none() {
        check_rescued(store, model, files, places);
    }
}

fn run(scratch: &Path, files: &Files, model: &Model, places: &Places, mends: bool) -> (Fate, bool) {
    let backing = common::memory_of(files);
    let Err(error) = options().open_backing(Arc::clone(&backing)).map(|store| {
        let recovered = store.recovery_report();
        let cut_from = (store.last_seq().0 < model.last_seq).then(|| store.last_seq().0 + 1);
        if cut_from.is_some() {
            common::check_loss_is_told(recovered, &model.files, files);
        }
        check(&store, model, &Told { cut_from, repaired: None });
        drop(store);
    }) else {
        let store = options().open_backing(Arc::clone(&backing)).expect("opens twice");
        let fate = if store.recovery_report().damaged.is_empty() { Fate::AsIs } else { Fate::Marked };
        drop(store);
        let verified = tenure::verify::verify_backing(&backing, &mut |_| {}).expect("verifies");
        let mends = mends && !verified.is_ok();
        if mends {
            assert!(check_repair(scratch, files, model, places).is_some(), "it opens, and a repair fails");
        }
        let store = options().open_backing(Arc::clone(&backing)).expect("opens again");
        check_goes_on(store, model, || options().open_backing(backing));
        return (fate, mends);
    };
    assert!(error.is_corruption() || matches!(error, Error::NotAStore { .. }), "{error}");
    let fate = match check_repair(scratch, files, model, places) {
        Some(report) if report.set_aside.is_some() => Fate::Exchanged,
        Some(_) => Fate::InPlace,
        None => Fate::Refused,
    };
    (fate, false)
}

fn number_of(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// A directory in memory, if the system has one.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

#[test]
fn single_damages_leave_a_store_that_opens_or_is_mended_and_gives_back_what_is_whole() {
    let rounds = number_of("TENURE_RESCUE_ROUNDS", 150);
    let seed = u64::try_from(number_of("TENURE_RESCUE_SEED", 21)).expect("64 bits");
    let (mut wrong, mut sum) = (Vec::new(), Row::default());
    println!(
        "{:<8}{:<10}{:<18}{:>8}{:>8}{:>8}{:>10}{:>11}{:>9}{:>8}",
        "store", "file", "damage", "number", "as is", "marked", "in place", "exchanged", "refused", "mended"
    );
    for left in [Left::Closed, Left::Killed] {
        let model = build(seed, left);
        let places = places(&model);
        let mut rows: BTreeMap<(String, &str), Row> = BTreeMap::new();
        for round in 0..rounds {
            let mut rng = Rng::new(seed << 32 | u64::try_from(round).expect("64 bits"));
            let mut files = model.files.clone();
            let (kind, name) = damage(&mut files, &mut rng);
            if files == model.files {
                continue;
            }
            let stem = name.split('-').next().unwrap_or_default().to_owned();
            let row = rows.entry((stem, kind)).or_default();
            let scratch = scratch();
            let mends = round % 4 == 0;
            match catch_unwind(AssertUnwindSafe(|| run(scratch.path(), &files, &model, &places, mends))) {
                Ok((fate, mended)) => {
                    row.count(fate);
                    row.mended += u32::from(mended);
                    if fate == Fate::Refused {
                        println!("{left:?}, round {round}: {kind} of {name}: refused");
                    }
                }
                Err(why) => {
                    let text = why.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    wrong.push(format!("{left:?}, round {round}, {kind} of {name}: {}", text.unwrap_or_default()));
                }
            }
        }
        for ((stem, kind), row) in &rows {
            let Row { damages, as_is, marked, in_place, exchanged, refused, mended } = row;
            println!(
                "{:<8}{stem:<10}{kind:<18}{damages:>8}{as_is:>8}{marked:>8}{in_place:>10}{exchanged:>11}{refused:>9}{mended:>8}",
                format!("{left:?}")
            );
            sum.add(row);
        }
    }
    println!("{sum:?}; {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sum.damages, wrong.join("\n"));
    assert!(f64::from(sum.refused) <= 0.01 * f64::from(sum.damages), "{sum:?}");
    assert!(sum.exchanged > 0 && sum.mended > 0, "{sum:?}");
}
