//! Networks on tract.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use face_kernels::Kernels;
use ndarray::{Array4, ArrayD};
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::format_err;

use super::{Model, ModelSignature, TensorInfo, checked, no_network};
use crate::error::{Error, Result};

type Plan = Arc<TypedRunnableModel>;
/// Filled by the first thread that needs the plan; others that need the same one wait for it, and nobody else does.
type PlanSlot = Arc<OnceLock<std::result::Result<Plan, String>>>;

/// How many plans are kept. A plan is a copy of the network optimised for one input size: building one takes about
/// 0.1 s for CenterFace, and keeping one takes about the memory of the weights.
const MAX_PLANS: usize = 8;

/// An ONNX network that tract runs, for inputs of any size that the graph allows.
pub struct TractModel {
    signature: ModelSignature,
    graph: InferenceModel,
    /// The most recently used first.
    plans: Mutex<Vec<([usize; 4], PlanSlot)>>,
}

impl TractModel {
    /// Reads a network from the bytes of an ONNX file. `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when the bytes are no ONNX model, need an operator that tract does not have, or declare
    /// other than one input.
    pub fn from_onnx(name: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        let name = name.into();
        let invalid = |actual| no_network(&name, actual);
        if bytes.is_empty() {
            return Err(invalid("an empty file".to_owned()));
        }
        // The declared sizes are often those of one training batch: our inputs decide instead.
        let mut framework = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        super::prelu::register(&mut framework);
        let parsed = guarded(|| {
            let proto = framework.proto_model_for_read(&mut &*bytes)?;
            let signature = signature_of(&name, &proto)?;
            let graph = framework.model_for_proto_model(&proto)?;
            Ok((signature, graph))
        });
        let (signature, graph) = parsed.map_err(invalid)?;
        if signature.inputs.len() != 1 || signature.outputs.is_empty() {
            return Err(invalid(signature.describe()));
        }
        Ok(Self { signature, graph, plans: Mutex::new(Vec::new()) })
    }

    /// As [`from_onnx`](Self::from_onnx), from a file.
    ///
    /// # Errors
    /// Also [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read_model(path)?;
        Self::from_onnx(path.display().to_string(), &bytes)
    }

    fn plan(&self, shape: [usize; 4]) -> Result<Plan> {
        let slot = {
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            match plans.iter().position(|(known, _)| *known == shape) {
                Some(index) => plans[..=index].rotate_right(1),
                None => {
                    plans.truncate(MAX_PLANS - 1);
                    plans.insert(0, (shape, PlanSlot::default()));
                }
            }
            plans[0].1.clone()
        };
        let built = slot.get_or_init(|| {
            guarded(|| {
                let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
                let model = self.graph.clone().with_input_fact(0, fact)?.into_typed()?;
                super::fusion::use_kernels(model, Kernels::Best)?.into_optimized()?.into_runnable()
            })
        });
        built.clone().map_err(|reason| self.failed(format!("an input of {shape:?} does not fit: {reason}")))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Inference { model: self.signature.name.clone(), reason }
    }
}

impl Model for TractModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&self, input: Array4<f32>) -> Result<Vec<ArrayD<f32>>> {
        let input = checked(&self.signature.name, input)?;
        let (n, c, h, w) = input.dim();
        let plan = self.plan([n, c, h, w])?;
        guarded(|| {
            let outputs = super::threads::spread(|| plan.run(tvec!(Tensor::from(input).into())))?;
            outputs.into_iter().map(|output| output.into_tensor().into_plain_array::<f32>()).collect()
        })
        .map_err(|reason| self.failed(reason))
    }
}

/// Runs tract code: its errors, and panics on graphs that it did not foresee, become text.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("the engine gave up: {}", text.or(panic.downcast_ref().copied()).unwrap_or("no reason given")))
        }
    }
}

pub(super) fn signature_of(name: &str, proto: &pb::ModelProto) -> TractResult<ModelSignature> {
    let graph = proto.graph.as_ref().ok_or_else(|| format_err!("there is no graph in it"))?;
    let is_weight = |info: &&pb::ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == info.name);
    Ok(ModelSignature {
        name: name.to_owned(),
        inputs: graph.input.iter().filter(|info| !is_weight(info)).map(tensor_info).collect(),
        outputs: graph.output.iter().map(tensor_info).collect(),
    })
}

fn tensor_info(info: &pb::ValueInfoProto) -> TensorInfo {
    use pb::tensor_shape_proto::dimension::Value;
    use pb::type_proto::Value::TensorType;
    let declared = info.r#type.as_ref().and_then(|t| t.value.as_ref()).and_then(|TensorType(t)| t.shape.as_ref());
    let side = |side: &pb::tensor_shape_proto::Dimension| match side.value {
        Some(Value::DimValue(n)) => usize::try_from(n).ok().filter(|n| *n > 0),
        _ => None,
    };
    let shape = declared.map(|shape| shape.dim.iter().map(side).collect()).unwrap_or_default();
    TensorInfo { name: info.name.clone(), shape }
}
