//! Looking up a key.
//!
//! Owns: which ID of a key is its first. Never: walks along leaves, except to the one behind that has the entry.

use crate::error::Result;
use crate::format::node::KeyEntry;
use crate::key_index::cursor::Cursor;
use crate::key_index::layers::First;
use crate::key_index::node::Child;
use crate::key_index::position::Position;
use crate::key_index::root::KeyRoot;

impl KeyRoot {
    /// The lowest ID of a key.
    #[inline]
    pub(crate) fn first(&self, key: &[u8]) -> Result<Option<u64>> {
        self.first_in(self.leaf(&KeyEntry { key, id: 0 })?, key)
    }

    /// The same, if the leaf that the key belongs to is known.
    #[inline]
    pub(crate) fn first_in(&self, leaf: &Child, key: &[u8]) -> Result<Option<u64>> {
        let wanted = KeyEntry { key, id: 0 };
        if leaf.has_layers()
            && let Some(first) = leaf.with_layers(|layers| layers.first(key))
        {
            return match first? {
                First::Found(id) => Ok(Some(id)),
                First::None => Ok(None),
                First::Behind => self.first_behind(key),
            };
        }
        let found = leaf.with_leaf(|view| {
            let at = view.search(&wanted, false)?;
            if at == view.count() {
                return Some(Err(()));
            }
            let here = view.has_key(at, key)?;
            Some(Ok(if here { Some(view.id(at)?) } else { None }))
        })?;
        if let Ok(answer) = found { Ok(answer) } else { self.first_behind(key) }
    }

    /// The same, if the leaf that the key belongs to has only entries before it.
    #[inline(never)]
    fn first_behind(&self, key: &[u8]) -> Result<Option<u64>> {
        let mut cursor = Cursor::new(self.clone());
        Ok(if cursor.seek(&Position::before(key))? && cursor.key() == key { Some(cursor.id()) } else { None })
    }
}
