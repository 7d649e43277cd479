//! Typed sets and indexes in a transaction, and views that do not belong to a range.

use std::io::Read;

use serde::{Deserialize, Serialize};
use tenure::typed::{Id, IndexDefinition, Json, SetDefinition, TypedIndex, TypedSet};
use tenure::{Error, Result, Store, Upserted};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Asset {
    tag: String,
    rooms: u32,
    part_of: Option<Id<Json<Asset>>>,
}

const ASSETS: SetDefinition<Json<Asset>> = SetDefinition::new("assets");
const RETIRED: SetDefinition<Json<Asset>> = SetDefinition::new("retired");
const BY_TAG: IndexDefinition<Json<Asset>, &str> = IndexDefinition::unique("tag", 1, |asset, put| put(&asset.tag));
const BY_ROOMS: IndexDefinition<Json<Asset>, u32> = IndexDefinition::new("rooms", 1, |asset, put| put(asset.rooms));
const BY_PART: IndexDefinition<Json<Asset>, Id<Json<Asset>>> = IndexDefinition::from_line("part", "json:/part_of:id");

fn asset(tag: &str, rooms: u32) -> Json<Asset> {
    Json(Asset { tag: tag.to_owned(), rooms, part_of: None })
}

type Made = (Store, TypedSet<Json<Asset>>, TypedIndex<Json<Asset>, &'static str>, TypedIndex<Json<Asset>, u32>);

fn made() -> Made {
    let store = Store::in_memory().unwrap();
    let assets = store.typed_set(ASSETS).unwrap();
    let by_tag = store.typed_index(&assets, BY_TAG).unwrap();
    let by_rooms = store.typed_index(&assets, BY_ROOMS).unwrap();
    (store, assets, by_tag, by_rooms)
}

#[test]
fn the_values_of_a_range_come_from_the_view_that_it_was_taken_of() {
    let (store, assets, _, by_rooms) = made();
    let ids = store.write(|tx| assets.insert_many(tx, &[asset("a", 1), asset("b", 1)])).unwrap();
    let before = store.view();
    store.write(|tx| assets.update(tx, ids[0], &asset("a", 9))).unwrap();
    let mut mixed = by_rooms.find(&before, 1).unwrap().values(&store.view()).collect::<Vec<_>>();
    assert!(matches!(mixed.pop(), Some(Err(Error::OtherView { .. }))) && mixed.is_empty(), "{mixed:?}");
    let other = Store::in_memory().unwrap();
    let foreign = by_rooms.find(&before, 1).unwrap().values(&other.view()).next();
    assert!(matches!(foreign, Some(Err(Error::OtherStore { .. }))), "{foreign:?}");
    let rooms = |(_, asset): (_, Json<Asset>)| asset.rooms;
    let same = before.clone();
    let right = by_rooms.find(&before, 1).unwrap().values(&same).map(|found| found.map(rooms));
    assert_eq!(right.collect::<Result<Vec<_>>>().unwrap(), [1, 1]);
}

#[test]
fn a_line_of_text_gives_ids_as_keys() {
    let (store, assets, ..) = made();
    let by_part = store.typed_index(&assets, BY_PART).unwrap();
    let (whole, part) = store
        .write(|tx| -> Result<_> {
            let whole = assets.insert(tx, &asset("desk", 1))?;
            let part = Json(Asset { part_of: Some(whole), ..asset("drawer", 1).0 });
            Ok((whole, assets.insert(tx, &part)?))
        })
        .unwrap();
    assert_eq!(by_part.get(&store.view(), whole).unwrap(), Some(part));
    assert_eq!(by_part.get(&store.view(), part).unwrap(), None);
}

#[test]
fn scans_and_counts_see_what_the_transaction_wrote() {
    let (store, assets, by_tag, by_rooms) = made();
    let ids = store.write(|tx| assets.insert_many(tx, &[asset("a", 1), asset("b", 2), asset("c", 3)])).unwrap();
    store
        .write(|tx| -> Result<_> {
            assets.delete(tx, ids[0])?;
            let new = assets.insert(tx, &asset("d", 4))?;
            let scan = assets.scan_in(tx)?;
            for found in &scan {
                let (id, _) = found?;
                assets.update_with(tx, id, |asset| asset.rooms *= 10)?;
            }
            let walked: Vec<_> = scan.iter().map(|found| found.map(|(id, asset)| (id, asset.rooms))).collect();
            assert_eq!(walked.into_iter().collect::<Result<Vec<_>>>()?, [(ids[1], 2), (ids[2], 3), (new, 4)]);
            let from = assets.scan_range_in(tx, ids[2]..)?;
            let rooms = from.iter().map(|found| found.map(|(_, asset)| asset.rooms));
            assert_eq!(rooms.collect::<Result<Vec<_>>>()?, [30, 40]);
            assert_eq!((assets.len_in(tx)?, assets.is_empty_in(tx)?), (3, false));
            assert_eq!(by_rooms.all_in(tx)?.collect::<Result<Vec<_>>>()?, [ids[1], ids[2], new]);
            assert_eq!(by_rooms.delete_range(tx, 25..)?, 2);
            assert_eq!(by_tag.all_in(tx)?.count(), 1);
            Ok(())
        })
        .unwrap();
    let view = store.view();
    assert_eq!((assets.len(&view), view.fetch(ids[1]).unwrap()), (1, asset("b", 20)));
}

#[test]
fn a_typed_scan_conflicts_with_an_insert_beside_it() {
    let (store, assets, ..) = made();
    for count_only in [false, true] {
        let mut tx = store.begin().unwrap();
        let seen = if count_only {
            assets.len_in(&mut tx)
        } else {
            Ok(assets.scan_in(&mut tx).unwrap().iter().count() as u64)
        };
        let tag = format!("mine {}", seen.unwrap());
        assets.insert(&mut tx, &asset(&tag, 1)).unwrap();
        store.write(|tx| assets.insert(tx, &asset(&format!("theirs {count_only}"), 1))).unwrap();
        assert!(matches!(tx.commit(), Err(Error::Conflict(_))));
    }
}

#[test]
fn upserts_go_by_the_key_of_a_unique_index_of_the_set() {
    let (store, assets, by_tag, by_rooms) = made();
    let new = store.write(|tx| assets.upsert(tx, &by_tag, &asset("a", 1))).unwrap();
    assert!(matches!(new, Upserted::Inserted(_)));
    let id = new.id();
    let again = store.write(|tx| assets.upsert(tx, &by_tag, &asset("a", 2))).unwrap();
    assert_eq!((again, store.fetch(id).unwrap().rooms), (Upserted::Existing(id), 2));
    let got = store.write(|tx| assets.insert_or_get(tx, &by_tag, &asset("a", 3))).unwrap();
    assert_eq!((got, store.fetch(id).unwrap().rooms), (Upserted::Existing(id), 2));
    assert!(matches!(store.write(|tx| assets.upsert(tx, &by_rooms, &asset("b", 1))), Err(Error::NotUnique { .. })));
    let retired = store.typed_set(RETIRED).unwrap();
    for refused in [
        store.write(|tx| retired.upsert(tx, &by_tag, &asset("b", 1))),
        store.write(|tx| retired.insert_or_get(tx, &by_tag, &asset("b", 1))),
    ] {
        assert!(matches!(refused, Err(Error::NoSuchIndex { .. })), "{refused:?}");
    }
    let other = made();
    let foreign = store.write(|tx| assets.upsert(tx, &other.2, &asset("b", 1)));
    assert!(matches!(foreign, Err(Error::OtherStore { .. })), "{foreign:?}");
    assert_eq!((assets.len(&store.view()), retired.len(&store.view())), (1, 0));
}

const PHOTOS: SetDefinition<Vec<u8>> = SetDefinition::new("photos");

#[test]
fn staged_values_become_records_of_a_typed_set() {
    let (store, assets, ..) = made();
    let photos = store.typed_set(PHOTOS).unwrap();
    let small = photos.stage(&store, &b"small"[..]).unwrap();
    let photo = store.write(|tx| photos.insert_staged(tx, &small)).unwrap();
    assert_eq!(store.fetch(photo).unwrap(), b"small");
    let large = photos.stage(&store, std::io::repeat(7).take(200_000)).unwrap();
    let desk = store.write(|tx| assets.insert(tx, &asset("desk", 1))).unwrap();
    let wrong = Id::from(desk.record_id());
    assert!(matches!(store.write(|tx| photos.update_staged(tx, wrong, &large)), Err(Error::WrongSet { .. })));
    store.write(|tx| photos.update_staged(tx, photo, &large)).unwrap();
    assert_eq!(store.fetch(photo).unwrap(), vec![7; 200_000]);
    assert_eq!(store.fetch(desk).unwrap(), asset("desk", 1));
}
