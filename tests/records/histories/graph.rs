//! A graph of dependencies, and its cycles.
//!
//! Owns: edges by kind, strongly connected components (Tarjan 1972), the shortest cycle through a component. Never:
//! interprets the nodes.

use std::collections::{BTreeMap, VecDeque};

/// Why one node precedes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It wrote the version before.
    Write,
    /// It wrote what the other read.
    Read,
    /// It read what the other replaced.
    Anti,
    /// It ended before the other began.
    Time,
}

/// Nodes are numbered from 0.
#[derive(Debug, Default, Clone)]
pub struct Graph {
    edges: Vec<Vec<(usize, Kind)>>,
}

impl Graph {
    pub fn new(nodes: usize) -> Self {
        Self { edges: vec![Vec::new(); nodes] }
    }

    pub fn add(&mut self, from: usize, to: usize, kind: Kind) {
        if from != to {
            self.edges[from].push((to, kind));
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (usize, usize, Kind)> + '_ {
        self.edges.iter().enumerate().flat_map(|(from, out)| out.iter().map(move |(to, kind)| (from, *to, *kind)))
    }

    /// The graph in which no two anti-dependencies follow each other: node `2n` stands for `n` after any other edge,
    /// `2n + 1` for `n` after an anti-dependency. Snapshot isolation allows exactly the cycles that this one has not
    /// (Cerone and Gotsman 2018).
    #[must_use]
    pub fn without_adjacent_antis(&self) -> Self {
        let mut graph = Self::new(self.edges.len() * 2);
        for (from, to, kind) in self.all() {
            if kind == Kind::Anti {
                graph.edges[from * 2].push((to * 2 + 1, kind));
            } else {
                graph.edges[from * 2].push((to * 2, kind));
                graph.edges[from * 2 + 1].push((to * 2, kind));
            }
        }
        graph
    }

    /// A short cycle of each strongly connected component that has one.
    pub fn cycles(&self) -> Vec<Vec<(usize, Kind)>> {
        let parts = self.parts();
        let mut sizes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (node, part) in parts.iter().enumerate() {
            sizes.entry(*part).or_insert((node, 0)).1 += 1;
        }
        let bad = sizes.values().filter(|(_, size)| *size > 1);
        bad.filter_map(|(node, _)| self.cycle_through(*node, &parts)).collect()
    }

    /// The shortest path from a node back to itself within its component.
    fn cycle_through(&self, start: usize, parts: &[usize]) -> Option<Vec<(usize, Kind)>> {
        let mut before: BTreeMap<usize, (usize, Kind)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for (to, kind) in self.edges[node].iter().filter(|(to, _)| parts[*to] == parts[start]) {
                if *to == start {
                    let mut cycle = vec![(node, *kind)];
                    let mut at = node;
                    while at != start {
                        let (from, kind) = before[&at];
                        cycle.push((from, kind));
                        at = from;
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                before.entry(*to).or_insert_with(|| {
                    queue.push_back(*to);
                    (node, *kind)
                });
            }
        }
        None
    }

    /// The number of each node's strongly connected component.
    fn parts(&self) -> Vec<usize> {
        const NEW: usize = usize::MAX;
        let nodes = self.edges.len();
        let (mut index, mut low, mut part) = (vec![NEW; nodes], vec![0; nodes], vec![NEW; nodes]);
        let (mut stack, mut next, mut next_part) = (Vec::new(), 0, 0);
        for root in 0..nodes {
            if index[root] != NEW {
                continue;
            }
            // A node and the edge that is looked at next: the recursion, on the heap.
            let mut calls = vec![(root, 0)];
            while let Some((node, edge)) = calls.pop() {
                if edge == 0 {
                    (index[node], low[node]) = (next, next);
                    next += 1;
                    stack.push(node);
                }
                if let Some((to, _)) = self.edges[node].get(edge) {
                    calls.push((node, edge + 1));
                    if index[*to] == NEW {
                        calls.push((*to, 0));
                    } else if part[*to] == NEW {
                        low[node] = low[node].min(index[*to]);
                    }
                    continue;
                }
                if let Some((caller, _)) = calls.last() {
                    low[*caller] = low[*caller].min(low[node]);
                }
                if low[node] == index[node] {
                    while let Some(member) = stack.pop() {
                        part[member] = next_part;
                        if member == node {
                            break;
                        }
                    }
                    next_part += 1;
                }
            }
        }
        part
    }
}

#[test]
fn cycles_are_found_and_nothing_else() {
    let mut graph = Graph::new(5);
    for (from, to, kind) in [(0, 1, Kind::Write), (1, 2, Kind::Anti), (2, 3, Kind::Read), (0, 3, Kind::Time)] {
        graph.add(from, to, kind);
    }
    assert!(graph.cycles().is_empty());
    graph.add(3, 1, Kind::Anti);
    assert_eq!(graph.cycles().len(), 1, "1 2 3");
    assert_eq!(graph.cycles()[0].len(), 3);
    // 1 -anti-> 2 -read-> 3 -anti-> 1: the two antis are adjacent at 1.
    assert!(graph.without_adjacent_antis().cycles().is_empty());
    graph.add(3, 1, Kind::Read);
    assert_eq!(graph.without_adjacent_antis().cycles().len(), 1);
}
