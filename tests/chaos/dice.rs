//! The seed's choices: SplitMix64 (Steele, Lea, Flood 2014), since the order of numbers must never change with a crate.

/// See the module.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice of their own for a purpose: what one purpose draws changes nothing for another.
    pub(crate) fn for_purpose(seed: u64, purpose: &str) -> Dice {
        let mut dice = Dice(seed);
        for byte in purpose.bytes() {
            dice.0 = dice.next() ^ u64::from(byte);
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of `low..high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.between(0, 100) < u64::from(percent)
    }

    pub(crate) fn shuffle<T>(&mut self, of: &mut [T]) {
        for last in (1..of.len()).rev() {
            of.swap(last, self.between(0, last as u64 + 1) as usize);
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(count).collect()
    }
}

/// Deals every card once before any comes again.
#[derive(Debug)]
pub(crate) struct Deck<T> {
    cards: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    pub(crate) fn new(cards: &[T]) -> Deck<T> {
        Deck { cards: cards.to_vec(), left: Vec::new() }
    }

    pub(crate) fn deal(&mut self, dice: &mut Dice) -> T {
        if self.left.is_empty() {
            self.left = self.cards.clone();
            dice.shuffle(&mut self.left);
        }
        self.left.pop().unwrap()
    }
}
