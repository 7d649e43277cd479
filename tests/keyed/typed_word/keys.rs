//! Reading keys back, and queries of typed indexes in transactions.

use std::time::SystemTime;

use tenure::key::{Desc, Timestamp};
use tenure::typed::{Id, IndexDefinition, SetDefinition};
use tenure::{RecordId, Store};

const WORDS: SetDefinition<String> = SetDefinition::new("words");
const BY_LENGTH: IndexDefinition<String, (usize, &str)> =
    IndexDefinition::new("length", 1, |word, put| put((word.len(), word)));
const BY_WORD: IndexDefinition<String, &str> = IndexDefinition::unique("word", 1, |word, put| put(word));

type All = (bool, Desc<i64>, f32, Option<&'static str>, Timestamp, &'static [u8], ((u8, i128), [u8; 2]), RecordId);
const BY_ALL: IndexDefinition<String, All> = IndexDefinition::new("all", 1, |word, put| {
    let id = "7.2".parse::<RecordId>().unwrap();
    let some = if word.len() > 2 { Some(word.as_str()) } else { None };
    put((true, Desc(-3), 0.5, some, Timestamp::from_micros(5), word.as_bytes(), ((9, i128::MIN), [1, 2]), id));
});

#[test]
fn ranges_give_keys_as_they_were_given() {
    let store = Store::in_memory().unwrap();
    let words = store.typed_set(WORDS).unwrap();
    let by_length = store.typed_index(&words, BY_LENGTH).unwrap();
    let by_all = store.typed_index(&words, BY_ALL).unwrap();
    let ids = store.write(|tx| words.insert_many(tx, &["time", "at", "once"].map(str::to_owned))).unwrap();
    let view = store.view();
    let entries: Vec<_> = by_length.all(&view).unwrap().entries().map(Result::unwrap).collect();
    let key = |len: usize, word: &str| (len, word.to_owned());
    assert_eq!(entries, [(key(2, "at"), ids[1]), (key(4, "once"), ids[2]), (key(4, "time"), ids[0])]);
    let back: Vec<_> = by_length.range(&view, (3, "")..).unwrap().entries().rev().map(Result::unwrap).collect();
    assert_eq!(back, [entries[2].clone(), entries[1].clone()]);
    let mut walk = by_length.all(&view).unwrap().entries();
    walk.next().unwrap().unwrap();
    let mut rest = by_length.all(&view).unwrap();
    rest.resume(&walk.token().unwrap()).unwrap();
    assert_eq!((walk.left(), rest.left()), (2, 2));
    let ((truth, three, half, some, moment, bytes, nested, id), first) =
        by_all.all(&view).unwrap().entries().next().unwrap().unwrap();
    assert_eq!((truth, three, half, some, moment), (true, Desc(-3), 0.5, None, Timestamp::from_micros(5)));
    assert_eq!((bytes, nested, id.to_string()), (b"at".to_vec(), ((9, i128::MIN), [1, 2]), "7.2".to_owned()));
    assert_eq!(first, ids[1]);
}

#[test]
fn each_key_comes_once_with_its_type() {
    const BY_FIRST: IndexDefinition<String, (SystemTime, Id<String>)> =
        IndexDefinition::new("first", 1, |word, put| {
            let seconds = u64::from(word.as_bytes()[0] % 2);
            put((SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds), "7.2".parse().unwrap()));
        });
    let store = Store::in_memory().unwrap();
    let words = store.typed_set(WORDS).unwrap();
    let by_first = store.typed_index(&words, BY_FIRST).unwrap();
    let ids = store.write(|tx| words.insert_many(tx, &["a", "b", "c", "d"].map(str::to_owned))).unwrap();
    let view = store.view();
    let found: Vec<_> = by_first.all(&view).unwrap().distinct_keys().map(Result::unwrap).collect();
    let id: Id<String> = "7.2".parse().unwrap();
    let second = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    assert_eq!(found, [((SystemTime::UNIX_EPOCH, id), ids[1]), ((second, id), ids[0])]);
    let back: Vec<_> = by_first.all(&view).unwrap().distinct_keys().rev().map(|found| found.unwrap().1).collect();
    assert_eq!(back, [ids[2], ids[3]], "the highest ID from the back");
}

#[test]
fn a_transaction_asks_what_a_view_can_with_its_own_writes() {
    let store = Store::in_memory().unwrap();
    let words = store.typed_set(WORDS).unwrap();
    let by_length = store.typed_index(&words, BY_LENGTH).unwrap();
    let by_word = store.typed_index(&words, BY_WORD).unwrap();
    let ids = store.write(|tx| words.insert_many(tx, &["time", "at", "once"].map(str::to_owned))).unwrap();
    let mut tx = store.begin().unwrap();
    words.delete(&mut tx, ids[0]).unwrap();
    let upon = words.insert(&mut tx, &"upon".to_owned()).unwrap();
    let four: Vec<_> = by_length.prefix_in(&mut tx, &4_usize).unwrap().map(Result::unwrap).collect();
    assert_eq!(four, [ids[2], upon]);
    assert_eq!(by_length.count_in(&mut tx, (0, "")..).unwrap(), 3);
    assert_eq!(by_length.find_in(&mut tx, (4, "time")).unwrap().count(), 0);
    assert_eq!(by_length.find_in(&mut tx, (4, "upon")).unwrap().map(Result::unwrap).collect::<Vec<_>>(), [upon]);
    assert_eq!(by_word.fetch_in(&mut tx, "upon").unwrap(), Some((upon, "upon".to_owned())));
    assert_eq!(by_word.fetch_in(&mut tx, "time").unwrap(), None);
    assert_eq!(by_length.first_in(&mut tx).unwrap(), Some(ids[1]));
    assert_eq!(by_length.last_in(&mut tx).unwrap(), Some(upon));
    let back: Vec<_> = by_length.range_in(&mut tx, (3, "")..).unwrap().entries().rev().map(Result::unwrap).collect();
    assert_eq!(back, [((4, "upon".to_owned()), upon), ((4, "once".to_owned()), ids[2])]);
    drop(tx);
    assert_eq!(by_word.get(&store.view(), "upon").unwrap(), None, "nothing of it remains");
}

#[test]
fn a_key_that_is_too_long_names_the_index_and_the_record() {
    const BY_WORD: IndexDefinition<String, &str> = IndexDefinition::new("word", 1, |word, put| put(word));
    let store = Store::in_memory().unwrap();
    let words = store.typed_set(WORDS).unwrap();
    let long = "x".repeat(2000);
    let id = store.write(|tx| words.insert(tx, &long)).unwrap();
    let built = store.typed_index(&words, BY_WORD).unwrap_err();
    let named =
        format!("index \"word\" of set \"words\", record {id}: a key of 2002 bytes is over the limit of 1024 bytes");
    assert_eq!(built.to_string(), named);
    store.write(|tx| words.delete(tx, id)).unwrap();
    store.typed_index(&words, BY_WORD).unwrap();
    let written = store.write(|tx| words.insert(tx, &long)).unwrap_err();
    let named = "index \"word\" of set \"words\": a key of 2002 bytes is over the limit of 1024 bytes";
    assert_eq!(written.to_string(), named);
}
