//! Draws where the losses are content, from the losses themselves.
//!
//! ```text
//! cargo run --release --features train,draw --example loss_boundaries -- OUT.png
//! ```
//!
//! For losses over classes, a photo x stands between two people w1 and w2, at the angles θ1 and θ2. It counts as learnt for
//! the first when the loss with label 1 is below ln 2, what a coin toss would cost. The border is found by halving.
#![allow(clippy::print_stderr)] // It is a program.

use std::error::Error;
use std::f64::consts::{FRAC_PI_2, LN_2};
use std::path::PathBuf;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use face_core::Image;
use face_core::train::burn;
use face_core::train::losses::{
    AdaFaceConfig, AdaMSoftmaxConfig, Annealing, ArcFaceConfig, CenterLossConfig, CombinedMarginConfig,
    ContrastiveConfig, CosFaceConfig, Mining, SoftmaxConfig, SphereFaceConfig, TripletConfig,
};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

const COLUMNS: usize = 4;
const ROWS: usize = 3;
const PANEL: u32 = 300;
/// Points of a border, and of a curve.
const STEPS: u32 = 60;
const HALVINGS: u32 = 12;
const FONT: &str = "sans-serif";
const FIRST: RGBColor = RGBColor(120, 160, 220);
const SECOND: RGBColor = RGBColor(245, 185, 110);
const MARGIN: RGBColor = RGBColor(225, 225, 225);

/// Loss over a distance.
type Curve<'a> = &'a dyn Fn(f64) -> Outcome<f64>;
/// Loss of a photo with one of two labels, at angles to both people.
type OverAngles<'a> = Box<dyn Fn(f64, f64, usize) -> Outcome<f64> + 'a>;

fn main() -> Outcome {
    let out = PathBuf::from(std::env::args_os().nth(1).ok_or("loss_boundaries OUT.png")?);
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font is damaged")?;
    let size = (PANEL * COLUMNS as u32, PANEL * ROWS as u32);
    let mut pixels = vec![0_u8; (size.0 * size.1 * 3) as usize];
    draw(&BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area())?;
    Image::from_raw(size.0, size.1, pixels)?.save(&out)?;
    eprintln!("{}", out.display());
    Ok(())
}

fn draw(root: &Area<'_>) -> Outcome {
    root.fill(&WHITE)?;
    let panels = root.split_evenly((ROWS, COLUMNS));
    let mut panels = panels.iter();
    let mut next = || panels.next().ok_or("more losses than panels");

    let device = Device::flex();
    let softmax = SoftmaxConfig::new(2, 2).with_bias(false).with_normalize_weights(true).with_scale(Some(1.0));
    angles(next()?, "softmax (normalized)", &over_classes(&device, |device| Ok(softmax.init(device)?)))?;
    contrastive(next()?, &device)?;
    triplet(next()?, &device)?;
    center(next()?, &device)?;
    let sphereface = SphereFaceConfig::new(2, 2).with_annealing(Annealing::none());
    angles(next()?, "SphereFace, m = 4", &over_classes(&device, |device| Ok(sphereface.init(device)?)))?;
    let cosface = CosFaceConfig::new(2, 2);
    angles(next()?, "CosFace, m = 0.35", &over_classes(&device, |device| Ok(cosface.init(device)?)))?;
    let arcface = ArcFaceConfig::new(2, 2);
    angles(next()?, "ArcFace, m = 0.5", &over_classes(&device, |device| Ok(arcface.init(device)?)))?;
    let combined = CombinedMarginConfig::new(2, 2);
    angles(next()?, "combined (1, 0.3, 0.2)", &over_classes(&device, |device| Ok(combined.init(device)?)))?;
    angles(next()?, "AdaM-softmax, 0.1 and 0.5", &adam_softmax(&device))?;
    angles(next()?, "AdaFace, a good photo", &adaface(&device, 90.0))?;
    angles(next()?, "AdaFace, a bad photo", &adaface(&device, 1.0))?;
    root.present()?;
    Ok(())
}

/// What the losses over classes have in common here.
trait OverClasses {
    fn set_weights(&mut self, weights: Tensor<2>);
    fn loss(&self, features: Tensor<2>, labels: &[usize]) -> face_core::Result<Tensor<1>>;
}

macro_rules! over_classes {
    ($($loss:ty: |$self_loss:ident, $features:ident, $labels:ident| $forward:expr;)*) => {
        $(impl OverClasses for $loss {
            fn set_weights(&mut self, weights: Tensor<2>) {
                self.classes.weight = Param::from_tensor(weights);
            }

            fn loss(&self, $features: Tensor<2>, $labels: &[usize]) -> face_core::Result<Tensor<1>> {
                let $self_loss = self;
                $forward
            }
        })*
    };
}

over_classes! {
    face_core::train::losses::Softmax: |loss, features, labels| loss.forward(features, labels);
    face_core::train::losses::CosFace: |loss, features, labels| loss.forward(features, labels);
    face_core::train::losses::ArcFace: |loss, features, labels| loss.forward(features, labels);
    face_core::train::losses::CombinedMargin: |loss, features, labels| loss.forward(features, labels);
    face_core::train::losses::AdaMSoftmax: |loss, features, labels| loss.forward(features, labels);
    face_core::train::losses::AdaFace: |loss, features, labels| loss.forward(features, labels);
    face_core::train::losses::SphereFace: |loss, features, labels| loss.forward(features, labels, 0);
}

/// The photo is the x axis; the people are turned away from it to both sides.
fn weights(device: &Device, first: f64, second: f64) -> Tensor<2> {
    Tensor::from_data([[first.cos(), first.sin()], [second.cos(), -second.sin()]], device)
}

fn over_classes<'a, L: OverClasses>(device: &'a Device, init: impl Fn(&Device) -> Outcome<L> + 'a) -> OverAngles<'a> {
    Box::new(move |first, second, label| {
        let mut loss = init(device)?;
        loss.set_weights(weights(device, first, second));
        let photo = Tensor::<2>::from_data([[1.0, 0.0]], device);
        Ok(loss.loss(photo, &[label])?.into_scalar::<f64>())
    })
}

/// The margins differ: a rich class, and a poor one.
fn adam_softmax(device: &Device) -> OverAngles<'_> {
    // Without its second term, which is the same everywhere.
    let config = AdaMSoftmaxConfig::new(2, 2).with_lambda(0.0);
    over_classes(device, move |device| {
        let mut loss = config.init(device)?;
        loss.margins = Param::from_tensor(Tensor::from_data([0.1, 0.5], device));
        Ok(loss)
    })
}

/// Photos of one length, whose quality is as far from the mean as it counts.
fn adaface(device: &Device, length: f64) -> OverAngles<'_> {
    let config = AdaFaceConfig::new(2, 2).with_momentum(0.0).with_concentration(100.0);
    Box::new(move |first, second, label| {
        let mut loss = config.init(device)?;
        loss.set_weights(weights(device, first, second));
        let photos = Tensor::<2>::from_data([[length, 0.0], [length, 0.0]], device);
        Ok(loss.loss(photos, &[label, label])?.into_scalar::<f64>())
    })
}

/// The angle to the other person from which on a photo at this angle to its own is learnt, if there is one.
fn border(loss: impl Fn(f64) -> Outcome<f64>) -> Outcome<Option<f64>> {
    if loss(FRAC_PI_2)? > LN_2 {
        return Ok(None);
    }
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if loss(middle)? > LN_2 { low = middle } else { high = middle }
    }
    Ok(Some(high))
}

fn angles(area: &Area<'_>, title: &str, loss: &OverAngles<'_>) -> Outcome {
    let right = 90.0;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(30)
        .build_cartesian_2d(0.0..right, 0.0..right)?;
    let whole = Rectangle::new([(0.0, 0.0), (right, right)], MARGIN.filled());
    chart.draw_series([whole])?;
    let at = |step: u32| FRAC_PI_2 * f64::from(step) / f64::from(STEPS);
    let (mut first, mut second) = (vec![], vec![]);
    for own in (0..=STEPS).map(at) {
        if let Some(other) = border(|other| loss(own, other, 0))? {
            first.push((own.to_degrees(), other.to_degrees()));
        }
        if let Some(other) = border(|other| loss(other, own, 1))? {
            second.push((other.to_degrees(), own.to_degrees()));
        }
    }
    if let (Some(begin), Some(end)) = (first.first().copied(), first.last().copied()) {
        first.extend([(end.0, right), (begin.0, right)]);
        chart.draw_series([Polygon::new(first, FIRST.filled())])?;
    }
    if let (Some(begin), Some(end)) = (second.first().copied(), second.last().copied()) {
        second.extend([(right, end.1), (right, begin.1)]);
        chart.draw_series([Polygon::new(second, SECOND.filled())])?;
    }
    chart.configure_mesh().disable_mesh().x_labels(4).y_labels(4).label_style((FONT, 12)).draw()?;
    Ok(())
}

/// Two curves over the distance of a pair.
fn contrastive(area: &Area<'_>, device: &Device) -> Outcome {
    let loss = ContrastiveConfig::new().init()?;
    let cost = |distance: f64, is_same: bool| -> Outcome<f64> {
        let features = |x: f64| Tensor::<2>::from_data([[x, 0.0]], device);
        Ok(loss.forward_pairs(features(0.0), features(distance), &[is_same])?.into_scalar::<f64>())
    };
    curves(area, "contrastive, over the distance", &[(FIRST, &|d| cost(d, true)), (SECOND, &|d| cost(d, false))])
}

/// One curve over the distance to the centre.
fn center(area: &Area<'_>, device: &Device) -> Outcome {
    let cost = |distance: f64| -> Outcome<f64> {
        let loss = CenterLossConfig::new(1, 2).init(device)?;
        loss.centers.update(Tensor::zeros([1, 2], device));
        Ok(loss.forward(Tensor::from_data([[distance, 0.0]], device), &[0])?.into_scalar::<f64>())
    };
    curves(area, "center loss, over the distance", &[(FIRST, &cost)])
}

fn curves(area: &Area<'_>, title: &str, curves: &[(RGBColor, Curve<'_>)]) -> Outcome {
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(30)
        .build_cartesian_2d(0.0..1.5, 0.0..1.0)?;
    chart.configure_mesh().disable_mesh().x_labels(4).y_labels(4).label_style((FONT, 12)).draw()?;
    for (color, curve) in curves {
        let at = |step: u32| 1.5 * f64::from(step) / f64::from(STEPS);
        let points = (0..=STEPS).map(at).map(|x| Ok((x, curve(x)?))).collect::<Outcome<Vec<_>>>()?;
        chart.draw_series(LineSeries::new(points, color.stroke_width(3)))?;
    }
    Ok(())
}

/// Where a triplet costs nothing: over the distance to the positive, that to the negative.
fn triplet(area: &Area<'_>, device: &Device) -> Outcome {
    let loss = TripletConfig::new().with_mining(Mining::All).init()?;
    let margin_ends = |positive: f64| -> Outcome<f64> {
        let (mut low, mut high) = (0.0, 2.0);
        for _ in 0..HALVINGS {
            let negative = (low + high) / 2.0;
            // Of the two triplets in such a batch, the positive's own costs nothing when the negative is behind the anchor.
            let batch = Tensor::<2>::from_data([[0.0, 0.0], [positive, 0.0], [-negative, 0.0]], device);
            let cost = loss.forward(batch, &[0, 0, 1])?.into_scalar::<f64>();
            if cost > 1e-6 { low = negative } else { high = negative }
        }
        Ok(high)
    };
    let mut chart = ChartBuilder::on(area)
        .caption("triplet: d(a,p) right, d(a,n) up", (FONT, 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(30)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.draw_series([Rectangle::new([(0.0, 0.0), (1.0, 1.0)], MARGIN.filled())])?;
    let at = |step: u32| f64::from(step) / f64::from(STEPS);
    let mut points = (0..=STEPS).map(at).map(|x| Ok((x, margin_ends(x)?.min(1.0)))).collect::<Outcome<Vec<_>>>()?;
    points.extend([(1.0, 1.0), (0.0, 1.0)]);
    chart.draw_series([Polygon::new(points, FIRST.filled())])?;
    chart.configure_mesh().disable_mesh().x_labels(4).y_labels(4).label_style((FONT, 12)).draw()?;
    Ok(())
}
