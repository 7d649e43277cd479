//! memory
use super::*;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
/// m
#[derive(Debug, Clone, Default)]
pub struct Memory { files: Arc<Mutex<BTreeMap<String, Arc<F>>>> }
#[derive(Debug, Default)]
struct F { b: RwLock<Vec<u8>> }
#[derive(Debug)]
struct L;
impl BackingLock for L {}
impl Memory { /// n
pub fn new() -> Self { Self::default() } }
impl BackingFile for F {
    fn append(&self, b: &[u8]) -> io::Result<()> { self.b.write().extend_from_slice(b); Ok(()) }
    fn sync(&self) -> io::Result<()> { Ok(()) }
    fn read_at(&self, o: u64, b: &mut [u8]) -> io::Result<()> { let v = self.b.read(); let o = usize::try_from(o).unwrap_or(usize::MAX); b.copy_from_slice(v.get(o..o.saturating_add(b.len())).ok_or(io::ErrorKind::UnexpectedEof)?); Ok(()) }
    fn len(&self) -> io::Result<u64> { Ok(self.b.read().len() as u64) }
}
impl Backing for Memory {
    fn create(&self, n: &str) -> io::Result<Arc<dyn BackingFile>> { let f: Arc<F> = Arc::default(); self.files.lock().insert(n.into(), f.clone()); Ok(f) }
    fn open(&self, n: &str) -> io::Result<Arc<dyn BackingFile>> { Ok(self.files.lock().get(n).cloned().ok_or(io::ErrorKind::NotFound)?) }
    fn list(&self) -> io::Result<Vec<String>> { Ok(self.files.lock().keys().cloned().collect()) }
    fn delete(&self, n: &str) -> io::Result<()> { self.files.lock().remove(n); Ok(()) }
    fn lock(&self) -> io::Result<Box<dyn BackingLock>> { Ok(Box::new(L)) }
    fn location(&self) -> String { "memory".into() }
}
