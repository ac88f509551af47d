//! Faces grouped by person: duplicates in a gallery, and clusters of faces without names.

use std::collections::BTreeMap;

use super::records::{Page, SubjectId};
use super::search::{ExactIndex, Precision, Query};
use super::{Gallery, SearchMode, SearchParams};
use crate::error::{Error, Result};
use crate::stage::Embedding;

/// Two subjects that may be one person.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Duplicate {
    /// The subject with the smaller id.
    pub first: SubjectId,
    /// The other one.
    pub second: SubjectId,
    /// Similarity of their templates that are most alike.
    pub similarity: f32,
}

/// Subjects that are like each of a gallery's own templates, at most so many for each template.
const NEIGHBOURS: usize = 1000;
/// Templates that are looked up at once.
const BATCH: usize = 64;

/// Pairs of subjects with templates of at least this similarity, the most alike first. For each template its 1000 nearest
/// subjects are looked at.
///
/// `progress` is called with the number of templates that were looked at, after some of them each time.
///
/// # Errors
/// [`Error::InvalidParameter`] for what is no similarity; [`Error::GalleryStore`].
pub fn find_duplicates(
    gallery: &dyn Gallery,
    min_similarity: f32,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Duplicate>> {
    check_similarity(min_similarity)?;
    let params = SearchParams {
        top_k: NEIGHBOURS,
        min_similarity: Some(min_similarity),
        mode: SearchMode::Exact,
        ..SearchParams::default()
    };
    let mut best: BTreeMap<(SubjectId, SubjectId), f32> = BTreeMap::new();
    let mut page = Page::default();
    let mut done = 0;
    loop {
        let subjects = gallery.list(&page)?;
        let Some(last) = subjects.last() else { break };
        page.after = Some(last.id);
        let owned =
            subjects.iter().flat_map(|subject| subject.templates.iter().map(|template| (subject.id, template.id)));
        let owned: Vec<_> = owned.collect();
        for batch in owned.chunks(BATCH) {
            // A template that was removed meanwhile is passed over.
            let present = batch.iter().filter_map(|(subject, template)| match gallery.embedding(*template) {
                Ok(embedding) => Some(Ok((*subject, embedding))),
                Err(Error::NotEnrolled { .. }) => None,
                Err(error) => Some(Err(error)),
            });
            let (owners, probes): (Vec<_>, Vec<_>) = present.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            for (subject, candidates) in owners.into_iter().zip(gallery.search(&probes, &params)?) {
                for candidate in candidates.into_iter().filter(|candidate| candidate.subject != subject) {
                    let pair = (subject.min(candidate.subject), subject.max(candidate.subject));
                    let similarity = best.entry(pair).or_insert(candidate.similarity);
                    *similarity = similarity.max(candidate.similarity);
                }
            }
            done += batch.len() as u64;
            progress(done);
        }
    }
    let duplicate = |((first, second), similarity)| Duplicate { first, second, similarity };
    let mut duplicates: Vec<Duplicate> = best.into_iter().map(duplicate).collect();
    duplicates.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    Ok(duplicates)
}

/// Rounds of the clustering; it settles long before.
const ROUNDS: usize = 50;

/// Groups faces of unknown people: a group number for each embedding, 0 for the largest group.
///
/// Chinese whispers: faces of at least this similarity are neighbours; each face starts as a group of its own, and then
/// takes, again and again and in a shuffled order, the group for which the similarities of its neighbours add up to most.
/// Unlike connected components, one wrong edge does not join two people. The same faces always give the same groups.
///
/// Source: C. Biemann, "Chinese Whispers: an efficient graph clustering algorithm", 2006, with the edges weighted by how far
/// they lie above the threshold.
///
/// # Errors
/// [`Error::SpaceMismatch`] when the embeddings do not lie in one space; [`Error::InvalidParameter`] for what is no
/// similarity; [`Error::InvalidEmbedding`].
pub fn cluster(embeddings: &[Embedding], min_similarity: f32) -> Result<Vec<usize>> {
    check_similarity(min_similarity)?;
    let neighbours = neighbours(embeddings, min_similarity)?;
    let mut labels: Vec<usize> = (0..embeddings.len()).collect();
    let mut order = labels.clone();
    let mut random = Shuffle(0x9E37_79B9_7F4A_7C15);
    for _ in 0..ROUNDS {
        random.shuffle(&mut order);
        let mut has_changed = false;
        for &face in &order {
            let mut weights: BTreeMap<usize, f64> = BTreeMap::new();
            for (other, weight) in &neighbours[face] {
                *weights.entry(labels[*other]).or_default() += weight;
            }
            // The smallest number among equals.
            let best = weights.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            if let Some((label, _)) = best
                && label != labels[face]
            {
                labels[face] = label;
                has_changed = true;
            }
        }
        if !has_changed {
            break;
        }
    }
    Ok(by_size(&labels))
}

/// For each face the others that are like it, with the weight of the edge.
fn neighbours(embeddings: &[Embedding], min_similarity: f32) -> Result<Vec<Vec<(usize, f64)>>> {
    let Some(first) = embeddings.first() else { return Ok(vec![]) };
    let space = first.space();
    let mut index = ExactIndex::new(space.dimension, space.metric, Precision::F32)?;
    for (number, embedding) in embeddings.iter().enumerate() {
        if embedding.space() != space {
            return Err(Error::SpaceMismatch { left: space.id(), right: embedding.space().id() });
        }
        index.insert(number as u64, number as u64, embedding.vector())?;
    }
    let query = Query { top_k: embeddings.len(), min_similarity: Some(min_similarity), accept: None };
    let mut all = Vec::with_capacity(embeddings.len());
    for batch in embeddings.chunks(BATCH) {
        let probes: Vec<&[f32]> = batch.iter().map(Embedding::vector).collect();
        for hits in index.search(&probes, &query) {
            let own = all.len() as u64;
            let others = hits.into_iter().filter(|hit| hit.group != own);
            // Above zero, so that an edge at the threshold counts.
            let weight = |similarity: f64| (similarity - f64::from(min_similarity)).max(0.0) + 1e-3;
            all.push(others.map(|hit| (hit.group as usize, weight(hit.similarity))).collect());
        }
    }
    Ok(all)
}

/// Numbers from 0 for the largest group; equal ones in the order of their first faces.
fn by_size(labels: &[usize]) -> Vec<usize> {
    let mut groups: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (face, label) in labels.iter().enumerate() {
        groups.entry(*label).or_insert((0, face)).0 += 1;
    }
    let mut order: Vec<_> = groups.into_iter().collect();
    order.sort_by_key(|(_, (size, first))| (std::cmp::Reverse(*size), *first));
    let number: BTreeMap<usize, usize> =
        order.into_iter().enumerate().map(|(number, (label, _))| (label, number)).collect();
    labels.iter().map(|label| number[label]).collect()
}

fn check_similarity(similarity: f32) -> Result<()> {
    if similarity.is_finite() {
        return Ok(());
    }
    Err(Error::InvalidParameter {
        parameter: "min_similarity",
        value: similarity.to_string(),
        expected: "a finite number".into(),
    })
}

/// Fisher and Yates, on xorshift: an order that is the same everywhere is all that is needed.
struct Shuffle(u64);

impl Shuffle {
    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            items.swap(last, (self.0 % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gallery::{LocalGallery, NewSubject};
    use crate::stage::{EmbeddingSpace, Metric};

    fn embedding(degrees: f32) -> Embedding {
        let space = Arc::new(EmbeddingSpace {
            model: "toy".into(),
            digest: "00".into(),
            dimension: 2,
            preprocessing: "none".into(),
            averaging: "none".into(),
            metric: Metric::Cosine,
            thresholds: vec![],
        });
        let angle = degrees.to_radians();
        Embedding::new(vec![angle.cos(), angle.sin()], space).unwrap()
    }

    fn similarity(degrees: f32) -> f32 {
        degrees.to_radians().cos()
    }

    #[test]
    fn faces_are_grouped_by_person_the_largest_group_first() {
        let angles = [100.0, 0.0, 1.0, 101.0, 2.0, 200.0, 3.0, 102.0];
        let faces: Vec<Embedding> = angles.map(embedding).to_vec();
        assert_eq!(cluster(&faces, similarity(5.0)).unwrap(), [1, 0, 0, 1, 0, 2, 0, 1]);
        assert_eq!(cluster(&[], 0.5).unwrap(), [0_usize; 0]);
        assert!(cluster(&faces, f32::NAN).is_err());
    }

    #[test]
    fn one_wrong_edge_does_not_join_two_people() {
        // Two crowds, and one pair across that is just like enough.
        let mut faces: Vec<Embedding> = (0..8).map(|n| embedding(n as f32)).collect();
        faces.extend((0..8).map(|n| embedding(16.5 + n as f32)));
        let groups = cluster(&faces, similarity(9.6)).unwrap();
        assert!(groups[..8].iter().all(|group| *group == groups[0]), "{groups:?}");
        assert!(groups[8..].iter().all(|group| *group == groups[8]), "{groups:?}");
        assert_ne!(groups[0], groups[8]);
    }

    #[test]
    fn duplicates_are_pairs_of_subjects_with_like_templates() {
        let gallery = LocalGallery::in_memory(Arc::clone(embedding(0.0).space())).unwrap();
        for (name, angles) in [("a", [0.0, 40.0]), ("b", [41.0, 90.0]), ("c", [200.0, 201.0]), ("d", [92.0, 300.0])] {
            let templates = angles.map(|angle| embedding(angle).into()).to_vec();
            gallery.enroll(NewSubject::new(name, templates)).unwrap();
        }
        let mut seen = 0;
        let found = find_duplicates(&gallery, similarity(3.0), &mut |count| seen = count).unwrap();
        assert_eq!(seen, 8);
        let pairs: Vec<(u64, u64)> = found.iter().map(|pair| (pair.first.0, pair.second.0)).collect();
        assert_eq!(pairs, [(1, 2), (2, 4)]);
        assert!((found[0].similarity - similarity(1.0)).abs() < 1e-6);
    }
}
