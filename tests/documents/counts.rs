//! When counts of instructions and allocations differ too much: the criterion of `cargo bench --bench counts`.

#[path = "../../benches/counts/figures.rs"]
mod figures;

use std::collections::BTreeMap;

use figures::{ALLOCATING_TOLERANCE, ALLOCATIONS_TOLERANCE, Counts, TOLERANCE, Verdict, compare, rounded};

type Figures = BTreeMap<String, Counts>;

fn figures(all: &[(&str, f64, f64)]) -> Figures {
    let one = |(name, instructions, allocations): &(&str, f64, f64)| {
        ((*name).to_owned(), Counts { instructions: Some(*instructions), allocations: *allocations })
    };
    all.iter().map(one).collect()
}

fn apart(expected: &Figures, counted: &Figures) -> Vec<String> {
    match compare(expected, counted).1 {
        Verdict::Close => Vec::new(),
        Verdict::Apart(names) => names,
    }
}

#[test]
fn counts_within_the_tolerance_are_close() {
    let expected = figures(&[("get", 315.0, 0.0), ("commit", 7405.2, 6.02)]);
    for factor in [1.0, 1.0 + 0.99 * TOLERANCE, 1.0 - 0.99 * TOLERANCE] {
        let counted = figures(&[("get", 315.0 * factor, 0.0), ("commit", 7405.2 * factor, 6.02 * factor)]);
        assert_eq!(apart(&expected, &counted), [""; 0], "{factor}");
    }
    let counted = figures(&[("get", 315.0, ALLOCATIONS_TOLERANCE), ("commit", 7405.2, 6.02)]);
    assert_eq!(apart(&expected, &counted), [""; 0], "a buffer that grew");
    let expected = figures(&[("get", 300.0, 0.0), ("view", 480.0, 1.0)]);
    let more = |least| figures(&[("get", 300.0, 0.0), ("view", 480.0 + least, 1.0)]);
    assert_eq!(apart(&expected, &more(ALLOCATING_TOLERANCE)), [""; 0], "another directory");
    assert_eq!(apart(&expected, &more(ALLOCATING_TOLERANCE + 1.0)), ["view"]);
    assert_eq!(apart(&expected, &figures(&[("get", 320.0, 0.0), ("view", 480.0, 1.0)])), ["get"]);
}

#[test]
fn a_planted_regression_is_found_and_named() {
    let expected = figures(&[("get", 315.0, 0.0), ("commit", 7405.2, 6.02)]);
    let more = 1.0 + 1.01 * TOLERANCE;
    let cases = [
        ("more instructions", figures(&[("get", 315.0 * more, 0.0), ("commit", 7405.2, 6.02)]), "get"),
        ("more allocations", figures(&[("get", 315.0, 0.0), ("commit", 7405.2, 6.02 * more)]), "commit"),
        (
            "an allocation in a hundred where there was none",
            figures(&[("get", 315.0, 0.01), ("commit", 7405.2, 6.02)]),
            "get",
        ),
        ("fewer: later losses would hide there", figures(&[("get", 300.0, 0.0), ("commit", 7405.2, 6.02)]), "get"),
        ("an operation that is not counted any more", figures(&[("get", 315.0, 0.0)]), "commit"),
        (
            "an operation that the file does not have",
            figures(&[("get", 315.0, 0.0), ("commit", 7405.2, 6.02), ("scan", 1.0, 0.0)]),
            "scan",
        ),
        ("no number at all", figures(&[("get", f64::NAN, 0.0), ("commit", 7405.2, 6.02)]), "get"),
    ];
    for (what, counted, name) in cases {
        assert_eq!(apart(&expected, &counted), [name], "{what}");
    }
}

#[test]
fn without_instructions_the_allocations_are_compared() {
    let expected = figures(&[("get", 315.0, 0.0)]);
    let counted = |allocations| BTreeMap::from([("get".to_owned(), Counts { instructions: None, allocations })]);
    assert_eq!(apart(&expected, &counted(0.0)), [""; 0]);
    assert_eq!(apart(&expected, &counted(1.0)), ["get"]);
}

#[test]
fn the_table_shows_every_operation_and_marks_what_is_apart() {
    let expected = figures(&[("commit", 1000.0, 2.0), ("get", 300.0, 0.0)]);
    let (table, _) = compare(&expected, &figures(&[("commit", 1000.0, 2.0), ("get", rounded(400.00049), 0.0)]));
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert!(rows[0].starts_with("| commit | 1000.0 | 1000.0 | +0.00 %") && !rows[0].contains("APART"), "{table}");
    assert!(rows[1].contains("| +33.33 % |") && rows[1].contains("APART"), "{table}");
}
