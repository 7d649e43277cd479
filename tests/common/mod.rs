//! Shared by several tests: a seeded generator, copies of stores, and a full reading of a store.
//!
//! Owns: the comparison of all ways to read a record. Never: uses anything but the public API.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenure::backing::{Backing, Memory};
use tenure::{Error, Lookup, Options, RecordId, RecoveryReport, Result, Store};

/// Numbers from a seed: `SplitMix64`.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("64 bits");
        usize::try_from(self.number() % end).expect("64 bits")
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// The name that `--exact` takes for a test of the module that `module_path!()` names.
pub fn test_name(module: &str, test: &str) -> String {
    let below = module.split_once("::").map_or("", |(_, below)| below);
    if below.is_empty() { test.to_owned() } else { format!("{below}::{test}") }
}

/// Tells threads to stop, also if the owner of this panics.
#[derive(Debug)]
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The records of each set.
pub type Contents = BTreeMap<String, BTreeMap<RecordId, Vec<u8>>>;

/// The content of a store, read by scans; each record also by its ID, and counted.
///
/// # Panics
/// When two ways of reading disagree.
pub fn contents(store: &Store) -> Result<Contents> {
    let view = store.view();
    let mut all = Contents::new();
    for set in store.record_sets() {
        let mut records = BTreeMap::new();
        for record in view.scan(&set) {
            let record = record?;
            let (id, bytes) = (record.id(), record.to_vec()?);
            assert_eq!(record.len(), u64::try_from(bytes.len()).expect("64 bits"), "length of {id}");
            assert_eq!(view.get_in(&set, id)?.to_vec()?, bytes, "{id} by scan and by ID");
            assert_eq!(view.get(id)?.seq(), record.seq(), "{id} by scan and by ID");
            assert!(records.insert(id, bytes).is_none(), "{id} twice in one scan");
        }
        assert_eq!(view.len(&set), u64::try_from(records.len()).expect("64 bits"), "length of {set}");
        all.insert(set.name().to_owned(), records);
    }
    Ok(all)
}

/// The names and commits of all marks.
pub fn marks(store: &Store) -> BTreeMap<String, u64> {
    store.marks().into_iter().map(|mark| (mark.name, mark.seq.0)).collect()
}

/// Whether an ID has no record; panics at an error other than the two expected ones.
pub fn is_dead(store: &Store, id: RecordId) -> bool {
    match store.get(id) {
        Ok(_) => return false,
        Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {}
        Err(error) => panic!("{id}: {error}"),
    }
    !matches!(store.lookup(id), Ok(Lookup::Live(_)))
}

/// The bytes of every regular file of a directory.
pub fn read_dir(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .filter(|entry| entry.file_type().expect("a type").is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().expect("a plain name");
            (name, std::fs::read(entry.path()).expect("a readable file"))
        })
        .collect()
}

/// Makes a directory with these files.
pub fn write_dir(path: &Path, files: &BTreeMap<String, Vec<u8>>) {
    std::fs::create_dir_all(path).expect("a new directory");
    for (name, bytes) in files {
        std::fs::write(path.join(name), bytes).expect("a new file");
    }
}

/// The bytes of every file of an idle store.
pub fn read_backing(backing: &dyn Backing) -> BTreeMap<String, Vec<u8>> {
    let names = backing.list().expect("a list");
    names
        .into_iter()
        .map(|name| {
            let file = backing.open(&name).expect("a file");
            let len = usize::try_from(file.len().expect("a length")).expect("64 bits");
            let mut bytes = vec![0; len];
            file.read_at(0, &mut bytes).expect("readable");
            (name, bytes)
        })
        .collect()
}

/// A store in memory with these files.
pub fn memory_of(files: &BTreeMap<String, Vec<u8>>) -> Arc<dyn Backing> {
    let memory = Memory::new();
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "lock") {
        let file = memory.create(name).expect("a new file");
        file.append(bytes).expect("appended");
        file.sync().expect("synced");
    }
    Arc::new(memory)
}

/// Returns a problem if an opening found fewer commits than before the damage, and its report does not say so. The
/// report may say that it does not know if that is impossible to know: the newest segment of the log ends earlier, as
/// if no more had been written.
pub fn check_loss_is_told(
    report: &RecoveryReport,
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
) {
    if report.cut.is_some() {
        return;
    }
    let Some(end) = &report.end else { panic!("commits behind {} are gone without a word: {report}", report.last_seq) };
    assert_eq!(end.last, report.last_seq, "it tells of another end: {report}");
    if end.gone_from.is_some() {
        return;
    }
    assert!(end.proven <= end.last, "commits that are proven are gone, and it says that they may be: {report}");
    let content = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let is_of_the_log = |(name, bytes): &(&String, &Vec<u8>)| {
        name.starts_with("log-") && bytes.get(11) == Some(&0) && content(bytes) > HEADER_BYTES
    };
    let (name, was) = before.iter().rfind(is_of_the_log).expect("a log");
    let is = after.get(name).map_or(&[][..], |bytes| &bytes[..content(bytes)]);
    assert!(
        is.len() < content(was) && was.starts_with(is),
        "{name} tells what is gone, and the report does not: {report}"
    );
}

/// Bytes of the header of a segment.
const HEADER_BYTES: usize = 128;

/// How long files may wait for the threads of a store that delete them.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files on disk that the store does not refer to.
pub fn strays(store: &Store, list: &impl Fn() -> Vec<String>) -> Vec<String> {
    // New files are not in the first list, and deleted ones are checked in the next.
    let on_medium = list();
    let known: BTreeSet<String> = store.files().expect("a list").into_iter().map(|file| file.name).collect();
    let there = list();
    on_medium.into_iter().filter(|name| !known.contains(name) && there.contains(name)).collect()
}

/// Asserts that the store refers to every file once its threads have deleted the others.
///
/// # Panics
/// If there is an extra file.
pub fn assert_no_strays(store: &Store, list: impl Fn() -> Vec<String>, when: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let strays = strays(store, &list);
        if strays.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{when}: nothing refers to {strays:?}; there are {:#?}", store.files());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same for a store in a directory.
pub fn assert_no_strays_in(store: &Store, path: &Path, when: &str) {
    assert_no_strays(store, || names_in(path), when);
}

/// The same for a closed store in a directory.
pub fn assert_no_strays_closed(path: &Path, when: &str) {
    let reader = Options::new().read_only(true).open(path).expect("it opens for reading");
    assert!(strays(&reader, &|| names_in(path)).is_empty(), "{when}: {:?}", strays(&reader, &|| names_in(path)));
}

/// The same for a store in any backing.
pub fn assert_no_strays_closed_backing(backing: &Arc<dyn Backing>, when: &str) {
    let reader = Options::new().read_only(true).open_backing(Arc::clone(backing)).expect("it opens for reading");
    let strays = strays(&reader, &|| backing.list().expect("a list"));
    assert!(strays.is_empty(), "{when}: nothing refers to {strays:?}");
}

/// Names of the regular files in a directory.
pub fn names_in(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.file_name().into_string().expect("a plain name")).collect()
}
