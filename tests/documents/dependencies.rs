//! Each dependency in `Cargo.toml` has a row in `docs/dependencies.md`, and each row there a dependency.

use std::collections::BTreeMap;

use crate::markdown;

const MANIFEST: &str = include_str!("../../Cargo.toml");
const DOCUMENT: &str = include_str!("../../docs/dependencies.md");

/// Name and kind (normal, optional, dev, build) of every dependency of a manifest.
fn declared(manifest: &str) -> Vec<(String, &'static str)> {
    let mut kind = None;
    let mut found = Vec::new();
    let mut in_table = false;
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_matches(['[', ']']);
            // `[dependencies]`, `[target.'cfg(…)'.dev-dependencies]`, `[dependencies.name]`.
            let parts: Vec<&str> = section.split('.').collect();
            let is = |part: &&str| part.ends_with("dependencies");
            let place = parts.iter().position(is);
            kind = place.and_then(|place| match parts[place] {
                "dependencies" => Some("normal"),
                "dev-dependencies" => Some("dev"),
                "build-dependencies" => Some("build"),
                _ => None,
            });
            let name = place.and_then(|place| parts.get(place + 1));
            in_table = name.is_some();
            found.extend(name.zip(kind).map(|(name, kind)| ((*name).to_owned(), kind)));
        } else if let (Some(kind), Some((name, value))) = (kind, line.split_once('=')) {
            let optional = value.contains("optional = true") || (in_table && line.replace(' ', "") == "optional=true");
            let kind = if optional { "optional" } else { kind };
            match found.last_mut().filter(|_| in_table) {
                Some(last) if optional => last.1 = kind,
                Some(_) => {}
                None => found.push((name.split('.').next().unwrap_or(name).trim().trim_matches('"').to_owned(), kind)),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_dependency_is_explained_and_nothing_else_is() {
    let mut explained = Vec::new();
    for table in markdown::tables(DOCUMENT) {
        for row in &table.rows {
            let cell = |column: &str| row.get(column).map_or("", String::as_str);
            let kind = ["normal", "optional", "dev", "build"].into_iter().find(|kind| *kind == cell("kind"));
            let kind = kind.unwrap_or_else(|| panic!("under {:?}: kind {:?}", table.heading, cell("kind")));
            for column in ["dependency", "for", "why not our own", "licence"] {
                assert!(!cell(column).is_empty(), "{} has an empty {column:?}", cell("dependency"));
            }
            explained.push((cell("dependency").to_owned(), kind));
        }
    }
    explained.sort();
    let declared = declared(MANIFEST);
    assert!(declared.len() > 5, "the manifest was not understood");
    let add: Vec<_> = declared.iter().filter(|line| !explained.contains(line)).collect();
    let remove: Vec<_> = explained.iter().filter(|line| !declared.contains(line)).collect();
    assert!(add.is_empty(), "add a line to docs/dependencies.md for {add:?}");
    assert!(remove.is_empty(), "remove the line in docs/dependencies.md of {remove:?}");
    assert_eq!(explained, declared, "a line is there twice");
}

#[test]
fn every_way_to_declare_a_dependency_is_understood() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\n# b = \"1\"\nc = { version = \"1\", optional = true }\n\
        d.workspace = true\n[dependencies.e]\nversion = \"1\"\noptional = true\n[target.'cfg(unix)'.dev-dependencies]\n\
        f = \"1\"\n[build-dependencies]\n\"g\" = \"1\"\n[features]\nh = []\n[profile.dev]\noptional = true\n";
    let found: BTreeMap<String, &str> = declared(manifest).into_iter().collect();
    let wanted = [("a", "normal"), ("c", "optional"), ("d", "normal"), ("e", "optional"), ("f", "dev"), ("g", "build")];
    assert_eq!(found, wanted.map(|(name, kind)| (name.to_owned(), kind)).into());
}

#[test]
fn licences_are_ones_that_we_can_pass_on() {
    for table in markdown::tables(DOCUMENT) {
        for row in &table.rows {
            let licence = row.get("licence").map_or("", String::as_str);
            let allowed = licence.split([' ', '/']).any(|word| matches!(word, "MIT" | "Apache-2.0"));
            assert!(allowed, "{:?}: {licence:?}", row.get("dependency"));
        }
    }
}
