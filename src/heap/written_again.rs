//! Frames that write a record more than once.
//!
//! Owns: which of a record's writes is applied, when a transaction commits and when its frame is replayed. Never: changes what the
//! frame says.
//! Invariant: an entry of the record index never leads to a version that no commit has left. Reads outside of a view find entries
//! while a commit is being applied, also in a reader that follows a writer; and a version is told by its commit, so two of one
//! commit could not be told apart.
//!
//! The flag `AGAIN` of items says which records these are, so a frame without it costs nothing. A log that is older than the flag is
//! applied write by write, which leads to the same state.

use crate::id::RecordId;

/// Drops all effects on each record but the last one, among those from `begin` on. `again` has the records that may have several, and
/// `record_of` says which one an effect is on.
pub(crate) fn keep_last<T>(
    effects: &mut Vec<T>,
    begin: usize,
    again: &mut Vec<RecordId>,
    record_of: impl Fn(&T) -> Option<RecordId>,
) {
    if again.is_empty() {
        return;
    }
    again.sort_unstable();
    again.dedup();
    let place_of = |effect: &T| again.binary_search(&record_of(effect)?).ok();
    let mut left = vec![0_usize; again.len()];
    for effect in effects.get(begin..).unwrap_or_default() {
        if let Some(left) = place_of(effect).and_then(|place| left.get_mut(place)) {
            *left += 1;
        }
    }
    let is_followed = |effect: &mut T| {
        let Some(left) = place_of(effect).and_then(|place| left.get_mut(place)) else { return false };
        *left -= 1;
        *left > 0
    };
    effects.extract_if(begin.., is_followed).for_each(drop);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u64) -> RecordId {
        RecordId::from_parts(slot, 1).expect("valid")
    }

    #[test]
    fn the_last_effect_on_a_record_stays_in_its_place() {
        // The slot of a record, or none, and a number.
        let of_another_frame = [(1, 0), (2, 1)];
        let frame = [(1, 2), (2, 3), (0, 4), (1, 5), (3, 6), (1, 7), (3, 8), (4, 9), (3, 10), (0, 11)];
        let mut effects = [&of_another_frame[..], &frame[..]].concat();
        let record_of = |(slot, _): &(u64, u64)| (*slot > 0).then(|| id(*slot));
        keep_last(&mut effects, 2, &mut [3, 1, 1, 4].map(id).to_vec(), record_of);
        let left = [(2, 3), (0, 4), (1, 7), (4, 9), (3, 10), (0, 11)];
        assert_eq!(effects, [&of_another_frame[..], &left[..]].concat());
        keep_last(&mut effects, 0, &mut Vec::new(), record_of);
        assert_eq!(effects.len(), 8);
    }
}
