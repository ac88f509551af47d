//! Pixels: borrowed views, owned RGB images, decoding and resizing.

mod decode;
mod owned;
mod resize;
mod view;

pub use decode::{ImageLimits, decode, open};
pub use owned::Image;
pub(crate) use resize::shrink;
pub use view::{ImageView, PixelFormat};
