//! A repository in a bucket of an object store.
//!
//! Owns: how old a mark may be. Never: reads a clock other than the server's.

use std::fs::File;
use std::path::Path;

use crate::backing::Backing;
use crate::error::Result;
use crate::remote::{Bucket, Listed};
use crate::repository::place::{Object, Place, Put};

/// The owner of a mark that is older than this is taken for dead. It renews the mark much sooner.
const MARK_MICROS_MAX: u64 = 60 * 60 * 1_000_000;

impl Place for Bucket {
    fn shown(&self) -> String {
        self.to_string()
    }

    fn is_empty(&self) -> Result<bool> {
        self.holds_nothing()
    }

    fn create(&self) -> Result<()> {
        self.check_creates()
    }

    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<bool> {
        self.put_object(name, bytes, put == Put::Replacement)
    }

    fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        self.get_object(name, most)
    }

    fn settle(&self, _folder: &str) -> Result<()> {
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>> {
        let listed = self.list_objects(folder)?.into_iter();
        Ok(listed.map(|Listed { name, bytes, micros }| Object { name, bytes, micros }).collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.delete_object(name)
    }

    fn hold(&self, name: &str) -> Result<Option<File>> {
        self.put_object(name, name.as_bytes(), false).map(|_stored| None)
    }

    fn is_abandoned(&self, _name: &str, mark: &Object, now: u64) -> Result<bool> {
        Ok(now.saturating_sub(mark.micros) > MARK_MICROS_MAX)
    }

    fn marks_age(&self) -> bool {
        true
    }

    fn check_outside(&self, _store: &dyn Backing) -> Result<()> {
        Ok(())
    }

    fn contains(&self, _path: &Path) -> bool {
        false
    }

    fn sweep(&self) -> Result<()> {
        Ok(())
    }
}
