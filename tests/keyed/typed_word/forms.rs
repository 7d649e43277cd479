//! The serde forms of IDs and timestamps, and all types of keys.

use serde::de::IntoDeserializer;
use serde::de::value::{Error, I64Deserializer, U64Deserializer};
use serde::{Deserialize, Serialize};
use tenure::key::{Desc, Timestamp};
use tenure::typed::{IndexDefinition, Json, SetDefinition};
use tenure::{RecordId, Store};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Visit {
    who: RecordId,
    at: Timestamp,
}

#[test]
fn ids_and_moments_are_text_for_people_and_numbers_elsewhere() {
    let visit = Visit { who: "12.1".parse().unwrap(), at: "2026-01-31T12:00:00.5Z".parse().unwrap() };
    let text = r#"{"who":"12.1","at":"2026-01-31T12:00:00.500000Z"}"#;
    assert_eq!(serde_json::to_string(&visit).unwrap(), text);
    assert_eq!(serde_json::from_str::<Visit>(text).unwrap(), visit);
    let micros = format!(r#"{{"who":"12.1","at":{}}}"#, visit.at.micros());
    assert_eq!(serde_json::from_str::<Visit>(&micros).unwrap(), visit, "as extractors read it");
    for wrong in [r#"{"who":12,"at":0}"#, r#"{"who":"0.0","at":0}"#, r#"{"who":"12.1","at":"now"}"#] {
        assert!(serde_json::from_str::<Visit>(wrong).is_err(), "{wrong}");
    }
    // Deserializers of plain numbers count as read by people, so only what such a format gives is asked.
    let number: I64Deserializer<Error> = (-1_i64).into_deserializer();
    assert_eq!(Timestamp::deserialize(number).unwrap().micros(), -1);
    let number: U64Deserializer<Error> = visit.who.as_u64().into_deserializer();
    assert_eq!(RecordId::deserialize(number).unwrap(), visit.who);
    let wide: U64Deserializer<Error> = u64::MAX.into_deserializer();
    assert!(Timestamp::deserialize(wide).is_err());
}

type Wide = (u8, u16, u32, u64, i8, i16, Desc<i32>, [u8; 4]);

const VISITS: SetDefinition<Json<Visit>> = SetDefinition::new("visits");
const BY_HASH: IndexDefinition<Json<Visit>, [u8; 8]> =
    IndexDefinition::unique("hash", 1, |visit, put| put(visit.at.micros().to_be_bytes()));
const BY_ALL: IndexDefinition<Json<Visit>, Wide> = IndexDefinition::new("all", 1, |visit, put| {
    put((1, 2, 3, visit.who.as_u64(), 5, 6, Desc(7), [8; 4]));
});

#[test]
fn keys_are_arrays_of_bytes_and_tuples_of_eight() {
    let store = Store::in_memory().unwrap();
    let visits = store.typed_set(VISITS).unwrap();
    let by_hash = store.typed_index(&visits, BY_HASH).unwrap();
    let by_all = store.typed_index(&visits, BY_ALL).unwrap();
    let who: RecordId = "12.1".parse().unwrap();
    let visit = Json(Visit { who, at: Timestamp::from_micros(77) });
    let ids = store.write(|tx| visits.insert_many(tx, std::slice::from_ref(&visit))).unwrap();
    let view = store.view();
    assert_eq!(by_hash.get(&view, 77_i64.to_be_bytes()).unwrap(), Some(ids[0]));
    assert_eq!(by_all.get(&view, (1, 2, 3, who.as_u64(), 5, 6, Desc(7), [8; 4])).unwrap(), Some(ids[0]));
    assert_eq!(by_all.prefix(&view, &(1, 2, 3)).unwrap().left(), 1);
}

#[test]
fn many_values_are_inserted_in_one_call_and_changed_at_their_version() {
    let store = Store::in_memory().unwrap();
    let visits = store.typed_set(VISITS).unwrap();
    let by_hash = store.typed_index(&visits, BY_HASH).unwrap();
    let visit = |micros| Json(Visit { who: "1.1".parse().unwrap(), at: Timestamp::from_micros(micros) });
    let all: Vec<_> = (0..100).map(visit).collect();
    let ids = store.write(|tx| visits.insert_many(tx, &all)).unwrap();
    let view = store.view();
    assert_eq!(view.fetch_many(&ids).into_iter().map(Result::unwrap).collect::<Vec<_>>(), all);
    assert_eq!(by_hash.index().len(&view).unwrap(), 100);
    let (value, seq) = view.fetch_versioned(ids[7]).unwrap();
    assert_eq!(value, visit(7));
    store.write(|tx| visits.update_if(tx, ids[7], seq, &visit(1000))).unwrap();
    let late = store.write(|tx| visits.update_if(tx, ids[7], seq, &visit(2000)));
    assert!(matches!(late, Err(tenure::Error::VersionMismatch { .. })), "{late:?}");
    let elsewhere = store.record_set("elsewhere").unwrap();
    let other = store.write(|tx| tx.insert(&elsewhere, "{}")).unwrap();
    let astray = store.write(|tx| visits.update_if(tx, other.into(), tenure::Seq(1), &visit(3000)));
    assert!(matches!(astray, Err(tenure::Error::WrongSet { .. })), "{astray:?}");
    assert_eq!(by_hash.get(&store.view(), 1000_i64.to_be_bytes()).unwrap(), Some(ids[7]));
    assert_eq!(store.verify_index(by_hash.index()).unwrap(), [""; 0]);
}
