//! The columns: each described once. Header, `--columns`, `--help` and the man page come from here.

use std::borrow::Cow;

use crate::{
    event::known_netns,
    identify::Owner,
    output::{Nodes, WallClock, escape},
};

use super::row::{Row, nothing};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Time,
    Query,
    Pod,
    Labels,
    Container,
    Process,
    Thread,
    Netns,
    Type,
    Name,
    Peer,
    Kube,
    Port,
    Id,
    Bytes,
    Tries,
    Latency,
    Answer,
}

/// What there is to say of a column. Widths are in terminal cells.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// In the header, and for `--columns`.
    pub title: &'static str,
    pub meaning: &'static str,
    /// Width at the start.
    pub(super) start: usize,
    /// Width beyond which a cell only moves its own line.
    pub(super) most: usize,
    /// Width down to which a narrow terminal presses it.
    pub(super) least: usize,
    pub(super) side: Side,
    pub(super) cut: Cut,
    /// Whether it is there without being asked for.
    pub(super) usual: bool,
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Where a cell may be shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Both ends tell: of a pod its namespace and its hash, of a name its host and its zone.
    Middle,
    /// The beginning tells most.
    End,
    Never,
}

impl Description {
    const fn new(title: &'static str, start: usize, meaning: &'static str) -> Self {
        let (side, cut) = (Side::Left, Cut::Never);
        Self { title, meaning, start, most: start, least: start, side, cut, usual: false }
    }

    /// Grows up to this width.
    const fn most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Is shortened down to this width where the terminal is narrow.
    const fn cut(self, cut: Cut, least: usize) -> Self {
        Self { cut, least, ..self }
    }

    const fn right(self) -> Self {
        Self { side: Side::Right, ..self }
    }

    const fn usual(self) -> Self {
        Self { usual: true, ..self }
    }
}

impl Column {
    /// All of them, in the order of `-o wide`.
    pub const ALL: [Self; 18] = [
        Self::Time,
        Self::Query,
        Self::Pod,
        Self::Labels,
        Self::Container,
        Self::Process,
        Self::Thread,
        Self::Netns,
        Self::Type,
        Self::Name,
        Self::Peer,
        Self::Kube,
        Self::Port,
        Self::Id,
        Self::Bytes,
        Self::Tries,
        Self::Latency,
        Self::Answer,
    ];

    /// Those that are shown without being asked for.
    pub fn usual() -> Vec<Self> {
        Self::ALL.into_iter().filter(|column| column.description().usual).collect()
    }

    pub const fn description(self) -> Description {
        const fn new(title: &'static str, start: usize, meaning: &'static str) -> Description {
            Description::new(title, start, meaning)
        }
        match self {
            Self::Time => new("TIME", 15, "local time when it was first sent or received").usual(),
            Self::Query => new("QUERY", 6, "number of the query; other lines refer to it").most(10).right(),
            Self::Pod => new("POD", 26, "namespace and name of the pod, or what runs outside pods")
                .most(60)
                .cut(Cut::Middle, 10)
                .usual(),
            Self::Labels => {
                new("LABELS", 20, "labels of the pod, where they are known").most(60).cut(Cut::End, 10)
            }
            Self::Container => new("CONTAINER", 12, "container of the pod").most(30).cut(Cut::Middle, 9),
            Self::Process => {
                new("PROCESS", 18, "process, with its id on the node").most(30).cut(Cut::Middle, 8).usual()
            }
            Self::Thread => new("THREAD", 7, "id of the thread on the node").most(10).right(),
            Self::Netns => new("NETNS", 10, "inode number of the network namespace").right(),
            Self::Type => new("TYPE", 5, "query type, with the class if that is not IN").most(10).usual(),
            Self::Name => new("NAME", 36, "name that was asked for").most(64).cut(Cut::Middle, 14).usual(),
            Self::Peer => new(
                "PEER",
                35,
                "server that was asked (->) and the endpoint behind it, or client that asked (<-)",
            )
            .most(60)
            .cut(Cut::End, 22)
            .usual(),
            Self::Kube => {
                new("KUBE", 24, "with --kube: the Service or pod that the peer is, and the endpoint's pod")
                    .most(60)
                    .cut(Cut::Middle, 14)
            }
            Self::Port => new("PORT", 5, "the socket's own port, of the attempt that decided").right(),
            Self::Id => new("ID", 5, "DNS id, of the attempt that decided").right(),
            Self::Bytes => new("BYTES", 9, "size of the query and of its answer").most(13).right(),
            Self::Tries => new("TRIES", 5, "how often it was sent").right(),
            Self::Latency => new("LATENCY", 8, "from the first query message to the answer").right().usual(),
            Self::Answer => {
                new("ANSWER", 24, "RCODE and data of the answer, or why there is none").most(60).usual()
            }
        }
    }

    /// What a row has to say in this column, safe for a terminal.
    pub(super) fn cell(self, row: &Row<'_>, clock: &WallClock, nodes: &Nodes) -> String {
        let number = |number: Option<u64>| number.map_or_else(nothing, |number| number.to_string());
        match self {
            Self::Time => clock.time_of_day(row.time),
            Self::Query => number(row.query),
            Self::Pod => row.owner.map_or_else(nothing, |owner| pod(owner, nodes)),
            Self::Labels => labels(row),
            Self::Container => container(row),
            Self::Process => {
                let task = row.task.filter(|task| task.is_known());
                task.map_or_else(nothing, |task| format!("{}[{}]", escape(&task.comm), task.pid))
            }
            // A capture of packets knows neither.
            Self::Thread => number(row.tid.filter(|tid| *tid != 0).map(u64::from)),
            Self::Netns => number(row.netns.and_then(known_netns).map(u64::from)),
            Self::Type => row.kind.clone(),
            Self::Name => row.name.map_or_else(nothing, escaped),
            Self::Peer => row.peer.clone(),
            Self::Kube => row.kube.clone(),
            Self::Port => number(row.port.map(u64::from)),
            Self::Id => number(row.id.map(u64::from)),
            Self::Bytes => bytes(row),
            Self::Tries => number(row.tries.map(|tries| tries as u64)),
            Self::Latency => row.latency.clone(),
            Self::Answer => row.answer.clone(),
        }
    }
}

fn escaped(text: &str) -> String {
    Cow::into_owned(escape(text))
}

/// The pod, or what runs outside pods; of several nodes on which: `shop/cart-7d4f@worker-1`.
fn pod(owner: &Owner, nodes: &Nodes) -> String {
    let name = escaped(&owner.to_string());
    match nodes.of_owner(owner) {
        Some(node) => format!("{name}@{}", escape(node)),
        None => name,
    }
}

/// `app=cart,tier=web`: as kubectl shows them.
fn labels(row: &Row<'_>) -> String {
    let pod = row.owner.and_then(|owner| owner.pod.as_ref());
    match pod.and_then(|pod| pod.labels.as_deref()) {
        Some(labels) if !labels.is_empty() => {
            let label = |(key, value): (&String, &String)| format!("{key}={value}");
            escaped(&labels.iter().map(label).collect::<Vec<_>>().join(","))
        }
        _ => nothing(),
    }
}

/// The container's name, or the beginning of its id.
fn container(row: &Row<'_>) -> String {
    const ID: usize = 12;
    let Some(container) = row.owner.and_then(|owner| owner.container.as_ref()) else { return nothing() };
    let id = || container.id.get(..ID).unwrap_or(&container.id);
    escaped(container.name.as_deref().unwrap_or_else(id))
}

/// `44/60`: of the query and of the answer.
fn bytes(row: &Row<'_>) -> String {
    let side = |bytes: Option<u64>| bytes.map_or_else(nothing, |bytes| bytes.to_string());
    match row.bytes {
        (None, None) => nothing(),
        (sent, received) => format!("{}/{}", side(sent), side(received)),
    }
}
