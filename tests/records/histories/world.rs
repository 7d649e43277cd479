//! The data that transactions of a history work on, and the notes about each transaction.
//!
//! Owns: the layout of records, their extractors, the current store, the clock. Records are lists (each with a number,
//! also found by name and by length), members of groups, and claims of names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::extract::Extractor;
use tenure::key::KeyValue;
use tenure::{Index, Isolation, RecordId, RecordSet, Seq, Store};

/// Lists that all transactions share.
pub const LISTS: u32 = 6;
pub const GROUPS: u32 = 10;
/// Behind the shared lists each session has one of its own, which tells which of its transactions are there.
pub const SESSIONS: u32 = 6;
/// Elements that one transaction can write.
pub const ELEMENTS: u64 = 64;

/// One kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    List,
    Member,
    Claim,
}

pub fn record(what: What, object: u32, elements: &[u64]) -> Vec<u8> {
    let mut bytes = vec![what as u8];
    bytes.extend(object.to_le_bytes());
    for element in elements {
        bytes.extend(element.to_le_bytes());
    }
    bytes
}

pub fn parse(bytes: &[u8]) -> (What, u32, Vec<u64>) {
    let what = [What::List, What::Member, What::Claim][usize::from(bytes[0])];
    let object = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
    let elements = bytes[5..].chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    (what, object, elements.collect())
}

/// Lists and claims by name.
fn by_name() -> Extractor {
    Extractor::new("name", 1, |bytes, keys| match parse(bytes) {
        (What::Member, ..) => {}
        (what, object, _) => keys.push(&(what as u32, object)),
    })
}

/// Lists by number and length, so that each append moves an entry; members by group.
fn by_state() -> Extractor {
    Extractor::new("state", 1, |bytes, keys| match parse(bytes) {
        (What::List, list, elements) => keys.push(&(What::List as u32, list, elements.len() as u64)),
        (What::Member, group, _) => keys.push(&(What::Member as u32, group, 0_u64)),
        (What::Claim, ..) => {}
    })
}

/// Object and length of an entry of the index by state.
pub fn state_of(key: &tenure::key::Key) -> (u32, usize) {
    let values = key.values().unwrap();
    let number = |place: usize| match &values[place] {
        KeyValue::Integer(integer) => integer.to_u128().unwrap(),
        other => panic!("{other:?}"),
    };
    (u32::try_from(number(1)).unwrap(), usize::try_from(number(2)).unwrap())
}

/// What a transaction saw, without its own writes.
#[derive(Debug, Clone)]
pub enum Read {
    List {
        list: u32,
        elements: Vec<u64>,
    },
    Length {
        list: u32,
        len: usize,
    },
    /// Of some groups, but for those that it had removed itself.
    Members {
        from: u32,
        end: u32,
        seen: BTreeSet<RecordId>,
        removed: BTreeSet<RecordId>,
    },
    Name {
        name: u32,
        found: Option<RecordId>,
    },
    /// All of them, but for its own.
    Claims {
        seen: BTreeMap<u32, RecordId>,
        own: BTreeSet<u32>,
    },
}

/// What a transaction wrote and has not taken back.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    pub appended: BTreeMap<u32, Vec<u64>>,
    pub members: BTreeMap<RecordId, u32>,
    pub removed: BTreeSet<RecordId>,
    pub claims: BTreeMap<RecordId, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Committed,
    /// It failed, was dropped, or was read-only: it wrote nothing.
    Nothing,
    /// The next opening decides whether it was committed.
    Unknown,
    /// A crash interrupted it.
    Lost,
}

/// A finished transaction.
#[derive(Debug, Clone)]
pub struct Txn {
    pub number: u64,
    /// Which opening of the store it ran in.
    pub run: u64,
    pub begin: u64,
    pub end: u64,
    pub status: Status,
    pub seq: Option<Seq>,
    pub is_synced: bool,
    pub reads: Vec<Read>,
    pub writes: Writes,
    /// Something that it read contradicts something else that it read or wrote.
    pub contradiction: Option<String>,
    /// It replaced something before it had a state of its own, so if it failed it may have seen two states.
    pub is_blind: bool,
}

impl fmt::Display for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, begin, end, status, seq, is_blind, .. } = self;
        write!(f, "T{number} {begin}..{end} {status:?} {seq:?} blind {is_blind}:")?;
        for read in &self.reads {
            match read {
                Read::List { list, elements } => {
                    write!(f, " list {list}: {} to {:?},", elements.len(), elements.last())?;
                }
                other => write!(f, " {other:?},")?,
            }
        }
        write!(f, " {:?}", self.writes)
    }
}

/// The final state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    pub lists: BTreeMap<u32, Vec<u64>>,
    pub members: BTreeMap<RecordId, u32>,
    pub claims: BTreeMap<u32, RecordId>,
}

/// How transactions are weakened, to show that the checker detects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    None,
    /// Commits skip part of the validation.
    #[cfg(feature = "planted")]
    Without(tenure::Part),
}

impl Weakness {
    /// A transaction without what is to be missing.
    pub fn weakened(self, tx: tenure::Transaction) -> tenure::Transaction {
        match self {
            Self::None => tx,
            #[cfg(feature = "planted")]
            Self::Without(part) => {
                let mut tx = tx;
                tx.plant(part);
                tx
            }
        }
    }
}

/// A store, and what sessions share.
#[derive(Debug)]
pub struct World {
    pub store: Store,
    pub set: RecordSet,
    pub name: Index,
    pub state: Index,
    pub ids: Vec<RecordId>,
    pub isolation: Isolation,
    pub weakness: Weakness,
    pub members: Mutex<Vec<RecordId>>,
    pub run: u64,
    clock: AtomicU64,
    numbers: AtomicU64,
}

impl World {
    /// Goes on in a store, new or not. Numbers and times of each run lie behind those of the one before.
    pub fn open(store: Store, isolation: Isolation, weakness: Weakness, run: u64) -> tenure::Result<Self> {
        let set = store.record_set("lists")?;
        let name = store.unique_index(&set, "name", by_name())?;
        let state = store.index(&set, "state", by_state())?;
        let find = |list| name.get(&store.view(), &(What::List as u32, list));
        let mut ids =
            (0..LISTS + SESSIONS).filter_map(|list| find(list).transpose()).collect::<tenure::Result<Vec<_>>>()?;
        if ids.is_empty() {
            let mut tx = store.begin()?;
            for list in 0..LISTS + SESSIONS {
                ids.push(tx.insert(&set, record(What::List, list, &[]))?);
            }
            tx.commit_with(tenure::Durability::Sync)?;
        }
        assert_eq!(ids.len(), (LISTS + SESSIONS) as usize, "lists are made all at once");
        let begin = (run + 1) << 32;
        let (clock, numbers) = (AtomicU64::new(begin), AtomicU64::new(begin));
        Ok(Self { store, set, name, state, ids, isolation, weakness, members: Mutex::default(), run, clock, numbers })
    }

    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// Everything, by a scan; the indexes have to agree, unless the validation is weakened.
    pub fn contents(&self) -> Contents {
        let view = self.store.view();
        let mut contents = Contents::default();
        for found in view.scan(&self.set) {
            let found = found.unwrap();
            let (what, object, elements) = parse(&found.to_vec().unwrap());
            match what {
                What::List => assert!(contents.lists.insert(object, elements).is_none(), "list {object} twice"),
                What::Member => assert!(contents.members.insert(found.id(), object).is_none()),
                What::Claim => assert!(contents.claims.insert(object, found.id()).is_none(), "name {object} twice"),
            }
        }
        drop(view);
        // An update of a version that it has not seen leaves the entries of another: the histories have to tell of it.
        let indexes = if self.weakness == Weakness::None { vec![&self.name, &self.state] } else { Vec::new() };
        for index in indexes {
            assert_eq!(self.store.verify_index(index).unwrap(), Vec::<String>::new());
        }
        contents
    }
}
