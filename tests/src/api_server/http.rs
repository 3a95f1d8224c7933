//! The API server's side of HTTP.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::{Value, json};

use super::{
    TOKEN,
    store::{Next, Store},
};

/// Objects of a page at the most, whatever the client would take: lists of a test have several pages, too.
const PAGE: usize = 2;

/// Answers one request after another, until the client goes or connections are cut.
pub(super) fn serve<S: Read + Write>(stream: S, store: &Store) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        stream.read_line(&mut request)?;
        let Some(target) = request.split(' ').nth(1) else { return Ok(()) };
        let mut is_known = false;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let header = header.trim_end();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(": ").unwrap_or_default();
            is_known |= name.eq_ignore_ascii_case("authorization") && value == format!("Bearer {TOKEN}");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let resource = path.rsplit('/').next().unwrap_or_default();
        let stream = stream.get_mut();
        match path {
            _ if !is_known => error(stream, 401, "Unauthorized", "Unauthorized")?,
            "/api/v1/pods" | "/api/v1/services" | "/apis/discovery.k8s.io/v1/endpointslices" => {
                if store.is_refused(resource) {
                    let message = format!(
                        "{resource} is forbidden: User \"dnstrace\" cannot list resource \"{resource}\" at the cluster scope"
                    );
                    error(stream, 403, "Forbidden", &message)?;
                } else if parameter(query, "watch").is_some() {
                    return watch(stream, store, resource, query);
                } else {
                    list(stream, store, resource, query)?;
                }
            }
            _ => error(stream, 404, "NotFound", "the server could not find the requested resource")?,
        }
    }
}

fn list(stream: &mut impl Write, store: &Store, resource: &str, query: &str) -> io::Result<()> {
    let (objects, version) = store.list(resource);
    let objects: Vec<_> = objects.into_iter().filter(|object| is_selected(object, query)).collect();
    let skipped = parameter(query, "continue").and_then(|token| token.parse().ok()).unwrap_or(0);
    let page: Vec<_> = objects.iter().skip(skipped).take(PAGE).collect();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    let left = objects.len().saturating_sub(skipped + page.len());
    if left > 0 {
        metadata["continue"] = (skipped + page.len()).to_string().into();
        metadata["remainingItemCount"] = left.into();
    }
    respond(
        stream,
        "200 OK",
        &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page}),
    )
}

/// Tells changes until connections are cut. The connection ends with it.
fn watch(stream: &mut impl Write, store: &Store, resource: &str, query: &str) -> io::Result<()> {
    let mut version = parameter(query, "resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    let cuts = store.cuts();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    stream.flush()?;
    store.count_watch(true);
    let told = loop {
        match store.next(resource, version, cuts) {
            Next::Event(event, newer) => {
                version = newer;
                let is_bookmark = event["type"] == "BOOKMARK";
                if (is_bookmark || is_selected(&event["object"], query))
                    && let Err(error) = chunks(stream, &event)
                {
                    break Err(error);
                }
            }
            Next::Gone => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": format!("too old resource version: {version}"), "reason": "Expired", "code": 410});
                break chunks(stream, &json!({"type": "ERROR", "object": status}))
                    .and_then(|()| write!(stream, "0\r\n\r\n"));
            }
            Next::Cut => break Ok(()),
        }
    };
    store.count_watch(false);
    told
}

/// A line, in two pieces: nothing says that a chunk is an event.
fn chunks(stream: &mut impl Write, event: &Value) -> io::Result<()> {
    let line = format!("{event}\n");
    let (first, second) = line.split_at(line.len() / 2);
    for chunk in [first, second] {
        write!(stream, "{:x}\r\n{chunk}\r\n", chunk.len())?;
        stream.flush()?;
    }
    Ok(())
}

fn error(stream: &mut impl Write, code: u16, reason: &str, message: &str) -> io::Result<()> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    respond(stream, &format!("{code} {reason}"), &status)
}

fn respond(stream: &mut impl Write, status: &str, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    stream.flush()
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Whether a field selector, which is of nodes alone, is met.
fn is_selected(object: &Value, query: &str) -> bool {
    let node =
        parameter(query, "fieldSelector").and_then(|selector| selector.strip_prefix("spec.nodeName%3D"));
    node.is_none_or(|node| object["spec"]["nodeName"] == node)
}
