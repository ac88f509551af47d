//! Contact sheets: faces in groups under headings. Small groups share a row.

use ab_glyph::{FontRef, PxScale};
use image::{Rgb, RgbImage};
use imageproc::drawing;

use super::{MAX_PIXELS, image_of, paste};
use crate::error::{Error, Result};
use crate::geometry::BoundingBox;
use crate::image::{Image, ImageView, MAX_SIDE, shrink};

/// Side of a face on the sheet, in pixels.
const TILE_SIDE: u32 = 128;
/// Faces beside one another.
const COLUMNS: usize = 10;
const MARGIN: u32 = 28;
const GAP: u32 = 8;
const HEADING_HEIGHT: u32 = 30;
const TITLE_HEIGHT: u32 = 38;
const TITLE_SIZE: f32 = 26.0;
const WIDTH: u32 = 2 * MARGIN + COLUMNS as u32 * (TILE_SIDE + GAP) - GAP;
/// Between groups, in both directions.
const GROUP_GAP: u32 = 26;
const HEADING_SIZE: f32 = 20.0;
/// Corners of the faces are rounded with this radius.
const RADIUS: u32 = 8;
const BACKGROUND: Rgb<u8> = Rgb([250, 250, 248]);
const HEADING_COLOR: Rgb<u8> = Rgb([40, 44, 52]);
const LINE_COLOR: Rgb<u8> = Rgb([222, 222, 218]);
/// Where a face's surroundings lie outside of the photo.
const OUTSIDE: Rgb<u8> = Rgb([205, 205, 202]);
/// How much of the surroundings is seen: the side of the square, in long sides of the box.
const SURROUNDINGS: f32 = 1.5;

/// Faces that belong together.
#[derive(Debug)]
pub(crate) struct SheetGroup {
    /// What stands above the faces.
    pub(crate) heading: String,
    /// The faces, all [`TILE_SIDE`] wide and high.
    pub(crate) faces: Vec<Image>,
}

/// A face cut out of its photo with some of what is around it, as a square of [`TILE_SIDE`].
pub(crate) fn face_tile(photo: &ImageView<'_>, area: BoundingBox) -> Result<Image> {
    crate::error::ensure_finite("a bounding box", &[area.x, area.y, area.width, area.height])?;
    let (width, height) = (photo.width() as f32, photo.height() as f32);
    let side = (area.width.max(area.height) * SURROUNDINGS).round().clamp(1.0, width.max(height).min(8192.0));
    let center = area.center();
    // Rather off the middle than with a border, where the photo allows it.
    let start = |center: f32, length: f32| {
        let start = (center - side / 2.0).round();
        if side <= length { start.clamp(0.0, length - side) } else { ((length - side) / 2.0).round() }
    };
    let (left, top) = (start(center.x, width) as i64, start(center.y, height) as i64);
    let side = side as u32;
    let inside = |x: i64, y: i64| (0..width as i64).contains(&x) && (0..height as i64).contains(&y);
    let square = RgbImage::from_fn(side, side, |x, y| {
        let (x, y) = (left + i64::from(x), top + i64::from(y));
        if inside(x, y) { Rgb(photo.rgb(x as u32, y as u32)) } else { OUTSIDE }
    });
    shrink(&image_of(square)?.view(), TILE_SIDE, TILE_SIDE)
}

/// The groups from the left to the right and from the top to the bottom, their faces in rows of at most [`COLUMNS`].
///
/// # Errors
/// [`Error::ImageBuffer`] when the sheet would be too large for an image.
pub(crate) fn contact_sheet(title: &str, groups: &[SheetGroup]) -> Result<Image> {
    let bands = bands(groups);
    let height = u64::from(2 * MARGIN + TITLE_HEIGHT) + bands.iter().map(|band| height_of(band)).sum::<u64>();
    let fits = |height: &u32| *height <= MAX_SIDE && u64::from(*height) * u64::from(WIDTH) <= MAX_PIXELS;
    let height = u32::try_from(height).ok().filter(fits).ok_or_else(|| Error::ImageBuffer {
        reason: format!("a contact sheet of {WIDTH} x {height} pixels is too large"),
    })?;
    let mut canvas = RgbImage::from_pixel(WIDTH, height, BACKGROUND);
    write(&mut canvas, MARGIN, MARGIN, TITLE_SIZE, dejavu::sans::bold(), title);
    let mut top = MARGIN + TITLE_HEIGHT;
    for band in bands {
        for x in MARGIN..WIDTH - MARGIN {
            canvas.put_pixel(x, top + GROUP_GAP / 3, LINE_COLOR);
        }
        let mut left = MARGIN;
        for group in &band {
            draw_group(&mut canvas, left, top + GROUP_GAP, group);
            left += group.width() + GROUP_GAP;
        }
        top += height_of(&band) as u32;
    }
    image_of(canvas)
}

impl SheetGroup {
    fn width(&self) -> u32 {
        let columns = self.faces.len().clamp(1, COLUMNS) as u32;
        let heading = FontRef::try_from_slice(dejavu::sans::regular())
            .map_or(0, |font| drawing::text_size(PxScale::from(HEADING_SIZE), &font, &self.heading).0);
        (columns * (TILE_SIDE + GAP) - GAP).max(heading).min(WIDTH - 2 * MARGIN)
    }
}

/// Groups that stand beside one another.
fn bands(groups: &[SheetGroup]) -> Vec<Vec<&SheetGroup>> {
    let mut bands: Vec<Vec<&SheetGroup>> = vec![];
    let mut left = WIDTH;
    for group in groups {
        let width = group.width();
        match bands.last_mut() {
            Some(band) if left + width <= WIDTH - MARGIN => band.push(group),
            _ => {
                bands.push(vec![group]);
                left = MARGIN;
            }
        }
        left += width + GROUP_GAP;
    }
    bands
}

fn height_of(band: &[&SheetGroup]) -> u64 {
    let rows = band.iter().map(|group| group.faces.len().div_ceil(COLUMNS)).max().unwrap_or(0);
    u64::from(GROUP_GAP + HEADING_HEIGHT) + rows as u64 * u64::from(TILE_SIDE + GAP)
}

fn draw_group(canvas: &mut RgbImage, left: u32, top: u32, group: &SheetGroup) {
    write(canvas, left, top, HEADING_SIZE, dejavu::sans::regular(), &group.heading);
    for (index, face) in group.faces.iter().enumerate() {
        let left = left + (index % COLUMNS) as u32 * (TILE_SIDE + GAP);
        let top = top + HEADING_HEIGHT + (index / COLUMNS) as u32 * (TILE_SIDE + GAP);
        paste(canvas, face, left, top);
        round_corners(canvas, left, top);
    }
}

fn write(canvas: &mut RgbImage, left: u32, top: u32, size: f32, font: &[u8], text: &str) {
    let Ok(font) = FontRef::try_from_slice(font) else { return };
    drawing::draw_text_mut(canvas, HEADING_COLOR, left as i32, top as i32, PxScale::from(size), &font, text);
}

/// Brings the background back into the corners of a tile, softly.
fn round_corners(canvas: &mut RgbImage, left: u32, top: u32) {
    for y in 0..RADIUS {
        for x in 0..RADIUS {
            let (dx, dy) = (RADIUS as f32 - x as f32 - 0.5, RADIUS as f32 - y as f32 - 0.5);
            let outside = (dx.hypot(dy) - RADIUS as f32 + 0.5).clamp(0.0, 1.0);
            let far = TILE_SIDE - 1;
            for (x, y) in [(x, y), (far - x, y), (x, far - y), (far - x, far - y)] {
                let pixel = canvas.get_pixel_mut(left + x, top + y);
                for (value, background) in pixel.0.iter_mut().zip(BACKGROUND.0) {
                    *value = (f32::from(*value) * (1.0 - outside) + f32::from(background) * outside).round() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_face_has_its_place() {
        let face = |value: u8| Image::from_raw(TILE_SIDE, TILE_SIDE, vec![value; (TILE_SIDE * TILE_SIDE * 3) as usize]);
        let faces = |values: std::ops::Range<u8>| values.map(|value| face(value).unwrap()).collect();
        let groups = [
            SheetGroup { heading: "person 1: 12 faces".into(), faces: faces(10..22) },
            SheetGroup { heading: "person 2: 1 face".into(), faces: faces(100..101) },
        ];
        let sheet = contact_sheet("two people", &groups).unwrap();
        let seen: std::collections::HashSet<[u8; 3]> =
            sheet.as_raw().chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
        for value in (10..22).chain(100..101) {
            assert!(seen.contains(&[value; 3]), "{value}");
        }
        let empty = contact_sheet("nobody", &[]).unwrap();
        assert_eq!(empty.width(), sheet.width());
        assert!(empty.height() < sheet.height());
    }

    #[test]
    fn small_groups_share_a_row_and_large_ones_do_not() {
        let face = Image::from_raw(TILE_SIDE, TILE_SIDE, vec![9; (TILE_SIDE * TILE_SIDE * 3) as usize]).unwrap();
        let group = |count: usize| SheetGroup { heading: "p".into(), faces: vec![face.clone(); count] };
        let rows = |counts: &[usize]| -> Vec<usize> {
            let groups: Vec<SheetGroup> = counts.iter().map(|count| group(*count)).collect();
            bands(&groups).iter().map(Vec::len).collect()
        };
        assert_eq!(rows(&[12, 10, 6, 3, 2, 2, 1]), [1, 1, 2, 3]);
        assert_eq!(rows(&[1; 9]), [8, 1]);
        let long = SheetGroup { heading: "a very long heading ".repeat(50), faces: vec![face.clone()] };
        contact_sheet("long", &[long, group(1)]).unwrap();
    }

    #[test]
    fn faces_over_the_border_are_cut_out_without_harm() {
        let data: Vec<u8> = (0..60 * 40).flat_map(|i| [(i % 60) as u8 * 4, (i / 60) as u8 * 6, 90]).collect();
        let photo = Image::from_raw(60, 40, data).unwrap();
        for x in [-1e9, -500.0, -3.0, 20.0, 59.0, 1e9] {
            for size in [0.0, 1.0, 20.0, 39.0, 1e6] {
                let tile = face_tile(&photo.view(), BoundingBox::new(x, 5.0, size, size * 1.2)).unwrap();
                assert_eq!((tile.width(), tile.height()), (TILE_SIDE, TILE_SIDE));
            }
        }
        // In the middle of the photo the middle of the tile is the middle of the face.
        let tile = face_tile(&photo.view(), BoundingBox::new(25.0, 15.0, 10.0, 10.0)).unwrap();
        let [red, green, _] = tile.view().rgb(TILE_SIDE / 2, TILE_SIDE / 2);
        assert!(red.abs_diff(30 * 4) < 6 && green.abs_diff(20 * 6) < 8, "{red} {green}");
        assert!(face_tile(&photo.view(), BoundingBox::new(f32::NAN, 0.0, 1.0, 1.0)).is_err());
    }
}
