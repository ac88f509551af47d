//! Resampling under a similarity transform.

use crate::geometry::SimilarityTransform;
use crate::image::{Image, ImageView};

/// From this many source pixels to a side of a crop's pixel, whole blocks of the source are averaged first.
const BLOCK_FROM: usize = 4;

/// The crop of that size: pixel p of it shows the place that `transform` brings to p.
///
/// Each pixel is the mean of a grid of bilinear samples, as many to a side as it covers source pixels (one when the face
/// is enlarged), which is an area average over the turned square that the pixel covers. Outside of the image is black.
pub(super) fn warp(image: &ImageView<'_>, transform: &SimilarityTransform, width: u32, height: u32) -> Image {
    let back = transform.inverse();
    let samples = samples_per_side(back.scale());
    if samples < BLOCK_FROM {
        return sample(|x, y| image.rgb(x, y), image.width(), image.height(), &back, samples, width, height);
    }
    // Far too many samples for a very large face: average blocks of half a crop's pixel, then sample those.
    let block = (samples / 2) as u32;
    let region = Region::covered(&back, width, height, image, block);
    let blocks = region.averaged(image, block);
    let scale = f64::from(block);
    // The centre of block 0 lies (block - 1) / 2 pixels right of and below the centre of its first pixel.
    let shift = |origin: u32| f64::from(origin) + (scale - 1.0) / 2.0;
    let to_blocks = SimilarityTransform {
        a: back.a / scale,
        b: back.b / scale,
        tx: (back.tx - shift(region.x)) / scale,
        ty: (back.ty - shift(region.y)) / scale,
    };
    let samples = samples_per_side(to_blocks.scale());
    let averaged = blocks.view();
    sample(|x, y| averaged.rgb(x, y), blocks.width(), blocks.height(), &to_blocks, samples, width, height)
}

/// Source pixels to a side of a crop's pixel, rounded up; exact whole scales are not rounded up further.
fn samples_per_side(source_pixels: f64) -> usize {
    ((source_pixels - 1e-6).ceil() as usize).max(1)
}

fn sample(
    pixel: impl Fn(u32, u32) -> [u8; 3],
    source_width: u32,
    source_height: u32,
    back: &SimilarityTransform,
    samples: usize,
    width: u32,
    height: u32,
) -> Image {
    let offsets: Vec<f64> = (0..samples).map(|i| (i as f64 + 0.5) / samples as f64 - 0.5).collect();
    let weight = 1.0 / (samples * samples) as f32;
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0.0_f32; 3];
            for dy in &offsets {
                for dx in &offsets {
                    let (u, v) = (f64::from(x) + dx, f64::from(y) + dy);
                    let source_x = back.a * u - back.b * v + back.tx;
                    let source_y = back.b * u + back.a * v + back.ty;
                    add_bilinear(&pixel, source_width, source_height, source_x, source_y, &mut sum);
                }
            }
            data.extend(sum.map(|value| (value * weight).round() as u8));
        }
    }
    Image::from_parts(width, height, data)
}

/// Adds the bilinear value at a place; what lies outside of the image counts as black.
fn add_bilinear(pixel: &impl Fn(u32, u32) -> [u8; 3], width: u32, height: u32, x: f64, y: f64, sum: &mut [f32; 3]) {
    if !(x > -1.0 && y > -1.0 && x < f64::from(width) && y < f64::from(height)) {
        return;
    }
    let (left, top) = (x.floor(), y.floor());
    let (right_share, lower_share) = ((x - left) as f32, (y - top) as f32);
    let corners = [
        (0, 0, (1.0 - right_share) * (1.0 - lower_share)),
        (1, 0, right_share * (1.0 - lower_share)),
        (0, 1, (1.0 - right_share) * lower_share),
        (1, 1, right_share * lower_share),
    ];
    for (dx, dy, share) in corners {
        let (x, y) = (left as i64 + dx, top as i64 + dy);
        if x >= 0 && y >= 0 && x < i64::from(width) && y < i64::from(height) {
            for (total, value) in sum.iter_mut().zip(pixel(x as u32, y as u32)) {
                *total += share * f32::from(value);
            }
        }
    }
}

/// A part of the image, in whole pixels; may be cut off by the image's right and lower border.
struct Region {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Region {
    /// What a crop sees of the image, with a margin of two blocks, starting at whole blocks.
    fn covered(back: &SimilarityTransform, width: u32, height: u32, image: &ImageView<'_>, block: u32) -> Self {
        let corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)].map(|(x, y)| {
            let (u, v) = (x * f64::from(width) - 0.5, y * f64::from(height) - 0.5);
            (back.a * u - back.b * v + back.tx, back.b * u + back.a * v + back.ty)
        });
        let margin = f64::from(2 * block);
        let bounds = |values: [f64; 4], length: u32| {
            let least = values.into_iter().fold(f64::INFINITY, f64::min) - margin;
            let most = values.into_iter().fold(f64::NEG_INFINITY, f64::max) + margin;
            let start = (least.clamp(0.0, f64::from(length - 1)) as u32) / block * block;
            let end = (most.clamp(0.0, f64::from(length)) as u32).max(start + 1);
            (start, end - start)
        };
        let (x, width) = bounds(corners.map(|c| c.0), image.width());
        let (y, height) = bounds(corners.map(|c| c.1), image.height());
        Self { x, y, width, height }
    }

    /// The region with every block of `block` x `block` pixels averaged to one; blocks that the image's border cuts
    /// count what is missing as black, as bilinear samples there do.
    fn averaged(&self, image: &ImageView<'_>, block: u32) -> Image {
        let (columns, rows) = (self.width.div_ceil(block), self.height.div_ceil(block));
        let area = u64::from(block) * u64::from(block);
        let mut data = Vec::with_capacity(columns as usize * rows as usize * 3);
        let mut sums = vec![[0_u64; 3]; columns as usize];
        for row in 0..rows {
            sums.fill([0; 3]);
            let top = self.y + row * block;
            for y in top..(top + block).min(image.height()) {
                for x in self.x..(self.x + columns * block).min(image.width()) {
                    let sum = &mut sums[((x - self.x) / block) as usize];
                    for (total, value) in sum.iter_mut().zip(image.rgb(x, y)) {
                        *total += u64::from(value);
                    }
                }
            }
            data.extend(sums.iter().flat_map(|sum| sum.map(|total| ((total + area / 2) / area) as u8)));
        }
        Image::from_parts(columns, rows, data)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ramp(width: u32, height: u32) -> Image {
        let data =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [(x % 256) as u8, (y % 256) as u8, 7])).collect();
        Image::from_raw(width, height, data).unwrap()
    }

    #[test]
    fn the_identity_changes_nothing() {
        let image = ramp(40, 30);
        let identity = SimilarityTransform { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        assert_eq!(warp(&image.view(), &identity, 40, 30), image);
    }

    #[test]
    fn a_quarter_turn_moves_pixels_exactly() {
        let image = ramp(20, 10);
        // (x, y) to (9 - y, x): clockwise about the first pixel, then right by the height.
        let turn = SimilarityTransform { a: 0.0, b: 1.0, tx: 9.0, ty: 0.0 };
        let turned = warp(&image.view(), &turn, 10, 20);
        assert_eq!(turned.view().rgb(9 - 3, 12), image.view().rgb(12, 3));
    }

    #[test]
    fn shrinking_averages_and_both_ways_of_it_agree() {
        // Stripes of one pixel: a crop that picked single pixels would show black or white.
        let data = (0..800_u32 * 800).flat_map(|i| [if i % 2 == 0 { 0 } else { 255 }; 3]).collect();
        let stripes = Image::from_raw(800, 800, data).unwrap();
        for scale in [0.5, 0.35, 0.26, 0.2, 0.1, 0.03] {
            let shrink = SimilarityTransform { a: scale, b: 0.0, tx: 0.0, ty: 0.0 };
            let size = (800.0 * scale) as u32 - 2;
            let small = warp(&stripes.view(), &shrink, size, size);
            // A square over n stripes holds at most half a stripe more of one colour than of the other.
            let bound = (127.5 * scale) as u8 + 3;
            // The first row and column may reach over the border.
            for y in 1..size {
                for x in 1..size {
                    let value = small.view().rgb(x, y)[0];
                    assert!(value.abs_diff(127) <= bound, "scale {scale}: {value} at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn the_largest_blocks_do_not_overflow() {
        let white = Image::from_raw(6000, 6000, vec![255; 6000 * 6000 * 3]).unwrap();
        let shrink = SimilarityTransform { a: 1.01e-4, b: 0.0, tx: 0.0, ty: 0.0 };
        let small = warp(&white.view(), &shrink, 1, 1);
        assert!(small.as_raw()[0] > 50, "{small:?}");
    }

    #[test]
    fn a_crop_beside_the_image_is_black() {
        for scale in [1.0, 0.05] {
            let away = SimilarityTransform { a: scale, b: 0.0, tx: 5000.0, ty: -5000.0 };
            assert!(warp(&ramp(300, 300).view(), &away, 20, 20).as_raw().iter().all(|v| *v == 0));
        }
    }
}
