//! Stores that cannot be opened, or only in part: wrong paths, permissions, full disks, damage.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Fixture, PROGRAM, Run, files_of, skip, tenure, tenure_under};
use crate::table::assert_told;

/// Commands that need an existing store, with their further arguments.
const ON_A_STORE: [&[&str]; 16] = [
    &["export", "--set", "people"],
    &["get", "0.1"],
    &["update", "0.1", "x"],
    &["delete", "0.1"],
    &["scan", "--set", "people"],
    &["sets"],
    &["stat"],
    &["map"],
    &["collect"],
    &["compact"],
    &["rollback", "--seq", "1"],
    &["snapshot save"],
    &["snapshot list"],
    &["mark", "here"],
    &["log"],
    &["verify"],
];

/// Runs a command of the list on a store.
fn on(store: &str, command: &[&str]) -> Run {
    let (name, rest) = command.split_first().expect("a command");
    let mut args: Vec<&str> = name.split(' ').collect();
    args.push(store);
    tenure(&[&args, rest].concat())
}

#[test]
fn missing_store() {
    let fixture = Fixture::new();
    let missing = fixture.path("missing");
    for command in ON_A_STORE {
        assert_told("missing_store", &on(&missing, command), &missing);
        assert!(!Path::new(&missing).exists(), "{command:?} made a store");
    }
    fixture.assert_unchanged();
}

#[test]
fn not_a_store() {
    let fixture = Fixture::new();
    let other = fixture.path("other");
    fs::create_dir(&other).expect("made");
    fs::write(Path::new(&other).join("letter.txt"), "Dear Sir").expect("written");
    let before = files_of(Path::new(&other));
    let import = ["put", "--set", "people", "x"];
    for command in ON_A_STORE.into_iter().chain([&import[..]]) {
        assert_told("not_a_store", &on(&other, command), &other);
        assert_eq!(files_of(Path::new(&other)), before, "{command:?} touched it");
    }
    fixture.assert_unchanged();
}

#[test]
fn file_instead_of_a_store() {
    let fixture = Fixture::new();
    let file = fixture.path("people.jsonl");
    for command in ON_A_STORE {
        assert_told("file_instead_of_a_store", &on(&file, command), &file);
    }
    fixture.assert_unchanged();
}

/// Changes bytes in the files of a store with this name prefix; returns the old content.
fn change(store: &str, stem: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem));
    let files: Vec<_> = files_of(Path::new(store)).into_iter().filter(|(path, _)| named(path)).collect();
    assert!(!files.is_empty(), "no file begins with {stem}");
    for (path, bytes) in &files {
        let mut changed = bytes.clone();
        change(&mut changed);
        fs::write(path, changed).expect("written");
    }
    files
}

fn put_back(files: Vec<(std::path::PathBuf, Vec<u8>)>) {
    for (path, bytes) in files {
        fs::write(path, bytes).expect("written");
    }
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn store_of_a_future_format() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let held = change(&store, "", |bytes| {
        if bytes.len() >= 128 {
            bytes[8] = 3;
            let check = crc32(&bytes[..124]);
            bytes[124..128].copy_from_slice(&check.to_le_bytes());
        }
    });
    let changed = fixture.files();
    let put = ["put", "--set", "people", "x"];
    for command in ON_A_STORE.into_iter().chain([&put[..]]) {
        assert_told("store_of_a_future_format", &on(&store, command), "format version 3");
        assert_eq!(fixture.files(), changed, "{command:?} touched it");
    }
    put_back(held);
    fixture.assert_unchanged();
}

#[test]
fn damaged_manifest() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let held = change(&store, "manifest-", |bytes| bytes[200] ^= 1);
    let changed = fixture.files();
    for command in ON_A_STORE.into_iter().filter(|command| command[0] != "log") {
        assert_told("damaged_manifest", &on(&store, command), "manifest-");
        assert_eq!(fixture.files(), changed, "{command:?} touched it");
    }
    put_back(held);
    fixture.assert_unchanged();
}

#[test]
fn damaged_segment() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let needle = b"Grace";
    let damage = |bytes: &mut Vec<u8>| {
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 1;
        }
    };
    let (ids, grace) = (fixture.ids("notes"), fixture.ids("people"));
    let held = change(&store, "log-", damage);
    let changed = fixture.files();
    let commands: [&[&str]; 3] = [&["export", "--set", "people"], &["get", &grace[1]], &["verify"]];
    for command in commands {
        assert_told("damaged_segment", &on(&store, command), "log-");
        assert_eq!(fixture.files(), changed, "{command:?} touched it");
    }
    let verified = tenure(&["verify", &store, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&verified.out).expect("JSON");
    assert_eq!((report["ok"].as_bool(), report["problems"][0]["corrupt"].as_bool()), (Some(false), Some(true)));
    assert!(report["problems"][0]["offset"].as_u64().is_some_and(|offset| offset >= 128), "{report}");
    // Undamaged data can be read.
    assert_eq!(tenure(&["get", &store, &ids[0]]).ok(), "remember the milk\n");
    put_back(held);
    fixture.assert_unchanged();
}

#[test]
fn damaged_large_value() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let value = format!("{}needle{}", "x".repeat(200_000), "y".repeat(200_000));
    let file = fixture.write("large", value.as_bytes());
    let id = tenure(&["put", &store, "--set", "large", "--file", &file]).ok().trim().to_owned();
    let held = change(&store, "log-", |bytes| {
        if let Some(at) = bytes.windows(6).position(|window| window == b"needle") {
            bytes[at] ^= 1;
        }
    });
    let changed = fixture.files();
    let commands: [&[&str]; 3] = [&["get", &id, "--raw"], &["get", &id, "--json"], &["export", "--set", "large"]];
    for command in commands {
        assert_told("damaged_large_value", &on(&store, command), &id);
        assert_eq!(fixture.files(), changed, "{command:?} touched it");
    }
    put_back(held);
    assert_eq!(tenure(&["get", &store, &id, "--raw"]).out, value.as_bytes());
    fixture.assert_unchanged();
}

#[test]
fn two_writers() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let writer = tenure::Store::open(&store).expect("opened");
    let people = fixture.path("people.jsonl");
    let writing: [&[&str]; 11] = [
        &["import", &people, "--set", "people"],
        &["put", "--set", "people", "x"],
        &["update", "0.1", "x"],
        &["delete", "0.1"],
        &["snapshot save"],
        &["snapshot drop", "monday"],
        &["collect"],
        &["compact"],
        &["rollback", "--seq", "1"],
        &["mark", "here"],
        &["put", "--set", "new", "x"],
    ];
    for command in writing {
        assert_told("two_writers", &on(&store, command), &store);
    }
    // A reader does not block.
    fixture.assert_unchanged();
    drop(writer);
    tenure(&["put", &store, "--set", "more", "x"]).ok();
    fixture.assert_unchanged();
}

#[cfg(unix)]
#[test]
fn no_permission() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let allow = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    let fixture = Fixture::new();
    let store = fixture.store();
    // Root bypasses permissions, so the program runs as user `nobody`; it must be where that user can execute it.
    let root = fs::metadata(&store).expect("there").uid() == 0;
    let program = fixture.path("program");
    fs::copy(PROGRAM, &program).expect("copied");
    allow(&fixture.path(""), 0o755);
    allow(&store, 0o000);
    for command in ON_A_STORE {
        let (name, rest) = command.split_first().expect("a command");
        let mut run = Command::new(&program);
        run.args(name.split(' ')).arg(&store).args(rest).stdin(Stdio::null());
        if root {
            run.uid(65_534).gid(65_534);
        }
        assert_told("no_permission", &Run::of(run.output().expect("the program starts")), &store);
    }
    allow(&store, 0o755);
    fixture.assert_unchanged();
}

#[cfg(unix)]
#[test]
fn full_disk() {
    let fixture = Fixture::new();
    let (store, text) = (fixture.store(), "x".repeat(200));
    let line = |number: u32| format!("{{\"number\":{number},\"text\":\"{text}\"}}\n");
    let lines = (0..4000).map(line).collect::<Vec<_>>().concat();
    let many = fixture.write("many.jsonl", lines.as_bytes());
    // No file may grow beyond 256 KiB; to the store this looks like a full device. The signal that comes with the limit
    // would end a program that does not handle it.
    let args = ["import", &store, &many, "--set", "many", "--batch", "10"];
    let run = tenure_under(r#"ulimit -f 512; exec "$@""#, &args);
    assert_told("full_disk", &run, "log-");
    fixture.assert_unchanged();
    let stored = tenure(&["scan", &store, "--set", "many", "--ids-only"]).ok().lines().count();
    assert!((100..2000).contains(&stored), "{stored} records are stored");
    // With free space again the import continues where the message says, without duplicates.
    let from = run.err.split("--from-line ").nth(1).expect("a line to go on from").trim();
    assert_eq!(from, (stored + 1).to_string());
    tenure(&["import", &store, &many, "--set", "many", "--from-line", from]).ok();
    assert_eq!(tenure(&["export", &store, "--set", "many"]).ok(), lines);
    fixture.assert_unchanged();
}

/// Runs the following with a device of 8 MiB mounted on the directory `$1`, 7 MiB of it in use until space is freed. A
/// separate mount namespace leaves nothing behind. `$2` is the program, `$3` the rows, `$4` a directory for the
/// results.
#[cfg(unix)]
const ON_A_SMALL_DEVICE: &str = r#"
    mount -t tmpfs -o size=8m tmpfs "$1" || exit 99
    dd if=/dev/zero of="$1/other" bs=1048576 count=7 2>"$4/dd" || exit 99
    "$2" put "$1/store" --set many '"first"' >"$4/put" || exit 98
    "$2" import "$1/store" "$3" --set many --batch 10 >"$4/out" 2>"$4/err"
    echo $? >"$4/code"
    "$2" verify "$1/store" >"$4/verify" || exit 97
    "$2" export "$1/store" --set many >"$4/stored" || exit 96
    rm "$1/other" || exit 95
    from=$(sed -n 's/.*--from-line //p' "$4/err")
    "$2" import "$1/store" "$3" --set many --from-line "$from" >"$4/resumed" || exit 94
    "$2" export "$1/store" --set many >"$4/all" || exit 93
"#;

#[cfg(unix)]
#[test]
fn full_device() {
    let fixture = Fixture::new();
    let text = "x".repeat(200);
    let line = |number: u32| format!("{{\"number\":{number},\"text\":\"{text}\"}}\n");
    let lines = (0..8000).map(line).collect::<Vec<_>>().concat();
    let many = fixture.write("many.jsonl", lines.as_bytes());
    let (device, told) = (fixture.path("device"), fixture.path("told"));
    fs::create_dir(&device).expect("made");
    fs::create_dir(&told).expect("made");
    // Root needs only a mount namespace; others need a user namespace as well.
    let ways: [&[&str]; 2] = [&["-m"], &["-r", "-m"]];
    let may_mount = |way: &&&[&str]| {
        let probe = r#"mount -t tmpfs -o size=1m tmpfs "$1""#;
        let run = Command::new("unshare").args(**way).args(["sh", "-c", probe, "sh", &device]).output();
        run.is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(may_mount) else {
        return skip("full_device: a small device cannot be mounted here (`unshare -m` and `mount` do not work)");
    };
    let mut command = Command::new("unshare");
    let command = command.args(*way).args(["sh", "-c", ON_A_SMALL_DEVICE, "sh", &device, PROGRAM, &many, &told]);
    let run = Run::of(command.stdin(Stdio::null()).output().expect("unshare starts"));
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let read = |name: &str| fs::read_to_string(Path::new(&told).join(name)).expect("written");
    let code = read("code").trim().parse().expect("a code");
    let run = Run { code, out: read("out").into_bytes(), err: read("err") };
    assert_told("full_device", &run, "No space left on device");
    let first = "\"first\"\n".to_owned();
    let stored = read("stored").lines().count() - 1;
    assert!((100..8000).contains(&stored), "{stored} records are stored");
    let rows = lines.split_inclusive('\n').take(stored).collect::<String>();
    assert!(read("stored") == first.clone() + &rows, "other rows than the first {stored} are stored");
    assert!(run.err.ends_with(&format!("--from-line {}\n", stored + 1)), "{}", run.err);
    assert!(read("all") == first + &lines, "the import did not go on where it ended");
}

#[cfg(unix)]
#[test]
fn full_disk_for_the_output() {
    let fixture = Fixture::new();
    if !Path::new("/dev/full").exists() {
        return skip("there is no /dev/full here");
    }
    let run = tenure(&["export", &fixture.store(), "--set", "people", "-o", "/dev/full"]);
    assert_told("full_disk_for_the_output", &run, "/dev/full");
    fixture.assert_unchanged();
}

#[test]
fn backup_into_the_store() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let before = fixture.files();
    let link = fixture.path("link");
    std::os::unix::fs::symlink(&store, &link).expect("linked");
    for inside in [format!("{store}/backup"), format!("{link}/backup"), format!("{store}/../store/backup")] {
        let run = tenure(&["backup", &store, &inside]);
        assert_told("backup_into_the_store", &run, &inside);
        let run = tenure(&["restore", &store, &inside]);
        assert_told("backup_into_the_store", &run, &inside);
    }
    assert_eq!(tenure(&["backup", &store, &store]).code, 1, "it is not empty");
    assert_eq!(fixture.files(), before);
    fixture.assert_unchanged();
}
