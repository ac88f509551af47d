//! Writes networks as ONNX files.
//!
//! The messages are the ones that tract generated from the ONNX schema; every name and order is fixed by the caller, so
//! the same network always gives the same bytes.

use prost::Message as _;
use tract_onnx::pb;

use crate::error::{Error, Result};

/// An ONNX graph in the making. Nodes are added in the order in which they run.
pub struct GraphWriter {
    graph: pb::GraphProto,
}

/// A value in the graph, as made by one node and read by others.
#[derive(Debug, Clone)]
pub struct TensorRef(String);

/// Version of the operators that the nodes follow.
const OPSET: i64 = 13;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 8;

impl GraphWriter {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: pb::GraphProto { name: name.to_owned(), ..Default::default() } }
    }

    /// Declares an input of 32-bit floats.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> TensorRef {
        self.graph.input.push(value_info(name, shape));
        TensorRef(name.to_owned())
    }

    /// Names a value as an output of the graph.
    pub fn output(&mut self, name: &str, value: &TensorRef, shape: &[usize]) {
        // The node that makes the value gives it its final name, so that no copy is needed.
        for node in &mut self.graph.node {
            for tensor in node.output.iter_mut().chain(&mut node.input) {
                if *tensor == value.0 {
                    name.clone_into(tensor);
                }
            }
        }
        self.graph.output.push(value_info(name, shape));
    }

    /// Convolution with square stride and padding. Weights: outputs x inputs x rows x columns.
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
    ) -> Result<TensorRef> {
        let weights = self.weight(&format!("{name}.weight"), shape, weights)?;
        let biases = self.weight(&format!("{name}.bias"), &shape[..1], biases)?;
        let attributes = vec![
            integers("kernel_shape", &shape[2..]),
            integers("strides", &[stride; 2]),
            integers("pads", &[padding; 4]),
        ];
        Ok(self.node("Conv", name, &[input, &weights, &biases], attributes))
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
        let pads = [0, 0, 0, 0, 0, channels, pixels, pixels];
        let tensor = pb::TensorProto {
            name: format!("{name}.pads"),
            dims: vec![pads.len() as i64],
            data_type: pb::tensor_proto::DataType::Int64 as i32,
            raw_data: pads.iter().flat_map(|pad: &i64| pad.to_le_bytes()).collect(),
            ..Default::default()
        };
        let pads = TensorRef(tensor.name.clone());
        self.graph.initializer.push(tensor);
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
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: OPSET }],
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

fn integers(name: &str, values: &[usize]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: values.iter().map(|value| *value as i64).collect(),
        ..Default::default()
    }
}

fn value_info(name: &str, shape: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let side = |side: &usize| Dimension { value: Some(Value::DimValue(*side as i64)), ..Default::default() };
    let tensor = pb::type_proto::Tensor {
        elem_type: pb::tensor_proto::DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim: shape.iter().map(side).collect() }),
    };
    let r#type = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..Default::default() }
}
