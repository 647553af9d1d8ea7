//! Chance by seed, so that a run can be had again (xorshift64*, Vigna 2016).

/// A generator.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of a seed; neighbouring seeds have nothing in common (the finaliser of splitmix64).
    pub(crate) fn new(seed: u64) -> Dice {
        let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Dice((mixed ^ (mixed >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    #[track_caller]
    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        self.some(all).copied().expect("something to choose from")
    }

    /// One of these, if there are any.
    pub(crate) fn some<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let len = u64::try_from(all.len()).expect("small");
        usize::try_from(self.below(len)).ok().and_then(|at| all.get(at))
    }
}
