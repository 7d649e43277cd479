//! What the system says: of this process, and of the machine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// A line of a file of the form `name: number …`.
fn field(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()).context("no such field")?;
    Ok(number.parse()?)
}

/// Bytes that this process has caused to be written to the medium.
pub fn written_bytes() -> Result<u64> {
    field("/proc/self/io", "write_bytes")
}

/// Bytes that this process has caused to be read from the medium.
pub fn read_bytes() -> Result<u64> {
    field("/proc/self/io", "read_bytes")
}

/// Bytes that a directory takes, with all that is in it.
pub fn disk_bytes(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A file may be collected between the two calls.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// The heap of this process: its memory that no file backs.
#[derive(Debug, Clone, Copy)]
pub struct Heap {
    bytes: u64,
}

impl Heap {
    /// What is free goes back to the system first, so that it does not count.
    pub fn now() -> Result<Self> {
        #[expect(unsafe_code, reason = "there is no safe binding")]
        // SAFETY: it takes no pointer, and may be called at any time from any thread.
        unsafe {
            libc::malloc_trim(0)
        };
        Ok(Self { bytes: field("/proc/self/status", "RssAnon")? << 10 })
    }

    /// How much it has grown since, without `own` bytes of the one who measures.
    pub fn grown_mebibytes(self, own: usize) -> Result<f64> {
        let grown = Self::now()?.bytes.saturating_sub(self.bytes).saturating_sub(own as u64);
        Ok(grown as f64 / f64::from(1 << 20))
    }
}

/// Where a run took place.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub memory_gibibytes: u64,
    pub kernel: String,
    pub file_system: String,
    pub date: String,
    pub commit: String,
    pub rustc: String,
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

impl Machine {
    pub fn here(dir: &Path) -> Result<Self> {
        let path = dir.to_string_lossy();
        let file_system = output("stat", &["-f", "-c", "%T", &path]).replace("ext2/ext3", "ext4");
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            memory_gibibytes: (field("/proc/meminfo", "MemTotal")? + (1 << 19)) >> 20,
            // What follows the numbers tells of the host.
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            file_system,
            date: output("date", &["-u", "+%Y-%m-%d"]),
            commit: output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]),
            rustc: output("rustc", &["--version"]),
        })
    }
}

/// A control group that limits the memory of the processes in it, page cache included. It is removed when it is dropped.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
}

impl MemoryGroup {
    /// Needs the right to create one, which mostly is root's.
    pub fn new(bytes: u64) -> Result<Self> {
        let name = format!("tenure-compare-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory").join(&name);
        let (path, limit) = if fs::create_dir(&first).is_ok() {
            (first, "memory.limit_in_bytes")
        } else {
            let path = Path::new("/sys/fs/cgroup").join(&name);
            fs::create_dir(&path).context("a memory control group cannot be created")?;
            (path, "memory.max")
        };
        let group = Self { path };
        fs::write(group.path.join(limit), bytes.to_string())?;
        Ok(group)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.path));
    }
}

/// Puts this process under the limit of a group. What it has allocated before does not count.
pub fn join(group: &Path) -> Result<()> {
    Ok(fs::write(group.join("cgroup.procs"), std::process::id().to_string())?)
}

/// Drops what the system has cached of files. Needs root.
pub fn drop_page_cache() -> Result<()> {
    output("sync", &[]);
    fs::write("/proc/sys/vm/drop_caches", "1").context("the page cache cannot be dropped")
}

/// Waits until everything is written, so that one engine does not pay for another.
pub fn quieten() {
    output("sync", &[]);
    std::thread::sleep(std::time::Duration::from_millis(500));
}

/// Version of a package in this build.
pub fn version(package: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}
