//! What routing would gain: a log of records of one size and its collector, as numbers in memory.
//!
//! Owns: where an update would be written if there were two logs, one for hot records and one for cold ones. Never: uses the
//! store; its policy, generations and cap are modelled, index pages and headers are not.

use super::{Numbers, Pattern};

/// How an update is told to be of a hot record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// One log for all, as the store has.
    OneLog,
    /// By the age of the version that it replaces.
    AgeOfReplaced,
    /// By the mean age of the versions that it and earlier updates replaced, half of it the last one.
    MeanAge,
    /// By the pattern itself, which nobody knows.
    Known,
}

const ROUTES: [Route; 4] = [Route::OneLog, Route::AgeOfReplaced, Route::MeanAge, Route::Known];
const GENERATIONS: usize = 4;
/// Open segments: two of the log, and one for each generation of survivors.
const OPEN: usize = 2 + GENERATIONS;
/// Share of the mean age that the next update makes.
const SHARE: f64 = 0.0001;

#[derive(Debug, Default)]
struct Segment {
    records: Vec<usize>,
    live: usize,
    generation: usize,
    filled_at: usize,
}

struct Model {
    per_segment: usize,
    segments: Vec<Segment>,
    /// Segments that were emptied.
    free: Vec<usize>,
    open: [Option<usize>; OPEN],
    /// Segment and place of each record.
    places: Vec<(usize, usize)>,
    full: usize,
    now: usize,
    copied: usize,
}

impl Model {
    fn put(&mut self, record: usize, open: usize, generation: usize) {
        let at = self.open[open].unwrap_or_else(|| {
            self.free.pop().unwrap_or_else(|| {
                self.segments.push(Segment::default());
                self.segments.len() - 1
            })
        });
        let segment = &mut self.segments[at];
        self.places[record] = (at, segment.records.len());
        segment.records.push(record);
        segment.live += 1;
        segment.generation = generation;
        self.open[open] = Some(at);
        if segment.records.len() == self.per_segment {
            segment.filled_at = self.now;
            self.open[open] = None;
            self.full += 1;
        }
    }

    /// Empties the segment with the highest (1 − u) · age / u.
    fn collect(&mut self) -> bool {
        let profit = |segment: &Segment| {
            let live = segment.live as f64 / self.per_segment as f64;
            (1.0 - live) * (self.now - segment.filled_at + 1) as f64 / live
        };
        let is_victim =
            |segment: &Segment| segment.records.len() == self.per_segment && segment.live < self.per_segment;
        let candidates = self.segments.iter().enumerate().filter(|(_, segment)| is_victim(segment));
        let best = candidates.map(|(at, segment)| (profit(segment), at)).max_by(|one, other| one.0.total_cmp(&other.0));
        let Some((_, victim)) = best else { return false };
        let Segment { records, generation, .. } = std::mem::take(&mut self.segments[victim]);
        self.full -= 1;
        let next = (generation + 1).min(GENERATIONS - 1);
        for (place, record) in records.into_iter().enumerate() {
            if self.places[record] == (victim, place) {
                self.copied += 1;
                self.put(record, 2 + next, next);
            }
        }
        self.free.push(victim);
        true
    }
}

/// Bytes written for each byte of updates in the last half of the turnovers.
fn amplification(pattern: Pattern, route: Route, records: usize, segments: usize, ratio: f64, turnovers: usize) -> f64 {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (per_segment, hot) = (records / segments, pattern.hot(records));
    let mut model = Model {
        per_segment,
        segments: Vec::new(),
        free: Vec::new(),
        open: [None; OPEN],
        places: vec![(usize::MAX, 0); records],
        full: 0,
        now: 0,
        copied: 0,
    };
    for record in 0..records {
        model.now += 1;
        model.put(record, 0, 0);
    }
    let (mut written, mut mean_ages, mut limit) =
        ((1..=records).collect::<Vec<_>>(), vec![records as f64; records], records as f64);
    let full_max = ratio * segments as f64 + 2.0;
    let updates = turnovers * records;
    let mut copied = 0;
    for update in 0..updates {
        if update == updates / 2 {
            copied = model.copied;
        }
        let record = pattern.pick(&mut numbers, records);
        model.now += 1;
        let age = (model.now - written[record]) as f64;
        mean_ages[record] = f64::midpoint(mean_ages[record], age);
        let expected = if route == Route::MeanAge { mean_ages[record] } else { age };
        let is_hot = match route {
            Route::OneLog => true,
            Route::AgeOfReplaced | Route::MeanAge => expected < limit,
            Route::Known => record < hot,
        };
        limit += SHARE * (expected - limit);
        let (segment, _) = model.places[record];
        model.segments[segment].live -= 1;
        written[record] = model.now;
        model.put(record, usize::from(!is_hot), 0);
        while model.full as f64 > full_max && model.collect() {}
    }
    let half = (updates - updates / 2) as f64;
    1.0 + (model.copied - copied) as f64 / half
}

/// Prints a table of what each way of routing writes.
pub(crate) fn run(patterns: &[Pattern], records: usize, segments: usize, ratio: f64, turnovers: usize) {
    println!("| updates | {} |", ROUTES.map(|route| format!("{route:?}")).join(" | "));
    println!("|---|{}", "---|".repeat(ROUTES.len()));
    for pattern in patterns {
        let row =
            ROUTES.map(|route| format!("{:.3}", amplification(*pattern, route, records, segments, ratio, turnovers)));
        println!("| {} | {} |", pattern.name(), row.join(" | "));
    }
}
