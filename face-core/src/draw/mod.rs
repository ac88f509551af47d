//! Detections and names drawn into a picture (feature `draw`).

#[cfg(feature = "cli")]
mod sheet;

use ab_glyph::{FontRef, PxScale};
use image::{Rgb, RgbImage};
use imageproc::drawing;
use imageproc::rect::Rect;

use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, Point};
use crate::image::{Image, ImageView, MAX_SIDE, shrink};
use crate::stage::Detection;

#[cfg(feature = "cli")]
pub(crate) use sheet::{SheetGroup, contact_sheet, face_tile};

const BOX_COLOR: Rgb<u8> = Rgb([0, 220, 90]);
/// For faces of people who are not known.
const STRANGER_COLOR: Rgb<u8> = Rgb([255, 165, 40]);
const TEXT_COLOR: Rgb<u8> = Rgb([0, 0, 0]);
/// One colour for each landmark, in the order of the scheme, so that swapped points can be seen.
const POINT_COLORS: [Rgb<u8>; 5] =
    [Rgb([255, 70, 70]), Rgb([70, 130, 255]), Rgb([255, 220, 0]), Rgb([255, 70, 255]), Rgb([0, 235, 235])];

/// A copy of the picture with the box, the score and the landmarks of every detection.
///
/// # Errors
/// [`Error::NonFinite`] for coordinates that are no numbers.
pub fn draw_detections(image: &ImageView<'_>, detections: &[Detection]) -> Result<Image> {
    let mut canvas = canvas_of(image);
    for detection in detections {
        draw_one(&mut canvas, detection)?;
    }
    image_of(canvas)
}

/// A face that is to be drawn with a name.
#[derive(Debug, Clone)]
pub struct NamedBox {
    /// Where it is, in pixels of the image.
    pub bounding_box: BoundingBox,
    /// What is written at the box.
    pub label: String,
    /// Whether it is somebody; strangers have another colour.
    pub is_known: bool,
}

/// A copy of the picture with a box and a name for every face.
///
/// # Errors
/// [`Error::NonFinite`] for coordinates that are no numbers.
pub fn draw_names(image: &ImageView<'_>, faces: &[NamedBox]) -> Result<Image> {
    let mut canvas = canvas_of(image);
    // The names last: a box must not run through the name of its neighbour.
    for face in faces {
        draw_box(&mut canvas, face.bounding_box, face.color())?;
    }
    for face in faces {
        let BoundingBox { width, .. } = face.bounding_box;
        let (left, top) = top_left(&canvas, face.bounding_box);
        // Names are for reading, even at small faces.
        draw_label(&mut canvas, left, top, (width / 7.0).clamp(14.0, 48.0), &face.label, face.color());
    }
    image_of(canvas)
}

impl NamedBox {
    fn color(&self) -> Rgb<u8> {
        if self.is_known { BOX_COLOR } else { STRANGER_COLOR }
    }
}

fn canvas_of(image: &ImageView<'_>) -> RgbImage {
    let pixels = image.to_image().into_raw();
    let Some(canvas) = RgbImage::from_raw(image.width(), image.height(), pixels) else {
        unreachable!("an image always fits its own size")
    };
    canvas
}

fn image_of(canvas: RgbImage) -> Result<Image> {
    Image::from_raw(canvas.width(), canvas.height(), canvas.into_raw())
}

/// Largest row of pictures that is drawn, in pixels.
const MAX_PIXELS: u64 = 1 << 28;

/// Pictures in a row from the left, all brought to one height (larger or smaller).
///
/// # Errors
/// [`Error::InvalidParameter`] for no picture at all or a height of 0; [`Error::ImageBuffer`] when the row would be too
/// large for an image.
pub fn side_by_side(pictures: &[Image], height: u32) -> Result<Image> {
    if pictures.is_empty() || !(1..=MAX_SIDE).contains(&height) {
        return Err(Error::InvalidParameter {
            parameter: "pictures",
            value: format!("{} of them at a height of {height}", pictures.len()),
            expected: format!("at least one, from 1 to {MAX_SIDE} pixels high"),
        });
    }
    let scaled_width = |picture: &Image| {
        let exact = u64::from(picture.width()) * u64::from(height) / u64::from(picture.height());
        u32::try_from(exact.max(1)).unwrap_or(u32::MAX)
    };
    let too_wide = |width: u64| Error::ImageBuffer {
        reason: format!("a row of pictures of {width} x {height} pixels is too large"),
    };
    let total: u64 = pictures.iter().map(|picture| u64::from(scaled_width(picture))).sum();
    let fits = |width: &u32| *width <= MAX_SIDE && u64::from(*width) * u64::from(height) <= MAX_PIXELS;
    let width = u32::try_from(total).ok().filter(fits).ok_or_else(|| too_wide(total))?;
    let mut canvas = RgbImage::new(width, height);
    let mut left = 0;
    for picture in pictures {
        let scaled = shrink(&picture.view(), scaled_width(picture), height)?;
        paste(&mut canvas, &scaled, left, 0);
        left += scaled.width();
    }
    image_of(canvas)
}

/// Copies a picture that lies within the canvas there.
fn paste(canvas: &mut RgbImage, picture: &Image, left: u32, top: u32) {
    for y in 0..picture.height() {
        let row = picture.view().row(y);
        for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
            canvas.put_pixel(left + x as u32, top + y, Rgb(*pixel));
        }
    }
}

fn draw_one(canvas: &mut RgbImage, detection: &Detection) -> Result<()> {
    let area = detection.bounding_box;
    draw_box(canvas, area, BOX_COLOR)?;
    let (width, height) = canvas.dimensions();
    if let Some(landmarks) = detection.landmarks {
        landmarks.validate().or_else(|error| match error {
            // A flat set of points can be drawn all the same.
            Error::DegenerateLandmarks { .. } => Ok(()),
            other => Err(other),
        })?;
        let radius = ((area.width / 45.0) as i32).clamp(2, 14);
        for (Point { x, y }, color) in landmarks.points.into_iter().zip(POINT_COLORS) {
            if x > -20.0 && y > -20.0 && x < width as f32 + 20.0 && y < height as f32 + 20.0 {
                let center = (x.round() as i32, y.round() as i32);
                drawing::draw_filled_circle_mut(canvas, center, radius + 1, TEXT_COLOR);
                drawing::draw_filled_circle_mut(canvas, center, radius, color);
            }
        }
    }
    let (left, top) = top_left(canvas, area);
    let score = format!("{:.2}", detection.score);
    draw_label(canvas, left, top, (area.width / 7.0).clamp(10.0, 48.0), &score, BOX_COLOR);
    Ok(())
}

fn draw_box(canvas: &mut RgbImage, area: BoundingBox, color: Rgb<u8>) -> Result<()> {
    crate::error::ensure_finite("a bounding box", &[area.x, area.y, area.width, area.height])?;
    let (width, height) = canvas.dimensions();
    let (left, top) = top_left(canvas, area);
    let (right, bottom) = (limit(area.right(), width), limit(area.bottom(), height));
    // Lines that can be seen when the whole picture is looked at, and that do not hide a small face.
    let line = (width.max(height) / 500).clamp(1, 12).min((area.width as u32 / 24).max(1)) as i32;
    for inset in 0..line {
        let (w, h) = (right - left - 2 * inset, bottom - top - 2 * inset);
        if w > 0 && h > 0 {
            let rect = Rect::at(left + inset, top + inset).of_size(w as u32, h as u32);
            drawing::draw_hollow_rect_mut(canvas, rect, color);
        }
    }
    Ok(())
}

fn top_left(canvas: &RgbImage, area: BoundingBox) -> (i32, i32) {
    (limit(area.x, canvas.width()), limit(area.y, canvas.height()))
}

/// A coordinate as a whole number, at most one pixel outside of the picture.
fn limit(value: f32, side: u32) -> i32 {
    value.round().clamp(-1.0, side as f32) as i32
}

/// A text on a patch above the box, or inside it where there is no room above.
fn draw_label(canvas: &mut RgbImage, left: i32, top: i32, text_size: f32, text: &str, color: Rgb<u8>) {
    let Ok(font) = FontRef::try_from_slice(dejavu::sans::regular()) else { return };
    let scale = PxScale::from(text_size);
    let (text_width, text_height) = drawing::text_size(scale, &font, text);
    let patch = (text_width + 4, text_height + 6);
    let y = if top > patch.1 as i32 { top - patch.1 as i32 } else { top.max(0) };
    let x = left.max(0).min(canvas.width() as i32 - patch.0 as i32).max(0);
    drawing::draw_filled_rect_mut(canvas, Rect::at(x, y).of_size(patch.0, patch.1), color);
    drawing::draw_text_mut(canvas, TEXT_COLOR, x + 2, y + 1, scale, &font, text);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::geometry::Landmarks;

    fn detection(x: f32, size: f32) -> Detection {
        let points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)];
        let points = points.map(|(u, v)| Point::new(x + u * size, 10.0 + v * size));
        let bounding_box = BoundingBox::new(x, 10.0, size, size);
        Detection { bounding_box, score: 0.987, landmarks: Some(Landmarks::eyes_nose_mouth(points)) }
    }

    #[test]
    fn boxes_and_points_are_where_they_belong() {
        let image = Image::from_raw(200, 150, vec![20; 200 * 150 * 3]).unwrap();
        let drawn = draw_detections(&image.view(), &[detection(60.0, 80.0)]).unwrap();
        assert_eq!(drawn.view().rgb(60, 50), BOX_COLOR.0);
        for (k, point) in detection(60.0, 80.0).landmarks.unwrap().points.into_iter().enumerate() {
            assert_eq!(drawn.view().rgb(point.x as u32, point.y as u32), POINT_COLORS[k].0);
        }
        assert_eq!(drawn.view().rgb(5, 5), [20; 3]);
    }

    #[test]
    fn faces_over_the_border_and_tiny_pictures_are_drawn_without_harm() {
        for (width, height) in [(1, 1), (3, 200), (40, 40)] {
            let image = Image::from_raw(width, height, vec![0; (width * height * 3) as usize]).unwrap();
            for x in [-500.0, -3.0, 0.0, 39.0, 1e9] {
                for size in [0.0, 1.0, 30.0, 1e6] {
                    draw_detections(&image.view(), &[detection(x, size)]).unwrap();
                }
            }
            for x in [-500.0, 0.0, 1e9] {
                let bounding_box = BoundingBox::new(x, 10.0, 30.0, 30.0);
                let named =
                    NamedBox { bounding_box, label: "A long name, Łódź 東京".repeat(9), is_known: x < 0.0 };
                draw_names(&image.view(), &[named]).unwrap();
            }
            let mut broken = detection(0.0, 10.0);
            broken.bounding_box.width = f32::NAN;
            assert!(matches!(draw_detections(&image.view(), &[broken]), Err(Error::NonFinite { .. })));
        }
    }
}
