//! dlib's face recognition network, from its `.dat` file to ONNX.
//!
//! Source: `dlib_face_recognition_resnet_model_v1.dat` of D. King, and the network's definition in dlib's example
//! `dnn_face_recognition_ex.cpp`. The file holds the version of every nested layer from the outside in, then the input
//! layer, then the layers from the input to the output, each followed by left-overs of training.

use super::dlib::{Reader, Tensor};
use crate::error::Result;
use crate::models::onnx_writer::{GraphWriter, TensorRef};

/// Side of the input in pixels.
const INPUT_SIDE: usize = 150;
/// Output channels of each block, and whether it halves the picture.
const BLOCKS: [(usize, bool); 14] = [
    (32, false),
    (32, false),
    (32, false),
    (64, true),
    (64, false),
    (64, false),
    (64, false),
    (128, true),
    (128, false),
    (128, false),
    (256, true),
    (256, false),
    (256, false),
    (256, true),
];
/// Length of the embedding.
const DIMENSION: usize = 128;

/// Turns the bytes of dlib's face recognition ResNet into an ordinary ONNX model. The same bytes in, the same bytes out.
///
/// Input `input`: 1 x 3 x 150 x 150, RGB, `(value - mean) / 256` with mean (122.782, 117.001, 104.298), which dlib does in
/// its input layer and whoever runs the model does before. Output `embedding`: 1 x 128, as dlib gives it (not of unit
/// length). dlib's affine layers are folded into the convolutions before them.
///
/// # Errors
/// [`ModelInvalid`](crate::Error::ModelInvalid) for any other file.
pub fn dlib_resnet_to_onnx(dat: &[u8]) -> Result<Vec<u8>> {
    Network::read(dat)?.write()
}

/// A convolution with the affine layer behind it folded in.
struct Convolution {
    /// Output channels, input channels, rows, columns.
    shape: [usize; 4],
    weights: Vec<f32>,
    biases: Vec<f32>,
    stride: usize,
    padding: usize,
}

/// Two convolutions beside a path that keeps its input, or halves it.
struct Block {
    first: Convolution,
    second: Convolution,
    halves: bool,
}

struct Network {
    stem: Convolution,
    blocks: Vec<Block>,
    /// Inputs x outputs.
    projection: Tensor,
}

/// A layer of the file. Tags and skips have no content and leave only a mark in the chain of versions.
enum Layer {
    Convolution { filters: usize, size: [i64; 2], stride: [i64; 2], padding: [i64; 2], params: Tensor },
    Affine { params: Tensor },
    Relu,
    MaxPool { geometry: [i64; 6] },
    AveragePool { geometry: [i64; 6] },
    AddPrevious,
    FullyConnected { outputs: i64, params: Tensor },
}

impl Network {
    fn read(dat: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(dat, "the network", "dlib's face recognition ResNet");
        reader.expect("a network of version", 1)?;
        expect_name(&mut reader, &["loss_metric_2"])?;
        let (_margin, _distance) = (reader.float()?, reader.float()?);
        let mut chain = vec![];
        while reader.peek_string().is_none() {
            let version = reader.integer()?;
            if !(1..=3).contains(&version) || chain.len() > 1000 {
                return Err(reader.unexpected("the version of a layer", version));
            }
            chain.push(version);
        }
        expect_name(&mut reader, &["input_rgb_image_sized"])?;
        let _mean = [reader.float()?, reader.float()?, reader.float()?];
        reader.expect("an input height of", INPUT_SIDE as i64)?;
        reader.expect("an input width of", INPUT_SIDE as i64)?;

        let mut layers = Layers { marks: 0, chain, reader };
        let network = layers.network()?;
        layers.reader.finish()?;
        Ok(network)
    }

    fn write(&self) -> Result<Vec<u8>> {
        let mut graph = GraphWriter::new("dlib-resnet-v1");
        let mut size = INPUT_SIDE;
        let mut at = graph.input("input", &[1, 3, INPUT_SIDE, INPUT_SIDE]);
        at = write_convolution(&mut graph, "stem", &at, &self.stem)?;
        size = (size - 7) / 2 + 1;
        at = graph.relu("stem.relu", &at);
        at = graph.max_pool("stem.pool", &at, 3, 2);
        size = (size - 3) / 2 + 1;
        let mut channels = self.stem.shape[0];
        for (index, block) in self.blocks.iter().enumerate() {
            let name = |part: &str| format!("block{index}.{part}");
            let mut path = write_convolution(&mut graph, &name("first"), &at, &block.first)?;
            path = graph.relu(&name("first.relu"), &path);
            path = write_convolution(&mut graph, &name("second"), &path, &block.second)?;
            let mut kept = at;
            if block.halves {
                // dlib adds tensors of different sizes as if zeros stood outside of the smaller one.
                let (path_size, kept_size) = ((size - 3) / 2 + 1, (size - 2) / 2 + 1);
                let path_channels = block.second.shape[0];
                size = path_size.max(kept_size);
                kept = graph.average_pool(&name("pool"), &kept, 2, 2);
                kept = graph.pad_end(&name("pool.pad"), &kept, path_channels - channels, size - kept_size);
                path = graph.pad_end(&name("second.pad"), &path, 0, size - path_size);
                channels = path_channels;
            }
            at = graph.add(&name("add"), &path, &kept);
            at = graph.relu(&name("relu"), &at);
        }
        at = graph.global_average_pool("pool", &at);
        at = graph.flatten("flat", &at);
        let [inputs, outputs, ..] = self.projection.shape;
        at = graph.matrix_product("projection", &at, &[inputs, outputs], &self.projection.data)?;
        graph.output("embedding", &at, &[1, DIMENSION]);
        Ok(graph.into_bytes())
    }
}

fn write_convolution(graph: &mut GraphWriter, name: &str, input: &TensorRef, c: &Convolution) -> Result<TensorRef> {
    graph.convolution(name, input, &c.shape, &c.weights, &c.biases, c.stride, c.padding, 1)
}

/// The layers of the file, taken in the order from input to output.
struct Layers<'a> {
    reader: Reader<'a>,
    /// Versions of the layers that are still to come, the next one last.
    chain: Vec<i64>,
    /// Tags and skips since the last layer.
    marks: usize,
}

impl Layers<'_> {
    fn network(&mut self) -> Result<Network> {
        let stem = self.convolution(0)?;
        if (stem.shape, stem.stride, stem.padding) != ([32, 3, 7, 7], 2, 0) {
            return Err(self.other(format!("a convolution of {:?} at the input", stem.shape)));
        }
        self.relu()?;
        match self.next()? {
            Layer::MaxPool { geometry: [3, 3, 2, 2, 0, 0] } => {}
            _ => return Err(self.other("another layer than a 3x3 max pooling after the stem")),
        }
        let (mut channels, mut blocks) = (stem.shape[0], vec![]);
        for (outputs, halves) in BLOCKS {
            let block = self.block(channels)?;
            channels = block.second.shape[0];
            if (channels, block.halves) != (outputs, halves) {
                let found = format!("a block of {channels} channels (halving: {})", block.halves);
                return Err(self.other(format!("{found} where one of {outputs} (halving: {halves}) belongs")));
            }
            blocks.push(block);
        }
        match self.next()? {
            Layer::AveragePool { geometry: [0, 0, 1, 1, 0, 0] } => {}
            _ => return Err(self.other("another layer than a global average pooling before the last")),
        }
        let projection = match self.next()? {
            Layer::FullyConnected { outputs: 128, params } => params,
            _ => return Err(self.other("another last layer than one of 128 outputs")),
        };
        if projection.shape != [channels, DIMENSION, 1, 1] || !self.chain.is_empty() {
            return Err(self.other(format!("a last layer of {:?}", projection.shape)));
        }
        Ok(Network { stem, blocks, projection })
    }

    fn block(&mut self, channels: usize) -> Result<Block> {
        let first = self.convolution(1)?;
        self.relu()?;
        let second = self.convolution(0)?;
        let halves = match self.next()? {
            Layer::AddPrevious if self.marks == 0 => false,
            Layer::AveragePool { geometry: [2, 2, 2, 2, 0, 0] } if self.marks == 2 => match self.next()? {
                Layer::AddPrevious => true,
                _ => return Err(self.other("another layer than an addition after a pooling")),
            },
            _ => return Err(self.other("a block that is no residual block")),
        };
        self.relu()?;
        let (stride, padding) = if halves { (2, 0) } else { (1, 1) };
        let outputs = second.shape[0];
        let fits = first.shape == [outputs, channels, 3, 3]
            && second.shape == [outputs, outputs, 3, 3]
            && (first.stride, first.padding) == (stride, padding)
            && (second.stride, second.padding) == (1, 1)
            && if halves { outputs >= channels } else { outputs == channels };
        if !fits {
            return Err(self.other(format!("convolutions of {:?} and {:?}", first.shape, second.shape)));
        }
        Ok(Block { first, second, halves })
    }

    /// A convolution behind that many tags, with the affine layer that follows folded in.
    fn convolution(&mut self, marks: usize) -> Result<Convolution> {
        let Layer::Convolution { filters, size, stride, padding, params } = self.next()? else {
            return Err(self.other("another layer where a convolution belongs"));
        };
        if self.marks != marks {
            return Err(self.other(format!("{} tags before a convolution", self.marks)));
        }
        let Layer::Affine { params: affine } = self.next()? else {
            return Err(self.other("another layer where an affine one belongs"));
        };
        let area = match size {
            [3, 3] => 9,
            [7, 7] => 49,
            _ => return Err(self.other(format!("a convolution of {size:?}"))),
        };
        // The parameters are all filters and then one bias for each.
        let per_filter = params.data.len().checked_div(filters).unwrap_or(0).saturating_sub(1);
        let channels = per_filter / area;
        let whole = filters > 0 && channels > 0 && params.data.len() == filters * (channels * area + 1);
        if !whole || affine.data.len() != 2 * filters || stride[0] != stride[1] || padding[0] != padding[1] {
            return Err(self.other(format!("a convolution of {filters} filters with {} numbers", params.data.len())));
        }
        let (weights, biases) = params.data.split_at(filters * per_filter);
        let (gammas, betas) = affine.data.split_at(filters);
        let scale = |value: f32, gamma: f32| (f64::from(value) * f64::from(gamma)) as f32;
        let weights = weights.chunks(per_filter).zip(gammas);
        let weights = weights.flat_map(|(filter, gamma)| filter.iter().map(move |w| scale(*w, *gamma))).collect();
        let fold = |((bias, gamma), beta): ((&f32, &f32), &f32)| {
            (f64::from(*bias) * f64::from(*gamma) + f64::from(*beta)) as f32
        };
        let biases = biases.iter().zip(gammas).zip(betas).map(fold).collect();
        let side = size[0] as usize;
        let shape = [filters, channels, side, side];
        let [stride, padding] = [stride[0], padding[0]].map(|v| usize::try_from(v).unwrap_or(usize::MAX));
        Ok(Convolution { shape, weights, biases, stride, padding })
    }

    fn relu(&mut self) -> Result<()> {
        match self.next()? {
            Layer::Relu if self.marks == 0 => Ok(()),
            _ => Err(self.other("another layer where a ReLU belongs")),
        }
    }

    fn marks_ahead(&self) -> usize {
        self.chain.iter().rev().take_while(|version| **version == 1).count()
    }

    fn other(&self, actual: impl std::fmt::Display) -> crate::Error {
        self.reader.unexpected("the 29-layer network of 2017", actual)
    }

    /// The next layer that has content, with what training left behind it.
    fn next(&mut self) -> Result<Layer> {
        self.marks = self.marks_ahead();
        self.chain.truncate(self.chain.len() - self.marks);
        let Some(version) = self.chain.pop() else { return Err(self.other("a network that ends too early")) };
        let reader = &mut self.reader;
        let layer = read_layer(reader)?;
        for _flag in ["set up", "gradient input is stale", "gradient output disabled"] {
            reader.boolean()?;
        }
        for _left_over in ["gradient of x", "cached output", "gradient of the parameters"] {
            reader.tensor()?;
        }
        // The layer next to the input has one more field.
        if version == 3 {
            reader.integer()?;
        }
        Ok(layer)
    }
}

fn read_layer(reader: &mut Reader<'_>) -> Result<Layer> {
    let names =
        ["con_4", "con_5", "affine_", "affine_2", "relu_", "max_pool_2", "avg_pool_2", "add_prev_", "fc_2", "fc_3"];
    let name = expect_name(reader, &names)?;
    let pair = |reader: &mut Reader<'_>| Ok::<_, crate::Error>([reader.integer()?, reader.integer()?]);
    match name {
        "con_4" | "con_5" => {
            let params = reader.tensor()?;
            let filters = reader.integer()?;
            let filters = usize::try_from(filters).map_err(|_| reader.unexpected("a number of filters", filters))?;
            let (size, stride, padding) = (pair(reader)?, pair(reader)?, pair(reader)?);
            let (_filters, _biases) = (reader.alias()?, reader.alias()?);
            skip_multipliers(reader)?;
            if name == "con_5" {
                reader.boolean()?;
            }
            Ok(Layer::Convolution { filters, size, stride, padding, params })
        }
        "affine_" | "affine_2" => {
            let params = reader.tensor()?;
            let (_gamma, _beta, _mode) = (reader.alias()?, reader.alias()?, reader.integer()?);
            if name == "affine_2" {
                reader.boolean()?;
            }
            Ok(Layer::Affine { params })
        }
        "max_pool_2" | "avg_pool_2" => {
            let ([a, b], [c, d], [e, f]) = (pair(reader)?, pair(reader)?, pair(reader)?);
            let geometry = [a, b, c, d, e, f];
            Ok(if name == "max_pool_2" { Layer::MaxPool { geometry } } else { Layer::AveragePool { geometry } })
        }
        "fc_2" | "fc_3" => {
            let (outputs, _inputs) = (reader.integer()?, reader.integer()?);
            let params = reader.tensor()?;
            let (_weights, _biases, _mode) = (reader.alias()?, reader.alias()?, reader.integer()?);
            skip_multipliers(reader)?;
            if name == "fc_3" {
                reader.boolean()?;
            }
            Ok(Layer::FullyConnected { outputs, params })
        }
        "add_prev_" => Ok(Layer::AddPrevious),
        _ => Ok(Layer::Relu),
    }
}

/// Factors for learning rate and weight decay, for weights and for biases.
fn skip_multipliers(reader: &mut Reader<'_>) -> Result<()> {
    for _ in 0..4 {
        reader.float()?;
    }
    Ok(())
}

fn expect_name<'a>(reader: &mut Reader<'a>, names: &[&str]) -> Result<&'a str> {
    let name = reader.string()?;
    if names.contains(&name) {
        return Ok(name);
    }
    Err(reader.unexpected(format!("one of the layers {}", names.join(", ")), format!("`{name}`")))
}
