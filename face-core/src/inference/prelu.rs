//! PReLU in one pass.
//!
//! tract takes the operator apart into a product, a comparison and a selection, each with a tensor of its own: more than half of the
//! time of networks that have one behind every convolution (MobileFaceNet, IResNet). Here the values are changed where they are.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_hir::internal::*;

/// Reads `PRelu` nodes with our operator.
pub(super) fn register(framework: &mut tract_onnx::Onnx) {
    let builder = |_: &tract_onnx::model::ParsingContext<'_>, _: &NodeProto| Ok((expand(ParametricRelu), vec![]));
    framework.op_register.insert("PRelu", builder);
}

/// The operator as ONNX has it: `y = x` for `x >= 0`, else `slope * x`, where the slope broadcasts to `x`.
#[derive(Debug, Clone)]
struct ParametricRelu;

impl Expansion for ParametricRelu {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let [value, slope] = inputs else { bail!("PRelu has {} inputs, and not 2", inputs.len()) };
        let (values, slopes) = (model.outlet_fact(*value)?.clone(), model.outlet_fact(*slope)?.clone());
        if values.datum_type == f32::datum_type()
            && let Some(slopes) = slopes.konst.as_deref()
            && let Some(slopes) = by_channel(&values, slopes)?
        {
            return model.wire_node(prefix, ChannelwisePRelu { slopes }, &[*value]);
        }
        // Any other slope: max(x, 0) + slope * min(x, 0).
        let zero =
            model.add_const(format!("{prefix}.zero"), tensor0(0.0_f32).cast_to_dt(values.datum_type)?.into_owned())?;
        let mut wire = |name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]| {
            Ok::<_, TractError>(wire_with_rank_broadcast(format!("{prefix}.{name}"), model, op, inputs)?[0])
        };
        let negative = wire("negative", Box::new(math::min()), &[*value, zero])?;
        let scaled = wire("scaled", Box::new(math::mul()), &[negative, *slope])?;
        let positive = wire("positive", Box::new(math::max()), &[*value, zero])?;
        Ok(tvec!(wire("sum", Box::new(math::add()), &[positive, scaled])?))
    }
}

/// The slopes by channel, where they are that: one for all, or one for each place of the second axis.
fn by_channel(values: &TypedFact, slopes: &Tensor) -> TractResult<Option<Arc<[f32]>>> {
    let (rank, sides) = (values.rank(), slopes.shape());
    let has_channels = |axis: usize, side: &usize| *side == 1 || axis + rank - sides.len() == 1;
    if rank < 2 || sides.len() > rank || !sides.iter().enumerate().all(|(axis, side)| has_channels(axis, side)) {
        return Ok(None);
    }
    let slopes = slopes.cast_to::<f32>()?;
    let view = slopes.try_as_plain_ram()?;
    let slopes = view.as_slice::<f32>()?;
    let fits = slopes.len() == 1 || values.shape[1].to_usize().is_ok_and(|channels| channels == slopes.len());
    Ok(fits.then(|| slopes.into()))
}

/// PReLU with a slope for each place of the second axis, or one for all; the values are changed in place.
#[derive(Debug, Clone)]
pub(super) struct ChannelwisePRelu {
    pub(super) slopes: Arc<[f32]>,
}

// By bits, so that what is not a number equals itself.
impl PartialEq for ChannelwisePRelu {
    fn eq(&self, other: &Self) -> bool {
        self.slopes.iter().map(|slope| slope.to_bits()).eq(other.slopes.iter().map(|slope| slope.to_bits()))
    }
}

impl Eq for ChannelwisePRelu {}

impl Op for ChannelwisePRelu {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    op_as_typed_op!();
}

impl EvalOp for ChannelwisePRelu {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut values = args_1!(inputs).into_tensor();
        let inner: usize = values.shape().iter().skip(2).product();
        let mut view = values.try_as_plain_ram_mut()?;
        apply(view.as_slice_mut::<f32>()?, &self.slopes, inner);
        Ok(tvec!(values.into_tvalue()))
    }
}

impl TypedOp for ChannelwisePRelu {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((Cost::FMA(f32::datum_type()), inputs[0].shape.volume())))
    }

    as_op!();
}

/// `inner` values follow one another in each channel.
fn apply(values: &mut [f32], slopes: &[f32], inner: usize) {
    match slopes {
        [slope] => scale_negative(values, *slope),
        slopes if inner == 1 => {
            for row in values.chunks_exact_mut(slopes.len()) {
                row.iter_mut().zip(slopes).for_each(|(value, slope)| *value = prelu(*value, *slope));
            }
        }
        slopes => {
            for (channel, slope) in values.chunks_exact_mut(inner.max(1)).zip(slopes.iter().cycle()) {
                scale_negative(channel, *slope);
            }
        }
    }
}

fn scale_negative(values: &mut [f32], slope: f32) {
    // No branch, so that the compiler computes several at a time; more lanes than the baseline's would wait for memory.
    values.iter_mut().for_each(|value| *value = prelu(*value, slope));
}

fn prelu(value: f32, slope: f32) -> f32 {
    if value < 0.0 { slope * value } else { value }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ndarray::Array4;
    use prost::Message as _;
    use tract_onnx::pb;

    use super::super::{Model as _, TractModel};

    /// A graph of one PRelu node.
    fn network(shape: &[i64], slope_shape: &[i64], slopes: &[f32]) -> Vec<u8> {
        use pb::tensor_shape_proto::{Dimension, dimension::Value};
        let dimension = |side: &i64| Dimension { value: Some(Value::DimValue(*side)), ..Default::default() };
        let info = |name: &str| pb::ValueInfoProto {
            name: name.into(),
            r#type: Some(pb::TypeProto {
                value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                    elem_type: pb::tensor_proto::DataType::Float as i32,
                    shape: Some(pb::TensorShapeProto { dim: shape.iter().map(dimension).collect() }),
                })),
                ..Default::default()
            }),
            ..Default::default()
        };
        let node = pb::NodeProto {
            name: "prelu".into(),
            op_type: "PRelu".into(),
            input: vec!["x".into(), "slope".into()],
            output: vec!["y".into()],
            ..Default::default()
        };
        let slope = pb::TensorProto {
            name: "slope".into(),
            dims: slope_shape.to_vec(),
            data_type: pb::tensor_proto::DataType::Float as i32,
            float_data: slopes.to_vec(),
            ..Default::default()
        };
        let graph = pb::GraphProto {
            node: vec![node],
            name: "test".into(),
            initializer: vec![slope],
            input: vec![info("x")],
            output: vec![info("y")],
            ..Default::default()
        };
        let opset = pb::OperatorSetIdProto { version: 16, ..Default::default() };
        let model =
            pb::ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph), ..Default::default() };
        model.encode_to_vec()
    }

    #[test]
    fn every_shape_of_slopes_gives_what_the_formula_says() {
        let (n, c, h, w) = (2, 3, 4, 5);
        let input = Array4::from_shape_fn((n, c, h, w), |(a, b, y, x)| (a + 7 * b + 3 * y + 5 * x) as f32 % 11.0 - 5.5);
        let cases: [(&[i64], usize); 8] = [
            (&[], 1),
            (&[1], 1),
            (&[3, 1, 1], 3),
            (&[1, 3, 1, 1], 3),
            // Not by channel: by column, by row, by place.
            (&[5], 5),
            (&[4, 1], 4),
            (&[3, 4, 5], 60),
            (&[1, 1, 1, 1], 1),
        ];
        for (slope_shape, count) in cases {
            let slopes: Vec<f32> = (0..count).map(|i| i as f32 * 0.3 - 0.4).collect();
            let bytes = network(&[2, 3, 4, 5], slope_shape, &slopes);
            let output = TractModel::from_onnx("test", &bytes).unwrap().run(input.clone()).unwrap().remove(0);
            let sides: Vec<usize> = slope_shape.iter().map(|side| *side as usize).collect();
            let slope = ndarray::ArrayD::from_shape_vec(sides, slopes).unwrap();
            let slope = slope.broadcast(vec![n, c, h, w]).unwrap();
            assert_eq!(output.shape(), [n, c, h, w]);
            for ((place, value), ours) in input.indexed_iter().zip(&output) {
                let (a, b, y, x) = place;
                let expected = value.max(0.0) + slope[[a, b, y, x].as_slice()] * value.min(0.0);
                assert_eq!(*ours, expected, "{slope_shape:?} at {place:?}");
            }
        }
    }
}
