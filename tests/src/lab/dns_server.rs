//! DNS servers in pods: a real one, and the one that misbehaves on request.

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    node::Node,
    pod::Pod,
    process::Process,
    zone::{self, Zone},
};
use crate::serve::{LISTENING, ServeTally};

/// A running unbound.
#[derive(Debug)]
pub struct Unbound {
    process: Process,
    directory: PathBuf,
}

impl Unbound {
    /// Starts unbound in the pod's first container and waits until it answers.
    pub fn start(pod: &Pod, zone: &Zone) -> Result<Self> {
        let mut server = Self::launch(pod, zone)?;
        server.wait_until_it_answers(pod)?;
        Ok(server)
    }

    /// Starts an unbound that asks this server over TCP whatever it is asked, as NodeLocal DNSCache does; waits until
    /// it answers.
    pub fn start_forwarding(pod: &Pod, to: Ipv4Addr) -> Result<Self> {
        let mut server = Self::launch_with(pod, &zone::forwarding_conf(to))?;
        server.wait_until_it_answers(pod)?;
        Ok(server)
    }

    /// Starts unbound without waiting for it; it takes a second or two under emulation.
    pub fn launch(pod: &Pod, zone: &Zone) -> Result<Self> {
        Self::launch_with(pod, &zone.unbound_conf())
    }

    fn launch_with(pod: &Pod, text: &str) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("unbound-{}", pod.uid));
        fs::create_dir_all(&directory)?;
        let conf = directory.join("unbound.conf");
        fs::write(&conf, text)?;
        let log = File::create(directory.join("log"))?;
        let argv = ["unbound".as_ref(), "-d".as_ref(), "-c".as_ref(), conf.as_os_str()];
        let process = Process::start_logging(pod.command(pod.first_container()?, &argv)?, log)?;
        Ok(Self { process, directory })
    }

    /// Waits until it answers in the pod it was launched in.
    pub fn wait_until_it_answers(&mut self, pod: &Pod) -> Result<()> {
        const ATTEMPTS: usize = 300;
        let at = SocketAddr::new(pod.ip.into(), 53);
        for _ in 0..ATTEMPTS {
            ensure!(self.process.is_running()?, "unbound in {} ended:\n{}", pod.name, self.log());
            if answers(at)? {
                return Ok(());
            }
        }
        bail!("unbound in {} does not answer:\n{}", pod.name, self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_else(|error| error.to_string())
    }

    /// Its process id on the node.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        // It is only litter in the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A running `e2e serve`.
#[derive(Debug)]
pub struct Serve {
    process: Process,
}

impl Serve {
    /// Starts `e2e serve ARGS` in the pod's first container and waits until it listens.
    pub fn start(pod: &Pod, args: &[&str]) -> Result<Self> {
        let container = pod.first_container()?;
        Self::started(args, |argv| pod.command(container, argv))
    }

    /// As [`Self::start`], outside the cluster, in the node's neighbour.
    pub fn start_in_world(node: &Node, args: &[&str]) -> Result<Self> {
        Self::started(args, |argv| node.world().command_in_netns(argv))
    }

    fn started(args: &[&str], command: impl FnOnce(&[&str]) -> Result<Command>) -> Result<Self> {
        let own = std::env::current_exe().context("this program has no path")?;
        let own = own.to_str().context("this program's path is no UTF-8")?;
        let mut process = Process::start(command(&[&[own, "serve"], args].concat())?)?;
        let line = process.read_line()?;
        ensure!(line == LISTENING, "e2e serve said {line:?}");
        Ok(Self { process })
    }

    /// Its process id on the node.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops it and returns what it counted.
    pub fn stop(self) -> Result<ServeTally> {
        let output = self.process.wait()?.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("no tally in {:?}", output.stdout))
    }
}

/// Whether a server at this address answers a query for the root's NS within a moment.
fn answers(server: SocketAddr) -> Result<bool> {
    const MOMENT: Duration = Duration::from_millis(50);
    const QUERY: &[u8] = b"\x70\x69\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(MOMENT))?;
    // Before the server has bound its port, the second of these fails with ECONNREFUSED.
    match socket.send(QUERY).and_then(|_| socket.recv(&mut [0; 512])) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            thread::sleep(MOMENT);
            Ok(false)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot ask {server}")),
    }
}
