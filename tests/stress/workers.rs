//! The threads of the stress test. Each runs until the time is over, and counts its work.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tenure::{Durability, Error, Isolation, Lookup, RecordId, Result, Store, Transaction, View};

use crate::common::Rng;
use crate::world::{ACCOUNTS, Account, GROUPS, PAIRS, World, by_balance, by_group, decoded, differs, item};

/// Views, and their content at the time they were taken.
type HeldViews = Vec<(View, Vec<(RecordId, (u64, u64, i64))>)>;

/// The state shared by the threads.
pub struct Shared<'s> {
    pub store: &'s Store,
    pub world: &'s World,
    pub until: Instant,
    /// Views go from thread to thread through this.
    pub held: Mutex<HeldViews>,
    /// IDs that were alive once.
    pub known: Mutex<Vec<RecordId>>,
    pub counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl<'s> Shared<'s> {
    pub fn new(store: &'s Store, world: &'s World, duration: Duration) -> Self {
        let until = Instant::now() + duration;
        Self { store, world, until, held: Mutex::default(), known: Mutex::default(), counts: Mutex::default() }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Counts a success, or a conflict that was not solved in as many attempts as there are. Anything else is a failure.
    fn settle(&self, what: &'static str, result: Result<()>) {
        match result {
            Ok(()) => self.count(what),
            Err(error) if error.is_conflict() => self.count("conflicts"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

fn number(rng: &mut Rng, end: u64) -> u64 {
    rng.number() % end
}

fn account(tx: &mut Transaction, shared: &Shared<'_>, owner: u64) -> Result<(RecordId, Account)> {
    let id = tx.find(&shared.world.owner, &owner)?.expect("every owner has an account");
    let found = Account::decode(&tx.get(id)?.to_vec()?);
    assert_eq!(found.owner, owner, "found by another's key");
    Ok((id, found))
}

/// Moves money between two accounts, with detours that are taken back.
fn transfer(tx: &mut Transaction, shared: &Shared<'_>, rng: &mut Rng) -> Result<()> {
    let from = number(rng, ACCOUNTS);
    let to = (from + 1 + number(rng, ACCOUNTS - 1)) % ACCOUNTS;
    let (one, mut giver) = account(tx, shared, from)?;
    let (other, mut taker) = account(tx, shared, to)?;
    if rng.one_in(3) {
        let before = tx.savepoint();
        tx.update(one, Account { balance: -1, group: 99, ..giver }.encode(3))?;
        let inner = tx.savepoint();
        tx.delete(other)?;
        tx.insert(&shared.world.items, item(999, 5, 10))?;
        if rng.one_in(2) {
            tx.roll_back_to(inner)?;
            assert_eq!(tx.find(&shared.world.owner, &to)?, Some(other));
        }
        tx.roll_back_to(before)?;
        assert_eq!(Account::decode(&tx.get(one)?.to_vec()?), giver, "as before the savepoint");
    }
    let amount = i64::try_from(number(rng, 50)).expect("small");
    giver.balance -= amount;
    taker.balance += amount;
    if rng.one_in(4) {
        giver.group = number(rng, GROUPS);
    }
    let filling = if rng.one_in(300) { 150_000 } else { rng.below(200) };
    tx.update(one, giver.encode(filling))?;
    tx.update(other, taker.encode(rng.below(200)))
}

/// Puts a pair of items in, or takes out the one that is there.
fn pair(tx: &mut Transaction, shared: &Shared<'_>, rng: &mut Rng) -> Result<()> {
    let pair = number(rng, PAIRS);
    let there = tx.range(&shared.world.pair, pair..=pair)?;
    let there = there.map(|entry| entry.map(|entry| entry.id)).collect::<Result<Vec<_>>>()?;
    assert!(matches!(there.len(), 0 | 2), "a transaction sees {} items of one pair", there.len());
    if there.is_empty() {
        let amount = i64::try_from(number(rng, 1000)).expect("small");
        let ids = [amount, -amount].map(|amount| tx.insert(&shared.world.items, item(pair, amount, rng.below(120))));
        for id in ids {
            let mut known = shared.known.lock().unwrap();
            known.push(id?);
            let excess = known.len().saturating_sub(500);
            known.drain(..excess);
        }
        return Ok(());
    }
    there.into_iter().try_for_each(|id| tx.delete(id))
}

fn some_durability(rng: &mut Rng) -> Durability {
    if rng.one_in(6) { Durability::Sync } else { Durability::Buffered }
}

/// Transfers and pairs, by closures that run again after a conflict, and by transactions in hand, some given up.
pub fn write(shared: &Shared<'_>, mut rng: Rng) {
    while !shared.is_over() {
        match rng.below(8) {
            0..=2 => {
                let result = shared.store.write(|tx| transfer(tx, shared, &mut rng));
                shared.settle("transfers", result);
            }
            3..=5 => {
                let result = shared.store.write(|tx| pair(tx, shared, &mut rng));
                shared.settle("pairs", result);
            }
            6 => {
                // Both accounts are replaced, so snapshot isolation is enough to keep the sum.
                let mut tx = shared.store.begin_with(Isolation::Snapshot).unwrap();
                let result = transfer(&mut tx, shared, &mut rng);
                let result = result.and_then(|()| tx.commit_with(some_durability(&mut rng)).map(drop));
                shared.settle("transfers in snapshot isolation", result);
            }
            _ => {
                let mut tx = shared.store.begin().unwrap();
                let result = pair(&mut tx, shared, &mut rng).and_then(|()| transfer(&mut tx, shared, &mut rng));
                if rng.one_in(3) {
                    drop(tx);
                    shared.count("given up");
                } else {
                    let result = result.and_then(|()| {
                        let seq = tx.commit_with(Durability::Buffered)?;
                        shared.store.wait_durable(seq)?;
                        assert!(shared.store.durable_seq() >= seq, "waited for");
                        Ok(())
                    });
                    shared.settle("waited for", result);
                }
            }
        }
    }
}

fn digest(shared: &Shared<'_>, view: &View) -> Vec<(RecordId, (u64, u64, i64))> {
    let mut all: Vec<_> = decoded(view, &shared.world.accounts).unwrap().into_iter().collect();
    all.extend(decoded(view, &shared.world.items).unwrap());
    all
}

/// Takes views, checks them, and leaves them to other threads, which look whether they still show the same.
pub fn look(shared: &Shared<'_>, mut rng: Rng) {
    let mut last = shared.store.view().seq();
    while !shared.is_over() {
        let view = shared.store.view();
        assert!(view.seq() >= last, "time goes back from {last} to {}", view.seq());
        last = view.seq();
        let wrong = shared.world.check(&view).unwrap();
        assert!(wrong.is_empty(), "at {last}: {wrong:?}");
        shared.count("views");
        let digest = digest(shared, &view);
        let other = {
            let mut held = shared.held.lock().unwrap();
            held.push((view, digest));
            let place = rng.below(held.len());
            (held.len() > 6).then(|| held.swap_remove(place))
        };
        if let Some((view, before)) = other {
            assert_eq!(self::digest(shared, &view), before, "the view of {} changed", view.seq());
            let wrong = shared.world.check(&view).unwrap();
            assert!(wrong.is_empty(), "of {}, later: {wrong:?}", view.seq());
            shared.count("views held");
        }
    }
}

/// One-shot reads, and looking keys up in views of a moment.
pub fn read(shared: &Shared<'_>, mut rng: Rng) {
    let world = shared.world;
    while !shared.is_over() {
        let view = shared.store.view();
        let mut records = Vec::new();
        for _ in 0..10 {
            let owner = number(&mut rng, ACCOUNTS);
            let id = world.owner.get(&view, &owner).unwrap().expect("every owner has an account");
            let record = shared.store.get(id).unwrap();
            assert_eq!(Account::decode(&record.to_vec().unwrap()).owner, owner, "read once");
            let fetched = world.owner.fetch(&view, &owner).unwrap().expect("there");
            assert!(fetched.seq() <= view.seq() && fetched.seq() <= record.seq(), "older than the view");
            records.push((owner, record));
            shared.count("one-shot reads");
        }
        let group = number(&mut rng, GROUPS);
        let range = world.group.find(&view, &group).unwrap();
        let left = range.left();
        let of_group = range.records(&view).map(|record| Account::decode(&record.unwrap().to_vec().unwrap()));
        let members = of_group.inspect(|account| assert_eq!(account.group, group, "by its group")).count();
        assert_eq!(u64::try_from(members).unwrap(), left, "counted and walked");
        shared.count("lookups");
        let known = {
            let known = shared.known.lock().unwrap();
            known.get(rng.below(known.len())).copied()
        };
        if let Some(id) = known {
            match shared.store.lookup(id) {
                Ok(Lookup::Live(record)) => assert_eq!(record.id(), id),
                Ok(Lookup::Deleted | Lookup::NeverAllocated) => shared.count("not there"),
                Err(error) => panic!("{id}: {error}"),
            }
        }
        // The bytes are unchanged, however many commits were made meanwhile.
        for (owner, record) in records {
            assert_eq!(Account::decode(&record.to_vec().unwrap()).owner, owner, "read once and held");
        }
    }
}

/// Makes an index beside the writers, compares it with the records, and drops it; one that cannot be unique is refused.
pub fn index(shared: &Shared<'_>, mut rng: Rng) {
    let (store, accounts) = (shared.store, &shared.world.accounts);
    while !shared.is_over() {
        let made = match store.index(accounts, "balance", by_balance()) {
            Ok(made) => made,
            Err(error) => panic!("making an index: {error}"),
        };
        for _ in 0..=rng.below(4) {
            let view = store.view();
            let records = decoded(&view, accounts).unwrap();
            assert_eq!(differs(&view, &made, &records, |parts| parts.2).unwrap(), None, "made beside writers");
        }
        let wrong = store.verify_index(&made).unwrap();
        assert!(wrong.is_empty(), "verified: {wrong:?}");
        store.drop_index(&made).unwrap();
        assert!(matches!(made.len(&store.view()), Err(Error::NoSuchIndex { .. })), "dropped");
        shared.count("indexes");
        let refused = store.unique_index(accounts, "once", by_group());
        assert!(matches!(refused, Err(Error::UniqueViolation { .. })), "{refused:?}");
        assert!(store.find_index(accounts, "once").is_none(), "nothing of it remains");
    }
}

/// Saves snapshots, names states, asks for statistics and for indexes that may be about to go.
pub fn save(shared: &Shared<'_>, mut rng: Rng) {
    while !shared.is_over() {
        shared.store.save_snapshot().unwrap();
        shared.count("snapshots");
        let stats = shared.store.stats();
        assert!(stats.durable_seq <= shared.store.last_seq());
        assert!(stats.views.len() < 100, "views that nobody holds");
        shared.store.mark(&format!("mark {}", rng.below(5))).unwrap();
        if let Some(index) = shared.store.find_index(&shared.world.accounts, "balance") {
            match index.len(&shared.store.view()) {
                Ok(entries) => assert_eq!(entries, ACCOUNTS),
                Err(Error::NoSuchIndex { .. }) => shared.count("indexes that went"),
                Err(error) => panic!("{error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(number(&mut rng, 40)));
    }
}
