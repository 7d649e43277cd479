//! Versioned values: older ones are read as the newest version, and rewritten concurrently with readers and writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};
use tenure::backing::FaultBacking;
use tenure::typed::{
    Id, IndexDefinition, Json, Migrate, NoOlder, SetDefinition, TypedSet, Value, Versioned, VersionedJson,
};
use tenure::{Durability, Error, Options, RecordId, Result, Store};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct First {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Second {
    name: String,
    visits: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Third {
    given: String,
    family: String,
    visits: u64,
}

impl Migrate for First {
    const VERSION: u32 = 1;
    type Older = NoOlder;

    fn migrate(older: NoOlder) -> Result<Self> {
        match older {}
    }
}

impl Migrate for Second {
    const VERSION: u32 = 2;
    type Older = First;

    fn migrate(First { name }: First) -> Result<Self> {
        Ok(Self { name, visits: 0 })
    }
}

/// A version was left out.
impl Migrate for Third {
    const VERSION: u32 = 4;
    type Older = Second;

    fn migrate(Second { name, visits }: Second) -> Result<Self> {
        let parts = name.rsplit_once(' ').ok_or_else(|| Error::bad_value::<Self>(format!("{name:?} is one word")))?;
        Ok(Self { given: parts.0.to_owned(), family: parts.1.to_owned(), visits })
    }
}

const PLAIN: SetDefinition<Json<First>> = SetDefinition::new("people");
const SECOND: SetDefinition<VersionedJson<Second>> = SetDefinition::new("people");
const PEOPLE: SetDefinition<VersionedJson<Third>> = SetDefinition::new("people");
const BY_FAMILY: IndexDefinition<VersionedJson<Third>, (&str, &str)> =
    IndexDefinition::unique("family", 1, |person, put| put((&person.family, &person.given)));

fn third(given: &str, family: &str, visits: u64) -> VersionedJson<Third> {
    VersionedJson(Third { given: given.to_owned(), family: family.to_owned(), visits })
}

/// One record of each version, in a set of the newest.
fn three(store: &Store) -> (TypedSet<VersionedJson<Third>>, [Id<VersionedJson<Third>>; 3]) {
    let (plain, second) = (store.typed_set(PLAIN).unwrap(), store.typed_set(SECOND).unwrap());
    let people = store.typed_set(PEOPLE).unwrap();
    let ids = store.write(|tx| -> Result<_> {
        let ada = plain.insert(tx, &Json(First { name: "Ada Lovelace".to_owned() }))?;
        let mary = second.insert(tx, &VersionedJson(Second { name: "Mary Somerville".to_owned(), visits: 7 }))?;
        let joseph = people.insert(tx, &third("Joseph", "Clement", 9))?;
        Ok([RecordId::from(ada), mary.into(), joseph.into()])
    });
    (people, ids.unwrap().map(Id::from))
}

#[test]
fn a_record_of_any_version_is_read_as_the_newest_and_keys_are_those_of_the_newest() {
    let store = Store::in_memory().unwrap();
    let (people, ids) = three(&store);
    let view = store.view();
    let expected = [third("Ada", "Lovelace", 0), third("Mary", "Somerville", 7), third("Joseph", "Clement", 9)];
    assert_eq!(ids.map(|id| view.fetch(id).unwrap()), expected);
    let text = |id: Id<_>| String::from_utf8(store.get(RecordId::from(id)).unwrap().to_vec().unwrap()).unwrap();
    assert_eq!(text(ids[0]), r#"{"name":"Ada Lovelace"}"#, "the first version says nothing of it");
    assert_eq!(text(ids[1]), r#"{"_version":2,"name":"Mary Somerville","visits":7}"#);
    let by_family = store.typed_index(&people, BY_FAMILY).unwrap();
    assert_eq!(by_family.get(&store.view(), ("Lovelace", "Ada")).unwrap(), Some(ids[0]));
    let twice = store.write(|tx| people.insert(tx, &third("Ada", "Lovelace", 1)));
    assert!(matches!(twice, Err(Error::UniqueViolation { .. })), "{twice:?}");
    // After the rewrite nothing is left to do.
    let migrated = store.migrate_set(&people).unwrap();
    assert_eq!((migrated.records, migrated.rewritten, migrated.next), (3, 2, None));
    assert_eq!(store.migrate_set(&people).unwrap().rewritten, 0);
    assert_eq!(text(ids[0]), r#"{"_version":4,"given":"Ada","family":"Lovelace","visits":0}"#);
    assert_eq!(ids.map(|id| store.fetch(id).unwrap()), expected);
    assert_eq!(store.verify_index(by_family.index()).unwrap(), [""; 0]);
}

#[test]
fn versions_that_do_not_lead_to_the_newest_are_errors() {
    let store = Store::in_memory().unwrap();
    let people = store.typed_set(PEOPLE).unwrap();
    let set = people.record_set();
    let read = |text: &str| -> Result<Third> {
        let id = store.write(|tx| tx.insert(set, text))?;
        store.fetch(Id::<VersionedJson<Third>>::from(id)).map(VersionedJson::into_inner)
    };
    let expected = third("Ada", "King", 3).into_inner();
    assert_eq!(read(r#"{"_version":4,"given":"Ada","family":"King","visits":3}"#).unwrap(), expected);
    assert_eq!(
        read(r#" { "given":"Ada", "family":"King", "visits":3, "_version": 4 }"#).unwrap(),
        expected,
        "elsewhere"
    );
    for (text, why) in [
        (r#"{"_version":5,"given":"Ada","family":"King","visits":3}"#, "version 5"),
        (r#"{"_version":3,"name":"Ada King"}"#, "version 3"),
        (r#"{"_version":0,"name":"Ada King"}"#, "version 0"),
        (r#"{"_version":"4","name":"Ada King"}"#, "invalid type"),
        (r#"{"_version":-1,"name":"Ada King"}"#, "-1"),
        (r#"{"_version":99999999999,"name":"Ada King"}"#, "99999999999"),
        (r#"{"_version":4,"given":"Ada","family":"King","visits":3,"more":1}"#, "more"),
        (r#"{"name":"Ada"}"#, "one word"),
        ("[1]", "invalid type"),
        ("", "EOF"),
    ] {
        let error = read(text).unwrap_err();
        assert!(matches!(&error, Error::BadValue { .. }) && error.to_string().contains(why), "{text}: {error}");
    }
    // A record that cannot be migrated is named, and the batches before it are done.
    let error = store.migrate_set(&people).unwrap_err();
    assert!(matches!(&error, Error::BadValue { why, .. } if why.contains("record ")), "{error}");
}

/// The second version of a number: the first had four bytes.
#[derive(Debug, PartialEq)]
struct Narrow(u32);
#[derive(Debug, PartialEq)]
struct Wide(u64);

impl Value for Narrow {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.0.to_le_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(u32::from_le_bytes).map(Self).map_err(Error::bad_value::<Self>)
    }
}

impl Value for Wide {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.0.to_le_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(u64::from_le_bytes).map(Self).map_err(Error::bad_value::<Self>)
    }
}

impl Migrate for Narrow {
    const VERSION: u32 = 1;
    type Older = NoOlder;

    fn migrate(older: NoOlder) -> Result<Self> {
        match older {}
    }
}

impl Migrate for Wide {
    const VERSION: u32 = 2;
    type Older = Narrow;

    fn migrate(Narrow(number): Narrow) -> Result<Self> {
        Ok(Self(number.into()))
    }
}

const NARROW: SetDefinition<Versioned<Narrow>> = SetDefinition::new("numbers");
const WIDE: SetDefinition<Versioned<Wide>> = SetDefinition::new("numbers");
const BY_NUMBER: IndexDefinition<Versioned<Wide>, u64> = IndexDefinition::new("number", 1, |wide, put| put(wide.0.0));

/// More than one batch of numbers of the first version.
fn numbers(store: &Store, count: u32) -> Vec<Id<Versioned<Wide>>> {
    let narrow = store.typed_set(NARROW).unwrap();
    let all: Vec<_> = (0..count).map(|number| Versioned(Narrow(number))).collect();
    let ids = store.write(|tx| narrow.insert_many(tx, &all)).unwrap();
    ids.into_iter().map(|id| Id::from(RecordId::from(id))).collect()
}

#[test]
fn a_migration_that_was_killed_goes_on_with_what_is_left() {
    const COUNT: u32 = 2000;
    let disk = FaultBacking::new();
    let options = Options::new().background(false).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(disk.clone())).unwrap();
    let ids = numbers(&store, COUNT);
    let wide = store.typed_set(WIDE).unwrap();
    let by_number = store.typed_index(&wide, BY_NUMBER).unwrap();
    let index_bytes = store.stats().index_log_bytes_appended;
    let mut next = None;
    for batch in 0..2 {
        let done = store.migrate_batch(&wide, next).unwrap();
        assert_eq!((done.records, done.rewritten), (512, 512), "batch {batch}");
        next = done.next;
    }
    assert_eq!(store.stats().index_log_bytes_appended, index_bytes, "no key has changed");
    drop(by_number);
    for seed in 0..4 {
        let image = if seed == 0 { disk.kill_image() } else { disk.crash_image(seed) };
        let store = options.open_backing(Arc::new(image)).unwrap();
        let wide = store.typed_set(WIDE).unwrap();
        let by_number = store.typed_index(&wide, BY_NUMBER).unwrap();
        let before = store.view();
        let there = u32::try_from(wide.len(&before)).unwrap();
        let done = store.migrate_set(&wide).unwrap();
        assert_eq!(done.records, u64::from(there));
        if seed == 0 {
            assert_eq!((there, done.rewritten), (COUNT, u64::from(COUNT) - 1024), "what was rewritten is passed over");
        }
        for (id, number) in ids.iter().zip(0..there) {
            assert_eq!((before.fetch(*id).unwrap().0.0, store.fetch(*id).unwrap().0.0), (number.into(), number.into()));
            assert!(Versioned::<Wide>::is_current(&store.get(RecordId::from(*id)).unwrap().to_vec().unwrap()));
        }
        assert_eq!(store.migrate_set(&wide).unwrap().rewritten, 0);
        assert_eq!(store.verify_index(by_number.index()).unwrap(), [""; 0]);
    }
}

#[test]
fn a_migration_beside_readers_and_writers_loses_none_of_their_changes() {
    const COUNT: u32 = 4000;
    let store = Store::in_memory().unwrap();
    let ids = numbers(&store, COUNT);
    let wide = store.typed_set(WIDE).unwrap();
    let (stop, added, read) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let rewritten = thread::scope(|scope| {
        for writer in 0..2_usize {
            let (store, wide, ids, stop, added) = (&store, &wide, &ids, &stop, &added);
            scope.spawn(move || {
                for round in 0.. {
                    // The first half: the rest is left to the migration, however late it begins.
                    let id = ids[(round * 7919 + writer * 31) % (ids.len() / 2)];
                    store
                        .write(|tx| {
                            let number = tx.fetch(id)?.0.0;
                            wide.update(tx, id, &Versioned(Wide(number + 1_000_000)))
                        })
                        .unwrap();
                    added.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) && round > 100 {
                        break;
                    }
                }
            });
        }
        let (store_, ids_, stop_, read_) = (&store, &ids, &stop, &read);
        scope.spawn(move || {
            for round in 0_usize.. {
                let (at, view) = ((round * 104_729) % ids_.len(), store_.view());
                let number = view.fetch(ids_[at]).unwrap().0.0;
                assert_eq!(number % 1_000_000, at as u64);
                read_.fetch_add(1, Ordering::Relaxed);
                if stop_.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let done = store.migrate_set(&wide).unwrap();
        stop.store(true, Ordering::Relaxed);
        done.rewritten
    });
    assert!(rewritten >= u64::from(COUNT / 2) && rewritten <= COUNT.into() && read.load(Ordering::Relaxed) > 0);
    let view = store.view();
    let sum: u64 = ids.iter().map(|id| view.fetch(*id).unwrap().0.0 / 1_000_000).sum();
    assert_eq!(sum, added.load(Ordering::Relaxed), "every change of a writer is there");
    assert_eq!(store.migrate_set(&wide).unwrap().rewritten, 0);
}
