//! API servers and schedulers that are killed, stopped, or cut off. They are no members: who is struck stands in the
//! detail, as `parts`.

use crate::faults::scene::Act;
use crate::faults::step::Victims;
use crate::world::WorldError;
use crate::world::kube::{ControlPlane, Part};
use crate::world::{End, Flow};
use serde_json::{Value, json};

pub(super) fn kill(act: &Act<'_>, parts: &[Part]) {
    let Some(kube) = act.world().kube() else {
        return act.skipped(&[], "there is no control plane");
    };
    for part in parts {
        kube.kill(*part);
    }
    act.begin(&[], names(parts));
    act.last();
    let up = each(act, parts, |part| kube.up(part));
    act.end(&[], names(&up));
}

pub(super) fn pause(act: &Act<'_>, parts: &[Part]) {
    let Some(kube) = act.world().kube() else {
        return act.skipped(&[], "there is no control plane");
    };
    let paused = each(act, parts, |part| kube.pause(part));
    act.begin(&[], names(&paused));
    act.last();
    // One that another fault has killed meanwhile is none to resume.
    let resumed = each(act, &paused, |part| kube.resume(part));
    act.end(&[], names(&resumed));
}

pub(super) fn cut(act: &Act<'_>, parts: &[Part], victims: &Victims) {
    let members = act.victims(victims);
    let ends = parts.iter().flat_map(|part| members.iter().map(|m| (part.host(), *m)));
    let flows: Vec<Flow> = ends
        .flat_map(|(server, member)| Flow::between(End::Node(server), End::Node(member)))
        .collect();
    super::network::dropping(act, &members, &flows, 100, names(parts));
}

fn names(parts: &[Part]) -> Value {
    json!({"parts": parts.iter().map(|p| p.name()).collect::<Vec<_>>()})
}

/// Those with whom it worked; the others are written down.
fn each(act: &Act<'_>, parts: &[Part], what: impl Fn(Part) -> Result<(), WorldError>) -> Vec<Part> {
    let mut done = Vec::new();
    for part in parts {
        match what(*part) {
            Ok(()) => done.push(*part),
            Err(e) => act.skipped(&[], format!("{}: {e}", part.name())),
        }
    }
    done
}

/// Resumes and starts everything.
pub(in crate::faults) fn mend(kube: &ControlPlane) -> Result<(), WorldError> {
    for part in ControlPlane::parts() {
        kube.up(part)?;
        kube.resume(part)?;
    }
    Ok(())
}
