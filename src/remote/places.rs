//! Open files of a view, and where their bytes are.
//!
//! Owns: that an open file goes on to newer places of its bytes. Never: changes which bytes a file has, or how many.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::remote::table::{File, Table};

/// Entries of files that are closed are dropped when there are so many, or twice as many as there were open ones.
const SWEPT_MIN: usize = 64;

/// An open file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) name: Arc<str>,
    /// The bytes that it had when it was opened.
    pub(super) bytes: u64,
    file: RwLock<Arc<File>>,
}

impl Opened {
    /// Where its bytes are, and perhaps more of them.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file.read())
    }
}

/// All open files.
#[derive(Debug, Default)]
pub(super) struct AllOpened(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    files: Vec<Weak<Opened>>,
    swept_at: usize,
}

impl AllOpened {
    /// Opens a file that has so many bytes.
    pub(super) fn open(&self, name: &str, bytes: u64, file: Arc<File>) -> Arc<Opened> {
        let opened = Arc::new(Opened { name: Arc::from(name), bytes, file: RwLock::new(file) });
        let mut all = self.0.lock();
        if all.files.len() >= all.swept_at {
            all.files.retain(|file| file.strong_count() > 0);
            all.swept_at = SWEPT_MIN.max(all.files.len() * 2);
        }
        all.files.push(Arc::downgrade(&opened));
        opened
    }

    /// Whether one of them is in the first table, and not in the second.
    pub(super) fn loses_some(&self, before: &Table, after: &Table) -> bool {
        let all = self.0.lock();
        let is_lost = |opened: Arc<Opened>| before.file(&opened.name).is_some() && after.file(&opened.name).is_none();
        all.files.iter().filter_map(Weak::upgrade).any(is_lost)
    }

    /// From now on bytes are read from where a newer table has them. A file that is not in it any more stays with its last places.
    pub(super) fn move_to(&self, table: &Table) {
        let files: Vec<_> = self.0.lock().files.iter().filter_map(Weak::upgrade).collect();
        for opened in files {
            let mut file = opened.file.write();
            if let Some(newer) = table.file(&opened.name).filter(|newer| newer.goes_on_from(&file)) {
                *file = Arc::clone(newer);
            }
        }
    }
}
