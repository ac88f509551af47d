//! Writes networks as ONNX files.
//!
//! The messages are the ones that tract generated from the ONNX schema; every name and order is fixed by the caller, so
//! the same network always gives the same bytes.

use std::ops::Range;

use prost::Message as _;
use tract_onnx::pb;

use crate::error::{Error, Result};

/// An ONNX graph in the making. Nodes are added in the order in which they run.
pub struct GraphWriter {
    graph: pb::GraphProto,
    /// Of the operators that the nodes follow.
    opset: i64,
}

/// A value in the graph, as made by one node and read by others.
#[derive(Debug, Clone)]
pub struct TensorRef(String);

/// Version of the operators that the nodes follow.
const OPSET: i64 = 13;
/// Oldest version that new nodes can be added to.
const OLDEST_OPSET: i64 = 9;
/// Name of the length of the first axis.
const BATCH: &str = "batch";
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 8;

impl GraphWriter {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: pb::GraphProto { name: name.to_owned(), ..Default::default() }, opset: OPSET }
    }

    /// A graph that goes on where another one ends: the network of a file, with one input and one output, whose names are changed
    /// so that they meet no new ones. Also gives the file's output.
    ///
    /// New nodes must be of operators that have one meaning in all versions of the operators from 9 on.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] for bytes that are no such network, and for versions of the operators before 9.
    pub fn after(name: &str, content: &[u8], input: &str) -> Result<(Self, TensorRef)> {
        let refuse = |expected: &str, actual: String| Error::ModelInvalid {
            model: name.to_owned(),
            role: "a network that another one goes on from",
            expected: expected.to_owned(),
            actual,
        };
        let model = pb::ModelProto::decode(content).map_err(|error| refuse("an ONNX file", error.to_string()))?;
        let opset = model.opset_import.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx");
        let opset = opset.map_or(0, |set| set.version);
        if opset < OLDEST_OPSET || model.opset_import.len() > 1 {
            let actual = format!("version {opset}, and {} sets of operators", model.opset_import.len());
            return Err(refuse("ONNX's own operators alone, of version 9 or newer", actual));
        }
        let mut graph = model.graph.ok_or_else(|| refuse("a graph", "none".into()))?;
        let is_nested = |node: &pb::NodeProto| node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
        if let Some(node) = graph.node.iter().find(|node| is_nested(node)) {
            return Err(refuse("no graphs within the graph", format!("the node {} ({})", node.name, node.op_type)));
        }
        // Old files list their weights among the inputs.
        let weights: std::collections::BTreeSet<String> = graph.initializer.iter().map(|w| w.name.clone()).collect();
        graph.input.retain(|input| !weights.contains(&input.name));
        let ([own_input], [output]) = (graph.input.as_slice(), graph.output.as_slice()) else {
            let actual = format!("{} inputs and {} outputs", graph.input.len(), graph.output.len());
            return Err(refuse("one input and one output", actual));
        };
        let (own_input, output) = (own_input.name.clone(), output.name.clone());
        let renamed = |name: &str| match name {
            "" => String::new(),
            name if name == own_input => input.to_owned(),
            name => format!("base.{name}"),
        };
        for node in &mut graph.node {
            node.name = renamed(&node.name);
            node.input.iter_mut().chain(&mut node.output).for_each(|name| *name = renamed(name));
        }
        graph.initializer.iter_mut().for_each(|weight| weight.name = renamed(&weight.name));
        graph.input.iter_mut().for_each(|info| info.name = renamed(&info.name));
        graph.output.clear();
        graph.value_info.clear();
        name.clone_into(&mut graph.name);
        Ok((Self { graph, opset }, TensorRef(renamed(&output))))
    }

    /// Lets the first axis of the only input have any length.
    pub fn free_batch(&mut self) {
        use pb::tensor_shape_proto::dimension::Value;
        for input in &mut self.graph.input {
            let shape = match input.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
                Some(pb::type_proto::Value::TensorType(tensor)) => tensor.shape.as_mut(),
                _ => None,
            };
            if let Some(batch) = shape.and_then(|shape| shape.dim.first_mut()) {
                batch.value = Some(Value::DimParam(BATCH.to_owned()));
            }
        }
    }

    /// Declares an input of 32-bit floats.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> TensorRef {
        self.graph.input.push(value_info(name, shape));
        TensorRef(name.to_owned())
    }

    /// Declares an input of 32-bit floats whose first axis, the batch, may have any length; `shape` has the others.
    pub fn batch_input(&mut self, name: &str, shape: &[usize]) -> TensorRef {
        self.graph.input.push(batch_info(name, shape));
        TensorRef(name.to_owned())
    }

    /// Names a value as an output of the graph whose first axis is the batch; `shape` has the others.
    pub fn batch_output(&mut self, name: &str, value: &TensorRef, shape: &[usize]) {
        self.rename(name, value);
        self.graph.output.push(batch_info(name, shape));
    }

    /// Names a value as an output of the graph.
    pub fn output(&mut self, name: &str, value: &TensorRef, shape: &[usize]) {
        self.rename(name, value);
        self.graph.output.push(value_info(name, shape));
    }

    fn rename(&mut self, name: &str, value: &TensorRef) {
        // The node that makes the value gives it its final name, so that no copy is needed.
        for node in &mut self.graph.node {
            for tensor in node.output.iter_mut().chain(&mut node.input) {
                if *tensor == value.0 {
                    name.clone_into(tensor);
                }
            }
        }
    }

    /// Convolution with square stride and padding. Weights: outputs x inputs of a group x rows x columns. With several groups each
    /// output sees the inputs of its own group alone.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are not as many values as the shape holds.
    #[allow(clippy::too_many_arguments)] // They are the operator's own.
    pub fn convolution(
        &mut self,
        name: &str,
        input: &TensorRef,
        shape: &[usize; 4],
        weights: &[f32],
        biases: &[f32],
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> Result<TensorRef> {
        let weights = self.weight(&format!("{name}.weight"), shape, weights)?;
        let biases = self.weight(&format!("{name}.bias"), &shape[..1], biases)?;
        let mut attributes = vec![
            integers("kernel_shape", &shape[2..]),
            integers("strides", &[stride; 2]),
            integers("pads", &[padding; 4]),
        ];
        if groups > 1 {
            attributes.push(integer("group", groups));
        }
        Ok(self.node("Conv", name, &[input, &weights, &biases], attributes))
    }

    /// (x - mean) / sqrt(variance + epsilon) * factor + summand, for each channel.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the four have different lengths.
    pub fn batch_normalization(
        &mut self,
        name: &str,
        input: &TensorRef,
        [factor, summand, mean, variance]: [&[f32]; 4],
        epsilon: f32,
    ) -> Result<TensorRef> {
        let channels = [factor.len()];
        let parts = [("scale", factor), ("bias", summand), ("mean", mean), ("variance", variance)];
        let [factor, summand, mean, variance] =
            parts.map(|(part, values)| self.weight(&format!("{name}.{part}"), &channels, values));
        let inputs = [input, &factor?, &summand?, &mean?, &variance?];
        Ok(self.node("BatchNormalization", name, &inputs, vec![real("epsilon", epsilon)]))
    }

    /// x, and below zero its product with the slope of its channel. The slopes' shape, without the batch, is broadcast to
    /// the input's.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are not as many slopes as the shape holds.
    pub fn prelu(&mut self, name: &str, input: &TensorRef, shape: &[usize], slopes: &[f32]) -> Result<TensorRef> {
        let slopes = self.weight(&format!("{name}.slope"), shape, slopes)?;
        Ok(self.node("PRelu", name, &[input, &slopes], vec![]))
    }

    /// Maximum over squares, with a border that never wins; `ceil` keeps windows that reach over the end.
    pub fn padded_max_pool(
        &mut self,
        name: &str,
        input: &TensorRef,
        [size, stride, padding]: [usize; 3],
        ceil: bool,
    ) -> TensorRef {
        let mut attributes = pool_attributes(size, stride);
        attributes.push(integers("pads", &[padding; 4]));
        attributes.push(integer("ceil_mode", usize::from(ceil)));
        self.node("MaxPool", name, &[input], attributes)
    }

    /// Product of rows with a matrix of inputs x outputs, plus a bias.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are not as many values as the shape holds.
    pub fn linear(
        &mut self,
        name: &str,
        input: &TensorRef,
        shape: &[usize; 2],
        matrix: &[f32],
        bias: &[f32],
    ) -> Result<TensorRef> {
        let matrix = self.weight(&format!("{name}.weight"), shape, matrix)?;
        let bias = self.weight(&format!("{name}.bias"), &shape[1..], bias)?;
        Ok(self.node("Gemm", name, &[input, &matrix, &bias], vec![]))
    }

    /// A tensor that is part of the file.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are not as many values as the shape holds.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<TensorRef> {
        self.weight(name, shape, values)
    }

    /// A row of integers that is part of the file.
    pub fn integer_constant(&mut self, name: &str, values: &[i64]) -> TensorRef {
        self.graph.initializer.push(pb::TensorProto {
            name: name.to_owned(),
            dims: vec![values.len() as i64],
            data_type: pb::tensor_proto::DataType::Int64 as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..Default::default()
        });
        TensorRef(name.to_owned())
    }

    /// Product of two matrices, or of two stacks of them.
    pub fn product(&mut self, name: &str, left: &TensorRef, right: &TensorRef) -> TensorRef {
        self.node("MatMul", name, &[left, right], vec![])
    }

    /// Product of two values, value by value, the smaller one broadcast.
    pub fn multiply(&mut self, name: &str, left: &TensorRef, right: &TensorRef) -> TensorRef {
        self.node("Mul", name, &[left, right], vec![])
    }

    /// Quotient of two values, value by value, the smaller one broadcast.
    pub fn divide(&mut self, name: &str, left: &TensorRef, right: &TensorRef) -> TensorRef {
        self.node("Div", name, &[left, right], vec![])
    }

    /// The greater of two values, value by value, the smaller one broadcast.
    pub fn maximum(&mut self, name: &str, left: &TensorRef, right: &TensorRef) -> TensorRef {
        self.node("Max", name, &[left, right], vec![])
    }

    /// Square root.
    pub fn square_root(&mut self, name: &str, input: &TensorRef) -> TensorRef {
        self.node("Sqrt", name, &[input], vec![])
    }

    /// Shares of a row that add up to 1.
    pub fn softmax(&mut self, name: &str, input: &TensorRef) -> TensorRef {
        self.node("Softmax", name, &[input], vec![integer("axis", 1)])
    }

    /// 1 at the first greatest value of each row, 0 elsewhere; rows have so many values.
    pub fn one_hot_of_greatest(&mut self, name: &str, input: &TensorRef, count: usize) -> TensorRef {
        let attributes = vec![integer("axis", 1), integer("keepdims", 1)];
        let greatest = self.node("ArgMax", &format!("{name}.index"), &[input], attributes);
        let all: Vec<i64> = (0..count as i64).collect();
        let all = self.integer_constant(&format!("{name}.indices"), &all);
        let equal = self.node("Equal", &format!("{name}.equal"), &[&greatest, &all], vec![]);
        let float = integer("to", pb::tensor_proto::DataType::Float as usize);
        self.node("Cast", name, &[&equal], vec![float])
    }

    /// Another shape for the same values: 0 keeps an axis, -1 takes what is left.
    pub fn reshape(&mut self, name: &str, input: &TensorRef, shape: &[i64]) -> TensorRef {
        let shape = self.integer_constant(&format!("{name}.shape"), shape);
        self.node("Reshape", name, &[input, &shape], vec![])
    }

    /// Axes in another order.
    pub fn transpose(&mut self, name: &str, input: &TensorRef, axes: &[usize]) -> TensorRef {
        self.node("Transpose", name, &[input], vec![integers("perm", axes)])
    }

    /// Values one behind the other along an axis.
    pub fn concatenate(&mut self, name: &str, inputs: &[&TensorRef], axis: usize) -> TensorRef {
        self.node("Concat", name, inputs, vec![integer("axis", axis)])
    }

    /// Every `step`-th place along an axis from `start` on, up to before `end`.
    pub fn every(&mut self, name: &str, input: &TensorRef, axis: usize, range: Range<usize>, step: usize) -> TensorRef {
        let parts = [("start", range.start), ("end", range.end), ("axes", axis), ("step", step)];
        let [start, end, axes, step] =
            parts.map(|(part, value)| self.integer_constant(&format!("{name}.{part}"), &[value as i64]));
        self.node("Slice", name, &[input, &start, &end, &axes, &step], vec![])
    }

    /// Rectified linear unit.
    pub fn relu(&mut self, name: &str, input: &TensorRef) -> TensorRef {
        self.node("Relu", name, &[input], vec![])
    }

    /// Sum of two values of one shape.
    pub fn add(&mut self, name: &str, left: &TensorRef, right: &TensorRef) -> TensorRef {
        self.node("Add", name, &[left, right], vec![])
    }

    /// Maximum over squares, without padding.
    pub fn max_pool(&mut self, name: &str, input: &TensorRef, size: usize, stride: usize) -> TensorRef {
        self.node("MaxPool", name, &[input], pool_attributes(size, stride))
    }

    /// Mean over squares, without padding.
    pub fn average_pool(&mut self, name: &str, input: &TensorRef, size: usize, stride: usize) -> TensorRef {
        self.node("AveragePool", name, &[input], pool_attributes(size, stride))
    }

    /// Mean over all places of a channel.
    pub fn global_average_pool(&mut self, name: &str, input: &TensorRef) -> TensorRef {
        self.node("GlobalAveragePool", name, &[input], vec![])
    }

    /// Adds channels of zeros behind the others, and rows and columns of zeros below and to the right. Where there is
    /// nothing to add, no node is made.
    pub fn pad_end(&mut self, name: &str, input: &TensorRef, channels: usize, pixels: usize) -> TensorRef {
        if channels == 0 && pixels == 0 {
            return input.clone();
        }
        let [channels, pixels] = [channels, pixels].map(|n| n as i64);
        let pads = self.integer_constant(&format!("{name}.pads"), &[0, 0, 0, 0, 0, channels, pixels, pixels]);
        self.node("Pad", name, &[input, &pads], vec![])
    }

    /// All but the first axis as one.
    pub fn flatten(&mut self, name: &str, input: &TensorRef) -> TensorRef {
        self.node("Flatten", name, &[input], vec![])
    }

    /// Product of rows with a matrix of inputs x outputs.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are not as many values as the shape holds.
    pub fn matrix_product(
        &mut self,
        name: &str,
        input: &TensorRef,
        shape: &[usize; 2],
        matrix: &[f32],
    ) -> Result<TensorRef> {
        let matrix = self.weight(&format!("{name}.weight"), shape, matrix)?;
        Ok(self.node("MatMul", name, &[input, &matrix], vec![]))
    }

    /// The bytes of the file.
    pub fn into_bytes(self) -> Vec<u8> {
        let model = pb::ModelProto {
            ir_version: IR_VERSION,
            producer_name: "face-core".to_owned(),
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: self.opset }],
            graph: Some(self.graph),
            ..Default::default()
        };
        model.encode_to_vec()
    }

    fn weight(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<TensorRef> {
        let count = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
        if count != Some(values.len()) {
            return Err(Error::InvalidParameter {
                parameter: "weights",
                value: format!("{} values for {name}", values.len()),
                expected: format!("as many as {shape:?} holds"),
            });
        }
        self.graph.initializer.push(pb::TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|side| *side as i64).collect(),
            data_type: pb::tensor_proto::DataType::Float as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..Default::default()
        });
        Ok(TensorRef(name.to_owned()))
    }

    fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&TensorRef],
        attribute: Vec<pb::AttributeProto>,
    ) -> TensorRef {
        self.graph.node.push(pb::NodeProto {
            name: name.to_owned(),
            op_type: operator.to_owned(),
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![name.to_owned()],
            attribute,
            ..Default::default()
        });
        TensorRef(name.to_owned())
    }
}

fn pool_attributes(size: usize, stride: usize) -> Vec<pb::AttributeProto> {
    vec![integers("kernel_shape", &[size; 2]), integers("strides", &[stride; 2])]
}

fn integer(name: &str, value: usize) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i: value as i64,
        ..Default::default()
    }
}

fn real(name: &str, value: f32) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Float as i32,
        f: value,
        ..Default::default()
    }
}

fn integers(name: &str, values: &[usize]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: values.iter().map(|value| *value as i64).collect(),
        ..Default::default()
    }
}

fn value_info(name: &str, shape: &[usize]) -> pb::ValueInfoProto {
    let fixed = |side: &usize| pb::tensor_shape_proto::dimension::Value::DimValue(*side as i64);
    named_value(name, shape.iter().map(fixed))
}

fn batch_info(name: &str, shape: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::dimension::Value;
    let fixed = |side: &usize| Value::DimValue(*side as i64);
    named_value(name, std::iter::once(Value::DimParam(BATCH.to_owned())).chain(shape.iter().map(fixed)))
}

fn named_value(
    name: &str,
    shape: impl Iterator<Item = pb::tensor_shape_proto::dimension::Value>,
) -> pb::ValueInfoProto {
    let side = |value| pb::tensor_shape_proto::Dimension { value: Some(value), ..Default::default() };
    let tensor = pb::type_proto::Tensor {
        elem_type: pb::tensor_proto::DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim: shape.map(side).collect() }),
    };
    let r#type = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..Default::default() }
}
