//! Pixels: borrowed views, owned RGB images, decoding and resizing.

mod decode;
mod owned;
mod resize;
mod view;

pub use decode::{ENDINGS, ImageLimits, decode, open};
pub use owned::Image;
pub(crate) use resize::shrink;
#[cfg(feature = "draw")]
pub(crate) use view::MAX_SIDE;
pub use view::{ImageView, PixelFormat};
