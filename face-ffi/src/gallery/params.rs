//! Settings of galleries on this machine.

use face_core::gallery::{ApproximateParams, LocalGalleryParams, Precision};

use crate::pointers::{flag, growing_settings, invalid, numbered, or_default, reserved};
use crate::status::Outcome;

/// How vectors are compared at first. The answer is the same.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_precision_t {
    /// Single precision.
    FACE_PRECISION_F32 = 0,
    /// Bytes: faster, for a quarter more memory.
    FACE_PRECISION_INT8 = 1,
}

/// Settings of a gallery in memory or in a file. They are no part of the file: the same gallery can be opened in several ways. Members
/// that are 0 have their default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_gallery_params_t {
    /// sizeof(face_gallery_params_t).
    pub struct_size: usize,
    /// A gallery is searched exactly up to so many templates, whatever the index; 50000 by default.
    pub min_templates: u64,
    /// Neighbours of a node of the approximate index, from 4 to 128; 32 by default.
    pub connectivity: u32,
    /// Candidates that are looked at when a node is added, from 8 to 4096; 200 by default.
    pub expansion_add: u32,
    /// Candidates that are looked at in a search, from 8 to 4096; 256 by default.
    pub expansion_search: u32,
    /// A face_precision_t.
    pub precision: u32,
    /// 1: keep an approximate index (HNSW) too, beside the file under the name FILE.hnsw. Needs the feature "hnsw". 0: none.
    pub approximate: u32,
    /// Must be 0.
    pub reserved: u32,
}

growing_settings!(face_gallery_params_t, reserved: u32, reserved: u32);

numbered!(face_precision_t: FACE_PRECISION_F32 | FACE_PRECISION_INT8);

impl face_gallery_params_t {
    pub(super) fn read(&self) -> Outcome<LocalGalleryParams> {
        reserved(self.reserved, "params->reserved")?;
        let precision = match face_precision_t::numbered(self.precision, "params->precision")? {
            face_precision_t::FACE_PRECISION_F32 => Precision::F32,
            face_precision_t::FACE_PRECISION_INT8 => Precision::Int8,
        };
        let is_approximate = flag(self.approximate, "params->approximate")?;
        let of_the_index = [self.connectivity, self.expansion_add, self.expansion_search];
        if !is_approximate && (self.min_templates != 0 || of_the_index.iter().any(|value| *value != 0)) {
            return Err(invalid("params has settings of the approximate index, and approximate is 0"));
        }
        if is_approximate && cfg!(not(feature = "hnsw")) {
            return Err(crate::status::unsupported("hnsw"));
        }
        let default = ApproximateParams::default();
        let approximate = is_approximate.then(|| ApproximateParams {
            connectivity: or_default(self.connectivity as usize, default.connectivity),
            expansion_add: or_default(self.expansion_add as usize, default.expansion_add),
            expansion_search: or_default(self.expansion_search as usize, default.expansion_search),
            min_templates: or_default(self.min_templates, default.min_templates),
        });
        Ok(LocalGalleryParams { precision, approximate })
    }
}
