//! The key type is part of an index's definition.

use std::sync::Arc;

use tenure::backing::Memory;
use tenure::extract::Extractor;
use tenure::typed::{IndexDefinition, IndexKey};
use tenure::{Error, Options};

use crate::upgrades::people::{OLD_NAME, PEOPLE, Person, person};

const BY_LENGTH: IndexDefinition<Person, u64> =
    IndexDefinition::new("key", 1, |person, put| put(person.name.len() as u64));
const BY_NAME: IndexDefinition<Person, &str> = IndexDefinition::new("key", 1, |person, put| put(&person.name));
const BY_NAME_LATER: IndexDefinition<Person, &str> = IndexDefinition::new("key", 2, |person, put| put(&person.name));
/// Another type in Rust with the same keys.
const BY_SHORT_LENGTH: IndexDefinition<Person, u8> =
    IndexDefinition::new("key", 1, |person, put| put(u8::try_from(person.name.len()).unwrap_or(u8::MAX)));

#[test]
fn an_index_with_keys_of_another_type_is_not_opened() {
    let backing = Arc::new(Memory::new());
    let open = || Options::new().open_backing(backing.clone()).unwrap();
    let store = open();
    let people = store.typed_set(PEOPLE).unwrap();
    let by_length = store.typed_index(&people, BY_LENGTH).unwrap();
    let ada = store.write(|tx| people.insert(tx, &person("Ada"))).unwrap();
    let is_refused = |error: &Error| {
        matches!(error, Error::WrongKeyType { index, expected, got }
            if (index.as_str(), expected.as_str(), got.as_str()) == ("key", "string", "integer"))
    };
    let refused = store.typed_index(&people, BY_NAME).unwrap_err();
    assert!(is_refused(&refused), "{refused}");
    assert_eq!(by_length.get(&store.view(), 3).unwrap(), Some(ada));
    store.close().unwrap();

    // The same from a snapshot, and from the log after it.
    let store = open();
    let people = store.typed_set(PEOPLE).unwrap();
    let refused = store.typed_index(&people, BY_NAME).unwrap_err();
    assert!(is_refused(&refused), "{refused}");
    // Integers of any width are written alike.
    let by_length = store.typed_index(&people, BY_SHORT_LENGTH).unwrap();
    assert_eq!(by_length.get(&store.view(), 3).unwrap(), Some(ada));
    assert_eq!(store.verify_index(by_length.index()).unwrap(), Vec::<String>::new());
    // A new version may have another type.
    let by_name = store.typed_index(&people, BY_NAME_LATER).unwrap();
    assert_eq!(by_name.get(&store.view(), "Ada").unwrap(), Some(ada));
}

#[test]
fn a_lines_type_is_that_of_its_keys() {
    let store = tenure::Store::in_memory().unwrap();
    let people = store.typed_set(PEOPLE).unwrap();
    let untyped = Extractor::new("name", 1, |record, keys| keys.push(String::from_utf8_lossy(record).as_ref()));
    store.unique_index(people.record_set(), "name", untyped.clone()).unwrap();
    // It was created without a declared type, so none can be checked.
    store.typed_index(&people, OLD_NAME).unwrap();
    let told = untyped.with_key_type("integer");
    assert_eq!(told.key_type(), "integer");
    let store = tenure::Store::in_memory().unwrap();
    let people = store.typed_set(PEOPLE).unwrap();
    store.unique_index(people.record_set(), "name", told).unwrap();
    assert!(matches!(store.typed_index(&people, OLD_NAME).unwrap_err(), Error::WrongKeyType { .. }));
}

#[test]
fn types_are_named_by_what_is_written() {
    assert_eq!(<(u8, &str)>::key_type(), "(integer, string)");
    assert_eq!(Option::<String>::key_type(), "optional string");
    assert_eq!(tenure::key::Desc::<i64>::key_type(), "descending integer");
}
