//! The shape of a kubeconfig, as kubectl reads it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A file, or several made one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Kubeconfig {
    pub current_context: Option<String>,
    contexts: Option<Vec<NamedContext>>,
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: Context,
}

/// Who asks which cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Context {
    pub cluster: String,
    pub user: String,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: Cluster,
}

/// Where an API server is, and how it is known to be the right one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Cluster {
    pub server: String,
    pub certificate_authority: Option<PathBuf>,
    pub certificate_authority_data: Option<String>,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

/// How to say who one is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct User {
    pub token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub token_file: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_certificate_data: Option<String>,
    pub client_key: Option<PathBuf>,
    pub client_key_data: Option<String>,
    pub exec: Option<Exec>,
    pub auth_provider: Option<AuthProvider>,
    pub username: Option<String>,
}

/// A program that tells a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Exec {
    pub command: String,
}

/// What kubectl itself no longer knows.
#[derive(Debug, Deserialize)]
pub struct AuthProvider {}

impl Kubeconfig {
    /// Reads a text. Relative paths in it are those beside `file`.
    ///
    /// # Errors
    /// If it is no YAML of this shape.
    pub fn parse(text: &str, file: &Path) -> Result<Self, serde_saphyr::Error> {
        let mut config: Self = serde_saphyr::from_str(text)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let place = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(&path);
            }
        };
        for NamedCluster { cluster, .. } in config.clusters.iter_mut().flatten() {
            place(&mut cluster.certificate_authority);
        }
        for NamedUser { user, .. } in config.users.iter_mut().flatten() {
            place(&mut user.token_file);
            place(&mut user.client_certificate);
            place(&mut user.client_key);
        }
        Ok(config)
    }

    /// Adds what another file says; of what both say, this one's counts.
    pub fn add(&mut self, other: Self) {
        self.current_context =
            self.current_context.take().filter(|name| !name.is_empty()).or(other.current_context);
        self.contexts.get_or_insert_default().extend(other.contexts.unwrap_or_default());
        self.clusters.get_or_insert_default().extend(other.clusters.unwrap_or_default());
        self.users.get_or_insert_default().extend(other.users.unwrap_or_default());
    }

    /// The context of this name.
    pub fn context(&self, name: &str) -> Option<&Context> {
        Some(&self.contexts.iter().flatten().find(|known| known.name == name)?.context)
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        Some(&self.clusters.iter().flatten().find(|known| known.name == name)?.cluster)
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        Some(&self.users.iter().flatten().find(|known| known.name == name)?.user)
    }
}
