//! Properties of keys: bytes sort as values do, encoding round-trips, no input makes decoding or parsing panic.
//!
//! Each property runs 256 cases, or `PROPTEST_CASES`. Values near the edges of the encoding are drawn more often than
//! others. A failure is kept in `key_properties.regressions` beside this file and tried first from then on.

use std::ops::RangeBounds;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;

use tenure::key::{Desc, Integer, Key, KeyValue, KeyWriter, Timestamp, ToKey, decode, prefix_end, prefix_range};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// Numbers beside powers of 256 and the ends of types.
fn integers() -> impl Strategy<Value = Integer> {
    let edge = (0..=127_u32, -2..=2_i128, any::<bool>()).prop_map(|(bits, beside, below)| {
        let power = 1_u128 << bits;
        let number = i128::try_from(power).unwrap_or(i128::MAX);
        Integer::from(if below { number.wrapping_neg().saturating_add(beside) } else { number.saturating_add(beside) })
    });
    let high = (0..4_u128).prop_map(|below| Integer::from(u128::MAX - below));
    let middle = (0..4_u128).prop_map(|beside| Integer::from((1_u128 << 127) - 2 + beside));
    prop_oneof![
        4 => edge,
        1 => high,
        1 => middle,
        2 => (-300..70_000_i64).prop_map(Integer::from),
        1 => any::<i128>().prop_map(Integer::from),
        1 => any::<u128>().prop_map(Integer::from),
    ]
}

fn floats() -> impl Strategy<Value = f64> {
    let edges = vec![0.0, -0.0, 1.0, -1.0, f64::MIN_POSITIVE, 5e-324, -5e-324, f64::MAX, f64::MIN, f64::INFINITY];
    let nans = [0x7ff8_0000_0000_0000_u64, 0xfff8_0000_0000_0000, 0x7ff0_0000_0000_0001, u64::MAX];
    let edges = edges.into_iter().chain([f64::NEG_INFINITY]).chain(nans.map(f64::from_bits)).collect::<Vec<f64>>();
    prop_oneof![2 => select(edges), 1 => any::<u64>().prop_map(f64::from_bits), 1 => -10.0..10.0]
}

/// Bytes around the escape, the end and the complement.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let near = prop_oneof![3 => select(vec![0x00, 0x01, 0x02, 0x03, 0x7f, 0x80, 0xfe, 0xff]), 1 => any::<u8>()];
    vec(near, 0..6)
}

fn strings() -> impl Strategy<Value = String> {
    let near = prop_oneof![3 => select(vec!['\0', '\u{1}', '\u{2}', 'a', 'b', '"', '\\', '\u{7f}', 'é', '\u{ffff}', '😀']), 1 => any::<char>()];
    vec(near, 0..5).prop_map(|chars| chars.into_iter().collect())
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    let micros = prop_oneof![select(vec![0, 1, -1, i64::MIN, i64::MAX]), any::<i64>(), -10_i64.pow(16)..10_i64.pow(16)];
    micros.prop_map(Timestamp::from_micros)
}

fn leaf() -> impl Strategy<Value = KeyValue> {
    prop_oneof![
        1 => Just(KeyValue::Null),
        1 => any::<bool>().prop_map(KeyValue::Bool),
        4 => integers().prop_map(KeyValue::Integer),
        2 => floats().prop_map(KeyValue::Float),
        1 => timestamps().prop_map(KeyValue::Timestamp),
        3 => strings().prop_map(KeyValue::String),
        2 => bytes().prop_map(KeyValue::Bytes),
    ]
}

/// Values of all types, nested and in both directions; never one `Desc` in the other, as two undo each other.
fn values() -> impl Strategy<Value = KeyValue> {
    let either = |value: KeyValue, descends| match value {
        value if descends && !matches!(value, KeyValue::Desc(_)) => KeyValue::Desc(Box::new(value)),
        value => value,
    };
    let leaf = (leaf(), prop::bool::weighted(0.3)).prop_map(move |(value, descends)| either(value, descends));
    leaf.prop_recursive(3, 12, 3, move |inner| {
        (vec(inner, 0..4), any::<bool>()).prop_map(move |(values, descends)| either(KeyValue::Tuple(values), descends))
    })
}

fn lists() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(values(), 0..4)
}

/// Two lists that often share a prefix.
fn pairs() -> impl Strategy<Value = (Vec<KeyValue>, Vec<KeyValue>)> {
    (vec(values(), 0..2), lists(), lists())
        .prop_map(|(common, first, second)| ([common.clone(), first].concat(), [common, second].concat()))
}

fn key(values: &[KeyValue]) -> Key {
    Key::new(values).expect("a short key")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bytes_sort_as_values((first, second) in pairs()) {
        prop_assert_eq!(key(&first).cmp(&key(&second)), first.cmp(&second), "{:?} and {:?}", first, second);
    }

    #[test]
    fn integers_sort_as_numbers(first in integers(), second in integers()) {
        let [one, other] = [first, second].map(|number| Key::new(&number).unwrap());
        prop_assert_eq!(one.cmp(&other), first.cmp(&second), "{} and {}", first, second);
        let [one, other] = [first, second].map(|number| Key::new(&Desc(number)).unwrap());
        prop_assert_eq!(one.cmp(&other), second.cmp(&first), "{} and {}, descending", first, second);
    }

    #[test]
    fn floats_sort_in_total_order(first in floats(), second in floats()) {
        let [one, other] = [first, second].map(|number| Key::new(&number).unwrap());
        prop_assert_eq!(one.cmp(&other), first.total_cmp(&second));
    }

    #[test]
    fn narrow_floats_sort_in_total_order_and_meet_the_wide_ones(first in any::<u32>(), second in any::<u32>()) {
        let [first, second] = [first, second].map(f32::from_bits);
        let [one, other] = [first, second].map(|number| Key::new(&number).unwrap());
        prop_assert_eq!(one.cmp(&other), first.total_cmp(&second));
        if !first.is_nan() {
            prop_assert_eq!(one, Key::new(&f64::from(first)).unwrap());
        }
    }

    #[test]
    fn rust_tuples_sort_as_rust_says(first in any::<(i32, String, Option<bool>)>(), second in any::<(i32, String, Option<bool>)>()) {
        let nested = |(a, b, c): &(i32, String, Option<bool>)| Key::new(&(a % 4, (b.as_str(), Desc(*c)))).unwrap();
        let expected = (first.0 % 4, &first.1, std::cmp::Reverse(first.2)).cmp(&(second.0 % 4, &second.1, std::cmp::Reverse(second.2)));
        prop_assert_eq!(nested(&first).cmp(&nested(&second)), expected);
    }

    #[test]
    fn what_is_encoded_comes_back(values in lists()) {
        let key = key(&values);
        prop_assert_eq!(decode(key.as_bytes()).unwrap(), values.clone());
        prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key, "{:?}", values);
    }

    #[test]
    fn widths_do_not_show(number in any::<u8>()) {
        let wide = Key::new(&u128::from(number)).unwrap();
        prop_assert_eq!(&wide, &Key::new(&i32::from(number)).unwrap());
        prop_assert_eq!(&wide, &Key::new(&number).unwrap());
        prop_assert_eq!(&wide, &Key::new(&u64::from(number)).unwrap());
    }

    #[test]
    fn components_end_where_they_say(values in lists(), behind in values()) {
        // A list is the concatenation of its components, and its key a prefix of every longer one.
        let parts: Vec<u8> = values.iter().flat_map(|value| Key::new(value).unwrap().as_bytes().to_vec()).collect();
        let whole = key(&values);
        prop_assert_eq!(whole.as_bytes(), &parts[..]);
        let mut longer = values.clone();
        longer.push(behind);
        let longer = key(&longer);
        prop_assert!(longer.as_bytes().starts_with(&parts));
        prop_assert!(prefix_range(&whole).contains(&longer) && prefix_range(&whole).contains(&whole));
        // Cut inside its last component it is no key.
        if let Some(last) = values.last() {
            let end = parts.len() - Key::new(last).unwrap().as_bytes().len();
            for cut in end + 1..parts.len() {
                prop_assert!(decode(&parts[..cut]).is_err(), "{:?} cut at {}", values, cut);
            }
        }
    }

    #[test]
    fn no_component_is_a_prefix_of_another(first in values(), second in values()) {
        let [one, other] = [&first, &second].map(|value| Key::new(value).unwrap());
        prop_assert_eq!(one.as_bytes().starts_with(other.as_bytes()), first == second, "{:?} and {:?}", first, second);
        // Neither the end of a tuple nor a bound begins as a component does.
        prop_assert!(!matches!(one.as_bytes()[0], 0x00 | 0xff));
    }

    #[test]
    fn the_range_of_a_prefix_holds_what_begins_so(prefix in lists(), other in lists()) {
        let (prefix_key, other_key) = (key(&prefix), key(&other));
        let begins = other.starts_with(&prefix);
        prop_assert_eq!(prefix_range(&prefix_key).contains(&other_key), begins, "{:?} and {:?}", prefix, other);
    }

    #[test]
    fn the_start_of_a_string_finds_what_begins_so(before in leaf(), start in strings(), text in strings()) {
        let mut writer = KeyWriter::new();
        before.write_key(&mut writer);
        let range = prefix_range(&writer.clone().finish_with_start_of_string(&start).unwrap());
        let found = range.contains(&Key::new(&(&before, text.as_str())).unwrap());
        prop_assert_eq!(found, text.starts_with(&start), "{:?} and {:?}", start, text);
        let range = prefix_range(&writer.finish_with_start_of_bytes(start.as_bytes()).unwrap());
        let found = range.contains(&Key::new(&(&before, text.as_bytes())).unwrap());
        prop_assert_eq!(found, text.starts_with(&start), "bytes of {:?} and {:?}", start, text);
    }

    #[test]
    fn the_end_of_a_prefix_is_the_least_key_behind_it(prefix in bytes(), other in bytes()) {
        match prefix_end(&prefix) {
            Some(end) => {
                prop_assert!(end.as_bytes() > &prefix[..] && !end.as_bytes().starts_with(&prefix));
                let behind = other > prefix && !other.starts_with(&prefix);
                prop_assert_eq!(other.as_slice() >= end.as_bytes(), behind);
            }
            None => prop_assert!(other <= prefix || other.starts_with(&prefix) || prefix.iter().any(|byte| *byte < 0xff)),
        }
    }

    #[test]
    fn any_bytes_are_refused_or_come_back(bytes in vec(any::<u8>(), 0..40)) {
        if let Ok(values) = decode(&bytes) {
            let again = key(&values);
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
        drop(Key::from_bytes(&bytes).unwrap().to_string());
    }

    #[test]
    fn keys_that_are_mutated_are_refused_or_come_back(values in lists(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
        let mut bytes = key(&values).as_bytes().to_vec();
        let at = at.index(bytes.len() + 1);
        match how {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            _ => bytes.truncate(at),
        }
        if let Ok(values) = decode(&bytes) {
            let again = key(&values);
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn any_text_is_refused_or_comes_back(text in prop_oneof![any::<String>(), "[0-9a-fx@+\\-.,:TZ()\"\\\\ ude nulldesc]{0,24}"]) {
        if let Ok(key) = text.parse::<Key>() {
            prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        }
        drop(text.parse::<Timestamp>());
    }

    #[test]
    fn a_writer_that_is_used_again_writes_the_same(first in lists(), second in lists()) {
        let mut writer = KeyWriter::new();
        first.write_key(&mut writer);
        writer.clear();
        second.write_key(&mut writer);
        let second = key(&second);
        prop_assert_eq!(writer.as_bytes().unwrap(), second.as_bytes());
    }
}
