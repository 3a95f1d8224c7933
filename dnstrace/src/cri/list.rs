//! Asks a runtime for its lists of pods and containers.
//!
//! The messages hold the fields used here, by the field numbers of the published `api.proto`; protobuf skips the rest, so
//! neither that file nor protoc is needed.

use std::{collections::HashMap, error::Error, path::PathBuf, time::Duration};

use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// A runtime that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is taken, as the kubelet has it.
const LONGEST: usize = 16 << 20;

/// A runtime, by its socket.
#[derive(Debug)]
pub(super) struct Runtime {
    socket: PathBuf,
}

/// All that a runtime has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lists {
    pub pods: Vec<PodSandbox>,
    pub containers: Vec<Container>,
}

/// What all runtimes have that answer.
///
/// # Errors
/// If none does: why, and what to do.
pub(super) async fn all(runtimes: &[Runtime]) -> Result<Lists, String> {
    let mut all = Lists::default();
    let (mut answered, mut refused) = (false, Vec::new());
    for runtime in runtimes {
        match runtime.lists().await {
            Ok(lists) => {
                answered = true;
                all.pods.extend(lists.pods);
                all.containers.extend(lists.containers);
            }
            // One that is not there says nothing, unless none is.
            Err(_) if runtimes.len() > 1 && !runtime.socket.exists() => {}
            Err(status) => refused.push(format!("{}: {}", runtime.socket.display(), reason(&status))),
        }
    }
    match &refused[..] {
        _ if answered => Ok(all),
        [] => {
            Err("no container runtime has its socket at a usual place: name it with --cri-socket".to_owned())
        }
        refused => {
            Err(format!("no container runtime answers ({}); --cri-socket names another", refused.join("; ")))
        }
    }
}

impl Runtime {
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn lists(&self) -> Result<Lists, Status> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket.display()));
        let endpoint = endpoint.map_err(|error| Status::from_error(error.into()))?.timeout(TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| Status::from_error(error.into()))?;
        // Pods first: a container that is made meanwhile has its pod told the next time.
        let pods: ListPodSandboxResponse = call(&channel, "ListPodSandbox").await?;
        let containers: ListContainersResponse = call(&channel, "ListContainers").await?;
        Ok(Lists { pods: pods.items, containers: containers.containers })
    }
}

/// Calls a method with an empty request: no filter.
async fn call<A>(channel: &Channel, method: &str) -> Result<A, Status>
where
    A: prost::Message + Default + Send + Sync + 'static,
{
    let path: Result<PathAndQuery, _> = format!("/runtime.v1.RuntimeService/{method}").parse();
    let path = path.map_err(|error| Status::from_error(error.into()))?;
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(LONGEST);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let response = grpc.unary(Request::new(Unfiltered {}), path, ProstCodec::default()).await?;
    Ok(response.into_inner())
}

/// Why a call failed, in a few words: the innermost cause tells most.
fn reason(status: &Status) -> String {
    if status.code() == Code::Unimplemented {
        return "it has no CRI v1 (its CRI plugin may be disabled, or it is too old)".to_owned();
    }
    let mut cause: &dyn Error = status;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Unfiltered {}

#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

/// A sandbox: what a pod's containers share. A pod may have had several.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    #[prost(map = "string, string", tag = "5")]
    pub labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Container {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_is_named_with_why() {
        let directory = tempfile::tempdir().unwrap();
        let (file, gone) = (directory.path().join("file"), directory.path().join("gone"));
        std::fs::write(&file, "").unwrap();
        let why = all(&[Runtime::at(file.clone()), Runtime::at(gone.clone())]).await.unwrap_err();
        let file = file.display();
        let expected = format!(
            "no container runtime answers ({file}: Connection refused (os error 111)); --cri-socket names another"
        );
        assert_eq!(why, expected);
        let why = all(&[Runtime::at(gone.clone())]).await.unwrap_err();
        assert!(why.contains("gone: No such file or directory"), "{why}");
        let why = all(&[Runtime::at(gone.clone()), Runtime::at(gone)]).await.unwrap_err();
        assert!(why.contains("no container runtime has its socket at a usual place"), "{why}");
    }
}
