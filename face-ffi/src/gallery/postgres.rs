//! Galleries on a PostgreSQL server (feature `postgres`).

use std::ffi::c_char;

use super::handle::face_gallery_t;
use crate::guard;
use crate::pointers::{growing_settings, numbered, out, reference, settings};
use crate::space::face_space_t;
use crate::status::face_status_t;

/// Whether a connection to a server is encrypted.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_tls_t {
    /// The server's certificate must be valid for the host, and signed by an authority that this machine trusts, or by one of
    /// `root_certificate`.
    FACE_TLS_REQUIRE = 0,
    /// Not at all.
    FACE_TLS_DISABLE = 1,
}

/// Where a gallery on a server is, and how it is talked to. Members that are 0 or NULL have their default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_postgres_params_t {
    /// sizeof(face_postgres_params_t).
    pub struct_size: usize,
    /// postgresql://USER:PASSWORD@HOST:PORT/DATABASE; must be given. The password is not shown in messages.
    pub url: *const c_char,
    /// Name of the gallery in the database; "default" by default.
    pub gallery: *const c_char,
    /// PEM file with the authorities that are trusted in place of the machine's.
    pub root_certificate: *const c_char,
    /// With the index: the gallery is searched exactly up to so many templates; 10000 by default.
    pub min_templates: u64,
    /// Most connections at a time, from 1 to 1000; 8 by default.
    pub pool_size: u32,
    /// Milliseconds until a connection must stand; 10000 by default.
    pub connect_timeout_ms: u32,
    /// Milliseconds that a statement may take; 60000 by default.
    pub statement_timeout_ms: u32,
    /// A face_tls_t.
    pub tls: u32,
    /// 1: search through pgvector's HNSW index, which face_gallery_create_postgres() builds. 0: exactly.
    pub hnsw: u32,
    /// Neighbours of a node of the index, from 2 to 100; 16 by default.
    pub hnsw_m: u32,
    /// Candidates that are looked at when a node is added, from 4 to 1000; 128 by default.
    pub hnsw_ef_construction: u32,
    /// Candidates that are looked at in a search, from 1 to 1000; 128 by default.
    pub hnsw_ef_search: u32,
}

numbered!(face_tls_t: FACE_TLS_REQUIRE | FACE_TLS_DISABLE);
growing_settings!(face_postgres_params_t, hnsw_ef_search: u32, hnsw_ef_search: u32);

#[cfg(feature = "postgres")]
mod built_in {
    use std::sync::Arc;
    use std::time::Duration;

    use face_core::EmbeddingSpace;
    use face_core::gallery::{HnswParams, PostgresGallery, PostgresIndex, PostgresParams, PostgresTls};

    use super::{face_postgres_params_t, face_tls_t};
    use crate::gallery::handle::face_gallery_t;
    use crate::pointers::{flag, invalid, optional_text, or_default, text};
    use crate::status::Outcome;

    impl face_postgres_params_t {
        unsafe fn read(&self) -> Outcome<PostgresParams> {
            let mut params = PostgresParams::new(unsafe { text(self.url, "params->url") }?);
            if let Some(gallery) = unsafe { optional_text(self.gallery, "params->gallery") }? {
                params.gallery = gallery.to_owned();
            }
            if self.pool_size != 0 {
                params.pool_size = self.pool_size as usize;
            }
            if self.connect_timeout_ms != 0 {
                params.connect_timeout = Duration::from_millis(self.connect_timeout_ms.into());
            }
            if self.statement_timeout_ms != 0 {
                params.statement_timeout = Duration::from_millis(self.statement_timeout_ms.into());
            }
            let root_certificate = unsafe { optional_text(self.root_certificate, "params->root_certificate") }?;
            params.tls = match (face_tls_t::numbered(self.tls, "params->tls")?, root_certificate) {
                (face_tls_t::FACE_TLS_REQUIRE, None) => PostgresTls::Require,
                (face_tls_t::FACE_TLS_REQUIRE, Some(path)) => PostgresTls::RootCertificate(path.into()),
                (face_tls_t::FACE_TLS_DISABLE, None) => PostgresTls::Disable,
                (face_tls_t::FACE_TLS_DISABLE, Some(_)) => {
                    return Err(invalid("params->root_certificate is given, and tls is FACE_TLS_DISABLE"));
                }
            };
            let is_indexed = flag(self.hnsw, "params->hnsw")?;
            let of_the_index = [self.hnsw_m, self.hnsw_ef_construction, self.hnsw_ef_search];
            if !is_indexed && (self.min_templates != 0 || of_the_index.iter().any(|value| *value != 0)) {
                return Err(invalid("params has settings of the index, and hnsw is 0"));
            }
            params.index = if is_indexed { PostgresIndex::Hnsw(self.hnsw()) } else { PostgresIndex::Exact };
            Ok(params)
        }

        fn hnsw(&self) -> HnswParams {
            let default = HnswParams::default();
            HnswParams {
                m: or_default(self.hnsw_m, default.m),
                ef_construction: or_default(self.hnsw_ef_construction, default.ef_construction),
                ef_search: or_default(self.hnsw_ef_search, default.ef_search),
                min_templates: or_default(self.min_templates, default.min_templates),
            }
        }
    }

    pub(super) unsafe fn create(
        params: &face_postgres_params_t,
        space: &Arc<EmbeddingSpace>,
    ) -> Outcome<face_gallery_t> {
        let gallery = PostgresGallery::create(&unsafe { params.read() }?, Arc::clone(space))?;
        Ok(face_gallery_t::new(gallery))
    }

    pub(super) unsafe fn open(params: &face_postgres_params_t) -> Outcome<face_gallery_t> {
        let gallery = PostgresGallery::open(&unsafe { params.read() }?)?;
        Ok(face_gallery_t::new(gallery))
    }
}

#[cfg(not(feature = "postgres"))]
mod built_in {
    use super::face_postgres_params_t;
    use crate::gallery::handle::face_gallery_t;
    use crate::status::{Outcome, unsupported};

    pub(super) unsafe fn create<T>(_: &face_postgres_params_t, _: &T) -> Outcome<face_gallery_t> {
        Err(unsupported("postgres"))
    }

    pub(super) unsafe fn open(_: &face_postgres_params_t) -> Outcome<face_gallery_t> {
        Err(unsupported("postgres"))
    }
}

/// A new gallery on a PostgreSQL server with pgvector.
///
/// @param params  The server.
/// @param space   Of the embeddings.
/// @param gallery Receives the gallery.
/// @return FACE_STATUS_GALLERY_STORE where it is there already, or the server cannot be reached or refuses;
///         FACE_STATUS_UNSUPPORTED without the feature "postgres".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_create_postgres(
    params: *const face_postgres_params_t,
    space: *const face_space_t,
    gallery: *mut *mut face_gallery_t,
) -> face_status_t {
    guard::status("face_gallery_create_postgres", || {
        let params = unsafe { settings(reference(params, "params")?, "params") }?;
        let space = unsafe { reference(space, "space") }?;
        let gallery = unsafe { out(gallery, "gallery") }?;
        gallery.give(unsafe { built_in::create(&params, &space.space) }?);
        Ok(())
    })
}

/// Opens a gallery on a PostgreSQL server.
///
/// @param params  The server.
/// @param gallery Receives the gallery.
/// @return FACE_STATUS_GALLERY_STORE where there is no such gallery, or the server cannot be reached; FACE_STATUS_GALLERY_VERSION;
///         FACE_STATUS_UNSUPPORTED without the feature "postgres".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_open_postgres(
    params: *const face_postgres_params_t,
    gallery: *mut *mut face_gallery_t,
) -> face_status_t {
    guard::status("face_gallery_open_postgres", || {
        let params = unsafe { settings(reference(params, "params")?, "params") }?;
        let gallery = unsafe { out(gallery, "gallery") }?;
        gallery.give(unsafe { built_in::open(&params) }?);
        Ok(())
    })
}
