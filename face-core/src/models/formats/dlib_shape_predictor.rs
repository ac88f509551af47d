//! dlib's shape predictors: cascades of regression trees.

use super::dlib::Reader;
use crate::error::Result;

/// The content of a shape predictor's file, with every index checked.
///
/// Source: V. Kazemi, J. Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", CVPR 2014;
/// layout: dlib's `shape_predictor.h`. Shapes are lists of x, y in a space where the face rectangle is the unit square.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapePredictorData {
    /// Where the landmarks are before anything is known about the face.
    pub initial_shape: Vec<f32>,
    /// The trees of each step of the cascade.
    pub forests: Vec<Vec<RegressionTree>>,
    /// For each step, the pixels that its trees look at: index of the landmark each goes with, and offset from it.
    pub pixels: Vec<Vec<(usize, [f32; 2])>>,
}

/// A full binary tree: splits by level, then the shape change that each leaf adds.
#[derive(Debug, Clone, PartialEq)]
pub struct RegressionTree {
    /// Inner nodes; the children of node i are 2i + 1 and 2i + 2.
    pub splits: Vec<SplitFeature>,
    /// One more than splits; each as long as the shape.
    pub leaves: Vec<Vec<f32>>,
}

/// Goes left when pixel `first` is brighter than pixel `second` by more than the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitFeature {
    /// Index of a pixel of the step.
    pub first: usize,
    /// Index of another.
    pub second: usize,
    /// Difference of grey levels.
    pub threshold: f32,
}

impl ShapePredictorData {
    /// Reads the bytes of a `.dat` file.
    ///
    /// # Errors
    /// [`ModelInvalid`](crate::Error::ModelInvalid) when it is anything else, or does not predict `landmarks` points.
    pub fn read(bytes: &[u8], landmarks: usize) -> Result<Self> {
        let mut reader = Reader::new(bytes, "the shape predictor", "an aligner");
        reader.expect("a shape predictor of version", 1)?;
        let initial_shape = reader.column()?;
        if initial_shape.len() != 2 * landmarks {
            let found = format!("{} coordinates", initial_shape.len());
            return Err(reader.unexpected(format!("{landmarks} landmarks"), found));
        }
        let mut forests = vec![];
        for _ in 0..reader.count("steps", 1)? {
            let count = reader.count("trees", 1)?;
            forests.push((0..count).map(|_| read_tree(&mut reader, initial_shape.len())).collect::<Result<Vec<_>>>()?);
        }
        let anchors = read_anchors(&mut reader, forests.len(), landmarks)?;
        let mut pixels = vec![];
        if reader.count("steps", 1)? != forests.len() {
            return Err(reader.unexpected("one list of pixels for each step", "another number"));
        }
        for anchors in anchors {
            if reader.count("pixels", 4)? != anchors.len() {
                return Err(reader.unexpected("one offset for each pixel", "another number"));
            }
            let offsets = anchors.into_iter().map(|anchor| Ok((anchor, [reader.float()?, reader.float()?])));
            pixels.push(offsets.collect::<Result<Vec<_>>>()?);
        }
        reader.finish()?;
        for (forest, pixels) in forests.iter().zip(&pixels) {
            let splits = forest.iter().flat_map(|tree| &tree.splits);
            if let Some(split) = splits.into_iter().find(|s| s.first.max(s.second) >= pixels.len()) {
                return Err(reader.unexpected(format!("splits on {} pixels", pixels.len()), format!("{split:?}")));
            }
        }
        Ok(Self { initial_shape, forests, pixels })
    }
}

fn read_anchors(reader: &mut Reader<'_>, steps: usize, landmarks: usize) -> Result<Vec<Vec<usize>>> {
    if reader.count("steps", 1)? != steps {
        return Err(reader.unexpected("one list of anchors for each step", "another number"));
    }
    let mut anchors = vec![];
    for _ in 0..steps {
        let mut step = vec![];
        for _ in 0..reader.count("anchors", 1)? {
            let anchor = reader.integer()?;
            match usize::try_from(anchor) {
                Ok(index) if index < landmarks => step.push(index),
                _ => return Err(reader.unexpected(format!("an anchor among {landmarks} landmarks"), anchor)),
            }
        }
        anchors.push(step);
    }
    Ok(anchors)
}

fn read_tree(reader: &mut Reader<'_>, shape: usize) -> Result<RegressionTree> {
    let mut splits = vec![];
    for _ in 0..reader.count("splits", 4)? {
        let mut index = || {
            let value = reader.integer()?;
            usize::try_from(value).map_err(|_| reader.unexpected("the index of a pixel", value))
        };
        let (first, second) = (index()?, index()?);
        splits.push(SplitFeature { first, second, threshold: reader.float()? });
    }
    let count = reader.count("leaves", 2)?;
    if count != splits.len() + 1 || !count.is_power_of_two() {
        return Err(reader.unexpected("a full binary tree", format!("{} splits and {count} leaves", splits.len())));
    }
    let mut leaves = vec![];
    for _ in 0..count {
        let leaf = reader.column()?;
        if leaf.len() != shape {
            return Err(reader.unexpected(format!("leaves of {shape} numbers"), leaf.len()));
        }
        leaves.push(leaf);
    }
    Ok(RegressionTree { splits, leaves })
}

/// A predictor of five landmarks with one step, one tree of one split and one pixel pair.
#[cfg(test)]
pub(crate) fn tiny_shape_predictor() -> Vec<u8> {
    fn float(out: &mut Vec<u8>, mantissa: u8) {
        out.extend([1, mantissa, 0x81, 4]);
    }
    fn column(out: &mut Vec<u8>, values: [u8; 10]) {
        out.extend([0x81, 10, 0x81, 1]);
        values.into_iter().for_each(|v| float(out, v));
    }
    let mut out = vec![1, 1];
    column(&mut out, [12, 4, 10, 4, 2, 4, 5, 4, 8, 9]);
    out.extend([1, 1, 1, 1, 1, 1]); // one step, one tree, one split
    out.extend([0, 1, 1]); // pixels 0 and 1
    float(&mut out, 16);
    out.extend([1, 2]); // two leaves
    column(&mut out, [1; 10]);
    column(&mut out, [2; 10]);
    out.extend([1, 1, 1, 2, 0, 1, 4]); // anchors 0 and 4
    out.extend([1, 1, 1, 2]); // offsets
    (0..4).for_each(|v| float(&mut out, v));
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_predictor_is_read() {
        let data = ShapePredictorData::read(&tiny_shape_predictor(), 5).unwrap();
        assert_eq!(data.initial_shape[..2], [0.75, 0.25]);
        assert_eq!(data.forests[0][0].splits, [SplitFeature { first: 0, second: 1, threshold: 1.0 }]);
        assert_eq!(data.pixels[0], [(0, [0.0, 0.0625]), (4, [0.125, 0.1875])]);
        assert!(ShapePredictorData::read(&tiny_shape_predictor(), 68).is_err());
    }

    #[test]
    fn cut_and_altered_files_are_errors_or_valid_but_never_a_panic() {
        let whole = tiny_shape_predictor();
        for length in 0..whole.len() {
            assert!(ShapePredictorData::read(&whole[..length], 5).is_err(), "{length} bytes");
        }
        for position in 0..whole.len() {
            for value in 0..=255 {
                let mut altered = whole.clone();
                altered[position] = value;
                if let Ok(data) = ShapePredictorData::read(&altered, 5) {
                    let pixels = data.pixels[0].len();
                    assert!(
                        data.forests[0].iter().flat_map(|t| &t.splits).all(|s| s.first < pixels && s.second < pixels)
                    );
                }
            }
        }
    }
}
