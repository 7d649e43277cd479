//! Keys with a common prefix: whole components, and the beginning of a string.

use tenure::key::Desc;
use tenure::typed::{IndexDefinition, SetDefinition, TypedIndex, TypedSet};
use tenure::{Error, Store};

const WORDS: SetDefinition<String> = SetDefinition::new("words");
const BY_WORD: IndexDefinition<String, &str> = IndexDefinition::new("word", 1, |word, put| put(word));
type Parts = (&'static str, Desc<usize>, (bool, Option<String>));
const BY_PARTS: IndexDefinition<String, Parts> = IndexDefinition::new("parts", 1, |word, put| {
    let rest = word.get(1..).filter(|rest| !rest.is_empty()).map(str::to_owned);
    put((word.get(..1).unwrap_or_default(), Desc(word.len()), (rest.is_some(), rest)));
});
const DOWN: IndexDefinition<String, Desc<&str>> = IndexDefinition::new("down", 1, |word, put| put(Desc(word)));

fn made<const N: usize>(all: [&str; N]) -> (Store, TypedSet<String>) {
    let store = Store::in_memory().unwrap();
    let words = store.typed_set(WORDS).unwrap();
    store.write(|tx| words.insert_many(tx, &all.map(str::to_owned))).unwrap();
    (store, words)
}

/// The error of a prefix that no key can have: its type, and the type of the keys.
fn refused<T: std::fmt::Debug>(result: tenure::Result<T>) -> (String, String) {
    match result {
        Err(Error::WrongKeyType { expected, got, .. }) => (expected, got),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_beginning_that_no_key_can_have_is_refused() {
    let (store, words) = made(["an", "anna"]);
    let by_word = store.typed_index(&words, BY_WORD).unwrap();
    let by_parts: TypedIndex<String, Parts> = store.typed_index(&words, BY_PARTS).unwrap();
    let view = store.view();
    let said = |expected: &str, got: &str| (expected.to_owned(), got.to_owned());
    assert_eq!(refused(by_word.prefix(&view, &3)), said("integer", "string"));
    assert_eq!(refused(by_word.starting_with(&view, &3)), said("integer", "string"));
    assert_eq!(refused(by_word.prefix(&view, &("an", 3))), said("(string, integer)", "string"));
    let parts = "(string, descending integer, (bool, optional string))";
    assert_eq!(refused(by_parts.prefix(&view, &("a", 2))), said("(string, integer)", parts));
    assert_eq!(
        refused(by_parts.prefix(&view, &("a", Desc(2), true))),
        said("(string, descending integer, bool)", parts)
    );
    store
        .write(|tx| -> tenure::Result<_> {
            assert_eq!(refused(by_word.prefix_in(tx, &3)), said("integer", "string"));
            assert_eq!(refused(by_parts.starting_with_in(tx, &b"a"[..])), said("bytes", parts));
            Ok(())
        })
        .unwrap();

    // A matching type without results is not an error.
    assert_eq!(by_word.prefix(&view, "bob").unwrap().left(), 0);
    assert_eq!(by_parts.prefix(&view, &()).unwrap().left(), 2);
    assert_eq!(by_parts.prefix(&view, &("a", Desc(3))).unwrap().left(), 0);
    assert_eq!(by_parts.prefix(&view, &("a", Desc(2), (true, None::<String>))).unwrap().left(), 0);
    assert_eq!(by_parts.prefix(&view, &("a", Desc(2), (true, Some("n")))).unwrap().left(), 1);
}

#[test]
fn strings_are_found_by_how_they_begin() {
    let (store, words) = made(["an", "anna", "anne", "an\0x", "bob", "ann"]);
    let by_word = store.typed_index(&words, BY_WORD).unwrap();
    let down = store.typed_index(&words, DOWN).unwrap();
    let by_parts: TypedIndex<String, Parts> = store.typed_index(&words, BY_PARTS).unwrap();
    let view = store.view();
    let found = |start: &str| -> Vec<String> {
        by_word.starting_with(&view, start).unwrap().values(&view).map(|found| found.unwrap().1).collect()
    };
    assert_eq!(found("ann"), ["ann", "anna", "anne"]);
    assert_eq!(found("an"), ["an", "an\0x", "ann", "anna", "anne"]);
    assert_eq!(found("an\0"), ["an\0x"]);
    assert_eq!(found("").len(), 6);
    let backwards: Vec<String> =
        down.starting_with(&view, &Desc("ann")).unwrap().values(&view).map(|found| found.unwrap().1).collect();
    assert_eq!(backwards, ["anne", "anna", "ann"]);
    assert!(matches!(by_parts.starting_with(&view, &("a", Desc(2))), Err(Error::BadKeyText { .. })));
    assert!(matches!(by_parts.starting_with(&view, &()), Err(Error::BadKeyText { .. })));
    let own = store.write(|tx| {
        words.insert(tx, &"annex".to_owned())?;
        by_word.starting_with_in(tx, "anne").map(Iterator::count)
    });
    assert_eq!(own.unwrap(), 2);
}
