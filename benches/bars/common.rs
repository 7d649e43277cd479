//! Shared by the bars: values, queries, rates, arguments.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) const VALUE_BYTES: usize = 200;
/// The first bytes of a value are its key in tests with indexes.
pub(crate) const KEY_BYTES: usize = 16;
pub(crate) const BATCH: usize = 1000;
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

pub(crate) fn value(number: u64, out: &mut [u8]) {
    let mut numbers = Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for part in out.chunks_mut(8) {
        part.copy_from_slice(&numbers.next().to_le_bytes()[..part.len()]);
    }
}

/// The values of one batch, generated before its time starts.
pub(crate) fn values(first: usize, count: usize) -> Vec<[u8; VALUE_BYTES]> {
    let one = |number: usize| {
        let mut bytes = [0; VALUE_BYTES];
        value(number as u64, &mut bytes);
        bytes
    };
    (first..(first + BATCH).min(count)).map(one).collect()
}

pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let count = count as f64;
    count / time.as_secs_f64()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Reads every byte of a value.
pub(crate) fn words(bytes: &[u8]) -> u64 {
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).fold(0_u64, |sum, bytes| sum.wrapping_mul(31).wrapping_add(word(bytes)))
}

/// Runs `count` queries twice and times the second round. If they depend on each other, no query can start before the
/// previous one was answered: that is the latency of a caller who needs the record to continue.
pub(crate) fn walk(count: usize, dependent: bool, get: impl Fn(usize) -> u64) -> Duration {
    let round = || {
        let mut sum = 0_u64;
        for number in 0..count {
            let twist = if dependent { black_box(sum) >> 62 } else { 0 };
            sum = sum.wrapping_add(get(number ^ to_index(twist << 1)));
        }
        black_box(sum)
    };
    round();
    let start = Instant::now();
    round();
    start.elapsed()
}

/// Uniformly random indexes.
pub(crate) fn questions(count: usize, end: usize) -> impl Iterator<Item = usize> {
    let mut numbers = Numbers(42);
    (0..count).map(move |_| to_index(numbers.next()) % end)
}

pub(crate) fn to_index(number: u64) -> usize {
    usize::try_from(number >> 1).expect("64 bits")
}

pub(crate) fn percentile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (times.len() as f64 * share) as usize;
    times.get(index.min(times.len() - 1)).copied().unwrap_or_default()
}

pub(crate) fn argument(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let found = arguments.iter().position(|argument| argument == name);
    found.and_then(|index| arguments.get(index + 1)?.parse().ok()).unwrap_or(default)
}

/// Whether this program was called with this flag.
pub(crate) fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// The path after a flag.
pub(crate) fn path_of(name: &str) -> Option<PathBuf> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map(PathBuf::from)
}

/// Prints a figure beside its target. `at_least` tells which side of the target is good.
pub(crate) fn figure(what: &str, got: f64, bar: f64, at_least: bool, unit: &str) {
    let holds = if at_least { got >= bar } else { got <= bar };
    let (sign, verdict) = (if at_least { ">=" } else { "<=" }, if holds { "holds" } else { "MISSED" });
    let digits = if bar < 10.0 { 3 } else { usize::from(bar < 1000.0) };
    println!("{what}: {got:.digits$} {unit} (bar {sign} {bar} {unit}: {verdict})");
}

/// Processor time of this thread: what it would have taken on an idle machine.
pub(crate) fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default())
}
