//! Patches of leaf pages of the record index: entries that have changed since the page below was written, its base.
//!
//! ```text
//! 0               4                       4 + 4 b
//! +---------------+-----------------------+---------------------------------+
//! | blocks: a bit | for each of these b   | the entries, in order: 8 bytes  |
//! | for each of   | blocks: the number of | each                            |
//! | the 32 blocks | its first entry here, |                                 |
//! | of 16 entries | and a bit for each    |                                 |
//! |               | entry that is here    |                                 |
//! +---------------+-----------------------+---------------------------------+
//! ```
//! Owns: the layout; an entry is found without a search. Never: knows the page below.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::Malformed;
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::id::{low_u16, to_u64};

/// Entries of a block.
pub const PATCH_BLOCK_ENTRIES: usize = 16;
/// Bytes in front of the blocks of a patch.
pub const PATCH_BLOCKS_BYTES: usize = 4;
/// Bytes of a block of a patch, without its entries.
pub const PATCH_BLOCK_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;

#[cold]
#[expect(clippy::needless_pass_by_value, reason = "callers pass what they have just created")]
fn malformed(expected: &'static str, got: impl ToString) -> Malformed {
    Malformed::new("patch of a leaf page", expected, got.to_string())
}

fn ones(bits: u32) -> usize {
    usize::from(low_u16(bits.count_ones().into()))
}

/// The bits below one.
fn below(bit: usize) -> u32 {
    u32::try_from(bit).ok().and_then(|bit| 1_u32.checked_shl(bit)).map_or(u32::MAX, |bit| bit - 1)
}

fn has(bits: u32, bit: usize) -> bool {
    below(bit + 1) & bits & !below(bit) != 0
}

/// A patch, read in place.
#[derive(Clone, Copy, Debug)]
pub struct PagePatch<'a> {
    blocks: u32,
    heads: &'a [u8],
    entries: &'a [u8],
}

impl<'a> PagePatch<'a> {
    /// Reads the front of a patch. What is behind it is checked when it is read.
    #[inline]
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let (front, rest) = bytes.split_first_chunk::<PATCH_BLOCKS_BYTES>()?;
        let blocks = u32::from_le_bytes(*front);
        let (heads, entries) = rest.split_at_checked(ones(blocks) * PATCH_BLOCK_BYTES)?;
        Some(Self { blocks, heads, entries })
    }

    /// Reads and checks a whole patch.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let patch = Self::open(bytes).ok_or_else(|| malformed("its blocks", bytes.len()))?;
        let mut count = 0;
        for head in patch.heads.chunks_exact(PATCH_BLOCK_BYTES) {
            let (first, bits) = (LittleEndian::read_u16(&head[..2]), LittleEndian::read_u16(&head[2..]));
            if usize::from(first) != count || bits == 0 {
                return Err(malformed("blocks of entries one after another", first));
            }
            count += ones(bits.into());
        }
        if patch.entries.len() != count * ENTRY_BYTES {
            return Err(malformed("as many entries as its blocks say", patch.entries.len()));
        }
        Ok(patch)
    }

    /// The entry of a slot of the page; none if the base has it. Fails if the patch is too short for it.
    #[inline]
    pub fn entry(&self, index: usize) -> Result<Option<Entry>, Malformed> {
        let (block, bit) = (index / PATCH_BLOCK_ENTRIES, index % PATCH_BLOCK_ENTRIES);
        if !has(self.blocks, block) {
            return Ok(None);
        }
        let at = ones(self.blocks & below(block)) * PATCH_BLOCK_BYTES;
        let Some([first, first_high, bits, bits_high]) = self.heads.get(at..at + PATCH_BLOCK_BYTES) else {
            return Err(malformed("its blocks", self.heads.len()));
        };
        let bits = u32::from(u16::from_le_bytes([*bits, *bits_high]));
        if !has(bits, bit) {
            return Ok(None);
        }
        let at = (usize::from(u16::from_le_bytes([*first, *first_high])) + ones(bits & below(bit))) * ENTRY_BYTES;
        let entry = self.entries.get(at..at + ENTRY_BYTES).map(|bytes| Entry(LittleEndian::read_u64(bytes)));
        entry.map(Some).ok_or_else(|| malformed("as many entries as its blocks say", self.entries.len()))
    }

    /// Writes the patch of the entries that differ, as far as it takes at most `bytes_max` bytes. Returns whether it
    /// does.
    pub fn encode(
        base: impl Fn(usize) -> Entry,
        now: impl Fn(usize) -> Entry,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let (mut blocks, mut heads, mut entries) = (0_u32, Vec::new(), Vec::new());
        for block in 0..ENTRIES_PER_PAGE / PATCH_BLOCK_ENTRIES {
            let (first, mut bits) = (entries.len() / ENTRY_BYTES, 0_u32);
            for bit in 0..PATCH_BLOCK_ENTRIES {
                let index = block * PATCH_BLOCK_ENTRIES + bit;
                let entry = now(index);
                if entry != base(index) {
                    bits |= below(bit + 1) & !below(bit);
                    entries.extend_from_slice(&entry.0.to_le_bytes());
                }
            }
            if bits != 0 {
                blocks |= below(block + 1) & !below(block);
                heads.extend_from_slice(&low_u16(to_u64(first)).to_le_bytes());
                heads.extend_from_slice(&low_u16(bits.into()).to_le_bytes());
            }
            if PATCH_BLOCKS_BYTES + heads.len() + entries.len() > bytes_max {
                return false;
            }
        }
        out.clear();
        out.extend_from_slice(&blocks.to_le_bytes());
        out.append(&mut heads);
        out.append(&mut entries);
        true
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }
}
