//! A small Kubernetes API server: lists and watches, with answers of the shape that kube-apiserver gives, and its failures.
//!
//! It serves what a test puts into it, over HTTP, or TLS with a certificate made for this alone: the key beside it opens
//! nothing else.

mod http;
mod store;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

pub use store::Store;

const AUTHORITY: &str = include_str!("authority.crt");
const CERTIFICATE: &[u8] = include_bytes!("server.crt");
const KEY: &[u8] = include_bytes!("server.key");
/// Whoever does not say this is told 401.
const TOKEN: &str = "a-service-account";

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Tls,
    Plain,
    /// Over TCP alone: it accepts, and never says a word.
    Silent,
}

/// An API server at work. Dropped, it ends.
#[derive(Debug)]
pub struct ApiServer {
    pub store: Arc<Store>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    is_over: Arc<AtomicBool>,
}

impl ApiServer {
    /// Serves on a port of its own.
    pub fn start(manner: Manner) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = std::env::temp_dir().join(format!("kubeconfig-{}-{number}", std::process::id()));
        fs::write(&kubeconfig, config(address, manner))?;
        let server = Self { store: Arc::default(), address, kubeconfig, is_over: Arc::default() };
        let (store, is_over) = (server.store.clone(), server.is_over.clone());
        let tls = (manner == Manner::Tls).then(tls).transpose()?.map(Arc::new);
        thread::spawn(move || accept(&listener, manner, tls.as_ref(), &store, &is_over));
        Ok(server)
    }

    /// What says how to reach it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Waits until so many watches are under way.
    pub fn wait_for_watches(&self, count: usize) -> Result<()> {
        let started = Instant::now();
        while self.store.watches() < count {
            ensure!(started.elapsed() < Duration::from_secs(60), "nobody watches");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.store.cut();
        // Wakes the one that accepts; should that fail, the process ends it.
        let _ = TcpStream::connect(self.address);
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

fn accept(
    listener: &TcpListener,
    manner: Manner,
    tls: Option<&Arc<ServerConfig>>,
    store: &Arc<Store>,
    is_over: &AtomicBool,
) {
    let mut silent = Vec::new();
    for stream in listener.incoming() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if manner == Manner::Silent {
            silent.push(stream);
            continue;
        }
        let (store, tls) = (store.clone(), tls.cloned());
        // However it ends: a client went, or the server was told to cut it off.
        thread::spawn(move || serve(stream, tls, &store));
    }
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, store: &Store) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            http::serve(StreamOwned::new(connection, stream), store)
        }
        None => http::serve(stream, store),
    }
}

fn tls() -> Result<ServerConfig> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(KEY)?;
    ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("no TLS")
}

/// As kubectl would have it.
fn config(address: SocketAddr, manner: Manner) -> String {
    let scheme = if manner == Manner::Plain { "http" } else { "https" };
    let authority = data_encoding::BASE64.encode(AUTHORITY.as_bytes());
    format!(
        "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: lab\nclusters:\n- cluster:\n    \
         certificate-authority-data: {authority}\n    server: {scheme}://{address}\n  name: lab\ncontexts:\n- \
         context:\n    cluster: lab\n    user: dnstrace\n  name: lab\nusers:\n- name: dnstrace\n  user:\n    token: \
         {TOKEN}\n"
    )
}
