//! Patches of nodes of key indexes: what has changed of a node since the image below was written, its base.
//!
//! ```text
//! 0     1         2       3      4       6      8
//! +-----+---------+-------+------+-------+------+------------------------------+
//! | tag | version | level | zero | count | zero | of a leaf: a node of entries |
//! |     |         |       |      |       |      | that came, of `count` bytes, |
//! |     |         |       |      |       |      | and one of those that went   |
//! |     |         |       |      |       |      | of others: `count` children, |
//! |     |         |       |      |       |      | each behind its number       |
//! +-----+---------+-------+------+-------+------+------------------------------+
//! ```
//! Owns: the layout. Never: knows the base; what both mean together is up to `key_index`.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::Malformed;
use crate::format::node::{ChildRef, NODE_CHILD_BYTES, NODE_LEVEL_MAX, NodeView};
use crate::id::{low_u16, to_u64};

/// First byte of every patch of a node.
pub const NODE_PATCH_TAG: u8 = 0x50;
/// Layout of such patches that this code writes and reads.
pub const NODE_PATCH_VERSION: u8 = 1;
/// Bytes before the nodes or children of a patch.
pub const NODE_PATCH_HEADER_BYTES: usize = 8;
/// Bytes of the number in front of a child.
const NUMBER_BYTES: usize = 2;

#[cold]
#[expect(clippy::needless_pass_by_value, reason = "callers pass what they have just created")]
fn malformed(expected: &'static str, got: impl ToString) -> Malformed {
    Malformed::new("patch of a node of a key index", expected, got.to_string())
}

fn header(level: u8, count: usize) -> [u8; NODE_PATCH_HEADER_BYTES] {
    let [low, high] = low_u16(to_u64(count)).to_le_bytes();
    [NODE_PATCH_TAG, NODE_PATCH_VERSION, level, 0, low, high, 0, 0]
}

fn open(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<NODE_PATCH_HEADER_BYTES>()?;
    let known = header[0] == NODE_PATCH_TAG && header[1] == NODE_PATCH_VERSION;
    known.then(|| (header[2], usize::from(LittleEndian::read_u16(&header[4..6])), rest))
}

/// Why bytes are no patch.
#[cold]
fn why_not(bytes: &[u8]) -> Malformed {
    match bytes {
        [NODE_PATCH_TAG, NODE_PATCH_VERSION, ..] => malformed("as many bytes as its header says", bytes.len()),
        [NODE_PATCH_TAG, version, ..] => {
            Malformed::unsupported("version of a patch of a node", NODE_PATCH_VERSION, version)
        }
        _ => malformed("the tag of a patch", format!("{:02x?}", bytes.first())),
    }
}

/// What came to a leaf since its base was written, and what went. Read in place.
#[derive(Clone, Copy, Debug)]
pub struct LeafPatch<'a> {
    /// Entries that came.
    pub came: Option<NodeView<'a>>,
    /// Entries of the base that went.
    pub went: Option<NodeView<'a>>,
}

impl<'a> LeafPatch<'a> {
    /// Writes a patch of two nodes, of which one may be empty.
    pub fn encode(came: &[u8], went: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&header(0, came.len()));
        out.extend_from_slice(came);
        out.extend_from_slice(went);
    }

    /// Reads a patch, without reporting the problem. The entries are not checked.
    #[inline]
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let (0, came, rest) = open(bytes)? else { return None };
        let (came, went) = rest.split_at_checked(came)?;
        let node = |bytes: &'a [u8]| match bytes {
            [] => Some(None),
            bytes => NodeView::open(bytes).filter(|view| view.level() == 0).map(Some),
        };
        Some(Self { came: node(came)?, went: node(went)? })
    }

    /// Reads a patch, and checks the entries.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let patch = Self::open(bytes).ok_or_else(|| why_not(bytes))?;
        for view in patch.came.iter().chain(&patch.went) {
            view.check()?;
        }
        Ok(patch)
    }

    /// Entries in the leaf, given those of the base. `None` if it has not as many.
    #[inline]
    pub fn entries(&self, of_base: u64) -> Option<u64> {
        let count = |view: &Option<NodeView<'_>>| view.map_or(0, |view| to_u64(view.count()));
        (of_base + count(&self.came)).checked_sub(count(&self.went))
    }
}

/// A child that has changed: its number, its image, and the base of that if it is a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedChild {
    /// Its number in the node.
    pub number: u16,
    /// Its image.
    pub child: ChildRef,
    /// The base of that image.
    pub base: Option<ChildRef>,
}

/// Writes a patch of an inner node.
pub fn encode_inner(level: u8, changed: &[ChangedChild], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&header(level, changed.len()));
    for changed in changed {
        out.extend_from_slice(&changed.number.to_le_bytes());
        ChildRef { is_patch: changed.base.is_some(), ..changed.child }.encode(out);
        if let Some(base) = &changed.base {
            base.encode(out);
        }
    }
}

/// Reads a patch of an inner node: its level, and the children that have changed.
pub fn decode_inner(bytes: &[u8]) -> Result<(u8, Vec<ChangedChild>), Malformed> {
    let (level, count, mut rest) = open(bytes).ok_or_else(|| why_not(bytes))?;
    if level == 0 || level > NODE_LEVEL_MAX {
        return Err(malformed("a level from 1 to 40", level));
    }
    let mut changed = Vec::new();
    let mut take = |bytes: usize| {
        let (taken, behind) = rest.split_at_checked(bytes).ok_or_else(|| malformed("whole children", count))?;
        rest = behind;
        Ok(taken)
    };
    for _ in 0..count {
        let number = LittleEndian::read_u16(take(NUMBER_BYTES)?);
        let mut child = || {
            let bytes = take(NODE_CHILD_BYTES)?.first_chunk();
            bytes.map(ChildRef::decode).ok_or_else(|| malformed("whole children", count))
        };
        let read = child()?;
        let base = if read.is_patch { Some(child()?) } else { None };
        changed.push(ChangedChild { number, child: read, base });
    }
    if !rest.is_empty() || !changed.is_sorted_by(|one, other| one.number < other.number) {
        return Err(malformed("children that ascend, and nothing behind them", count));
    }
    Ok((level, changed))
}
