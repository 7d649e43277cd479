//! Nodes of key indexes: built from the document's tables, and read by the code.

use tenure::SegmentSeq;
use tenure::format::descriptor::PageRef;
use tenure::format::node::{ChildRef, KeyEntry, NODE_HAS_ID, NODE_TAG, NodeView};

use crate::format_document::{check_layout, table, to_usize};
use crate::markdown::number;

/// Bytes of a structure whose fields have these values, in the order of its table.
pub fn laid_out(heading: &str, values: &[u64]) -> Vec<u8> {
    let table = table(heading);
    let mut values = values.iter();
    let mut bytes = Vec::new();
    for ((offset, size), field) in table.cells("offset").into_iter().zip(table.cells("size")).zip(table.cells("field"))
    {
        assert_eq!(to_usize(number(offset)), bytes.len(), "{heading}: {field}");
        let value = if field == "zero" { 0 } else { *values.next().expect("a value for each field") };
        bytes.extend_from_slice(&value.to_le_bytes()[..to_usize(number(size))]);
    }
    assert_eq!(values.next(), None, "{heading}: a field is missing");
    bytes
}

fn head(bytes: [u8; 4]) -> u64 {
    u32::from_le_bytes(bytes).into()
}

pub fn child() -> ChildRef {
    let page = PageRef {
        segment: SegmentSeq(0x0102_0304_0506_0708),
        offset_granules: 0x1112_1314,
        bytes: 0x0f22,
        check: 0x3132_3334,
    };
    ChildRef { page, entries: 0x4142_4344_4546, is_patch: false }
}

#[test]
fn a_leaf_is_as_described() {
    let with_id = |bytes: u64| bytes | u64::from(NODE_HAS_ID);
    let front = 16 + 2 * 8;
    // The heap: the prefix, the cell of "user/ad", the cell of "user/adelaide".
    let mut bytes = laid_out("Node header", &[NODE_TAG.into(), 1, 0, 2, 5, front]);
    bytes.extend(laid_out("Node slot", &[front + 5, with_id(2), head(*b"ad\0\0")]));
    bytes.extend(laid_out("Node slot", &[front + 13, with_id(8), head(*b"adel")]));
    bytes.extend_from_slice(b"user/");
    bytes.extend_from_slice(&0x0203_u64.to_le_bytes());
    bytes.extend_from_slice(b"aide");
    bytes.extend_from_slice(&0x0405_u64.to_le_bytes());
    let view = NodeView::parse(&bytes).expect("a node");
    assert_eq!(view.check(), Ok(bytes.len() - to_usize(front)));
    assert_eq!((view.level(), view.count(), view.prefix()), (0, 2, &b"user/"[..]));
    let mut key = Vec::new();
    assert_eq!((view.read(0, &mut key), key.as_slice()), (Some(0x0203), &b"user/ad"[..]));
    assert_eq!((view.read(1, &mut key), key.as_slice()), (Some(0x0405), &b"user/adelaide"[..]));
    let entry = KeyEntry { key: b"user/adelaide", id: 0x0405 };
    assert_eq!((view.search(&entry, false), view.search(&entry, true)), (Some(1), Some(2)));
    bytes[1] = 2;
    assert!(NodeView::parse(&bytes).expect_err("another version").unsupported);
}

#[test]
fn an_inner_node_is_as_described() {
    let front = 16 + 2 * 8 + 2 * 24;
    let mut bytes = laid_out("Node header", &[NODE_TAG.into(), 1, 1, 2, 0, 0]);
    bytes.extend(laid_out("Node slot", &[front, 0, 0]));
    bytes.extend(laid_out("Node slot", &[front, 1, head(*b"m\0\0\0")]));
    let other = ChildRef { entries: 1, ..child() };
    child().encode(&mut bytes);
    other.encode(&mut bytes);
    let view = NodeView::parse(&bytes).expect("a node");
    assert_eq!((view.check(), view.level()), (Ok(0), 1));
    assert_eq!(view.children().expect("children").collect::<Vec<_>>(), [child(), other]);
}

#[test]
fn a_child_reference_is_as_described() {
    let mut bytes = Vec::new();
    child().encode(&mut bytes);
    let fields: [(&str, &[u8]); 5] = [
        ("segment", &child().page.segment.0.to_le_bytes()),
        ("offset_granules", &child().page.offset_granules.to_le_bytes()),
        ("check", &child().page.check.to_le_bytes()),
        ("bytes", &child().page.bytes.to_le_bytes()),
        ("entries", &child().entries.to_le_bytes()),
    ];
    check_layout("Child reference", &bytes, &fields);
}
