//! A leaf whose image is a patch: what came and went since its base was written, both in page segments.
//!
//! Owns: reading the two in place. Never: brings a list to the heap, which `changed` does once it changes; or makes a patch, which
//! `patch` does.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::format::node_patch::LeafPatch;
use crate::key_index::changed::Changed;
use crate::key_index::image::{Base, Clean};
use crate::key_index::layers::Layers;
use crate::key_index::leaf::Leaf;

/// A leaf in a page segment: its base, and its patch.
#[derive(Debug)]
pub(crate) struct Patched {
    pub(crate) patch: Clean,
    pub(crate) base: Arc<Base>,
}

impl Patched {
    /// Runs `read` on the base and the lists of the patch, in place.
    pub(crate) fn with<T>(&self, entries: u64, read: impl FnOnce(&Layers<'_>) -> Option<T>) -> Result<T> {
        let done = self.patch.with(|bytes| {
            let LeafPatch { came, went } = LeafPatch::open(bytes)?;
            Some(self.base.with_leaf(|image| {
                let layers = Layers { image: *image, came, went };
                if layers.count() == entries { read(&layers) } else { None }
            }))
        })?;
        match done {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => Err(self.why_not(entries, Some(error))),
            None => Err(self.why_not(entries, None)),
        }
    }

    /// Why the leaf could not be read.
    #[cold]
    fn why_not(&self, entries: u64, of_base: Option<Error>) -> Error {
        let parsed = self.patch.with(|bytes| match LeafPatch::parse(bytes) {
            Ok(patch) => match patch.entries(self.base.entries) {
                Some(count) if count == entries => None,
                count => {
                    let expected = format!("{entries} entries with its base");
                    Some(Malformed::new("patch of a node of a key index", expected, format!("{count:?}")))
                }
            },
            Err(malformed) => Some(malformed),
        });
        match (parsed, of_base) {
            (Ok(Some(malformed)), _) => self.patch.at(malformed),
            (Ok(None), Some(error)) | (Err(error), _) => error,
            (Ok(None), None) => self.patch.at(Malformed::new("patch of a node of a key index", "entries", "others")),
        }
    }

    /// Checks base and patch from the first cell to the last.
    pub(crate) fn check(&self, entries: u64) -> Result<()> {
        self.with(entries, |layers| Some(layers.check()))?.map_err(|malformed| self.patch.at(malformed))
    }

    /// Compares both images with their checksums once more.
    pub(crate) fn check_again(&self) -> Result<()> {
        self.base.clean.check_again()?;
        self.patch.check_again()
    }

    /// All entries in one node, to be read.
    pub(crate) fn merged(&self, entries: u64) -> Result<Leaf> {
        let mut leaf = Leaf::empty();
        let merged = self.with(entries, |layers| Some(layers.merge(&mut leaf.bytes)))?;
        merged.map_err(|malformed| self.patch.at(malformed))?;
        Ok(leaf)
    }

    /// All entries in one node, to be changed. It will get a checksum of its own, which must not hide damage that came
    /// to the images after their first read.
    pub(crate) fn load_leaf(&self, entries: u64) -> Result<Arc<Leaf>> {
        self.check_again()?;
        self.check(entries)?;
        let mut leaf = self.merged(entries)?;
        leaf.origin.base = Some(Arc::clone(&self.base));
        Ok(Arc::new(leaf))
    }

    /// The same leaf with its lists on the heap. Their copies will get a checksum of their own, which must not hide damage that came
    /// to the patch after its first read. The base stays where it is: a save compares it again.
    pub(crate) fn to_changed(&self, entries: u64) -> Result<Changed> {
        self.patch.check_again()?;
        self.with(entries, |layers| Some(Changed::with_lists(&self.base, layers)))?
    }

    /// Approximate size of its image if it was written whole.
    pub(crate) fn bytes(&self) -> usize {
        self.base.clean.bytes() + self.patch.bytes()
    }
}
