//! How photos come together in batches.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::seeds;
use crate::error::{Error, Result};
use crate::train::batch::check_size;

/// How photos come together in batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Sampling {
    /// Each photo once in an epoch, in random order; those that are left over at the end wait for another epoch.
    Shuffled {
        /// Photos in a batch.
        batch: usize,
    },
    /// So many photos of so many people in each batch, which pairs and triplets need. In an epoch as many photos come up as there
    /// are; those of people with few of them more often.
    Pk {
        /// Number of people P, who have two photos at least.
        people: usize,
        /// Number of photos K of each.
        photos: usize,
    },
}

impl Default for Sampling {
    fn default() -> Self {
        Self::Shuffled { batch: 64 }
    }
}

impl Sampling {
    pub(super) fn validate(&self) -> Result<()> {
        match *self {
            Self::Shuffled { batch } => check_size("batch", batch),
            Self::Pk { people, photos } => {
                check_size("people", people)?;
                check_size("photos", photos)?;
                if people < 2 || photos < 2 {
                    return Err(Error::InvalidParameter {
                        parameter: "sampling",
                        value: format!("{people} people with {photos} photos each"),
                        expected: "two of both at least: pairs need two photos, and somebody else".into(),
                    });
                }
                Ok(())
            }
        }
    }

    /// Photos in a batch.
    pub fn batch(&self) -> usize {
        match *self {
            Self::Shuffled { batch } => batch,
            Self::Pk { people, photos } => people.saturating_mul(photos),
        }
    }

    /// Whether the photos can fill a batch.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub(super) fn check_photos(&self, labels: &[usize]) -> Result<()> {
        let wrong =
            |value: String, expected: String| Err(Error::InvalidParameter { parameter: "sampling", value, expected });
        match *self {
            Self::Shuffled { batch } if batch > labels.len() => {
                wrong(format!("batches of {batch}"), format!("of {} at most, the number of photos", labels.len()))
            }
            Self::Pk { people, photos } => {
                let with_pairs = by_person(labels).values().filter(|photos| photos.len() > 1).count();
                if people > with_pairs {
                    return wrong(
                        format!("{people} people in a batch"),
                        format!("{with_pairs} at most, the number of those with two photos"),
                    );
                }
                if people.saturating_mul(photos) > labels.len() {
                    return wrong(
                        format!("batches of {people} x {photos}"),
                        format!("of {} at most, the number of photos", labels.len()),
                    );
                }
                Ok(())
            }
            Self::Shuffled { .. } => Ok(()),
        }
    }

    /// Number of batches in an epoch.
    pub(super) fn steps(&self, photos: usize) -> usize {
        (photos / self.batch().max(1)).max(1)
    }

    /// The batches of an epoch, as positions in the list of photos: always the same ones for the same seed and epoch.
    pub(super) fn batches(&self, labels: &[usize], seed: u64, epoch: usize) -> Vec<Vec<usize>> {
        let mut random = seeds::generator(&[seed, seeds::ORDER, epoch as u64]);
        match *self {
            Self::Shuffled { batch } => {
                let mut order: Vec<usize> = (0..labels.len()).collect();
                order.shuffle(&mut random);
                order.chunks_exact(batch).map(<[usize]>::to_vec).collect()
            }
            Self::Pk { people, photos } => {
                let mut by_person: Vec<Deck> =
                    by_person(labels).into_values().filter(|photos| photos.len() > 1).map(Deck::new).collect();
                let mut order = Deck::new((0..by_person.len()).collect());
                let batch = |random: &mut ChaCha8Rng| {
                    let chosen = order.draw(people, random);
                    chosen.into_iter().flat_map(|person| by_person[person].draw(photos, random)).collect()
                };
                std::iter::repeat_with({
                    let mut batch = batch;
                    move || batch(&mut random)
                })
                .take(self.steps(labels.len()))
                .collect()
            }
        }
    }
}

fn by_person(labels: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let mut people: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (photo, label) in labels.iter().enumerate() {
        people.entry(*label).or_default().push(photo);
    }
    people
}

/// Cards that are dealt in random order, and shuffled again when all were dealt.
struct Deck {
    cards: Vec<usize>,
    left: Vec<usize>,
}

impl Deck {
    fn new(cards: Vec<usize>) -> Self {
        Self { cards, left: vec![] }
    }

    /// So many cards, different ones as far as there are.
    fn draw(&mut self, count: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
        let mut hand: Vec<usize> = Vec::with_capacity(count);
        while hand.len() < count {
            if self.left.is_empty() {
                self.left.clone_from(&self.cards);
                self.left.shuffle(random);
            }
            // A card that is in the hand already waits, unless all are.
            let held = hand.len() % self.cards.len();
            let round = &hand[hand.len() - held..];
            match self.left.iter().rposition(|card| !round.contains(card)) {
                Some(place) => hand.push(self.left.remove(place)),
                None => self.left.clear(),
            }
        }
        hand
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Person 0 has one photo, person 1 two, and so on.
    fn labels() -> Vec<usize> {
        (0..8).flat_map(|person| vec![person; person + 1]).collect()
    }

    #[test]
    fn shuffled_photos_come_up_once_in_an_epoch() {
        let (sampling, labels) = (Sampling::Shuffled { batch: 5 }, labels());
        let batches = sampling.batches(&labels, 1, 0);
        assert_eq!((batches.len(), sampling.steps(labels.len())), (7, 7));
        let seen: BTreeSet<usize> = batches.iter().flatten().copied().collect();
        assert_eq!(seen.len(), 35);
        assert_eq!(sampling.batches(&labels, 1, 0), batches);
        assert_ne!(sampling.batches(&labels, 1, 1), batches);
        assert_ne!(sampling.batches(&labels, 2, 0), batches);
    }

    #[test]
    fn pk_batches_have_k_photos_of_p_people() {
        let (sampling, labels) = (Sampling::Pk { people: 3, photos: 4 }, labels());
        let batches = sampling.batches(&labels, 1, 0);
        assert_eq!((batches.len(), sampling.steps(labels.len())), (3, 3));
        for batch in &batches {
            let mut people: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            batch.iter().for_each(|photo| people.entry(labels[*photo]).or_default().push(*photo));
            assert_eq!(people.len(), 3);
            for (person, photos) in people {
                assert!(person > 0, "one photo is no pair");
                let different: BTreeSet<_> = photos.iter().collect();
                assert_eq!((photos.len(), different.len()), (4, 4.min(person + 1)));
            }
        }
        // Nobody comes up for the second time before all came up once.
        let people: BTreeSet<usize> = batches.iter().take(2).flatten().map(|photo| labels[*photo]).collect();
        assert_eq!(people.len(), 6);
        assert_eq!(sampling.batches(&labels, 1, 0), batches);
        assert_ne!(sampling.batches(&labels, 1, 1), batches);
    }

    #[test]
    fn batches_that_cannot_be_filled_are_refused() {
        let labels = labels();
        for wrong in [
            Sampling::Shuffled { batch: 0 },
            Sampling::Pk { people: 1, photos: 4 },
            Sampling::Pk { people: 4, photos: 1 },
        ] {
            assert!(matches!(wrong.validate(), Err(Error::InvalidParameter { .. })), "{wrong:?}");
        }
        for wrong in [
            Sampling::Shuffled { batch: 37 },
            Sampling::Pk { people: 8, photos: 2 },
            Sampling::Pk { people: 7, photos: 6 },
        ] {
            assert!(wrong.validate().is_ok(), "{wrong:?}");
            assert!(matches!(wrong.check_photos(&labels), Err(Error::InvalidParameter { .. })), "{wrong:?}");
        }
    }
}
