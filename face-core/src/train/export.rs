//! Networks as ONNX files: what was trained here runs in any engine.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear, PaddingConfig2d};
use burn::tensor::Tensor;

use super::backbones::{Backbone, Concatenation, Layer, LocallyConnected, Residual};
use super::groupface::{Assignment, Combination, GroupFaceHead};
use super::network::{FaceNetwork, Head, Mlp};
use crate::error::{Error, Result};
use crate::inference::{Model as _, TractModel};
use crate::models::onnx_writer::{GraphWriter, TensorRef};

/// Name of the graph's input: pictures `[batch, channels, height, width]`.
pub const INPUT: &str = "pictures";
/// Name of the graph's first output: embeddings `[batch, dimension]`.
pub const EMBEDDING: &str = "embedding";
/// Name of the output with the intermediate vectors `[batch, hidden]`, where it is asked for.
pub const INTERMEDIATE: &str = "intermediate";

/// What becomes of the intermediate vector v̂ of GroupFace's decision network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Intermediate {
    /// It is not part of the file's answer.
    #[default]
    None,
    /// A second output.
    Output,
    /// Behind the embedding, in one vector: what the [group-aware metric](crate::Metric::GroupAware) compares.
    Appended,
}

/// Settings of [`backbone_to_onnx`] and [`groupface_to_onnx`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnnxExportParams {
    /// Whether normalizations by the batch become part of the convolution or matrix product before them. Where there is none, they
    /// stay.
    pub folds_batch_norm: bool,
    /// Whether embeddings have a length of 1.
    pub unit_length: bool,
    /// What becomes of v̂.
    pub intermediate: Intermediate,
}

impl Default for OnnxExportParams {
    fn default() -> Self {
        Self { folds_batch_norm: true, unit_length: true, intermediate: Intermediate::None }
    }
}

/// A backbone as an ONNX file: pictures in, embeddings out, any number at once. Operators are those of opset 13.
///
/// # Errors
/// [`Error::InvalidParameter`] for an intermediate vector, which only GroupFace has, and for layers that ONNX cannot say
/// (a convolution with another padding at each side, say: none of our backbones has one).
pub fn backbone_to_onnx(backbone: &Backbone, params: &OnnxExportParams) -> Result<Vec<u8>> {
    if params.intermediate != Intermediate::None {
        return Err(no_intermediate(params));
    }
    let mut export = Export::new("backbone", params);
    let features = export.backbone(backbone)?;
    export.embedding(&features, backbone.dimension())?;
    Ok(export.graph.into_bytes())
}

/// A backbone with GroupFace on top as one ONNX file: pictures in, aggregated embeddings out.
///
/// # Errors
/// [`Error::InvalidParameter`] where the head was made for another backbone; as [`backbone_to_onnx`].
pub fn groupface_to_onnx(backbone: &Backbone, head: &GroupFaceHead, params: &OnnxExportParams) -> Result<Vec<u8>> {
    if backbone.dimension() != head.shared() {
        return Err(Error::InvalidParameter {
            parameter: "head",
            value: format!("a head for {} values", head.shared()),
            expected: format!("one for the {} that the backbone gives", backbone.dimension()),
        });
    }
    let mut export = Export::new("groupface", params);
    let shared = export.backbone(backbone)?;
    let head_output = export.group_face(&shared, head)?;
    export.group_face_outputs(&head_output, head)?;
    Ok(export.graph.into_bytes())
}

/// A network from a training as one ONNX file: pictures in, embeddings out. `base` is the ONNX file of the embedder that a network
/// without a backbone goes on from.
///
/// Any number of pictures can go in at once, unless the base can take one alone (it is tried with two).
///
/// # Errors
/// [`Error::InvalidParameter`] for a base with a backbone, or for neither; [`Error::ModelInvalid`] for a base that is no network with one
/// input and one output; as [`groupface_to_onnx`].
pub fn network_to_onnx(network: &FaceNetwork, base: Option<&[u8]>, params: &OnnxExportParams) -> Result<Vec<u8>> {
    if network.backbone.is_some() == base.is_some() {
        return Err(Error::InvalidParameter {
            parameter: "base",
            value: if base.is_some() { "given".into() } else { "not given".into() },
            expected: "an ONNX file for a network without a backbone, and none for one with a backbone".into(),
        });
    }
    let Some(base) = base else { return continued(network, None, false, params) };
    let free = continued(network, Some(base), true, params)?;
    if takes_two(&free) { Ok(free) } else { continued(network, Some(base), false, params) }
}

fn continued(network: &FaceNetwork, base: Option<&[u8]>, free: bool, params: &OnnxExportParams) -> Result<Vec<u8>> {
    let (mut export, features) = match (&network.backbone, base) {
        (_, Some(base)) => {
            let (mut graph, output) = GraphWriter::after("adapted", base, INPUT)?;
            if free {
                graph.free_batch();
            }
            let features = graph.flatten("features", &output);
            (Export { graph, params }, features)
        }
        (Some(backbone), None) => {
            let mut export = Export::new("network", params);
            let features = export.backbone(backbone)?;
            (export, features)
        }
        (None, None) => unreachable!("a network without a backbone has a base: it was checked"),
    };
    if !matches!(network.head, Some(Head::GroupFace(_))) && params.intermediate != Intermediate::None {
        return Err(no_intermediate(params));
    }
    match &network.head {
        None => export.embedding(&features, network.dimension())?,
        Some(Head::Linear(linear)) => {
            let (values, size) = export.linear("head", linear, None, &features)?;
            export.embedding(&values, size)?;
        }
        Some(Head::Mlp(Mlp { first, norm, activation, second })) => {
            let (hidden, size) = export.linear("head.first", first, Some(norm), &features)?;
            let hidden = export.graph.prelu("head.activation", &hidden, &[size], &values(activation.alpha.val()))?;
            let (values, size) = export.linear("head.second", second, None, &hidden)?;
            export.embedding(&values, size)?;
        }
        Some(Head::GroupFace(head)) => {
            let outputs = export.group_face(&features, head)?;
            export.group_face_outputs(&outputs, head)?;
        }
    }
    Ok(export.graph.into_bytes())
}

/// Whether a file can work on two pictures at once.
fn takes_two(content: &[u8]) -> bool {
    let run = || {
        let model = TractModel::from_onnx("adapted", content)?;
        let sides = model.signature().inputs.first().map(|input| input.shape.clone()).unwrap_or_default();
        let shape: Vec<usize> = std::iter::once(2).chain(sides.iter().skip(1).map(|side| side.unwrap_or(1))).collect();
        let [batch, a, b, c] = shape[..] else { return Ok::<_, Error>(false) };
        let outputs = model.run(ndarray::Array4::zeros((batch, a, b, c)))?;
        Ok(outputs.first().is_some_and(|output| output.shape().first() == Some(&2)))
    };
    run().unwrap_or(false)
}

fn no_intermediate(params: &OnnxExportParams) -> Error {
    Error::InvalidParameter {
        parameter: "intermediate",
        value: format!("{:?}", params.intermediate),
        expected: "None: only GroupFace has an intermediate vector".into(),
    }
}

/// The values of a parameter, in order.
fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// What a normalization does to each channel: x · factor + summand.
struct Affine {
    factor: Vec<f32>,
    summand: Vec<f32>,
}

impl Affine {
    /// In double precision, so that folding costs one rounding.
    fn of(norm: &BatchNorm) -> Self {
        let mean = values(norm.running_mean.value_sync());
        let variance = values(norm.running_var.value_sync());
        let (gamma, beta) = (values(norm.gamma.val()), values(norm.beta.val()));
        let exact: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + norm.epsilon).sqrt())
            .collect();
        let summand = exact.iter().zip(&mean).zip(&beta);
        let summand =
            summand.map(|((factor, mean), beta)| (f64::from(*beta) - f64::from(*mean) * factor) as f32).collect();
        Self { factor: exact.iter().map(|factor| *factor as f32).collect(), summand }
    }

    fn none(channels: usize) -> Self {
        Self { factor: vec![1.0; channels], summand: vec![0.0; channels] }
    }

    /// The bias of a product that is followed by this.
    fn bias(&self, bias: Option<&Param<Tensor<1>>>) -> Vec<f32> {
        let bias = bias.map_or_else(|| vec![0.0; self.factor.len()], |bias| values(bias.val()));
        bias.iter()
            .zip(&self.factor)
            .zip(&self.summand)
            .map(|((bias, factor), summand)| bias * factor + summand)
            .collect()
    }
}

/// A value on its way through the graph: which one it is, and its shape without the batch.
#[derive(Clone)]
struct Flow {
    value: TensorRef,
    /// Channels, rows, columns. After a matrix product or a flattening there are channels alone.
    shape: [usize; 3],
    is_flat: bool,
}

struct Export<'a> {
    graph: GraphWriter,
    params: &'a OnnxExportParams,
}

/// What GroupFace's part of the graph gives.
struct GroupFaceValues {
    embedding: TensorRef,
    intermediate: TensorRef,
}

impl<'a> Export<'a> {
    fn new(name: &str, params: &'a OnnxExportParams) -> Self {
        Self { graph: GraphWriter::new(name), params }
    }

    /// Features `[batch, dimension]`.
    fn backbone(&mut self, backbone: &Backbone) -> Result<TensorRef> {
        let value = self.graph.batch_input(INPUT, &backbone.input());
        let start = Flow { value, shape: backbone.input(), is_flat: false };
        let end = self.layers("", &backbone.layers, start)?;
        Ok(self.flat("features", end).value)
    }

    fn layers(&mut self, prefix: &str, layers: &[Layer], mut flow: Flow) -> Result<Flow> {
        let mut index = 0;
        while let Some(layer) = layers.get(index) {
            let norm = match layers.get(index + 1) {
                Some(Layer::BatchNorm(norm)) if self.params.folds_batch_norm => Some(norm),
                _ => None,
            };
            let name = format!("{prefix}{index}");
            let is_folded = norm.is_some() && matches!(layer, Layer::Conv(_) | Layer::Linear(_));
            flow = self.layer(&name, layer, norm.filter(|_| is_folded), flow)?;
            index += 1 + usize::from(is_folded);
        }
        Ok(flow)
    }

    fn layer(&mut self, name: &str, layer: &Layer, norm: Option<&BatchNorm>, input: Flow) -> Result<Flow> {
        let same = |value, input: &Flow| Flow { value, ..input.clone() };
        Ok(match layer {
            Layer::Conv(conv) => self.convolution(name, conv, norm, &input)?,
            Layer::Linear(linear) => {
                let input = self.flat(&format!("{name}.rows"), input);
                let (value, size) = self.linear(name, linear, norm, &input.value)?;
                Flow { value, shape: [size, 1, 1], is_flat: true }
            }
            Layer::Local(local) => self.locally_connected(name, local, &input)?,
            Layer::BatchNorm(norm) => same(self.normalization(name, norm, &input)?, &input),
            Layer::Relu(_) => same(self.graph.relu(name, &input.value), &input),
            Layer::PRelu(prelu) => {
                let slopes = values(prelu.alpha.val());
                let shape: &[usize] = if input.is_flat { &[slopes.len()] } else { &[slopes.len(), 1, 1] };
                same(self.graph.prelu(name, &input.value, shape, &slopes)?, &input)
            }
            Layer::MaxPool(pool) => {
                let padding = square_padding(name, &pool.padding)?;
                let settings = [square(name, pool.kernel_size)?, square(name, pool.stride)?, padding];
                let value = self.graph.padded_max_pool(name, &input.value, settings, pool.ceil_mode);
                let [channels, height, width] = input.shape;
                let [kernel, stride, padding] = settings;
                let windows = |size: usize| {
                    let room = (size + 2 * padding).saturating_sub(kernel);
                    1 + if pool.ceil_mode { room.div_ceil(stride) } else { room / stride }
                };
                Flow { value, shape: [channels, windows(height), windows(width)], is_flat: false }
            }
            Layer::MeanPool(_) => {
                let value = self.graph.global_average_pool(name, &input.value);
                Flow { value, shape: [input.shape[0], 1, 1], is_flat: false }
            }
            Layer::Flatten(_) => self.flat(name, input),
            Layer::Dropout(_) => input,
            Layer::Residual(Residual { main, shortcut }) => {
                let main = self.layers(&format!("{name}.main."), main, input.clone())?;
                let shortcut = self.layers(&format!("{name}.shortcut."), shortcut, input)?;
                Flow { value: self.graph.add(name, &main.value, &shortcut.value), ..main }
            }
            Layer::Concatenation(Concatenation { first, second }) => {
                let first = self.layers(&format!("{name}.first."), first, input.clone())?;
                let second = self.layers(&format!("{name}.second."), second, input)?;
                let first = self.flat(&format!("{name}.first"), first);
                let second = self.flat(&format!("{name}.second"), second);
                let value = self.graph.concatenate(name, &[&first.value, &second.value], 1);
                Flow { value, shape: [first.shape[0] + second.shape[0], 1, 1], is_flat: true }
            }
        })
    }

    /// Channels, rows and columns in one row; nothing where they are already.
    fn flat(&mut self, name: &str, input: Flow) -> Flow {
        if input.is_flat {
            return input;
        }
        let size = input.shape.iter().product();
        Flow { value: self.graph.flatten(name, &input.value), shape: [size, 1, 1], is_flat: true }
    }

    fn convolution(&mut self, name: &str, conv: &Conv2d, norm: Option<&BatchNorm>, input: &Flow) -> Result<Flow> {
        let shape: [usize; 4] = conv.weight.val().dims();
        let [outputs, inputs, rows, columns] = shape;
        let affine = norm.map_or_else(|| Affine::none(outputs), Affine::of);
        let mut weights = values(conv.weight.val());
        for (kernel, factor) in weights.chunks_exact_mut(inputs * rows * columns).zip(&affine.factor) {
            kernel.iter_mut().for_each(|weight| *weight *= factor);
        }
        let bias = affine.bias(conv.bias.as_ref());
        let (stride, padding) = (square(name, conv.stride)?, square_padding(name, &conv.padding)?);
        if conv.dilation != [1, 1] {
            return Err(unsayable(name, format!("a dilation of {:?}", conv.dilation)));
        }
        let value =
            self.graph.convolution(name, &input.value, &shape, &weights, &bias, stride, padding, conv.groups)?;
        let [_, height, width] = input.shape;
        let windows = |size: usize, kernel: usize| (size + 2 * padding).saturating_sub(kernel) / stride + 1;
        Ok(Flow { value, shape: [outputs, windows(height, rows), windows(width, columns)], is_flat: false })
    }

    /// Rows times a matrix; also how many values come out.
    fn linear(
        &mut self,
        name: &str,
        linear: &Linear,
        norm: Option<&BatchNorm>,
        input: &TensorRef,
    ) -> Result<(TensorRef, usize)> {
        let shape: [usize; 2] = linear.weight.val().dims();
        let affine = norm.map_or_else(|| Affine::none(shape[1]), Affine::of);
        let mut weights = values(linear.weight.val());
        for row in weights.chunks_exact_mut(shape[1]) {
            row.iter_mut().zip(&affine.factor).for_each(|(weight, factor)| *weight *= factor);
        }
        let bias = affine.bias(linear.bias.as_ref());
        Ok((self.graph.linear(name, input, &shape, &weights, &bias)?, shape[1]))
    }

    fn normalization(&mut self, name: &str, norm: &BatchNorm, input: &Flow) -> Result<TensorRef> {
        if input.is_flat {
            // Rows have no places: the operator is told what it means instead.
            let Affine { factor, summand } = Affine::of(norm);
            let channels = [factor.len()];
            let factor = self.graph.constant(&format!("{name}.scale"), &channels, &factor)?;
            let summand = self.graph.constant(&format!("{name}.bias"), &channels, &summand)?;
            let product = self.graph.multiply(&format!("{name}.product"), &input.value, &factor);
            return Ok(self.graph.add(name, &product, &summand));
        }
        let parts = [
            values(norm.gamma.val()),
            values(norm.beta.val()),
            values(norm.running_mean.value_sync()),
            values(norm.running_var.value_sync()),
        ];
        self.graph.batch_normalization(name, &input.value, parts.each_ref().map(Vec::as_slice), norm.epsilon as f32)
    }

    /// The windows become columns by one slice for each row of the kernel, and then for each column; a stack of matrices, one for
    /// each place of the output, multiplies them.
    fn locally_connected(&mut self, name: &str, local: &LocallyConnected, input: &Flow) -> Result<Flow> {
        let [places, outputs, window] = local.weight.val().dims();
        let (kernel, stride, [rows, columns]) = (local.kernel(), local.stride(), local.places());
        let [channels, _, width] = input.shape;
        let reach = |tap: usize, places: usize| tap..tap + (places - 1) * stride + 1;
        let sizes = |sizes: &[usize]| -> Vec<i64> { sizes.iter().map(|size| *size as i64).collect() };
        // [batch, channels, kernel rows, rows, width]
        let parts: Vec<TensorRef> = (0..kernel)
            .map(|tap| {
                let slice = self.graph.every(&format!("{name}.row{tap}"), &input.value, 2, reach(tap, rows), stride);
                self.graph.reshape(&format!("{name}.rows{tap}"), &slice, &sizes(&[0, channels, 1, rows, width]))
            })
            .collect();
        let of_rows = self.graph.concatenate(&format!("{name}.rows"), &parts.iter().collect::<Vec<_>>(), 2);
        // [batch, channels x kernel rows, kernel columns, places]
        let parts: Vec<TensorRef> = (0..kernel)
            .map(|tap| {
                let slice = self.graph.every(&format!("{name}.column{tap}"), &of_rows, 4, reach(tap, columns), stride);
                self.graph.reshape(&format!("{name}.columns{tap}"), &slice, &sizes(&[0, channels * kernel, 1, places]))
            })
            .collect();
        let windows = self.graph.concatenate(&format!("{name}.columns"), &parts.iter().collect::<Vec<_>>(), 2);
        let windows = self.graph.reshape(&format!("{name}.windows"), &windows, &sizes(&[0, window, places]));
        let windows = self.graph.transpose(&format!("{name}.stack"), &windows, &[2, 1, 0]);
        let kernels =
            self.graph.constant(&format!("{name}.weight"), &[places, outputs, window], &values(local.weight.val()))?;
        let bias = self.graph.constant(&format!("{name}.bias"), &[places, outputs, 1], &values(local.bias.val()))?;
        let product = self.graph.product(&format!("{name}.product"), &kernels, &windows);
        let sum = self.graph.add(&format!("{name}.sum"), &product, &bias);
        let maps = self.graph.transpose(&format!("{name}.maps"), &sum, &[2, 1, 0]);
        let shape = [0, outputs as i64, rows as i64, columns as i64];
        Ok(Flow { value: self.graph.reshape(name, &maps, &shape), shape: [outputs, rows, columns], is_flat: false })
    }

    fn group_face(&mut self, shared: &TensorRef, head: &GroupFaceHead) -> Result<GroupFaceValues> {
        let (groups, dimension) = (head.groups(), head.dimension());
        let (instance, _) = self.linear("instance", &head.instance, None, shared)?;
        let (features, _) = self.linear("groups", &head.group, None, shared)?;
        let features = self.graph.reshape("groups.stack", &features, &[0, groups as i64, dimension as i64]);
        let (first, _) = self.linear("decision.first", &head.decision.first, None, &instance)?;
        let first = self.graph.relu("decision.first.relu", &first);
        let (second, _) = self.linear("decision.second", &head.decision.second, None, &first)?;
        let intermediate = self.graph.relu("decision.second.relu", &second);
        let (logits, _) = self.linear("decision.third", &head.decision.third, None, &intermediate)?;
        let shares = self.graph.softmax("decision.probabilities", &logits);
        let shares = match head.assignment() {
            Assignment::Soft => shares,
            Assignment::Hard => self.graph.one_hot_of_greatest("decision.group", &shares, groups),
        };
        let shares = self.graph.reshape("decision.shares", &shares, &[0, 1, groups as i64]);
        let group = self.graph.product("group.product", &shares, &features);
        let group = self.graph.reshape("group", &group, &[0, dimension as i64]);
        let embedding = match head.combination() {
            Combination::Aggregate => self.graph.add("aggregate", &instance, &group),
            Combination::Concatenate => self.graph.concatenate("aggregate", &[&instance, &group], 1),
        };
        Ok(GroupFaceValues { embedding, intermediate })
    }

    fn group_face_outputs(&mut self, values: &GroupFaceValues, head: &GroupFaceHead) -> Result<()> {
        let (dimension, hidden) = (head.embedding_dimension(), head.decision.hidden());
        match self.params.intermediate {
            Intermediate::None => self.embedding(&values.embedding, dimension),
            Intermediate::Output => {
                self.embedding(&values.embedding, dimension)?;
                self.graph.batch_output(INTERMEDIATE, &values.intermediate, &[hidden]);
                Ok(())
            }
            Intermediate::Appended => {
                let embedding = self.scaled(&values.embedding, dimension)?;
                let both = self.graph.concatenate("both", &[&embedding, &values.intermediate], 1);
                self.graph.batch_output(EMBEDDING, &both, &[dimension + hidden]);
                Ok(())
            }
        }
    }

    fn embedding(&mut self, features: &TensorRef, dimension: usize) -> Result<()> {
        let embedding = self.scaled(features, dimension)?;
        self.graph.batch_output(EMBEDDING, &embedding, &[dimension]);
        Ok(())
    }

    /// Rows of length 1, by operators that every opset has with one meaning.
    fn scaled(&mut self, features: &TensorRef, dimension: usize) -> Result<TensorRef> {
        if !self.params.unit_length {
            return Ok(features.clone());
        }
        let squares = self.graph.multiply("squares", features, features);
        let ones = self.graph.constant("ones", &[dimension, 1], &vec![1.0; dimension])?;
        let sum = self.graph.product("squares.sum", &squares, &ones);
        let length = self.graph.square_root("length", &sum);
        // A row of zeros stays one.
        let least = self.graph.constant("least", &[1, 1], &[LEAST_LENGTH])?;
        let length = self.graph.maximum("length.least", &length, &least);
        Ok(self.graph.divide("unit", features, &length))
    }
}

/// Shorter rows are not scaled to a length of 1.
const LEAST_LENGTH: f32 = 1e-12;

fn square(name: &str, [rows, columns]: [usize; 2]) -> Result<usize> {
    if rows == columns {
        return Ok(rows);
    }
    Err(unsayable(name, format!("{rows} rows and {columns} columns where a square is expected")))
}

fn square_padding(name: &str, padding: &PaddingConfig2d) -> Result<usize> {
    match padding {
        PaddingConfig2d::Valid => Ok(0),
        PaddingConfig2d::Explicit(top, left, bottom, right) if [left, bottom, right] == [top; 3] => Ok(*top),
        other => Err(unsayable(name, format!("the padding {other:?}"))),
    }
}

fn unsayable(name: &str, value: String) -> Error {
    Error::InvalidParameter {
        parameter: "layers",
        value: format!("{value} (layer {name})"),
        expected: "squares with the same padding at each side".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use burn::module::Module;
    use ndarray::{Array4, Axis};

    use super::*;
    use crate::train::network::{HeadConfig, NetworkInput};
    use crate::train::testing::{device, random, seeded, small_backbones, values as doubles};

    fn backbones() -> Vec<(&'static str, Backbone)> {
        small_backbones(12).into_iter().map(|(name, backbone)| (name, backbone.valid())).collect()
    }

    fn pictures(backbone: &Backbone, count: usize) -> Tensor<4> {
        let [channels, height, width] = backbone.input();
        random([count, channels, height, width], 3).cast(burn::tensor::DType::F32).inner()
    }

    /// The outputs of a file for pictures, each flat: on the library's engine, and on onnxruntime where its library is named.
    fn run(name: &str, content: &[u8], pictures: &Tensor<4>) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let data: Vec<f32> = pictures.clone().into_data().iter::<f32>().collect();
        let input = Array4::from_shape_vec(pictures.dims(), data).unwrap();
        let flat = |outputs: Vec<ndarray::ArrayD<f32>>| -> Vec<Vec<f64>> {
            outputs.iter().map(|output| output.iter().map(|value| f64::from(*value)).collect()).collect()
        };
        let tract = TractModel::from_onnx(name, content).unwrap();
        let mut all = vec![("tract", flat(tract.run(input.clone()).unwrap()))];
        // One by one it is the same.
        let single = tract.run(input.index_axis(Axis(0), 1).to_owned().insert_axis(Axis(0))).unwrap();
        let single = flat(single);
        for (whole, part) in all[0].1.iter().zip(&single) {
            let size = part.len();
            near(name, "one by one", part, &whole[size..2 * size]);
        }
        #[cfg(feature = "ort")]
        if std::env::var_os("ORT_DYLIB_PATH").is_some() {
            let runtime = crate::inference::OnnxRuntime::find().unwrap();
            let model = crate::inference::Engine::OnnxRuntime(runtime).model(name.to_owned(), content).unwrap();
            all.push(("onnxruntime", flat(model.run(input).unwrap())));
        }
        all
    }

    fn near(name: &str, engine: &str, actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len(), "{name} on {engine}");
        let greatest = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(greatest <= 1e-4, "{name} on {engine}: a difference of {greatest}");
    }

    fn unit(rows: Tensor<2>) -> Vec<f64> {
        let [_, size] = rows.dims();
        let values = doubles(rows);
        let length = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
        values
            .chunks_exact(size)
            .flat_map(|row| row.iter().map(|value| value / length(row)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn backbones_are_the_same_in_a_file() {
        for (name, backbone) in backbones() {
            let pictures = pictures(&backbone, 3);
            let features = backbone.forward(pictures.clone()).unwrap();
            for folds_batch_norm in [true, false] {
                let params = OnnxExportParams { folds_batch_norm, ..OnnxExportParams::default() };
                let content = backbone_to_onnx(&backbone, &params).unwrap();
                for (engine, outputs) in run(name, &content, &pictures) {
                    assert_eq!(outputs.len(), 1, "{name}");
                    near(name, engine, &outputs[0], &unit(features.clone()));
                }
            }
            let raw = OnnxExportParams { unit_length: false, ..OnnxExportParams::default() };
            let scale = doubles(features.clone()).iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            for (engine, outputs) in run(name, &backbone_to_onnx(&backbone, &raw).unwrap(), &pictures) {
                let scaled = |values: &[f64]| values.iter().map(|value| value / scale).collect::<Vec<_>>();
                near(name, engine, &scaled(&outputs[0]), &scaled(&doubles(features.clone())));
            }
        }
    }

    #[test]
    fn normalizations_are_folded_where_they_can_be() {
        let (_, backbone) = backbones().remove(0);
        let count = |folds_batch_norm| {
            let params = OnnxExportParams { folds_batch_norm, ..OnnxExportParams::default() };
            let content = backbone_to_onnx(&backbone, &params).unwrap();
            let needle = b"BatchNormalization";
            content.windows(needle.len()).filter(|window| window == needle).count()
        };
        let (folded, kept) = (count(true), count(false));
        assert!(folded < kept && folded > 0, "{folded} and {kept}: IResNet begins its blocks with normalizations");
    }

    #[test]
    fn groupface_is_one_graph() {
        let (_, backbone) = backbones().remove(1);
        let pictures = pictures(&backbone, 3);
        for (assignment, combination) in [
            (Assignment::Soft, Combination::Aggregate),
            (Assignment::Hard, Combination::Aggregate),
            (Assignment::Soft, Combination::Concatenate),
        ] {
            let config = HeadConfig::GroupFace { dimension: 10, groups: 4, hidden: 6, assignment, combination };
            let Head::GroupFace(head) = config.init(12, &device()).unwrap() else { panic!("{config:?}") };
            let head = seeded(head, 11).valid();
            let output = head.forward(backbone.forward(pictures.clone()).unwrap()).unwrap();
            let embeddings = unit(output.embedding);
            let intermediate = doubles(output.decision.intermediate);
            let export = |intermediate| {
                let params = OnnxExportParams { intermediate, ..OnnxExportParams::default() };
                groupface_to_onnx(&backbone, &head, &params).unwrap()
            };
            for (engine, outputs) in run("groupface", &export(Intermediate::None), &pictures) {
                assert_eq!(outputs.len(), 1);
                near("groupface", engine, &outputs[0], &embeddings);
            }
            for (engine, outputs) in run("groupface", &export(Intermediate::Output), &pictures) {
                assert_eq!(outputs.len(), 2);
                near("groupface", engine, &outputs[0], &embeddings);
                near("intermediate", engine, &outputs[1], &intermediate);
            }
            for (engine, outputs) in run("groupface", &export(Intermediate::Appended), &pictures) {
                let size = head.embedding_dimension();
                for (index, row) in outputs[0].chunks_exact(size + 6).enumerate() {
                    near("groupface", engine, &row[..size], &embeddings[index * size..(index + 1) * size]);
                    near("intermediate", engine, &row[size..], &intermediate[index * 6..(index + 1) * 6]);
                }
            }
        }
    }

    #[test]
    fn heads_go_on_from_the_file_of_another_network() {
        let (_, base) = backbones().remove(2);
        let pictures = pictures(&base, 3);
        let raw = OnnxExportParams { unit_length: false, ..OnnxExportParams::default() };
        let content = backbone_to_onnx(&base, &raw).unwrap();
        let features = base.forward(pictures.clone()).unwrap();
        let (assignment, combination) = (Assignment::Hard, Combination::Aggregate);
        for config in [
            HeadConfig::Linear { dimension: 10 },
            HeadConfig::Mlp { hidden: 14, dimension: 10 },
            HeadConfig::GroupFace { dimension: 10, groups: 4, hidden: 6, assignment, combination },
        ] {
            let network = seeded(FaceNetwork::on_base(12, &config, &device()).unwrap(), 5).valid();
            let expected = unit(network.forward(NetworkInput::Features(features.clone())).unwrap().embedding);
            let adapted = network_to_onnx(&network, Some(&content), &OnnxExportParams::default()).unwrap();
            for (engine, outputs) in run("adapted", &adapted, &pictures) {
                near("adapted", engine, &outputs[0], &expected);
            }
            assert!(matches!(
                network_to_onnx(&network, None, &OnnxExportParams::default()),
                Err(Error::InvalidParameter { parameter: "base", .. })
            ));
            let error = network_to_onnx(&network, Some(b"no network"), &OnnxExportParams::default());
            assert!(matches!(error, Err(Error::ModelInvalid { .. })), "{error:?}");
        }
    }

    #[test]
    fn what_only_groupface_has_is_refused_for_others() {
        let (_, backbone) = backbones().remove(0);
        let params = OnnxExportParams { intermediate: Intermediate::Output, ..OnnxExportParams::default() };
        let error = backbone_to_onnx(&backbone, &params).unwrap_err();
        assert!(matches!(error, Error::InvalidParameter { parameter: "intermediate", .. }), "{error:?}");
        let config = HeadConfig::GroupFace {
            dimension: 4,
            groups: 2,
            hidden: 3,
            assignment: Assignment::Soft,
            combination: Combination::Aggregate,
        };
        let Head::GroupFace(head) = config.init(5, &device()).unwrap() else { panic!("{config:?}") };
        let error = groupface_to_onnx(&backbone, &head, &params).unwrap_err();
        assert!(matches!(error, Error::InvalidParameter { parameter: "head", .. }), "{error:?}");
    }
}
