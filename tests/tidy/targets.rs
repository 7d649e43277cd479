//! Tests that nobody would run: files that no binary has; and commands and paths in documents and scripts that name a test which
//! is not there.

use std::path::{Path, PathBuf};

use super::{files, read, report, root, shown};

/// The file of a module's parent, if there is one.
fn parent(file: &Path) -> Option<PathBuf> {
    let dir = file.parent()?;
    [dir.join("main.rs"), dir.with_extension("rs")].into_iter().find(|parent| parent.is_file())
}

/// Whether a file declares the module of this name, or has a file of this name as a module.
fn declares(text: &str, name: &str) -> bool {
    let ends = [format!("mod {name};"), format!("/{name}.rs\"]")];
    text.lines().map(str::trim).any(|line| ends.iter().any(|end| line.ends_with(end.as_str())))
}

#[test]
fn every_file_of_tests_is_part_of_a_binary() {
    let mut problems = Vec::new();
    let tests = root().join("tests");
    for file in files(&tests, "rs") {
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if file.parent() == Some(&tests) || ["main", "mod"].contains(&name) {
            continue;
        }
        let is_declared = parent(&file).is_some_and(|parent| declares(&read(&parent), name));
        if !is_declared {
            problems.push(format!("{}: no test runs it: declare the module `{name}` in its parent", shown(&file)));
        }
    }
    report(&problems);
    assert!(declares("    #[cfg(x)]\n    pub mod one;", "one") && declares("#[path = \"a/one.rs\"]", "one"));
    assert!(!declares("mod one {", "one") && !declares("mod someone_else;", "one"));
}

/// What is wrong with the `--test NAME` of a line of a command, and with the `module::` that follows it.
fn wrong(line: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || matches!(c, '`' | '"')).collect();
    let mut mains = Vec::new();
    for pair in words.windows(2).filter(|pair| pair[0] == "--test") {
        let name = pair[1].trim_end_matches(['.', ',', ';', ')']);
        let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
        match places.iter().map(|place| root().join(place)).find(|place| place.is_file()) {
            Some(main) => mains.push(main),
            None => problems.push(format!("there is no test `{name}`")),
        }
    }
    for word in words.iter().skip_while(|word| **word != "--test") {
        let Some((module, _)) = word.split_once("::") else { continue };
        if !mains.is_empty() && !mains.iter().any(|main| declares(&read(main), module)) {
            problems.push(format!("no test of the line has a module `{module}`"));
        }
    }
    problems
}

#[test]
fn commands_name_tests_that_there_are() {
    let mut problems = Vec::new();
    let mut count = 0;
    let scripts = files(&root().join("tests"), "sh").into_iter().chain([root().join(".ci/run")]);
    for file in files(root(), "md").into_iter().chain(scripts) {
        // A command may go on in the next line.
        let text = read(&file).replace("\\\n", " ");
        for line in text.lines().filter(|line| line.contains("--test ")) {
            count += 1;
            problems.extend(wrong(line).into_iter().map(|wrong| format!("{}: {wrong}: {}", shown(&file), line.trim())));
        }
    }
    assert!(count > 20, "only {count} commands were found: look at `wrong`");
    report(&problems);
    assert!(wrong("`cargo test --test crashes power_cut::killed -- --nocapture`").is_empty());
    assert_eq!(wrong("cargo test --test nothing").len(), 1);
    assert_eq!(wrong("cargo test --test crashes nothing::at_all").len(), 1);
}

#[test]
fn paths_of_tests_in_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for file in files(root(), "md") {
        let text = read(&file);
        // Parts between backticks are code.
        let code = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let paths = code.filter(|code| code.starts_with("tests/") && !code.contains([' ', '<']));
        let gone = paths.filter(|path| !root().join(path).exists());
        problems.extend(gone.map(|path| format!("{}: {path} is not there", shown(&file))));
    }
    report(&problems);
}
