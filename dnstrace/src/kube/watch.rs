//! Lists a resource and follows its changes, as kubectl get --watch does, for as long as anybody listens.

use std::{fmt::Write as _, ops::ControlFlow, time::Duration};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use serde::{Deserialize, de::IgnoredAny};
use tokio::time::{self, Instant};

use super::{
    Access, Failure, Places,
    connection::{Connection, Status},
    objects::{Object, Resource},
    telling::Telling,
};

/// Objects of a page.
const PAGE: u32 = 500;
/// The server ends a watch after so long, and a new one begins.
const WATCH: Duration = Duration::from_secs(290);
/// By then it has ended, or the connection is dead.
const WATCH_OVER: Duration = WATCH.saturating_add(Duration::from_secs(30));
/// An object that is longer is none: etcd keeps 1.5 MiB.
const LONGEST: usize = 8 << 20;
/// Pauses after failures: twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Who follows a resource.
pub struct Watcher {
    pub resource: Resource,
    pub places: Places,
    /// Of pods, only those on this node.
    pub node: Option<String>,
    pub telling: Telling,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    metadata: ListMetadata,
    items: Option<Vec<Object>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Event<T> {
    #[serde(rename = "type")]
    kind: String,
    object: T,
}

impl Watcher {
    /// Goes on until nobody listens any more.
    pub async fn follow(self) {
        let mut version = None;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let began = Instant::now();
            match self.round(&mut version).await {
                Ok(ControlFlow::Break(())) => return,
                // The connection ended, as they do now and then.
                Ok(ControlFlow::Continue(())) => pause = SHORTEST_PAUSE,
                Err(Failure::Expired) => version = None,
                Err(Failure::Trouble { line, is_common }) => {
                    if self.telling.trouble(self.resource, line, is_common).await.is_break() {
                        return;
                    }
                }
            }
            // Not even a server that ends all at once is asked without pause.
            time::sleep(pause).await;
            let went_well = began.elapsed() > LONGEST_PAUSE + pause;
            pause = if went_well { SHORTEST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
        }
    }

    /// One connection: lists, if it is not known from where to go on, and follows.
    async fn round(&self, version: &mut Option<String>) -> Result<ControlFlow<()>, Failure> {
        let access = Access::find(&self.places)?;
        let mut connection = Connection::open(&access).await?;
        let known = match version.take() {
            Some(known) => known,
            None => match self.list(&mut connection).await? {
                Some(listed) => listed,
                None => return Ok(ControlFlow::Break(())),
            },
        };
        let known = version.insert(known);
        self.watch(&mut connection, known).await
    }

    /// Tells all objects, page by page. Returns from where to follow; none if nobody listens any more.
    async fn list(&self, connection: &mut Connection) -> Result<Option<String>, Failure> {
        let (mut objects, mut pods) = (Vec::new(), Vec::new());
        let mut next: Option<String> = None;
        loop {
            let mut path = self.path(&format!("limit={PAGE}"));
            if let Some(token) = &next {
                path += &format!("&continue={}", encoded(token));
            }
            let body = connection.get(&path).await?;
            let bytes = connection.whole(body).await?;
            let list: List = serde_json::from_slice(&bytes)
                .map_err(|error| connection.trouble("sent a list that cannot be read", &error))?;
            for object in list.items.unwrap_or_default() {
                let holdings = self.resource.holdings(&object);
                pods.extend(self.resource.facts(&object));
                // Of a cluster of any size only this much is kept.
                if !holdings.is_empty() {
                    objects.push((self.resource.id(&object), holdings));
                }
            }
            next = list.metadata.next.filter(|token| !token.is_empty());
            if next.is_none() {
                let told = match self.telling.listed(self.resource, objects).await {
                    ControlFlow::Continue(()) => self.telling.pods(self.resource, pods).await,
                    ended => ended,
                };
                return Ok(told.is_continue().then_some(list.metadata.resource_version));
            }
        }
    }

    /// Follows until the connection ends. `version` is how far it came.
    async fn watch(
        &self,
        connection: &mut Connection,
        version: &mut String,
    ) -> Result<ControlFlow<()>, Failure> {
        loop {
            let seconds = WATCH.as_secs();
            let path = self.path(&format!(
                "watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
                encoded(version)
            ));
            let body = connection.get(&path).await?;
            if self.telling.works(self.resource).await.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let deadline = Instant::now() + WATCH_OVER;
            let mut lines = Lines { body, buffer: Vec::new(), searched: 0 };
            loop {
                match time::timeout_at(deadline, lines.next()).await {
                    Ok(Next::Line(line)) => {
                        if self.event(connection, &line, version).await?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    Ok(Next::End) => break,
                    Ok(Next::TooLong) => {
                        return Err(
                            connection.trouble("sent an object that cannot be read", &"it is too long")
                        );
                    }
                    // A connection that broke, or that somebody forgot on the way.
                    Ok(Next::Cut) | Err(_) => return Ok(ControlFlow::Continue(())),
                }
            }
            // At once: a server whose watches end so fast is given a pause by a new connection.
            if deadline.duration_since(Instant::now()) > WATCH_OVER - SHORTEST_PAUSE {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    async fn event(
        &self,
        connection: &Connection,
        line: &[u8],
        version: &mut String,
    ) -> Result<ControlFlow<()>, Failure> {
        let unreadable =
            |error: serde_json::Error| connection.trouble("sent a change that cannot be read", &error);
        let Event { kind, .. } = serde_json::from_slice::<Event<IgnoredAny>>(line).map_err(unreadable)?;
        if kind == "ERROR" {
            let error: Event<Status> = serde_json::from_slice(line).map_err(unreadable)?;
            return Err(connection.explained(error.object));
        }
        let Event { object, .. } = serde_json::from_slice::<Event<Object>>(line).map_err(unreadable)?;
        let id = self.resource.id(&object);
        let flow = match kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let facts = self.resource.facts(&object);
                match self.telling.put(&id, self.resource.holdings(&object)).await {
                    ControlFlow::Continue(()) if facts.is_some() => {
                        self.telling.pods(self.resource, facts.into_iter().collect()).await
                    }
                    flow => flow,
                }
            }
            "DELETED" => self.telling.remove(&id).await,
            // A bookmark tells its version alone.
            _ => ControlFlow::Continue(()),
        };
        version.clone_from(&object.metadata.resource_version);
        Ok(flow)
    }

    fn path(&self, query: &str) -> String {
        let mut path = format!("{}?{query}", self.resource.path());
        if let Some(node) = &self.node {
            path += &format!("&fieldSelector=spec.nodeName%3D{}", encoded(node));
        }
        path
    }
}

/// What a query of a URL may hold of a value.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            // Writing into a String cannot fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

/// The lines of a body that goes on. Cancel-safe.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    /// So much of the buffer holds no end of a line.
    searched: usize,
}

enum Next {
    Line(Bytes),
    /// The body is at its end.
    End,
    Cut,
    TooLong,
}

impl Lines {
    async fn next(&mut self) -> Next {
        loop {
            let unseen = self.buffer.iter().skip(self.searched);
            if let Some(end) = unseen.clone().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                self.searched = 0;
                return Next::Line(std::mem::replace(&mut self.buffer, rest).into());
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LONGEST {
                return Next::TooLong;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return Next::Cut,
                None => return Next::End,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_query_are_encoded() {
        assert_eq!(encoded("worker-1.example"), "worker-1.example");
        assert_eq!(encoded("a=b&c d/ü"), "a%3Db%26c%20d%2F%C3%BC");
    }
}
