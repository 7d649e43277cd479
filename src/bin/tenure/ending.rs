//! Ending a command when something fails after its change is stored, or may be.
//!
//! Owns: telling "stored, but the store could not be closed" and "perhaps stored" from "not stored". Invariants: 1.
//! `Exit::Stored` means that everything is durable. 2. `Exit::InDoubt` comes with advice on how to find out.

use tenure::{Error, Store};

use crate::failure::{Exit, Failure, Outcome};

/// Whether the change that failed with this error may be stored after all.
pub fn is_in_doubt(error: &Error) -> bool {
    matches!(error, Error::Indeterminate { .. } | Error::Poisoned { .. })
}

/// The result of a commit; `look` says how to find out whether it is stored if that is uncertain.
pub fn committed<T>(result: Result<T, Error>, look: impl FnOnce() -> String) -> Outcome<T> {
    result.map_err(|error| {
        if is_in_doubt(&error) {
            Failure::new(Exit::InDoubt, error.to_string(), format!("before you repeat it, {}", look()))
        } else {
            error.into()
        }
    })
}

/// Makes all commits durable. A store that has stopped is no failure if everything was durable before.
pub fn sync(store: &Store) -> Result<(), Error> {
    match store.sync() {
        Err(_stopped) if store.durable_seq() >= store.last_seq() => Ok(()),
        other => other,
    }
}

/// Closes the store and reports the result. `what` names what is durable whatever fails here.
pub fn finish(store: Store, what: &str, tell: impl FnOnce() -> Outcome) -> Outcome {
    let closed = store.close();
    // Always report the result: a record whose ID is unknown is as good as lost.
    let told = tell();
    let mut failed = Vec::new();
    let mut cure = "";
    if let Err(error) = closed {
        failed.push(format!("the store could not be closed: {error}"));
        cure = match error {
            Error::NoSpace { .. } => ", and the next opening replays the log; free space on the device",
            _ => ", and the next opening replays the log; check the device, then run `tenure verify`",
        };
    }
    match told {
        Err(Failure::ReaderGone) if failed.is_empty() => return Err(Failure::ReaderGone),
        Err(Failure::Told { message, .. }) => failed.push(message),
        Ok(()) | Err(Failure::ReaderGone) => {}
    }
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("{what}, but {}", failed.join(", and "));
    Err(Failure::new(Exit::Stored, message, format!("do not repeat it: the change is durable{cure}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::backing::{Broken, Call, FaultBacking};
    use tenure::{Durability, Options};

    use super::*;

    fn told(outcome: Outcome) -> (Exit, String, String) {
        match outcome {
            Err(Failure::Told { exit, message, help }) => (exit, message, help),
            other => panic!("{other:?}"),
        }
    }

    fn open() -> (Store, FaultBacking) {
        let medium = FaultBacking::new();
        (Options::new().background(false).open_backing(Arc::new(medium.clone())).unwrap(), medium)
    }

    fn is_gone(medium: &FaultBacking) {
        medium.break_calls(Call::Sync, Broken::Fails(std::io::ErrorKind::Other));
    }

    #[test]
    fn a_sync_that_fails_leaves_a_commit_in_doubt() {
        let (store, medium) = open();
        let set = store.record_set("a").unwrap();
        let mut transaction = store.begin().unwrap();
        transaction.insert(&set, "x").unwrap();
        is_gone(&medium);
        let outcome = committed(transaction.commit_with(Durability::Sync), || "look".to_owned());
        let (exit, message, help) = told(outcome.map(drop));
        assert_eq!((exit, help.as_str()), (Exit::InDoubt, "before you repeat it, look"));
        assert!(message.contains("may or may not be durable"), "{message}");
        assert!(sync(&store).is_err(), "the commit is not on the medium");
    }

    #[test]
    fn a_close_that_fails_is_told_apart_from_a_commit_that_fails() {
        let (store, medium) = open();
        let set = store.record_set("a").unwrap();
        store.write(|transaction| transaction.insert(&set, "x")).unwrap();
        is_gone(&medium);
        let mut printed = false;
        let print = || {
            printed = true;
            Ok(())
        };
        let (exit, message, help) = told(finish(store, "record 0.1 is stored", print));
        assert_eq!(exit, Exit::Stored);
        assert!(message.starts_with("record 0.1 is stored, but the store could not be closed: "), "{message}");
        assert!(help.contains("do not repeat it") && !help.contains("nothing of the commit"), "{help}");
        assert!(printed, "the result is told in any case");
    }

    #[test]
    fn a_store_that_stopped_when_everything_was_on_the_medium_lost_nothing() {
        let (store, medium) = open();
        let set = store.record_set("a").unwrap();
        store.write(|transaction| transaction.insert(&set, "x")).unwrap();
        is_gone(&medium);
        store.save_snapshot().unwrap_err();
        assert!(store.sync().is_err(), "the handle has ended");
        sync(&store).unwrap();
    }
}
