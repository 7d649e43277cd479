//! No file of the library or of the command line imports, over however many others, from a file that imports from it.
//!
//! Layers keep modules of the crate root in order; this is about the files within one. Uses of a parent module do not count, since a
//! parent lists what its files define, nor does test code. Nothing is exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{code, files, read, report, root};

/// A file as a path of modules.
type Module = Vec<String>;

/// All files below a directory, by their place in the tree of modules, with their code.
fn modules(dir: &Path) -> BTreeMap<Module, String> {
    let module = |file: &Path| {
        let relative = file.strip_prefix(dir).expect("a file below").with_extension("");
        let mut parts: Module = relative.iter().filter_map(|part| Some(part.to_str()?.to_owned())).collect();
        parts.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        parts
    };
    files(dir, "rs").iter().map(|file| (module(file), read(file))).collect()
}

/// The paths that a line imports or names after `crate::` or `super::`, from the root of the crate on.
fn paths(line: &str, of: &[String]) -> Vec<Module> {
    let mut found = Vec::new();
    for (prefix, base) in [("crate::", &[][..]), ("super::", of.split_last().map_or(&[][..], |(_, above)| above))] {
        for (at, _) in line.match_indices(prefix) {
            if line
                .get(..at)
                .and_then(|before| before.chars().next_back())
                .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            {
                continue;
            }
            let rest = line.get(at + prefix.len()..).unwrap_or_default();
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            let (path, rest) = rest.split_at(end);
            let full = |path: &str| {
                let parts = path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
                base.iter().cloned().chain(parts).collect::<Module>()
            };
            match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((inner, _)) => found.extend(inner.split(',').map(|name| full(&format!("{path}{}", name.trim())))),
                None => found.push(full(path)),
            }
        }
    }
    found
}

/// The files whose items the code of a file names.
fn imports(of: &Module, text: &str, all: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let code = text
        .lines()
        .map(code)
        .take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test"));
    let within = |path: Module| {
        let file = (1..=path.len()).rev().filter_map(|end| path.get(..end)).find(|part| all.contains_key(*part))?;
        (!of.starts_with(file)).then(|| file.to_vec())
    };
    code.flat_map(|line| paths(line, of)).filter_map(within).collect()
}

/// For each file on a circle the files that it imports on a way back to itself.
fn circles(all: &BTreeMap<Module, String>) -> Vec<String> {
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        all.iter().map(|(of, text)| (of, imports(of, text, all))).collect();
    let reached = |from: &Module| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(next) = waiting.pop() {
            for import in imports.get(&next).into_iter().flatten() {
                if seen.insert(import.clone()) {
                    waiting.push(import.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = all.keys().map(|of| (of, reached(of))).collect();
    let mut found = Vec::new();
    for (of, imports) in &imports {
        let back: Vec<String> =
            imports.iter().filter(|import| reached[import].contains(*of)).map(|import| import.join("/")).collect();
        if !back.is_empty() {
            found.push(format!(
                "{}: a circle leads over {}: move what both need below them",
                of.join("/"),
                back.join(", ")
            ));
        }
    }
    found
}

#[test]
fn no_file_imports_from_one_that_imports_from_it() {
    let mut problems = Vec::new();
    for part in ["src", "src/bin/tenure"] {
        let mut all = modules(&root().join(part));
        all.retain(|module, _| module.first().is_none_or(|first| first != "bin"));
        assert!(all.len() > 20, "too few sources were found: look at `modules`");
        problems.extend(circles(&all).into_iter().map(|problem| format!("{part}/{problem}")));
    }
    report(&problems);
}

#[test]
fn the_check_of_circles_sees_what_it_is_for() {
    let found = |files: &[(&str, &str)]| {
        let module = |name: &str| name.split('/').map(str::to_owned).collect::<Module>();
        circles(&files.iter().map(|(name, text)| (module(name), (*text).to_owned())).collect()).len()
    };
    let both = |one: &'static str, other: &'static str| {
        found(&[("a/one", one), ("a/two", other), ("a", "mod one;"), ("b", "")])
    };
    assert_eq!(both("use crate::a::two::T;", "use crate::b::B;"), 0);
    assert_eq!(both("use crate::a::two::T;", "use crate::a::one::O;"), 2);
    assert_eq!(both("use crate::a::two::T;", "    let x = super::one::new();"), 2, "by super");
    assert_eq!(both("use crate::{b, a::two::T};", "use crate::a::{one, two};"), 2, "in braces");
    assert_eq!(both("use crate::a::two::T;", "// use crate::a::one::O;"), 0, "a comment");
    assert_eq!(both("use crate::a::two::T;", "#[cfg(test)]\nmod tests {\n    use crate::a::one::O;"), 0, "a test");
    assert_eq!(both("use crate::a::two::T;", "use crate::a::Shown;"), 0, "a parent");
    assert_eq!(
        found(&[
            ("a", "use crate::b::X;"),
            ("b", "use crate::c::X;"),
            ("c", "use crate::a::X;"),
            ("d", "use crate::a::X;")
        ]),
        3
    );
}
