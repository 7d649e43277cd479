//! `tenure import --with-ids`: creates a new store from the rows of `tenure export --with-ids`, keeping their IDs.
//!
//! Owns: parsing such rows, and reading the input twice, so that its errors are found before anything is created.

use std::time::Instant;

use serde::de::IgnoredAny;
use serde_json::Deserializer;
use tenure::dump::GivenIds;
use tenure::{RecordId, Seq};

use crate::commands::backup;
use crate::commands::import::Args;
use crate::commands::import::summary::Summary;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::input::{Row, Rows, Step};
use crate::output::Output;
use crate::{ending, keys, source};

/// A parsed row.
struct Given {
    id: RecordId,
    seq: Seq,
    value: Vec<u8>,
}

/// The result of the first pass.
#[derive(Default)]
struct Found {
    last: Option<RecordId>,
    seq: Seq,
}

/// Imports.
pub fn run(context: &Context, args: &Args, rows: &dyn Fn(source::Input) -> Box<dyn Rows>) -> Outcome {
    let (begun, out) = (Instant::now(), Output::stdout()?);
    if args.file == "-" {
        return Err(Failure::usage("--with-ids reads its input twice: name a file"));
    }
    if std::fs::read_dir(&args.store).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("{} is not empty", args.store.display());
        return Err(Failure::new(
            Exit::Failed,
            message,
            "--with-ids makes a new store: name a directory that does not exist yet",
        ));
    }
    let mut found = Found::default();
    each(args, rows, &mut |given| {
        if let Some(last) = found.last.filter(|last| last.slot() >= given.id.slot()) {
            return Err(format!("ID {} comes after {last}: IDs must ascend, each slot once", given.id));
        }
        (found.last, found.seq) = (Some(given.id), found.seq.max(given.seq));
        Ok(())
    })?;
    let slot_end = found.last.map_or(0, |last| last.slot() + 1);
    let refused = |error| backup::refused(error, &args.store);
    let mut new = GivenIds::begin(&args.store, &args.set, found.seq, slot_end).map_err(refused)?;
    let (mut summary, mut failed) = (Summary::default(), None);
    let read = each(args, rows, &mut |given| {
        summary.add(given.id, given.value.len());
        new.put(given.id, given.seq, &given.value).map_err(|error| {
            let told = error.to_string();
            failed = Some(error);
            told
        })
    });
    match (read, failed) {
        (Err(_told), Some(error)) => return Err(refused(error)),
        (Err(failure), None) => {
            return Err(failure.and_help(format!("{} is unfinished: delete it", args.store.display())));
        }
        (Ok(()), _) => new.finish().map_err(refused)?,
    }
    let store = context.open_to_write(&args.store)?;
    let set = store.record_set(&args.set)?;
    for (field, is_unique) in args.fields() {
        keys::ensure(&store, &set, field, is_unique)?;
    }
    ending::finish(store, "every row is stored", || summary.print(context, out, &args.file, 1, begun))
}

/// Passes on all rows, and stops at the first error.
fn each(
    args: &Args,
    rows: &dyn Fn(source::Input) -> Box<dyn Rows>,
    take: &mut dyn FnMut(Given) -> Result<(), String>,
) -> Outcome {
    let input = source::open(&args.file, None)?;
    let (name, bar) = (input.name.clone(), input.bar.clone());
    let mut rows = rows(input);
    let unit = rows.unit();
    let ended = loop {
        let (line, wrong) = match rows.step() {
            Ok(Step::End) => break Ok(()),
            Ok(Step::Row(Row { line, bytes })) => match parse(&bytes).and_then(&mut *take) {
                Ok(()) => continue,
                Err(what) => (line, what),
            },
            Ok(Step::Bad(bad)) => (bad.line, bad.what),
            Err(broken) => (broken.line, broken.what),
        };
        let help = "use a file as `tenure export --with-ids` writes it; nothing was imported";
        break Err(Failure::new(Exit::BadInput, format!("{name}, {unit} {line}, {wrong}"), help));
    };
    bar.finish_and_clear();
    ended
}

/// Parses a row.
fn parse(row: &[u8]) -> Result<Given, String> {
    let text = std::str::from_utf8(row).map_err(|error| error.to_string())?;
    let (mut id, mut seq, mut value) = (None, Seq::ZERO, None);
    for (name, json) in members(text)? {
        let string = || serde_json::from_str::<String>(json).map_err(|_other| format!("{name:?} is not a string"));
        match name.as_str() {
            "id" => id = Some(string()?.parse().map_err(|error: tenure::ParseIdError| error.to_string())?),
            "seq" => {
                let number = json.parse().ok().filter(|number| *number < 1 << 62);
                seq = Seq(number.ok_or_else(|| "\"seq\" is not a commit number".to_owned())?);
            }
            "value" | "text" | "hex" if value.is_some() => return Err("it has more than one value".to_owned()),
            "value" => value = Some(json.as_bytes().to_vec()),
            "text" => value = Some(string()?.into_bytes()),
            "hex" => value = Some(unhex(&string()?).ok_or_else(|| "\"hex\" is not pairs of digits".to_owned())?),
            _ => return Err(format!("unexpected member {name:?}: write id, seq, and value, text or hex")),
        }
    }
    let missing = |what| format!("the member {what} is missing");
    Ok(Given { id: id.ok_or_else(|| missing("\"id\""))?, seq, value: value.ok_or_else(|| missing("\"value\""))? })
}

/// The members of an object: names, and values as written.
fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start().strip_prefix('{').ok_or("it is not an object")?.trim_start();
    while !rest.starts_with('}') {
        let mut names = Deserializer::from_str(rest).into_iter::<String>();
        let name = names.next().and_then(Result::ok).ok_or("a name is missing")?;
        rest = rest.get(names.byte_offset()..).unwrap_or_default().trim_start();
        rest = rest.strip_prefix(':').ok_or("a colon is missing")?.trim_start();
        let mut values = Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        values.next().and_then(Result::ok).ok_or("a value is missing")?;
        let (value, behind) = rest.split_at_checked(values.byte_offset()).ok_or("a value is missing")?;
        found.push((name, value.trim()));
        rest = behind.trim_start();
        rest = rest.strip_prefix(',').map_or(rest, str::trim_start);
    }
    Ok(found)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_apart_and_values_stand_as_they_are() {
        let value = |row: &str| parse(row.as_bytes()).map(|given| (given.id.to_string(), given.seq.0, given.value));
        let expected = |bytes: &[u8]| Ok(("1.2".to_owned(), 7, bytes.to_vec()));
        assert_eq!(value(r#"{"id":"1.2","seq":7,"value":{"a": 1.50}}"#), expected(b"{\"a\": 1.50}"));
        assert_eq!(value(r#" { "seq" : 7 , "text" : "a\"b" , "id" : "1.2" } "#), expected(b"a\"b"));
        assert_eq!(value(r#"{"id":"1.2","seq":7,"hex":"00Ff"}"#), expected(&[0, 255]));
        assert_eq!(value(r#"{"id":"1.2","value":18446744073709551616}"#).unwrap().2, b"18446744073709551616");
        for row in [
            "1",
            "{}",
            r#"{"id":"1.2"}"#,
            r#"{"value":1}"#,
            r#"{"id":"12","value":1}"#,
            r#"{"id":12.1,"value":1}"#,
            r#"{"id":"1.2","value":1,"text":"a"}"#,
            r#"{"id":"1.2","hex":"0"}"#,
            r#"{"id":"1.2","hex":"0g"}"#,
            r#"{"id":"1.2","seq":-1,"value":1}"#,
            r#"{"id":"1.2","other":1}"#,
        ] {
            assert!(parse(row.as_bytes()).is_err(), "{row}");
        }
    }
}
