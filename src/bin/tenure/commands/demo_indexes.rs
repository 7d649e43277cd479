//! The steps of the demo that create and query indexes.
//!
//! Owns: the three indexes and the queries. Never: hard-codes an answer: the packages queried are chosen from the data.

use std::collections::BTreeSet;
use std::time::Instant;

use tenure::extract::JsonExtractor;
use tenure::key::{Key, KeyKind};
use tenure::{Index, RecordId, RecordSet, Store, View};

use crate::commands::story::{SET, Story, unexpected};
use crate::context::existing_set;
use crate::failure::Outcome;
use crate::keys::Field;
use crate::{keys, units};

/// Fields, and whether the index over each is unique.
const FIELDS: [(&str, bool); 3] = [("name", true), ("section", false), ("depends[]", false)];
/// Number of names listed; the rest are counted.
const NAMES_MAX: usize = 5;

fn field(path: &str) -> Outcome<Field> {
    Ok(Field::new(path, KeyKind::String, false)?)
}

/// Creates the indexes over existing records.
pub fn make(tale: &mut Story, store: &Store, set: &RecordSet) -> Outcome {
    tale.step("Index", "Three indexes over fields of the JSON; the third has a key for each element of an array.")?;
    for (path, is_unique) in FIELDS {
        let field = field(path)?;
        let begun = Instant::now();
        let index = keys::ensure(store, set, &field, is_unique)?;
        let taken = units::time(begun.elapsed());
        let entries = units::count(index.len(&store.view())?);
        let unique = if is_unique { ", unique" } else { "" };
        tale.fact(&format!("{SET}.{}: {entries} entries{unique}, {taken} ({})", field.name, field.extractor))?;
    }
    Ok(())
}

fn index(store: &Store, set: &RecordSet, name: &str) -> Outcome<Index> {
    store.find_index(set, name).ok_or_else(|| unexpected(format!("index {name:?} was created but does not exist")))
}

/// Queries them: who depends on a package, and what does a package need.
pub fn ask(tale: &mut Story, store: &Store, set: &RecordSet) -> Outcome {
    tale.step("Ask the indexes", "Who depends on a package, and what does it need? No record is read to count.")?;
    let (by_name, by_depends) = (index(store, set, "name")?, index(store, set, "depends")?);
    let view = store.view();
    let Some((most, _)) = most_wanted(&by_depends, &view)? else {
        return tale.fact("no package depends on another");
    };
    let begun = Instant::now();
    let dependents = by_depends.find(&view, most.as_str())?;
    let (count, taken) = (dependents.left(), units::time(begun.elapsed()));
    tale.fact(&format!("who depends on {most}? {}, counted in {taken}", units::counted(count, "package")))?;
    let begun = Instant::now();
    let names: Vec<String> = dependents
        .records(&view)
        .take(NAMES_MAX)
        .map(|record| name_of(&record?.to_vec()?))
        .collect::<Result<_, _>>()?;
    let taken = units::time(begun.elapsed());
    tale.fact(&format!("the first {}, fetched in {taken}: {}", names.len(), names.join(", ")))?;
    needs(tale, &view, &by_name)
}

/// The key with the most entries.
fn most_wanted(index: &Index, view: &View) -> Outcome<Option<(String, u64)>> {
    let mut most: Option<(String, u64)> = None;
    let mut run: Option<(Key, u64)> = None;
    let mut take = |run: Option<(Key, u64)>| {
        if let Some((key, count)) = run.filter(|(_, count)| most.as_ref().is_none_or(|(_, before)| count > before)) {
            most = Some((keys::plain(&key), count));
        }
    };
    for entry in index.all(view)? {
        let entry = entry?;
        match &mut run {
            Some((key, count)) if *key == entry.key => *count += 1,
            _ => take(run.replace((entry.key, 1))),
        }
    }
    take(run);
    Ok(most)
}

/// What one package needs, directly and in all: the one with the most dependencies in the first tenth of the names.
fn needs(tale: &mut Story, view: &View, by_name: &Index) -> Outcome {
    let depends = field("depends[]")?.extractor;
    let mut asked: Option<(Vec<Key>, String)> = None;
    for entry in by_name.all(view)?.take(usize::try_from(by_name.len(view)? / 10 + 1).unwrap_or(1)) {
        let entry = entry?;
        let wanted = wanted(&depends, view, entry.id)?;
        if asked.as_ref().is_none_or(|(before, _)| wanted.len() > before.len()) {
            asked = Some((wanted, keys::plain(&entry.key)));
        }
    }
    let Some((_, name)) = asked else { return tale.fact("no package has a name") };
    let begun = Instant::now();
    let Some(first) = by_name.get(view, name.as_str())? else {
        return Err(unexpected(format!("{name:?} was in the index but is not found")));
    };
    let direct = wanted(&depends, view, first)?;
    let taken = units::time(begun.elapsed());
    let names: Vec<String> = direct.iter().take(NAMES_MAX).map(keys::plain).collect();
    let more = if direct.len() > NAMES_MAX { ", …" } else { "" };
    let count = units::counted(u64::try_from(direct.len()).unwrap_or(0), "package");
    tale.fact(&format!("what does {name} need? {count}, found in {taken}: {}{more}", names.join(", ")))?;
    let begun = Instant::now();
    let (mut known, mut missing, mut steps) = (BTreeSet::from([first]), BTreeSet::new(), 0_u64);
    let mut waiting = vec![first];
    while let Some(id) = waiting.pop() {
        for key in wanted(&depends, view, id)? {
            steps += 1;
            let bounds = (std::ops::Bound::Included(key.clone()), std::ops::Bound::Included(key.clone()));
            match by_name.between(view, &bounds)?.next().transpose()? {
                Some(entry) if known.insert(entry.id) => waiting.push(entry.id),
                Some(_) => {}
                None => drop(missing.insert(key)),
            }
        }
    }
    let (steps, taken) = (units::counted(steps, "reference"), units::time(begun.elapsed()));
    let all = units::counted(u64::try_from(known.len() - 1).unwrap_or(0), "package");
    let missing = units::counted(u64::try_from(missing.len()).unwrap_or(0), "name");
    tale.fact(&format!(
        "and what does that need? {all} in all; {steps} followed in {taken}, {missing} without a record"
    ))
}

/// The names that a package depends on.
fn wanted(depends: &JsonExtractor, view: &View, id: RecordId) -> Result<Vec<Key>, tenure::Error> {
    let mut keys = Vec::new();
    let record = view.get(id)?;
    depends.keys(&record.bytes()?, &mut |key| keys.push(key))?;
    Ok(keys)
}

fn name_of(bytes: &[u8]) -> Result<String, tenure::Error> {
    let mut name = "?".to_owned();
    JsonExtractor::new("/name", KeyKind::String)?.keys(bytes, &mut |key| name = keys::plain(&key))?;
    Ok(name)
}

/// Verifies the indexes against the records, after all changes to both.
pub fn check(tale: &mut Story, store: &Store) -> Outcome {
    tale.step("Check the indexes", "Every commit maintained them; now each is compared with the records.")?;
    let set = existing_set(store, SET)?;
    for (path, _) in FIELDS {
        let name = field(path)?.name;
        let index = index(store, &set, &name)?;
        let begun = Instant::now();
        let problems = store.verify_index(&index)?;
        if let Some(problem) = problems.first() {
            return Err(unexpected(format!("index {name:?} differs from the records: {problem}")));
        }
        let (entries, taken) = (units::count(index.len(&store.view())?), units::time(begun.elapsed()));
        tale.fact(&format!("{SET}.{name}: {entries} entries, consistent with the records, {taken}"))?;
    }
    Ok(())
}
