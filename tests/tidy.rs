//! Properties of the source tree: layers, module docs, file length, the top level, links between documents, and that every test runs.
//!
//! The messages of this test say what to do. Nothing is exempt, including test modules inside files.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer, from the lowest. A module imports only from lower layers, and from modules before it in its own
/// layer. So there are no import cycles.
const FLOORS: &[&[&str]] = &[
    &["sync", "shared", "planted", "id", "key_bytes", "error", "key", "format"],
    &["backing", "remote", "pins"],
    &["log", "pages", "manifest", "reserve"],
    &["record_index", "key_index"],
    &["extract", "catalogue", "heap", "history", "commit_lock"],
    &["engine"],
    &["snapshot"],
    &["recovery", "gc"],
    &["txn"],
    &[
        "stats",
        "options",
        "indexing",
        "store",
        "changes",
        "typed",
        "verify",
        "backup",
        "repository",
        "inspect",
        "import",
        "salvage",
        "repair",
        "dump",
    ],
];

/// Names allowed at the top level of the repository, besides files that start with a dot or with `LICENSE`.
const TOP_LEVEL: &[&str] =
    &["Cargo.toml", "Cargo.lock", "README.md", "CHANGELOG.md", "src", "tests", "benches", "fuzz", "docs", "target"];

const LINES_MAX: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` with this ending, in a fixed order; build output and hidden directories are left out.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry of a directory").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

/// Layer and place in it; a module imports only modules with a lower pair.
fn position(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, modules)| {
        let place = modules.iter().position(|name| *name == module)?;
        Some((floor, place))
    })
}

/// The module of the crate root that a file belongs to, and whether `super` leads from it to the crate root.
fn module_of(file: &Path) -> (String, bool) {
    let relative = file.strip_prefix(root().join("src")).expect("a file below src");
    let parts: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
    let first = parts.first().copied().unwrap_or_default();
    let below_root = parts.len() == 1 || (parts.len() == 2 && parts.last() == Some(&"mod.rs"));
    (first.trim_end_matches(".rs").to_owned(), below_root)
}

/// The code of a line, without a comment that takes the whole line.
fn code(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with("//") { "" } else { line }
}

/// The text after each `path` that starts a word in the line.
fn behind<'a>(line: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(path).filter_map(move |(at, _)| {
        let before = line.get(..at)?.chars().next_back();
        let begins = before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':');
        if begins { line.get(at + path.len()..) } else { None }
    })
}

/// The modules after `crate::`: one, or several in braces. `None` if they cannot be determined.
fn names(rest: &str) -> Option<Vec<&str>> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let all: Vec<&str> = match rest.strip_prefix('{') {
        Some(inner) => inner.split_once('}')?.0.split(',').map(str::trim).collect(),
        None => vec![rest],
    };
    let all: Vec<&str> = all.into_iter().filter_map(|name| name.get(..word(name))).collect();
    all.iter().all(|name| !name.is_empty()).then_some(all)
}

/// Why a module may not import from another.
fn refused(name: &str, module: &str) -> Option<String> {
    if name == module {
        return None;
    }
    let (Some(own), Some(other)) = (position(module), position(name)) else {
        return Some(format!("uses crate::{name}, which is not a module of a layer: import from where it is defined"));
    };
    (other >= own).then(|| {
        format!(
            "{module} (layer {}) may not use crate::{name} (layer {}): move what both need to a lower layer, or pass it in \
             from above; the layers are listed in docs/ARCHITECTURE.md",
            own.0, other.0
        )
    })
}

fn check_imports(text: &str, file: &str, module: &str, below_root: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, code(line))) {
        if line.contains("super::super") {
            problems.push(format!("{file}:{number}: write the path from `crate::` instead of `super::super`"));
        }
        if below_root && behind(line, "super::").any(|rest| !rest.starts_with('*')) {
            problems.push(format!("{file}:{number}: `super` is the crate root here: write `crate::module::Name`"));
        }
        for rest in behind(line, "crate::") {
            let Some(names) = names(rest) else {
                problems.push(format!("{file}:{number}: name the modules, on one line and without a glob"));
                continue;
            };
            for name in names {
                problems.extend(refused(name, module).map(|why| format!("{file}:{number}: {why}")));
            }
        }
    }
    problems
}

#[test]
fn imports_go_down() {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    let sources = files(&root().join("src"), "rs");
    assert!(sources.len() > 20, "too few sources were found: look at `files`");
    for file in &sources {
        let (module, below_root) = module_of(file);
        if module == "lib" || module == "bin" {
            continue;
        }
        if position(&module).is_none() {
            problems
                .push(format!("{}: put `{module}` in a layer, in tests/tidy.rs and docs/ARCHITECTURE.md", shown(file)));
            continue;
        }
        problems.extend(check_imports(&read(file), &shown(file), &module, below_root));
        seen.insert(module);
    }
    for module in FLOORS.iter().flat_map(|floor| floor.iter()).filter(|module| !seen.contains(**module)) {
        problems.push(format!("floor list of tests/tidy.rs: `{module}` has no source: take it off the list"));
    }
    report(&problems);
}

#[test]
fn the_check_of_imports_sees_what_it_is_for() {
    let problems = |text: &str, module: &str| check_imports(text, "file", module, true).len();
    assert_eq!(problems("use crate::error::Error;\nuse crate::heap::Heap;", "engine"), 0);
    assert_eq!(problems("use crate::engine::Engine;", "heap"), 1, "upwards");
    assert_eq!(problems("    let x = crate::store::Store::open(path);", "heap"), 1, "upwards, inside code");
    assert_eq!(problems("use crate::log::Log;", "backing"), 1, "upwards from a low floor");
    assert_eq!(problems("use crate::format::Seed;", "id"), 1, "from a later module of the same floor");
    assert_eq!(problems("use crate::{error, id};", "heap"), 0, "several modules");
    assert_eq!(problems("use crate::{error, store, txn};", "heap"), 2, "upwards, in braces");
    assert_eq!(problems("use crate::{", "heap"), 1, "what is imported stands on another line");
    assert_eq!(problems("use crate::*;", "heap"), 1, "a glob hides what is imported");
    assert_eq!(problems("use crate::Store;", "heap"), 1, "a re-export of the facade hides the module");
    assert_eq!(problems("use super::store::Store;", "heap"), 1, "super is the crate root");
    assert_eq!(problems("use super::super::store::Store;", "heap"), 2);
    assert_eq!(problems("    use super::*;", "heap"), 0, "a test module");
    assert_eq!(problems("// use crate::store::Store;", "heap"), 0, "a comment");
    assert_eq!(problems("pub(crate) fn f() {}\nuse arc_crate::heap;", "log"), 0);
}

/// Lines of a file that import from the module that the line above imports from, where one line could say both.
fn ungrouped(text: &str) -> Vec<usize> {
    let parent = |line: &str| {
        let path = line.trim_start().strip_prefix("use ")?.strip_suffix(';')?;
        let (parent, name) = path.rsplit_once("::")?;
        (!name.contains([' ', '}', '*'])).then(|| parent.to_owned())
    };
    let mut above: (Option<String>, bool) = (None, false);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let parent = parent(line);
        // One that stands under a condition stands alone.
        if parent.is_some() && parent == above.0 && !above.1 {
            found.push(index + 1);
        }
        above = if line.starts_with("#[") { (None, true) } else { (parent, above.0.is_none() && above.1) };
    }
    found
}

#[test]
fn imports_are_grouped_by_module() {
    assert_eq!(ungrouped("use std::io;\nuse std::fs;\nuse std::io::Read;"), [2]);
    assert_eq!(ungrouped("use a::b::C;\nuse a::b::D;\nuse a::b::E;"), [2, 3]);
    assert_eq!(ungrouped("#[cfg(unix)]\nuse std::io::Write;\nuse std::io::Read;"), [0; 0]);
    assert_eq!(ungrouped("use std::{fs, io};\nuse std::io::Read;\nuse a::b as c;\nuse a::d;"), [0; 0]);
    let mut problems = Vec::new();
    for file in ["src", "tests", "benches", "fuzz"].into_iter().flat_map(|part| files(&root().join(part), "rs")) {
        let lines = ungrouped(&read(&file));
        problems.extend(lines.into_iter().map(|line| format!("{}:{line}: group it with the line above", shown(&file))));
    }
    report(&problems);
}

#[test]
fn the_program_sees_only_the_public_interface() {
    let mut problems = Vec::new();
    for file in files(&root().join("src/bin"), "rs") {
        for (index, line) in read(&file).lines().enumerate() {
            if behind(code(line), "tenure::format").next().is_some() {
                problems.push(format!("{}:{}: the program uses the public interface only", shown(&file), index + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut problems = Vec::new();
    for part in ["src", "tests", "benches", "fuzz", "docs"] {
        for file in files(&root().join(part), "rs") {
            let text = read(&file);
            if !text.starts_with("//!") {
                problems.push(format!("{}: begin with `//!`: what it owns, and what it never does", shown(&file)));
            }
            let lines = text.lines().count();
            if lines > LINES_MAX {
                problems.push(format!(
                    "{}: {lines} lines, the limit is {LINES_MAX}: give a concept its own file",
                    shown(&file)
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let mut problems = Vec::new();
    for entry in fs::read_dir(root()).expect("the repository") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let belongs = name.starts_with('.') || name.starts_with("LICENSE") || TOP_LEVEL.contains(&name.as_str());
        if !belongs {
            problems.push(format!("{name}: move it below src, tests, benches or docs; examples live in docs/examples"));
        }
    }
    report(&problems);
}

/// Targets of inline links `[..](target)` in Markdown, outside code, with their line numbers.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Parts between backticks are code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.map(|target| (index + 1, target.trim().to_owned())));
    }
    found
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line.trim_start_matches('#')) == wanted)
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut problems = Vec::new();
    let mut count = 0;
    let documents = files(root(), "md");
    assert!(documents.iter().any(|path| path.ends_with("README.md")), "no README.md was found");
    for file in &documents {
        for (line, target) in links(&read(file)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let place = if path.is_empty() { file.clone() } else { file.parent().unwrap_or(root()).join(path) };
            if !place.exists() {
                problems
                    .push(format!("{}:{line}: {target} is not there: mend the link, or write the page", shown(file)));
            } else if !fragment.is_empty() && place.is_file() && !has_anchor(&read(&place), fragment) {
                problems.push(format!("{}:{line}: {target}: the page has no such heading", shown(file)));
            }
        }
    }
    assert!(count > 10, "only {count} links were found: look at `links`");
    report(&problems);
}

#[test]
fn the_check_of_links_sees_what_it_is_for() {
    let text = "# A `b` c\n[x](y.md) and `[not](this.md)`\n```\n[nor](that.md)\n```\n[z](w.md#part)";
    assert_eq!(links(text), [(2, "y.md".to_owned()), (6, "w.md#part".to_owned())]);
    assert!(has_anchor(text, "a-b-c") && !has_anchor(text, "x"));
}
