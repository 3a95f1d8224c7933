//! A small HTTP server that has one page.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Mutex, Semaphore, mpsc, oneshot},
    time::{self, Instant},
};

use super::{Ask, process, text};

/// Connections at a time; others wait to be accepted.
const CONNECTIONS: usize = 8;
/// A connection is one request, and closed after so long, whatever it does meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who asks again within that time gets the same text.
const FRESH: Duration = Duration::from_secs(1);
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// After an error of accept(2), such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The page.
struct Page {
    asking: mpsc::Sender<Ask>,
    /// The last text, and when it was made.
    last: Mutex<Option<(Instant, Bytes)>>,
}

/// Serves until the process ends.
///
/// # Errors
/// If there can be no runtime, or the listener does not work in it.
pub(super) fn serve(listener: TcpListener, asking: mpsc::Sender<Ask>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let page = Arc::new(Page { asking, last: Mutex::new(None) });
        loop {
            // Nobody closes the semaphore.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let Ok((stream, _)) = listener.accept().await else {
                time::sleep(PAUSE).await;
                continue;
            };
            let page = Arc::clone(&page);
            tokio::spawn(async move {
                // Whatever went wrong is the peer's concern.
                _ = time::timeout(PATIENCE, connection(stream, page)).await;
                drop(place);
            });
        }
    })
}

async fn connection(stream: TcpStream, page: Arc<Page>) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let page = Arc::clone(&page);
        async move { Ok::<_, Infallible>(page.respond(&request).await) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl Page {
    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is understood here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "dnstrace serves /metrics\n");
        }
        match self.text().await {
            Some(text) => answer(StatusCode::OK, text::CONTENT_TYPE, text),
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the trace has ended\n"),
        }
    }

    /// What the counts say now, or said a moment ago; none if the trace has ended.
    async fn text(&self) -> Option<Bytes> {
        // Held meanwhile: those who come at the same time wait for the same text.
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Some(text.clone());
        }
        let (ask, answer) = oneshot::channel();
        self.asking.send(ask).await.ok()?;
        let snapshot = answer.await.ok()?;
        let text = Bytes::from(text::write(&snapshot, process::usage()));
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn answer(status: StatusCode, kind: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
