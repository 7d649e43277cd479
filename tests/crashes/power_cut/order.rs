//! The order of calls: nothing is acknowledged, named or deleted before the data it depends on is durable.

use std::collections::BTreeSet;

use tenure::Durability;
use tenure::backing::{Event, FaultBacking};

use crate::power_cut::world;
use crate::power_cut::world::{Op, World};

/// Follows the calls of a backing and complains about their order.
#[derive(Debug, Default)]
struct Monitor {
    unsynced: BTreeSet<String>,
    files: BTreeSet<String>,
    seen: usize,
}

impl Monitor {
    fn new(backing: &FaultBacking) -> Self {
        Self { files: backing.names().into_iter().collect(), seen: backing.events().len(), ..Self::default() }
    }

    fn unsynced(&self, kind: &str) -> Vec<&String> {
        // Nothing stands on the reserve.
        self.unsynced.iter().filter(|name| name.starts_with(kind) && !name.starts_with("reserve-")).collect()
    }

    /// The calls of one operation. `names_pages`: whether its manifest entries name pages and logs; a reservation does not.
    fn follow(&mut self, events: &[Event], names_pages: bool) -> Result<(), String> {
        for event in events {
            match event {
                Event::Create { name } => {
                    self.files.insert(name.clone());
                }
                // The proof that a manifest file was synced follows the synced entries, and nothing needs it.
                Event::Append { name, bytes: 16 } if name.starts_with("manifest-") => {}
                Event::Append { name, .. } => {
                    let below = [self.unsynced("pages-"), self.unsynced("log-")].concat();
                    if names_pages && name.starts_with("manifest-") && !below.is_empty() {
                        return Err(format!("an entry was appended to {name} before {below:?} were synced"));
                    }
                    self.unsynced.insert(name.clone());
                }
                Event::Sync { name } => {
                    self.unsynced.remove(name);
                }
                Event::Delete { name } => {
                    self.files.remove(name);
                    let (manifests, newest) = (self.unsynced("manifest-"), self.files.range("manifest-".to_owned()..));
                    let newest = newest.take_while(|other| other.starts_with("manifest-")).last();
                    if !manifests.is_empty() {
                        return Err(format!("{name} was deleted before {manifests:?} were synced"));
                    }
                    if newest.is_none_or(|newest| name.starts_with("manifest-") && newest < name) {
                        return Err(format!("{name} was deleted and nothing replaces it"));
                    }
                    self.unsynced.remove(name);
                }
            }
        }
        Ok(())
    }

    fn catch_up(&mut self, backing: &FaultBacking, names_pages: bool) -> Result<(), String> {
        let events = backing.events();
        let new = events[self.seen..].to_vec();
        self.seen = events.len();
        self.follow(&new, names_pages)
    }
}

const SCRIPT: [Op; 24] = [
    Op::Insert,
    Op::Several,
    Op::SaveSnapshot,
    Op::Insert,
    Op::InsertLarge,
    Op::Mark,
    Op::RecordSet,
    Op::Insert,
    Op::Update,
    Op::SaveSnapshot,
    Op::Reopen,
    Op::Delete,
    Op::Update,
    Op::SaveSnapshot,
    Op::Update,
    Op::SaveSnapshot,
    Op::Update,
    Op::SaveSnapshot,
    Op::InsertLarge,
    Op::Abort,
    Op::Insert,
    Op::Sync,
    Op::Reopen,
    Op::Insert,
];

#[test]
fn everything_stands_on_what_was_synced_before() {
    for durability in [Durability::Sync, Durability::Buffered] {
        let mut world = World::open(world::base(), durability, world::as_it_is, 21).expect("opens");
        let mut monitor = Monitor::new(&world.backing);
        let (mut saved, mut deleted) = (0, 0);
        for round in 0..6 {
            for op in SCRIPT {
                world.run(op).expect("no fault");
                let names_pages = matches!(op, Op::SaveSnapshot | Op::Reopen);
                monitor
                    .catch_up(&world.backing, names_pages)
                    .unwrap_or_else(|wrong| panic!("{durability:?}, {op:?} of round {round}: {wrong}"));
                let acknowledged = durability == Durability::Sync && !matches!(op, Op::RecordSet | Op::Abort);
                if acknowledged || names_pages || op == Op::Sync {
                    let behind = monitor.unsynced("");
                    assert!(behind.is_empty(), "{op:?} was acknowledged before {behind:?} were synced");
                }
                saved += u32::from(names_pages);
            }
            deleted += world.backing.events().iter().filter(|event| matches!(event, Event::Delete { .. })).count();
            // A recovery: its copies are synced before the cut that declares them.
            drop(world.run(Op::Insert));
            let image = world.backing.crash_image(round);
            world.resume(image).expect("recovers");
            monitor = Monitor { seen: 0, ..Monitor::new(&world.backing) };
            monitor.catch_up(&world.backing, true).unwrap_or_else(|wrong| panic!("recovery {round}: {wrong}"));
        }
        assert!(saved > 20 && deleted > 20, "{saved} saved, {deleted} deleted");
    }
}

#[test]
fn the_monitor_sees_what_it_is_for() {
    let append = |name: &str| Event::Append { name: name.to_owned(), bytes: 48 };
    let sync = |name: &str| Event::Sync { name: name.to_owned() };
    let create = |name: &str| Event::Create { name: name.to_owned() };
    let delete = |name: &str| Event::Delete { name: name.to_owned() };
    let follow = |events: &[Event], names_pages| Monitor::default().follow(events, names_pages);
    let manifests = [create("manifest-1"), create("manifest-2"), append("manifest-2")];
    for below in ["pages-3", "log-3"] {
        let early = [create(below), append(below), append("manifest-1"), sync(below)];
        assert!(follow(&early, true).is_err() && follow(&early, false).is_ok());
        assert!(follow(&[create(below), append(below), sync(below), append("manifest-1")], true).is_ok());
    }
    assert!(follow(&[&manifests[..], &[delete("manifest-1")]].concat(), true).is_err(), "not synced");
    assert!(follow(&[&manifests[..], &[sync("manifest-2"), delete("manifest-1")]].concat(), true).is_ok());
    assert!(follow(&[&manifests[..], &[sync("manifest-2"), delete("manifest-2")]].concat(), true).is_err());
    assert!(follow(&[&manifests[..], &[delete("pages-4")]].concat(), true).is_err());
}
