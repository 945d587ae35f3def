//! The daemon's end of the socket.
//!
//! Each client has a task of its own; a slow one delays nobody else and is disconnected in the end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, watch};

use super::line::{self, Line};
use super::protocol::{Answer, AnswerBody, MAX_REQUEST, Request, StreamItem, parse_request};
use crate::config::ApiConfig;
use crate::error::{ErrorCode, Failure};

/// Items of a stream that may wait for a client.
const STREAM_QUEUE: usize = 16;

/// What the server asks for answers.
pub trait Service: Send + Sync + 'static {
    /// Answers a request that is no stream.
    fn answer(&self, request: Request) -> impl Future<Output = Result<serde_json::Value, Failure>> + Send;

    /// Fills a stream until its other end is closed. An error ends it.
    fn stream(
        &self,
        request: Request,
        items: mpsc::Sender<StreamItem>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Opens the socket, for this user only. A socket that an earlier daemon has left is replaced: the caller holds the
/// lock.
///
/// # Errors
/// [`ErrorCode::Config`].
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let fail = |error: std::io::Error| {
        Failure::new(ErrorCode::Config, format!("The socket {} cannot be opened: {error}.", path.display()))
            .hint("Check the directory's permissions, or choose another --home.")
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    // The process's umask keeps others out from the first moment.
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    Ok(listener)
}

/// Serves clients until `stop` says so.
pub async fn serve<S: Service>(
    listener: UnixListener,
    service: Arc<S>,
    config: ApiConfig,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(config.max_clients));
    let timeout = Duration::from_millis(config.write_timeout_ms);
    loop {
        let accepted = tokio::select! {
            () = crate::stop::requested(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a client could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (reader, writer) = stream.into_split();
        let mut client = Client { reader: BufReader::new(reader), writer, timeout };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            let failure =
                Failure::new(ErrorCode::Failed, "The daemon has too many clients.").hint("Try again.");
            // The client may be gone already.
            let _ =
                tokio::time::timeout(Duration::from_millis(100), client.say(0, AnswerBody::Error(failure)))
                    .await;
            continue;
        };
        let (service, mut stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = crate::stop::requested(&mut stop) => {}
                _ = client.run(service.as_ref()) => {}
            }
            drop(permit);
        });
    }
}

struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    timeout: Duration,
}

impl Client {
    async fn run<S: Service>(&mut self, service: &S) -> std::io::Result<()> {
        let mut partial = Vec::new();
        loop {
            let line = match line::read(&mut self.reader, &mut partial, MAX_REQUEST).await? {
                Line::Whole(line) => line,
                Line::End => return Ok(()),
                Line::TooLong => {
                    let text = format!("The request has more than {MAX_REQUEST} bytes.");
                    return self.say(0, AnswerBody::Error(Failure::new(ErrorCode::Usage, text))).await;
                }
            };
            let (id, request) = parse_request(&line);
            match request {
                Ok(request @ (Request::Follow { .. } | Request::Subscribe { .. })) => {
                    return self.stream(service, id, request).await;
                }
                Ok(request) => {
                    let body = service.answer(request).await.map_or_else(AnswerBody::Error, AnswerBody::Ok);
                    self.say(id, body).await?;
                }
                Err(failure) => self.say(id, AnswerBody::Error(failure)).await?,
            }
        }
    }

    async fn stream<S: Service>(&mut self, service: &S, id: u64, request: Request) -> std::io::Result<()> {
        let (tx, mut rx) = mpsc::channel(STREAM_QUEUE);
        let mut filling = std::pin::pin!(service.stream(request, tx));
        let mut partial = Vec::new();
        let mut filled = None;
        loop {
            let item = tokio::select! {
                biased;
                item = rx.recv() => item,
                result = &mut filling, if filled.is_none() => {
                    filled = Some(result);
                    continue;
                }
                // A client that streams has nothing more to say; what it says ends the stream.
                _ = line::read(&mut self.reader, &mut partial, 0) => return Ok(()),
            };
            match item {
                Some(item) => self.say(id, AnswerBody::Event(item)).await?,
                None => {
                    if let Some(Err(failure)) = filled {
                        self.say(id, AnswerBody::Error(failure)).await?;
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn say(&mut self, id: u64, body: AnswerBody) -> std::io::Result<()> {
        let mut line = Answer::line(id, body).map_err(std::io::Error::other)?;
        line.push(b'\n');
        let write = async {
            self.writer.write_all(&line).await?;
            self.writer.flush().await
        };
        tokio::time::timeout(self.timeout, write).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::AsyncBufReadExt;
    use tokio::net::UnixStream;

    use super::*;

    struct Fake;

    impl Service for Fake {
        async fn answer(&self, request: Request) -> Result<Value, Failure> {
            match request {
                Request::Status {} => Ok(json!({"fine": true})),
                _ => Err(Failure::new(ErrorCode::Refused, "No.")),
            }
        }

        async fn stream(&self, _: Request, items: mpsc::Sender<StreamItem>) -> Result<(), Failure> {
            for number in 0..100 {
                if items.send(StreamItem::Missed(number)).await.is_err() {
                    return Ok(());
                }
            }
            Err(Failure::new(ErrorCode::Failed, "That was all."))
        }
    }

    struct Server {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
        stop: watch::Sender<bool>,
    }

    fn start(max_clients: usize) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (stop, stopped) = watch::channel(false);
        let config = ApiConfig { max_clients, ..ApiConfig::default() };
        tokio::spawn(serve(bind(&path).unwrap(), Arc::new(Fake), config, stopped));
        Server { _dir: dir, path, stop }
    }

    async fn talk(path: &Path, text: &[u8]) -> Vec<Answer> {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(text).await.unwrap();
        let (reader, mut writer) = stream.into_split();
        writer.shutdown().await.unwrap();
        let mut lines = BufReader::new(reader).lines();
        let mut answers = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            answers.push(Answer::parse(line.as_bytes()).unwrap());
        }
        answers
    }

    #[tokio::test]
    async fn requests_are_answered_in_order_and_garbage_is_survived() {
        let server = start(4);
        assert_eq!(std::fs::metadata(&server.path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = b"{\"v\":1,\"id\":1,\"method\":\"status\"}\ngarbage\n{\"v\":1,\"id\":3,\"method\":\"peers\"}\n{\"v\":1,\"id\":4,\"method\":\"status\"}\n";
        let answers = talk(&server.path, text).await;
        assert_eq!(answers[0].body, AnswerBody::Ok(json!({"fine": true})));
        assert!(matches!(&answers[1].body, AnswerBody::Error(f) if f.code == ErrorCode::Usage));
        assert!(matches!(&answers[2].body, AnswerBody::Error(f) if f.code == ErrorCode::Refused));
        assert_eq!(answers.iter().map(|a| a.id).collect::<Vec<_>>(), [1, 0, 3, 4]);
        server.stop.send_replace(true);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_ends_the_connection() {
        let server = start(4);
        let stream = UnixStream::connect(&server.path).await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let long = vec![b'x'; MAX_REQUEST + 2];
        // The daemon may hang up before it has taken all of it.
        let writing = tokio::spawn(async move {
            let _ = writer.write_all(&long).await;
            writer
        });
        let mut lines = BufReader::new(reader).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let answer = Answer::parse(line.as_bytes()).unwrap();
        assert!(matches!(answer.body, AnswerBody::Error(f) if f.message.contains("more than")));
        drop(writing);
        assert_eq!(
            talk(&server.path, b"{\"v\":1,\"id\":1,\"method\":\"status\"}\n").await.len(),
            1,
            "others are served"
        );
    }

    #[tokio::test]
    async fn clients_are_bounded() {
        let server = start(1);
        let mut first = UnixStream::connect(&server.path).await.unwrap();
        first.write_all(b"{\"v\":1,\"id\":1,\"method\":\"status\"}\n").await.unwrap();
        let mut lines = BufReader::new(&mut first).lines();
        lines.next_line().await.unwrap().unwrap();
        let second = UnixStream::connect(&server.path).await.unwrap();
        let line = BufReader::new(second).lines().next_line().await.unwrap().unwrap();
        assert!(line.contains("too many clients"), "{line}");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_error() {
        let server = start(4);
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(b"{\"v\":1,\"id\":9,\"method\":\"subscribe\"}\n").await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        for number in 0..100 {
            let line = lines.next_line().await.unwrap().unwrap();
            assert_eq!(
                Answer::parse(line.as_bytes()).unwrap().body,
                AnswerBody::Event(StreamItem::Missed(number))
            );
        }
        let line = lines.next_line().await.unwrap().unwrap();
        assert!(matches!(Answer::parse(line.as_bytes()).unwrap().body, AnswerBody::Error(_)));
        assert_eq!(lines.next_line().await.unwrap(), None);
    }
}
