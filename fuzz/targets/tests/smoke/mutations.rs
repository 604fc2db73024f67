//! Seeds that are changed at random, with an eye for what they are made of; the same random numbers make the same input.

/// Makes one input.
pub(crate) struct Mutator<'a> {
    /// The state of a generator that is good enough for this (Vigna's `SplitMix64`).
    state: u64,
    seeds: &'a [Vec<u8>],
    words: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, seeds: &'a [Vec<u8>], words: &'a [Vec<u8>]) -> Self {
        Self { state: seed, seeds, words }
    }

    /// A seed with one to six changes.
    pub(crate) fn input(mut self) -> Vec<u8> {
        let seeds = self.seeds;
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
            input.truncate(LONGEST);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.piece_of(input);
        let new = match self.below(8) {
            0 => Vec::new(),
            1 => input[from..to].repeat(2 + self.below(30)),
            2 => {
                let words = self.words;
                words[self.below(words.len())].clone()
            }
            3 => {
                let seeds = self.seeds;
                let other = &seeds[self.below(seeds.len())];
                let (from, to) = self.piece_of(other);
                other[from..to].to_vec()
            }
            4 => {
                // Both, so that a member is there twice.
                let words = self.words;
                [input[from..to].to_vec(), words[self.below(words.len())].clone()].concat()
            }
            5 => vec![b"0123456789\"\\{}[],:.\x00\x7f\x80\xff"[self.below(22)]; 1 + self.below(40)],
            6 => input[from..to].iter().rev().copied().collect(),
            _ => {
                let mut bytes = input[from..to].to_vec();
                if !bytes.is_empty() {
                    let at = self.below(bytes.len());
                    bytes[at] ^= 1 << self.below(8);
                }
                bytes
            }
        };
        input.splice(from..to, new);
    }

    /// A piece from one structural byte to another, or any at all.
    fn piece_of(&mut self, bytes: &[u8]) -> (usize, usize) {
        let is_structural = |byte: u8| b"{}[],:\".\n/=".contains(&byte);
        let mut edges: Vec<usize> = (0..bytes.len()).filter(|at| is_structural(bytes[*at])).collect();
        if edges.len() < 2 || self.below(3) == 0 {
            edges = (0..=bytes.len()).collect();
        }
        let one = self.below(edges.len());
        // Mostly a short one: neighbours in the structure.
        let other = (one + 1 + self.below(4)).min(edges.len() - 1);
        (edges[one], edges[other])
    }

    /// A number below a bound that is not zero.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound as u64).unwrap_or(0)
    }
}

/// Bytes beyond which an input is cut: longer ones are hostile by their form, and made elsewhere.
const LONGEST: usize = 4096;
