//! From photos to what a network sees: crops, changed at random.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::config::Augmentation;
use crate::error::{Error, Result};
use crate::geometry::templates::Template;
use crate::geometry::{Landmarks, Point};
use crate::image::{Image, ImageView};
use crate::normalizers::SimilarityNormalizer;
use crate::pipeline::central;
use crate::stage::{Aligner, CropSpec, FaceDetector, Normalizer};

/// Where the face of a photo is.
pub(super) enum Finder {
    /// Where the template has it: the photo was aligned to it, and may have been scaled since.
    Aligned(Template),
    /// Where a detector and an aligner find it, the one nearest to the centre.
    Searched(Box<dyn FaceDetector>, Box<dyn Aligner>),
}

/// Cuts the crops of a network out of photos.
#[derive(Clone)]
pub(super) struct Cutter {
    finder: Arc<Finder>,
    template: Template,
}

impl Cutter {
    pub(super) fn new(finder: Finder, template: Template) -> Self {
        Self { finder: Arc::new(finder), template }
    }

    /// The crop of the photo's face, moved as the generator says; as it is without one.
    pub(super) fn crop(&self, path: &Path, random: Option<(&mut ChaCha8Rng, &Augmentation)>) -> Result<Image> {
        let photo = Image::open(path)?;
        let view = photo.view();
        let landmarks = self.landmarks(&view, path)?;
        let template = match random {
            Some((random, changes)) if changes.moves() => changes.moved(&self.template, random),
            _ => self.template.clone(),
        };
        let is_ready = matches!(&*self.finder, Finder::Aligned(from) if *from == template)
            && (view.width(), view.height()) == (template.width, template.height);
        if is_ready {
            return Ok(photo);
        }
        let crop = SimilarityNormalizer::new(CropSpec::single(template))?.normalize(&view, &landmarks)?;
        crop.views.into_iter().next().ok_or_else(|| Error::NoFace { image: path.display().to_string() })
    }

    fn landmarks(&self, view: &ImageView<'_>, path: &Path) -> Result<Landmarks> {
        match &*self.finder {
            Finder::Aligned(template) => Ok(scaled_landmarks(template, view.width(), view.height())),
            Finder::Searched(detector, aligner) => {
                let detections = detector.detect(view)?;
                let face = central(&detections, view);
                let face = face.ok_or_else(|| Error::NoFace { image: path.display().to_string() })?;
                aligner.align(view, &face)
            }
        }
    }

    /// Rows and columns of a crop.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.template.height, self.template.width].map(|side| side as usize)
    }

    /// What the crops are aligned to.
    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// Whether finding the face takes a network.
    pub(super) fn is_slow(&self) -> bool {
        matches!(&*self.finder, Finder::Searched(..))
    }
}

/// A template's points in a picture of another size: pixels are squares, so that pixel centres move too.
fn scaled_landmarks(template: &Template, width: u32, height: u32) -> Landmarks {
    let [x, y] = [(width, template.width), (height, template.height)].map(|(to, from)| to as f32 / from as f32);
    let point = |p: Point| Point::new((p.x + 0.5) * x - 0.5, (p.y + 0.5) * y - 0.5);
    Landmarks { scheme: template.landmarks.scheme, points: template.landmarks.points.map(point) }
}

/// The template of a network with other sides: the square of the original as large as it fits, in the middle.
///
/// # Errors
/// [`Error::InvalidParameter`].
pub(super) fn template_for(original: &Template, [height, width]: [usize; 2]) -> Result<Template> {
    let side = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    if (width, height) == (original.width, original.height) {
        return Ok(original.clone());
    }
    let scale = (width as f32 / original.width as f32).min(height as f32 / original.height as f32);
    let shift = |side: u32, from: u32| (side as f32 - from as f32 * scale) / 2.0 - 0.5;
    let (x, y) = (shift(width, original.width), shift(height, original.height));
    let point = |p: Point| Point::new((p.x + 0.5) * scale + x, (p.y + 0.5) * scale + y);
    let landmarks = Landmarks { scheme: original.landmarks.scheme, points: original.landmarks.points.map(point) };
    Template::new(format!("{}-{width}x{height}", original.name), width, height, landmarks)
}

impl Augmentation {
    /// Whether the place of the face changes.
    pub(super) fn moves(&self) -> bool {
        self.shift > 0.0 || self.zoom > 0.0 || self.turn > 0.0
    }

    /// The template, moved: the face goes where its points go.
    fn moved(&self, template: &Template, random: &mut ChaCha8Rng) -> Template {
        let mut within = |most: f64| if most > 0.0 { random.random_range(-most..=most) } else { 0.0 };
        let [dx, dy] = [template.width, template.height].map(|side| within(self.shift) * f64::from(side));
        // Sizes between 1 / (1 + zoom) and 1 + zoom, as many larger as smaller.
        let scale = (within(1.0_f64.min(self.zoom).ln_1p())).exp();
        let (sin, cos) = within(self.turn).to_radians().sin_cos();
        let center = [template.width, template.height].map(|side| (f64::from(side) - 1.0) / 2.0);
        let point = |p: Point| {
            let (x, y) = (f64::from(p.x) - center[0], f64::from(p.y) - center[1]);
            let turned = [scale * (cos * x - sin * y), scale * (sin * x + cos * y)];
            Point::new((turned[0] + center[0] + dx) as f32, (turned[1] + center[1] + dy) as f32)
        };
        let landmarks = Landmarks { points: template.landmarks.points.map(point), ..template.landmarks };
        Template { landmarks, ..template.clone() }
    }

    /// The crop with other light, without colours, mirrored, or with a part of it covered.
    pub(super) fn change(&self, crop: Image, random: &mut ChaCha8Rng) -> Result<Image> {
        let (width, height) = (crop.width(), crop.height());
        let mut pixels = crop.into_raw();
        let mut within = |most: f64| if most > 0.0 { random.random_range(-most..=most) } else { 0.0 };
        let (brightness, contrast) = ((1.0 + within(self.brightness)) as f32, (1.0 + within(self.contrast)) as f32);
        if (brightness, contrast) != (1.0, 1.0) {
            let mean = pixels.iter().map(|value| f64::from(*value)).sum::<f64>() / pixels.len().max(1) as f64;
            let mean = mean as f32 * brightness;
            for value in &mut pixels {
                *value = ((f32::from(*value) * brightness - mean) * contrast + mean).round().clamp(0.0, 255.0) as u8;
            }
        }
        let mut happens = |share: f64| share > 0.0 && random.random_bool(share);
        if happens(self.grey) {
            for pixel in pixels.chunks_exact_mut(3) {
                // Rec. 601, in thousandths.
                let luma = 299 * u32::from(pixel[0]) + 587 * u32::from(pixel[1]) + 114 * u32::from(pixel[2]);
                pixel.fill(((luma + 500) / 1000) as u8);
            }
        }
        if happens(self.mirror) {
            for row in pixels.chunks_exact_mut(width as usize * 3) {
                row.reverse();
                row.chunks_exact_mut(3).for_each(<[u8]>::reverse);
            }
        }
        if happens(self.erase) {
            let mut part = |side: u32| {
                let size = random.random_range(1..=(side / 2).max(1));
                let start = random.random_range(0..=side - size);
                start as usize..(start + size) as usize
            };
            let (columns, rows) = (part(width), part(height));
            for row in rows {
                let start = row * width as usize;
                pixels[(start + columns.start) * 3..(start + columns.end) * 3].fill(0);
            }
        }
        Image::from_raw(width, height, pixels)
    }
}

/// What RGB crops become for a network of ours: planes of red, green and blue, (value - 127.5) / 127.5.
pub(super) fn planes(crop: &Image) -> Vec<f32> {
    let pixels = crop.as_raw();
    (0..3)
        .flat_map(|channel| pixels[channel..].iter().step_by(3).map(|value| (f32::from(*value) - MEAN) / STD))
        .collect()
}

/// Preprocessing of the networks that are trained here.
pub(super) const MEAN: f32 = 127.5;
pub(super) const STD: f32 = 127.5;

/// Where a crop that took a network to find is kept; a photo that was changed since has another place.
pub(super) fn kept_path(folder: &Path, photo: &Path) -> PathBuf {
    let changed = std::fs::metadata(photo).and_then(|metadata| metadata.modified()).ok();
    let mut key = photo.as_os_str().as_encoded_bytes().to_vec();
    key.extend(format!("\n{changed:?}").bytes());
    let digest = crate::files::sha256_hex(&key);
    folder.join(&digest[..2]).join(format!("{}.png", &digest[2..32]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::geometry::templates::ARCFACE_112;

    fn picture() -> Image {
        let pixels = (0..8 * 6).flat_map(|i| [i as u8 * 5, 255 - i as u8 * 5, i as u8]).collect();
        Image::from_raw(8, 6, pixels).unwrap()
    }

    fn nothing() -> Augmentation {
        Augmentation { mirror: 0.0, ..Augmentation::default() }
    }

    #[test]
    fn no_change_is_no_change_and_a_mirror_image_is_one() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(nothing().change(picture(), &mut random).unwrap(), picture());
        let always = Augmentation { mirror: 1.0, ..nothing() };
        let mirrored = always.change(picture(), &mut random).unwrap();
        for (y, x) in [(0, 0), (2, 3), (5, 7)] {
            assert_eq!(mirrored.view().rgb(x, y), picture().view().rgb(7 - x, y));
        }
        assert_eq!(always.change(mirrored, &mut random).unwrap(), picture());
    }

    #[test]
    fn changes_stay_within_their_bounds() {
        let changes = Augmentation {
            brightness: 0.2,
            contrast: 0.2,
            grey: 0.5,
            erase: 1.0,
            shift: 0.1,
            zoom: 0.25,
            turn: 10.0,
            ..nothing()
        };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let eyes = |t: &Template| t.landmarks.points[0].distance(t.landmarks.points[1]);
        let (mut smallest, mut largest) = (f32::MAX, 0.0_f32);
        for _ in 0..500 {
            let moved = changes.moved(&ARCFACE_112, &mut random);
            let scale = eyes(&moved) / eyes(&ARCFACE_112);
            (smallest, largest) = (smallest.min(scale), largest.max(scale));
            let picture = changes.change(picture(), &mut random).unwrap();
            let erased = picture.as_raw().chunks_exact(3).filter(|pixel| *pixel == [0; 3]).count();
            assert!((1..=12 + 1).contains(&erased), "{erased} of 48");
        }
        assert!((0.8..0.83).contains(&smallest) && (1.2..1.2501).contains(&largest), "{smallest} to {largest}");
    }

    #[test]
    fn templates_of_other_sizes_keep_the_face_in_the_middle() {
        let half = template_for(&ARCFACE_112, [56, 56]).unwrap();
        // The centre of the original's pixels (2x, 2x + 1) is that of pixel x.
        for (small, large) in half.landmarks.points.iter().zip(ARCFACE_112.landmarks.points) {
            assert!((2.0 * small.x + 0.5 - large.x).abs() < 1e-4 && (2.0 * small.y + 0.5 - large.y).abs() < 1e-4);
        }
        let tall = template_for(&ARCFACE_112, [70, 56]).unwrap();
        assert!((tall.landmarks.points[2].y - half.landmarks.points[2].y - 7.0).abs() < 1e-4);
        assert_eq!(template_for(&ARCFACE_112, [112, 112]).unwrap(), ARCFACE_112);
        // A crop of another size has its landmarks where the smaller template says.
        let scaled = scaled_landmarks(&ARCFACE_112, 56, 56);
        assert_eq!(scaled.points.map(|p| (p.x * 100.0).round()), half.landmarks.points.map(|p| (p.x * 100.0).round()));
    }
}
