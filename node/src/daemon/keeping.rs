//! What is kept of a group, turned from the core's view into the API's.

use dmls_core::framing::DmlsProfile;
use dmls_core::group as core;

use super::present::who;
use crate::api::retention::{MisuseView, ProfileView, RetainedView, SplitView};

pub(super) fn profile(profile: &DmlsProfile) -> ProfileView {
    ProfileView {
        name: profile.name().map(str::to_owned),
        max_behind: profile.max_behind,
        max_retained: profile.max_retained,
        max_age_seconds: profile.max_age_seconds,
        max_bytes: profile.max_bytes,
        admins: profile.admins.iter().map(|admin| admin.display_name()).collect(),
    }
}

pub(super) fn retained(view: &core::RetainedView) -> RetainedView {
    RetainedView {
        epoch: hex::encode(view.epoch.0.as_slice()),
        number: view.number,
        on_head: view.on_head,
        age_ms: view.age_ms,
        bytes: view.bytes,
        punctures: view.punctures,
        exposes_commits: view.exposure.commits,
        exposes_handshakes: view.exposure.handshakes,
        exposes_senders: view.exposure.senders.iter().map(|leaf| leaf.0).collect(),
        until_ms: view.until_ms,
    }
}

pub(super) fn split(view: &core::SplitView) -> SplitView {
    SplitView {
        at: hex::encode(view.at.0.as_slice()),
        number: view.number,
        away: view.sides.iter().flat_map(|side| &side.members).map(who).collect(),
        silent: view.silent.iter().map(who).collect(),
    }
}

pub(super) fn proof(view: &core::ProofView) -> MisuseView {
    MisuseView {
        proof: hex::encode(view.id.0),
        member: who(&view.member),
        fingerprint: hex::encode(view.member.fingerprint),
        number: view.number,
        since_ms: view.since_ms,
    }
}
