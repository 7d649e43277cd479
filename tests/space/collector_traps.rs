//! The traps of a collector, one by one: moves that come too late, logs that a snapshot still needs, files deleted too
//! early, segments that are still being filled.
//!
//! Each check reports a problem instead of panicking. With the feature `planted` each runs again without the rule that
//! it tests, and must find a problem.

mod shop;
mod watched;

use std::sync::Arc;

use shop::{Shop, Wrong};
use tenure::backing::{Backing, FaultBacking};
use tenure::format::segment::FileKind;
#[cfg(feature = "planted")]
use tenure::planted;
#[cfg(feature = "planted")]
use tenure::planted::Fault;
use tenure::{Durability, Point};
use watched::Watched;

/// Runs a function with a fault planted.
#[cfg(feature = "planted")]
fn with<T>(fault: Option<Fault>, run: impl FnOnce() -> T) -> T {
    planted::plant(fault);
    let result = run();
    planted::plant(None);
    result
}

/// A check, and the problem it must find with the fault planted.
#[cfg(feature = "planted")]
fn finds(fault: Fault, what: &str, check: impl Fn(Option<Fault>) -> Result<(), Wrong>) {
    check(None).unwrap_or_else(|wrong| panic!("without a fault: {wrong}"));
    let wrong = check(Some(fault)).expect_err("the fault was not found");
    assert!(wrong.contains(what), "{fault:?}: expected {what:?}, found {wrong:?}");
}

/// Stands for no fault.
#[cfg(not(feature = "planted"))]
type Fault = std::convert::Infallible;

#[cfg(not(feature = "planted"))]
fn with<T>(_fault: Option<Fault>, run: impl FnOnce() -> T) -> T {
    run()
}

/// Records are replaced, deleted, and replaced in their slots, after they were copied and before their moves are
/// committed. The newest versions stay, whether the moves are replayed or not, and wherever replay starts.
fn moves_that_come_too_late(fault: Option<Fault>) -> Result<(), Wrong> {
    let backing = Watched::new(FaultBacking::new());
    let mut shop = Shop::open(Arc::new(backing.clone()), 1)?;
    shop.fill(900)?;
    shop.delete_some(2)?;
    shop.set_collecting(false);
    let writer = Arc::new(parking(shop));
    let (hooked, mut rounds) = (Arc::clone(&writer), 0);
    backing.at_sync(move |name, generation| {
        if generation == 0 || !name.starts_with("log") {
            return;
        }
        rounds += 1;
        let mut shop = hooked.lock().expect("not poisoned");
        shop.update_some(3, Durability::Sync).expect("updates");
        if rounds % 2 == 0 {
            shop.delete_some(9).expect("deletes");
            shop.store().sync().expect("syncs");
            shop.insert_some(30).expect("inserts");
        }
    });
    let store = writer.lock().expect("not poisoned").store().clone();
    let mut images = Vec::new();
    let collected = store.collect_with(None, &mut |_| {
        let shop = writer.lock().expect("not poisoned");
        shop.store().sync().expect("syncs");
        images.push((backing.inner().kill_image(), shop.model().clone()));
    });
    collected.map_err(|error| format!("collecting: {error}"))?;
    drop(backing.take_hook());
    assert!(images.len() > 3, "only {} slices", images.len());
    writer.lock().expect("not poisoned").check()?;
    for (number, (image, model)) in images.into_iter().enumerate() {
        let at = |wrong| format!("killed after slice {number}: {wrong}");
        with(fault, || shop::check_image(Arc::new(image), &model)).map_err(at)?;
    }
    Ok(())
}

fn parking(shop: Shop) -> std::sync::Mutex<Shop> {
    std::sync::Mutex::new(shop)
}

/// At any moment the newest snapshot may turn out to be damaged. The one before it leads to the same state.
fn the_log_of_the_older_snapshot(fault: Option<Fault>) -> Result<(), Wrong> {
    let backing = FaultBacking::new();
    let mut shop = Shop::open(Arc::new(backing.clone()), 2)?;
    shop.fill(500)?;
    let mut fell_back = 0;
    for round in 0..40 {
        with(fault, || shop.update_some(2, Durability::Sync))?;
        if round % 4 == 3 {
            shop.store().save_snapshot().map_err(|error| format!("saving: {error}"))?;
        }
        let image = backing.kill_image();
        // Without a change between them two snapshots have one root.
        let roots = shop::roots_of_snapshots(&image);
        let [.., older, newest] = roots[..] else { continue };
        if older == newest || round < 8 {
            continue;
        }
        let pages = FileKind::Pages.file_name(newest.segment);
        assert!(image.corrupt(&pages, newest.offset(), 0x55));
        fell_back += u32::from(shop::check_fallen_back(Arc::new(image), shop.model(), round)?);
    }
    assert!(fell_back > 15, "fell back only {fell_back} times");
    let deleted = shop.store().stats().collected.files_deleted;
    assert!(deleted > 20, "only {deleted} files were deleted");
    shop.check()
}

/// Records deleted by commits that the power cut loses are live again. Their files must still be there.
fn files_before_their_commits(fault: Option<Fault>) -> Result<(), Wrong> {
    let backing = FaultBacking::new();
    let mut shop = Shop::open(Arc::new(backing.clone()), 3)?;
    shop.fill(600)?;
    for round in 0..8 {
        shop.store().save_snapshot().map_err(|error| format!("saving: {error}"))?;
        shop.store().save_snapshot().map_err(|error| format!("saving: {error}"))?;
        // Acknowledged, and perhaps lost: the states that are allowed after it.
        let mut states = vec![shop.model().clone()];
        for _ in 0..3 {
            with(fault, || shop.update_some(1, Durability::Buffered))?;
            states.push(shop.model().clone());
            for image in [backing.crash_image_lose_all(), backing.crash_image(round), backing.crash_image_keep_all()] {
                let image: Arc<dyn Backing> = Arc::new(image);
                shop::check_one_of(&image, &states).map_err(|wrong| format!("round {round}: {wrong}"))?;
            }
        }
    }
    let deleted = shop.store().stats().collected.files_deleted;
    assert!(deleted > 20, "only {deleted} files were deleted");
    shop.check()
}

/// Views read their state, also on a backing whose deleted files can no longer be read.
fn files_under_views(fault: Option<Fault>) -> Result<(), Wrong> {
    let backing = Watched::new(FaultBacking::new());
    backing.forget_what_is_deleted();
    let mut shop = Shop::open(Arc::new(backing.clone()), 4)?;
    shop.fill(600)?;
    for _ in 0..3 {
        let (view, model) = (shop.store().view(), shop.model().clone());
        for _ in 0..4 {
            shop.update_some(1, Durability::Buffered)?;
        }
        shop.delete_some(5)?;
        with(fault, || shop.store().collect(None)).map_err(|error| format!("collecting: {error}"))?;
        shop::check_view(&view, &model)?;
        let before = backing.inner().disk_bytes();
        drop(view);
        shop.store().collect(None).map_err(|error| format!("collecting: {error}"))?;
        let now = backing.inner().disk_bytes();
        assert!(now < before, "{before} bytes with a view, {now} without");
        shop.insert_some(120)?;
    }
    shop.check()
}

/// A named snapshot can be opened, and rolled back to, after everything was replaced.
fn files_under_names(fault: Option<Fault>) -> Result<(), Wrong> {
    let backing: Arc<dyn Backing> = Arc::new(FaultBacking::new());
    let mut shop = Shop::open(Arc::clone(&backing), 5)?;
    shop.fill(600)?;
    let then = shop.model().clone();
    shop.store().save_named_snapshot("then").map_err(|error| format!("saving: {error}"))?;
    for _ in 0..4 {
        shop.update_some(1, Durability::Buffered)?;
    }
    shop.delete_some(3)?;
    with(fault, || shop.store().collect(None)).map_err(|error| format!("collecting: {error}"))?;
    let point = Point::Name("then".to_owned());
    let past = shop::options().open_backing_at(Arc::clone(&backing), &point);
    shop::check_store(&past.map_err(|error| format!("opening at {point}: {error}"))?, &then)?;
    shop.check()?;
    let shop = shop.roll_back_to(&point, then)?;
    shop.check()
}

/// All survivors in a segment die while further survivors are still appended to it.
fn a_segment_that_is_being_filled(fault: Option<Fault>) -> Result<(), Wrong> {
    let backing = FaultBacking::new();
    let mut shop = Shop::open(Arc::new(backing.clone()), 6)?;
    shop.fill(900)?;
    shop.keep_one_in(4)?;
    shop.set_collecting(false);
    let store = shop.store().clone();
    let (mut slices, mut moved, mut images) = (0, 0, Vec::new());
    let collected = with(fault, || {
        store.collect_with(None, &mut |collected| {
            slices += 1;
            if collected.records > moved && slices < 4 {
                moved = collected.records;
                shop.delete_these(&shop::survivors(&backing)).expect("deletes");
            }
            // Deletes everything that can be deleted by now.
            store.save_named_snapshot("sweep").expect("saves");
            store.drop_snapshot("sweep").expect("drops");
            images.push((backing.kill_image(), shop.model().clone()));
        })
    });
    collected.map_err(|error| format!("collecting: {error}"))?;
    assert!(moved > 0 && slices > 4, "{moved} records in {slices} slices");
    drop(store);
    shop.check()?;
    for (slice, (image, model)) in images.into_iter().enumerate() {
        shop::check_image(Arc::new(image), &model).map_err(|wrong| format!("killed after slice {slice}: {wrong}"))?;
    }
    let model = shop.model().clone();
    drop(shop);
    shop::check_image(Arc::new(backing), &model)
}

#[test]
fn moves_that_come_too_late_bring_nothing_back() {
    moves_that_come_too_late(None).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn the_older_snapshot_finds_a_whole_log() {
    the_log_of_the_older_snapshot(None).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn files_stay_until_the_commits_that_emptied_them_are_durable() {
    files_before_their_commits(None).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn files_stay_while_views_read_them() {
    files_under_views(None).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn files_stay_while_named_snapshots_list_them() {
    files_under_names(None).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_segment_that_is_being_filled_stays() {
    a_segment_that_is_being_filled(None).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// The check of each rule detects its absence.
#[cfg(feature = "planted")]
mod planted_faults {
    use super::{Fault, finds};

    #[test]
    fn moves_that_do_not_compare_are_found() {
        finds(Fault::MovesDoNotCompare, "killed after slice", super::moves_that_come_too_late);
    }

    #[test]
    fn an_older_snapshot_that_does_not_count_is_found() {
        finds(Fault::OlderSnapshotDoesNotCount, "opening: damaged", super::the_log_of_the_older_snapshot);
    }

    #[test]
    fn deletions_before_syncs_are_found() {
        finds(Fault::DeletedBeforeSync, "no file of this name", super::files_before_their_commits);
    }

    #[test]
    fn deletions_under_views_are_found() {
        finds(Fault::DeletedUnderViews, "", super::files_under_views);
    }

    #[test]
    fn deletions_under_named_snapshots_are_found() {
        finds(Fault::DeletedUnderNames, "opening at", super::files_under_names);
    }

    #[test]
    fn open_segments_that_go_are_found() {
        finds(Fault::OpenTargetsGo, "no file of this name", super::a_segment_that_is_being_filled);
    }

    #[test]
    fn segments_that_go_before_the_moves_into_them_are_found() {
        finds(Fault::RetiredBeforeMoves, "", super::a_segment_that_is_being_filled);
    }
}
