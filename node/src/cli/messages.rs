//! `dmls send`, `dmls read` and `dmls history`.

use std::io::Read;

use super::Output;
use super::render;
use crate::api::client::ApiClient;
use crate::api::protocol::{MAX_PAGE, MAX_PAYLOAD, Payload, Request, StreamItem};
use crate::api::views::{HistoryView, PageView, SentView};
use crate::error::{ErrorCode, Failure};
use crate::graph::short;

pub(super) async fn send(
    client: &mut ApiClient,
    group: String,
    message: String,
    output: Output,
) -> Result<(), Failure> {
    let payload = if message == "-" { standard_input()? } else { Payload::Text(message) };
    let (text, hex) = match payload {
        Payload::Text(text) => (Some(text), None),
        Payload::Hex(hex) => (None, Some(hex)),
    };
    let view: SentView = client.get(&Request::Send { group, text, hex }).await?;
    output.print(&view, |view| format!("Sent in epoch {} ({}).", view.number, short(&view.epoch)))
}

fn standard_input() -> Result<Payload, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_PAYLOAD).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_PAYLOAD {
        let text = format!("The message has more than {MAX_PAYLOAD} bytes.");
        return Err(Failure::new(ErrorCode::Usage, text).hint("Send it in parts."));
    }
    Ok(Payload::of(&bytes))
}

pub(super) async fn read(
    mut client: ApiClient,
    group: String,
    follow: bool,
    mut after: u64,
    output: Output,
) -> Result<(), Failure> {
    if follow {
        let mut stream = client.stream(&Request::Follow { group, after }).await?;
        loop {
            match stream.next().await? {
                Some(StreamItem::Message(message)) => output.print(&message, render::message)?,
                Some(_) => {}
                None => return Err(Failure::new(ErrorCode::NoDaemon, "The daemon has stopped.")),
            }
        }
    }
    loop {
        let request = Request::Read { group: group.clone(), after, limit: MAX_PAGE };
        let page: PageView = client.get(&request).await?;
        for message in &page.messages {
            after = message.seq;
            output.print(message, render::message)?;
        }
        if !page.more {
            return Ok(());
        }
    }
}

pub(super) async fn history(client: &mut ApiClient, group: String, output: Output) -> Result<(), Failure> {
    let view: HistoryView = client.get(&Request::History { group }).await?;
    output.print(&view, render::history)
}
