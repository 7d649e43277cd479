//! Patches of pages and nodes: built from the document's tables, and read by the code.

use tenure::SegmentSeq;
use tenure::format::descriptor::{
    DESCRIPTOR_IS_PATCH, Descriptor, PageRef, ROW_HAS_SAME_BASE, ROW_HAS_SAME_SET, Row, decode_directory_patch,
    encode_directory_patch,
};
use tenure::format::entry::Entry;
use tenure::format::node::{ChildRef, NODE_CHILD_IS_PATCH, NodeView};
use tenure::format::node_patch::{ChangedChild, LeafPatch, NODE_PATCH_TAG, decode_inner, encode_inner};
use tenure::format::page_patch::PagePatch;

use crate::format_document::nodes::{child, laid_out};
use crate::format_document::to_u64;

fn page(offset_granules: u32, bytes: u32) -> PageRef {
    PageRef { segment: SegmentSeq(7), offset_granules, bytes, check: 0x3132_3334 }
}

#[test]
fn a_patch_of_a_leaf_page_is_as_described() {
    // Entries 3 and 15 of block 0, entry 0 of block 31.
    let changed = [(3, 0x0102), (15, 0x0304), (496, 0x0506)];
    let mut bytes = (1_u32 | 1 << 31).to_le_bytes().to_vec();
    bytes.extend(laid_out("Patch block", &[0, 1 << 3 | 1 << 15]));
    bytes.extend(laid_out("Patch block", &[2, 1]));
    for (_, entry) in &changed {
        bytes.extend_from_slice(&u64::to_le_bytes(*entry));
    }
    let patch = PagePatch::parse(&bytes).expect("a patch");
    let now = |index| changed.iter().find(|(at, _)| *at == index).map(|(_, entry)| Entry(*entry));
    for index in 0..512 {
        assert_eq!(patch.entry(index), Ok(now(index)), "entry {index}");
    }
    let mut written = Vec::new();
    let base = Entry(9);
    assert!(PagePatch::encode(|_| base, |index| now(index).unwrap_or(base), bytes.len(), &mut written));
    assert_eq!(written, bytes);
    assert!(!PagePatch::encode(|_| base, |index| now(index).unwrap_or(base), bytes.len() - 1, &mut written));
    // Cut at any place, and with blocks that do not follow one another, it is refused.
    for len in 0..bytes.len() {
        assert!(PagePatch::parse(&bytes[..len]).is_err(), "{len} bytes");
        let cut = PagePatch::open(&bytes[..len]);
        assert!(cut.is_none_or(|patch| (0..512).any(|index| patch.entry(index).is_err())), "{len} bytes are whole");
    }
    bytes[8] = 1;
    assert!(PagePatch::parse(&bytes).is_err());
}

fn place(page: &PageRef, is_patch: bool) -> Vec<u8> {
    let length = u64::from(page.bytes) | if is_patch { u64::from(DESCRIPTOR_IS_PATCH) } else { 0 };
    laid_out("Place", &[page.segment.0, page.offset_granules.into(), length, page.check.into()])
}

#[test]
fn rows_of_patches_are_as_described() {
    let descriptor = Descriptor { page: page(8, 72), set: 16, free: 3, live: 509, floor: 2 };
    let (patched, plain) = (Row { descriptor, base: Some(page(4, 4096)) }, Row { descriptor, base: None });
    let (mut bytes, mut alone) = (Vec::new(), Vec::new());
    patched.encode(&mut bytes);
    plain.encode(&mut bytes);
    descriptor.encode(&mut alone);
    let mut with_bit = alone.clone();
    with_bit[12..16].copy_from_slice(&(descriptor.page.bytes | DESCRIPTOR_IS_PATCH).to_le_bytes());
    assert_eq!(bytes, [with_bit, place(&page(4, 4096), false), alone].concat());
    assert_eq!(Row::decode_all(&bytes), Ok(vec![patched, plain]));
    assert!(Row::decode_all(&bytes[..32]).is_err(), "a patch without a base");
    bytes[32 + 15] |= 0x80;
    assert!(Row::decode_all(&bytes).is_err(), "a base that is a patch");
}

#[test]
fn a_patch_of_a_directory_page_is_as_described() {
    let descriptor = Descriptor { page: page(8, 72), set: 16, free: 3, live: 509, floor: 2 };
    let (patched, plain) = (Row { descriptor, base: Some(page(4, 4096)) }, Row { descriptor, base: None });
    // In the base, rows 0 and 1 name the same whole image, and have the same set and floor; row 2 has another set.
    let of_base = |set| Row {
        descriptor: Descriptor { page: page(4, 4096), set, floor: 2, ..Descriptor::default() },
        base: None,
    };
    let before = [of_base(16), of_base(16), of_base(17)];
    let counted = |number: u16, is_patch: bool| {
        let counts = [3_u16.to_le_bytes(), 509_u16.to_le_bytes()].concat();
        [number.to_le_bytes().to_vec(), place(&page(8, 72), is_patch), counts].concat()
    };
    let own = [16_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    let expected = [
        counted(ROW_HAS_SAME_BASE | ROW_HAS_SAME_SET, true),
        counted(1 | ROW_HAS_SAME_SET, false),
        [counted(2 | ROW_HAS_SAME_BASE, true), own.clone()].concat(),
        [counted(127, true), own, place(&page(4, 4096), false)].concat(),
    ];
    let changed = [(0, patched), (1, plain), (2, patched), (127, patched)];
    let mut patch = Vec::new();
    encode_directory_patch(&changed, &before, &mut patch);
    assert_eq!(patch, expected.concat());
    assert_eq!(decode_directory_patch(&patch, &before), Ok(changed.to_vec()));
    assert!(decode_directory_patch(&patch, &[]).is_err(), "as in a row that the base has not");
    for (rows, len) in (1..).zip([26, 52, 86, 140]) {
        assert_eq!(decode_directory_patch(&patch[..len], &before).map(|changed| changed.len()), Ok(rows));
        assert!(decode_directory_patch(&patch[..len - 1], &before).is_err(), "{} bytes", len - 1);
    }
    encode_directory_patch(&[(5, patched), (5, plain)], &before, &mut patch);
    assert!(decode_directory_patch(&patch, &before).is_err(), "a row twice");
    encode_directory_patch(&[(128, plain)], &before, &mut patch);
    assert!(decode_directory_patch(&patch, &before).is_err(), "a row behind the page");
}

#[test]
fn a_patch_of_a_leaf_is_as_described() {
    let node = |key: &[u8; 4], id: u64| {
        let mut bytes = laid_out("Node header", &[b'K'.into(), 1, 0, 1, 0, 0]);
        bytes.extend(laid_out("Node slot", &[24, 4 | 0x8000, u32::from_le_bytes(*key).into()]));
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes
    };
    let (came, went) = (node(b"came", 5), node(b"went", 6));
    let mut bytes = laid_out("Node patch header", &[NODE_PATCH_TAG.into(), 1, 0, to_u64(came.len())]);
    bytes.extend([&came[..], &went[..]].concat());
    let patch = LeafPatch::parse(&bytes).expect("a patch");
    let read = |view: Option<NodeView<'_>>| {
        let mut key = Vec::new();
        view.and_then(|view| view.read(0, &mut key)).map(|id| (key, id))
    };
    assert_eq!((read(patch.came), read(patch.went)), (Some((b"came".to_vec(), 5)), Some((b"went".to_vec(), 6))));
    assert_eq!((patch.entries(1), patch.entries(0)), (Some(1), Some(0)));
    let mut written = Vec::new();
    LeafPatch::encode(&came, &went, &mut written);
    assert_eq!(written, bytes);
    LeafPatch::encode(&[], &went, &mut written);
    let patch = LeafPatch::parse(&written).expect("a patch of what went");
    assert_eq!((patch.came.is_none(), patch.entries(0)), (true, None));
    for len in (0..bytes.len()).filter(|len| *len != 8 + came.len()) {
        assert!(LeafPatch::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
    bytes[1] = 2;
    assert!(LeafPatch::parse(&bytes).expect_err("another version").unsupported);
}

#[test]
fn a_patch_of_an_inner_node_is_as_described() {
    let base = ChildRef { entries: 3, ..child() };
    let patched = ChangedChild { number: 2, child: ChildRef { is_patch: true, ..child() }, base: Some(base) };
    let plain = ChangedChild { number: 9, child: child(), base: None };
    let mut bytes = laid_out("Node patch header", &[NODE_PATCH_TAG.into(), 1, 1, 2]);
    let reference = |child: &ChildRef, is_patch: bool| {
        let (page, flag) = (&child.page, if is_patch { u64::from(NODE_CHILD_IS_PATCH) } else { 0 });
        let bytes = u64::from(page.bytes) | flag;
        laid_out(
            "Child reference",
            &[page.segment.0, page.offset_granules.into(), page.check.into(), bytes, child.entries],
        )
    };
    bytes.extend([&2_u16.to_le_bytes()[..], &reference(&child(), true), &reference(&base, false)].concat());
    bytes.extend([&9_u16.to_le_bytes()[..], &reference(&child(), false)].concat());
    assert_eq!(decode_inner(&bytes), Ok((1, vec![patched, plain])));
    let mut written = Vec::new();
    encode_inner(1, &[patched, plain], &mut written);
    assert_eq!(written, bytes);
    for len in 0..bytes.len() {
        assert!(decode_inner(&bytes[..len]).is_err(), "{len} bytes");
    }
    encode_inner(1, &[plain, patched], &mut written);
    assert!(decode_inner(&written).is_err(), "children out of order");
    encode_inner(0, &[plain], &mut written);
    assert!(decode_inner(&written).is_err(), "a leaf with children");
}

#[test]
fn the_bases_of_a_nodes_children_are_as_described() {
    let front = 16 + 2 * 8 + 3 * 24;
    let mut bytes = laid_out("Node header", &[b'K'.into(), 1, 1, 2, 0, 0]);
    bytes.extend(laid_out("Node slot", &[front, 0, 0]));
    bytes.extend(laid_out("Node slot", &[front, 1, u32::from_le_bytes(*b"m\0\0\0").into()]));
    let (patched, base) = (ChildRef { is_patch: true, ..child() }, ChildRef { entries: 3, ..child() });
    child().encode(&mut bytes);
    patched.encode(&mut bytes);
    base.encode(&mut bytes);
    let view = NodeView::parse(&bytes).expect("a node");
    assert_eq!(view.children().expect("children").collect::<Vec<_>>(), [child(), patched]);
    assert_eq!(view.bases().expect("bases").collect::<Vec<_>>(), [base]);
    assert!(NodeView::parse(&bytes[..bytes.len() - 1]).expect("a node").bases().is_none());
}
