//! `docs/errors.md` against the program: each test of `errors`, `places`, `points`, `loads`, `endings`, `refusals`,
//! `change_errors` and `backup_errors` looks up its row here.
//!
//! A row is `| case | message | exit code | what to do | test |`. In messages and advice `…` stands for any text.

use std::collections::BTreeSet;

use crate::support::Run;

const TABLE: &str = include_str!("../../docs/errors.md");
const TESTS: [&str; 8] = [
    include_str!("errors.rs"),
    include_str!("places.rs"),
    include_str!("points.rs"),
    include_str!("loads.rs"),
    include_str!("endings.rs"),
    include_str!("refusals.rs"),
    include_str!("backup_errors.rs"),
    include_str!("change_errors.rs"),
];

/// A row of the table.
#[derive(Debug)]
struct Row {
    message: String,
    code: i32,
    advice: String,
    test: String,
}

fn rows() -> Vec<Row> {
    let cells = |line: &'static str| line.trim_matches('|').split(" | ").map(|cell| unquoted(cell.trim()));
    let rows = TABLE.lines().filter(|line| line.starts_with("| ")).map(|line| cells(line).collect::<Vec<_>>());
    let row = |cells: Vec<&str>| match cells.as_slice() {
        [_case, message, code, advice, test] => Row {
            message: (*message).to_owned(),
            code: code.parse().expect("an exit code"),
            advice: (*advice).to_owned(),
            test: (*test).to_owned(),
        },
        other => panic!("a row of {} cells: {other:?}", other.len()),
    };
    rows.filter(|cells| cells.last() != Some(&"test")).map(row).collect()
}

/// A cell without the code marks around it: one backtick, or two if the text contains backticks, with spaces if it ends with one.
fn unquoted(cell: &str) -> &str {
    let without = |begin: &str, end: &str| cell.strip_prefix(begin)?.strip_suffix(end);
    without("`` ", " ``").or_else(|| without("``", "``")).or_else(|| without("`", "`")).unwrap_or(cell)
}

/// Whether `text` matches `pattern`, in which `…` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split('…').collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    if parts.len() == 1 {
        return rest.is_empty();
    }
    for part in parts.iter().take(parts.len() - 1).skip(1) {
        let Some((_any, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// The content of stderr as lines of text, also if `--json` made it a document.
fn text_of(err: &str) -> String {
    let line = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(told) if told["error"].is_string() => {
            let part = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            format!("error: {}\nhelp: {}\n", part("error"), part("help"))
        }
        _ => format!("{line}\n"),
    };
    err.lines().map(line).collect()
}

/// The run ended as the row of `test` says, with one line that names `place`, and printed no result.
pub fn assert_told(test: &str, run: &Run, place: &str) {
    let row = rows().into_iter().find(|row| row.test == test).unwrap_or_else(|| panic!("no row for {test}"));
    assert_eq!(run.code, row.code, "{test}: {}", run.err);
    let lines = text_of(&run.err);
    let is_told = |line: &&str| line.starts_with("error:") || line.starts_with("note:");
    let told: Vec<&str> = lines.lines().filter(is_told).collect();
    let [line] = told.as_slice() else { panic!("{test}: not one line: {:?}", run.err) };
    assert!(matches(&row.message, line), "{test}: expected {:?}, got {line:?}", row.message);
    assert!(line.contains(place), "{test}: {place:?} is not named in {line:?}");
    let advised = lines.lines().any(|line| matches(&row.advice, line));
    assert!(advised || row.advice == "nothing", "{test}: expected {:?}, got {:?}", row.advice, run.err);
}

#[test]
fn patterns_match() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("…b", "ab", true),
        ("a…c…e", "abcde", true),
        ("a…x…e", "abcde", false),
        ("b…", "ab", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn each_row_has_a_test_and_each_test_a_row() {
    let named: BTreeSet<String> = rows().into_iter().map(|row| row.test).collect();
    let is_test = |(attribute, function): (&str, &str)| {
        let name = function.trim().strip_prefix("fn ")?.split_once('(')?.0;
        (attribute.trim() == "#[test]").then(|| name.to_owned())
    };
    let tests: BTreeSet<String> =
        TESTS.iter().flat_map(|text| text.lines().zip(text.lines().skip(1)).filter_map(is_test)).collect();
    assert!(tests.len() > 20, "the tests were not found");
    assert_eq!(named, tests);
}
