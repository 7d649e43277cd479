//! A backup whose directory cannot be synced after a link reports that failure, not the existing link.

use std::io;
use std::sync::Arc;

use tenure::backing::{Backing, BackingFile, BackingLock, Files};
use tenure::{Durability, Error};

use crate::power_cut::world::options;

/// Makes links, and cannot sync the directory that they are in.
#[derive(Debug)]
struct Unsynced {
    inner: Files,
    kind: io::ErrorKind,
}

impl Backing for Unsynced {
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackingFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn BackingLock>> {
        self.inner.lock()
    }

    fn location(&self) -> String {
        "unsynced".to_owned()
    }

    fn link(&self, name: &str, into: &dyn Backing) -> io::Result<()> {
        if self.kind != io::ErrorKind::Unsupported {
            self.inner.link(name, into)?;
        }
        Err(self.kind.into())
    }
}

#[test]
fn a_backup_whose_directory_cannot_be_synced_says_so() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::Unsupported] {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = Files::create(&dir.path().join("store")).expect("files");
        let store = options(Durability::Sync).open_backing(Arc::new(Unsynced { inner, kind })).expect("opens");
        let set = store.record_set("a").expect("a set");
        store.write(|tx| tx.insert(&set, "1")).expect("commits");
        let copied = store.backup_to(dir.path().join("copy"));
        if kind == io::ErrorKind::Unsupported {
            assert_eq!(copied.expect("copies where it cannot link").linked, 0);
        } else {
            assert!(matches!(&copied, Err(Error::Io { source, .. }) if source.kind() == kind), "{copied:?}");
        }
    }
}
