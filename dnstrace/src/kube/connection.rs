//! One connection to the API server, one request after another.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time,
};

use super::{Access, Failure, tls};

/// Until a connection is open.
const CONNECT: Duration = Duration::from_secs(10);
/// Until an answer begins, and between two pieces of one: a large list takes a busy server a while.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest page of a list, and the longest explanation of an error.
const PAGE: usize = 64 << 20;
const EXPLANATION: usize = 64 << 10;

/// A connection to the API server.
pub struct Connection {
    requests: SendRequest<Empty<Bytes>>,
    host: HeaderValue,
    token: Option<HeaderValue>,
    base: String,
    server: String,
    source: String,
}

/// What the API says of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: u16,
    pub message: String,
}

impl Connection {
    /// # Errors
    /// In a line that says what to do, if the server cannot be reached.
    pub async fn open(access: &Access) -> Result<Self, Failure> {
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::trouble(format!("cannot reach {} (server of {}): {why}", access.shown(), access.source))
        };
        let opening = async {
            let place = (access.host.as_str(), access.port);
            let tcp = TcpStream::connect(place).await.map_err(|error| unreachable(&error))?;
            match access.is_tls {
                true => handshake(tls::connect(access, tcp).await?).await,
                false => handshake(tcp).await,
            }
            .map_err(|error| unreachable(&error))
        };
        let requests = time::timeout(CONNECT, opening)
            .await
            .map_err(|_| unreachable(&format_args!("no connection after {} s", CONNECT.as_secs())))??;
        let header = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| Failure::trouble(format!("{} holds a token that is none", access.source)))
        };
        let mut token = access.token.as_ref().map(|token| header(&format!("Bearer {token}"))).transpose()?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Self {
            requests,
            host: header(&access.authority())?,
            token,
            base: access.base.clone(),
            server: access.shown(),
            source: access.source.clone(),
        })
    }

    /// Asks for what is there. Returns the body of a good answer.
    ///
    /// # Errors
    /// If the server does not answer, or does not give it.
    pub async fn get(&mut self, path: &str) -> Result<Incoming, Failure> {
        let mut request = Request::get(format!("{}{path}", self.base))
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("dnstrace/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Empty::new()).map_err(|error| self.trouble("cannot be asked", &error))?;
        let answer = async {
            self.requests.ready().await?;
            self.requests.send_request(request).await
        };
        let response = time::timeout(ANSWER, answer)
            .await
            .map_err(|_| self.trouble("does not answer", &format_args!("waited for {} s", ANSWER.as_secs())))?
            .map_err(|error| self.trouble("does not answer", &error))?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            _ => Err(self.refusal(response).await),
        }
    }

    /// All of a body.
    ///
    /// # Errors
    /// If it ends early, or is too long.
    pub async fn whole(&self, body: Incoming) -> Result<Bytes, Failure> {
        let mut body = Limited::new(body, PAGE);
        let mut bytes = Vec::new();
        loop {
            let frame = time::timeout(ANSWER, body.frame())
                .await
                .map_err(|_| self.trouble("stopped within a list", &"no more came"))?;
            match frame {
                Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(self.trouble("stopped within a list", &error)),
                None => return Ok(bytes.into()),
            }
        }
    }

    /// A line on what the server did.
    pub fn trouble(&self, what: &str, why: &dyn std::fmt::Display) -> Failure {
        Failure::trouble(format!("{} {what}: {}", self.server, why))
    }

    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let body = time::timeout(ANSWER, Limited::new(response.into_body(), EXPLANATION).collect()).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let told: Status = serde_json::from_slice(&body).unwrap_or_default();
        self.explained(Status { code: status.as_u16(), ..told })
    }

    /// What an error of the API means for the user.
    pub fn explained(&self, status: Status) -> Failure {
        let Self { server, source, .. } = self;
        let Status { code, message } = status;
        match code {
            401 => Failure::trouble(format!(
                "{server} does not take the token or certificate of {source} (401): expired, or of another cluster"
            )),
            403 => Failure::Trouble {
                line: format!(
                    "{server} refuses (403): {message}; dnstrace's README has the ClusterRole that --kube needs"
                ),
                is_common: false,
            },
            410 => Failure::Expired,
            code => {
                Failure::Trouble { line: format!("{server} answers {code}: {message}"), is_common: false }
            }
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<SendRequest<Empty<Bytes>>> {
    let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to whoever asks over it.
    tokio::spawn(connection);
    Ok(requests)
}
