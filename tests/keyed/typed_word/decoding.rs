//! How often a value is decoded: once for each version that a write meets, however many indexes there are.

use std::cell::Cell;

use tenure::typed::{IndexDefinition, SetDefinition, Value};
use tenure::{Result, Store};

thread_local! {
    static DECODED: Cell<u32> = const { Cell::new(0) };
}

/// How often this thread has decoded a value meanwhile.
fn decodes<T>(run: impl FnOnce() -> T) -> u32 {
    DECODED.set(0);
    run();
    DECODED.get()
}

#[derive(Debug, Clone, PartialEq)]
struct Counted(String);

impl Value for Counted {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.0.encode(out)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        DECODED.set(DECODED.get() + 1);
        String::decode(bytes).map(Self)
    }
}

const WORDS: SetDefinition<Counted> = SetDefinition::new("words");

macro_rules! by_letter {
    ($($name:ident $at:literal;)*) => {$(
        const $name: IndexDefinition<Counted, u8> = IndexDefinition::new(stringify!($name), 1, |word, put| {
            word.0.as_bytes().get($at).into_iter().for_each(|byte| put(*byte));
        });
    )*};
}

by_letter! { FIRST 0; SECOND 1; THIRD 2; FOURTH 3; FIFTH 4; SIXTH 5; }

#[test]
fn a_write_decodes_each_version_once_however_many_indexes_there_are() {
    let store = Store::in_memory().unwrap();
    let words = store.typed_set(WORDS).unwrap();
    let all = [FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH].map(|each| store.typed_index(&words, each).unwrap());
    let word = |text: &str| Counted(text.to_owned());
    let mut id = None;
    let inserted = decodes(|| id = Some(store.write(|tx| words.insert(tx, &word("abcdef"))).unwrap()));
    let id = id.unwrap();
    assert_eq!(inserted, 1, "the new version");
    assert_eq!(decodes(|| store.write(|tx| words.update(tx, id, &word("ghijkl"))).unwrap()), 2, "old and new");
    let large = "large ".repeat(20_000);
    assert_eq!(decodes(|| store.write(|tx| words.update(tx, id, &word(&large))).unwrap()), 2, "a new one in chunks");
    assert_eq!(decodes(|| store.write(|tx| words.update(tx, id, &word("ghijkl"))).unwrap()), 2, "an old one in chunks");
    assert_eq!(decodes(|| store.write(|tx| tx.update(id.into(), "mnopqr")).unwrap()), 2, "bytes that nobody decoded");
    let view = store.view();
    let found = all.each_ref().map(|index| index.find(&view, b'n').unwrap().next().transpose().unwrap());
    assert_eq!(found, [None, Some(id), None, None, None, None]);
    for index in &all {
        assert_eq!(store.verify_index(index.index()).unwrap(), [""; 0]);
    }
    assert_eq!(decodes(|| store.write(|tx| words.delete(tx, id)).unwrap()), 1, "the old version");
}
