//! Checking a whole tree: every node that it refers to, and their consistency.
//!
//! Owns: what must hold between nodes. `format::node` owns what must hold within one, and `pages` owns checksums.
//! Never: stops at the first problem: nodes beside an unreadable one are checked as well.

use std::fmt;

use crate::error::Error;
use crate::format::Malformed;
#[cfg(all(test, feature = "json"))]
use crate::format::descriptor::PageRef;
use crate::format::node::KeyEntry;
use crate::format::segment::FileKind;
use crate::id::to_u64;
#[cfg(all(test, feature = "json"))]
use crate::key_index::image::Clean;
use crate::key_index::node::{Child, Inner, level};
use crate::key_index::root::KeyRoot;
use crate::key_index::separator::Separator;

/// The result of a check.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checked {
    /// Readable nodes.
    pub(crate) nodes: u64,
    /// Entries of readable leaves.
    pub(crate) entries: u64,
}

impl KeyRoot {
    /// Checks every node: that its bytes match its parent's checksum, that its entries ascend and are between the
    /// separators above it, that children are one level below, and that counts are right. Problems go to `problem`.
    /// Bytes of each node with an image go to `read`.
    pub(crate) fn check(&self, problem: &mut dyn FnMut(Error), read: &mut dyn FnMut(u64)) -> Checked {
        let mut pass = Pass { root: self, problem, read, checked: Checked::default() };
        match level(&self.root) {
            Ok(level) => pass.node(&self.root, level, None, None),
            Err(error) => (pass.problem)(error),
        }
        pass.checked
    }
}

#[cfg(all(test, feature = "json"))]
impl KeyRoot {
    /// The pages of all nodes.
    pub(crate) fn pages(&self) -> Result<Vec<PageRef>, Error> {
        let mut pages = Vec::new();
        let mut waiting = vec![&self.root];
        while let Some(child) = waiting.pop() {
            pages.extend(child.saved().map(Clean::page));
            pages.extend(child.saved().and(child.base()).map(|base| base.clean.page()));
            waiting.extend(child.as_inner(&self.segments)?.into_iter().flat_map(|inner| &inner.children));
        }
        Ok(pages)
    }
}

struct Pass<'p> {
    root: &'p KeyRoot,
    problem: &'p mut dyn FnMut(Error),
    read: &'p mut dyn FnMut(u64),
    checked: Checked,
}

/// The location of a node, for errors.
fn place(child: &Child) -> (String, u64) {
    child.saved().map_or_else(
        || ("memory".to_owned(), 0),
        |clean| (FileKind::Pages.file_name(clean.page().segment), clean.page().offset()),
    )
}

fn wrong(child: &Child, expected: impl fmt::Display, got: impl fmt::Display) -> Error {
    let (file, offset) = place(child);
    Error::corrupt(file, offset, "node of a key index", expected, got)
}

impl Pass<'_> {
    fn node(&mut self, child: &Child, level: u8, low: Option<&Separator>, high: Option<&Separator>) {
        let is_root = std::ptr::eq(child, &raw const self.root.root);
        if child.entries == 0 && !is_root {
            (self.problem)(wrong(child, "entries below every node", "none"));
        }
        let result = match child.as_inner(&self.root.segments) {
            Ok(Some(inner)) => self.inner(child, inner, level, low, high),
            Ok(None) => self.leaf(child, level, low, high),
            Err(error) => Err(error),
        };
        (self.read)(child.saved().map_or(0, |clean| clean.page().bytes.into()));
        (self.read)(child.base().map_or(0, |base| base.clean.page().bytes.into()));
        match result {
            Ok(()) => self.checked.nodes += 1,
            Err(error) => (self.problem)(error),
        }
    }

    fn leaf(
        &mut self,
        child: &Child,
        level: u8,
        low: Option<&Separator>,
        high: Option<&Separator>,
    ) -> Result<(), Error> {
        let at = |malformed: Malformed| {
            let (file, offset) = place(child);
            malformed.at(&file, offset)
        };
        child.check_leaf()?;
        let (count, own_level, outside) = child
            .with_leaf(|view| {
                let sound = view.check().map(drop);
                let mut outside = None;
                let mut key = Vec::new();
                // The entries in between ascend, if `check` has found nothing.
                for index in [0, view.count().saturating_sub(1)] {
                    let Some(id) = view.read(index, &mut key) else { continue };
                    let entry = KeyEntry { key: &key, id };
                    if low.is_some_and(|low| entry < low.entry()) || high.is_some_and(|high| entry >= high.entry()) {
                        outside = Some(index);
                    }
                }
                Some(sound.map(|()| (to_u64(view.count()), view.level(), outside)))
            })?
            .map_err(at)?;
        if own_level != 0 || level != 0 {
            return Err(wrong(child, format!("a node at level {level}"), format!("level {own_level}")));
        }
        if let Some(index) = outside {
            return Err(wrong(child, "entries between the separators above", format!("entry {index} outside of them")));
        }
        if count != child.entries {
            return Err(wrong(child, format!("{} entries", child.entries), count));
        }
        self.checked.entries += count;
        Ok(())
    }

    fn inner(
        &mut self,
        child: &Child,
        inner: &Inner,
        level: u8,
        low: Option<&Separator>,
        high: Option<&Separator>,
    ) -> Result<(), Error> {
        let at = |malformed: Malformed| {
            let (file, offset) = place(child);
            malformed.at(&file, offset)
        };
        let view = inner.view()?;
        view.check().map_err(at)?;
        if view.level() != level || level == 0 {
            return Err(wrong(child, format!("a node at level {level}"), format!("level {}", view.level())));
        }
        if view.count() != inner.children.len() || inner.entries() != child.entries {
            let got = format!("{} separators, {} entries", view.count(), inner.entries());
            let expected = format!("{} separators, {} entries", inner.children.len(), child.entries);
            return Err(wrong(child, expected, got));
        }
        let separators = (0..view.count()).map(|index| inner.separator(index)).collect::<Result<Vec<_>, _>>()?;
        // The first one is never compared: lower entries belong to the first child too.
        for separator in separators.iter().skip(1) {
            let entry = separator.entry();
            if low.is_some_and(|low| entry < low.entry()) || high.is_some_and(|high| entry >= high.entry()) {
                return Err(wrong(child, "separators between those above", "one outside of them"));
            }
        }
        for (index, below) in inner.children.iter().enumerate() {
            let own_low = if index == 0 { low } else { separators.get(index) };
            self.node(below, level - 1, own_low, separators.get(index + 1).or(high));
        }
        Ok(())
    }
}
