//! A command's end of the socket.

use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::line::{self, Line};
use super::protocol::{Answer, AnswerBody, MAX_ANSWER, Request, StreamItem, request_line};
use crate::error::{ErrorCode, Failure};

/// A daemon that listens answers within this time.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a daemon.
pub struct ApiClient {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    partial: Vec<u8>,
    next_id: u64,
}

impl ApiClient {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`ErrorCode::NoDaemon`].
    pub async fn connect(path: &Path) -> Result<Self, Failure> {
        let none = |why: String| {
            Failure::new(ErrorCode::NoDaemon, format!("No daemon answers at {}: {why}.", path.display()))
                .hint("Start it with `dmls run`, with the same --home.")
        };
        let stream = tokio::time::timeout(CONNECT, UnixStream::connect(path)).await;
        let stream = stream.map_err(|_| none("it does not accept connections".into()))?;
        let (reader, writer) = stream.map_err(|error| none(error.to_string()))?.into_split();
        Ok(Self { reader: BufReader::new(reader), writer, partial: Vec::new(), next_id: 1 })
    }

    /// Asks and waits for the answer, as long as it takes.
    ///
    /// # Errors
    /// What the daemon says; [`ErrorCode::NoDaemon`] if it hangs up, [`ErrorCode::Protocol`].
    pub async fn ask(&mut self, request: &Request) -> Result<Value, Failure> {
        let id = self.say(request).await?;
        match self.hear(id).await? {
            Some(AnswerBody::Ok(value)) => Ok(value),
            Some(AnswerBody::Error(failure)) => Err(failure),
            Some(AnswerBody::Event(_)) => {
                Err(Failure::new(ErrorCode::Protocol, "The daemon streams unasked."))
            }
            None => Err(hung_up()),
        }
    }

    /// Asks for something of a known shape.
    ///
    /// # Errors
    /// As [`Self::ask`]; [`ErrorCode::Protocol`] for another shape.
    pub async fn get<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Failure> {
        let value = self.ask(request).await?;
        serde_json::from_value(value).map_err(|error| {
            Failure::new(ErrorCode::Protocol, format!("The answer is of another version: {error}."))
        })
    }

    /// Begins a stream; [`ApiStream::next`] gives its items.
    ///
    /// # Errors
    /// [`ErrorCode::NoDaemon`].
    pub async fn stream(mut self, request: &Request) -> Result<ApiStream, Failure> {
        let id = self.say(request).await?;
        Ok(ApiStream { client: self, id })
    }

    async fn say(&mut self, request: &Request) -> Result<u64, Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = request_line(id, request)?;
        line.push(b'\n');
        self.writer.write_all(&line).await.map_err(|_| hung_up())?;
        Ok(id)
    }

    /// `None` if the daemon has hung up.
    async fn hear(&mut self, id: u64) -> Result<Option<AnswerBody>, Failure> {
        let line = match line::read(&mut self.reader, &mut self.partial, MAX_ANSWER).await {
            Ok(Line::Whole(line)) => line,
            Ok(Line::End) | Err(_) => return Ok(None),
            Ok(Line::TooLong) => return Err(Failure::new(ErrorCode::Protocol, "The answer is too long.")),
        };
        let answer = Answer::parse(&line)?;
        // Id 0 answers what could not be read, or a connection that was not wanted.
        if answer.id != id && answer.id != 0 {
            return Err(Failure::new(ErrorCode::Protocol, "The answer is to another request."));
        }
        Ok(Some(answer.body))
    }
}

fn hung_up() -> Failure {
    Failure::new(ErrorCode::NoDaemon, "The daemon has hung up.")
        .hint("See its log; start it again with `dmls run`.")
}

/// A stream of events.
pub struct ApiStream {
    client: ApiClient,
    id: u64,
}

impl ApiStream {
    /// The next item; `None` when the daemon has ended the stream.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, Failure> {
        match self.client.hear(self.id).await? {
            Some(AnswerBody::Event(item)) => Ok(Some(item)),
            Some(AnswerBody::Error(failure)) => Err(failure),
            Some(AnswerBody::Ok(_)) | None => Ok(None),
        }
    }
}
