//! What the backbones are made of: a list of layers, which can be run and counted alike.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Initializer, Linear, LinearConfig, PRelu, PReluConfig,
    PaddingConfig2d,
};
use burn::tensor::activation::relu;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result};
use crate::train::batch::{check_finite, check_size};

/// Of a layer's output for one picture: `[channels, height, width]`.
type Shape = [usize; 3];

/// A backbone: from pictures `[batch, channels, height, width]` to features `[batch, dimension]`.
#[derive(Module, Debug)]
pub struct Backbone {
    /// The layers, in order.
    pub layers: Vec<Layer>,
    input: [usize; 3],
    dimension: usize,
    multiply_adds: u64,
    normalizes_features: bool,
}

/// One layer. Between them a batch has the shape `[batch, channels, height, width]`; flat features have a height and width
/// of 1.
#[derive(Module, Debug)]
pub enum Layer {
    /// Convolution.
    Conv(Conv2d),
    /// Convolution with weights of its own at each place.
    Local(LocallyConnected),
    /// Normalization by the batch.
    BatchNorm(BatchNorm),
    /// max(0, x).
    Relu(Relu),
    /// x, and below zero a learnt share of it for each channel.
    PRelu(PRelu),
    /// Greatest value of a window.
    MaxPool(MaxPool2d),
    /// Mean of each channel.
    MeanPool(MeanPool),
    /// Channels, rows and columns in one row of features.
    Flatten(Flatten),
    /// Matrix product.
    Linear(Linear),
    /// Random zeros in training.
    Dropout(Dropout),
    /// Sum of two branches.
    Residual(Residual),
    /// Two branches, flattened, one behind the other.
    Concatenation(Concatenation),
}

/// max(0, x).
#[derive(Module, Debug, Default)]
pub struct Relu {}

/// Mean of each channel.
#[derive(Module, Debug, Default)]
pub struct MeanPool {}

/// Channels, rows and columns in one row of features.
#[derive(Module, Debug, Default)]
pub struct Flatten {}

/// The sum of two branches; an empty one hands on its input.
#[derive(Module, Debug)]
pub struct Residual {
    /// The long branch.
    pub main: Vec<Layer>,
    /// The short one.
    pub shortcut: Vec<Layer>,
}

/// The outputs of two branches, each flattened, one behind the other; an empty one hands on its input.
#[derive(Module, Debug)]
pub struct Concatenation {
    /// First branch.
    pub first: Vec<Layer>,
    /// Second branch.
    pub second: Vec<Layer>,
}

/// A convolution that does not share its weights: each place of the output has a kernel of its own.
///
/// The windows of the input become columns (`unfold`), which one batched matrix product multiplies with the kernels of
/// their place. As an ONNX graph these are slices and a `MatMul`.
///
/// Source: Y. Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, section 3.
#[derive(Module, Debug)]
pub struct LocallyConnected {
    /// `[places, channels_out, channels_in x kernel²]`, places row by row.
    pub weight: Param<Tensor<3>>,
    /// `[places, channels_out]`.
    pub bias: Param<Tensor<2>>,
    kernel: usize,
    stride: usize,
    places: [usize; 2],
}

impl Backbone {
    /// Number of channels, rows and columns of a picture.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// Number of values of a feature.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Multiplications with additions for one picture, in convolutions and matrix products.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// Features `[batch, dimension]` of pictures `[batch, channels, height, width]`.
    ///
    /// On a device with gradients a network learns: normalizations use the batch's own mean and deviation, and dropout drops.
    /// [`valid`](burn::module::Module::valid) gives the network for use.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`] for another shape, or for one picture alone where a network that learns has a normalization over
    /// features (IResNet, MobileFaceNet): one value has no deviation. [`Error::NonFinite`].
    pub fn forward(&self, pictures: Tensor<4>) -> Result<Tensor<2>> {
        let [batch, shape @ ..] = pictures.dims();
        if batch == 0 || shape != self.input {
            let reason =
                format!("pictures of the shape {:?}; expected [1 or more] and {:?}", pictures.dims(), self.input);
            return Err(Error::InvalidBatch { reason });
        }
        if batch == 1 && self.normalizes_features && pictures.device().is_autodiff() {
            let reason = "one picture; expected two at least for a network that learns, since its features are normalized by the \
                          deviation in the batch (`valid()` gives the network for use)";
            return Err(Error::InvalidBatch { reason: reason.into() });
        }
        check_finite("pictures", &pictures)?;
        let features = run(&self.layers, pictures);
        Ok(features.reshape([batch, self.dimension]))
    }
}

fn run(layers: &[Layer], input: Tensor<4>) -> Tensor<4> {
    layers.iter().fold(input, |input, layer| layer.forward(input))
}

impl Layer {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv(layer) => layer.forward(input),
            Self::Local(layer) => layer.forward(input),
            Self::BatchNorm(layer) => layer.forward(input),
            Self::Relu(_) => relu(input),
            Self::PRelu(layer) => prelu(layer, input),
            Self::MaxPool(layer) => layer.forward(input),
            Self::MeanPool(_) => input.mean_dim(2).mean_dim(3),
            Self::Flatten(_) => flat(input),
            Self::Linear(layer) => {
                let [batch, size, _, _] = input.dims();
                layer.forward(input.reshape([batch, size])).unsqueeze_dims(&[2, 3])
            }
            Self::Dropout(layer) => layer.forward(input),
            Self::Residual(Residual { main, shortcut }) => run(main, input.clone()) + run(shortcut, input),
            Self::Concatenation(Concatenation { first, second }) => {
                Tensor::cat(vec![flat(run(first, input.clone())), flat(run(second, input))], 1)
            }
        }
    }
}

/// As burn's own, with the same values; that one chooses by a mask, which takes several times as long on the processor.
fn prelu(layer: &PRelu, input: Tensor<4>) -> Tensor<4> {
    let [_, channels, _, _] = input.dims();
    let positive = relu(input.clone());
    // Where the input is positive, nothing is left; elsewhere all of it.
    positive.clone() + (input - positive) * layer.alpha.val().reshape([1, channels, 1, 1])
}

fn flat(input: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = input.dims();
    input.reshape([batch, channels * height * width, 1, 1])
}

impl LocallyConnected {
    /// Rows, and columns, of the windows.
    pub fn kernel(&self) -> usize {
        self.kernel
    }

    /// From one window to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Rows and columns of the output.
    pub fn places(&self) -> [usize; 2] {
        self.places
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, ..] = input.dims();
        let [rows, columns] = self.places;
        let [places, channels_out, window] = self.weight.shape().dims();
        let options = UnfoldOptions::new([self.stride; 2], [0, 0], [1, 1]);
        // [batch, window, places] -> [places, window, batch]
        let windows = unfold4d(input, [self.kernel; 2], options).permute([2, 1, 0]);
        debug_assert_eq!(windows.dims(), [places, window, batch]);
        let output = self.weight.val().matmul(windows) + self.bias.val().unsqueeze_dim(2);
        output.permute([2, 1, 0]).reshape([batch, channels_out, rows, columns])
    }
}

/// Builds a backbone layer by layer, and keeps account of shapes and work.
pub(super) struct Builder<'a> {
    device: &'a Device,
    input: Shape,
    shape: Shape,
    layers: Vec<Layer>,
    multiply_adds: u64,
    normalizes_features: bool,
    /// The first thing that went wrong.
    error: Option<Error>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(input: Shape, device: &'a Device) -> Self {
        let error = ["input channels", "input height", "input width"].into_iter().zip(input);
        let error = error.filter_map(|(parameter, value)| check_size(parameter, value).err()).next();
        Self { device, input, shape: input, layers: vec![], multiply_adds: 0, normalizes_features: false, error }
    }

    /// Pictures of red, green and blue with so many rows and columns.
    pub(super) fn of_colour([height, width]: [usize; 2], device: &'a Device) -> Self {
        Self::new([3, height, width], device)
    }

    /// The channels of what the layers so far give.
    pub(super) fn channels(&self) -> usize {
        self.shape[0]
    }

    pub(super) fn conv(&mut self, channels: usize, kernel: usize, stride: usize, padding: usize) -> &mut Self {
        self.grouped(channels, kernel, stride, padding, 1, false)
    }

    pub(super) fn conv_with_bias(
        &mut self,
        channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> &mut Self {
        self.grouped(channels, kernel, stride, padding, 1, true)
    }

    /// Each channel alone.
    pub(super) fn depthwise(&mut self, kernel: usize, stride: usize, padding: usize) -> &mut Self {
        let channels = self.channels();
        self.grouped(channels, kernel, stride, padding, channels, false)
    }

    /// Each channel alone, with a kernel as large as the map.
    pub(super) fn global_depthwise(&mut self) -> &mut Self {
        if self.error.is_some() {
            return self;
        }
        let [channels, height, width] = self.shape;
        let config = Conv2dConfig::new([channels; 2], [height, width])
            .with_groups(channels)
            .with_bias(false)
            .with_initializer(kaiming());
        self.count(&[channels, height, width]);
        self.push(Layer::Conv(config.init(self.device)), [channels, 1, 1])
    }

    fn grouped(
        &mut self,
        channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        groups: usize,
        bias: bool,
    ) -> &mut Self {
        let Some([height, width]) = self.windows(channels, kernel, stride, padding, false) else { return self };
        let config = Conv2dConfig::new([self.channels(), channels], [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(padded(padding))
            .with_groups(groups)
            .with_bias(bias)
            .with_initializer(kaiming());
        self.count(&[height, width, channels, self.channels() / groups, kernel, kernel]);
        self.push(Layer::Conv(config.init(self.device)), [channels, height, width])
    }

    /// A convolution whose kernels are its place's own.
    pub(super) fn local(&mut self, channels: usize, kernel: usize, stride: usize) -> &mut Self {
        let Some([height, width]) = self.windows(channels, kernel, stride, 0, false) else { return self };
        let (places, window) = (height * width, self.channels() * kernel * kernel);
        self.count(&[places, channels, window]);
        let weight = kaiming().init_with([places, channels, window], Some(window), None, self.device);
        let layer = LocallyConnected {
            weight,
            bias: Initializer::Zeros.init([places, channels], self.device),
            kernel,
            stride,
            places: [height, width],
        };
        self.push(Layer::Local(layer), [channels, height, width])
    }

    pub(super) fn batch_norm(&mut self) -> &mut Self {
        let layer = |channels: usize, device: &Device| Layer::BatchNorm(BatchNormConfig::new(channels).init(device));
        self.normalizes_features |= matches!(self.shape, [_, 1, 1]);
        self.same(layer)
    }

    pub(super) fn relu(&mut self) -> &mut Self {
        self.same(|_, _| Layer::Relu(Relu {}))
    }

    pub(super) fn prelu(&mut self) -> &mut Self {
        self.same(|channels, device| Layer::PRelu(PReluConfig::new().with_num_parameters(channels).init(device)))
    }

    /// Nothing for a share of 0.
    pub(super) fn dropout(&mut self, share: f64) -> &mut Self {
        if !(0.0..1.0).contains(&share) {
            let (value, expected) = (share.to_string(), "from 0 to below 1".to_owned());
            self.error.get_or_insert(Error::InvalidParameter { parameter: "dropout", value, expected });
        }
        if share == 0.0 {
            return self;
        }
        self.same(|_, _| Layer::Dropout(DropoutConfig::new(share).init()))
    }

    pub(super) fn max_pool(&mut self, kernel: usize, stride: usize, padding: usize, ceil: bool) -> &mut Self {
        let channels = self.channels();
        let Some([height, width]) = self.windows(channels, kernel, stride, padding, ceil) else { return self };
        let config = MaxPool2dConfig::new([kernel; 2])
            .with_strides([stride; 2])
            .with_padding(padded(padding))
            .with_ceil_mode(ceil);
        self.push(Layer::MaxPool(config.init()), [channels, height, width])
    }

    pub(super) fn mean_pool(&mut self) -> &mut Self {
        let channels = self.channels();
        self.push(Layer::MeanPool(MeanPool {}), [channels, 1, 1])
    }

    pub(super) fn flatten(&mut self) -> &mut Self {
        let size = self.shape.iter().product();
        self.push(Layer::Flatten(Flatten {}), [size, 1, 1])
    }

    pub(super) fn linear(&mut self, size: usize, bias: bool) -> &mut Self {
        if let (None, Err(error)) = (&self.error, check_size("the size of a layer", size)) {
            self.error = Some(error);
        }
        if self.error.is_some() {
            return self;
        }
        let config = LinearConfig::new(self.channels(), size).with_bias(bias);
        self.count(&[self.channels(), size]);
        self.push(Layer::Linear(config.init(self.device)), [size, 1, 1])
    }

    /// Adds the outputs of two branches, which must have one shape.
    pub(super) fn residual(&mut self, main: impl FnOnce(&mut Self), shortcut: impl FnOnce(&mut Self)) -> &mut Self {
        let (main, shape) = self.branch(main);
        let (shortcut, other) = self.branch(shortcut);
        debug_assert!(self.error.is_some() || shape == other, "{shape:?} and {other:?} are added");
        self.push(Layer::Residual(Residual { main, shortcut }), shape)
    }

    /// Flattens the outputs of two branches, one behind the other.
    pub(super) fn concatenation(&mut self, first: impl FnOnce(&mut Self), second: impl FnOnce(&mut Self)) -> &mut Self {
        let (first, shape) = self.branch(first);
        let (second, other) = self.branch(second);
        let size = shape.iter().product::<usize>() + other.iter().product::<usize>();
        self.push(Layer::Concatenation(Concatenation { first, second }), [size, 1, 1])
    }

    fn branch(&mut self, build: impl FnOnce(&mut Self)) -> (Vec<Layer>, Shape) {
        let (before, shape) = (std::mem::take(&mut self.layers), self.shape);
        build(self);
        let branch = std::mem::replace(&mut self.layers, before);
        (branch, std::mem::replace(&mut self.shape, shape))
    }

    /// # Errors
    /// [`Error::InvalidParameter`], the first of all layers.
    pub(super) fn finish(&mut self) -> Result<Backbone> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(Backbone {
                layers: std::mem::take(&mut self.layers),
                input: self.input,
                dimension: self.shape.iter().product(),
                multiply_adds: self.multiply_adds,
                normalizes_features: self.normalizes_features,
            }),
        }
    }

    /// Rows and columns of the output of a layer that looks at windows; `None` after an error.
    fn windows(
        &mut self,
        channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil: bool,
    ) -> Option<[usize; 2]> {
        if self.error.is_some() {
            return None;
        }
        if let Err(error) = check_size("the channels of a layer", channels) {
            self.error = Some(error);
            return None;
        }
        let [_, height, width] = self.shape;
        let count = |size: usize| {
            let room = (size + 2 * padding).checked_sub(kernel)?;
            Some(if ceil { room.div_ceil(stride) } else { room / stride } + 1)
        };
        match (count(height), count(width)) {
            (Some(rows), Some(columns)) => Some([rows, columns]),
            _ => {
                let [_, rows, columns] = self.input;
                self.error = Some(Error::InvalidParameter {
                    parameter: "input size",
                    value: format!("{columns}x{rows}"),
                    expected: format!("larger: a kernel of {kernel}x{kernel} meets {width}x{height}"),
                });
                None
            }
        }
    }

    fn same(&mut self, layer: impl FnOnce(usize, &Device) -> Layer) -> &mut Self {
        if self.error.is_none() {
            let layer = layer(self.channels(), self.device);
            self.layers.push(layer);
        }
        self
    }

    fn push(&mut self, layer: Layer, shape: Shape) -> &mut Self {
        if self.error.is_none() {
            self.layers.push(layer);
            self.shape = shape;
        }
        self
    }

    fn count(&mut self, factors: &[usize]) {
        let work = factors.iter().fold(1_u64, |work, factor| work.saturating_mul(*factor as u64));
        self.multiply_adds = self.multiply_adds.saturating_add(work);
    }
}

fn padded(padding: usize) -> PaddingConfig2d {
    PaddingConfig2d::Explicit(padding, padding, padding, padding)
}

/// Source: K. He et al., "Delving Deep into Rectifiers", 2015.
fn kaiming() -> Initializer {
    Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: false }
}
