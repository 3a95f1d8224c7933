//! Where the API server is, and how to speak to it: as kubectl finds it out.

mod file;
#[cfg(test)]
mod tests;

use std::{
    env, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use hyper::Uri;

use self::file::{Cluster, Kubeconfig, User};
use super::Failure;

/// A file that says how to reach an API server is no longer than this.
const LONGEST: u64 = 1 << 20;
/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// `--kubeconfig`
    pub given: Option<PathBuf>,
    /// Of `KUBECONFIG`.
    pub listed: Vec<PathBuf>,
    pub home: Option<PathBuf>,
    /// The API server of the pod that this process runs in.
    pub host: Option<String>,
    pub port: Option<String>,
    pub service_account: PathBuf,
}

/// How to speak to an API server.
#[derive(Debug)]
pub struct Access {
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// Before every path; empty, or `/k8s/clusters/c-1`.
    pub base: String,
    pub is_tls: bool,
    /// What its certificate is to be made out to; else the host.
    pub server_name: Option<String>,
    /// Certificates of those who may vouch for it, in PEM; else those that the system trusts.
    pub authorities: Option<Vec<u8>>,
    /// A certificate and its key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    pub token: Option<String>,
    /// The file that says so.
    pub source: String,
}

impl Places {
    /// As the environment says.
    pub fn of_environment(given: Option<PathBuf>) -> Self {
        let listed = env::var_os("KUBECONFIG").unwrap_or_default();
        Self {
            given,
            listed: env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect(),
            home: env::var_os("HOME").map(PathBuf::from),
            host: env::var("KUBERNETES_SERVICE_HOST").ok(),
            port: env::var("KUBERNETES_SERVICE_PORT").ok(),
            service_account: SERVICE_ACCOUNT.into(),
        }
    }
}

impl Access {
    /// Finds out, reading every file anew: certificates and tokens are replaced while a trace runs.
    ///
    /// # Errors
    /// In a line that says what to do, if there is nothing to go by, or it cannot be read, or asks for what dnstrace does not do.
    pub fn find(places: &Places) -> Result<Self, Failure> {
        if let Some(given) = &places.given {
            let config = parsed(given, read(given)?)?;
            return Self::of(&config, &shown(given));
        }
        let usual = places.home.as_ref().map(|home| home.join(".kube/config"));
        let listed = if places.listed.is_empty() { usual.as_slice() } else { &places.listed };
        let mut found: Option<(Kubeconfig, String)> = None;
        for path in listed {
            // As kubectl does: of a list, files may be missing.
            let text = match fs::exists(path) {
                Ok(false) => continue,
                _ => read(path)?,
            };
            let config = parsed(path, text)?;
            match &mut found {
                Some((known, _)) => known.add(config),
                None => found = Some((config, shown(path))),
            }
        }
        if let Some((config, source)) = found {
            return Self::of(&config, &source);
        }
        match (&places.host, &places.port) {
            (Some(host), Some(port)) => Self::in_cluster(host, port, &places.service_account),
            _ => Err(nothing_found(listed)),
        }
    }

    /// The current context of a kubeconfig.
    fn of(config: &Kubeconfig, source: &str) -> Result<Self, Failure> {
        let lacks = |what: String| {
            Failure::trouble(format!(
                "{source} {what}: see kubectl config view, or give another --kubeconfig"
            ))
        };
        let current = config.current_context.as_deref().filter(|name| !name.is_empty());
        let current = current.ok_or_else(|| lacks("names no current-context".to_owned()))?;
        let context = config.context(current).ok_or_else(|| lacks(format!("has no context {}", current)))?;
        let cluster = config
            .cluster(&context.cluster)
            .ok_or_else(|| lacks(format!("has no cluster {}", context.cluster)))?;
        check(cluster, source)?;
        let mut access = Self::at(&cluster.server, source)?;
        access.server_name = cluster.tls_server_name.clone();
        access.authorities =
            bytes(&cluster.certificate_authority_data, &cluster.certificate_authority, source)?;
        match config.user(&context.user) {
            Some(user) => access.sign_in(user, &context.user, source)?,
            // Whom nobody has to be.
            None if context.user.is_empty() => {}
            None => return Err(lacks(format!("has no user {}", context.user))),
        }
        Ok(access)
    }

    /// As a pod's service account.
    fn in_cluster(host: &str, port: &str, folder: &Path) -> Result<Self, Failure> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let token = folder.join("token");
        let source = shown(folder);
        let mut access = Self::at(&format!("https://{host}:{port}"), &source)?;
        access.authorities = Some(read(&folder.join("ca.crt"))?);
        access.token = Some(secret(&token, read(&token)?)?);
        Ok(access)
    }

    /// An API server by its URL.
    fn at(server: &str, source: &str) -> Result<Self, Failure> {
        let wrong =
            || Failure::trouble(format!("{source}: server {} is no URL like https://192.0.2.1:6443", server));
        let url: Uri = server.parse().map_err(|_| wrong())?;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = url.host().ok_or_else(wrong)?;
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            base: url.path().trim_end_matches('/').to_owned(),
            is_tls,
            server_name: None,
            authorities: None,
            identity: None,
            token: None,
            source: source.to_owned(),
        })
    }

    fn sign_in(&mut self, user: &User, name: &str, source: &str) -> Result<(), Failure> {
        let certificate = bytes(&user.client_certificate_data, &user.client_certificate, source)?;
        let key = bytes(&user.client_key_data, &user.client_key, source)?;
        self.identity = certificate.zip(key);
        self.token = match &user.token_file {
            Some(file) => Some(secret(file, read(file)?)?),
            None => user.token.clone().filter(|token| !token.is_empty()),
        };
        if self.identity.is_some() || self.token.is_some() {
            return Ok(());
        }
        let how = match (&user.exec, &user.auth_provider, &user.username) {
            (Some(exec), ..) => format!("by running {}", exec.command),
            (None, Some(_), _) => "by an auth-provider".to_owned(),
            (None, None, Some(_)) => "with a password".to_owned(),
            (None, None, None) => return Ok(()),
        };
        Err(Failure::trouble(format!(
            "user {} of {source} signs in {how}, which dnstrace does not do: give a --kubeconfig with a token \
             (kubectl create token) or a client certificate",
            name
        )))
    }

    /// `https://192.0.2.1:6443`
    pub fn shown(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// `192.0.2.1:6443`
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// What a cluster may ask for that is not done.
fn check(cluster: &Cluster, source: &str) -> Result<(), Failure> {
    if cluster.insecure_skip_tls_verify {
        return Err(Failure::trouble(format!(
            "{source} asks to skip the check of the server's certificate, which dnstrace does not do: name its \
             certificate-authority there"
        )));
    }
    if cluster.proxy_url.as_deref().is_some_and(|url| !url.is_empty()) {
        return Err(Failure::trouble(format!(
            "{source} names a proxy-url, which dnstrace cannot go by: give a --kubeconfig without"
        )));
    }
    Ok(())
}

fn nothing_found(tried: &[PathBuf]) -> Failure {
    let tried: Vec<_> = tried.iter().map(|path| shown(path)).collect();
    let tried = if tried.is_empty() { String::new() } else { format!(" (tried {})", tried.join(", ")) };
    Failure::trouble(format!(
        "no kubeconfig found{tried}: give one with --kubeconfig; sudo keeps neither KUBECONFIG nor your HOME"
    ))
}

/// What is in the file itself, in Base64, or else in another one that it names.
fn bytes(data: &Option<String>, file: &Option<PathBuf>, source: &str) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
        let bare: String = data.split_ascii_whitespace().collect();
        let bytes = data_encoding::BASE64.decode(bare.as_bytes());
        let wrong =
            |error| Failure::trouble(format!("{source} holds certificate data that is no Base64: {error}"));
        return bytes.map(Some).map_err(wrong);
    }
    file.as_deref().map(read).transpose()
}

fn parsed(path: &Path, text: Vec<u8>) -> Result<Kubeconfig, Failure> {
    let wrong = |why: String| {
        // Of a parser's words, the first line says what and where.
        let why = why.lines().next().unwrap_or_default().to_owned();
        Failure::trouble(format!("{} is no kubeconfig: {}", shown(path), why))
    };
    let text = String::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
    Kubeconfig::parse(&text, path).map_err(|error| wrong(error.to_string()))
}

fn secret(path: &Path, text: Vec<u8>) -> Result<String, Failure> {
    let wrong = |_| Failure::trouble(format!("the token in {} is no text", shown(path)));
    Ok(String::from_utf8(text).map_err(wrong)?.trim().to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let cannot = |error: io::Error| Failure::trouble(format!("cannot read {}: {error}", shown(path)));
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::trouble(format!("{} is longer than 1 MiB", shown(path))));
    }
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
