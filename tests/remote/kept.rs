//! Going back to states that a bucket retains, and backing up into a bucket.
//!
//! Over a directory, or over a real server: see `world`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::{ObjectStoreExt, PutPayload};
use tenure::backing::{Backing, Memory};
use tenure::remote::{LogPoint, Remote, RemoteOptions};
use tenure::repository::{AddOptions, At, Keep, Repository, RepositoryProgress};
use tenure::{Error, Options, Result};

use crate::common::Rng;
use crate::world::{LONG, Place, Records, World, read};
use crate::{contents, quick, small};

/// What a retained state holds: of a copy, and of a view.
fn restored(place: &Place, point: LogPoint) -> Result<Records> {
    let image = Memory::new();
    place.bucket().restore(Some(point), &image)?;
    let copy = small().open_backing(Arc::new(image))?;
    let view = place.bucket().view(Some(point))?;
    let reader = Options::new().read_only(true).open_backing(Arc::new(view))?;
    let records = read(&copy);
    assert_eq!(read(&reader), records, "{point}");
    Ok(records)
}

#[test]
fn each_retained_state_is_restored_as_it_was() {
    let place = Place::new();
    let local = Memory::new();
    let how = || quick().base_every(12).prune_every(None).retention(Duration::ZERO);
    let open = |how: RemoteOptions| {
        let remote = Arc::new(Remote::new(Arc::new(local.clone()), place.bucket(), how));
        (small().open_backing(Arc::clone(&remote) as Arc<dyn Backing>).unwrap(), remote)
    };
    let (store, _) = open(how());
    let mut world = World::new(store, 3);
    let mut points = BTreeMap::new();
    let note = |points: &mut BTreeMap<_, _>, world: &World| {
        let newest = place.bucket().status().unwrap().unwrap().newest;
        points.insert(newest, world.now.clone());
    };
    for number in 1..=40 {
        world.commit().unwrap();
        if number % 10 == 0 {
            world.collect();
        }
        if number % 4 == 0 {
            note(&mut points, &world);
        }
    }
    world.store.clone().close().unwrap();
    let (store, remote) = open(how());
    world.go_on(store);
    for _ in 0..3 {
        world.commit().unwrap();
        note(&mut points, &world);
    }
    assert!(points.keys().any(|point| point.epoch == 1) && points.keys().any(|point| point.epoch == 2));
    for (point, records) in &points {
        assert_eq!(restored(&place, *point).unwrap(), *records, "{point}");
    }
    // Servers may give times in whole seconds.
    let begin = Instant::now();
    let first = *points.keys().next().unwrap();
    let gone = loop {
        assert!(begin.elapsed() < LONG, "nothing is deleted");
        world.commit().unwrap();
        remote.prune().unwrap();
        match restored(&place, first) {
            Err(gone) => break gone,
            Ok(records) => assert_eq!(records, points[&first]),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(matches!(gone, Error::PointGone { .. }), "{gone}");
    note(&mut points, &world);
    let mut retained = 0;
    for (point, records) in &points {
        match restored(&place, *point) {
            Ok(found) => {
                assert_eq!(found, *records, "{point}");
                retained += 1;
            }
            Err(error) => assert!(matches!(error, Error::PointGone { .. }), "{point}: {error}"),
        }
    }
    println!("{} states, {retained} after deleting", points.len());
    assert!(retained > 0);
}

fn go_on(_now: RepositoryProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Changes a byte of an object. Returns its name.
fn damage(place: &Place, is_wanted: impl Fn(&str) -> bool) -> String {
    let (objects, prefix) = place.objects();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listed = objects.list_with_delimiter(Some(&prefix.join("data"))).await.unwrap().objects;
        let found = listed.into_iter().find(|object| is_wanted(object.location.filename().unwrap())).unwrap();
        let mut bytes = objects.get(&found.location).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        objects.put(&found.location, PutPayload::from(bytes)).await.unwrap();
        found.location.filename().unwrap().to_owned()
    })
}

#[test]
fn backups_share_what_did_not_change_restore_and_name_what_is_damaged() {
    let place = Place::new();
    let store = small().open(place.dir.path().join("store")).unwrap();
    let notes = store.record_set("notes").unwrap();
    let mut rng = Rng::new(4);
    let values: Vec<_> = (0..5_000).map(|_| rng.bytes(200)).collect();
    let ids = store.write(|tx| tx.insert_many(&notes, &values)).unwrap();
    let repository = || Repository::in_bucket(place.bucket());
    let add = || repository().add(&store, &AddOptions::new(), &mut go_on).unwrap();
    let restored = |at: At| {
        let path = place.dir.path().join("restored");
        let result = repository().restore(at, &path, &mut go_on);
        let found = result.and_then(|_| Ok(contents(&small().read_only(true).open(&path)?)));
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        found
    };
    let first = add();
    let before = contents(&store);
    store
        .write(|tx| {
            // One per cent of them.
            (0..50).try_for_each(|number| match number % 10 {
                0 => tx.delete(ids[number * 100]),
                1 => tx.insert(&notes, rng.bytes(200)).map(drop),
                _ => tx.update(ids[number * 100], rng.bytes(200)),
            })
        })
        .unwrap();
    let second = add();
    let after = contents(&store);
    println!("{} of {} bytes in the second backup", second.written, first.written);
    assert!(second.written < first.written / 10, "{second:?} after {first:?}");
    assert_eq!(restored(At::Id(first.id)).unwrap(), before);
    assert_eq!(restored(At::Id(second.id)).unwrap(), after);

    let pruned = repository().prune(&Keep::newest(1)).unwrap();
    assert_eq!(pruned.backups, [first.id]);
    assert!(matches!(restored(At::Id(first.id)), Err(Error::PointGone { .. })));
    assert_eq!(restored(At::Newest).unwrap(), after);
    assert!(repository().verify(&mut go_on).unwrap().is_ok());

    let name = damage(&place, |name| name.starts_with("log-"));
    let report = repository().verify(&mut go_on).unwrap();
    let [problem] = &report.problems[..] else { panic!("{report:?}") };
    assert!(problem.object.ends_with(&name) && problem.corrupt && problem.backups == [second.id], "{problem:?}");
    let error = restored(At::Newest).expect_err("it is damaged");
    assert!(error.is_corruption() && error.to_string().contains(&name), "{error}");
    let third = add();
    assert!(repository().verify(&mut go_on).unwrap().is_ok(), "it was put anew");
    assert_eq!(restored(At::Id(third.id)).unwrap(), after);
    assert_eq!(restored(At::Id(second.id)).unwrap(), after);
}
