//! Files from HTTPS addresses.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::{PullEvent, PullProgress};
use crate::error::{Error, Result};
use crate::files::sha256_hex;
use crate::models::catalogue::{CatalogueEntry, FileRecord};
use crate::models::store::ModelStore;

/// Tries in a row that come no farther into the file, before the next address is asked.
const FRUITLESS_TRIES: u32 = 3;
/// Wait before the second try; doubled before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence of a server.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: u32 = 8;
const CHUNK_BYTES: usize = 1 << 16;
/// Environment variable that names a file of trusted certificates, as OpenSSL and curl read it.
const ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// Why a try failed.
enum Failure {
    /// Another try may go better.
    Passing(String),
    /// This address will not give the file.
    Final(String),
    /// The disk, not the network.
    Local(Error),
}

/// Downloads a file of known size and digest; what an earlier try brought is not asked for again.
pub(super) fn download(
    store: &ModelStore,
    entry: &CatalogueEntry,
    urls: &[String],
    progress: &PullProgress<'_>,
) -> Result<Vec<u8>> {
    let FileRecord { name, .. } = &entry.file;
    let folder = store.folder().join(&entry.name);
    std::fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
    let part = folder.join(format!("{name}.part"));
    let agent = agent(store, entry)?;
    let mut reasons = vec![];
    for url in urls {
        match from_address(&agent, url, entry, &part, progress) {
            Ok(content) => {
                std::fs::remove_file(&part).map_err(Error::io("remove", &part))?;
                return Ok(content);
            }
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Passing(reason) | Failure::Final(reason)) => reasons.push(format!("{url}: {reason}")),
        }
    }
    Err(Error::Pull {
        name: entry.name.clone(),
        source_name: "its addresses".into(),
        reason: reasons.join("\n  "),
        cure: format!(
            "check the network and try again (what has arrived is kept); or download the file by other means to {}",
            store.path(entry).display()
        ),
    })
}

/// All tries at one address.
fn from_address(
    agent: &ureq::Agent,
    url: &str,
    entry: &CatalogueEntry,
    part: &Path,
    progress: &PullProgress<'_>,
) -> Result<Vec<u8>, Failure> {
    let FileRecord { name, bytes, sha256 } = &entry.file;
    let (mut fruitless, mut farthest) = (0, length_of(part));
    loop {
        let before = length_of(part);
        let outcome = match before {
            // A killed process had all of it, but had not checked it yet.
            length if length == *bytes => Ok(()),
            _ => request(agent, url, &entry.file, part, progress),
        };
        let reason = match outcome {
            Ok(()) => {
                let content = std::fs::read(part).map_err(|error| Failure::Local(Error::io("read", part)(error)))?;
                let actual = sha256_hex(&content);
                if actual == *sha256 {
                    return Ok(content);
                }
                std::fs::remove_file(part).map_err(|error| Failure::Local(Error::io("remove", part)(error)))?;
                let reason = format!("the file has SHA-256 {actual}, expected {sha256}");
                if before == 0 {
                    return Err(Failure::Final(reason));
                }
                // The part of an earlier try may have been the beginning of another file: once more from nothing.
                reason
            }
            Err(Failure::Passing(reason)) => reason,
            Err(other) => return Err(other),
        };
        fruitless = if length_of(part) > farthest { 0 } else { fruitless + 1 };
        farthest = farthest.max(length_of(part));
        if fruitless == FRUITLESS_TRIES {
            return Err(Failure::Passing(format!("{reason} (after {FRUITLESS_TRIES} tries)")));
        }
        progress(PullEvent::Retrying { file: name, reason: &reason });
        std::thread::sleep(FIRST_WAIT * 2_u32.pow(fruitless));
    }
}

/// One request: the rest of the file is added to the part that is there.
fn request(
    agent: &ureq::Agent,
    url: &str,
    file: &FileRecord,
    part: &Path,
    progress: &PullProgress<'_>,
) -> Result<(), Failure> {
    let local = |action: &'static str| move |error| Failure::Local(Error::io(action, part)(error));
    let mut received = length_of(part);
    if received > file.bytes {
        received = 0;
    }
    let mut call = agent.get(url).header(ACCEPT_ENCODING, "identity");
    if received > 0 {
        call = call.header(RANGE, format!("bytes={received}-"));
    }
    let response = call.call().map_err(explain)?;
    let status = response.status().as_u16();
    let starts_at = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).and_then(range_start);
    match status {
        206 if received > 0 && starts_at == Some(received) => {}
        // The server sends the whole file, whatever was asked.
        200 => received = 0,
        206 | 416 if received > 0 => {
            std::fs::remove_file(part).map_err(local("remove"))?;
            return Err(Failure::Passing(format!("the server cannot go on at byte {received}")));
        }
        408 | 429 | 500.. => return Err(Failure::Passing(format!("the server answered {status}"))),
        _ => return Err(Failure::Final(format!("the server answered {status}"))),
    }
    let mut output = File::options().create(true).truncate(false).write(true).open(part).map_err(local("create"))?;
    output.set_len(received).map_err(local("write"))?;
    output.seek(std::io::SeekFrom::Start(received)).map_err(local("write"))?;
    let mut body = response.into_body().into_reader();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        progress(PullEvent::Downloading { file: &file.name, received, total: file.bytes });
        let count = match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => return Err(Failure::Passing(format!("the connection broke: {error}"))),
        };
        received += count as u64;
        if received > file.bytes {
            output.set_len(0).map_err(local("write"))?;
            return Err(Failure::Final(format!("it sends more than the {} bytes of the file", file.bytes)));
        }
        output.write_all(&chunk[..count]).map_err(local("write"))?;
    }
    if received < file.bytes {
        return Err(Failure::Passing(format!("it ended after {received} of {} bytes", file.bytes)));
    }
    output.sync_all().map_err(local("write"))
}

/// The first byte of `bytes FIRST-LAST/ALL`.
fn range_start(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn explain(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::RequireHttpsOnly(address) => {
            Failure::Final(format!("it leads to {address}, which is not encrypted"))
        }
        error @ (ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed) => {
            Failure::Final(error.to_string())
        }
        error @ (ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_)) => distrusted(&error),
        // What rustls refuses arrives as invalid data: a certificate that nobody vouches for will not change by asking again.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => distrusted(&error),
        error => Failure::Passing(error.to_string()),
    }
}

fn distrusted(error: &dyn std::fmt::Display) -> Failure {
    Failure::Final(format!("{error} (if your network inspects HTTPS, name its certificates in {ROOTS_VARIABLE})"))
}

fn length_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn agent(store: &ModelStore, entry: &CatalogueEntry) -> Result<ureq::Agent> {
    let roots = match (store.root_certificates(), std::env::var_os(ROOTS_VARIABLE)) {
        (Some(pem), _) => Some(pem.to_vec()),
        (None, Some(path)) if !path.is_empty() => Some(std::fs::read(&path).map_err(Error::io("read", path))?),
        _ => None,
    };
    let roots = match roots {
        None => RootCerts::WebPki,
        Some(pem) => {
            let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(Error::Pull {
                    name: entry.name.clone(),
                    source_name: "its addresses".into(),
                    reason: "the file of trusted certificates holds none in PEM form".into(),
                    cure: format!("name another file in {ROOTS_VARIABLE}, or unset it"),
                });
            }
            RootCerts::new_with_certs(&certificates)
        }
    };
    let config = ureq::Agent::config_builder()
        .https_only(true)
        .max_redirects(MAX_REDIRECTS)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .user_agent(concat!("face-core/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(config.new_agent())
}
