//! The figures that the store is held to, records beside a plain log with its locations in a vector, in one run.
//!
//! `cargo bench --bench bars` prints a table; `-- --records N` changes the number of records. Not a timed test: it
//! asserts nothing, it measures. Each round uses a fresh directory; medians of `--rounds` (five by default).
//! `-- --only records|indexes|scans|feed|dump|rmw|tails|beside|recovery|heap|memory|large` does a part; `heap` loads `--keys` (ten million),
//! `large` a hundred million records; they and `memory` (a store larger than memory, as root) are done only when named.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program that measures and prints")]

mod beside;
mod commits;
mod common;
mod dump;
mod feed;
mod heap;
mod indexed;
mod large;
mod memory;
mod opening;
mod records;
mod rmw;
mod scans;
#[path = "../support/mod.rs"]
mod support;

use common::{argument, median, path_of, rate};
use support::allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn records(count: usize, rounds: usize) {
    let gets = count.min(1_000_000);
    let (mut plain, mut loaded) = (Vec::new(), Vec::new());
    let mut get_rates = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let dir = tempfile::tempdir().expect("a directory");
        let (time, places) = records::load_plain(dir.path(), count);
        plain.push(rate(count, time));
        let path = dir.path().join("store");
        let (time, store, ids) = records::load_store(&path, count);
        loaded.push(rate(count, time));
        let plain_times = records::get_plain(dir.path(), &places, gets);
        let store_times = records::get_store(&store, &ids, gets);
        let times = [plain_times.0, store_times.0, plain_times.1, store_times.1];
        for (rates, time) in get_rates.iter_mut().zip(times) {
            rates.push(rate(gets, time));
        }
        if round + 1 == rounds {
            commits::measure(&store, &ids);
            drop(ids);
            store.close().expect("closed");
            for _ in 0..3 {
                println!("open after close: {}", opening::open_in_child(&path));
            }
            opening::kill_and_open(dir.path(), 280_000.min(count), false);
            opening::kill_and_open(dir.path(), count, false);
            opening::kill_and_open(dir.path(), count, true);
        }
    }
    let (plain, loaded) = (median(plain), median(loaded));
    println!("load: plain {plain:.0}/s, store {loaded:.0}/s, ratio {:.2}", loaded / plain);
    let [plain, store, plain_dependent, store_dependent] = get_rates.map(median);
    println!("get one-shot, independent: plain {plain:.0}/s, store {store:.0}/s, ratio {:.2}", store / plain);
    let (plain, store) = (plain_dependent, store_dependent);
    println!("get one-shot, dependent: plain {plain:.0}/s, store {store:.0}/s, ratio {:.2}", store / plain);
}

fn main() {
    if opening::child() || memory::child() || large::child() {
        return;
    }
    let (count, rounds) = (argument("--records", 1_000_000), argument("--rounds", 5));
    let only = path_of("--only");
    let is_wanted = |part: &str| only.as_ref().is_none_or(|only| only.as_os_str() == part);
    if is_wanted("records") {
        records(count, rounds);
    }
    if is_wanted("indexes") {
        indexed::measure(count, rounds);
    }
    if is_wanted("scans") {
        scans::measure(count, rounds);
    }
    if is_wanted("feed") {
        feed::measure(count, rounds);
    }
    if is_wanted("dump") {
        dump::measure(count, rounds);
    }
    if is_wanted("rmw") {
        rmw::measure(count, rounds);
    }
    if is_wanted("beside") {
        beside::measure(rounds);
    }
    if is_wanted("recovery") {
        opening::beside_the_writer(count, rounds);
    }
    if is_wanted("tails") {
        opening::durable_tails(rounds);
    }
    if only.is_some() && is_wanted("heap") {
        heap::measure(argument("--keys", 10_000_000));
    }
    if only.is_some() && is_wanted("large") {
        large::measure(argument("--records", 100_000_000));
    }
    if only.is_some() && is_wanted("memory") {
        memory::measure(count);
    }
}
