//! The data of the stress test, and the invariants of every view.
//!
//! Accounts have an owner (unique index), a group (multi index) and a balance; the sum of all balances never changes.
//! Items are inserted and deleted in pairs, with amounts that cancel out, and are found by their pair in a multi index.

use std::collections::{BTreeMap, BTreeSet};

use tenure::extract::Extractor;
use tenure::key::{Key, ToKey};
use tenure::{Index, RecordId, RecordSet, Result, Store, View};

pub const ACCOUNTS: u64 = 48;
pub const GROUPS: u64 = 7;
pub const PAIRS: u64 = 40;
const BALANCE: i64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub owner: u64,
    pub group: u64,
    pub balance: i64,
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 8]> {
    bytes.get(at * 8..at * 8 + 8)?.try_into().ok()
}

/// Both kinds of records: two numbers, an amount, and filling that begins with the first number.
fn encode(one: u64, other: u64, amount: i64, filling: usize) -> Vec<u8> {
    let mut bytes = one.to_le_bytes().to_vec();
    bytes.extend_from_slice(&other.to_le_bytes());
    bytes.extend_from_slice(&amount.to_le_bytes());
    bytes.resize(24 + filling, one.to_le_bytes()[0]);
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, u64, i64)> {
    let (one, other) = (u64::from_le_bytes(word(bytes, 0)?), u64::from_le_bytes(word(bytes, 1)?));
    let amount = i64::from_le_bytes(word(bytes, 2)?);
    bytes[24..].iter().all(|byte| *byte == one.to_le_bytes()[0]).then_some((one, other, amount))
}

impl Account {
    pub fn encode(self, filling: usize) -> Vec<u8> {
        encode(self.owner, self.group, self.balance, filling)
    }

    /// # Panics
    /// When the bytes are not those of an account.
    pub fn decode(bytes: &[u8]) -> Self {
        let (owner, group, balance) = decode(bytes).expect("an account, whole");
        Self { owner, group, balance }
    }
}

/// An item of a pair: its amount cancels that of its fellow.
pub fn item(pair: u64, amount: i64, filling: usize) -> Vec<u8> {
    encode(pair, 0, amount, filling)
}

fn by(name: &str, of: fn((u64, u64, i64), &mut tenure::extract::Keys)) -> Extractor {
    Extractor::new(name, 1, move |record, keys| {
        if let Some(parts) = decode(record) {
            of(parts, keys);
        }
    })
}

pub fn by_balance() -> Extractor {
    by("balance", |(_, _, balance), keys| keys.push(&balance))
}

pub fn by_group() -> Extractor {
    by("group", |(_, group, _), keys| keys.push(&group))
}

/// The sets and indexes that are always there.
#[derive(Clone, Debug)]
pub struct World {
    pub accounts: RecordSet,
    pub items: RecordSet,
    pub owner: Index,
    pub group: Index,
    pub pair: Index,
}

impl World {
    /// Finds them, or makes them and fills them.
    pub fn open(store: &Store) -> Result<Self> {
        let (accounts, items) = (store.record_set("accounts")?, store.record_set("items")?);
        let first = |parts: (u64, u64, i64), keys: &mut tenure::extract::Keys| keys.push(&parts.0);
        let world = Self {
            owner: store.unique_index(&accounts, "owner", by("owner", first))?,
            group: store.index(&accounts, "group", by_group())?,
            pair: store.index(&items, "pair", by("pair", first))?,
            accounts,
            items,
        };
        if store.view().is_empty(&world.accounts) {
            store.write(|tx| -> Result<_> {
                for owner in 0..ACCOUNTS {
                    let account = Account { owner, group: owner % GROUPS, balance: BALANCE };
                    tx.insert(&world.accounts, account.encode(40))?;
                }
                Ok(())
            })?;
        }
        Ok(world)
    }

    /// Checks the invariants of a view; returns violations.
    pub fn check(&self, view: &View) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let accounts = decoded(view, &self.accounts)?;
        let sum: i64 = accounts.values().map(|parts| parts.2).sum();
        let expected = BALANCE * i64::try_from(ACCOUNTS).expect("few");
        if sum != expected {
            wrong.push(format!("the balances sum up to {sum}, not to {expected}"));
        }
        let owners: BTreeSet<u64> = accounts.values().map(|parts| parts.0).collect();
        if !owners.iter().copied().eq(0..ACCOUNTS) {
            wrong.push(format!("the owners are {owners:?}"));
        }
        wrong.extend(differs(view, &self.owner, &accounts, |parts| parts.0)?);
        wrong.extend(differs(view, &self.group, &accounts, |parts| parts.1)?);
        let items = decoded(view, &self.items)?;
        let mut pairs: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        for (pair, _, amount) in items.values() {
            pairs.entry(*pair).or_default().push(*amount);
        }
        let whole = |amounts: &Vec<i64>| amounts.len() == 2 && amounts[0] == -amounts[1];
        wrong.extend(pairs.iter().filter(|(_, all)| !whole(all)).map(|(pair, all)| format!("pair {pair} is {all:?}")));
        wrong.extend(differs(view, &self.pair, &items, |parts| parts.0)?);
        Ok(wrong)
    }
}

type Parts = BTreeMap<RecordId, (u64, u64, i64)>;

/// The records of a set; each by scan and by ID.
pub fn decoded(view: &View, set: &RecordSet) -> Result<Parts> {
    let mut all = Parts::new();
    for record in view.scan(set) {
        let record = record?;
        let bytes = record.to_vec()?;
        assert_eq!(view.get(record.id())?.seq(), record.seq(), "by scan and by ID");
        assert!(record.seq() <= view.seq(), "a record of the view's future");
        let parts = decode(&bytes).unwrap_or_else(|| panic!("record {} is not whole", record.id()));
        assert!(all.insert(record.id(), parts).is_none(), "{} twice", record.id());
    }
    assert_eq!(u64::try_from(all.len()).expect("64 bits"), view.len(set), "how many {set}");
    Ok(all)
}

/// Whether an index says the same as the records, forwards and backwards.
pub fn differs<K: ToKey>(
    view: &View,
    index: &Index,
    records: &Parts,
    key: impl Fn(&(u64, u64, i64)) -> K,
) -> Result<Option<String>> {
    let expected = records.iter().map(|(id, parts)| Ok((Key::new(&key(parts))?, id.as_u64())));
    let mut expected = expected.collect::<Result<Vec<_>>>()?;
    expected.sort();
    let found = index.all(view)?.map(|entry| entry.map(|entry| (entry.key, entry.id.as_u64())));
    let found = found.collect::<Result<Vec<_>>>()?;
    let back = index.all(view)?.rev().map(|entry| entry.map(|entry| (entry.key, entry.id.as_u64())));
    let mut back = back.collect::<Result<Vec<_>>>()?;
    back.reverse();
    if found == expected && back == expected {
        return Ok(None);
    }
    let only = |one: &[(Key, u64)], other: &[(Key, u64)]| -> Vec<_> {
        one.iter().filter(|entry| !other.contains(entry)).cloned().collect()
    };
    let (more, missing) = (only(&found, &expected), only(&expected, &found));
    let name = index.name();
    Ok(Some(format!(
        "index {name} at {} has {more:?} for no record and lacks {missing:?}; backwards {back:?}",
        view.seq()
    )))
}
