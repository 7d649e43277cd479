//! Ordered maps and sets whose versions share what did not change.
//!
//! Owns: the choice of their nodes' counts, which are those of the standard library: the thread sanitizer knows how
//! these order the last drop, and takes the fences of other crates' counts for races. Never: adds behaviour.

use archery::ArcK;

/// A map that is cloned in a moment; a change copies the path to what it changes, as far as other versions hold it.
pub(crate) type Map<K, V> = rpds::RedBlackTreeMap<K, V, ArcK>;
/// A set likewise.
pub(crate) type Ordered<K> = rpds::RedBlackTreeSet<K, ArcK>;
