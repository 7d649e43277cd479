//! A repository in a bucket of an object store.
//!
//! Owns: how marks of both kinds are judged there. Never: reads a clock other than the server's.

use std::fs::File;
use std::path::Path;

use crate::backing::Backing;
use crate::error::Result;
use crate::remote::{Bucket, Listed};
use crate::repository::directory::Directory;
use crate::repository::marks::{is_renewed, is_too_old};
use crate::repository::place::{Object, Place, Put};

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

    fn is_abandoned(&self, name: &str, mark: &Object, now: u64) -> Result<bool> {
        match self.directory() {
            // Its owner uses this directory by its path, and does not renew it.
            Some(path) if !is_renewed(name, mark) => Directory::new(path).is_abandoned(name, mark, now),
            _ => Ok(is_too_old(mark, now)),
        }
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
