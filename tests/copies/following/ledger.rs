//! A store in which every commit says what the state after it must be, so that a torn state shows.
//!
//! Two sets of numbers, an index of one, and one record with the count and the sum of each.

use tenure::extract::Extractor;
use tenure::{Index, Options, RecordId, RecordSet, Result, Store, Transaction, View};

use crate::common::Rng;

/// Small segments, so that the collector deletes many.
pub fn options() -> Options {
    Options::new().segment_bytes(64 << 10).snapshot_log_bytes(48 << 10).space_ratio(1.2)
}

fn key() -> Extractor {
    Extractor::new("number", 1, |record, keys| keys.push(record.get(..8).unwrap_or_default()))
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    counts: [u64; 2],
    sums: [u64; 2],
}

impl Totals {
    fn encode(&self) -> Vec<u8> {
        [self.counts, self.sums].as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap());
        Self { counts: [number(0), number(1)], sums: [number(2), number(3)] }
    }
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// The side that writes.
#[derive(Debug)]
pub struct Writer {
    pub store: Store,
    sets: [RecordSet; 2],
    ledger: RecordId,
    totals: Totals,
    ids: [Vec<(RecordId, u64)>; 2],
    rng: Rng,
    pub commits: u64,
}

impl Writer {
    /// Begins, or goes on, in a store.
    pub fn new(store: Store, seed: u64) -> Self {
        let sets = [store.record_set("first").unwrap(), store.record_set("second").unwrap()];
        store.index(&sets[0], "number", key()).unwrap();
        let totals_set = store.record_set("totals").unwrap();
        let view = store.view();
        let known = view.scan(&totals_set).next().transpose().unwrap();
        let known = known.map(|record| (record.id(), Totals::decode(&record.bytes().unwrap())));
        let (ledger, totals) = match known {
            Some(known) => known,
            None => {
                let id = store.write(|tx| tx.insert(&totals_set, Totals::default().encode())).unwrap();
                (id, Totals::default())
            }
        };
        let ids = sets.each_ref().map(|set| {
            let all = view.scan(set).map(|record| {
                let record = record.unwrap();
                (record.id(), number_of(&record.bytes().unwrap()))
            });
            all.collect()
        });
        drop(view);
        Self { store, sets, ledger, totals, ids, rng: Rng::new(seed), commits: 0 }
    }

    pub fn into_store(self) -> Store {
        self.store
    }

    /// One commit of some changes.
    pub fn commit(&mut self) -> Result<()> {
        let (mut totals, mut ids, mut rng) = (self.totals, self.ids.clone(), self.rng.clone());
        let (sets, ledger) = (&self.sets, self.ledger);
        self.store.write(|tx| {
            (totals, ids, rng) = (self.totals, self.ids.clone(), self.rng.clone());
            for _ in 0..=rng.below(6) {
                change(tx, sets, &mut totals, &mut ids, &mut rng)?;
            }
            tx.update(ledger, totals.encode())
        })?;
        (self.totals, self.ids, self.rng) = (totals, ids, rng);
        self.commits += 1;
        Ok(())
    }

    /// Something that happens now and then.
    pub fn event(&mut self) -> Result<()> {
        match self.rng.below(8) {
            0 => drop(self.store.save_snapshot()?),
            1 => drop(self.store.mark(&format!("mark {}", self.commits))?),
            2 => {
                let index = self.store.find_index(&self.sets[0], "number").unwrap();
                self.store.rebuild_index(&index)?;
            }
            3 => {
                let name = format!("named {}", self.commits);
                self.store.save_named_snapshot(&name)?;
                self.store.drop_snapshot(&name)?;
            }
            4 => {
                // Larger than a segment, and gone at once.
                let (set, rng) = (&self.sets[1], &mut self.rng);
                let values: Vec<Vec<u8>> = (0..4).map(|_| rng.bytes(40_000)).collect();
                let large = self
                    .store
                    .write(|tx| values.iter().map(|value| tx.insert(set, &**value)).collect::<Result<Vec<_>>>());
                // Not counted by the ledger: no view may see them as part of a state that counts.
                let large = large?;
                self.store.write(|tx| large.iter().try_for_each(|id| tx.delete(*id)))?;
            }
            5 => drop(self.store.collect(None)?),
            6 => {
                let extra = self.store.record_set(&format!("extra {}", self.commits))?;
                self.store.drop_set(&extra)?;
            }
            _ => self.store.sync()?,
        }
        Ok(())
    }
}

fn change(
    tx: &mut Transaction,
    sets: &[RecordSet; 2],
    totals: &mut Totals,
    ids: &mut [Vec<(RecordId, u64)>; 2],
    rng: &mut Rng,
) -> Result<()> {
    let side = rng.below(2);
    let number = rng.number() >> 8;
    let len = rng.below(400);
    let mut value = number.to_be_bytes().to_vec();
    value.extend(rng.bytes(len));
    let there = ids[side].len();
    if there < 60 || (there < 300 && rng.one_in(3)) {
        let id = tx.insert(&sets[side], value)?;
        ids[side].push((id, number));
        totals.counts[side] += 1;
        totals.sums[side] = totals.sums[side].wrapping_add(number);
    } else if rng.one_in(3) {
        let (id, before) = ids[side].swap_remove(rng.below(there));
        tx.delete(id)?;
        totals.counts[side] -= 1;
        totals.sums[side] = totals.sums[side].wrapping_sub(before);
    } else {
        let at = rng.below(there);
        let (id, before) = ids[side][at];
        tx.update(id, value)?;
        ids[side][at] = (id, number);
        totals.sums[side] = totals.sums[side].wrapping_sub(before).wrapping_add(number);
    }
    Ok(())
}

/// The side that reads.
#[derive(Debug)]
pub struct Reader {
    sets: [RecordSet; 2],
    totals: RecordSet,
    index: Index,
}

impl Reader {
    /// `None` before the writer has begun.
    pub fn new(store: &Store) -> Option<Self> {
        let first = store.find_set("first")?;
        let index = store.find_index(&first, "number")?;
        let totals = store.find_set("totals")?;
        Some(Self { sets: [first, store.find_set("second")?], totals, index })
    }

    /// Checks a state. Returns the number of reads.
    pub fn check(&self, view: &View) -> Result<u64> {
        let Some(ledger) = view.scan(&self.totals).next().transpose()? else { return Ok(0) };
        let expected = Totals::decode(&ledger.bytes()?);
        let (mut found, mut reads) = (Totals::default(), 1);
        let mut large = false;
        for (side, set) in self.sets.iter().enumerate() {
            for record in view.scan(set) {
                let record = record?;
                let bytes = record.bytes()?;
                large |= bytes.len() == 40_000;
                if bytes.len() == 40_000 {
                    continue;
                }
                found.counts[side] += 1;
                found.sums[side] = found.sums[side].wrapping_add(number_of(&bytes));
                reads += 1;
            }
        }
        assert_eq!(found, expected, "commit {}", view.seq());
        assert_eq!(view.len(&self.sets[1]), expected.counts[1] + if large { 4 } else { 0 }, "commit {}", view.seq());
        let (mut count, mut sum) = (0, 0_u64);
        for entry in self.index.all(view)? {
            let entry = entry?;
            let record = view.get(entry.id)?;
            let number = number_of(&record.bytes()?);
            let found = self.index.get(view, &number.to_be_bytes()[..])?;
            assert_eq!(found, Some(entry.id), "commit {}", view.seq());
            (count, sum, reads) = (count + 1, sum.wrapping_add(number), reads + 2);
        }
        assert_eq!((count, sum), (expected.counts[0], expected.sums[0]), "commit {}", view.seq());
        Ok(reads)
    }
}
