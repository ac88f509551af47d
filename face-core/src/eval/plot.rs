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
    let curve: Vec<_> = roc.iter().map(|p| (p.far, p.tar)).collect();
    plot(title, |root| draw_roc(title, root, &curve, smallest, floor))
}

/// The cumulative match characteristic: over k the share of the probes with the right person among the first k
/// candidates. `rates` are those of k = 1, 2, 3 and so on. Save it with [`Image::save`].
///
/// # Errors
/// [`Error::InvalidParameter`] without rates, or with one that is no share.
pub fn plot_cmc(title: &str, rates: &[f64]) -> Result<Image> {
    if rates.is_empty() || !rates.iter().all(|rate| (0.0..=1.0).contains(rate)) {
        return Err(Error::InvalidParameter {
            parameter: "rates",
            value: format!("{rates:?}"),
            expected: "at least one, each from 0 to 1".into(),
        });
    }
    plot(title, |root| draw_cmc(title, root, rates))
}

/// Lines through points, with a legend where there are several, over two linear axes. Save it with [`Image::save`].
///
/// # Errors
/// [`Error::InvalidParameter`] without points, or with one that is not finite.
pub fn plot_lines(title: &str, x: &str, y: &str, lines: &[(&str, Vec<(f64, f64)>)]) -> Result<Image> {
    let points: Vec<(f64, f64)> = lines.iter().flat_map(|(_, points)| points.iter().copied()).collect();
    if points.is_empty() || !points.iter().all(|(x, y)| x.is_finite() && y.is_finite()) {
        return Err(Error::InvalidParameter {
            parameter: "lines",
            value: format!("{} points", points.len()),
            expected: "one at least, and all finite".into(),
        });
    }
    plot(title, |root| draw_lines(title, root, [x, y], lines, &points))
}

/// Where a plot is drawn.
type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// An empty picture, drawn into.
fn plot(title: &str, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<Image> {
    let mut pixels = vec![0_u8; (SIZE.0 * SIZE.1 * 3) as usize];
    let drawn = || -> Drawn {
        // Compiled in, so that the plot looks the same everywhere and needs no font of the system.
        register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
        let root = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
        Ok(())
    };
    drawn().map_err(|error| Error::InvalidParameter {
        parameter: "plot",
        value: title.to_owned(),
        expected: error.to_string(),
    })?;
    Image::from_raw(SIZE.0, SIZE.1, pixels)
}

fn draw_roc(title: &str, root: &Area<'_>, curve: &[(f64, f64)], smallest: f64, floor: f64) -> Drawn {
    let mut chart = ChartBuilder::on(root)
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
    Ok(())
}

/// Least and greatest, with room around them.
fn range(values: impl Iterator<Item = f64> + Clone, room: f64) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let greatest = values.fold(f64::NEG_INFINITY, f64::max);
    // One value alone is an axis too.
    let room = if greatest > least { room * (greatest - least) } else { 0.5 };
    least - room..greatest + room
}

fn draw_lines(
    title: &str,
    root: &Area<'_>,
    [x, y]: [&str; 2],
    lines: &[(&str, Vec<(f64, f64)>)],
    points: &[(f64, f64)],
) -> Drawn {
    let mut chart = ChartBuilder::on(root)
        .caption(title, (FONT, 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(range(points.iter().map(|p| p.0), 0.02), range(points.iter().map(|p| p.1), 0.05))?;
    chart.configure_mesh().x_desc(x).y_desc(y).label_style((FONT, 15)).axis_desc_style((FONT, 16)).draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK)
            .label_font((FONT, 15))
            .draw()?;
    }
    Ok(())
}

/// Ranks whose rates are written beside the curve.
const MARKED_RANKS: [usize; 3] = [1, 5, 10];

fn draw_cmc(title: &str, root: &Area<'_>, rates: &[f64]) -> Drawn {
    let lowest = rates.iter().copied().fold(1.0, f64::min);
    // Room below the curve for what is written there.
    let floor = ((lowest * 50.0).floor() / 50.0 - 0.02).clamp(0.0, 0.98);
    let curve: Vec<(f64, f64)> = rates.iter().enumerate().map(|(index, rate)| (index as f64 + 1.0, *rate)).collect();
    let last = (rates.len() as f64).max(2.0);
    let mut chart = ChartBuilder::on(root)
        .caption(title, (FONT, 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last * 1.02, floor..1.0 + (1.0 - floor) * 0.02)?;
    chart
        .configure_mesh()
        .x_desc("rank k (candidates that are looked at)")
        .y_desc("identification rate (probes with the right person among the first k)")
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .x_label_formatter(&|rank| format!("{rank:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.3}"))
        .draw()?;
    chart.draw_series(LineSeries::new(curve.iter().copied(), BLUE.stroke_width(2)))?;
    let marked = curve.iter().enumerate().filter(|(index, _)| MARKED_RANKS.contains(&(index + 1)));
    chart.draw_series(marked.map(|(index, point)| {
        let text = format!("rank {}: {:.2} %", index + 1, 100.0 * point.1);
        EmptyElement::at(*point)
            + Circle::new((0, 0), 4, BLUE.filled())
            + Text::new(text, (8, 8), (FONT, 15).into_font().color(&BLACK))
    }))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn match_characteristics_of_any_length_are_drawn() {
        for rates in [&[0.5][..], &[0.0, 0.0], &[1.0; 100], &[0.91, 0.93, 0.94, 0.95, 0.96, 0.97]] {
            let picture = plot_cmc("a test", rates).unwrap();
            let is_curve = |pixel: &&[u8]| pixel[2] > 200 && pixel[0] < 60;
            assert!(picture.as_raw().chunks(3).filter(is_curve).count() > 10, "{rates:?}");
        }
        for rates in [&[][..], &[f64::NAN], &[0.5, 1.2]] {
            assert!(matches!(plot_cmc("a test", rates), Err(Error::InvalidParameter { .. })), "{rates:?}");
        }
    }
}
