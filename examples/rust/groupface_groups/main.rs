//! Draws how evenly the groups of GroupFace are used while a small network learns, by self-distributed and by naive labels.
//!
//! ```text
//! cargo run --release --features train,cli --example groupface_groups -- IMAGES OUT.png
//! ```
//!
//! IMAGES is a folder with a folder of photos for each person, as Labeled Faces in the Wild has it.
#![allow(clippy::print_stderr)] // It is a program.

use std::error::Error;
use std::path::PathBuf;

use face_core::train::groupface::Labelling;
use face_core::{FacePipeline, Image};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

mod experiment;

use experiment::{Crops, PASSES, PEOPLE, PHOTOS, entropies};

const SIZE: (u32, u32) = (700, 420);
const FONT: &str = "sans-serif";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(images), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("groupface_groups IMAGES OUT.png".into());
    };
    eprintln!("cutting {PEOPLE} x {PHOTOS} faces out ...");
    let crops = Crops::from_folder(&images, &FacePipeline::open_default()?, PEOPLE, PHOTOS)?;
    let bar = indicatif::ProgressBar::new(2 * PASSES as u64);
    let mut progress = || bar.inc(1);
    let distributed = entropies(&crops, Labelling::SelfDistributed, &mut progress)?;
    let naive = entropies(&crops, Labelling::Naive, &mut progress)?;
    bar.finish_and_clear();

    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
    let mut pixels = vec![0_u8; (SIZE.0 * SIZE.1 * 3) as usize];
    draw(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area(), &distributed, &naive)?;
    Image::from_raw(SIZE.0, SIZE.1, pixels)?.save(&out)?;
    eprintln!("{}: self-distributed {:.2}, naive {:.2}", out.display(), last(&distributed), last(&naive));
    Ok(())
}

fn draw(
    root: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
    distributed: &[f64],
    naive: &[f64],
) -> Result<(), Box<dyn Error>> {
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(root)
        .caption("Use of the groups", (FONT, 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(1.0..PASSES as f64, 0.0..1.05)?;
    chart
        .configure_mesh()
        .x_desc("passes over the photos")
        .y_desc("entropy of the labels, 1 is even")
        .label_style((FONT, 12))
        .axis_desc_style((FONT, 13))
        .draw()?;
    for (name, color, entropies) in [("self-distributed", BLUE, distributed), ("naive", RED, naive)] {
        let points = entropies.iter().enumerate().map(|(pass, entropy)| ((pass + 1) as f64, *entropy));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).label_font((FONT, 13)).draw()?;
    root.present()?;
    Ok(())
}

fn last(entropies: &[f64]) -> f64 {
    entropies.last().copied().unwrap_or(f64::NAN)
}
