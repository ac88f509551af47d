//! Puts our kernels into a network.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{self, Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::math::{Add, Max, Min, Mul};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::optim::Optimizer;

use face_kernels::{Convolution, Geometry, Kernels, MaxPool, Step};

use super::kernels::{FusedConv, Pooling};
use super::prelu::ChannelwisePRelu;

/// The same network, where convolutions that [`Convolution`] can do take in what follows them: normalization, activations, and the
/// sum with a skipped branch; and with our max pooling. What else there is stays.
pub(super) fn use_kernels(mut model: TypedModel, kernels: Kernels) -> TractResult<TypedModel> {
    // What is computed from constants alone (a cast of a bias, say) is one.
    Optimizer::prop_consts().optimize(&mut model)?;
    let model = &model;
    let mut fused = Fused::default();
    for id in model.eval_order()? {
        fused.take(model, id)?;
    }
    fused.build(model, kernels)
}

/// What has become of the nodes.
#[derive(Default)]
struct Fused {
    /// Convolutions by the node that they were, with the outlets that are added.
    convolutions: HashMap<usize, (Convolution, OutletId, TVec<OutletId>)>,
    /// Nodes that are a part of a convolution now, which stands in for them.
    absorbed: HashMap<usize, usize>,
    /// The last node that each convolution has taken in: its place in the order, because all that is added is there.
    last: HashMap<usize, usize>,
}

impl Fused {
    fn take(&mut self, model: &TypedModel, id: usize) -> TractResult<()> {
        let node = model.node(id);
        if let Some(op) = node.op_as::<Conv>()
            && let Some(convolution) = convolution(model, node, op)?
        {
            self.convolutions.insert(id, (convolution, node.inputs[0], tvec!()));
            self.last.insert(id, id);
            return Ok(());
        }
        for (index, input) in node.inputs.iter().enumerate() {
            let Some(origin) = self.origin(*input) else { continue };
            let is_alone = model.node(input.node).outputs[0].successors.len() == 1
                && !model.outputs.contains(input)
                && self.last[&origin] == input.node;
            if is_alone && self.absorb(model, node, index, origin)? {
                self.absorbed.insert(id, origin);
                self.last.insert(origin, id);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The convolution whose value an outlet has.
    fn origin(&self, outlet: OutletId) -> Option<usize> {
        let origin = self.absorbed.get(&outlet.node).copied().unwrap_or(outlet.node);
        self.convolutions.contains_key(&origin).then_some(origin)
    }

    /// Whether the convolution has taken in the node, of which it is the input of that index.
    fn absorb(&mut self, model: &TypedModel, node: &TypedNode, index: usize, origin: usize) -> TractResult<bool> {
        let value = model.outlet_fact(node.inputs[index])?;
        // The shape stays: nothing is broadcast to another one.
        if node.outputs.len() != 1 || node.outputs[0].fact.shape != value.shape || value.datum_type != f32::datum_type()
        {
            return Ok(false);
        }
        let Some((convolution, _, added)) = self.convolutions.get_mut(&origin) else { return Ok(false) };
        if let Some(op) = node.op_as::<ChannelwisePRelu>() {
            let fits = op.slopes.len() == 1 || op.slopes.len() == convolution.channels();
            if fits {
                convolution.push(Step::PRelu(op.slopes.clone()));
            }
            return Ok(fits);
        }
        let (Some(TypedBinOp(op, None)), [_, _]) = (node.op_as::<TypedBinOp>(), node.inputs.as_slice()) else {
            return Ok(false);
        };
        let other = node.inputs[1 - index];
        let constant = by_channel(model.outlet_fact(other)?, convolution.channels())?;
        Ok(match constant.as_deref() {
            Some([bound]) if op.is::<Max>() => {
                convolution.push(Step::Clamp(*bound, f32::INFINITY));
                true
            }
            Some([bound]) if op.is::<Min>() => {
                convolution.push(Step::Clamp(f32::NEG_INFINITY, *bound));
                true
            }
            Some(factors) if op.is::<Mul>() => convolution.scale(factors),
            Some(summands) if op.is::<Add>() => convolution.shift(summands),
            None if op.is::<Add>() && model.outlet_fact(other)?.shape == value.shape && other != node.inputs[index] => {
                added.push(other);
                convolution.push(Step::AddInput);
                true
            }
            _ => false,
        })
    }

    fn build(mut self, model: &TypedModel, kernels: Kernels) -> TractResult<TypedModel> {
        let mut target = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
        let mut outlets: HashMap<OutletId, OutletId> = HashMap::new();
        // A convolution stands where the last node was that it has taken in.
        let origins: HashMap<usize, usize> = self.last.iter().map(|(origin, last)| (*last, *origin)).collect();
        for id in model.eval_order()? {
            let node = model.node(id);
            if let Some(origin) = origins.get(&id) {
                let Some((convolution, input, added)) = self.convolutions.remove(origin) else { continue };
                let inputs: TVec<OutletId> =
                    std::iter::once(input).chain(added).map(|outlet| outlets[&outlet]).collect();
                let outlet =
                    target.wire_node(&node.name, FusedConv(Arc::new(convolution.prepare(kernels))), &inputs)?[0];
                outlets.insert(id.into(), outlet);
            } else if !self.absorbed.contains_key(&id) && !self.last.contains_key(&id) {
                let inputs: TVec<OutletId> = node.inputs.iter().map(|outlet| outlets[outlet]).collect();
                let op = pooling(model, node, kernels)?.unwrap_or_else(|| node.op.clone());
                let facts = node.outputs.iter().map(|output| output.fact.clone()).collect();
                let copy = target.add_node(&node.name, op, facts)?;
                for (index, input) in inputs.into_iter().enumerate() {
                    target.add_edge(input, InletId::new(copy, index))?;
                }
                outlets
                    .extend((0..node.outputs.len()).map(|slot| (OutletId::new(id, slot), OutletId::new(copy, slot))));
            }
        }
        target.inputs = model.inputs.iter().map(|outlet| outlets[outlet]).collect();
        target.outputs = model.outputs.iter().map(|outlet| outlets[outlet]).collect();
        Ok(target)
    }
}

/// A node of tract as one of our convolutions, where it is one.
fn convolution(model: &TypedModel, node: &TypedNode, op: &Conv) -> TractResult<Option<Convolution>> {
    let [_, weights, bias] = node.inputs.as_slice() else { return Ok(None) };
    let (weights, bias) = (model.outlet_fact(*weights)?, model.outlet_fact(*bias)?);
    let (Some(weights), Some(bias)) = (values(weights)?, values(bias)?) else { return Ok(None) };
    let is_known = op.kernel_fmt == KernelFormat::OIHW && op.q_params.is_none();
    let Some(geometry) = geometry(model, node, &op.pool_spec)?.filter(|_| is_known) else { return Ok(None) };
    let bias = if bias.len() == 1 { vec![bias[0]; geometry.output[0]] } else { bias };
    Ok(Convolution::new(geometry, op.group, weights, bias))
}

/// A node of tract as our max pooling, where it is that.
fn pooling(model: &TypedModel, node: &TypedNode, kernels: Kernels) -> TractResult<Option<Box<dyn TypedOp>>> {
    let Some(op) = node.op_as::<cnn::MaxPool>().filter(|op| op.with_index_outputs.is_none()) else { return Ok(None) };
    let pool = geometry(model, node, &op.pool_spec)?.and_then(|geometry| MaxPool::new(geometry, kernels));
    Ok(pool.map(|pool| Pooling(pool).into()))
}

/// How a node looks at pictures of single-precision numbers whose sides are known, channels first.
fn geometry(model: &TypedModel, node: &TypedNode, pool: &PoolSpec) -> TractResult<Option<Geometry>> {
    let (picture, result) = (model.outlet_fact(node.inputs[0])?, &node.outputs[0].fact);
    let is_known =
        pool.data_format == DataFormat::NCHW && pool.kernel_shape.len() == 2 && picture.datum_type == f32::datum_type();
    let (Some(before), Some(after)) = (picture.shape.as_concrete(), result.shape.as_concrete()) else {
        return Ok(None);
    };
    let (&[_, channels, height, width], &[_, outputs, rows, columns]) = (before, after) else { return Ok(None) };
    if !is_known || before.contains(&0) || after.contains(&0) {
        return Ok(None);
    }
    let sides = [height, width];
    let pair = |values: &Option<TVec<usize>>| values.as_ref().map_or([1, 1], |values| [values[0], values[1]]);
    let (kernel, stride, dilation) =
        ([pool.kernel_shape[0], pool.kernel_shape[1]], pair(&pool.strides), pair(&pool.dilations));
    let padding = match &pool.padding {
        PaddingSpec::Valid => [0, 0],
        PaddingSpec::Explicit(before, _) | PaddingSpec::ExplicitOnnxPool(before, _, _) => [before[0], before[1]],
        PaddingSpec::SameUpper | PaddingSpec::SameLower => {
            let all = |axis: usize| {
                let reach = ([rows, columns][axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
                reach.saturating_sub(sides[axis])
            };
            let is_upper = pool.padding == PaddingSpec::SameUpper;
            [0, 1].map(|axis| if is_upper { all(axis) / 2 } else { all(axis).div_ceil(2) })
        }
    };
    let (input, output) = ([channels, height, width], [outputs, rows, columns]);
    Ok(Some(Geometry { input, output, kernel, stride, dilation, padding }))
}

/// The values of a constant.
fn values(fact: &TypedFact) -> TractResult<Option<Vec<f32>>> {
    let Some(constant) = fact.konst.as_deref().filter(|constant| constant.datum_type() == f32::datum_type()) else {
        return Ok(None);
    };
    Ok(Some(constant.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// The values of a constant that has one for all, or one for each place of the second of four axes.
fn by_channel(fact: &TypedFact, channels: usize) -> TractResult<Option<Vec<f32>>> {
    let fits = match fact.shape.as_concrete() {
        Some(&[1, count, 1, 1]) => count == 1 || count == channels,
        Some(shape) => shape.iter().all(|side| *side == 1),
        None => false,
    };
    if fits { values(fact) } else { Ok(None) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tract_onnx::tract_core::internal::*;
    use tract_onnx::tract_core::ops::math;

    use super::*;

    /// A network under construction.
    struct Net {
        model: TypedModel,
        count: usize,
    }

    impl Net {
        fn new(shape: [usize; 4]) -> (Self, OutletId) {
            let mut model = TypedModel::default();
            let source = model.add_source("input", f32::fact(shape)).unwrap();
            (Self { model, count: 0 }, source)
        }

        fn add(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
            self.count += 1;
            self.model.wire_node(format!("node{}", self.count), op, inputs).unwrap()[0]
        }

        fn constant(&mut self, shape: &[usize]) -> OutletId {
            self.count += 1;
            let wave = |index: usize| ((index * 7 + self.count) as f32 * 0.61).sin();
            let values: Vec<f32> = (0..shape.iter().product()).map(wave).collect();
            let tensor = Tensor::from_shape(shape, &values).unwrap();
            self.model.add_const(format!("constant{}", self.count), tensor).unwrap()
        }

        fn number(&mut self, value: f32) -> OutletId {
            self.count += 1;
            let tensor = Tensor::from_shape(&[1, 1, 1, 1], &[value]).unwrap();
            self.model.add_const(format!("number{}", self.count), tensor).unwrap()
        }

        fn conv(
            &mut self,
            input: OutletId,
            outputs: usize,
            kernel: usize,
            padding: PaddingSpec,
            groups: usize,
        ) -> OutletId {
            let channels = self.model.outlet_fact(input).unwrap().shape[1].to_usize().unwrap();
            let weights = self.constant(&[outputs, channels / groups, kernel, kernel]);
            let bias = self.constant(&[outputs]);
            let pool_spec = PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec!(kernel, kernel),
                padding,
                dilations: None,
                strides: None,
                input_channels: channels,
                output_channels: outputs,
            };
            let op = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: groups, q_params: None };
            self.add(op, &[input, weights, bias])
        }

        /// Computes the same with and without our operators, and counts ours and what is left of others.
        fn check(mut self, outputs: &[OutletId]) -> (usize, usize) {
            self.model.select_output_outlets(outputs).unwrap();
            let fused = use_kernels(self.model.clone(), Kernels::Best).unwrap();
            let count = |is: &dyn Fn(&TypedNode) -> bool| fused.nodes().iter().filter(|node| is(node)).count();
            let ours = count(&|node| node.op_is::<FusedConv>() || node.op_is::<Pooling>());
            let others = count(&|node| {
                node.op_is::<TypedBinOp>()
                    || node.op_is::<Conv>()
                    || node.op_is::<cnn::MaxPool>()
                    || node.op_is::<ChannelwisePRelu>()
            });
            let shape: Vec<usize> = self.model.input_fact(0).unwrap().shape.as_concrete().unwrap().to_vec();
            let values: Vec<f32> = (0..shape.iter().product()).map(|index| (index as f32 * 0.37).sin()).collect();
            let input = Tensor::from_shape(&shape, &values).unwrap();
            let run = |model: TypedModel| {
                model.into_optimized().unwrap().into_runnable().unwrap().run(tvec!(input.clone().into())).unwrap()
            };
            // The order of the summands differs.
            for (ours, tract) in run(fused).iter().zip(run(self.model)) {
                ours.close_enough(&tract, Approximation::Custom(1e-5, 1e-5, 0.0)).unwrap();
            }
            (ours, others)
        }
    }

    fn explicit(before: usize, after: usize) -> PaddingSpec {
        PaddingSpec::Explicit(tvec!(before, before), tvec!(after, after))
    }

    #[test]
    fn a_convolution_takes_in_what_follows_it() {
        let (mut net, input) = Net::new([1, 3, 12, 13]);
        let conv = net.conv(input, 8, 3, explicit(1, 1), 1);
        let scale = net.constant(&[1, 8, 1, 1]);
        let scaled = net.add(math::mul(), &[scale, conv]);
        let shift = net.constant(&[1, 8, 1, 1]);
        let shifted = net.add(math::add(), &[scaled, shift]);
        let prelu = net.add(ChannelwisePRelu { slopes: [0.2, 0.1, 0.3, 0.0, -0.5, 1.0, 2.0, 0.25].into() }, &[shifted]);
        let depthwise = net.conv(prelu, 8, 3, PaddingSpec::SameUpper, 8);
        let zero = net.number(0.0);
        let relu = net.add(math::max(), &[depthwise, zero]);
        let six = net.number(1.5);
        let relu6 = net.add(math::min(), &[six, relu]);
        let last = net.conv(relu6, 8, 1, PaddingSpec::Valid, 1);
        let sum = net.add(math::add(), &[last, prelu]);
        let end = net.add(math::max(), &[sum, zero]);
        assert_eq!(net.check(&[end]), (3, 0));
    }

    #[test]
    fn what_others_need_stays() {
        // The value before the activation is an output; that of another one has two users.
        let (mut net, input) = Net::new([1, 2, 6, 6]);
        let zero = net.number(0.0);
        let first = net.conv(input, 4, 3, explicit(0, 1), 1);
        let relu = net.add(math::max(), &[first, zero]);
        let second = net.conv(relu, 4, 1, PaddingSpec::Valid, 1);
        let one = net.add(math::max(), &[second, zero]);
        let other = net.add(math::min(), &[second, zero]);
        let product = net.add(math::mul(), &[one, other]);
        let twice = net.conv(product, 4, 1, PaddingSpec::Valid, 1);
        let doubled = net.add(math::add(), &[twice, twice]);
        assert_eq!(net.check(&[first, doubled]), (3, 5));
    }

    #[test]
    fn sums_of_two_convolutions_wait_for_both() {
        let (mut net, input) = Net::new([1, 3, 7, 7]);
        let left = net.conv(input, 5, 3, explicit(1, 1), 1);
        let right = net.conv(input, 5, 1, PaddingSpec::Valid, 1);
        let sum = net.add(math::add(), &[left, right]);
        let zero = net.number(0.0);
        let relu = net.add(math::max(), &[sum, zero]);
        // One value for each row is broadcast: no sum of equal shapes.
        let rows = net.constant(&[1, 1, 7, 1]);
        let end = net.add(math::add(), &[relu, rows]);
        assert_eq!(net.check(&[end]), (2, 1));
    }

    #[test]
    fn pooling_is_ours_with_every_kind_of_border() {
        for padding in [PaddingSpec::Valid, explicit(1, 0), PaddingSpec::SameUpper, PaddingSpec::SameLower] {
            let (mut net, input) = Net::new([1, 2, 9, 10]);
            let pool_spec = PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec!(3, 2),
                padding,
                dilations: None,
                strides: Some(tvec!(2, 2)),
                input_channels: 2,
                output_channels: 2,
            };
            let end = net.add(cnn::MaxPool { pool_spec, with_index_outputs: None }, &[input]);
            assert_eq!(net.check(&[end]), (1, 0));
        }
    }

    #[test]
    fn other_groups_are_left_to_tract() {
        let (mut net, input) = Net::new([1, 4, 6, 6]);
        let conv = net.conv(input, 6, 3, PaddingSpec::SameLower, 2);
        let zero = net.number(0.0);
        let relu = net.add(math::max(), &[conv, zero]);
        assert_eq!(net.check(&[relu]), (0, 2));
    }
}
