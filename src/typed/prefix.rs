//! Key prefixes, with the types of their components.
//!
//! Owns: refusing a prefix that no key of the index can have. Never: reads an entry for that: the types suffice.

use crate::error::{Error, Result};
use crate::key::{Key, KeyValue, ToKey, text_range};
use crate::txn::{Transaction, View};
use crate::typed::index::TypedIndex;
use crate::typed::key::IndexKey;
use crate::typed::range::TypedRange;
use crate::typed::transaction::TypedTransactionRange;
use crate::typed::value::Value;

impl<T: Value, K: IndexKey> TypedIndex<T, K> {
    /// The records whose keys start with these components: for a key of type `(&str, u32)` those with this string.
    ///
    /// Components match as a whole: `"an"` does not find `"anna"`; [`starting_with`](Self::starting_with) does.
    ///
    /// # Errors
    /// `WrongKeyType` if no key of the index can start like this, and those of [`Index::prefix`](crate::Index::prefix).
    pub fn prefix<P: ToKey + ?Sized>(&self, view: &View, prefix: &P) -> Result<TypedRange<T, K>> {
        let range = self.index().prefix(view, prefix)?;
        if range.left() == 0 {
            // A prefix of another type finds nothing, so only an empty result needs the check.
            self.check(&Key::new(prefix)?)?;
        }
        Ok(TypedRange::new(range))
    }

    /// The records whose keys start with these components; the last one, a string or a byte string, matches as a
    /// prefix.
    ///
    /// ```
    /// use tenure::typed::{IndexDefinition, SetDefinition};
    /// const WORDS: SetDefinition<String> = SetDefinition::new("words");
    /// const BY_WORD: IndexDefinition<String, &str> = IndexDefinition::new("word", 1, |word, put| put(word));
    /// const BY_LENGTH: IndexDefinition<String, (usize, &str)> =
    ///     IndexDefinition::new("length", 1, |word, put| put((word.len(), word)));
    ///
    /// let store = tenure::Store::in_memory()?;
    /// let words = store.typed_set(WORDS)?;
    /// let (by_word, by_length) = (store.typed_index(&words, BY_WORD)?, store.typed_index(&words, BY_LENGTH)?);
    /// store.write(|tx| words.insert_many(tx, &["an", "anna", "anne", "bob"].map(str::to_owned)))?;
    /// let view = store.view();
    /// assert_eq!(by_word.starting_with(&view, "ann")?.left(), 2);
    /// assert_eq!(by_word.prefix(&view, "an")?.left(), 1, "only the whole word");
    /// assert_eq!(by_length.starting_with(&view, &(4, "a"))?.left(), 2);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`prefix`](Self::prefix), and `BadKeyText` if the last component is not a string.
    pub fn starting_with<P: ToKey + ?Sized>(&self, view: &View, start: &P) -> Result<TypedRange<T, K>> {
        let start = Key::new(start)?;
        self.check(&start)?;
        self.index().between(view, &text_range(&start)?).map(TypedRange::new)
    }

    /// The records whose keys start with these components, as a transaction sees them. See [`prefix`](Self::prefix).
    ///
    /// # Errors
    /// As [`prefix`](Self::prefix).
    pub fn prefix_in<P: ToKey + ?Sized>(
        &self,
        tx: &mut Transaction,
        prefix: &P,
    ) -> Result<TypedTransactionRange<T, K>> {
        self.check(&Key::new(prefix)?)?;
        tx.prefix(self.index(), prefix).map(TypedTransactionRange::new)
    }

    /// The records whose keys start with these components, the last one as a prefix, as a transaction sees them. See
    /// [`starting_with`](Self::starting_with).
    ///
    /// # Errors
    /// As [`starting_with`](Self::starting_with).
    pub fn starting_with_in<P: ToKey + ?Sized>(
        &self,
        tx: &mut Transaction,
        start: &P,
    ) -> Result<TypedTransactionRange<T, K>> {
        let start = Key::new(start)?;
        self.check(&start)?;
        tx.entries(self.index(), text_range(&start)?).map(TypedTransactionRange::new)
    }

    /// Refuses a prefix that no key of the index can have.
    fn check(&self, beginning: &Key) -> Result<()> {
        let (values, key_type) = (beginning.values()?, K::key_type());
        let components = key_type.strip_prefix('(').and_then(|all| all.strip_suffix(')'));
        let types = components.map_or_else(|| vec![&*key_type], parts);
        let fits = values.len() <= types.len() && types.iter().zip(&values).all(|(kind, value)| is_of(kind, value));
        if fits {
            return Ok(());
        }
        let named: Vec<String> = values.iter().map(type_of).collect();
        let expected = if let [one] = &named[..] { one.clone() } else { format!("({})", named.join(", ")) };
        Err(Error::WrongKeyType { index: self.index().name().to_owned(), expected, got: key_type })
    }
}

/// The types of a tuple, without its parentheses.
fn parts(all: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_usize, 0, Vec::new());
    for (at, byte) in all.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.extend(all.get(from..at));
                from = at + ", ".len();
            }
            _ => {}
        }
    }
    parts.extend(all.get(from..).filter(|last| !last.is_empty()));
    parts
}

/// Whether a value fits a component type. A type that a program has named itself fits any value.
fn is_of(kind: &str, value: &KeyValue) -> bool {
    if let Some(kind) = kind.strip_prefix("optional ") {
        return matches!(value, KeyValue::Null) || is_of(kind, value);
    }
    if let Some(kind) = kind.strip_prefix("descending ") {
        return match value {
            KeyValue::Desc(inner) => is_of(kind, inner),
            // Descending twice is ascending.
            ascending => kind.strip_prefix("descending ").is_some_and(|kind| is_of(kind, ascending)),
        };
    }
    if let Some(all) = kind.strip_prefix('(').and_then(|all| all.strip_suffix(')')) {
        let KeyValue::Tuple(values) = value else { return false };
        let kinds = parts(all);
        return kinds.len() == values.len() && kinds.iter().zip(values).all(|(kind, value)| is_of(kind, value));
    }
    match kind {
        "bool" => matches!(value, KeyValue::Bool(_)),
        "integer" | "id" => matches!(value, KeyValue::Integer(_)),
        "float" => matches!(value, KeyValue::Float(_)),
        "timestamp" => matches!(value, KeyValue::Timestamp(_)),
        "string" => matches!(value, KeyValue::String(_)),
        "bytes" => matches!(value, KeyValue::Bytes(_)),
        _ => true,
    }
}

/// The type of a value, as definitions write it.
fn type_of(value: &KeyValue) -> String {
    match value {
        KeyValue::Null => "null".to_owned(),
        KeyValue::Bool(_) => "bool".to_owned(),
        KeyValue::Integer(_) => "integer".to_owned(),
        KeyValue::Float(_) => "float".to_owned(),
        KeyValue::Timestamp(_) => "timestamp".to_owned(),
        KeyValue::String(_) => "string".to_owned(),
        KeyValue::Bytes(_) => "bytes".to_owned(),
        KeyValue::Tuple(values) => format!("({})", values.iter().map(type_of).collect::<Vec<_>>().join(", ")),
        KeyValue::Desc(inner) => format!("descending {}", type_of(inner)),
    }
}
