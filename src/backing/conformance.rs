//! The rules of a backing, as a test suite for any implementation.
//!
//! Owns: the part of the contract that can be observed from outside. Never: proves that synced bytes survive a power
//! cut; that depends on the storage below, which the author of a backing must know.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backing::{Backing, BackingFile, ReadAt};
use crate::id::{low_byte, to_u64, to_usize};

/// A rule that a backing breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a backing must do this: {rule}; {found}")]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was found instead.
    pub found: String,
}

type Outcome = Result<(), String>;
type Rule = (&'static str, fn(&dyn Backing) -> Outcome);

const RULES: &[Rule] = &[
    ("take every name that is allowed, and no other", names),
    ("create a file once, and leave an existing one alone", creation),
    ("say NotFound for a file that is not there", absence),
    ("return appended bytes from any offset, and UnexpectedEof after them", edges),
    ("take an append of no bytes, and one of many", sizes),
    ("refuse appends through a handle that was opened for reading", reading_only),
    ("show later appends to handles that were opened before", later_appends),
    ("list exactly the existing files", listing),
    ("keep deleted files readable through handles and maps that exist", deletion),
    ("give a name that was deleted to a new and empty file", reuse),
    ("lock for one holder, until the lock is dropped", locking),
    ("map what was appended, and nothing else", mapping),
    ("preallocate without changing length or bytes, and show only zeros after them", preallocation),
    ("keep the bytes of a file that is sealed, for all handles", sealing),
    ("read several files at once as one after the other", several),
    ("sync, append and read at the same time", concurrency),
];

/// Runs every rule on an empty backing of its own, created by `make`.
///
/// ```
/// use std::sync::Arc;
/// use tenure::backing::{Memory, conformance};
/// conformance::check(&|| Arc::new(Memory::new()))?;
/// # Ok::<(), conformance::Violation>(())
/// ```
///
/// # Errors
/// The first broken rule, and how it is broken.
pub fn check(make: &dyn Fn() -> Arc<dyn Backing>) -> Result<(), Violation> {
    for (rule, run) in RULES {
        run(&*make()).map_err(|found| Violation { rule, found })?;
    }
    Ok(())
}

/// Bytes in which all parts differ.
fn pattern(len: usize) -> Vec<u8> {
    (0..to_u64(len)).map(|index| low_byte(index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32)).collect()
}

fn demand(holds: bool, otherwise: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.to_string()) }
}

fn succeeds<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("to {what} failed: {error}"))
}

fn fails<T>(what: &str, result: io::Result<T>, kind: io::ErrorKind) -> Outcome {
    match result {
        Ok(_) => Err(format!("to {what} succeeded, instead of failing with {kind:?}")),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("to {what} failed with {:?} ({error}), instead of {kind:?}", error.kind())),
    }
}

/// A new file with these bytes.
fn file(backing: &dyn Backing, name: &str, bytes: &[u8]) -> Result<Arc<dyn BackingFile>, String> {
    let file = succeeds(&format!("create {name:?}"), backing.create(name))?;
    succeeds("append", file.append(bytes))?;
    Ok(file)
}

fn read(file: &dyn BackingFile, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0xaa; len];
    succeeds(&format!("read {len} bytes at {offset}"), file.read_at(offset, &mut bytes))?;
    Ok(bytes)
}

fn holds(file: &dyn BackingFile, expected: &[u8]) -> Outcome {
    let len = succeeds("tell a length", file.len())?;
    demand(len == to_u64(expected.len()), format!("the length of {} appended bytes is {len}", expected.len()))?;
    demand(read(file, 0, expected.len())? == expected, "other bytes were read than were appended")
}

fn names(backing: &dyn Backing) -> Outcome {
    let longest = "x".repeat(128);
    for name in ["a", "0", "log-000000000001.seg", "a..b", "_", "-", "abcdefghijklmnopqrstuvwxyz0123456789", &longest] {
        holds(&*file(backing, name, name.as_bytes())?, name.as_bytes())?;
        holds(&*succeeds(&format!("open {name:?}"), backing.open(name))?, name.as_bytes())?;
    }
    let too_long = "x".repeat(129);
    for name in ["", ".", "..", ".hidden", "a/b", "../a", "A", "a b", "a\0", "ä", "a\\b", &too_long] {
        fails(&format!("create {name:?}"), backing.create(name), io::ErrorKind::InvalidInput)?;
        demand(backing.open(name).is_err(), format!("{name:?} was opened"))?;
        demand(backing.delete(name).is_err(), format!("{name:?} was deleted"))?;
    }
    demand(!backing.location().is_empty(), "the location, for messages, is empty")
}

fn creation(backing: &dyn Backing) -> Outcome {
    let first = file(backing, "a", b"first")?;
    fails("create an existing file", backing.create("a"), io::ErrorKind::AlreadyExists)?;
    holds(&*first, b"first")?;
    let empty = succeeds("create another", backing.create("b"))?;
    holds(&*empty, b"")?;
    succeeds("sync an empty file", empty.sync())?;
    succeeds("sync", first.sync())?;
    succeeds("sync again", first.sync())?;
    drop((first, empty));
    holds(&*succeeds("open", backing.open("a"))?, b"first")?;
    holds(&*succeeds("open an empty file", backing.open("b"))?, b"")
}

fn absence(backing: &dyn Backing) -> Outcome {
    fails("open what is not there", backing.open("a"), io::ErrorKind::NotFound)?;
    fails("delete what is not there", backing.delete("a"), io::ErrorKind::NotFound)?;
    drop(file(backing, "a", b"x")?);
    succeeds("delete", backing.delete("a"))?;
    fails("open what was deleted", backing.open("a"), io::ErrorKind::NotFound)?;
    fails("delete what was deleted", backing.delete("a"), io::ErrorKind::NotFound)
}

fn edges(backing: &dyn Backing) -> Outcome {
    let bytes = pattern(3_000);
    let appended = succeeds("create", backing.create("a"))?;
    let mut end = 0;
    // Appends that end before, at and after sector boundaries.
    for len in [1, 510, 1, 1, 511, 512, 513, 0, 951] {
        succeeds("append", appended.append(&bytes[end..end + len]))?;
        end += len;
        holds(&*appended, &bytes[..end])?;
    }
    let opened = succeeds("open", backing.open("a"))?;
    for file in [&appended, &opened] {
        for begin in (0..end).step_by(7).chain([end - 1, end]) {
            for len in [0, 1, 2, 511, 513, end - begin] {
                let at = to_u64(begin);
                if begin + len <= end {
                    let found = read(&**file, at, len)?;
                    demand(found == bytes[begin..begin + len], format!("{len} bytes at {at} are wrong"))?;
                } else {
                    let what = format!("read {len} bytes at {at} of {end}");
                    fails(&what, file.read_at(at, &mut vec![0; len]), io::ErrorKind::UnexpectedEof)?;
                }
            }
        }
        for at in [to_u64(end), to_u64(end) + 1, 1 << 40] {
            fails(&format!("read at {at} of {end}"), file.read_at(at, &mut [0]), io::ErrorKind::UnexpectedEof)?;
        }
        demand(file.read_at(u64::MAX, &mut [0; 2]).is_err(), "to read at the last offset of all succeeded")?;
    }
    Ok(())
}

fn sizes(backing: &dyn Backing) -> Outcome {
    let bytes = pattern((1 << 20) + 1);
    let large = file(backing, "a", &bytes)?;
    succeeds("append nothing", large.append(&[]))?;
    holds(&*large, &bytes)?;
    succeeds("sync", large.sync())?;
    let empty = file(backing, "b", &[])?;
    holds(&*empty, &[])?;
    fails("read from an empty file", empty.read_at(0, &mut [0]), io::ErrorKind::UnexpectedEof)?;
    for index in 0..300_usize {
        drop(file(backing, &format!("c-{index}"), &bytes[index..index + 40])?);
    }
    for index in 0..300_usize {
        let name = format!("c-{index}");
        holds(&*succeeds("open one of many", backing.open(&name))?, &bytes[index..index + 40])?;
    }
    Ok(())
}

fn reading_only(backing: &dyn Backing) -> Outcome {
    let writing = file(backing, "a", b"abc")?;
    let reading = succeeds("open", backing.open("a"))?;
    demand(reading.append(b"d").is_err(), "it was appended through such a handle")?;
    holds(&*writing, b"abc")?;
    holds(&*succeeds("open", backing.open("a"))?, b"abc")
}

fn later_appends(backing: &dyn Backing) -> Outcome {
    let bytes = pattern(2_000);
    let writing = file(backing, "a", &bytes[..700])?;
    let early = succeeds("open", backing.open("a"))?;
    holds(&*early, &bytes[..700])?;
    for end in [701, 1_100, 2_000] {
        let begin = to_usize(succeeds("tell a length", writing.len())?);
        succeeds("append", writing.append(&bytes[begin..end]))?;
        holds(&*writing, &bytes[..end])?;
        demand(read(&*early, 0, end)? == bytes[..end], "the earlier handle reads other bytes")?;
        holds(&*succeeds("open", backing.open("a"))?, &bytes[..end])?;
    }
    Ok(())
}

fn listed(backing: &dyn Backing) -> Result<Vec<String>, String> {
    let mut names = succeeds("list", backing.list())?;
    // A lock may need a file.
    names.retain(|name| name != "lock");
    names.sort_unstable();
    Ok(names)
}

fn listing(backing: &dyn Backing) -> Outcome {
    let mut expected = Vec::new();
    demand(listed(backing)? == expected, "an empty backing lists files")?;
    let mut handles = Vec::new();
    for index in 0..50 {
        let name = format!("file-{index:02}");
        handles.push(file(backing, &name, b"x")?);
        expected.push(name);
        demand(listed(backing)? == expected, format!("after {} creations: {:?}", index + 1, listed(backing)))?;
    }
    while let Some(name) = expected.pop() {
        succeeds("delete", backing.delete(&name))?;
        demand(listed(backing)? == expected, format!("after the deletion of {name}: {:?}", listed(backing)))?;
    }
    Ok(())
}

fn deletion(backing: &dyn Backing) -> Outcome {
    let bytes = pattern(5_000);
    let writing = file(backing, "a", &bytes)?;
    let reading = succeeds("open", backing.open("a"))?;
    let maps = [&writing, &reading].map(|file| file.map(8_192));
    succeeds("delete", backing.delete("a"))?;
    for file in [&writing, &reading] {
        holds(&**file, &bytes)?;
    }
    drop((writing, reading));
    for map in maps {
        let Some(map) = succeeds("map", map)? else { continue };
        demand(map.slice(0, bytes.len()) == Some(&bytes), "the map shows other bytes after the deletion")?;
    }
    Ok(())
}

fn reuse(backing: &dyn Backing) -> Outcome {
    let old = file(backing, "a", b"old bytes")?;
    succeeds("delete", backing.delete("a"))?;
    let new = succeeds("create a name that was deleted", backing.create("a"))?;
    holds(&*new, b"")?;
    succeeds("append", new.append(b"new"))?;
    holds(&*new, b"new")?;
    holds(&*old, b"old bytes")?;
    holds(&*succeeds("open", backing.open("a"))?, b"new")
}

fn locking(backing: &dyn Backing) -> Outcome {
    for _ in 0..3 {
        let lock = succeeds("lock", backing.lock())?;
        succeeds("say that the lock is still held", lock.check())?;
        fails("lock what is locked", backing.lock(), io::ErrorKind::WouldBlock)?;
        fails("lock what is still locked", backing.lock(), io::ErrorKind::WouldBlock)?;
        drop(lock);
    }
    let lock = succeeds("lock", backing.lock())?;
    let locked = file(backing, "a", b"x")?;
    holds(&*locked, b"x")?;
    holds(&*succeeds("open while it is locked", backing.open("a"))?, b"x")?;
    drop(lock);
    Ok(())
}

fn mapping(backing: &dyn Backing) -> Outcome {
    let bytes = pattern(10_000);
    let writing = succeeds("create", backing.create("a"))?;
    // None is always allowed: maps may have run out.
    let Some(map) = succeeds("map", writing.map(9_000))? else { return Ok(()) };
    let mut end = 0;
    demand(map.slice(0, 1).is_none(), "the map of an empty file shows a byte")?;
    for len in [1, 4_095, 1, 4_000, 903, 1_000] {
        succeeds("append", writing.append(&bytes[end..end + len]))?;
        end += len;
        let seen = end.min(9_000);
        demand(map.slice(0, seen) == Some(&bytes[..seen]), format!("the map does not show {seen} bytes of {end}"))?;
        demand(map.slice(to_u64(seen), 1).is_none(), format!("the map shows a byte past {seen}"))?;
        demand(map.slice(to_u64(seen - 1), 2).is_none(), format!("the map shows two bytes at {}", seen - 1))?;
    }
    demand(map.slice(u64::MAX, 1).is_none(), "the map shows a byte at the last offset of all")?;
    let reading = succeeds("open", backing.open("a"))?;
    let Some(map) = succeeds("map", reading.map(to_u64(end)))? else { return Ok(()) };
    demand(map.slice(0, end) == Some(&bytes), "the map of an opened file shows other bytes")
}

fn preallocation(backing: &dyn Backing) -> Outcome {
    let file = file(backing, "a", b"abc")?;
    succeeds("preallocate", file.preallocate(1 << 16))?;
    holds(&*file, b"abc")?;
    succeeds("append", file.append(b"def"))?;
    holds(&*file, b"abcdef")?;
    succeeds("sync", file.sync())?;
    succeeds("append", file.append(b"ghi"))?;
    holds(&*file, b"abcdefghi")?;
    let other = succeeds("open", backing.open("a"))?;
    let len = to_usize(succeeds("tell a length", other.len())?);
    let seen = read(&*other, 0, len)?;
    let room = seen.strip_prefix(b"abcdefghi").ok_or("another handle shows other bytes than were appended")?;
    demand(room.iter().all(|byte| *byte == 0), "another handle shows bytes that were not appended")?;
    drop(file);
    holds(&*succeeds("open", backing.open("a"))?, b"abcdefghi")
}

fn sealing(backing: &dyn Backing) -> Outcome {
    let file = file(backing, "a", b"abc")?;
    let before = succeeds("open", backing.open("a"))?;
    succeeds("sync", file.sync())?;
    succeeds("seal", file.seal())?;
    for handle in [&file, &before, &succeeds("open", backing.open("a"))?] {
        holds(&**handle, b"abc")?;
    }
    succeeds("sync", file.sync())?;
    drop(file);
    holds(&*succeeds("open", backing.open("a"))?, b"abc")
}

fn several(backing: &dyn Backing) -> Outcome {
    let contents: Vec<Vec<u8>> = (0..40).map(|index| pattern(100 + index)).collect();
    let names: Vec<String> = (0..40).map(|index| format!("file-{index}")).collect();
    for (name, bytes) in names.iter().zip(&contents) {
        drop(file(backing, name, bytes)?);
    }
    let mut buffers: Vec<Vec<u8>> = contents.iter().map(|bytes| vec![0xaa; bytes.len() - 7]).collect();
    let read = |buffers: &mut [Vec<u8>], offset: u64| {
        let reads = names.iter().zip(buffers).map(|(name, buffer)| ReadAt { name, offset, buffer });
        backing.read_many(&mut reads.collect::<Vec<_>>())
    };
    succeeds("read many", read(&mut buffers, 7))?;
    let same = contents.iter().zip(&buffers).all(|(bytes, buffer)| bytes.get(7..) == Some(buffer));
    demand(same, "reading many files gave other bytes than were appended")?;
    fails("read many beyond their ends", read(&mut buffers, 8), io::ErrorKind::UnexpectedEof)?;
    let missing = &mut [ReadAt { name: "none", offset: 0, buffer: &mut [0] }];
    fails("read many of which one is not there", backing.read_many(missing), io::ErrorKind::NotFound)?;
    succeeds("read nothing", backing.read_many(&mut []))
}

fn concurrency(backing: &dyn Backing) -> Outcome {
    const PART_BYTES: usize = 101;
    let bytes = pattern(PART_BYTES * 300);
    let writing = succeeds("create", backing.create("a"))?;
    let reading = succeeds("open", backing.open("a"))?;
    let is_done = AtomicBool::new(false);
    let until_done = |work: &dyn Fn() -> Outcome| {
        while !is_done.load(Ordering::Acquire) {
            work()?;
        }
        work()
    };
    let read_all = || {
        let len = to_usize(succeeds("tell a length", writing.len())?).min(bytes.len());
        for file in [&writing, &reading] {
            demand(read(&**file, 0, len)? == bytes[..len], format!("of {len} bytes some were read wrong"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let syncs = scope.spawn(|| until_done(&|| succeeds("sync beside appends", writing.sync())));
        let reads = scope.spawn(|| until_done(&read_all));
        let appended = bytes.chunks(PART_BYTES).try_for_each(|part| succeeds("append", writing.append(part)));
        is_done.store(true, Ordering::Release);
        let joined =
            [syncs.join(), reads.join()].map(|result| result.unwrap_or_else(|_| Err("it panicked".to_owned())));
        joined.into_iter().fold(appended, Result::and)
    })?;
    holds(&*writing, &bytes)?;
    holds(&*succeeds("open", backing.open("a"))?, &bytes)
}
