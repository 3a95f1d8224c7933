//! The part of the Container Runtime Interface (`runtime.v1`) that starts a pod as the kubelet does.
//!
//! The messages hold the fields used here, by the field numbers of the published `api.proto`; protobuf skips the rest,
//! so neither that file nor protoc is needed.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Long enough for a pod start under emulation; short enough that a hung runtime fails the test by itself.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to the runtime's socket.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    channel: Channel,
}

impl Cri {
    /// Connects to a CRI socket; the connection is made by the first call.
    pub fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?.timeout(TIMEOUT);
        let channel = {
            let _context = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(Self { runtime, channel })
    }

    pub fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<String> {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let response: RunPodSandboxResponse = self.runtime_call("RunPodSandbox", request)?;
        Ok(response.pod_sandbox_id)
    }

    pub fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        pod: PodSandboxConfig,
    ) -> Result<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod),
        };
        let response: CreateContainerResponse = self.runtime_call("CreateContainer", request)?;
        Ok(response.container_id)
    }

    pub fn start_container(&self, container_id: &str) -> Result<()> {
        let request = ContainerRequest { container_id: container_id.to_owned() };
        self.runtime_call::<_, Empty>("StartContainer", request).map(drop)
    }

    pub fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        let request = ContainerRequest { container_id: container_id.to_owned() };
        let response: ContainerStatusResponse = self.runtime_call("ContainerStatus", request)?;
        response.status.context("the runtime told no container status")
    }

    pub fn sandbox_ip(&self, sandbox: &str) -> Result<String> {
        let request = SandboxRequest { pod_sandbox_id: sandbox.to_owned() };
        let response: PodSandboxStatusResponse = self.runtime_call("PodSandboxStatus", request)?;
        let network = response.status.and_then(|status| status.network);
        Ok(network.context("the runtime told no pod address")?.ip)
    }

    pub fn stop_and_remove_sandbox(&self, sandbox: &str) -> Result<()> {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let request = SandboxRequest { pod_sandbox_id: sandbox.to_owned() };
            self.runtime_call::<_, Empty>(method, request)?;
        }
        Ok(())
    }

    /// Whether the runtime itself knows the image; it learns of an import only some time after it.
    pub fn has_image(&self, image: &str) -> Result<bool> {
        let request = ImageStatusRequest { image: Some(ImageSpec { image: image.to_owned() }) };
        let response: ImageStatusResponse = self.call("/runtime.v1.ImageService/ImageStatus", request)?;
        Ok(response.image.is_some())
    }

    /// Whether the runtime answers and says that it is ready, its network included.
    pub fn is_ready(&self) -> Result<bool> {
        let response: StatusResponse = self.runtime_call("Status", Empty {})?;
        let conditions = response.status.map(|status| status.conditions).unwrap_or_default();
        Ok(!conditions.is_empty() && conditions.iter().all(|condition| condition.status))
    }

    fn runtime_call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: prost::Message + Default + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.call(&format!("/runtime.v1.RuntimeService/{method}"), request)
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: prost::Message + Default + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path: PathAndQuery = method.parse()?;
        let mut grpc = Grpc::new(self.channel.clone());
        let response = self.runtime.block_on(async {
            grpc.ready().await.context("the runtime's socket does not take calls")?;
            grpc.unary(Request::new(request), path, ProstCodec::default()).await.map_err(anyhow::Error::from)
        });
        Ok(response.with_context(|| format!("CRI call {method}"))?.into_inner())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    pub hostname: String,
    #[prost(string, tag = "3")]
    pub log_directory: String,
    #[prost(message, optional, tag = "4")]
    pub dns_config: Option<DnsConfig>,
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DnsConfig {
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<SandboxSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
}

/// Whose namespaces a container gets: `NamespaceMode` 0 is the pod's, 1 its own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamespaceOption {
    #[prost(int32, tag = "2")]
    pub pid: i32,
}

impl NamespaceOption {
    /// A kubelet's usual choice: each container has its own PID namespace, the rest is the pod's.
    pub const KUBELET: Self = Self { pid: 1 };
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageSpec {
    #[prost(string, tag = "1")]
    pub image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    #[prost(map = "string, string", tag = "9")]
    pub labels: HashMap<String, String>,
    #[prost(string, tag = "11")]
    pub log_path: String,
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<ContainerSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerSecurityContext {
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
}

/// A container's state; `state` is 2 once it has exited.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatus {
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    #[prost(string, tag = "10")]
    pub reason: String,
    #[prost(string, tag = "11")]
    pub message: String,
}

/// `ContainerState::CONTAINER_EXITED`.
pub const CONTAINER_EXITED: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
    #[prost(string, tag = "2")]
    runtime_handler: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodSandboxNetworkStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainerResponse {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Empty>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeCondition {
    #[prost(bool, tag = "2")]
    status: bool,
}
