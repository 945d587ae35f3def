//! `dmls peer`.

use super::Output;
use super::args::PeerCommand;
use super::render;
use crate::api::client::ApiClient;
use crate::api::protocol::Request;
use crate::api::views::PeerView;
use crate::error::Failure;

pub(super) async fn run(client: &mut ApiClient, command: PeerCommand, output: Output) -> Result<(), Failure> {
    let (request, done) = match command {
        PeerCommand::Add { ticket } => {
            let view: PeerView = client.get(&Request::PeerAdd { ticket }).await?;
            return output.print(&view, |view| format!("Remembered {} ({}).", view.name, view.peer));
        }
        PeerCommand::List => {
            let views: Vec<PeerView> = client.get(&Request::Peers {}).await?;
            return output.print(&views, |views| render::peers(views));
        }
        PeerCommand::Remove { peer } => (Request::PeerRemove { peer }, "The peer is forgotten."),
        PeerCommand::Block { peers } => {
            (Request::PeerBlock { peers }, "Cut off. `dmls peer unblock` ends it.")
        }
        PeerCommand::Unblock => (Request::PeerBlock { peers: Vec::new() }, "No peer is blocked."),
    };
    let value = client.ask(&request).await?;
    output.print(&value, |_| done.into())
}
