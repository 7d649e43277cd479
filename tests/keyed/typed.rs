//! The typed layer: people who work for companies, references between them, dangling references, typed indexes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tenure::backing::Memory;
use tenure::typed::{Id, IndexDefinition, SetDefinition, TypedIndex, TypedSet, Value};
use tenure::{Durability, Error, Options, RecordId, Result, Store};

#[derive(Debug, Clone, PartialEq)]
struct Company {
    name: String,
    parent: Option<Id<Company>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Person {
    name: String,
    born: u16,
    works_for: Id<Company>,
    friends: Vec<Id<Person>>,
}

/// Lines of text: enough for a test, and legible in a failure.
impl Value for Company {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let parent = self.parent.map(|id| id.to_string()).unwrap_or_default();
        out.extend_from_slice(format!("company\n{}\n{parent}", self.name).as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(Error::bad_value::<Self>)?;
        let ["company", name, parent] = text.split('\n').collect::<Vec<_>>()[..] else {
            return Err(Error::bad_value::<Self>("expected three lines"));
        };
        let parent = if parent.is_empty() { None } else { Some(parent.parse().map_err(Error::bad_value::<Self>)?) };
        Ok(Self { name: name.to_owned(), parent })
    }
}

impl Value for Person {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let friends: Vec<String> = self.friends.iter().map(ToString::to_string).collect();
        let text = format!("person\n{}\n{}\n{}\n{}", self.name, self.born, self.works_for, friends.join(" "));
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(Error::bad_value::<Self>)?;
        let ["person", name, born, works_for, friends] = text.split('\n').collect::<Vec<_>>()[..] else {
            return Err(Error::bad_value::<Self>("expected five lines"));
        };
        let friends: std::result::Result<Vec<_>, _> = friends.split_whitespace().map(str::parse).collect();
        Ok(Self {
            name: name.to_owned(),
            born: born.parse().map_err(Error::bad_value::<Self>)?,
            works_for: works_for.parse().map_err(Error::bad_value::<Self>)?,
            friends: friends.map_err(Error::bad_value::<Self>)?,
        })
    }
}

const COMPANIES: SetDefinition<Company> = SetDefinition::new("companies");
const PEOPLE: SetDefinition<Person> = SetDefinition::new("people");
const BY_NAME: IndexDefinition<Person, &str> = IndexDefinition::unique("name", 1, |person, put| put(&person.name));
const BY_AGE: IndexDefinition<Person, (u16, &str)> =
    IndexDefinition::new("born", 1, |person, put| put((person.born, &person.name)));
const BY_COMPANY: IndexDefinition<Person, Id<Company>> =
    IndexDefinition::new("company", 1, |person, put| put(person.works_for));
/// Sparse and of many keys.
const BY_FRIEND: IndexDefinition<Person, Id<Person>> =
    IndexDefinition::new("friend", 1, |person, put| person.friends.iter().for_each(|friend| put(*friend)));

struct World {
    store: Store,
    companies: TypedSet<Company>,
    people: TypedSet<Person>,
    by_name: TypedIndex<Person, &'static str>,
    by_age: TypedIndex<Person, (u16, &'static str)>,
    by_company: TypedIndex<Person, Id<Company>>,
    by_friend: TypedIndex<Person, Id<Person>>,
}

fn open(memory: &Memory) -> World {
    let options = Options::new().background(false).durability(Durability::Buffered);
    let store = options.open_backing(Arc::new(memory.clone())).unwrap();
    let (companies, people) = (store.typed_set(COMPANIES).unwrap(), store.typed_set(PEOPLE).unwrap());
    World {
        // One test has a record that is no person.
        by_name: store.typed_index(&people, BY_NAME.skip_unreadable()).unwrap(),
        by_age: store.typed_index(&people, BY_AGE.skip_unreadable()).unwrap(),
        by_company: store.typed_index(&people, BY_COMPANY.skip_unreadable()).unwrap(),
        by_friend: store.typed_index(&people, BY_FRIEND.skip_unreadable()).unwrap(),
        store,
        companies,
        people,
    }
}

/// A holding, two companies of it, and five people who know one another.
fn fill(world: &World) -> (Vec<Id<Company>>, Vec<Id<Person>>) {
    let (companies, people) = (&world.companies, &world.people);
    let filled = world.store.write(|tx| -> Result<_> {
        let company = |name: &str, parent| Company { name: name.to_owned(), parent };
        let holding = companies.insert(tx, &company("Holding", None))?;
        let engines = companies.insert(tx, &company("Engines", Some(holding)))?;
        let looms = companies.insert(tx, &company("Looms", Some(holding)))?;
        let mut found: Vec<Id<Person>> = Vec::new();
        let rows = [("Ada", 1815, engines), ("Charles", 1791, engines), ("Joseph", 1752, looms), ("Mary", 1780, looms)];
        for (name, born, works_for) in rows {
            let person = Person { name: name.to_owned(), born, works_for, friends: found.clone() };
            found.push(people.insert(tx, &person)?);
        }
        Ok((vec![holding, engines, looms], found))
    });
    filled.unwrap()
}

#[test]
fn references_are_walked_with_one_call_each() {
    let memory = Memory::new();
    let world = open(&memory);
    let (companies, people) = fill(&world);
    world.store.close().unwrap();
    // The graph is there after another opening, IDs and all.
    let world = open(&memory);
    let view = world.store.view();
    let mary = view.fetch(people[3]).unwrap();
    let looms = view.fetch(mary.works_for).unwrap();
    let holding = view.fetch(looms.parent.unwrap()).unwrap();
    assert_eq!((looms.name.as_str(), holding.name.as_str(), holding.parent), ("Looms", "Holding", None));
    let friends: Vec<String> = view.fetch_many(&mary.friends).into_iter().map(|friend| friend.unwrap().name).collect();
    assert_eq!(friends, ["Ada", "Charles", "Joseph"]);
    let all: BTreeMap<Id<Person>, Person> = world.people.scan(&view).map(Result::unwrap).collect();
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), people);
    assert_eq!((world.people.len(&view), world.companies.len(&view)), (4, 3));
    assert_eq!(world.store.fetch(companies[0]).unwrap(), holding);
}

#[test]
fn a_stale_reference_is_answered_with_deleted_and_never_with_another_record() {
    let world = open(&Memory::new());
    let (companies, people) = fill(&world);
    let before = world.store.view();
    world.store.write(|tx| world.companies.delete(tx, companies[1])).unwrap();
    // A slot is used again when the commit that freed it is durable.
    world.store.sync().unwrap();
    let ada = world.store.fetch(people[0]).unwrap();
    let is_deleted =
        |result: Result<Company>| matches!(result, Err(Error::Deleted { id }) if id == companies[1].into());
    assert!(is_deleted(world.store.fetch(ada.works_for)));
    assert_eq!(before.fetch(ada.works_for).unwrap().name, "Engines", "an older view has it still");
    // The slot gets new records, of the same type and in large numbers.
    let company = Company { name: "Newer".into(), parent: None };
    let mut slots = HashSet::new();
    for _ in 0..600 {
        let id = world.store.write(|tx| world.companies.insert(tx, &company)).unwrap();
        slots.insert(id.record_id().slot());
        assert_ne!(id, companies[1]);
    }
    assert!(slots.contains(&companies[1].record_id().slot()), "the slot was used again");
    let view = world.store.view();
    assert!(is_deleted(view.fetch(ada.works_for)));
    let many = view.fetch_many(&[companies[0], companies[1], companies[2]]);
    let names: Vec<Option<String>> = many.into_iter().map(|one| one.ok().map(|company| company.name)).collect();
    assert_eq!(names, [Some("Holding".to_owned()), None, Some("Looms".to_owned())]);
    let mut tx = world.store.begin().unwrap();
    assert!(is_deleted(tx.fetch(ada.works_for)));
}

/// The friends of each person.
fn friends(world: &World, people: &[Id<Person>]) -> Vec<Vec<Id<Person>>> {
    let view = world.store.view();
    people.iter().map(|id| view.fetch(*id).unwrap().friends).collect()
}

#[test]
fn indexes_are_asked_with_typed_keys() {
    let world = open(&Memory::new());
    let (companies, people) = fill(&world);
    let view = world.store.view();
    let name = String::from("Ada");
    assert_eq!(world.by_name.get(&view, &name).unwrap(), Some(people[0]), "a key that lives for a moment");
    assert_eq!(world.by_name.get(&view, "Bob").unwrap(), None);
    let (id, joseph) = world.by_name.fetch(&view, "Joseph").unwrap().unwrap();
    assert_eq!((id, joseph.born), (people[2], 1752));
    let names = |records: &mut dyn Iterator<Item = Result<Id<Person>>>| -> Vec<String> {
        records.map(|id| view.fetch(id.unwrap()).unwrap().name).collect()
    };
    assert_eq!(names(&mut world.by_name.range(&view, "B".."M").unwrap()), ["Charles", "Joseph"]);
    assert_eq!(names(&mut world.by_age.range(&view, (1780, "")..).unwrap()), ["Mary", "Charles", "Ada"]);
    assert_eq!(names(&mut world.by_age.prefix(&view, &1791_u16).unwrap()), ["Charles"]);
    let back: Vec<Id<Person>> = world.by_age.range(&view, ..).unwrap().rev().map(Result::unwrap).collect();
    assert_eq!(back, [people[0], people[1], people[3], people[2]]);
    // Backwards along references: employees of a company, people with a given friend.
    assert_eq!(names(&mut world.by_company.find(&view, companies[2]).unwrap()), ["Joseph", "Mary"]);
    assert_eq!(world.by_company.find(&view, companies[0]).unwrap().left(), 0);
    assert_eq!(names(&mut world.by_friend.find(&view, people[0]).unwrap()), ["Charles", "Joseph", "Mary"]);
    assert_eq!(world.by_friend.index().len(&view).unwrap(), 6);
    // Ends, counts, each key once, and going on at another key.
    assert_eq!(world.by_age.first(&view).unwrap(), Some(people[2]), "Joseph is the oldest");
    assert_eq!(world.by_age.last(&view).unwrap(), Some(people[0]));
    assert_eq!(world.by_age.count(&view, (1780, "")..(1800, "")).unwrap(), 2);
    let befriended = world.by_friend.all(&view).unwrap();
    assert_eq!(befriended.left(), 6);
    let values: Vec<Id<Person>> =
        world.by_name.all(&view).unwrap().values(&view).map(|found| found.unwrap().0).collect();
    assert_eq!(values, [people[0], people[1], people[2], people[3]]);
    let one_each = befriended.distinct_keys().map(Result::unwrap).count();
    assert_eq!(one_each, friends(&world, &people).into_iter().flatten().collect::<HashSet<_>>().len());
    let mut by_age = world.by_age.all(&view).unwrap();
    assert_eq!(by_age.next().unwrap().unwrap(), people[2]);
    by_age.seek((1791, "B")).unwrap();
    by_age.seek_back((1800, "")).unwrap();
    assert_eq!(by_age.left(), 1);
    assert_eq!(names(&mut by_age), ["Charles"]);
}

#[test]
fn a_transaction_sees_its_own_values_also_through_indexes() {
    let world = open(&Memory::new());
    let (companies, people) = fill(&world);
    let mut tx = world.store.begin().unwrap();
    let mut ada = tx.fetch(people[0]).unwrap();
    ada.works_for = companies[2];
    world.people.update(&mut tx, people[0], &ada).unwrap();
    world.people.delete(&mut tx, people[3]).unwrap();
    assert_eq!(world.by_name.get_in(&mut tx, "Mary").unwrap(), None);
    let there = world.by_company.range_in(&mut tx, companies[2]..=companies[2]).unwrap();
    assert_eq!(there.map(Result::unwrap).collect::<Vec<_>>(), [people[0], people[2]]);
    let mut all = world.by_age.range_in(&mut tx, ..).unwrap();
    assert_eq!(all.next_back().unwrap().unwrap(), people[0], "from the back");
    assert_eq!(all.map(Result::unwrap).collect::<Vec<_>>(), [people[2], people[1]]);
    let found = tx.fetch_many(&people);
    assert!(found[0].as_ref().is_ok_and(|found| *found == ada) && matches!(found[3], Err(Error::Deleted { .. })));
    let twin = Person { name: "Ada".to_owned(), ..ada.clone() };
    let refused = world.people.insert(&mut tx, &twin);
    assert!(matches!(refused, Err(Error::UniqueViolation { id, .. }) if id == people[0].into()), "{refused:?}");
    drop(tx);
    assert_eq!(world.store.fetch(people[0]).unwrap().works_for, companies[1], "nothing of it remains");
}

#[test]
fn what_is_no_such_value_is_an_error_and_has_no_keys() {
    let world = open(&Memory::new());
    let (companies, people) = fill(&world);
    let set = world.people.record_set();
    let odd = world.store.write(|tx| tx.insert(set, "neither nor")).unwrap();
    let view = world.store.view();
    assert!(matches!(view.fetch(Id::<Person>::from(odd)), Err(Error::BadValue { .. })));
    assert_eq!((world.people.len(&view), world.by_name.index().len(&view).unwrap()), (5, 4));
    let whole = world.people.scan(&view).flatten().count();
    assert_eq!((whole, world.people.scan(&view).count()), (4, 5), "a scan goes on behind it");
    // An untyped ID becomes a typed one if the record is in the set.
    assert_eq!(world.people.id(&view, people[1].record_id()).unwrap(), people[1]);
    let company: RecordId = companies[0].into();
    assert!(matches!(world.people.id(&view, company), Err(Error::WrongSet { .. })));
    // It can be mended, and then it has keys.
    let bob = Person { name: "Bob".to_owned(), born: 1900, works_for: companies[0], friends: vec![] };
    world.store.write(|tx| world.people.update(tx, odd.into(), &bob)).unwrap();
    assert_eq!(world.by_name.get(&world.store.view(), "Bob").unwrap(), Some(odd.into()));
}

#[test]
fn another_version_of_the_keys_makes_the_index_anew() {
    const BY_LOWER: IndexDefinition<Person, String> =
        IndexDefinition::unique("name", 2, |person, put| put(person.name.to_lowercase()));
    let memory = Memory::new();
    let world = open(&memory);
    let (_, people) = fill(&world);
    let by_lower = world.store.typed_index(&world.people, BY_LOWER).unwrap();
    let view = world.store.view();
    assert_eq!(by_lower.get(&view, "mary".to_owned()).unwrap(), Some(people[3]));
    // The handle of the older one continues with its replacement.
    assert_eq!(world.by_name.get(&view, "mary").unwrap(), Some(people[3]));
    assert_eq!(world.by_name.get(&view, "Mary").unwrap(), None);
}

#[test]
fn ids_of_different_types_are_what_their_record_ids_are() {
    let raw: RecordId = "7.2".parse().unwrap();
    let (a, b) = (Id::<Person>::from(raw), "7.3".parse::<Id<Person>>().unwrap());
    assert!(a < b && a == Id::from(raw) && HashSet::from([a, b, a]).len() == 2);
    assert_eq!((a.to_string(), format!("{a:?}"), a.record_id()), ("7.2".to_owned(), "Id(7.2)".to_owned(), raw));
    assert!("7".parse::<Id<Person>>().is_err());
    assert_eq!(size_of::<Option<Id<Person>>>(), 8);
}

#[cfg(feature = "json")]
mod json {
    use serde::{Deserialize, Serialize};
    use tenure::typed::Json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Part {
        name: String,
        #[serde(default)]
        needs: Vec<Id<Json<Part>>>,
    }

    const PARTS: SetDefinition<Json<Part>> = SetDefinition::new("parts");
    const BY_NEED: IndexDefinition<Json<Part>, Id<Json<Part>>> =
        IndexDefinition::new("needs", 1, |part, put| part.needs.iter().for_each(|need| put(*need)));

    #[test]
    fn values_that_serde_knows_are_records() {
        let store = Store::in_memory().unwrap();
        let parts = store.typed_set(PARTS).unwrap();
        let by_need = store.typed_index(&parts, BY_NEED).unwrap();
        let part = |name: &str, needs| Json(Part { name: name.to_owned(), needs });
        let (wheel, engine) = store
            .write(|tx| -> Result<_> {
                let wheel = parts.insert(tx, &part("wheel", vec![]))?;
                Ok((wheel, parts.insert(tx, &part("engine", vec![wheel]))?))
            })
            .unwrap();
        let view = store.view();
        assert_eq!(view.fetch(view.fetch(engine).unwrap().needs[0]).unwrap().name, "wheel");
        let who: Vec<_> = by_need.find(&view, wheel).unwrap().map(Result::unwrap).collect();
        assert_eq!(who, [engine]);
        let text = format!(r#"{{"name":"engine","needs":["{wheel}"]}}"#);
        assert_eq!(view.get(engine.into()).unwrap().as_slice(), Some(text.as_bytes()), "IDs are text in JSON");
        // A field that a record lacks.
        let bare = store.write(|tx| tx.insert(parts.record_set(), r#"{"name":"bare"}"#)).unwrap();
        assert_eq!(store.fetch(Id::<Json<Part>>::from(bare)).unwrap().into_inner(), part("bare", vec![]).0);
        // A record of which its index could not tell the keys is not written. Without the index it is, and is no such value.
        let wrong = r#"{"name":"bare","needs":["1"]}"#;
        let refused = store.write(|tx| tx.insert(parts.record_set(), wrong)).unwrap_err();
        assert!(matches!(&refused, Error::KeysUnknown { why, .. } if why.contains("not a record ID")), "{refused}");
        store.drop_index(by_need.index()).unwrap();
        let wrong = store.write(|tx| tx.insert(parts.record_set(), wrong)).unwrap();
        let error = store.fetch(Id::<Json<Part>>::from(wrong)).unwrap_err();
        assert!(matches!(&error, Error::BadValue { why, .. } if why.contains("not a record ID")), "{error}");
    }

    #[test]
    fn ids_are_read_as_text_and_as_numbers() {
        type Numbers = serde::de::value::U64Deserializer<serde::de::value::Error>;
        let number = |raw: u64| -> std::result::Result<Id<Person>, _> {
            let from: Numbers = serde::de::IntoDeserializer::into_deserializer(raw);
            Id::deserialize(from)
        };
        let id: Id<Person> = "7.2".parse().unwrap();
        assert_eq!(number(id.record_id().as_u64()).unwrap(), id);
        assert!(number(0).is_err(), "no ID");
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""7.2""#);
        assert_eq!(serde_json::from_str::<Id<Person>>(r#""7.2""#).unwrap(), id);
        assert!(serde_json::from_str::<Id<Person>>("7.2").is_err());
    }
}
