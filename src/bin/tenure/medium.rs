//! The files of a store on disk and their sizes, except for the reserve, which follows them in size.

use std::fs;
use std::path::Path;

use tenure::backing::Backing;
use tenure::{Error, Stats};

use crate::failure::Outcome;
use crate::place;

/// Files and their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medium {
    pub files: u64,
    pub bytes: u64,
    /// Files of segments, by name, with their bytes.
    segments: Vec<(String, u64)>,
}

impl Medium {
    /// The files in the directory now.
    pub fn of(path: &Path) -> Outcome<Self> {
        if let Some(bucket) = place::bucket(path)? {
            return Self::of_bucket(&*bucket);
        }
        let name = path.display().to_string();
        let entries = fs::read_dir(path).map_err(|source| Error::Io { action: "list", file: name, source })?;
        let mut found = Self::default();
        for entry in entries.flatten() {
            // A file that disappears meanwhile takes no space.
            let Some(file) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("reserve-") {
                continue;
            }
            found.files += 1;
            found.bytes += file.len();
            if Path::new(&name).extension().is_some_and(|extension| extension == "seg") {
                found.segments.push((name, file.len()));
            }
        }
        found.segments.sort();
        Ok(found)
    }

    fn of_bucket(bucket: &dyn Backing) -> Outcome<Self> {
        let failed = |source| Error::Io { action: "list", file: bucket.location(), source };
        let mut found = Self::default();
        for name in bucket.list().map_err(failed)? {
            let bytes = bucket.open(&name).and_then(|file| file.len()).map_err(failed)?;
            found.files += 1;
            found.bytes += bytes;
            if Path::new(&name).extension().is_some_and(|extension| extension == "seg") {
                found.segments.push((name, bytes));
            }
        }
        found.segments.sort();
        Ok(found)
    }

    /// Segments outside the newest state: a named snapshot or a mark keeps them, or they are still empty.
    pub fn others(&self, stats: &Stats) -> Vec<(String, u64)> {
        let is_used = |name: &String| stats.segments.iter().any(|segment| segment.file == *name);
        self.segments.iter().filter(|(name, _)| !is_used(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Exit, Failure};

    /// The input is not to blame.
    #[test]
    fn a_store_that_cannot_be_listed_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Medium::of(&dir.path().join("gone")).unwrap_err();
        assert!(matches!(failure, Failure::Told { exit: Exit::Failed, .. }), "{failure:?}");
    }

    #[test]
    fn files_are_counted_and_directories_are_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), [0; 10]).unwrap();
        fs::write(dir.path().join("b.seg"), [0; 5]).unwrap();
        fs::write(dir.path().join("reserve-0"), [0; 7]).unwrap();
        fs::create_dir(dir.path().join("c")).unwrap();
        let found = Medium::of(dir.path()).unwrap();
        assert_eq!((found.files, found.bytes), (2, 15));
        let empty = tenure::Store::in_memory().unwrap().stats();
        assert_eq!(found.others(&empty), [("b.seg".to_owned(), 5)]);
        assert!(Medium::of(&dir.path().join("d")).is_err());
    }
}
