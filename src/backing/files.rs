//! files
use super::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
/// f
#[derive(Debug, Clone)]
pub struct Files { dir: PathBuf, }
impl Files {
    /// o
    pub fn open(p: &Path) -> io::Result<Self> { if p.is_dir() { Ok(Self { dir: p.into() }) } else { Err(io::ErrorKind::NotFound.into()) } }
    /// c
    pub fn create(p: &Path) -> io::Result<Self> { std::fs::create_dir(p)?; Self::open(p) }
    /// r
    pub fn read_only(p: &Path) -> io::Result<Self> { Self::open(p) }
    fn sync_dir(&self) -> io::Result<()> { OpenOptions::new().read(true).open(&self.dir)?.sync_all() }
}
#[derive(Debug)]
struct F { file: File, len: Arc<AtomicU64> }
impl BackingFile for F {
    fn append(&self, b: &[u8]) -> io::Result<()> { let l = self.len.load(Ordering::Relaxed); self.file.write_all_at(b, l)?; self.len.store(l + b.len() as u64, Ordering::Release); Ok(()) }
    fn sync(&self) -> io::Result<()> { self.file.sync_data() }
    fn read_at(&self, o: u64, b: &mut [u8]) -> io::Result<()> { self.file.read_exact_at(b, o) }
    fn len(&self) -> io::Result<u64> { Ok(self.len.load(Ordering::Acquire)) }
    fn map(&self, c: u64) -> io::Result<Option<Map>> { Map::new(&self.file, c, self.len.clone()).map(Some) }
}
#[derive(Debug)]
struct L { _f: File }
impl BackingLock for L {}
impl Backing for Files {
    fn create(&self, n: &str) -> io::Result<Arc<dyn BackingFile>> { let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.dir.join(n))?; self.sync_dir()?; Ok(Arc::new(F { file, len: Arc::default() })) }
    fn open(&self, n: &str) -> io::Result<Arc<dyn BackingFile>> { let file = OpenOptions::new().read(true).open(self.dir.join(n))?; let l = file.metadata()?.len(); Ok(Arc::new(F { file, len: Arc::new(AtomicU64::new(l)) })) }
    fn list(&self) -> io::Result<Vec<String>> { Ok(std::fs::read_dir(&self.dir)?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()) }
    fn delete(&self, n: &str) -> io::Result<()> { std::fs::remove_file(self.dir.join(n))?; self.sync_dir() }
    fn lock(&self) -> io::Result<Box<dyn BackingLock>> { let f = OpenOptions::new().create(true).truncate(false).write(true).open(self.dir.join("lock"))?; f.try_lock().map_err(|e| match e { std::fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(), std::fs::TryLockError::Error(e) => e })?; Ok(Box::new(L { _f: f })) }
    fn location(&self) -> String { self.dir.display().to_string() }
}
