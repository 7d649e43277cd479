//! Every example of `docs/cli.md`, of the README and of `--help` runs as written, and every option of every command is
//! in `docs/cli.md` and in a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{PROGRAM, Run, tenure};

/// Tools that the examples pipe to or from; they are optional.
const TOOLS: &str = r#"
    jq() { cat; }
    curl() { echo a page; }
    generate() { seq 1 20000; }
    ssh() { shift; "$@"; }
    man() { cat > /dev/null; }
    tenure() { "$PROGRAM" "$@"; }
    xargs() { command xargs sh -c 'shift; "$PROGRAM" "$@"' sh "$@"; }
"#;

/// The examples' directory: a store with sets, indexes, a mark and snapshots, a backup, and files to import.
const FIXTURE: &str = r#"
    set -e
    for i in $(seq 0 99); do echo "{\"name\":\"Ada$i\",\"age\":$((i % 60)),\"address\":{\"city\":\"London\"},\"parts\":[\"0.1\"]}"; done > people.jsonl
    echo '{"name":"Ada","age":36,"parts":["0.1","1.1"]}' >> people.jsonl
    printf 'name,country\nErlangen,Germany\nLondon,"United Kingdom"\n' | gzip > places.csv.gz
    printf '{"row":1}\n{"row":2}\n' | gzip > big.jsonl.gz
    printf 'name,age,score\nAda,36,1.5\nBob,,\n' > people.csv
    printf 'Ada\t36\n' > plain.tsv
    printf '{"id":"0.1","seq":2,"value":{"name":"Ada"}}\n{"id":"700.3","seq":9,"text":"Bob"}\n' > with-ids.jsonl
    head -n 400 "$PACKAGES" > packages.jsonl
    printf '{"name":"python3-example","section":"python","depends":["libc6"]}\n' >> packages.jsonl
    printf '\377\330\377' > photo.jpg
    tenure import things.tenure people.jsonl --set people --unique name --index age:integer
    tenure import things.tenure packages.jsonl --set packages --unique name --index section --index 'depends[]'
    tenure put things.tenure --set notes 'remember the milk'
    tenure snapshot save things.tenure monday
    tenure backup things.tenure things.backup
    tenure backup --incremental things.tenure things.backups
    cp -r things.tenure damaged.tenure
    tenure dump things.tenure things.dump.zst
    tenure dump things.tenure whole.dump
    head -c 20000 whole.dump > damaged.dump
    tenure mark things.tenure 'before the import'
    tenure put things.tenure --set notes 'after the mark'
"#;

/// Outputs of examples whose IDs, commits or files no single fixture can have, and of one that shows a mistake.
const ANSWERS: &[(&str, i32, &str)] = &[
    ("tenure get things.tenure 0.1 5.2 7.1", 3, ""),
    ("tenure get things.tenure 9.1 --raw -o photo.jpg", 0, ""),
    ("--if-seq 42", 1, "has version"),
    ("tenure delete things.tenure 5.1 6.1 7.2", 3, "does not exist"),
    ("tenure rollback things.tenure --snapshot 7", 3, "cannot reach"),
    ("tenure rollback things.tenure --seq 1200", 3, "cannot reach"),
    ("tenure follow things.tenure 12.1 --field", 0, ""),
    // Closing the store has merged segments of the log.
    ("tenure consumer add things.tenure audit-of-all --since 4", 3, "are gone"),
    ("tenure load --until-damage damaged.dump rest.tenure", 5, "everything before it was loaded"),
    ("tenure log things.tenure --from-offset log-000000000003.seg:128", 0, ""),
];

/// Commands that remove what would block an example by then.
const BEFORE: &[(&str, &str)] = &[
    ("tenure backup things.tenure things.backup", "rm -rf things.backup"),
    ("tenure restore things.backup again.tenure", "rm -rf again.tenure"),
    ("tenure restore things.backup things.tenure", "rm -rf things.tenure"),
    ("tenure restore things.backups newest.tenure", "rm -rf newest.tenure"),
    ("tenure restore things.backups older.tenure", "rm -rf older.tenure"),
    ("tenure salvage damaged.tenure new.tenure", "rm -rf new.tenure"),
    ("tenure salvage damaged.tenure rescued.tenure", "rm -rf rescued.tenure"),
    ("tenure import first.tenure", FIRST),
    ("tenure load things.dump.zst new.tenure", "rm -rf new.tenure"),
    ("tenure load - new.tenure", "rm -rf new.tenure"),
    ("tenure import new.tenure", "rm -rf new.tenure"),
    ("tenure rollback things.tenure --mark", "tenure mark things.tenure 'before the import'"),
    ("tenure consumer acknowledge things.tenure mirror", MIRROR),
    ("tenure consumer remove things.tenure mirror", MIRROR),
    ("tenure snapshot save things.tenure monday", "tenure snapshot drop things.tenure monday"),
    ("tenure remote status", BUCKET),
    ("tenure remote open", BUCKET),
    ("tenure remote takeover", BUCKET),
    ("tenure remote gc", BUCKET),
];

/// There may be no bucket yet.
const BUCKET: &str = "tenure remote init things.tenure s3://bucket/things";

/// There may be one already.
const MIRROR: &str = "tenure consumer add things.tenure mirror || true";

/// The rows that the quick start imports.
const FIRST: &str = r#"printf '{"name":"Ada","age":36}\n{"name":"Bob","age":41,"parts":["0.1"]}\n' > first.jsonl"#;

/// Runs a script in a directory.
fn shell(directory: &Path, script: &str) -> Run {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages.jsonl");
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(format!("set -o pipefail\n{TOOLS}\n{script}")).current_dir(directory);
    Run::of(bash.env("PROGRAM", PROGRAM).env("PACKAGES", packages).output().expect("bash starts"))
}

fn fixture() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let made = shell(directory.path(), FIXTURE);
    assert_eq!(made.code, 0, "{}", made.err);
    directory
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// The examples of one section, run in order in a copy of the fixture.
fn run_section(fixture: &Path, section: &str, examples: &[String]) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    copy(fixture, directory.path());
    if section == "import" {
        // It starts without a store, as every user does.
        fs::remove_dir_all(directory.path().join("things.tenure")).expect("removed");
    }
    // A bucket that is a directory.
    let bucket = format!("file://{}/", directory.path().display());
    let run = |script: &str| shell(directory.path(), &script.replace("s3://bucket/", &bucket));
    for example in examples {
        for (_, script) in BEFORE.iter().filter(|(part, _)| example.contains(part)) {
            let run = run(script);
            assert_eq!(run.code, 0, "{section}: {script}\n{}", run.err);
        }
        let run = run(example);
        let (code, said) =
            ANSWERS.iter().find(|(part, ..)| example.contains(part)).map_or((0, ""), |(_, code, said)| (*code, *said));
        assert!(run.code == code && run.err.contains(said), "{section}: {example}\ncode {}\n{}", run.code, run.err);
    }
    examples.len()
}

/// The lines of all `sh` blocks of a document that run the program, by section.
fn examples_of(document: &str) -> Vec<(String, Vec<String>)> {
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut within = false;
    for line in document.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((title.to_owned(), Vec::new()));
        }
        if line.starts_with("```") && sections.is_empty() {
            sections.push(("first".to_owned(), Vec::new()));
        }
        if line.starts_with("```") {
            within = line == "```sh";
        } else if within && (line.starts_with("tenure ") || line.contains("| tenure ")) {
            sections.last_mut().expect("a title before the first block").1.push(line.to_owned());
        }
    }
    sections.retain(|(_, examples)| !examples.is_empty());
    sections
}

/// All commands, those in groups with the group's name.
fn commands() -> Vec<Vec<String>> {
    let names = |args: &[&str]| -> Vec<String> {
        let help = tenure(args).ok();
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let first = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let words = first.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        words.map(str::to_owned).collect()
    };
    let mut commands = Vec::new();
    for name in names(&["--help"]) {
        commands.extend(names(&[&name, "--help"]).into_iter().map(|sub| vec![name.clone(), sub]));
        commands.push(vec![name]);
    }
    commands
}

fn help_of(command: &[String]) -> String {
    let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
    args.push("--help");
    tenure(&args).ok()
}

/// The examples of a help text, with wrapped lines joined.
fn examples_of_help(help: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    for line in help.lines().skip_while(|line| *line != "Examples:").skip(1).take_while(|line| !line.is_empty()) {
        if line.starts_with("  ") && line.contains("tenure ") {
            examples.push(line.trim().to_owned());
        } else if let Some(last) = examples.last_mut() {
            last.push(' ');
            last.push_str(line.trim());
        }
    }
    examples
}

#[test]
fn the_examples_of_the_documents_run() {
    let fixture = fixture();
    let mut run = 0;
    for document in [include_str!("../../docs/cli.md"), include_str!("../../README.md")] {
        for (section, examples) in examples_of(document) {
            run += run_section(fixture.path(), &section, &examples);
        }
    }
    assert!(run > 50, "{run}");
}

#[test]
fn the_examples_of_each_help_run() {
    let fixture = fixture();
    for command in commands() {
        if command == ["demo"] {
            // It has tests of its own, and takes seconds.
            continue;
        }
        let examples = examples_of_help(&help_of(&command));
        assert!(!examples.is_empty(), "{command:?}");
        run_section(fixture.path(), &command.join(" "), &examples);
    }
}

#[test]
fn every_option_is_documented_and_tested() {
    let document = include_str!("../../docs/cli.md");
    let mut tests = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                tests.push_str(&fs::read_to_string(path).expect("text"));
            }
        }
    }
    let options: BTreeSet<String> = commands()
        .iter()
        .flat_map(|command| {
            let help = help_of(command);
            let words: Vec<String> = help
                .lines()
                .map(str::trim_start)
                .filter(|line| line.starts_with('-'))
                .flat_map(|line| line.split([' ', ',']).take(4).map(str::to_owned).collect::<Vec<_>>())
                .filter(|word| word.starts_with("--"))
                .collect();
            words
        })
        .filter(|option| option != "--help" && option != "--version")
        .collect();
    assert!(options.len() > 30, "{options:?}");
    let named = |text: &str, option: &str| {
        text.match_indices(option).any(|(at, _)| {
            text.get(at + option.len()..).is_some_and(|rest| rest.starts_with([' ', '`', '\n', '"', '=', ',']))
        })
    };
    let undocumented: Vec<_> = options.iter().filter(|option| !named(document, option)).collect();
    let untested: Vec<_> = options.iter().filter(|option| !named(&tests, option)).collect();
    assert!(
        undocumented.is_empty() && untested.is_empty(),
        "not documented: {undocumented:?}, not tested: {untested:?}"
    );
}
