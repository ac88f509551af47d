//! Learning: losses, heads and backbones, as modules of [burn].
//!
//! - [`losses`]: softmax, contrastive, triplet, center loss, SphereFace, CosFace, ArcFace, the combined margin, AdaM-softmax,
//!   AdaFace.
//! - [`groupface`]: GroupFace on top of any backbone.
//! - [`backbones`]: IResNet, MobileFaceNet, and those that they come from.
//! - [`network`]: a backbone, or an embedder that stays as it is, with a head behind it.
//! - [`run`]: a whole training, from a folder of photos to a network that everything else here can use.
//! - [`export`]: networks as ONNX files.
//!
//! # Devices
//! Tensors live on a [`Device`](burn::tensor::Device), which is chosen when the program runs: `Device::flex()` is pure Rust on
//! the processor. Others come by features of `burn` in the program's own manifest (`burn = { version = "0.22", features =
//! ["wgpu"] }` gives `Device::wgpu(..)`). `device.autodiff()` keeps gradients.
//!
//! # Errors
//! Everything is checked before any work: labels out of range, features that are not finite, empty batches, sizes that do not
//! fit. The check of the values reads one truth value from the device.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use face_core::train::losses::ArcFaceConfig;
//!
//! let device = Device::flex().autodiff();
//! let loss = ArcFaceConfig::new(10, 128).init(&device)?; // 10 people, 128 values
//! let features = Tensor::<2>::random([4, 128], Distribution::Normal(0.0, 1.0), &device).require_grad();
//! let mean = loss.forward(features.clone(), &[0, 3, 3, 9])?;
//! let gradients = mean.backward();
//! assert_eq!(features.grad(&gradients).map(|gradient| gradient.dims()), Some([4, 128]));
//! assert!(loss.forward(features, &[0, 3, 3, 10]).is_err()); // the labels are 0 to 9
//! # Ok::<(), face_core::Error>(())
//! ```

pub mod backbones;
mod batch;
pub mod export;
pub mod groupface;
pub mod losses;
pub mod network;
pub mod run;
#[cfg(test)]
mod testing;

pub use burn;
