//! Stores that are larger than memory: what reads, walks and updates take, and how much they read from the device, in a
//! child process whose memory a control group limits to a quarter of the data.
//!
//! Needs the right to create a memory control group (root, with the controller mounted); without it this says so and
//! measures nothing. The page cache of the store is dropped before each child starts, because the group only counts
//! what its own processes bring in.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tenure::{Durability, Index, Options, RecordId, RecordSet, Store};

use crate::common::{
    BATCH, KEY_BYTES, Numbers, VALUE_BYTES, argument, path_of, questions, rate, to_index, value, values, words,
};
use crate::indexed;

/// What is done in the child.
const WORKS: [&str; 9] =
    ["get", "get-skewed", "get-hot-after-scan", "get-many", "find", "range", "scan", "verify", "update"];
/// Time of each work that repeats.
const SECONDS: u64 = 5;
/// Records or changes at once.
const AT_ONCE: usize = 100;

/// A memory control group of this process's own.
struct Group {
    path: PathBuf,
}

impl Group {
    fn new(bytes: usize) -> Result<Self, std::io::Error> {
        let name = format!("tenure-bars-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory").join(&name);
        let (path, limit) = match fs::create_dir(&first) {
            Ok(()) => (first, "memory.limit_in_bytes"),
            Err(_) => {
                let path = Path::new("/sys/fs/cgroup").join(&name);
                fs::create_dir(&path)?;
                (path, "memory.max")
            }
        };
        let group = Self { path };
        fs::write(group.path.join(limit), bytes.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.path));
    }
}

/// `--in-group GROUP --work WORK --store PATH`: joins the group, works, prints.
pub(crate) fn child() -> bool {
    let (Some(group), Some(work), Some(path)) = (path_of("--in-group"), path_of("--work"), path_of("--store")) else {
        return false;
    };
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).expect("joins the group");
    run(&work.to_string_lossy(), &path, argument("--records", 0));
    true
}

/// Bytes that this process has read from the device.
fn device_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn key_of(number: usize) -> [u8; KEY_BYTES] {
    let mut bytes = [0; VALUE_BYTES];
    value(number as u64, &mut bytes);
    bytes[..KEY_BYTES].try_into().expect("a key")
}

struct Opened {
    store: Store,
    set: RecordSet,
    unique: Index,
    ids: Vec<RecordId>,
}

fn opened(path: &Path) -> Opened {
    let store = Options::new().durability(Durability::Buffered).open(path.join("store")).expect("opens");
    let set = store.record_set("things").expect("a set");
    let (unique, _) = indexed::indexes(&store, &set);
    let bytes = fs::read(path.join("ids")).unwrap_or_default();
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
    let ids = bytes.chunks_exact(8).filter_map(|bytes| RecordId::from_u64(word(bytes))).collect();
    Opened { store, set, unique, ids }
}

fn run(work: &str, path: &Path, count: usize) {
    let Opened { store, set, unique, ids } = opened(path);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut skewed = move || {
        let (place, hot) = (to_index(numbers.next()), numbers.next() % 10 < 8);
        if hot { place % (count / 5) * 5 } else { place % count }
    };
    if work == "get-hot-after-scan" {
        // A fifth of what fits is read, then everything is walked over once.
        for _ in 0..2 {
            ids[..count / 20].iter().for_each(|id| drop(black_box(store.get(*id).expect("reads"))));
        }
        let view = store.view();
        view.scan(&set).for_each(|record| drop(black_box(record.expect("reads"))));
    }
    let mut places = questions(usize::MAX, count);
    let mut place = || places.next().unwrap_or_default();
    let (mut sum, mut done) = (0_u64, 0);
    let (before, begin) = (device_bytes(), Instant::now());
    let mut fresh = 0_u64;
    while begin.elapsed() < Duration::from_secs(SECONDS) {
        match work {
            "get" => sum ^= words(store.get(ids[place()]).expect("reads").as_slice().expect("there")),
            "get-hot-after-scan" => {
                sum ^= words(store.get(ids[place() % (count / 20)]).expect("reads").as_slice().expect("there"));
            }
            "get-skewed" => sum ^= words(store.get(ids[skewed()]).expect("reads").as_slice().expect("there")),
            "get-many" => {
                let asked: Vec<RecordId> = (0..AT_ONCE).map(|_| ids[place()]).collect();
                for found in store.view().get_many(&asked) {
                    sum ^= words(found.expect("reads").as_slice().expect("there"));
                }
                done += AT_ONCE - 1;
            }
            "find" => {
                let view = store.view();
                let found = unique.fetch(&view, &key_of(place())[..]).expect("reads").expect("there");
                sum ^= words(found.as_slice().expect("small"));
            }
            "range" => {
                let view = store.view();
                let range = unique.range(&view, &key_of(place())[..]..).expect("a range");
                for entry in range.records(&view).take(AT_ONCE) {
                    sum ^= words(entry.expect("reads").as_slice().expect("small"));
                }
            }
            "update" => {
                let mut tx = store.begin().expect("begins");
                for _ in 0..AT_ONCE {
                    let mut bytes = [0; VALUE_BYTES];
                    let number = place();
                    value(number as u64, &mut bytes);
                    fresh += 1;
                    bytes[KEY_BYTES + 8..KEY_BYTES + 16].copy_from_slice(&fresh.to_le_bytes());
                    tx.update(ids[number], bytes).expect("updates");
                }
                tx.commit().expect("commits");
                done += AT_ONCE - 1;
            }
            "scan" => {
                let view = store.view();
                for record in view.scan(&set) {
                    sum ^= words(record.expect("reads").as_slice().expect("small"));
                    done += 1;
                }
                break;
            }
            _ => {
                let report = tenure::verify::verify(path.join("store"), &mut |_| {}).expect("verifies");
                assert!(report.is_ok(), "whole");
                done = count;
                break;
            }
        }
        done += 1;
    }
    let (time, bytes) = (begin.elapsed(), device_bytes() - before);
    black_box(sum);
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let each = bytes as f64 / done as f64;
    println!("{work}: {:.0}/s, {each:.0} bytes read each", rate(done, time));
}

/// Prints a line for each work.
pub fn measure(count: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let mut ids = Vec::new();
        let store = opened(dir.path());
        for first in (0..count).step_by(BATCH) {
            let new = store.store.write(|tx| tx.insert_many(&store.set, &values(first, count))).expect("inserts");
            ids.extend(new.iter().flat_map(|id| id.as_u64().to_le_bytes()));
        }
        fs::write(dir.path().join("ids"), ids).expect("writes");
        store.store.close().expect("closes");
    }
    let limit = count * VALUE_BYTES / 4;
    let only = path_of("--work");
    for work in WORKS {
        if only.as_ref().is_some_and(|only| only.as_os_str() != work) {
            continue;
        }
        let group = match Group::new(limit) {
            Ok(group) => group,
            Err(error) => {
                println!("larger than memory: NOT MEASURED, no memory control group can be created here: {error}");
                return;
            }
        };
        Command::new("sync").status().expect("sync runs");
        if fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
            println!("larger than memory: NOT MEASURED, the page cache cannot be dropped here");
            return;
        }
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.arg("--in-group").arg(&group.path).args(["--work", work, "--records", &count.to_string()]);
        let status = child.arg("--store").arg(dir.path()).status().expect("a child");
        assert!(status.success(), "{work}: {status}");
    }
}
