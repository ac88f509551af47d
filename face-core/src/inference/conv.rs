//! Our convolutions as operators of tract.
//!
//! tract computes a convolution, its activation and the sum with a skipped branch as operators with a tensor each. [`FusedConv`]
//! stands for all of them: a block of the output stays in the cache until it is done.

use std::sync::Arc;

use face_kernels::{FusedConvolution, Geometry};
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
        let Geometry { input, output, .. } = self.0.geometry();
        let (picture, sums) = (input.iter().product::<usize>(), output.iter().product::<usize>());
        let batch = inputs[0].len() / picture.max(1);
        let views = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let slices = views.iter().map(|view| view.as_slice::<f32>()).collect::<TractResult<TVec<_>>>()?;
        ensure!(slices[0].len() == batch * picture && slices[1..].iter().all(|added| added.len() == batch * sums));
        // SAFETY: numbers of any bits are valid, nothing reads them, and `run` writes every one (its tests begin with NaN everywhere).
        // Filling a tensor with zeros first is an eighth of the time of a detector.
        #[allow(unsafe_code)]
        let mut result = unsafe { Tensor::uninitialized::<f32>(&[batch, output[0], output[1], output[2]])? };
        let mut view = result.try_as_plain_ram_mut()?;
        let pictures = slices[0].chunks_exact(picture).zip(view.as_slice_mut::<f32>()?.chunks_exact_mut(sums));
        for (index, (input, output)) in pictures.enumerate() {
            let added: TVec<&[f32]> = slices[1..].iter().map(|added| &added[index * sums..][..sums]).collect();
            self.0.run(input, &added, output);
        }
        Ok(tvec!(result.into_tvalue()))
    }
}

impl TypedOp for FusedConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [channels, rows, columns] = self.0.geometry().output.map(|side| side.to_dim());
        Ok(tvec!(f32::fact([inputs[0].shape[0].clone(), channels, rows, columns])))
    }

    as_op!();
}
