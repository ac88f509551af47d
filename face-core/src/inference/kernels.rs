//! Our kernels as operators of tract.
//!
//! tract computes a convolution, its activation and the sum with a skipped branch as operators with a tensor each. [`FusedConv`]
//! stands for all of them: a block of the output stays in the cache until it is done.

use std::sync::Arc;

use face_kernels::{FusedConvolution, Geometry, MaxPool};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// A convolution, its bias, and the steps that follow. Inputs: the pictures, then what is added.
#[derive(Debug, Clone)]
pub(super) struct FusedConv(pub(super) Arc<FusedConvolution>);

impl PartialEq for FusedConv {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FusedConv {}

impl Op for FusedConv {
    fn name(&self) -> StaticName {
        "FusedConv".into()
    }

    op_as_typed_op!();
}

impl EvalOp for FusedConv {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        run_pictures(self.0.geometry(), &inputs, |input, added, output| {
            self.0.run(input, added, output, super::threads::parts());
        })
    }
}

impl TypedOp for FusedConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(output_fact(self.0.geometry(), inputs[0])))
    }

    as_op!();
}

/// Max pooling. Input: the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pooling(pub(super) MaxPool);

impl Op for Pooling {
    fn name(&self) -> StaticName {
        "Pooling".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Pooling {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        run_pictures(self.0.geometry(), &inputs, |input, _, output| {
            self.0.run(input, output, super::threads::parts());
        })
    }
}

impl TypedOp for Pooling {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(output_fact(self.0.geometry(), inputs[0])))
    }

    as_op!();
}

/// As many pictures as come in, of the geometry's output.
fn output_fact(geometry: &Geometry, input: &TypedFact) -> TypedFact {
    let [channels, rows, columns] = geometry.output.map(|side| side.to_dim());
    f32::fact([input.shape[0].clone(), channels, rows, columns])
}

/// Runs a kernel on one picture after the other: with the picture, what else comes in for it, and its place in the output.
fn run_pictures(
    geometry: &Geometry,
    inputs: &[TValue],
    run: impl Fn(&[f32], &[&[f32]], &mut [f32]),
) -> TractResult<TVec<TValue>> {
    let Geometry { input, output, .. } = geometry;
    let (picture, result) = (input.iter().product::<usize>(), output.iter().product::<usize>());
    let batch = inputs[0].len() / picture.max(1);
    let views = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
    let slices = views.iter().map(|view| view.as_slice::<f32>()).collect::<TractResult<TVec<_>>>()?;
    ensure!(slices[0].len() == batch * picture && slices[1..].iter().all(|added| added.len() == batch * result));
    // SAFETY: numbers of any bits are valid, nothing reads them, and the kernels write every one (their tests begin with NaN
    // everywhere). Filling a tensor with zeros first is an eighth of the time of a detector.
    #[allow(unsafe_code)]
    let mut outputs = unsafe { Tensor::uninitialized::<f32>(&[batch, output[0], output[1], output[2]])? };
    let mut view = outputs.try_as_plain_ram_mut()?;
    let pictures = slices[0].chunks_exact(picture).zip(view.as_slice_mut::<f32>()?.chunks_exact_mut(result));
    for (index, (input, output)) in pictures.enumerate() {
        let added: TVec<&[f32]> = slices[1..].iter().map(|added| &added[index * result..][..result]).collect();
        run(input, &added, output);
    }
    Ok(tvec!(outputs.into_tvalue()))
}
