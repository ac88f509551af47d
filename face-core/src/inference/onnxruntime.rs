//! Networks on onnxruntime, whose library is loaded when the program runs (feature `ort`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array4, ArrayD};
use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message as _;
use tract_onnx::pb;

use super::tract::signature_of;
use super::{Model, ModelSignature, checked, no_network, threads};
use crate::error::{Error, Result};

/// The name of the engine in messages.
const ENGINE: &str = "onnxruntime";
/// Where the library is, if nothing else is said. The variable is the one that the crate `ort` reads, too.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The library of onnxruntime, loaded: 1.17 or newer.
///
/// One library can be loaded in a process. Sessions of other parts of the program share it.
#[derive(Clone)]
pub struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
    providers: Vec<ExecutionProviderDispatch>,
}

impl OnnxRuntime {
    /// Loads the library from where the environment variable `ORT_DYLIB_PATH` says, else by its name from where the system looks for
    /// libraries.
    ///
    /// # Errors
    /// [`Error::EngineUnavailable`] says what was looked for, and where.
    pub fn find() -> Result<Self> {
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let name = || format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX).into();
        Self::load(variable.unwrap_or_else(name))
    }

    /// Loads the library from a path: `libonnxruntime.so` of a release of onnxruntime, or the one in the Python package `onnxruntime`
    /// (`onnxruntime/capi/libonnxruntime.so.1.x.y`). A name without a folder is looked for where the system looks for libraries.
    ///
    /// Code in the library runs as part of the program: load what you trust.
    ///
    /// # Errors
    /// [`Error::EngineUnavailable`] when there is no such file, when it is no onnxruntime or an older one than 1.17, and when another
    /// one was loaded before.
    pub fn load(library: impl Into<PathBuf>) -> Result<Self> {
        static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);
        let library = library.into();
        let unavailable =
            |reason: String| Error::EngineUnavailable { engine: ENGINE, library: library.clone(), reason };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, environment)) = loaded.as_ref() {
            if *path != library {
                return Err(unavailable(format!("this process has loaded {} already", path.display())));
            }
            return Ok(Self { library, environment: environment.clone(), providers: vec![] });
        }
        let is_path = library.parent().is_some_and(|folder| folder != Path::new(""));
        if is_path && !library.is_file() {
            let hint = format!("there is no such file; give the path of libonnxruntime, or set {VARIABLE} to it");
            return Err(unavailable(hint));
        }
        // A file with another `OrtGetApiBase` is a reason for `ort` to panic.
        let made = catch_unwind(AssertUnwindSafe(|| {
            let builder = ort::init_from(&library).map_err(|error| error.to_string())?;
            builder.with_telemetry(false).build().map_err(|error| error.to_string())
        }));
        let environment = made.unwrap_or_else(|_| Err("it is no onnxruntime".into())).map_err(|reason| {
            let hint = if is_path { "" } else { "; set ORT_DYLIB_PATH to its path" };
            unavailable(format!("{reason}{hint}"))
        })?;
        *loaded = Some((library.clone(), environment.clone()));
        Ok(Self { library, environment, providers: vec![] })
    }

    /// With execution providers, tried in this order, for the networks that are opened from now on: `ort::ep::CUDA::default().build()`
    /// for one; others by features of [`ort`] in the program's own manifest. One that cannot be had is an error when a network is opened,
    /// and not a silent way back to the processor.
    #[must_use]
    pub fn with_execution_providers(mut self, providers: impl IntoIterator<Item = ExecutionProviderDispatch>) -> Self {
        self.providers = providers.into_iter().map(ExecutionProviderDispatch::error_on_failure).collect();
        self
    }

    /// The path of the library.
    pub fn library(&self) -> &Path {
        &self.library
    }
}

impl std::fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let providers: Vec<_> = self.providers.iter().map(ExecutionProviderDispatch::name).collect();
        f.debug_struct("OnnxRuntime").field("library", &self.library).field("providers", &providers).finish()
    }
}

impl PartialEq for OnnxRuntime {
    fn eq(&self, other: &Self) -> bool {
        let names = |runtime: &Self| runtime.providers.iter().map(ExecutionProviderDispatch::name).collect::<Vec<_>>();
        self.library == other.library && names(self) == names(other)
    }
}

impl Eq for OnnxRuntime {}

/// An ONNX network that onnxruntime runs, for inputs of any size that the graph allows.
///
/// `ort` does not let two threads into one session, because some of the runtime's providers do not bear it. A call takes a session that is
/// idle, or makes one: there are as many as calls have been at work at once, each with a copy of the weights.
pub struct OrtModel {
    signature: ModelSignature,
    runtime: OnnxRuntime,
    onnx: Vec<u8>,
    /// With the number of threads that each has.
    idle: Mutex<Vec<(usize, Session)>>,
}

impl OrtModel {
    /// Reads a network from the bytes of an ONNX file. `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when the bytes are no ONNX model, need an operator or an execution provider that the runtime does not
    /// have, or declare other than one input.
    pub fn from_onnx(runtime: &OnnxRuntime, name: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        let name = name.into();
        let invalid = |actual| no_network(&name, actual);
        if bytes.is_empty() {
            return Err(invalid("an empty file".to_owned()));
        }
        let mut proto = pb::ModelProto::decode(bytes).map_err(|error| invalid(error.to_string()))?;
        let signature = signature_of(&name, &proto).map_err(|error| invalid(format!("{error:#}")))?;
        if signature.inputs.len() != 1 || signature.outputs.is_empty() {
            return Err(invalid(signature.describe()));
        }
        forget_sizes(&mut proto);
        let model = Self { signature, runtime: runtime.clone(), onnx: proto.encode_to_vec(), idle: Mutex::default() };
        let wanted = threads::wanted_here();
        let session = model.session(wanted).map_err(invalid)?;
        model.lock().push((wanted, session));
        Ok(model)
    }

    fn session(&self, threads: usize) -> std::result::Result<Session, String> {
        let OnnxRuntime { environment, providers, .. } = &self.runtime;
        let open = || -> std::result::Result<Session, String> {
            let builder = Session::builder(environment).map_err(|error| error.to_string())?;
            // 0 is one for each core.
            let builder = builder.with_intra_threads(threads).map_err(|error| error.to_string())?;
            let mut builder = builder.with_execution_providers(providers).map_err(|error| error.to_string())?;
            builder.commit_from_memory(&self.onnx).map_err(|error| error.to_string())
        };
        guarded(open)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Session)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model for OrtModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&self, input: Array4<f32>) -> Result<Vec<ArrayD<f32>>> {
        let failed = |reason: String| Error::Inference { model: self.signature.name.clone(), reason };
        let input = checked(&self.signature.name, input)?;
        let values = input.as_slice().unwrap_or_default();
        let wanted = threads::wanted_here();
        let idle = {
            let mut idle = self.lock();
            let place = idle.iter().position(|(threads, _)| *threads == wanted);
            place.map(|place| idle.swap_remove(place).1)
        };
        let mut session = idle.map_or_else(|| self.session(wanted), Ok).map_err(failed)?;
        let (n, c, h, w) = input.dim();
        let outputs = guarded(|| {
            let input = TensorRef::from_array_view(([n, c, h, w], values)).map_err(|error| error.to_string())?;
            let outputs = session.run(ort::inputs![input]).map_err(|error| error.to_string())?;
            outputs.values().map(|output| array(&output)).collect::<std::result::Result<Vec<_>, String>>()
        });
        // Also after a failure: an input of a wrong size does not harm a session.
        self.lock().push((wanted, session));
        outputs.map_err(failed)
    }
}

fn array(output: &ort::value::DynValue) -> std::result::Result<ArrayD<f32>, String> {
    let (shape, values) = output.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
    let sides: Vec<usize> = shape.iter().map(|side| usize::try_from(*side).unwrap_or(0)).collect();
    ArrayD::from_shape_vec(sides, values.to_vec()).map_err(|error| error.to_string())
}

/// The declared sizes are often those of one training batch: our inputs decide instead, as with tract.
fn forget_sizes(proto: &mut pb::ModelProto) {
    use pb::type_proto::Value::TensorType;
    let Some(graph) = proto.graph.as_mut() else { return };
    graph.value_info.clear();
    let weights: Vec<&str> = graph.initializer.iter().map(|weight| weight.name.as_str()).collect();
    let inputs = graph.input.iter_mut().filter(|input| !weights.contains(&input.name.as_str()));
    for tensor in inputs.chain(&mut graph.output) {
        if let Some(TensorType(tensor)) = tensor.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            && let Some(shape) = tensor.shape.as_mut()
        {
            shape.dim.iter_mut().for_each(|side| side.value = None);
        }
    }
}

/// Runs code of `ort`, whose panics become text.
fn guarded<T>(work: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the engine gave up".to_owned()))
}
