//! Curves as pictures (feature `draw`).

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::verification::PairScores;
use crate::error::{Error, Result};
use crate::image::Image;

const SIZE: (u32, u32) = (900, 640);
const FONT: &str = "sans-serif";

/// The receiver operating characteristic: true-accept rate over false-accept rate, the latter on a logarithmic axis,
/// because what matters happens far below one percent. Save it with [`Image::save`].
///
/// # Errors
/// [`Error::InvalidParameter`] when there are no pairs of one of the kinds.
pub fn plot_roc(title: &str, scores: &PairScores) -> Result<Image> {
    if scores.same.is_empty() || scores.different.is_empty() {
        return Err(Error::InvalidParameter {
            parameter: "scores",
            value: format!("{} same and {} different pairs", scores.same.len(), scores.different.len()),
            expected: "at least one of each".into(),
        });
    }
    let roc = scores.roc();
    let smallest = 1.0 / scores.different.len() as f64;
    // The axis is logarithmic: it starts at one false accept.
    let roc: Vec<_> = roc.into_iter().filter(|point| point.far > 0.0).collect();
    let lowest_tar = roc.first().map_or(0.0, |point| point.tar);
    let floor = ((lowest_tar * 20.0).floor() / 20.0 - 0.05).clamp(0.0, 0.95);
    let mut pixels = vec![0_u8; (SIZE.0 * SIZE.1 * 3) as usize];
    draw(title, &mut pixels, roc.iter().map(|p| (p.far, p.tar)).collect(), smallest, floor).map_err(|error| {
        Error::InvalidParameter { parameter: "plot", value: title.to_owned(), expected: error.to_string() }
    })?;
    Image::from_raw(SIZE.0, SIZE.1, pixels)
}

fn draw(
    title: &str,
    pixels: &mut [u8],
    curve: Vec<(f64, f64)>,
    smallest: f64,
    floor: f64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // Compiled in, so that the plot looks the same everywhere and needs no font of the system.
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
    let root = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d((smallest..1.0).log_scale(), floor..1.002)?;
    chart
        .configure_mesh()
        .x_desc("false-accept rate (pairs of different people that match)")
        .y_desc("true-accept rate (pairs of the same person that match)")
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        // Decades alone.
        .x_labels((-smallest.log10()).ceil() as usize + 1)
        .x_label_formatter(&|far| format!("{far:.0e}"))
        .y_label_formatter(&|tar| format!("{tar:.3}"))
        .draw()?;
    // Between two rates that some threshold has, the lower one is what can be had: the curve goes in steps.
    let mut steps = vec![];
    for pair in curve.windows(2) {
        steps.extend([pair[0], (pair[1].0, pair[0].1)]);
    }
    steps.extend(curve.last());
    chart.draw_series(LineSeries::new(steps, BLUE.stroke_width(2)))?;
    root.present()?;
    Ok(())
}
