//! Values that do not round-trip, and IDs of other sets.

use serde::{Deserialize, Serialize};
use tenure::typed::{Id, IndexDefinition, Json, SetDefinition, Value};
use tenure::{Error, RecordId, Result, Store};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
    humidity: Option<f64>,
}

const READINGS: SetDefinition<Json<Reading>> = SetDefinition::new("readings");
const BY_SENSOR: IndexDefinition<Json<Reading>, &str> = IndexDefinition::unique("sensor", 1, |it, put| put(&it.sensor));

fn reading(celsius: f64, humidity: Option<f64>) -> Json<Reading> {
    Json(Reading { sensor: "roof".to_owned(), celsius, humidity })
}

#[test]
fn a_float_that_json_has_no_form_for_is_refused_when_it_is_written() {
    let store = Store::in_memory().unwrap();
    let readings = store.typed_set(READINGS).unwrap();
    let by_sensor = store.typed_index(&readings, BY_SENSOR).unwrap();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for value in odd.map(|value| reading(value, None)).into_iter().chain(odd.map(|value| reading(1.0, Some(value)))) {
        let refused = store.write(|tx| readings.insert(tx, &value)).unwrap_err();
        assert!(matches!(&refused, Error::BadValue { why, .. } if why.contains("finite")), "{refused}");
    }
    let id = store.write(|tx| readings.insert(tx, &reading(20.5, Some(0.4)))).unwrap();
    for value in odd {
        assert!(matches!(
            store.write(|tx| readings.update(tx, id, &reading(value, None))),
            Err(Error::BadValue { .. })
        ));
    }
    let view = store.view();
    assert_eq!((readings.len(&view), by_sensor.index().len(&view).unwrap()), (1, 1));
    assert_eq!(view.fetch(id).unwrap(), reading(20.5, Some(0.4)), "what was refused changed nothing");
}

/// A faulty codec: it writes a one-byte length.
#[derive(Debug, PartialEq)]
struct Short(String);

impl Value for Short {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.push(self.0.len().to_le_bytes()[0]);
        out.extend_from_slice(self.0.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let (len, text) = bytes.split_first().ok_or_else(|| Error::bad_value::<Self>("no length"))?;
        if text.len() != usize::from(*len) {
            return Err(Error::bad_value::<Self>(format!("{} bytes instead of {len}", text.len())));
        }
        std::str::from_utf8(text).map(|text| Self(text.to_owned())).map_err(Error::bad_value::<Self>)
    }
}

const SHORT: SetDefinition<Short> = SetDefinition::new("short");

#[test]
fn bytes_that_do_not_decode_again_are_refused_whatever_the_codec() {
    let store = Store::in_memory().unwrap();
    let short = store.typed_set(SHORT).unwrap();
    let id = store.write(|tx| short.insert(tx, &Short("x".repeat(255)))).unwrap();
    for len in [256, 100_000] {
        let long = Short("x".repeat(len));
        for refused in [
            store.write(|tx| short.insert(tx, &long).map(drop)).unwrap_err(),
            store.write(|tx| short.update(tx, id, &long)).unwrap_err(),
        ] {
            assert!(matches!(&refused, Error::BadValue { why, .. } if why.contains("decode")), "{refused}");
        }
    }
    assert_eq!((short.len(&store.view()), store.fetch(id).unwrap().0.len()), (1, 255));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Project {
    title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

const PROJECTS: SetDefinition<Json<Project>> = SetDefinition::new("projects");
const USERS: SetDefinition<Json<User>> = SetDefinition::new("users");

#[test]
fn an_id_of_another_set_is_refused_by_typed_updates_and_deletes() {
    let store = Store::in_memory().unwrap();
    let (projects, users) = (store.typed_set(PROJECTS).unwrap(), store.typed_set(USERS).unwrap());
    let project = store.write(|tx| projects.insert(tx, &Json(Project { title: "engine".to_owned() }))).unwrap();
    let astray = Id::<Json<User>>::from(RecordId::from(project));
    let user = Json(User { name: "Ada".to_owned() });
    let told = |result: Result<()>| match result {
        Err(Error::WrongSet { id, expected, got }) => (id, expected, got),
        other => panic!("{other:?}"),
    };
    let expected = (RecordId::from(project), "users".to_owned(), "projects".to_owned());
    assert_eq!(told(store.write(|tx| users.update(tx, astray, &user))), expected);
    assert_eq!(told(store.write(|tx| users.delete(tx, astray))), expected);
    // One that the transaction itself has inserted, on a page that no commit knows.
    let fresh = Store::in_memory().unwrap();
    let (projects, users) = (fresh.typed_set(PROJECTS).unwrap(), fresh.typed_set(USERS).unwrap());
    let mut tx = fresh.begin().unwrap();
    let project = projects.insert(&mut tx, &Json(Project { title: "engine".to_owned() })).unwrap();
    let astray = Id::<Json<User>>::from(RecordId::from(project));
    assert!(matches!(users.update(&mut tx, astray, &user), Err(Error::WrongSet { .. })));
    assert!(matches!(users.delete(&mut tx, astray), Err(Error::WrongSet { .. })));
    projects.update(&mut tx, project, &Json(Project { title: "difference".to_owned() })).unwrap();
    tx.commit_with(tenure::Durability::Buffered).unwrap();
    assert_eq!(fresh.fetch(project).unwrap().title, "difference");
    // A deleted ID is reported as deleted, a never allocated one as never allocated.
    fresh.write(|tx| projects.delete(tx, project)).unwrap();
    assert!(matches!(fresh.write(|tx| users.delete(tx, astray)), Err(Error::Deleted { .. })));
    let never = "9999.1".parse::<Id<Json<User>>>().unwrap();
    assert!(matches!(fresh.write(|tx| users.update(tx, never, &user)), Err(Error::NeverAllocated { .. })));
    // And a set of another store refuses it.
    let here = fresh.write(|tx| projects.insert(tx, &Json(Project { title: "here".to_owned() }))).unwrap();
    let elsewhere = store.typed_set(PROJECTS).unwrap();
    assert!(matches!(
        fresh.write(|tx| elsewhere.update(tx, here, &Json(Project { title: "there".to_owned() }))),
        Err(Error::OtherStore { .. })
    ));
    assert!(matches!(fresh.write(|tx| elsewhere.delete(tx, here)), Err(Error::OtherStore { .. })));
}
