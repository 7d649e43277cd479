//! Tables for people.
//!
//! Owns: widths and alignment. A column whose title ends in `>` is right-aligned.

use crate::failure::{Outcome, one_line};
use crate::output::Output;

/// Rows below titles.
pub struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(titles: &[&str]) -> Self {
        let right = titles.iter().map(|title| title.ends_with('>')).collect();
        let titles = titles.iter().map(|title| title.trim_end_matches('>').to_owned()).collect();
        Self { right, rows: vec![titles] }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    pub fn print(&self, out: &mut Output) -> Outcome {
        self.lines().iter().try_for_each(|line| out.line(line))
    }

    fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.right);
            let cells = cells.map(
                |((cell, &width), &right)| {
                    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            );
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "BYTES>"]);
        table.row(&["a".to_owned(), "1".to_owned()]);
        table.row(&["longer".to_owned(), "123456".to_owned()]);
        assert_eq!(table.lines(), ["NAME     BYTES", "a            1", "longer  123456"]);
    }
}
