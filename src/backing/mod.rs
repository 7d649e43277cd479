//! The backing store: named files that can only be appended to.
pub mod files;
mod map;
mod memory;
pub use files::Files;
pub use map::Map;
pub use memory::Memory;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
/// Files.
pub trait Backing: Send + Sync + Debug {
    /// c
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>>;
    /// o
    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>>;
    /// l
    fn list(&self) -> io::Result<Vec<String>>;
    /// d
    fn delete(&self, name: &str) -> io::Result<()>;
    /// l
    fn lock(&self) -> io::Result<Box<dyn BackingLock>>;
    /// l
    fn location(&self) -> String;
    /// l
    fn link(&self, _name: &str, _into: &Path) -> io::Result<()> { Err(io::ErrorKind::Unsupported.into()) }
}
/// l
pub trait BackingLock: Send + Sync + Debug {}
/// f
#[allow(clippy::len_without_is_empty, reason = "tmp")]
pub trait BackingFile: Send + Sync + Debug {
    /// a
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// s
    fn sync(&self) -> io::Result<()>;
    /// r
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// l
    fn len(&self) -> io::Result<u64>;
    /// m
    fn map(&self, _capacity: u64) -> io::Result<Option<Map>> { Ok(None) }
    /// p
    fn preallocate(&self, _bytes: u64) -> io::Result<()> { Ok(()) }
}
