//! The page on errors names every error, and no other.

use std::collections::BTreeSet;

/// The variants of an enum in a source file.
fn variants(source: &str, of: &str) -> BTreeSet<String> {
    let body = source.split_once(&format!("pub enum {of} {{")).expect("the enum").1;
    let body = body.split_once("\n}\n").expect("its end").0;
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(char::is_uppercase));
    names.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(line).to_owned()).collect()
}

/// The names in the first column of the tables of a page.
fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split_once(" |").map(|(cell, _)| cell));
    cells.flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`').to_owned())).collect()
}

#[test]
fn every_error_of_the_library_is_documented() {
    let errors = variants(include_str!("../../../src/error.rs"), "Error");
    assert!(errors.len() > 40, "{errors:?}");
    assert_eq!(documented(include_str!("../../../docs/guide/errors.md")), errors);
}

#[test]
fn every_design_decision_is_in_the_list() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/decisions");
    let list = include_str!("../../../docs/decisions/README.md");
    let pages = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> = pages.filter(|page| page != "README.md").collect();
    let links = list.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned());
    assert_eq!(links.collect::<BTreeSet<_>>(), pages);
}
