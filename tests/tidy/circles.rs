//! No file of the library or of the command line imports, over however many others, from a file that imports from it.
//!
//! Layers keep modules of the crate root in order; this is about the files within one. What a parent
//! passes on is of the file that defines it; other uses of a parent do not count, nor does test code. Nothing is exempt.

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

/// The code of a file without that of its tests, with each import on one line.
fn statements(text: &str) -> Vec<String> {
    let is_for_tests = |line: &str| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
    let (mut all, mut is_open) = (Vec::<String>::new(), false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if is_for_tests(line.trim_start()) {
            let item = lines.next().unwrap_or_default();
            let end = format!("{}}}", item.strip_suffix(item.trim_start()).unwrap_or_default());
            if item.ends_with('{') {
                lines.by_ref().take_while(|line| *line != end).for_each(drop);
            }
            continue;
        }
        let line = code(line);
        match all.last_mut().filter(|_| is_open) {
            Some(open) => open.push_str(line),
            None => all.push(line.to_owned()),
        }
        let last = all.last().map_or("", String::as_str);
        let is_import = last.starts_with("use ") || last.starts_with("pub") && last.contains(" use ");
        is_open = is_import && !last.contains(';');
    }
    all
}

/// What the files pass on under another name: from the path of the name to that of what it names.
fn passed_on(all: &BTreeMap<Module, String>) -> BTreeMap<Module, Module> {
    let mut found = BTreeMap::new();
    for (of, text) in all {
        let statements = statements(text);
        let uses = statements.iter().filter(|line| line.starts_with("pub"));
        for path in uses.filter_map(|line| line.split_once(" use ")?.1.split_once(';')).map(|(path, _)| path) {
            let (base, names) =
                path.split_once('{').map_or(("", path), |(base, names)| (base, names.trim_end_matches('}')));
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let (name, shown) = name.split_once(" as ").unwrap_or((name, name.rsplit("::").next().unwrap_or(name)));
                let parts = format!("{base}{name}");
                let mut target: Module = parts.split("::").map(str::to_owned).collect();
                if target.first().is_some_and(|first| first == "crate") {
                    target.remove(0);
                } else {
                    target.splice(0..0, of.iter().cloned());
                }
                found.insert(of.iter().cloned().chain([shown.to_owned()]).collect(), target);
            }
        }
    }
    found
}

/// The files whose items the code of a file names, whoever passes them on.
fn imports(
    of: &Module,
    text: &str,
    all: &BTreeMap<Module, String>,
    passed_on: &BTreeMap<Module, Module>,
) -> BTreeSet<Module> {
    let file_of = |path: &[String]| {
        (1..=path.len()).rev().find(|end| path.get(..*end).is_some_and(|part| all.contains_key(part)))
    };
    let within = |mut path: Module| {
        for _ in 0..8 {
            let end = file_of(&path)?;
            match path.get(..=end).and_then(|name| passed_on.get(name)) {
                Some(target) => path = target.iter().chain(path.get(end + 1..).unwrap_or_default()).cloned().collect(),
                None => return path.get(..end).filter(|file| !of.starts_with(file)).map(<[String]>::to_vec),
            }
        }
        None
    };
    statements(text).iter().flat_map(|line| paths(line, of)).filter_map(within).collect()
}

/// For each file on a circle the files that it imports on a way back to itself.
fn circles(all: &BTreeMap<Module, String>) -> Vec<String> {
    let passed_on = passed_on(all);
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        all.iter().map(|(of, text)| (of, imports(of, text, all, &passed_on))).collect();
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
    let passed = |parent: &'static str, other: &'static str| {
        found(&[("a", parent), ("a/one", "use crate::a::two::T;"), ("a/two", other), ("b", "")])
    };
    assert_eq!(passed("mod one;\npub(crate) use one::O;", "use crate::a::O;"), 2, "what a parent passes on");
    assert_eq!(passed("mod one;\npub use one::{N, O as P};", "use crate::a::{\n    M,\n    P,\n};"), 2, "over lines");
    assert_eq!(passed("mod one;\npub use crate::a::one::O;", "    let o = super::O;"), 2, "by its whole path");
    assert_eq!(passed("mod one;\npub(crate) use one::O;", "use crate::a::N;"), 0, "another name");
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
