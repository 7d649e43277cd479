//! The cells on file systems mounted for the test, with a process that is killed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tenure::Store;

use crate::common;
use crate::full_disk::cells::{ACTIONS, Disk, ENDS, End, run};
use crate::full_disk::content::{CONTENTS, Content, Held, options, write_until_refused};

const PATH: &str = "TENURE_FULL_DISK_PATH";
const CONTENT: &str = "TENURE_FULL_DISK_CONTENT";
const DISK_BYTES: u64 = 24 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tmpfs,
    Ext4,
}

/// A file system, unmounted on drop.
struct Mounted {
    directory: PathBuf,
    _image: tempfile::TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.directory).status());
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Mounted {
    fn new(kind: Kind) -> Option<Self> {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = temporary.path().join("mounted");
        std::fs::create_dir(&directory).expect("a directory");
        let mut mount = Command::new("mount");
        match kind {
            Kind::Tmpfs => drop(mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"])),
            Kind::Ext4 => {
                let image = temporary.path().join("image");
                File::options()
                    .create_new(true)
                    .write(true)
                    .open(&image)
                    .and_then(|file| file.set_len(DISK_BYTES))
                    .expect("an image");
                if !succeeds(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image)) {
                    return None;
                }
                mount.args(["-o", "loop"]).arg(image);
            }
        }
        succeeds(mount.arg(&directory)).then_some(Self { directory, _image: temporary })
    }

    /// What takes the disk at the moment at which the collector has the reserve's room gets it. That is not what is shown here.
    fn wait_until_idle(&self) {
        let mut before = self.names();
        for _ in 0..200 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let now = self.names();
            if now == before {
                break;
            }
            before = now;
        }
    }

    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }
}

impl Disk for Mounted {
    fn open(&self) -> tenure::Result<Store> {
        options().open(self.store())
    }

    fn fill(&self) {
        self.wait_until_idle();
        let path = self.directory.join("others");
        let file = File::options().create(true).truncate(false).write(true).open(path).expect("a file of others");
        let mut at = file.metadata().expect("its length").len();
        // Again when what was written has got its blocks: only then does the file system know how many it needed.
        for _ in 0..3 {
            for size in [1 << 20, 64 << 10, 4_096, 512, 1] {
                let bytes = vec![9; size];
                while let Ok(written) = file.write_at(&bytes, at) {
                    at += u64::try_from(written).expect("64 bits");
                }
            }
            drop(file.sync_all());
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.store()).expect("lists").map(|entry| entry.expect("an entry"));
        entries
            .map(|entry| {
                format!("{} {}", entry.file_name().to_string_lossy(), entry.metadata().expect("is there").len())
            })
            .collect()
    }

    fn verify(&self) {
        let report = tenure::verify::verify(self.store(), &mut |_| {}).expect("verifies");
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

/// Writes a store, and on a full disk what it can; then waits to be told how to end.
#[test]
#[ignore = "the other tests of this file run it in a process of its own"]
fn child() {
    let (Ok(path), Ok(content)) = (std::env::var(PATH), std::env::var(CONTENT)) else { return };
    let mut lines = std::io::stdin().lock().lines();
    let mut out = std::io::stdout();
    let mut say = |text: &str| {
        writeln!(out, "\n={text}").expect("writes");
        out.flush().expect("writes");
    };
    let store = options().background(false).open(Path::new(&path)).expect("opens");
    let mut held = Content::parse(&content).expect("a content").write(&store);
    say("written");
    lines.next();
    write_until_refused(&store, &mut held);
    let shown: Vec<String> = held.iter().map(|(number, len)| format!("{number}:{len}")).collect();
    say(&shown.join(" "));
    lines.next();
    match store.close() {
        Ok(()) => say("closed"),
        Err(error) => say(&format!("failed: {error}")),
    }
}

struct Writer {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(disk: &Mounted, content: Content) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &common::test_name(module_path!(), "child"), "--ignored", "--nocapture"])
            .env(PATH, disk.store())
            .env(CONTENT, format!("{content:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { process, lines }
    }

    fn hears(&mut self) -> String {
        let said = |line: std::io::Result<String>| line.expect("reads").strip_prefix('=').map(str::to_owned);
        self.lines.by_ref().find_map(said).expect("the process said something")
    }

    fn goes_on(&mut self) {
        self.process.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("writes");
    }
}

/// A store that ended on a full disk. Gives what it had acknowledged.
fn ended(disk: &Mounted, content: Content, end: End) -> Held {
    let mut writer = Writer::start(disk, content);
    assert_eq!(writer.hears(), "written");
    disk.fill();
    writer.goes_on();
    let held = writer.hears();
    let pair = |pair: &str| {
        let (number, len) = pair.split_once(':').expect("a pair");
        (number.parse().expect("a number"), len.parse().expect("a length"))
    };
    let held: Held = held.split_whitespace().map(pair).collect();
    disk.fill();
    match end {
        End::Kill => writer.process.kill().expect("kills"),
        End::Close => {
            writer.goes_on();
            assert_eq!(writer.hears(), "closed", "{content:?}");
        }
        End::FailedClose => {
            let pid = writer.process.id().to_string();
            // No file can be made any more, so neither can a snapshot.
            assert!(succeeds(Command::new("prlimit").args(["--pid", &pid, "--nofile=3:3"])), "prlimit");
            writer.goes_on();
            assert!(writer.hears().starts_with("failed"), "{content:?}");
        }
    }
    drop(writer.process.wait());
    held
}

#[expect(clippy::print_stderr, reason = "a test that shows nothing says so")]
fn say_skipped(kind: Kind) {
    eprintln!("SKIPPED: {kind:?} cannot be mounted here: this test shows nothing");
}

/// Runs some of the cells: by default each `every`-th, or those whose names hold what the environment says.
fn run_cells(kind: Kind, every: usize) {
    if Mounted::new(kind).is_none() {
        say_skipped(kind);
        return;
    }
    let wanted = std::env::var("TENURE_FULL_DISK").ok();
    let mut number = 0;
    for content in CONTENTS {
        for end in ENDS {
            for action in ACTIONS {
                number += 1;
                let cell = format!("{kind:?} {content:?} {end:?} {action:?}");
                let is_wanted = wanted.as_ref().map(|wanted| wanted == "all" || cell.contains(wanted));
                if is_wanted.unwrap_or(number % every == 0) {
                    let disk = Mounted::new(kind).expect("mounts again");
                    let held = ended(&disk, content, end);
                    run(&disk, action, &held, &cell);
                }
            }
        }
    }
}

#[test]
fn cells_on_a_tmpfs_lead_to_a_store_that_is_open_for_writing() {
    run_cells(Kind::Tmpfs, 5);
}

#[test]
fn cells_on_ext4_lead_to_a_store_that_is_open_for_writing() {
    run_cells(Kind::Ext4, 7);
}
