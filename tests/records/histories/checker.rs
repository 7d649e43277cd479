//! The checker: derives dependencies from the reads of transactions, and violations of the isolation level from
//! dependencies.
//!
//! Owns: the order of versions (of lists: the longest one; of members and claims: present or absent), the dependencies,
//! the verdict. Knows only reads and writes; commit numbers are compared with the conclusions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tenure::{Isolation, RecordId};

use crate::histories::graph::{Graph, Kind};
use crate::histories::world::{Contents, ELEMENTS, Read, Status, Txn};

struct Checker<'h> {
    txns: &'h [Txn],
    contents: &'h Contents,
    /// The place of the transaction that has each number.
    by_number: BTreeMap<u64, usize>,
    adders: BTreeMap<RecordId, (usize, u32)>,
    removers: BTreeMap<RecordId, usize>,
    claimers: BTreeMap<u32, (usize, RecordId)>,
    /// When the first transaction began that a crash took, for each run.
    lost: BTreeMap<u64, u64>,
    graph: Graph,
    problems: Vec<String>,
}

/// What is wrong with a history whose transactions had this isolation; nothing if the list is empty.
pub fn check(txns: &[Txn], contents: &Contents, isolation: Isolation) -> Vec<String> {
    let mut lost = BTreeMap::new();
    for txn in txns.iter().filter(|txn| txn.status == Status::Lost) {
        let first = lost.entry(txn.run).or_insert(txn.begin);
        *first = txn.begin.min(*first);
    }
    let mut checker = Checker {
        lost,
        txns,
        contents,
        by_number: txns.iter().enumerate().map(|(place, txn)| (txn.number, place)).collect(),
        adders: BTreeMap::new(),
        removers: BTreeMap::new(),
        claimers: BTreeMap::new(),
        // Behind the transactions: a node for each end of one, in the order of time.
        graph: Graph::new(txns.len() * 2),
        problems: Vec::new(),
    };
    assert_eq!(checker.by_number.len(), txns.len(), "a number twice");
    checker.gather();
    checker.lists();
    for place in 0..txns.len() {
        checker.reads(place);
    }
    checker.numbers(isolation);
    checker.time();
    checker.cycles(isolation);
    checker.problems
}

impl Checker<'_> {
    fn is_there(&self, place: usize) -> bool {
        self.txns[place].status == Status::Committed
    }

    /// Whether the reads of a transaction have to fit: not those of one that a crash took, or that may have seen such a
    /// one, or that failed after it saw two states.
    fn counts(&self, place: usize) -> bool {
        let txn = &self.txns[place];
        match txn.status {
            Status::Committed => true,
            Status::Nothing => !txn.is_blind && self.lost.get(&txn.run).is_none_or(|begin| txn.end < *begin),
            Status::Unknown | Status::Lost => false,
        }
    }

    /// Who added, removed and claimed what; and whether all of that is there.
    fn gather(&mut self) {
        for (place, txn) in self.txns.iter().enumerate() {
            if let Some(what) = txn.contradiction.as_ref().filter(|_| self.counts(place)) {
                self.problems.push(format!("T{} contradicts itself: {what}", txn.number));
            }
            if !self.is_there(place) {
                continue;
            }
            for (id, group) in &txn.writes.members {
                self.adders.insert(*id, (place, *group));
            }
            for id in &txn.writes.removed {
                if self.removers.insert(*id, place).is_some() {
                    self.problems.push(format!("T{} removed {id}, and another did as well", txn.number));
                }
            }
            for (id, name) in &txn.writes.claims {
                if self.claimers.insert(*name, (place, *id)).is_some() {
                    self.problems.push(format!("T{} claimed {name}, and another did as well", txn.number));
                }
            }
        }
        let members = self.adders.iter().filter(|(id, _)| !self.removers.contains_key(id));
        let members: BTreeMap<RecordId, u32> = members.map(|(id, (_, group))| (*id, *group)).collect();
        let claims: BTreeMap<u32, RecordId> = self.claimers.iter().map(|(name, (_, id))| (*name, *id)).collect();
        if members != self.contents.members {
            self.problems.push(format!("members in the end: {:?}, expected {members:?}", self.contents.members));
        }
        if claims != self.contents.claims {
            self.problems.push(format!("claims in the end: {:?}, expected {claims:?}", self.contents.claims));
        }
        for id in self.removers.keys().filter(|id| !self.adders.contains_key(id)) {
            self.problems.push(format!("{id} was removed and never there"));
        }
        for (id, place) in &self.removers {
            if let Some((adder, _)) = self.adders.get(id) {
                self.graph.add(*adder, *place, Kind::Read);
            }
        }
    }

    fn writer(&self, element: u64) -> Option<usize> {
        self.by_number.get(&(element / ELEMENTS)).copied()
    }

    /// Every append is in its list once and in one piece; nothing else is.
    fn lists(&mut self) {
        let mut expected: BTreeMap<u64, u32> = BTreeMap::new();
        for txn in self.txns.iter().filter(|txn| txn.status == Status::Committed) {
            for (list, elements) in &txn.writes.appended {
                expected.extend(elements.iter().map(|element| (*element, *list)));
                let inside = self.contents.lists[list].windows(elements.len()).any(|part| part == elements);
                if !inside {
                    self.problems.push(format!("T{}: {elements:?} is lost from list {list}", txn.number));
                }
            }
        }
        for (list, elements) in &self.contents.lists {
            for element in elements {
                if expected.remove(element) != Some(*list) {
                    self.problems.push(format!("list {list}: {element} was not written, or is there twice"));
                }
            }
            for pair in elements.windows(2) {
                if let (Some(before), Some(after)) = (self.writer(pair[0]), self.writer(pair[1])) {
                    self.graph.add(before, after, Kind::Write);
                }
            }
        }
    }

    fn reads(&mut self, place: usize) {
        if !self.counts(place) {
            return;
        }
        let txns = self.txns;
        for read in &txns[place].reads {
            match read {
                Read::List { list, elements } => {
                    let whole = &self.contents.lists[list];
                    if whole.starts_with(elements) {
                        self.version(place, *list, elements.len());
                    } else {
                        let number = txns[place].number;
                        self.problems.push(format!(
                            "T{number} read list {list} as {elements:?}, which is no version of {whole:?}"
                        ));
                    }
                }
                Read::Length { list, len } => self.version(place, *list, *len),
                Read::Members { from, end, seen, removed } => self.members(place, *from..*end, seen, removed),
                Read::Name { name, found } => self.name(place, *name, *found),
                Read::Claims { seen, own } => {
                    let names: BTreeSet<u32> = self.claimers.keys().chain(seen.keys()).copied().collect();
                    for name in names.difference(own) {
                        self.name(place, *name, seen.get(name).copied());
                    }
                }
            }
        }
    }

    /// A transaction saw the first `len` elements of a list.
    fn version(&mut self, place: usize, list: u32, len: usize) {
        let whole = &self.contents.lists[&list];
        let number = self.txns[place].number;
        if len > whole.len() {
            self.problems.push(format!("T{number} saw {len} elements of list {list}, of {}", whole.len()));
            return;
        }
        let before = len.checked_sub(1).and_then(|last| self.writer(whole[last]));
        let behind = whole.get(len).and_then(|element| self.writer(*element));
        if before.is_some() && before == behind && before != Some(place) {
            self.problems.push(format!("T{number} saw list {list} in the middle of a transaction"));
        }
        if let Some(before) = before {
            self.graph.add(before, place, Kind::Read);
        }
        if let Some(behind) = behind {
            self.graph.add(place, behind, Kind::Anti);
        }
    }

    /// A transaction saw these members of some groups. Whom it did not see, and who was there once, may have come later or
    /// have gone before: that says nothing.
    fn members(&mut self, place: usize, groups: Range<u32>, seen: &BTreeSet<RecordId>, removed: &BTreeSet<RecordId>) {
        let number = self.txns[place].number;
        for id in seen.iter().filter(|id| !self.adders.contains_key(id)) {
            self.problems.push(format!("T{number} saw {id}, which nobody added"));
        }
        let adders = self.adders.iter().filter(|(id, (_, group))| groups.contains(group) && !removed.contains(id));
        for (id, (adder, _)) in adders {
            match (seen.contains(id), self.removers.get(id)) {
                (true, taken_out_by) => {
                    self.graph.add(*adder, place, Kind::Read);
                    if let Some(later) = taken_out_by {
                        self.graph.add(place, *later, Kind::Anti);
                    }
                }
                (false, None) => self.graph.add(place, *adder, Kind::Anti),
                (false, Some(_)) => {}
            }
        }
    }

    fn name(&mut self, place: usize, name: u32, found: Option<RecordId>) {
        match (found, self.claimers.get(&name)) {
            (Some(id), Some((claimer, claim))) if *claim == id => self.graph.add(*claimer, place, Kind::Read),
            (Some(id), _) => {
                let number = self.txns[place].number;
                self.problems.push(format!("T{number} found {id} by {name}, which does not stay there"));
            }
            (None, Some((claimer, _))) => self.graph.add(place, *claimer, Kind::Anti),
            (None, None) => {}
        }
    }

    /// Commits have to be numbered in the order that follows from what was read and written.
    fn numbers(&mut self, isolation: Isolation) {
        let edges = self.graph.all().filter(|(.., kind)| isolation == Isolation::Serializable || *kind != Kind::Anti);
        for (from, to, kind) in edges {
            if let (Some(before), Some(after)) = (self.txns[from].seq, self.txns[to].seq)
                && before >= after
            {
                let (from, to) = (self.txns[from].number, self.txns[to].number);
                self.problems.push(format!("{kind:?}: T{from} is commit {before}, T{to} is commit {after}"));
            }
        }
    }

    /// What was over when another began comes before it.
    fn time(&mut self) {
        let nodes = self.txns.len();
        let mut ends: Vec<(u64, usize)> =
            (0..nodes).filter(|place| self.counts(*place)).map(|place| (self.txns[place].end, place)).collect();
        ends.sort_unstable();
        for (rank, (_, place)) in ends.iter().enumerate() {
            self.graph.add(*place, nodes + rank, Kind::Time);
            if rank > 0 {
                self.graph.add(nodes + rank - 1, nodes + rank, Kind::Time);
            }
        }
        let counting: Vec<usize> = (0..nodes).filter(|place| self.counts(*place)).collect();
        for place in counting {
            let before = ends.partition_point(|(end, _)| *end < self.txns[place].begin);
            if let Some(rank) = before.checked_sub(1) {
                self.graph.add(nodes + rank, place, Kind::Time);
            }
        }
    }

    fn cycles(&mut self, isolation: Isolation) {
        let (cycles, nodes_each) = match isolation {
            Isolation::Serializable => (self.graph.cycles(), 1),
            Isolation::Snapshot => (self.graph.without_adjacent_antis().cycles(), 2),
        };
        for cycle in cycles {
            let steps = cycle.iter().filter_map(|(node, kind)| {
                let place = node / nodes_each;
                Some(format!("T{} -{kind:?}-> ", self.txns.get(place)?.number))
            });
            self.problems.push(format!("a cycle that {isolation:?} forbids: {}", steps.collect::<String>()));
            let members = cycle.iter().filter_map(|(node, _)| self.txns.get(node / nodes_each));
            self.problems.extend(members.map(Txn::to_string));
        }
    }
}
