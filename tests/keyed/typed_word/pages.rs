//! Pages of index results: equal keys continue where they stopped, and a token that does not fit is an error.

use tenure::typed::{Id, IndexDefinition, SetDefinition, TypedIndex, TypedSet};
use tenure::{Error, ResumeToken, Store};

const PEOPLE: SetDefinition<String> = SetDefinition::new("people");
/// The city follows the name.
const BY_CITY: IndexDefinition<String, &str> = IndexDefinition::new("city", 1, |person, put| {
    person.split_once(' ').into_iter().for_each(|(_, city)| put(city));
});
const BY_NAME: IndexDefinition<String, &str> = IndexDefinition::new("name", 1, |person, put| {
    person.split_once(' ').into_iter().for_each(|(name, _)| put(name));
});

struct World {
    store: Store,
    people: TypedSet<String>,
    by_city: TypedIndex<String, &'static str>,
}

/// Thirty people in each of three cities.
fn world() -> (World, Vec<Id<String>>) {
    let store = Store::in_memory().unwrap();
    let people = store.typed_set(PEOPLE).unwrap();
    let by_city = store.typed_index(&people, BY_CITY).unwrap();
    let all: Vec<String> = (0..90).map(|n| format!("p{n} {}", ["Oslo", "Rome", "Turin"][n % 3])).collect();
    let ids = store.write(|tx| people.insert_many(tx, &all)).unwrap();
    (World { store, people, by_city }, ids)
}

/// The next page from the front, or from the back, with the token after it.
fn page(world: &World, token: Option<&str>, backward: bool) -> (Vec<Id<String>>, Option<String>) {
    let view = world.store.view();
    let mut range = world.by_city.range(&view, "P".."U").unwrap();
    let token: Option<ResumeToken> = token.map(|text| text.parse().unwrap());
    if let Some(token) = &token {
        let resumed = if backward { range.resume_back(token) } else { range.resume(token) };
        resumed.unwrap();
    }
    let ids = if backward {
        range.by_ref().rev().take(7).collect::<Result<_, _>>().unwrap()
    } else {
        range.by_ref().take(7).collect::<Result<_, _>>().unwrap()
    };
    let token = if backward { range.token_back() } else { range.token() };
    (ids, token.filter(|_| range.left() > 0).map(|token| token.to_string()))
}

#[test]
fn pages_of_equal_keys_go_on_where_they_stopped() {
    let (world, _) = world();
    let view = world.store.view();
    let whole: Vec<_> = world.by_city.range(&view, "P".."U").unwrap().map(Result::unwrap).collect();
    assert_eq!(whole.len(), 60);
    for backward in [false, true] {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let (ids, next) = page(&world, token.as_deref(), backward);
            assert!(ids.len() == 7 || next.is_none());
            all.extend(ids);
            token = next;
            if token.is_none() {
                break;
            }
        }
        if backward {
            all.reverse();
        }
        assert_eq!(all, whole, "backward: {backward}");
    }
}

#[test]
fn a_walk_goes_on_behind_an_entry_that_is_gone_and_meets_what_came_since() {
    let (world, ids) = world();
    let (first, token) = page(&world, None, false);
    let rome = |n: usize| ids[3 * n + 1];
    assert_eq!(first, (0..7).map(rome).collect::<Vec<_>>());
    world
        .store
        .write(|tx| {
            // The token's entry and the next one are deleted; an entry already returned reappears elsewhere.
            world.people.delete(tx, rome(6))?;
            world.people.delete(tx, rome(7))?;
            world.people.update(tx, rome(0), &"p1 Siena".to_owned())
        })
        .unwrap();
    let (second, token) = page(&world, token.as_deref(), false);
    assert_eq!(second, (8..15).map(rome).collect::<Vec<_>>());
    let mut rest = Vec::new();
    let mut token = token;
    while let Some(text) = token {
        let (ids, next) = page(&world, Some(&text), false);
        rest.extend(ids);
        token = next;
    }
    assert_eq!(rest.iter().filter(|id| **id == rome(0)).count(), 1, "Siena lies behind Rome");
    assert_eq!(rest.len(), 15 + 1 + 30);
}

#[test]
fn seeking_and_resuming_go_forward_only_and_stay_in_their_bounds() {
    let (world, _) = world();
    let view = world.store.view();
    let token = |city: &str| {
        let mut range = world.by_city.find(&view, city).unwrap();
        range.by_ref().nth(9).unwrap().unwrap();
        range.token().unwrap()
    };
    let left = |city: &str, token: &ResumeToken, backward: bool| {
        let mut range = world.by_city.find(&view, city).unwrap();
        if backward {
            range.resume_back(token).unwrap();
        } else {
            range.resume(token).unwrap();
        }
        (range.left(), range.count())
    };
    let [oslo, rome, turin] = ["Oslo", "Rome", "Turin"].map(token);
    assert_eq!([&oslo, &rome, &turin].map(|token| left("Rome", token, false)), [(30, 30), (20, 20), (0, 0)]);
    assert_eq!([&oslo, &rome, &turin].map(|token| left("Rome", token, true)), [(0, 0), (9, 9), (30, 30)]);
    // In the middle of a walk: back to where it has been changes nothing.
    let mut range = world.by_city.all(&view).unwrap();
    let given: Vec<_> = range.by_ref().take(45).map(Result::unwrap).collect();
    range.resume(&oslo).unwrap();
    assert_eq!(range.left(), 45);
    range.resume(&turin).unwrap();
    range.resume_back(&turin).unwrap();
    assert_eq!(range.left(), 0);
    let mut range = world.by_city.all(&view).unwrap();
    range.resume(&rome).unwrap();
    range.resume_back(&turin).unwrap();
    assert_eq!(range.left(), 29);
    assert!(!given.contains(&range.next_back().unwrap().unwrap()));
    assert_eq!(range.count(), 28);
}

#[test]
fn a_token_that_does_not_fit_is_an_error() {
    let (world, _) = world();
    let view = world.store.view();
    let mut range = world.by_city.all(&view).unwrap();
    assert_eq!(range.token(), None, "nothing was given");
    range.next().unwrap().unwrap();
    let token = range.token().unwrap();
    let text = token.to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
    assert_eq!(text.parse::<ResumeToken>().unwrap(), token);
    // Every single change of it.
    for at in 0..text.len() {
        for digit in "0123456789abcdef".bytes().filter(|digit| *digit != text.as_bytes()[at]) {
            let mut changed = text.clone().into_bytes();
            changed[at] = digit;
            let changed = String::from_utf8(changed).unwrap();
            assert!(matches!(changed.parse::<ResumeToken>(), Err(Error::BadToken { .. })), "{changed}");
        }
    }
    let long = "0".repeat(1 << 20);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let (short, late) = (part(0..text.len() - 2), part(2..text.len()));
    for wrong in ["", "0", "zz", "01", "é", short, late, &long, &format!("{text}00")] {
        assert!(matches!(wrong.parse::<ResumeToken>(), Err(Error::BadToken { .. })), "{wrong:.40}");
    }
    // Of another index, of another version of this one, and of another store.
    let by_name = world.store.typed_index(&world.people, BY_NAME).unwrap();
    let refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::BadToken { .. })), "{result:?}");
    refused(by_name.all(&world.store.view()).unwrap().resume(&token));
    refused(by_name.all(&world.store.view()).unwrap().resume_back(&token));
    let other = self::world().0;
    refused(other.by_city.all(&other.store.view()).unwrap().resume(&token));
    // An index recreated with the same definition accepts it.
    let rebuilt = world.store.rebuild_index(world.by_city.index()).unwrap();
    let mut range = rebuilt.all(&world.store.view()).unwrap();
    range.resume(&token).unwrap();
    assert_eq!(range.left(), 89);
}
