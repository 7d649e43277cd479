//! Single damages to a store with every feature: how many leave it open for writing, how many `repair` mends, and what salvage
//! gives of the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::Error;
use tenure::Store;
use tenure::backing::Backing;
use tenure::backing::Memory;
use tenure::repair::repair_backing;
use tenure::salvage::salvage_backing;

use crate::common;
use crate::common::Rng;
use crate::model::Left;
use crate::model::Model;
use crate::model::build;
use crate::model::options;

#[derive(Debug, Default)]
struct Counts {
    as_is: u64,
    repaired: u64,
    salvaged: u64,
    /// By kind of file, those that only salvage helps.
    only_salvage: BTreeMap<String, u64>,
}

/// Reads everything: nothing may be wrong, or gone without a word.
fn check(store: &Store, model: &Model, may_lose_tail: bool, what: &str) {
    for (id, expected) in &model.live {
        match store.get(*id) {
            Ok(record) => {
                let seq = record.seq().0;
                if let Ok(bytes) = record.to_vec() {
                    let is_it = bytes == expected.bytes && seq == expected.seq;
                    assert!(is_it || (may_lose_tail && seq < expected.seq), "{what}: {id} of {seq} is wrong");
                }
            }
            Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => assert!(may_lose_tail, "{what}: {id} is gone"),
            Err(error) => assert!(error.is_corruption(), "{what}: {id}: {error}"),
        }
    }
    for id in model.dead.iter().filter(|_| !may_lose_tail) {
        assert!(store.get(*id).is_err(), "{what}: {id} is back");
    }
}

#[test]
fn single_damages_leave_a_store_that_opens_or_is_mended_or_gives_back_what_is_whole() {
    let rounds = std::env::var("TENURE_RESCUE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    let mut rng = Rng::new(21);
    for left in [Left::Closed, Left::Killed] {
        let model = build(21, left);
        let names: Vec<&String> = model.files.keys().filter(|name| *name != "reserve").collect();
        let mut counts = Counts::default();
        for round in 0..rounds {
            let name = names[rng.below(names.len())];
            let mut files = model.files.clone();
            let bytes = files.get_mut(name).expect("the file");
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            let at = if rng.one_in(5) { rng.below(128.min(used)) } else { rng.below(used) };
            if rng.one_in(4) {
                let end = (at / 512 * 512 + 512).min(bytes.len());
                bytes[at / 512 * 512..end].fill(0);
            } else {
                bytes[at] ^= 1 << rng.below(8);
            }
            let what = format!("{left:?}, round {round}: {name} byte {at}");
            let backing = common::memory_of(&files);
            // A cut is told; what was cut may be the end of the log.
            let tail = |store: &Store| store.recovery_report().cut.is_some() || store.last_seq().0 < model.last_seq;
            match options().open_backing(Arc::clone(&backing)) {
                Ok(store) => {
                    counts.as_is += 1;
                    check(&store, &model, tail(&store), &what);
                    let set = store.record_set("others").expect("a set");
                    store.write(|tx| tx.insert(&set, "new")).unwrap_or_else(|error| panic!("{what}: {error}"));
                    continue;
                }
                Err(error) => {
                    assert!(error.is_corruption() || matches!(error, Error::NotAStore { .. }), "{what}: {error}");
                }
            }
            if repair_backing(Arc::clone(&backing), &mut |_| {}).is_ok() {
                counts.repaired += 1;
                let store = options().open_backing(backing).unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&store, &model, tail(&store), &what);
                continue;
            }
            counts.salvaged += 1;
            *counts.only_salvage.entry(name.split('-').next().unwrap_or_default().to_owned()).or_default() += 1;
            let to = Arc::new(Memory::new()) as Arc<dyn Backing>;
            let report = salvage_backing(&common::memory_of(&files), &to, &mut |_| {});
            let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
            let store = options().open_backing(to).expect("opens");
            let missing = model.live.keys().filter(|id| store.get(**id).is_err()).count();
            assert!(missing <= 3 || !report.is_complete(), "{what}: {missing} are missing");
        }
        println!("{left:?}: {counts:?}");
    }
}
