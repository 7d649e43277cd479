//! The checker must detect weakened isolation: one that never finds anything proves nothing.
//!
//! With the feature `planted` transactions skip part of their validation at commit.

use tenure::Isolation;

use crate::histories::checker::check;
use crate::histories::running::history;
use crate::histories::world::Weakness;

const SEEDS: u64 = 6;

/// Problems of each seed, for histories that are worse than they are declared to be.
fn found(isolation: Isolation, weakness: Weakness, declared: Isolation, what: &str) -> usize {
    let with = |seed: &u64| {
        let (txns, contents) = history(1_000 + seed, isolation, weakness, 400);
        check(&txns, &contents, declared).iter().any(|problem| problem.contains(what))
    };
    (0..SEEDS).filter(with).count()
}

#[test]
fn snapshot_isolation_does_not_pass_for_serializable() {
    let seeds = found(Isolation::Snapshot, Weakness::None, Isolation::Serializable, "a cycle");
    assert_eq!(seeds, usize::try_from(SEEDS).unwrap(), "write skew in each history");
}

#[cfg(feature = "planted")]
#[test]
fn versions_that_nobody_validates_lose_updates() {
    for declared in [Isolation::Serializable, Isolation::Snapshot] {
        let seeds = found(declared, Weakness::Without(tenure::Part::Versions), declared, "is lost from list");
        assert_eq!(seeds, usize::try_from(SEEDS).unwrap(), "{declared:?}: lost updates in each history");
    }
}

#[cfg(feature = "planted")]
#[test]
fn ranges_that_nobody_validates_make_cycles() {
    let missing = Weakness::Without(tenure::Part::Ranges);
    let seeds = found(Isolation::Serializable, missing, Isolation::Serializable, "a cycle");
    assert_eq!(seeds, usize::try_from(SEEDS).unwrap(), "phantoms in each history");
}

#[cfg(feature = "planted")]
#[test]
fn scans_that_nobody_validates_make_cycles() {
    let missing = Weakness::Without(tenure::Part::Scans);
    let seeds = found(Isolation::Serializable, missing, Isolation::Serializable, "a cycle");
    assert_eq!(seeds, usize::try_from(SEEDS).unwrap(), "phantoms in each history");
}

#[test]
fn altered_histories_are_found() {
    let (txns, contents) = history(7, Isolation::Serializable, Weakness::None, 300);
    assert!(check(&txns, &contents, Isolation::Serializable).is_empty());
    let mut without = contents.clone();
    let list = without.lists.values_mut().find(|list| list.len() > 3).expect("a list that grew");
    list.remove(1);
    assert!(!check(&txns, &without, Isolation::Serializable).is_empty(), "an append is gone");
    let mut swapped = contents.clone();
    let list = swapped.lists.values_mut().find(|list| list.len() > 3).expect("a list that grew");
    list.swap(0, 2);
    assert!(!check(&txns, &swapped, Isolation::Serializable).is_empty(), "two appends changed places");
    let mut more = contents;
    let (id, group) = more.members.pop_first().expect("a member");
    assert!(!check(&txns, &more, Isolation::Serializable).is_empty(), "{id} of {group} is gone");
}
