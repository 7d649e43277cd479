//! Values that are streamed into typed sets, and typed writes of many records.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use tenure::extract::Extractor;
use tenure::typed::{IndexDefinition, Json, SetDefinition, TypedIndex, TypedSet, Value};
use tenure::{Error, Store};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    name: String,
    cents: u64,
}

type Accounts = TypedSet<Json<Account>>;

const ACCOUNTS: SetDefinition<Json<Account>> = SetDefinition::new("accounts");
const BY_NAME: IndexDefinition<Json<Account>, &str> =
    IndexDefinition::unique("name", 1, |account, put| put(&account.name));
const BY_CENTS: IndexDefinition<Json<Account>, u64> =
    IndexDefinition::new("cents", 1, |account, put| put(account.cents));

fn account(name: &str, cents: u64) -> Json<Account> {
    Json(Account { name: name.to_owned(), cents })
}

fn open() -> (Store, Accounts, TypedIndex<Json<Account>, &'static str>) {
    let store = Store::in_memory().unwrap();
    let accounts = store.typed_set(ACCOUNTS).unwrap();
    let by_name = store.typed_index(&accounts, BY_NAME).unwrap();
    (store, accounts, by_name)
}

#[test]
fn many_values_are_fetched_as_one_by_one() {
    let (store, accounts, _) = open();
    let ids = store.write(|tx| accounts.insert_many(tx, &[account("a", 1), account("b", 2), account("c", 3)])).unwrap();
    store.write(|tx| accounts.delete(tx, ids[1])).unwrap();
    let check = |found: Vec<tenure::Result<Json<Account>>>| {
        assert_eq!(found[0].as_ref().unwrap(), &account("a", 1));
        assert!(matches!(found[1], Err(Error::Deleted { .. })));
        assert_eq!(found[2].as_ref().unwrap(), &account("c", 3));
    };
    check(store.view().fetch_many(&ids));
    check(store.begin().unwrap().fetch_many(&ids));
}

/// Bytes of JSON that are never in memory as a whole.
fn long_json(name_bytes: u64) -> impl Read {
    let name = io::repeat(b'x').take(name_bytes);
    (&b"{\"name\":\""[..]).chain(name).chain(&b"\",\"cents\":7}"[..])
}

#[test]
fn a_value_is_streamed_into_a_typed_set_and_its_indexes_find_it() {
    let (store, accounts, _) = open();
    let by_cents = store.typed_index(&accounts, BY_CENTS).unwrap();
    // A key of this length would be too long; this index has the other field.
    let by_name = store.find_index(accounts.record_set(), "name").unwrap();
    store.drop_index(&by_name).unwrap();
    let value = accounts.stage(&store, long_json(3 << 20)).unwrap();
    let id = store.write(|tx| accounts.insert_staged(tx, &value)).unwrap();
    let view = store.view();
    assert_eq!(by_cents.get(&view, 7).unwrap(), Some(id));
    assert_eq!(view.fetch(id).unwrap().name.len(), 3 << 20);
    let mut text = String::new();
    view.reader(id).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\"cents\":7}"));
    let shorter = accounts.stage(&store, &br#"{"name":"short","cents":8}"#[..]).unwrap();
    store.write(|tx| accounts.update_staged(tx, id, &shorter)).unwrap();
    let view = store.view();
    assert_eq!((by_cents.get(&view, 7).unwrap(), by_cents.get(&view, 8).unwrap()), (None, Some(id)));
    let twice = store.write(|tx| accounts.insert_staged(tx, &shorter));
    assert!(matches!(twice, Err(Error::StagedValue { .. })), "{twice:?}");
    drop(value);
    // A record of another set is not replaced.
    let other = store.record_set("others").unwrap();
    let foreign = store.write(|tx| tx.insert(&other, "1")).unwrap();
    let value = accounts.stage(&store, &br#"{"name":"short","cents":9}"#[..]).unwrap();
    let wrong = store.write(|tx| accounts.update_staged(tx, foreign.into(), &value));
    assert!(matches!(wrong, Err(Error::WrongSet { .. })), "{wrong:?}");
}

#[test]
fn what_is_streamed_and_does_not_decode_is_refused_and_leaves_nothing() {
    const TEXTS: SetDefinition<String> = SetDefinition::new("texts");
    let (store, accounts, _) = open();
    let texts = store.typed_set(TEXTS).unwrap();
    let cut_short = long_json(3 << 20).take(2 << 20);
    let not_text = io::repeat(b'a').take(1 << 20).chain(&[0xff][..]).chain(io::repeat(b'b').take(1 << 20));
    let half = io::repeat(b'a').take(1 << 20).chain(&"é".as_bytes()[..1]);
    let results = [
        accounts.stage(&store, cut_short).map(drop),
        accounts.stage(&store, &b"{}"[..]).map(drop),
        accounts.stage(&store, long_json(10).chain(&b"x"[..])).map(drop),
        texts.stage(&store, not_text).map(drop),
        texts.stage(&store, half).map(drop),
    ];
    for (number, result) in results.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::BadValue { .. })), "{number}: {result:?}");
    }
    assert_eq!((store.stats().records, store.stats().chunks.records), (0, 0));
    // A character of several bytes lies across every border that a reader may have.
    for skip in 0..4 {
        let text = format!("{}{}", "a".repeat(skip), "🦀".repeat(70_000));
        let value = texts.stage(&store, text.as_bytes()).unwrap();
        let id = store.write(|tx| texts.insert_staged(tx, &value)).unwrap();
        assert_eq!(store.fetch(id).unwrap(), text);
    }
    assert!(matches!(String::check_stream(&mut &[0xc3_u8][..]), Err(Error::BadValue { .. })));
}

#[test]
fn closures_that_run_again_are_counted() {
    let store = Store::in_memory().unwrap();
    let counters = store.record_set("counters").unwrap();
    store.index(&counters, "first", Extractor::new("first", 1, |record, keys| keys.push(&record[0]))).unwrap();
    let id = store.write(|tx| tx.insert(&counters, [1])).unwrap();
    assert_eq!(store.stats().retries, 0);
    let runs = AtomicU32::new(0);
    store
        .write(|tx| {
            let old = tx.get(id)?.bytes()?[0];
            if runs.fetch_add(1, Ordering::Relaxed) < 3 {
                let mut other = store.begin()?;
                other.update(id, [old + 1])?;
                other.commit()?;
            }
            tx.update(id, [old + 1])
        })
        .unwrap();
    assert_eq!(
        (runs.load(Ordering::Relaxed), store.stats().retries, store.get(id).unwrap().bytes().unwrap()[0]),
        (4, 3, 5)
    );
}

#[test]
fn many_typed_records_are_written_in_one_statement_or_not_at_all() {
    let (store, accounts, by_name) = open();
    let ids = store.write(|tx| accounts.insert_many(tx, &[account("a", 1), account("b", 2)])).unwrap();
    let (a, b) = (ids[0], ids[1]);
    store.write(|tx| accounts.update_many(tx, &[(a, account("b", 1)), (b, account("a", 2))])).unwrap();
    let view = store.view();
    assert_eq!((by_name.get(&view, "a").unwrap(), by_name.get(&view, "b").unwrap()), (Some(b), Some(a)));
    let other = store.record_set("others").unwrap();
    let foreign = store.write(|tx| tx.insert(&other, "1")).unwrap();
    store
        .write(|tx| -> tenure::Result<_> {
            let wrong = accounts.update_many(tx, &[(a, account("c", 3)), (foreign.into(), account("d", 4))]);
            assert!(matches!(wrong, Err(Error::WrongSet { .. })), "{wrong:?}");
            let wrong = accounts.delete_many(tx, &[a, foreign.into()]);
            assert!(matches!(wrong, Err(Error::WrongSet { .. })), "{wrong:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!(store.fetch(a).unwrap(), account("b", 1));
    store.write(|tx| accounts.delete_many(tx, &[a, b])).unwrap();
    assert!(accounts.is_empty(&store.view()));
}
