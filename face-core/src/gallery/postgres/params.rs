//! Where the server is, and how it is talked to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};

use super::connection::reason;
use crate::error::{Error, Result};

/// Settings of a gallery on a PostgreSQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresParams {
    /// Address of the database: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, or `host=... dbname=...`. The password is
    /// shown neither in errors nor by `Debug`.
    pub url: String,
    /// Name of the gallery in the database, which may hold several: 1 to 100 characters.
    pub gallery: String,
    /// Most connections at a time, from 1 to 1000. A call takes one while it lasts; further calls wait.
    pub pool_size: usize,
    /// Longest time until a connection stands, from a millisecond to an hour.
    pub connect_timeout: Duration,
    /// Longest time of one statement, from a millisecond to a day. Building an index and
    /// [`compact`](crate::gallery::Gallery::compact) may take longer.
    pub statement_timeout: Duration,
    /// Whether the connection is encrypted.
    pub tls: PostgresTls,
    /// How the gallery is searched. [`create`](super::PostgresGallery::create) builds the index;
    /// [`open`](super::PostgresGallery::open) expects it to be there.
    pub index: PostgresIndex,
}

/// Whether, and on whose word, a connection is encrypted.
///
/// A Unix socket (a host that starts with `/`) does not leave the machine and is never encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PostgresTls {
    /// Not at all: passwords and embeddings are readable on the way.
    Disable,
    /// The server's certificate must be valid for the host of the address, and signed by an authority that this machine
    /// trusts (libpq's `verify-full`).
    #[default]
    Require,
    /// As [`Require`](Self::Require), with the authorities of this PEM file in place of the machine's.
    RootCertificate(PathBuf),
}

/// How a gallery on a server is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PostgresIndex {
    /// Every template is compared.
    #[default]
    Exact,
    /// Through pgvector's HNSW index, for vectors of up to 2000 values.
    Hnsw(HnswParams),
}

/// Settings of pgvector's HNSW index, with pgvector's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HnswParams {
    /// Neighbours of a node, from 2 to 100. Takes effect when the index is built.
    pub m: u32,
    /// Candidates that are looked at when a node is added, from 4 to 1000 and at least twice `m`. Takes effect when the
    /// index is built.
    pub ef_construction: u32,
    /// Candidates that are looked at in a search, from 1 to 1000: more find more, and take longer.
    pub ef_search: u32,
    /// [`SearchMode::Auto`](crate::gallery::SearchMode::Auto) searches exactly up to so many templates.
    pub min_templates: u64,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 128, ef_search: 128, min_templates: 10_000 }
    }
}

/// Largest number of values that pgvector's HNSW takes.
pub(super) const MAX_HNSW_DIMENSION: usize = 2000;
/// Largest number of values of pgvector's `vector`.
pub(super) const MAX_DIMENSION: usize = 16_000;

impl PostgresParams {
    /// The gallery `default` of a database, searched exactly, over TLS.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            gallery: "default".into(),
            pool_size: 8,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            tls: PostgresTls::default(),
            index: PostgresIndex::default(),
        }
    }

    /// Checks everything, and takes the address apart.
    pub(super) fn parse(&self) -> Result<Config> {
        let characters = self.gallery.chars().count();
        if !(1..=100).contains(&characters) || self.gallery.chars().any(char::is_control) {
            return Err(invalid("the gallery's name", format!("{:?}", self.gallery), "1 to 100 characters"));
        }
        if !(1..=1000).contains(&self.pool_size) {
            return Err(invalid("pool_size", self.pool_size.to_string(), "from 1 to 1000"));
        }
        let millisecond = Duration::from_millis(1);
        if !(millisecond..=Duration::from_secs(3600)).contains(&self.connect_timeout) {
            return Err(invalid("connect_timeout", format!("{:?}", self.connect_timeout), "from 1 ms to an hour"));
        }
        if !(millisecond..=Duration::from_secs(86_400)).contains(&self.statement_timeout) {
            return Err(invalid("statement_timeout", format!("{:?}", self.statement_timeout), "from 1 ms to a day"));
        }
        self.index.validate()?;
        self.config()
    }

    fn config(&self) -> Result<Config> {
        let mut config: Config = self.url.parse().map_err(|error| {
            invalid(
                "the database's address",
                format!("unreadable ({})", reason(&error)),
                "postgresql://USER@HOST/DATABASE",
            )
        })?;
        if config.get_hosts().is_empty() {
            return Err(invalid("the database's address", "without a host".into(), "postgresql://USER@HOST/DATABASE"));
        }
        let is_plain = self.tls == PostgresTls::Disable;
        match config.get_ssl_mode() {
            SslMode::Require if is_plain => {
                return Err(invalid("tls", "Disable".into(), "as in the address, which says sslmode=require"));
            }
            SslMode::Disable if !is_plain => {
                return Err(invalid("tls", format!("{:?}", self.tls), "as in the address, which says sslmode=disable"));
            }
            _ => {}
        }
        let is_local = config.get_hosts().iter().all(is_socket);
        config.ssl_mode(if is_plain || is_local { SslMode::Disable } else { SslMode::Require });
        config.connect_timeout(self.connect_timeout);
        // A server whose machine is gone says nothing at all.
        config.tcp_user_timeout(Duration::from_secs(30));
        config.keepalives_idle(Duration::from_secs(30));
        config.keepalives_interval(Duration::from_secs(10));
        config.keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("face-core");
        }
        Ok(config)
    }

    /// What the gallery is called in errors: everything but user and password.
    pub(super) fn name(&self, config: &Config) -> String {
        let ports = config.get_ports();
        let host = |(number, host): (usize, &Host)| {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
                Host::Tcp(host) => format!("{host}:{port}"),
                #[cfg(unix)]
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        };
        let hosts: Vec<_> = config.get_hosts().iter().enumerate().map(host).collect();
        let database = config.get_dbname().or(config.get_user()).unwrap_or("(default)");
        format!("postgresql://{}/{database}/{}", hosts.join(","), self.gallery)
    }
}

fn is_socket(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
}

impl PostgresIndex {
    pub(super) fn validate(&self) -> Result<()> {
        let Self::Hnsw(HnswParams { m, ef_construction, ef_search, min_templates: _ }) = self else { return Ok(()) };
        if !(2..=100).contains(m) {
            return Err(invalid("m", m.to_string(), "from 2 to 100"));
        }
        if !(4..=1000).contains(ef_construction) || *ef_construction < 2 * m {
            return Err(invalid(
                "ef_construction",
                ef_construction.to_string(),
                "from 4 to 1000, and at least twice m",
            ));
        }
        if !(1..=1000).contains(ef_search) {
            return Err(invalid("ef_search", ef_search.to_string(), "from 1 to 1000"));
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, gallery: _, pool_size, connect_timeout, statement_timeout, tls, index } = self;
        let name = self.config().map_or_else(|_| "unreadable".to_owned(), |config| self.name(&config));
        f.debug_struct("PostgresParams")
            .field("name", &name)
            .field("pool_size", pool_size)
            .field("connect_timeout", connect_timeout)
            .field("statement_timeout", statement_timeout)
            .field("tls", tls)
            .field("index", index)
            .finish_non_exhaustive()
    }
}

pub(super) fn invalid(parameter: &'static str, value: String, expected: &str) -> Error {
    Error::InvalidParameter { parameter, value, expected: expected.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const URL: &str = "postgresql://ada:s3cret@db.example:5433/people";

    #[test]
    fn the_password_is_never_shown() {
        let params = PostgresParams::new(URL);
        let name = params.name(&params.parse().unwrap());
        assert_eq!(name, "postgresql://db.example:5433/people/default");
        assert!(!format!("{params:?}").contains("s3cret"), "{params:?}");
        for broken in [
            "postgresql://ada:s3cret@db.example:port/people",
            "postgresql://ada:s3cret",
            "postgresql://ada:s3cret@",
            "postgresql://ada:s3cret@db.example/people?sslmode=s3cret",
            "password=s3cret dbname=people",
            "s3cret",
            "",
        ] {
            let params = PostgresParams::new(broken);
            let error = params.parse().unwrap_err();
            assert!(matches!(error, Error::InvalidParameter { .. }), "{broken}: {error}");
            assert!(!format!("{error} {error:?} {params:?}").contains("s3cret"), "{broken}: {error:?}");
        }
    }

    #[test]
    fn tls_is_never_weaker_than_the_address_says() {
        let with = |url: &str, tls| PostgresParams { tls, ..PostgresParams::new(url) }.parse();
        assert_eq!(with(URL, PostgresTls::Require).unwrap().get_ssl_mode(), SslMode::Require);
        assert_eq!(with(URL, PostgresTls::Disable).unwrap().get_ssl_mode(), SslMode::Disable);
        assert!(with(&format!("{URL}?sslmode=require"), PostgresTls::Disable).is_err());
        assert!(with(&format!("{URL}?sslmode=disable"), PostgresTls::Require).is_err());
        let socket = with("host=/run/postgresql dbname=people", PostgresTls::Require).unwrap();
        assert_eq!(socket.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let base = || PostgresParams::new(URL);
        let hnsw = |hnsw: HnswParams| PostgresParams { index: PostgresIndex::Hnsw(hnsw), ..base() };
        let zero = Duration::ZERO;
        for (wrong, text) in [
            (PostgresParams { gallery: String::new(), ..base() }, "name"),
            (PostgresParams { gallery: "a\nb".into(), ..base() }, "name"),
            (PostgresParams { pool_size: 0, ..base() }, "pool_size"),
            (PostgresParams { connect_timeout: zero, ..base() }, "connect_timeout"),
            (PostgresParams { statement_timeout: zero, ..base() }, "statement_timeout"),
            (hnsw(HnswParams { m: 1, ..HnswParams::default() }), "m is 1"),
            (hnsw(HnswParams { ef_construction: 31, ..HnswParams::default() }), "ef_construction"),
            (hnsw(HnswParams { ef_search: 1001, ..HnswParams::default() }), "ef_search"),
        ] {
            let error = wrong.parse().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(hnsw(HnswParams::default()).parse().is_ok());
    }
}
