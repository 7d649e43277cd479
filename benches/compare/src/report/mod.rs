//! What a reader gets: tables, a page, charts.
//!
//! Owns: what is compared with what, and how numbers are written. Never: measures.

pub mod charts;
pub mod html;
pub mod markdown;
pub mod scale;

use crate::engines::{LIMIT, NAMES, OWN};
use crate::results::{Results, Shape};
use crate::workloads::{Bar, Workload};

/// The best other engine in a workload.
#[derive(Debug, Clone)]
pub struct Best {
    pub engine: String,
    pub value: f64,
}

/// Engines that have figures, in the order of the report.
pub fn engines(results: &Results) -> Vec<String> {
    let order = |name: &String| NAMES.iter().position(|known| known == name).unwrap_or(usize::MAX);
    let mut names: Vec<String> = results.samples.iter().map(|sample| sample.engine.clone()).collect();
    names.retain(|name| name != crate::driver::HARDWARE);
    names.sort_by_key(|name| (name == LIMIT, order(name), name.clone()));
    names.dedup();
    names
}

pub fn best_other(results: &Results, shape: Shape, workload: &Workload) -> Option<Best> {
    let others = engines(results).into_iter().filter(|name| name != OWN && name != LIMIT);
    let figures = others.filter_map(|engine| {
        let value = results.figure(shape, &engine, workload.name)?;
        Some(Best { engine, value })
    });
    let by_value = |a: &Best, b: &Best| a.value.total_cmp(&b.value);
    if workload.unit.is_more_better() { figures.max_by(by_value) } else { figures.min_by(by_value) }
}

/// How many times better Tenure is than the best other engine.
pub fn ratio(results: &Results, shape: Shape, workload: &Workload) -> Option<f64> {
    let own = results.figure(shape, OWN, workload.name)?;
    let other = best_other(results, shape, workload)?.value;
    Some(if workload.unit.is_more_better() { own / other } else { other / own })
}

/// Whether the bar holds; nothing where there is none, or no figure.
pub fn holds(results: &Results, shape: Shape, workload: &Workload) -> Option<bool> {
    match workload.bar {
        Bar::None => None,
        Bar::Ratio { must, .. } => Some(ratio(results, shape, workload)? >= must),
        Bar::AtMost { must, .. } => Some(results.figure(shape, OWN, workload.name)? <= must),
    }
}

/// A number for a reader: three digits that count, thousands apart.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value < 100.0 {
        return if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    }
    let scale = 10_f64.powf((value.log10().floor() - 2.0).max(0.0));
    let digits = format!("{:.0}", (value / scale).round() * scale);
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;
    use crate::workloads;

    #[test]
    fn numbers_have_three_digits() {
        let pairs = [(1.234, "1.23"), (45.67, "45.7"), (999.4, "999"), (1234.0, "1,230"), (9_876_543.0, "9,880,000")];
        for (value, text) in pairs {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_best_other_is_the_highest_rate_and_the_lowest_time() {
        let shape = Shape { value_bytes: 200, records: 1000 };
        let mut results = Results::default();
        for (engine, workload, value) in [
            ("tenure", "get", 30.0),
            ("redb", "get", 10.0),
            ("lmdb", "get", 20.0),
            ("ideal", "get", 90.0),
            ("tenure", "open-killed", 200.0),
            ("redb", "open-killed", 100.0),
            ("lmdb", "open-killed", 400.0),
        ] {
            let (engine, workload) = (engine.to_owned(), workload.to_owned());
            results.samples.push(Sample { shape, round: 0, engine, workload, value });
        }
        let find = |name: &str| workloads::ALL.iter().find(|workload| workload.name == name).expect("known");
        assert_eq!(best_other(&results, shape, find("get")).map(|best| best.engine).as_deref(), Some("lmdb"));
        assert_eq!(ratio(&results, shape, find("get")), Some(1.5));
        assert_eq!(holds(&results, shape, find("get")), Some(false));
        assert_eq!(best_other(&results, shape, find("open-killed")).map(|best| best.engine).as_deref(), Some("redb"));
        assert_eq!(ratio(&results, shape, find("open-killed")), Some(0.5));
        assert_eq!(holds(&results, shape, find("open-killed")), Some(true));
        assert_eq!(engines(&results), ["tenure", "lmdb", "redb", "ideal"]);
    }
}
