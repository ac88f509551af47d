//! Randomness that depends on the seed and on where in the training it is used, and on nothing that happened before: a training
//! that goes on after an interruption draws what it would have drawn.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

/// What the randomness is for.
pub(super) const ORDER: u64 = 1;
pub(super) const AUGMENTATION: u64 = 2;
pub(super) const STEP: u64 = 3;
pub(super) const WEIGHTS: u64 = 4;

/// A generator whose numbers are the same on every machine and in every release of its library.
pub(super) fn generator(key: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(digest(key))
}

/// A seed for what has a generator of its own.
pub(super) fn seed(key: &[u64]) -> u64 {
    digest(key).iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

fn digest(key: &[u64]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    key.iter().for_each(|part| hasher.update(part.to_le_bytes()));
    hasher.finalize().into()
}
