//! `dmls group` and `dmls join`.

use std::time::Duration;

use tokio::time::Instant;

use super::Output;
use super::args::GroupCommand;
use super::output::waiting;
use super::render;
use crate::api::client::ApiClient;
use crate::api::protocol::Request;
use crate::api::retention::ProofView;
use crate::api::views::{GroupView, InvitationView, InvitedView, StandingView};
use crate::error::{ErrorCode, Failure};
use crate::graph::short;

/// How often the daemon is asked whether what is waited for has happened.
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn run(
    client: &mut ApiClient,
    command: GroupCommand,
    output: Output,
) -> Result<(), Failure> {
    match command {
        GroupCommand::Create { name, profile, admins } => {
            let request = Request::GroupCreate { name, profile: Some(profile), admins };
            let view: GroupView = client.get(&request).await?;
            output.print(&view, |view| {
                let name = &view.name;
                format!(
                    "Made the group {name} ({}).\nInvite with `dmls group invite {name} TICKET`.",
                    short(&view.id)
                )
            })
        }
        GroupCommand::List => {
            let views: Vec<GroupView> = client.get(&Request::GroupList {}).await?;
            output.print(&views, |views| render::groups(views))
        }
        GroupCommand::Show { group } => {
            let view: GroupView = client.get(&Request::GroupShow { group }).await?;
            output.print(&view, render::group)
        }
        GroupCommand::Invite { group, who } => {
            let request = Request::GroupInvite { group, who };
            let view: InvitedView = waiting("asking for key packages", client.get(&request)).await?;
            output.print(&view, render::invited)
        }
        GroupCommand::Remove { group, member } => {
            let done = format!("Removed {member}");
            changed(client, &Request::GroupRemove { group, member }, &done, output).await
        }
        GroupCommand::Refresh { group } => {
            changed(client, &Request::GroupRefresh { group }, "Refreshed your keys", output).await
        }
        GroupCommand::Admins { group, members } => {
            let done = match members.as_slice() {
                [] => "Every member is an admin".to_owned(),
                names => format!("Admins are {}", names.join(", ")),
            };
            changed(client, &Request::GroupAdmins { group, members }, &done, output).await
        }
        GroupCommand::Rejoin { group } => {
            let view: GroupView = client.get(&Request::GroupRejoin { group }).await?;
            output.print(&view, |_| "Asked; a member takes this node in again in its turn.".into())
        }
        GroupCommand::Proof { group, proof } => {
            let view: ProofView = client.get(&Request::GroupProof { group, proof }).await?;
            output.print(&view, render::proof)
        }
        GroupCommand::Leave { group, wait } => leave(client, group, wait, output).await,
        GroupCommand::Delete { group } => {
            let done = client.ask(&Request::GroupDelete { group }).await?;
            output.print(&done, |_| "The group is forgotten.".into())
        }
    }
}

async fn changed(
    client: &mut ApiClient,
    request: &Request,
    done: &str,
    output: Output,
) -> Result<(), Failure> {
    let view: GroupView = client.get(request).await?;
    output.print(&view, |view| {
        let decided = if view.is_final { "." } else { ", provisional until the group has decided." };
        format!("{done} in epoch {}{decided}", view.number)
    })
}

/// Asks to be removed and waits until that has happened.
async fn leave(client: &mut ApiClient, group: String, wait: u64, output: Output) -> Result<(), Failure> {
    let asked: Result<GroupView, Failure> = client.get(&Request::GroupLeave { group: group.clone() }).await;
    let id = match asked {
        Ok(view) => view.id,
        // Asked before: what remains is to wait.
        Err(failure) if failure.code == ErrorCode::Refused => {
            let view: GroupView = client.get(&Request::GroupShow { group }).await?;
            match view.standing {
                StandingView::Leaving | StandingView::Removed => view.id,
                _ => return Err(failure),
            }
        }
        Err(failure) => return Err(failure),
    };
    let until = Instant::now() + Duration::from_secs(wait);
    let removed = async {
        loop {
            let view: GroupView = client.get(&Request::GroupShow { group: id.clone() }).await?;
            if view.standing == StandingView::Removed {
                return Ok(view);
            }
            if Instant::now() >= until {
                let text = format!("Nobody has committed the removal within {wait} seconds.");
                let hint =
                    "The request stands: it happens once another member is online. `dmls group show` tells.";
                return Err(Failure::new(ErrorCode::Timeout, text).hint(hint));
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let view = waiting("waiting for another member to commit the removal", removed).await?;
    output.print(&view, |view| format!("You have left {}. `dmls group delete` forgets it.", view.name))
}

pub(super) async fn join(
    client: &mut ApiClient,
    invitation: String,
    wait: Option<u64>,
    list: bool,
    output: Output,
) -> Result<(), Failure> {
    if list {
        let views: Vec<InvitationView> = client.get(&Request::Invitations {}).await?;
        return output.print(&views, |views| render::invitations(views));
    }
    let until = Instant::now() + Duration::from_secs(wait.unwrap_or(0));
    let joined = async {
        loop {
            match client.get::<GroupView>(&Request::Join { invitation: invitation.clone() }).await {
                Err(failure) if failure.code == ErrorCode::NotFound && Instant::now() < until => {
                    tokio::time::sleep(POLL).await;
                }
                other => return other,
            }
        }
    };
    let view = waiting("waiting for an invitation", joined).await?;
    output.print(&view, |view| {
        let name = &view.name;
        format!(
            "Joined {name} in epoch {}, {}.\nTalk with `dmls send {name} hello`.",
            view.number,
            render::count(view.size, "member")
        )
    })
}
