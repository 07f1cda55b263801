//! Maximal matching: the fewest words of a dictionary that a text can be cut into, where words end with character clusters.
//!
//! This is PyThaiNLP's newmm as nlpO3 1.4 has it, and it finds the same words: the tests compare them. nlpO3 follows every path
//! through an ambiguous stretch of text, so that 4 KB of ศาลาลูกขุนนอกรอบนอกรอบ… took it 19 s, and four times as much for twice
//! the text. Here each place of the text is visited once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::clusters;

/// Ambiguous words of one stretch of text that are all looked at; of each place after these only the shortest word is.
const AMBIGUOUS: usize = 50;

/// What is a word of its own where the dictionary has none.
static FOREIGN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:[-a-zA-Z]+|[0-9]+(?:[,.][0-9]+)*|[๐-๙]+(?:[,.][๐-๙]+)*|[ \t]+|\r?\n)")
        .expect("a constant pattern")
});

/// A dictionary: a tree of letters whose nodes lie in the order of their depth.
pub(super) struct Dictionary {
    nodes: Vec<Node>,
}

struct Node {
    letter: char,
    ends_word: bool,
    /// In the order of their letters.
    children: Range<usize>,
}

impl Node {
    fn of(letter: char) -> Self {
        Self { letter, ends_word: false, children: 0..0 }
    }
}

impl Dictionary {
    pub(super) fn of<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut words: Vec<&str> = words.collect();
        words.sort_unstable();
        let mut nodes = vec![Node::of('\0')];
        // What follows each node in the words that lead to it.
        let mut tails = VecDeque::from([words]);
        let mut parent = 0;
        while let Some(words) = tails.pop_front() {
            let first = nodes.len();
            let mut ends_word = false;
            for words in words.chunk_by(|left, right| left.chars().next() == right.chars().next()) {
                match words.first().and_then(|word| word.chars().next()) {
                    None => ends_word = true,
                    Some(letter) => {
                        nodes.push(Node::of(letter));
                        tails.push_back(words.iter().filter_map(|word| word.strip_prefix(letter)).collect());
                    }
                }
            }
            let children = first..nodes.len();
            if let Some(node) = nodes.get_mut(parent) {
                (node.ends_word, node.children) = (ends_word, children);
            }
            parent += 1;
        }
        Self { nodes }
    }

    /// The lengths in bytes of the words that a text begins with, the shortest first.
    fn prefixes<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let mut node = self.nodes.first();
        let ends = text.char_indices().map_while(move |(at, letter)| {
            let children = self.nodes.get(node?.children.clone())?;
            let found = children.binary_search_by_key(&letter, |child| child.letter).ok()?;
            node = children.get(found);
            Some(node?.ends_word.then_some(at + letter.len_utf8()))
        });
        ends.flatten()
    }

    /// Where the words of a text end, in bytes.
    pub(super) fn word_ends(&self, text: &str) -> Vec<usize> {
        Matching::of(self, text).run()
    }
}

/// A text on its way through the dictionary.
struct Matching<'a> {
    dictionary: &'a Dictionary,
    text: &'a str,
    /// For each position whether a cluster ends there.
    clusters: Vec<bool>,
    /// Positions where a word may begin, the first on top.
    open: BinaryHeap<Reverse<usize>>,
    /// For each position whether it was ever open.
    known: Vec<bool>,
    /// Words since the last certain end, by their begin.
    edges: Vec<(usize, usize)>,
    /// How many words were looked at since then.
    ambiguous: usize,
    /// Where the word that leads to a position begins, on the way with the fewest words from the last certain end.
    came_from: Vec<Option<usize>>,
    ends: Vec<usize>,
    /// Steps of the search, which the tests bound.
    steps: usize,
    /// The most bytes between two certain ends, which the tests ask for.
    longest_stretch: usize,
}

impl<'a> Matching<'a> {
    fn of(dictionary: &'a Dictionary, text: &'a str) -> Self {
        Self {
            dictionary,
            text,
            clusters: clusters::ends(text),
            open: BinaryHeap::from([Reverse(0)]),
            known: vec![false; text.len() + 1],
            edges: Vec::new(),
            ambiguous: 0,
            came_from: vec![None; text.len() + 1],
            ends: Vec::new(),
            steps: 0,
            longest_stretch: 0,
        }
    }

    fn run(mut self) -> Vec<usize> {
        self.search();
        self.ends
    }

    fn search(&mut self) {
        while let Some(Reverse(begin)) = self.open.pop().filter(|begin| begin.0 < self.text.len()) {
            self.look_up(begin);
            let certain = self.open.peek().filter(|_| self.open.len() == 1);
            if let Some(Reverse(end)) = certain.copied() {
                self.settle(end);
            } else if self.open.is_empty() {
                let end = self.unknown_until(begin);
                self.ambiguous += 1;
                self.ends.push(end);
                self.open(end);
            }
        }
    }

    fn ends_cluster(&self, position: usize) -> bool {
        self.clusters.get(position).is_some_and(|ends| *ends)
    }

    fn open(&mut self, position: usize) {
        if let Some(known) = self.known.get_mut(position)
            && !std::mem::replace(known, true)
        {
            self.open.push(Reverse(position));
        }
    }

    /// Opens where the words end that begin there.
    fn look_up(&mut self, begin: usize) {
        let (dictionary, text) = (self.dictionary, self.text);
        for length in dictionary.prefixes(text.get(begin..).unwrap_or_default()) {
            self.steps += 1;
            let end = begin + length;
            if self.ends_cluster(end) {
                self.edges.push((begin, end));
                self.ambiguous += 1;
                self.open(end);
                if self.ambiguous > AMBIGUOUS {
                    break;
                }
            }
        }
    }

    /// All ways lead through `goal`: takes the one with the fewest words, and of several the one whose first words are shorter.
    fn settle(&mut self, goal: usize) {
        let start = self.edges.first().map_or(goal, |(begin, _)| *begin);
        self.longest_stretch = self.longest_stretch.max(goal - start);
        let mut queue = VecDeque::from([start]);
        'search: while let Some(at) = queue.pop_front() {
            let first = self.edges.partition_point(|(begin, _)| *begin < at);
            for (_, end) in self.edges.iter().skip(first).take_while(|(begin, _)| *begin == at) {
                self.steps += 1;
                let Some(from @ None) = self.came_from.get_mut(*end) else { continue };
                *from = Some(at);
                if *end == goal {
                    break 'search;
                }
                queue.push_back(*end);
            }
        }
        let settled = self.ends.len();
        let mut end = goal;
        while end > start
            && let Some(Some(from)) = self.came_from.get(end)
        {
            self.ends.push(end);
            end = *from;
        }
        if let Some(path) = self.ends.get_mut(settled..) {
            path.reverse();
        }
        self.edges.clear();
        self.ambiguous = 0;
    }

    /// Where something ends that the dictionary does not have: before its next word of more than two consonants, or before what
    /// is not Thai.
    fn unknown_until(&mut self, begin: usize) -> usize {
        let rest = self.text.get(begin..).unwrap_or_default();
        if let Some(found) = FOREIGN.find(rest) {
            return begin + found.end();
        }
        let later =
            rest.char_indices().skip(1).map(|(at, _)| (begin + at, rest.get(at..).unwrap_or_default()));
        for (position, rest) in later {
            if !self.ends_cluster(position) {
                continue;
            }
            let is_word = |length: usize| {
                let word = rest.get(..length).unwrap_or_default();
                self.ends_cluster(position + length) && !is_two_consonants(word)
            };
            if self.dictionary.prefixes(rest).any(is_word) || FOREIGN.is_match(rest) {
                return position;
            }
        }
        self.text.len()
    }
}

fn is_two_consonants(word: &str) -> bool {
    word.chars().count() <= 2 && word.chars().all(|ch| ('ก'..='ฮ').contains(&ch))
}

#[cfg(test)]
mod tests;
